"""What became of a recipient."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, final

from smtpstate._replies import Reply
from smtpstate._text import visible

if TYPE_CHECKING:
    from smtpstate._endpoints import Endpoint


@final
class Status(Enum):
    """How a recipient ended. Exactly one of these, always."""

    DELIVERED = "delivered"  #: the server has taken the message for this recipient
    DEFERRED = "deferred"  #: nothing was accepted; try again later
    REJECTED = "rejected"  #: refused for good
    #: The end of the message was sent and the answer never came: it may have been
    #: accepted, and sending it again may duplicate it (RFC 1047).
    UNCERTAIN = "uncertain"


@final
class Phase(Enum):
    """How far the delivery had come when the outcome was decided."""

    CONNECT = "connect"
    GREETING = "greeting"
    HELLO = "hello"
    TLS = "tls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    CONTENT = "content"
    FINAL = "final"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one recipient."""

    recipient: str  #: its address, as given
    status: Status
    reply: Reply  #: the server's, or where it had no word to say, a local one
    phase: Phase  #: how far it had come
    endpoint: Endpoint | None = None  #: where that happened; None if nothing was tried
    error: Exception | None = None  #: what went wrong, where it was no reply
    notes: tuple[str, ...] = ()  #: what was asked for and could not be passed on

    @property
    def may_retry(self) -> bool:
        """Whether trying again is of use and cannot duplicate the message: true exactly for DEFERRED."""
        return self.status is Status.DEFERRED

    def __str__(self) -> str:
        return f"{visible(self.recipient)}: {self.status.value}: {self.reply}"
