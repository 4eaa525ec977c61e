"""Encrypt a connection, as far as the settings ask for it and the server allows it."""

from __future__ import annotations

from smtpstate._commands import StartTls
from smtpstate._errors import TransportError
from smtpstate._events import TlsReady
from smtpstate._ladder import Ladder, Rung
from smtpstate._link import Closing, Link
from smtpstate._outcomes import Phase
from smtpstate._replies import Reply
from smtpstate._requests import Handshake, Steps
from smtpstate._trace import Secured


class NoTls(Exception):
    """TLS is required and not to be had; never leaves the core."""

    def __init__(self, why: str, reply: Reply | None = None) -> None:
        super().__init__(why)
        self.reply = reply


class TlsBroke(Exception):
    """TLS was begun and failed; never leaves the core.

    Attributes:
        cause: what the connection failed with; None if the server said 421.
    """

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


def secure(link: Link, ladder: Ladder, rung: Rung, *, required: bool) -> Steps[bool]:
    """Encrypt by STARTTLS and return whether that was done (RFC 3207 §4).

    Raises:
        NoTls: it is required, and the server does not want it.
        TlsBroke: it was tried and failed; this connection is of no more use.
    """
    if not link.offers("STARTTLS"):
        if required:
            link.phase = Phase.TLS
            raise NoTls("TLS is required, and the server does not offer STARTTLS")
        return False
    link.phase = Phase.TLS
    try:
        answer = yield from link.ask(StartTls())
    except (Closing, TransportError) as failure:
        raise TlsBroke(failure) from failure
    if not isinstance(answer, TlsReady):
        if required:
            raise NoTls(f"TLS is required, and the server refused STARTTLS: {answer.reply}", answer.reply)
        return False
    yield from begin_tls(link, ladder, rung, link.deadline(link.patience))
    link.conn.tls_started()
    return True


def begin_tls(link: Link, ladder: Ladder, rung: Rung, deadline: float) -> Steps[None]:
    """Do the handshake.

    Raises:
        TlsBroke: it failed.
    """
    link.phase = Phase.TLS
    try:
        link.tls = yield from Handshake(ladder.server_name, ladder.client(rung), deadline)
    except TransportError as failure:
        raise TlsBroke(failure) from failure
    link.trace(Secured, link.tls)
