"""Replies: what a server says, and the bounded parser that cuts them out of its octets."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

from smtpstate._errors import RemoteProtocolError
from smtpstate._limits import Limits
from smtpstate._text import visible

# RFC 3463 §2: status-code = class "." subject "." detail
_ENHANCED = re.compile(rb"([245])\.([0-9]{1,3})\.([0-9]{1,3})(?![0-9.])")
# The shortest line is a code and its end; a longer one is worth remembering if others may be like it.
_COMMON = 128  # octets
_MOST_KNOWN = 64  # lines

_ENHANCED_TEXT = re.compile(r"([245])\.([0-9]{1,3})\.([0-9]{1,3})")


@final
@dataclass(frozen=True, slots=True)
class EnhancedCode:
    """An enhanced status code such as ``5.1.1`` (RFC 3463 §2)."""

    status_class: int  #: 2 success, 4 persistent transient failure, 5 permanent failure
    subject: int  #: 1 address, 2 mailbox, 3 mail system, 4 network, 5 protocol, 6 content, 7 policy
    detail: int

    @classmethod
    def parse(cls, text: str) -> EnhancedCode:
        """Read ``class.subject.detail``.

        Raises:
            ValueError: ``text`` is no enhanced status code.
        """
        found = _ENHANCED_TEXT.fullmatch(text)
        if found is None:
            raise ValueError(f"not an enhanced status code: {text!r}")
        return cls(*map(int, found.groups()))

    def __str__(self) -> str:
        return f"{self.status_class}.{self.subject}.{self.detail}"


@final
@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply: its code and the text of each of its lines (RFC 5321 §4.2).

    The text is kept as octets, for servers send what they like and only people read it.
    """

    code: int  #: 200 to 599
    lines: tuple[bytes, ...] = (b"",)  #: without code, separator and line end
    local: bool = False  #: made by smtpstate, where no server had a word to say

    @classmethod
    def made_here(cls, code: int, text: str) -> Reply:
        """Return a reply that no server sent, on one line whatever ``text`` holds."""
        return cls(code, (visible(text).encode(),), local=True)

    @property
    def digit(self) -> int:
        """The first digit of the code, which says how it went (RFC 5321 §4.2.1)."""
        return self.code // 100

    @property
    def enhanced(self) -> EnhancedCode | None:
        """The enhanced status code, if there is one of the same class (RFC 2034 §4)."""
        found = _ENHANCED.match(self.lines[0])
        if found is None:
            return None
        enhanced = EnhancedCode(*map(int, found.groups()))
        return enhanced if enhanced.status_class == self.digit else None

    @property
    def text(self) -> str:
        """All lines as text; octets that are not UTF-8 become lone surrogates."""
        return "\n".join(line.decode("utf-8", "surrogateescape") for line in self.lines)

    def masking(self, secrets: Iterable[bytes]) -> Reply:
        """Return this reply with every one of ``secrets`` blotted out."""
        lines = self.lines
        for secret in secrets:
            lines = tuple(line.replace(secret, b"****") for line in lines)
        return self if lines == self.lines else Reply(self.code, lines, self.local)

    @property
    def visible_lines(self) -> tuple[str, ...]:
        """Each line as it can safely be printed: no octet of it can steer a terminal."""
        return tuple(visible(line.decode("utf-8", "replace")) for line in self.lines)

    def __bytes__(self) -> bytes:
        code = b"%d" % self.code
        *first, last = self.lines
        return b"".join(code + b"-" + line + b"\r\n" for line in first) + code + b" " + last + b"\r\n"

    def __str__(self) -> str:
        """The reply on one line, safe to print."""
        return f"{self.code} {' / '.join(self.visible_lines)}".rstrip()


class ReplyParser:
    """Cut a stream of octets into replies, in bounded memory (RFC 5321 §4.2, §4.5.3.1.5).

    It remembers how far it has searched, so that octets which arrive one by
    one cost no more than octets which arrive together.
    """

    __slots__ = ("_buffer", "_code", "_known", "_limits", "_lines", "_searched", "_size")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._buffer = bytearray()
        self._searched = 0
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
                if buffer or self._lines:
                    # The line end is still to come, and the shortest line is a code and its end.
                    self._check(buffer, max(len(buffer) + 1, 4))
                return None
            line = bytes(buffer[:end])
            alone = not self._lines
            if alone and line in self._known:  # checked before
                del buffer[:end]
                self._searched = 0
                return self._known[line]
            self._check(line, len(line))
            del buffer[:end]
            self._searched = 0
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

    def _check(self, line: bytes | bytearray, size: int) -> None:
        """Refuse a line, or the part of one that has come, that no reply can contain."""
        limits = self._limits
        if line:
            self._check_code(bytes(line[:5]))
        most = limits.challenge_line if line[:3] == b"334" else limits.reply_line
        if size > most:
            raise RemoteProtocolError(f"reply line is longer than {most} octets")
        if len(self._lines) >= limits.reply_lines:
            raise RemoteProtocolError(f"reply has more than {limits.reply_lines} lines")
        if self._size + size > limits.reply:
            raise RemoteProtocolError(f"reply is longer than {limits.reply} octets")

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
