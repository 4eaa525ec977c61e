"""What it means for everybody that an endpoint has failed before any mail was spoken of."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from smtpstate._delivery import Fate
from smtpstate._errors import RemoteProtocolError, TransportError
from smtpstate._link import Closing, Link
from smtpstate._login import LoginFailed
from smtpstate._outcomes import Phase, Status
from smtpstate._replies import Reply
from smtpstate._secure import NoTls, TlsBroke
from smtpstate._session import Refused

#: What ``open_session`` raises where a server or the network is at fault.
FAILURES = (TransportError, RemoteProtocolError, Refused, Closing, NoTls, TlsBroke, LoginFailed)

NO_CREDENTIALS = Fate(
    status=Status.REJECTED,
    reply=Reply.made_here(530, "5.7.0 the target forwards credentials, and none came with the message"),
    phase=Phase.AUTH,
)


def fate_of_failure(link: Link, failure: Exception) -> Fate:
    """Return what becomes of everybody at this endpoint."""
    if isinstance(failure, LoginFailed):
        status = Status.REJECTED if failure.final else Status.DEFERRED
        return _fate(link, failure.reply, status=status, moves="auth")
    if isinstance(failure, Refused):
        return _fate(link, failure.reply)
    if isinstance(failure, Closing):
        return _fate(link, failure.event.reply)
    if isinstance(failure, RemoteProtocolError):
        return _fate(link, failure.reply or Reply.made_here(451, f"4.5.0 {failure}"), error=failure)
    if isinstance(failure, NoTls):
        return _fate(link, Reply.made_here(454, f"4.7.5 {failure}"))
    if isinstance(failure, TlsBroke):
        # RFC 3463 §3.8: 7.5 cryptographic failure
        return _fate(
            link, Reply.made_here(454, f"4.7.5 TLS failed: {failure.cause}"), error=_told(failure.cause)
        )
    return _fate(link, Reply.made_here(421, f"{_network_code(link, failure)} {failure}"), error=failure)


def unfinished(link: Link, recipients: Sequence[int]) -> Callable[[int], Fate | None]:
    """Return who knows what those become for whom ``link`` is being opened, if that is never finished."""
    waiting: frozenset[int] | None = None  # made when somebody asks, which is hardly ever

    def fate(index: int) -> Fate | None:
        nonlocal waiting
        if waiting is None:
            waiting = frozenset(recipients)
        if index not in waiting:
            return None
        code = "4.4.1" if link.phase is Phase.CONNECT else "4.4.2"
        return _fate(link, Reply.made_here(421, f"{code} the delivery was not finished"))

    return fate


def _fate(
    link: Link,
    reply: Reply,
    *,
    status: Status = Status.DEFERRED,
    error: Exception | None = None,
    moves: str = "connect",
) -> Fate:
    return Fate(
        status=status, reply=reply, phase=link.phase, endpoint=link.endpoint, error=error, moves=moves
    )


def _told(cause: Exception) -> Exception | None:
    return None if isinstance(cause, Closing) else cause  # which is nobody else's business


def _network_code(link: Link, failure: Exception) -> str:
    # RFC 3463 §3.5: 4.4 unable to route, 4.1 no answer from host, 4.2 bad connection
    if isinstance(failure, TransportError) and failure.name_unknown:
        return "4.4.4"
    return "4.4.1" if link.phase is Phase.CONNECT else "4.4.2"
