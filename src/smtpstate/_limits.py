"""The bounds of every buffer and queue."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import final

from smtpstate._errors import ConfigError


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much is held of what a server sends, and how far we run ahead of it.

    Raises:
        ConfigError: a limit is below 1; nothing could ever be received or sent.
    """

    reply_line: int = 4096  #: octets of one reply line, its end included (RFC 5321 §4.5.3.1.5 asks 512)
    challenge_line: int = 12288  #: octets of a 334 line (RFC 4954 §4)
    reply_lines: int = 128  #: lines of one reply
    reply: int = 65536  #: octets of one reply
    unread: int = 1 << 20  #: octets given to a connection and not yet taken out as events
    challenges: int = 10  #: challenges of one AUTH
    window: int = 16384  #: octets of commands that may be unanswered (RFC 2920 §3.1)
    unix_window: int = 4096  #: the same on unix sockets, whose buffers are smaller
    chunks: int = 8  #: BDAT commands that may be unanswered, of 1 MiB together (RFC 3030 §2)

    def __post_init__(self) -> None:
        for limit in fields(self):
            if getattr(self, limit.name) < 1:
                raise ConfigError(f"limits: {limit.name}: expected a number above 0")
