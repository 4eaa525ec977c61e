"""Cut a server's octets into replies, in bounded memory."""

from __future__ import annotations

from typing import final

from smtpstate._errors import RemoteProtocolError
from smtpstate._limits import Limits
from smtpstate._replies import Reply

# The shortest line is a code and its end; a longer one is worth remembering if others may be like it.
_COMMON = 128  # octets
_START = 5  # octets of a line that say whether it can be one: a code, and a blank or the line's end
_MOST_KNOWN = 64  # lines


@final
class ReplyParser:
    """Cut a stream of octets into replies, in bounded memory (RFC 5321 §4.2, §4.5.3.1.5).

    It remembers how far it has searched, so that octets which arrive one by
    one cost no more than octets which arrive together.
    """

    __slots__ = ("_buffer", "_code", "_fits", "_known", "_limits", "_lines", "_searched", "_size")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._buffer = bytearray()
        self._searched = 0
        self._fits = -1  # octets up to which the line under way needs no further look while it has no end
        self._code: bytes = b""  # of the reply under way
        self._lines: list[bytes] = []
        self._size = 0  # octets of the reply under way
        self._known: dict[bytes, Reply] = {}  # replies of one line that have been met before

    def feed(self, data: bytes) -> None:
        """Take in octets from the server."""
        self._buffer += data

    @property
    def unread(self) -> int:
        """Octets that have come and are not yet looked at as a line."""
        return len(self._buffer)

    @property
    def holds_octets(self) -> bool:
        """Whether octets have come that belong to no reply returned so far."""
        return bool(self._buffer or self._lines)

    def next(self) -> Reply | None:
        """Return the next whole reply, or None until more octets come.

        Raises:
            RemoteProtocolError: the octets cannot become a reply, or not
                within the limits; raised as soon as that is certain.
        """
        buffer = self._buffer
        while True:
            end = buffer.find(b"\n", self._searched) + 1
            if not end:
                self._searched = len(buffer)
                if len(buffer) > self._fits and (buffer or self._lines):
                    # The line end is still to come, and the shortest line is a code and its end.
                    most = self._check(buffer, max(len(buffer) + 1, 4))
                    self._fits = most - 1 if len(buffer) >= _START else -1
                return None
            line = bytes(buffer[:end])
            alone = not self._lines
            if alone and line in self._known:  # checked before
                del buffer[:end]
                self._searched, self._fits = 0, -1
                return self._known[line]
            self._check(line, len(line))
            del buffer[:end]
            self._searched, self._fits = 0, -1
            self._size += end
            text = line[:-2] if line.endswith(b"\r\n") else line[:-1]
            self._lines.append(text[4:])
            if text[3:4] != b"-":
                reply = Reply(int(text[:3]), tuple(self._lines))
                self._code, self._lines, self._size = b"", [], 0
                if alone and end <= _COMMON and len(self._known) < _MOST_KNOWN:
                    self._known[line] = reply
                return reply
            self._code = text[:3]

    def _check(self, line: bytes | bytearray, size: int) -> int:
        """Refuse a line, or the part of one that has come, that no reply can contain.

        Returns how many octets it may have, its end included.
        """
        limits = self._limits
        if line:
            self._check_code(bytes(line[:_START]))
        most = limits.challenge_line if line[:3] == b"334" else limits.reply_line
        if size > most:
            raise RemoteProtocolError(f"reply line is longer than {most} octets")
        if len(self._lines) >= limits.reply_lines:
            raise RemoteProtocolError(f"reply has more than {limits.reply_lines} lines")
        if self._size + size > limits.reply:
            raise RemoteProtocolError(f"reply is longer than {limits.reply} octets")
        return min(most, limits.reply - self._size)

    def _check_code(self, start: bytes) -> None:
        # RFC 5321 §4.2: Reply-code = %x32-35 %x30-35 %x30-39.  Servers do use a second
        # digit above 5, so any is taken.
        code, after = start[:3], start[3:]
        if not (
            code[:1] in (b"2", b"3", b"4", b"5")
            and (len(code) == 1 or code[1:].isdigit())
            and (after[:1] in (b"", b" ", b"-", b"\n") or after in (b"\r", b"\r\n"))
        ):
            # A short line ends before its third digit: what is left of it is shown as it is.
            raise RemoteProtocolError(
                "a reply must begin with three digits and a blank, "
                f"not with {start[:4].decode('ascii', 'replace')!r}"
            )
        if self._code and not self._code.startswith(code):
            raise RemoteProtocolError(f"reply changes its code from {self._code.decode()} to {code.decode()}")
