"""Standard output and standard error: neither the reader's absence nor a server's words can do harm."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Iterable
from typing import TextIO, final

from rich.console import Console, RenderableType
from rich.text import Text

from smtpstate._text import visible

_PADDING = re.compile(" +$", re.MULTILINE)  # of the last column of a table


def tolerate_any_text() -> None:
    """Show characters that a stream's encoding lacks as escapes, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def reason(error: OSError) -> str:
    """Return what the system says of an error, without its number and the file."""
    return (error.strerror or str(error)).lower()


def complain(message: str) -> None:
    """Say what went wrong: one line on standard error, whatever ``message`` holds."""
    Screen(errors=True).write(f"smtpstate: {visible(message)}\n")


@final
class Screen:
    """A stream for people, or for whoever reads it instead of them.

    What it is given is printed as it is: nothing in it is taken for markup.
    If nobody reads the stream any more, what is printed is dropped.
    """

    def __init__(self, *, errors: bool = False) -> None:
        # A shell can start a program without one of its streams (>&-).
        stream: TextIO | None = sys.stderr if errors else sys.stdout
        self._stream = stream
        self._encoding = (stream.encoding if stream else None) or "utf-8"
        like = Console(file=stream or io.StringIO())
        # Lines are put together in memory: whatever goes wrong in writing is for us to handle.
        self._console = Console(
            file=io.StringIO(),
            force_terminal=like.is_terminal,
            width=like.width,
            markup=False,
            highlight=False,
            emoji=False,
        )

    @property
    def is_terminal(self) -> bool:
        """Whether lines are to be fitted to a width, and may have colours."""
        return self._console.is_terminal

    @property
    def width(self) -> int:
        """Columns."""
        return self._console.width

    def show(self, *things: RenderableType) -> None:
        """Print each of ``things``, wrapped to the width."""
        self._render(things, wrap=True)

    def show_lines(self, *lines: Text) -> None:
        """Print each of ``lines`` as one line, whatever its length."""
        self._render(lines, wrap=False)

    def _render(self, things: Iterable[RenderableType], *, wrap: bool) -> None:
        with self._console.capture() as captured:
            for thing in things:
                self._console.print(thing, soft_wrap=not wrap)
        text = captured.get()
        if not self._encoding.lower().startswith("utf"):
            text = text.replace("─", "-")
        self.write(text if self.is_terminal else _PADDING.sub("", text))

    def write(self, text: str) -> None:
        """Print ``text`` as it is."""
        if self._stream is None:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError as error:
            # The stream still holds the text, and would fail once more when the interpreter flushes it
            # at its end.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
            if self._stream is sys.stdout and not isinstance(error, BrokenPipeError):
                complain(f"cannot write to standard output: {reason(error)}")
            self._stream = None
