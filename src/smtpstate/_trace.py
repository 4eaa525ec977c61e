"""What can be seen of a dialogue while it goes on; secrets are masked before they get here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias, final

from smtpstate._endpoints import Endpoint
from smtpstate._errors import (
    DeadlinePassed,
    RemoteProtocolError,
    SmtpStateError,
    TlsFailed,
    TransportError,
)
from smtpstate._outcomes import Outcome, Phase
from smtpstate._replies import Reply
from smtpstate._requests import Negotiated
from smtpstate._text import visible


@dataclass(frozen=True, slots=True)
class TraceEvent:
    """Something that happened, and when. Subclasses are final; ``str`` is a line for people, or several."""

    time: float  #: seconds on the adapter's clock
    phase: Phase  #: how far the connection had come


@final
@dataclass(frozen=True, slots=True)
class Connecting(TraceEvent):
    """A connection is about to be opened."""

    endpoint: Endpoint

    def __str__(self) -> str:
        return f"* connecting to {self.endpoint}"


@final
@dataclass(frozen=True, slots=True)
class Opened(TraceEvent):
    """A connection has been opened."""

    remote: str  #: the server's IP address, or the path of its unix socket

    def __str__(self) -> str:
        return f"* connected to {self.remote}"


@final
@dataclass(frozen=True, slots=True)
class Secured(TraceEvent):
    """The connection is encrypted from here on."""

    tls: Negotiated

    def __str__(self) -> str:
        verified = "verified" if self.tls.verified else "not verified"
        return f"* {self.tls.version}, {self.tls.cipher}, {verified}"


@final
@dataclass(frozen=True, slots=True)
class LoggedIn(TraceEvent):
    """The server knows who we are from here on."""

    who: str  #: the user, and the mechanism

    def __str__(self) -> str:
        return f"* authenticated: {self.who}"


@final
@dataclass(frozen=True, slots=True)
class Sent(TraceEvent):
    """A command has been handed to the connection; secrets and content are masked."""

    line: str

    def __str__(self) -> str:
        return f"> {self.line}"


@final
@dataclass(frozen=True, slots=True)
class Received(TraceEvent):
    """A whole reply has come."""

    reply: Reply

    def __str__(self) -> str:
        reply = self.reply
        if reply.code == 334:
            return "< 334 ****"  # of SCRAM it holds what a password could be guessed from
        if len(reply.lines) == 1:
            # As ``str(reply)`` would say it, in a third of the time: with a log that is paid for each reply.
            return f"< {reply.code} {visible(reply.lines[0].decode('utf-8', 'replace'))}".rstrip()
        return "\n".join(
            f"< {reply.code}{separator}{line}".rstrip()
            for separator, line in zip(
                ["-"] * (len(reply.lines) - 1) + [" "], reply.visible_lines, strict=True
            )
        )


@final
class Cause(Enum):
    """What was at fault when a connection failed."""

    NETWORK = "network"  #: it was refused, broken or ended
    NAME = "name"  #: the host name does not resolve
    DEADLINE = "deadline"  #: a deadline passed
    CERTIFICATE = "certificate"  #: the server's certificate, and nothing else of TLS
    TLS = "tls"  #: TLS otherwise
    PROTOCOL = "protocol"  #: what the server said
    OTHER = "other"  #: the message, its source, or the server's 421


@final
@dataclass(frozen=True, slots=True)
class Failed(TraceEvent):
    """The connection has failed, or was given up."""

    error: str
    cause: Cause = Cause.OTHER
    reply: Reply | None = None  #: the one that was out of place, where there was one

    @classmethod
    def because(cls, time: float, phase: Phase, error: Exception) -> Failed:
        """Return the event for ``error``, or for what it was raised from where that is ours.

        The text of a foreign exception may hold anything, so that only its class is shown.
        """
        while not isinstance(error, SmtpStateError) and isinstance(error.__cause__, Exception):
            error = error.__cause__
        ours = type(error).__module__.startswith("smtpstate.")
        text = (str(error) if ours else "") or type(error).__name__
        reply = error.reply if isinstance(error, RemoteProtocolError) else None
        return cls(time, phase, text, _cause_of(error), reply)

    def __str__(self) -> str:
        return f"* failed: {self.error}"


def _cause_of(error: Exception) -> Cause:
    """Return what was at fault."""
    match error:
        case TlsFailed():
            return Cause.CERTIFICATE if error.certificate else Cause.TLS
        case DeadlinePassed():
            return Cause.DEADLINE
        case TransportError():
            return Cause.NAME if error.name_unknown else Cause.NETWORK
        case RemoteProtocolError():
            return Cause.PROTOCOL
        case _:
            return Cause.OTHER


@final
@dataclass(frozen=True, slots=True)
class Settled(TraceEvent):
    """A recipient has its outcome."""

    outcome: Outcome

    def __str__(self) -> str:
        return f"= {self.outcome}"


#: Takes each trace event as it happens. It must not raise.
Trace: TypeAlias = Callable[[TraceEvent], None]
