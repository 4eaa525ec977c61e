"""The message that the command line names: a file, or standard input."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TextIO

from smtpstate_cli._exits import Exit, Failure
from smtpstate_cli._screen import reason


@contextmanager
def opened(name: str) -> Generator[Path | IO[bytes], None, None]:
    """Give what can be read of ``name`` in constant memory; ``-`` is standard input.

    A regular file is given as its path, so that each endpoint can have it from
    its start. Anything else, such as a pipe, can be read once.

    Raises:
        Failure: it does not exist, or cannot be read.
    """
    if name == "-":
        yield _standard_input()
        return
    with ExitStack() as stack:
        try:
            file = stack.enter_context(open(name, "rb", buffering=0))
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            why = reason(error) if isinstance(error, OSError) else str(error)
            raise Failure(Exit.NO_INPUT, f"cannot read {name!r}: {why}") from None
        yield Path(name) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else file


def _standard_input() -> IO[bytes]:
    stdin: TextIO | None = sys.stdin  # a shell can start a program without it (<&-)
    if stdin is None:
        raise Failure(Exit.NO_INPUT, "cannot read standard input: it is closed")
    return stdin.buffer
