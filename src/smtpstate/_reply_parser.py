"""Cut a server's octets into replies, in bounded memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias, final

from smtpstate._errors import LocalProtocolError, RemoteProtocolError
from smtpstate._limits import Limits
from smtpstate._replies import Reply

# The shortest line is a code and its end; a longer one is worth remembering if others may be like it.
_COMMON = 128  # octets
_START = 5  # octets of a line that say whether it can be one: a code, and a blank or the line's end
_MOST_KNOWN = 64  # lines

# Octets that need no look when they come one by one, and which of them may come after each.
# They are what nearly every reply of one line is made of, as far as its end.
_Fine: TypeAlias = Mapping[bytes, "_Fine"]
_NONE: _Fine = {}
_TEXT: dict[bytes, _Fine] = {}
_TEXT.update((bytes([octet]), _TEXT) for octet in range(256) if octet != 0x0A)
_DIGITS = [b"%d" % digit for digit in range(10)]
_SEPARATOR: _Fine = {b" ": _TEXT, b"-": _TEXT}
_CODE: _Fine = dict.fromkeys(_DIGITS[2:6], dict.fromkeys(_DIGITS, dict.fromkeys(_DIGITS, _SEPARATOR)))


@final
class ReplyParser:
    """Cut a stream of octets into replies, in bounded memory (RFC 5321 §4.2, §4.5.3.1.5).

    Whole lines are cut apart together, and each octet is searched for the end
    of a line once, so that octets which arrive one by one cost no more than
    octets which arrive together.
    """

    __slots__ = (
        "_buffer",
        "_code",
        "_failure",
        "_fine",
        "_fits",
        "_known",
        "_limits",
        "_lines",
        "_most_unread",
        "_short",
        "_size",
        "_whole",
        "idle",
        "received",
        "taken",
    )

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._most_unread = limits.unread
        # Octets of any line that can still have its end, and that may stay unread.
        self._short = min(limits.reply_line, limits.challenge_line, limits.reply, limits.unread) - 1
        self._buffer = bytearray()
        self._whole: list[bytes] = []  # lines that have come, without their LF, the next one last
        self._fine = _CODE  # octets that need no look; none unless ``idle``
        self._fits = self._short  # octets in all up to which that is so
        self._code: bytes = b""  # of the reply under way
        self._lines: list[bytes] = []
        self._size = 0  # octets of the reply under way
        self._failure: RemoteProtocolError | None = None  # after which nothing is believed
        self._known: dict[bytes, Reply] = {}  # replies of one line that have been met before
        self.received: int = 0  #: octets in all
        self.taken: int = 0  #: octets of all lines that have been looked at
        self.idle: bool = True  #: nothing has come since ``next`` returned None that it must look at

    def feed(self, data: bytes) -> None:
        """Take in octets from the server.

        Raises:
            LocalProtocolError: much was given before, and is not taken out yet.
        """
        # A bytearray cannot be looked up.
        after = self._fine.get(data) if type(data) is bytes else None
        if after is not None and self.received < self._fits:
            self._fine = after
            self.received += 1
            self._buffer += data
            return
        if self.received - self.taken > self._most_unread:
            raise LocalProtocolError("call next_event until it returns NEED_DATA before giving more")
        self.received += len(data)
        self._buffer += data
        if self._fine is not _TEXT or self.received > self._fits or data.find(b"\n") >= 0:
            self.idle = False
            self._fine = _NONE

    @property
    def unread(self) -> int:
        """Octets that have come and are not yet looked at as a line."""
        return self.received - self.taken

    @property
    def holds_octets(self) -> bool:
        """Whether octets have come that belong to no reply returned so far."""
        return bool(self.received > self.taken or self._lines)

    def next(self) -> Reply | None:
        """Return the next whole reply, or None until more octets come.

        Raises:
            RemoteProtocolError: the octets cannot become a reply, or not
                within the limits; raised as soon as that is certain, and by
                every further call.
        """
        try:
            while not self.idle:
                if self._failure is not None:
                    raise RemoteProtocolError(str(self._failure))
                while self._whole:
                    line = self._whole.pop()
                    self.taken += len(line) + 1
                    reply = self._known.get(line) if not self._lines else None
                    if reply is None:
                        reply = self._read(line)
                    if reply is not None:
                        if self.taken == self.received:
                            self.idle, self._fine, self._fits = True, _CODE, self.received + self._short
                        return reply
                self._find_lines()
        except RemoteProtocolError as failure:
            self._failure = failure
            self.idle = False
            raise
        return None

    def skip_same(self, reply: Reply, most: int) -> int:
        """Skip up to ``most`` replies that say the same as ``reply``, which was the last; return how many."""
        lines = self._whole
        if not lines or self._known.get(lines[-1]) is not reply:
            return 0
        line, skipped = lines[-1], 0
        while skipped < most and lines and lines[-1] == line:
            lines.pop()
            skipped += 1
        self.taken += skipped * (len(line) + 1)
        if self.taken == self.received:
            self.idle, self._fine, self._fits = True, _CODE, self.received + self._short
        return skipped

    def _find_lines(self) -> None:
        """Cut off all lines that have come whole; where there are none, look at what there is of one."""
        buffer = self._buffer
        end = buffer.rfind(b"\n")
        if end >= 0:
            self._whole = bytes(buffer[:end]).split(b"\n")
            self._whole.reverse()
            del buffer[: end + 1]
            return
        self.idle = True
        # The line end is still to come, and the shortest line is a code and its end.
        most = self._check(buffer, max(len(buffer) + 1, 4))
        if len(buffer) >= _START:
            self._fine, self._fits = _TEXT, self.taken + min(most - 1, self._most_unread)

    def _read(self, line: bytes) -> Reply | None:
        """Take a line without its LF, and return the reply that it ends, if it ends one."""
        size = len(line) + 1
        self._check(line + b"\n", size)
        self._size += size
        text = line.removesuffix(b"\r")
        self._lines.append(text[4:])
        if text[3:4] == b"-":
            self._code = text[:3]
            return None
        alone = len(self._lines) == 1
        reply = Reply(int(text[:3]), tuple(self._lines))
        self._code, self._lines, self._size = b"", [], 0
        if alone and size <= _COMMON and len(self._known) < _MOST_KNOWN:
            self._known[line] = reply
        return reply

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
