"""Events: everything that can happen on a connection, one class each."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias, final

from smtpstate._capabilities import Capabilities
from smtpstate._commands import Command, Rcpt
from smtpstate._replies import Reply
from smtpstate._slots import setter


@final
class NeedData(Enum):
    """The type of ``NEED_DATA``."""

    NEED_DATA = "need data"


#: What ``Connection.next_event`` returns when nothing more has fully happened.
NEED_DATA: Final = NeedData.NEED_DATA


@dataclass(frozen=True, slots=True)
class Event:
    """Something that has happened on a connection."""


@dataclass(frozen=True, slots=True, init=False)
class Answered(Event):
    """A reply has come, and it belongs to ``command``."""

    reply: Reply
    command: Command

    def __init__(self, reply: Reply, command: Command) -> None:
        _set_reply(self, reply)  # at half the cost of what ``dataclass`` writes: thousands may come at once
        _set_command(self, command)


_set_reply = setter(Answered, "reply")
_set_command = setter(Answered, "command")


@final
@dataclass(frozen=True, slots=True, init=False)
class Greeted(Answered):
    """The server has greeted: with 220 it may be talked to, else the connection is over (RFC 5321 §3.1)."""


@final
@dataclass(frozen=True, slots=True)
class HelloAnswered(Answered):
    """EHLO, HELO or LHLO is answered (RFC 5321 §4.1.1.1)."""

    capabilities: Capabilities  #: empty where the server refused, or was asked by HELO


@final
@dataclass(frozen=True, slots=True, init=False)
class TlsReady(Answered):
    """The server awaits a TLS handshake; call ``tls_started`` once it is done (RFC 3207 §4)."""


@final
@dataclass(frozen=True, slots=True, init=False)
class Challenged(Answered):
    """The server wants a SASL response (RFC 4954 §4)."""


@final
@dataclass(frozen=True, slots=True, init=False)
class Authenticated(Answered):
    """The server has taken the credentials (RFC 4954 §4)."""


@final
@dataclass(frozen=True, slots=True, init=False)
class SenderAnswered(Answered):
    """MAIL is answered (RFC 5321 §4.1.1.2)."""


@final
@dataclass(frozen=True, slots=True, init=False)
class RecipientAnswered(Answered):
    """RCPT is answered (RFC 5321 §4.1.1.3)."""


@final
@dataclass(frozen=True, slots=True, init=False)
class ContentWanted(Answered):
    """The server awaits the message: 354 (RFC 5321 §4.1.1.4)."""


@final
@dataclass(frozen=True, slots=True, init=False)
class ChunkAnswered(Answered):
    """A BDAT that was not the last is answered (RFC 3030 §2)."""


@final
@dataclass(frozen=True, slots=True, init=False)
class MessageAnswered(Answered):
    """The final reply to the whole message.

    In LMTP only where there is no reply for each recipient: refused before
    its end, or with no recipient standing.
    """

    early: bool  #: it came before the end of the message was sent; the connection is over

    def __init__(self, reply: Reply, command: Command, early: bool = False) -> None:
        _set_reply(self, reply)
        _set_command(self, command)
        _set_early(self, early)


_set_early = setter(MessageAnswered, "early")


@final
@dataclass(frozen=True, slots=True, init=False)
class RecipientDelivered(Answered):
    """LMTP's final reply for one recipient (RFC 2033 §4.2)."""

    recipient: Rcpt  #: the command that named it

    def __init__(self, reply: Reply, command: Command, recipient: Rcpt) -> None:
        _set_reply(self, reply)
        _set_command(self, command)
        _set_recipient(self, recipient)


_set_recipient = setter(RecipientDelivered, "recipient")


@final
@dataclass(frozen=True, slots=True, init=False)
class CommandAnswered(Answered):
    """Any other answer: NOOP, RSET, QUIT, a refused STARTTLS, AUTH or DATA."""


@final
@dataclass(frozen=True, slots=True)
class ServiceClosing(Event):
    """421: the server ends the connection; this is the reply of all that is unanswered (RFC 5321 §3.8).

    With LMTP's final replies it is the reply of one recipient; the next ones never get theirs.
    """

    reply: Reply
    unanswered: tuple[Command, ...]
    recipient: Rcpt | None = None  #: the one it was said of, among LMTP's final replies


@final
@dataclass(frozen=True, slots=True)
class ConnectionEnded(Event):
    """The stream has ended; a reply that was cut off is not believed."""

    unanswered: tuple[Command, ...]


Happening: TypeAlias = Event | NeedData
