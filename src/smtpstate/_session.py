"""The life of a connection around its transactions: greeting, introduction, goodbye."""

from __future__ import annotations

from smtpstate._commands import Ehlo, Helo, Lhlo, Protocol, Quit
from smtpstate._config import TargetConfig
from smtpstate._errors import RemoteProtocolError, TransportError
from smtpstate._link import Closing, Link
from smtpstate._outcomes import Phase
from smtpstate._replies import Reply
from smtpstate._requests import Connect, Steps
from smtpstate._trace import Connecting, Opened

# RFC 5321 §4.5.3.2 gives no time-out for QUIT; all mail is settled by then, so it is short.
_GOODBYE = 5.0


class Refused(Exception):
    """The server refused before any mail was spoken of; never leaves the core."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


def open_session(link: Link, config: TargetConfig) -> Steps[None]:
    """Connect, hear the greeting and introduce ourselves.

    Raises:
        Refused: the server does not want to talk to us.
        Closing: likewise, by 421.
        TransportError: it cannot be reached, or was lost.
        RemoteProtocolError: it speaks no SMTP.
    """
    link.trace(Connecting, link.endpoint)
    deadline = link.deadline(config.connect_timeout)
    link.connected = yield from Connect(link.endpoint, config.source_address, deadline)
    link.trace(Opened, link.connected.remote or link.endpoint.path)
    yield from await_greeting(link)
    yield from introduce(link, config)


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


def own_literal(link: Link) -> str:
    """Return our address as a literal (RFC 5321 §4.1.3); no look-up, which could be slow or wrong."""
    local = link.connected.local if link.connected else None
    if local is None:
        return "localhost"
    address = local.partition("%")[0]  # the scope of a link-local address is nobody else's business
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"


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
