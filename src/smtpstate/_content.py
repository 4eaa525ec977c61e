"""The message on its way to the wire: line ends, doubled dots, and the end of it.

All work is done on whole blocks, with a carry of one octet at their edges, so
that a message can be cut anywhere.
"""

from __future__ import annotations

import re
from io import IncrementalNewlineDecoder
from typing import final

from smtpstate._errors import LocalProtocolError

# Faster to find than by ``in``: the search for its first octet jumps from line to line.
_DOT_LINE = re.compile(rb"\n\.")


def _only_crlf(chunk: bytes) -> bool:
    """Return whether every line end is CRLF; a CR that ends ``chunk`` is not looked at."""
    # Nothing else in the standard library tells line ends apart in one pass.
    decoder = IncrementalNewlineDecoder(None, translate=False)
    decoder.decode(chunk.decode("latin-1"))
    return decoder.newlines in (None, "\r\n")


@final
class LineEnds:
    """Make every line end CRLF (RFC 5321 §2.3.8).

    CRLF is kept; a bare LF or a bare CR becomes CRLF. So no server, whatever
    it takes for a line end, sees lines that the message does not have.
    """

    __slots__ = ("_after_cr", "at_line_start")

    def __init__(self) -> None:
        self._after_cr = False
        self.at_line_start = True  #: what was encoded so far is empty or ends in CRLF

    def encode(self, chunk: bytes) -> bytes:
        """Return the next part of the message with its line ends mended."""
        if self._after_cr and chunk[:1] == b"\n":
            chunk = chunk[1:]  # of a CRLF that was cut in two: its CR went out as CRLF
            self._after_cr = False
        if not chunk:
            return b""
        self._after_cr = chunk[-1:] == b"\r"
        if self._after_cr or not _only_crlf(chunk):
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
        self.at_line_start = chunk[-1:] == b"\n"
        return chunk

    def finish(self) -> bytes:
        """Return what makes the message end in CRLF; nothing if it does, or is empty. Another may follow."""
        self._after_cr = False
        if self.at_line_start:
            return b""
        self.at_line_start = True
        return b"\r\n"


@final
class StrictLineEnds:
    """Refuse a message with any line end but CRLF."""

    __slots__ = ("_after_cr",)

    def __init__(self) -> None:
        self._after_cr = False

    def check(self, chunk: bytes) -> None:
        """Look at the next part of the message.

        Raises:
            LocalProtocolError: it holds a bare CR or a bare LF.
        """
        if not chunk:
            return
        pairs = chunk.count(b"\r\n")
        feeds = chunk.count(b"\n")
        returns = chunk.count(b"\r")
        if self._after_cr:
            if chunk[:1] != b"\n":
                raise LocalProtocolError("the message holds a bare CR, and its line ends are strict")
            feeds -= 1
        self._after_cr = chunk[-1:] == b"\r"
        if feeds != pairs:
            raise LocalProtocolError("the message holds a bare LF, and its line ends are strict")
        if returns - self._after_cr != pairs:
            raise LocalProtocolError("the message holds a bare CR, and its line ends are strict")

    def finish(self) -> None:
        """Look at the end of the message.

        Raises:
            LocalProtocolError: it ends in a bare CR.
        """
        if self._after_cr:
            raise LocalProtocolError("the message holds a bare CR, and its line ends are strict")


@final
class DataEncoder:
    """Write a message as DATA wants it (RFC 5321 §4.5.2), so that only its end can end it."""

    __slots__ = ("_lines",)

    def __init__(self) -> None:
        self._lines = LineEnds()

    def encode(self, chunk: bytes) -> bytes:
        """Return the next part of the message, its dots at line starts doubled."""
        at_line_start = self._lines.at_line_start
        chunk = self._lines.encode(chunk)
        if b"." in chunk and _DOT_LINE.search(chunk):
            chunk = chunk.replace(b"\n.", b"\n..")
        if at_line_start and chunk[:1] == b".":
            chunk = b"." + chunk
        return chunk

    def finish(self) -> bytes:
        """Return the end of data, with the CRLF before it that the message may lack. Another may follow."""
        return self._lines.finish() + b".\r\n"
