"""Authenticate a connection, where that is wanted, allowed and possible (RFC 4954)."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

from smtpstate._auth import Auth, Credentials
from smtpstate._commands import AuthAbort, AuthBegin, AuthResponse
from smtpstate._config import TargetConfig
from smtpstate._errors import RemoteProtocolError
from smtpstate._events import Answered, Authenticated, Challenged
from smtpstate._link import Link
from smtpstate._mechanisms import MechanismFailed, decode_challenge
from smtpstate._outcomes import Phase
from smtpstate._replies import Reply
from smtpstate._requests import Steps
from smtpstate._sasl import METHODS, MechanismMissing, SaslExchange, choose, own
from smtpstate._trace import LoggedIn


@final
@dataclass(frozen=True, slots=True)
class Login:
    """Who we are to be on a connection; connections of different logins are never shared."""

    auth: Auth
    credentials: Credentials | None  #: that came with the message, for ``forward``
    nonce: Callable[[], str] | None  #: gives random characters for SCRAM

    @property
    def user(self) -> str:
        """The user name; empty where there is none."""
        return self.credentials.user if self.credentials is not None else self.auth.user

    def same_as(self, other: Login | None) -> bool:
        """Return whether a connection of the other may be used."""
        return other is not None and self.auth == other.auth and self.credentials == other.credentials


class LoginFailed(Exception):
    """We are not let in; never leaves the core.

    Attributes:
        reply: the server's, or a local one that says why nothing was tried.
        detail: what the server gave as its reason, beside the reply.
        final: it is the sender's own fault, and trying again is of no use.
    """

    def __init__(self, reply: Reply, *, final: bool = False, detail: str | None = None) -> None:
        super().__init__(str(reply))
        self.reply = reply
        self.detail = detail
        self.final = final


def authenticate(link: Link, config: TargetConfig, login: Login) -> Steps[None]:
    """Log in, by the best mechanism that settings and server have in common.

    Raises:
        LoginFailed: the server refused, or there is no way that is allowed here.
            Nothing of the credential has left then, but to the server that refused it.
        RemoteProtocolError: the server is not who it should be, or speaks no SASL.
    """
    link.phase = Phase.AUTH
    if not (config.insecure_auth or link.endpoint.is_unix or (link.tls and link.tls.verified)):
        raise LoginFailed(
            Reply.made_here(454, "4.7.11 no credential is sent without TLS to a verified server")
        )
    exchange = _exchange(link, login)
    initial = exchange.initial()
    hide(link, login, initial)
    answer = yield from link.ask(AuthBegin(exchange.mechanism, initial))
    while isinstance(answer, Challenged):
        answer = yield from _respond(link, login, exchange, answer)
    if not isinstance(answer, Authenticated):
        # RFC 4954 §4 allows another try; a weaker mechanism would only give the password away.
        final = login.credentials is not None and answer.reply.digit == 5
        raise LoginFailed(answer.reply, final=final, detail=exchange.detail)
    if not exchange.proven:
        raise RemoteProtocolError("the server let us in before it had proved itself", answer.reply)
    link.login = login
    link.welcome = answer.reply
    link.trace(LoggedIn, f"{login.user or 'as the certificate says'} by {exchange.mechanism}")


def hide(link: Link, login: Login, response: bytes | None) -> None:
    """Let no reply be shown with what has been sent: some servers repeat it."""
    secrets = {
        secret.encode() for secret in (login.auth.password, login.auth.token) if isinstance(secret, str)
    }
    if login.credentials is not None:
        secrets.add(login.credentials.password.encode())
    encoded = {b64encode(secret) for secret in (*secrets, response or b"")}
    # The longest first, or what is left of it could still be read.
    link.secrets = tuple(sorted({*link.secrets, *secrets, *encoded} - {b""}, key=len, reverse=True))


def _exchange(link: Link, login: Login) -> SaslExchange:
    auth, offered = login.auth, link.conn.capabilities.mechanisms
    try:
        if auth.mechanism is not None:
            return own(auth.name, auth.mechanism(), offered)
        return choose(
            auth.kind,
            offered,
            user=login.user,
            secret=_secret(link, login, offered),
            nonce=login.nonce() if login.nonce else "",
            tls=link.tls,
            end_point=auth.end_point,
            host=link.endpoint.host or None,
            port=link.endpoint.port or None,
        )
    except MechanismMissing as missing:
        raise LoginFailed(Reply.made_here(454, f"4.7.0 {missing}")) from None


def _secret(link: Link, login: Login, offered: Sequence[str]) -> str:
    if login.credentials is not None:
        return login.credentials.password
    # A token is asked for only where it can be used: asking may cost something.
    if login.auth.token and not set(METHODS[login.auth.kind]).isdisjoint(offered):
        token = login.auth.ask_token()
        link.secrets = (*link.secrets, token.encode(), b64encode(token.encode()))
        return token
    return login.auth.password


def _respond(link: Link, login: Login, exchange: SaslExchange, challenge: Challenged) -> Steps[Answered]:
    try:
        text = decode_challenge(b"".join(challenge.reply.lines))
        try:
            response = exchange.respond(text)
        except MechanismFailed:
            if exchange.mechanism.startswith("SCRAM-"):
                link.broken = True  # not the server that knows our password: not a word more
            raise
    except MechanismFailed as failure:
        if link.broken:
            raise
        answer = yield from link.ask(AuthAbort())
        link.broken = True
        raise LoginFailed(Reply.made_here(454, f"4.7.0 {failure}"), detail=str(answer.reply)) from None
    hide(link, login, response)
    return (yield from link.ask(AuthResponse(response)))
