"""Replies: what a server says."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

from smtpstate._text import visible

# RFC 3463 §2: status-code = class "." subject "." detail
_ENHANCED = re.compile(rb"([245])\.([0-9]{1,3})\.([0-9]{1,3})(?![0-9.])")
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
