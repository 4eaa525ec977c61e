"""The life of a connection around its transactions: greeting, introduction, goodbye."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from smtpstate._about_client import Xclient, Xforward
from smtpstate._commands import Ehlo, Helo, Lhlo, Protocol, Quit, Rset
from smtpstate._config import TargetConfig
from smtpstate._errors import RemoteProtocolError, TransportError
from smtpstate._ladder import Ladder, Rung
from smtpstate._link import Closing, Link
from smtpstate._login import Login, authenticate
from smtpstate._outcomes import Phase
from smtpstate._replies import Reply
from smtpstate._requests import Connect, Steps
from smtpstate._secure import TlsBroke, begin_tls, secure
from smtpstate._trace import Connecting, Opened

# RFC 5321 §4.5.3.2 gives no time-out for QUIT; all mail is settled by then, so it is short.
_GOODBYE = 5.0


class Refused(Exception):
    """The server refused before any mail was spoken of; never leaves the core."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


def open_session(link: Link, config: TargetConfig, rung: Rung, login: Login | None) -> Steps[None]:
    """Connect, hear the greeting, introduce ourselves, encrypt and authenticate.

    Raises:
        Refused: the server does not want to talk to us.
        Closing: likewise, by 421.
        NoTls, TlsBroke: as ``secure``.
        LoginFailed: as ``authenticate``.
        TransportError: it cannot be reached, or was lost.
        RemoteProtocolError: it speaks no SMTP.
    """
    ladder = Ladder(config, link.endpoint)
    link.trace(Connecting, link.endpoint)
    deadline = link.deadline(config.connect_timeout)
    link.connected = yield from Connect(link.endpoint, config.source_address, deadline)
    link.trace(Opened, link.connected.remote or link.endpoint.path or str(link.endpoint))
    if link.endpoint.implicit_tls:
        yield from begin_tls(link, ladder, rung, deadline)
        with handshake_until_heard(link):
            yield from await_greeting(link)
    else:
        yield from await_greeting(link)
    yield from introduce(link, config)
    if rung is not Rung.PLAIN and not link.endpoint.implicit_tls:
        encrypted = yield from secure(link, ladder, rung, required=config.require_tls)
        if encrypted:
            yield from introduce_inside(link, config)
    if login is not None:
        yield from authenticate(link, config, login)
    if link.conn.holds_octets:
        raise RemoteProtocolError("octets came that nobody had asked for")


def await_greeting(link: Link) -> Steps[None]:
    """Hear the greeting (RFC 5321 §3.1)."""
    link.phase = Phase.GREETING
    reply = yield from link.greeting()
    if reply.code != 220:
        raise Refused(reply)


def introduce(link: Link, config: TargetConfig) -> Steps[None]:
    """Say who we are, and learn what the server offers (RFC 5321 §3.2, RFC 2033 §4.1)."""
    link.phase = Phase.HELLO
    name = config.hostname or own_literal(link)
    if config.speaks is Protocol.LMTP:
        answer = yield from link.ask(Lhlo(name))
    else:
        answer = yield from link.ask(Ehlo(name))
        if answer.reply.digit == 5:
            # RFC 5321 §3.2: a server that knows no EHLO may know HELO
            answer = yield from link.ask(Helo(name))
    if answer.reply.digit != 2:
        raise Refused(answer.reply)
    if config.ignore_keywords:
        link.conn.capabilities = link.conn.capabilities.without(config.ignore_keywords)


def introduce_inside(link: Link, config: TargetConfig) -> Steps[None]:
    """Introduce ourselves anew inside TLS, where nothing learned before counts (RFC 3207 §4.2)."""
    with handshake_until_heard(link):
        yield from introduce(link, config)


@contextmanager
def handshake_until_heard(link: Link) -> Generator[None, None, None]:
    """Take a failure before the first whole reply inside TLS for one of the handshake.

    TLS 1.3 tells only then that the server did not like our certificate
    (RFC 8446 §4.4.2.4).
    """
    heard = link.heard
    try:
        yield
    except TransportError as failure:
        if link.heard > heard:
            raise
        link.phase = Phase.TLS
        raise TlsBroke(failure) from failure


def own_literal(link: Link) -> str:
    """Return our address as a literal (RFC 5321 §4.1.3); no look-up, which could be slow or wrong."""
    local = link.connected.local if link.connected else None
    if local is None:
        return "localhost"
    address = local.partition("%")[0]  # the scope of a link-local address is nobody else's business
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"


def present_client(
    link: Link, config: TargetConfig, client: tuple[tuple[str, str], ...]
) -> Steps[str | None]:
    """Tell the server, for a relay, whom the message was had from; return a note if that failed.

    XFORWARD tells it for the log; XCLIENT makes the server take us for the client,
    so that such a connection serves no other.
    """
    if not client or link.client == client:
        return None
    if link.conn.in_transaction:
        answer = yield from link.ask(Rset())
        if answer.reply.digit != 2:
            raise RemoteProtocolError("RSET was refused", answer.reply)
    known = {name.upper() for name in link.conn.capabilities.get("XFORWARD", ())}
    attributes = tuple((name, value) for name, value in client if name in known)
    if attributes:
        answer = yield from link.ask(Xforward(attributes))
        return None if answer.reply.digit == 2 else f"the server refused XFORWARD: {answer.reply}"
    known = {name.upper() for name in link.conn.capabilities.get("XCLIENT", ())}
    attributes = tuple((name, value) for name, value in client if name in known)
    if not attributes:
        return "the client was not named: the server offers neither XFORWARD nor XCLIENT for it"
    answer = yield from link.ask(Xclient(attributes))
    if answer.reply.digit != 2:
        return f"the server refused XCLIENT: {answer.reply}"
    link.client = client
    login, link.login = link.login, None
    yield from introduce(link, config)
    if login is not None:  # the session has begun anew, and has forgotten who we are
        yield from authenticate(link, config, login)
    return None


def say_goodbye(link: Link, config: TargetConfig) -> Steps[None]:
    """QUIT, if the connection is in step; whatever happens changes nothing any more."""
    if not link.usable:
        return
    timeout = min(_GOODBYE, config.command_timeout)
    try:
        yield from link.ask(Quit(), timeout)
    except (TransportError, RemoteProtocolError, Closing) as error:
        link.failed(error)
    link.broken = True
