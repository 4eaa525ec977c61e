"""Undo what makes a message safe to send, and notice what makes it unsafe."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

_END = b"\r\n.\r\n"


@final
class LineEnds:
    """Notice a CR or LF that stands alone, however the octets are cut."""

    __slots__ = ("_complain", "_held")

    def __init__(self, complain: Callable[[str], None]) -> None:
        self._complain = complain
        self._held = b""  # a CR at the very end, whose LF may be the next octet

    def check(self, data: bytes) -> None:
        """Look at the next octets of the message."""
        block = self._held + data
        self._held = b"\r" if block.endswith(b"\r") else b""
        pairs = block.count(b"\r\n")
        if block.count(b"\r") - len(self._held) != pairs:
            self._complain("the message holds a bare CR")
        if block.count(b"\n") != pairs:
            self._complain("the message holds a bare LF")

    def end(self) -> None:
        """Say that the message has ended."""
        if self._held:
            self._complain("the message ends in a bare CR")


@final
class Undotter:
    """Take the message out of what follows DATA (RFC 5321 §4.5.2)."""

    __slots__ = ("_begun", "_complain", "_held", "_line_ends")

    def __init__(self, complain: Callable[[str], None]) -> None:
        self._complain = complain
        self._line_ends = LineEnds(complain)
        # The message begins at the start of a line: play that a line end came before it.
        self._held = b"\r\n"
        self._begun = False

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        """Return a further part of the message, and what follows its end or None if it has not come."""
        block = self._held + data
        end = block.find(_END)
        if end >= 0:
            return self._undo(block[: end + 2]), block[end + len(_END) :]
        # What may be the beginning of the end is held back.
        kept = next(
            n for n in range(min(len(_END), len(block)), -1, -1) if _END.startswith(block[-n:] if n else b"")
        )
        self._held = block[len(block) - kept :]
        return self._undo(block[: len(block) - kept]), None

    def _undo(self, block: bytes) -> bytes:
        plain = block.replace(b"\r\n.", b"\r\n")
        # RFC 5321 §4.5.2: a client doubles the dot, so one dot alone is a line that it forgot.
        if len(block) - len(plain) != block.count(b"\r\n.."):
            self._complain("a line of the message begins with a dot that was not doubled")
        if block and not self._begun:
            self._begun = True
            plain = plain[2:]
        self._line_ends.check(plain)
        return plain
