"""The program ``smtpstate``: sends a message file, and shows what became of each recipient."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]

_NEEDED = ("click", "rich", "cryptography")
_MISCONFIGURED = 78  # sysexits: EX_CONFIG


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program, and return its exit code; ``smtpstate --help`` lists them.

    Where click, rich or cryptography is missing, it says in one line what to install, and
    the exit code is 78.

    Args:
        arguments: those after the program's name; by default of the command line.
    """
    try:
        from smtpstate_cli._program import run

        return run(sys.argv[1:] if arguments is None else arguments)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _NEEDED:
            raise
        print("smtpstate: install smtpstate[cli]", file=sys.stderr)
        return _MISCONFIGURED
    except KeyboardInterrupt:
        return 130
