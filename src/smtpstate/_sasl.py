"""Authentication by SASL: which mechanism is taken, and one run of it (RFC 4954)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, final

from smtpstate._commands import AuthBegin
from smtpstate._errors import LocalProtocolError, SmtpStateError
from smtpstate._mechanisms import (
    Exchange,
    MechanismFailed,
    Response,
    cram_md5,
    external,
    login,
    oauthbearer,
    plain,
    xoauth2,
)
from smtpstate._scram import Binding, is_supported, scram

if TYPE_CHECKING:
    from smtpstate._requests import Negotiated

#: The ways to authenticate, as the settings name them, and the mechanisms of each: the first that is offered
#: is taken. The -PLUS form of a SCRAM goes without saying: all of them stand before all that bind nothing.
METHODS: Mapping[str, tuple[str, ...]] = {
    "auto": ("SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN", "CRAM-MD5"),
    "scram": ("SCRAM-SHA-256", "SCRAM-SHA-1"),
    "forward": ("PLAIN", "LOGIN"),
    "plain": ("PLAIN",),
    "login": ("LOGIN",),
    "external": ("EXTERNAL",),
    "xoauth2": ("XOAUTH2",),
    "oauthbearer": ("OAUTHBEARER",),
}

# Those that are certain to mean the same at both ends: RFC 5929 §3, useless from TLS 1.3 on; RFC 9266 §2.
_CERTAIN_BINDING: Mapping[str, str] = {"TLSv1.2": "tls-unique", "TLSv1.3": "tls-exporter"}
_END_POINT = "tls-server-end-point"  # RFC 5929 §4: wrong where somebody else ends TLS for the server

_LONGEST_COMMAND = 512  # octets, line end included (RFC 5321 §4.5.3.1.4)


class MechanismMissing(SmtpStateError):
    """The server offers no mechanism that the settings allow; nothing of the credential was sent."""


@final
class SaslExchange:
    """One run of a mechanism, from its first response to its last.

    Send ``AuthBegin(exchange.mechanism, exchange.initial())``, and to each
    challenge ``AuthResponse(exchange.respond(decode_challenge(text)))``. Where
    one of these raises ``MechanismFailed``, send ``AuthAbort`` and believe no more.
    """

    __slots__ = ("_held", "_response", "_steps", "mechanism")

    def __init__(self, mechanism: str, steps: Exchange) -> None:
        self.mechanism = mechanism  #: its name, in upper case
        self._steps = steps
        self._response = Response(None, proven=False)
        self._held: bytes | None = None  # a first response that is too long to go out with the command

    @property
    def proven(self) -> bool:
        """Whether a success may be believed now: all has been said, and where the server can prove itself, it has."""
        return self._response.proven and self._held is None

    @property
    def detail(self) -> str | None:
        """What the server gave as the reason of a failure, such as the JSON of OAuth; safe to show."""
        return self._response.detail

    def initial(self) -> bytes | None:
        """Return what goes out with the command, before base64; None is nothing. Asked for once.

        Raises:
            LocalProtocolError: the credential cannot be used with this mechanism.
        """
        try:
            self._response = _response(next(self._steps))
        except StopIteration:
            raise LocalProtocolError(f"the mechanism {self.mechanism} has no response") from None
        data = self._response.data
        # RFC 4954 §4: an initial response that would make the command longer than any command may be
        # must wait for an empty challenge. Tokens are often that long, and some servers do insist.
        if data is not None and len(bytes(AuthBegin(self.mechanism, data))) > _LONGEST_COMMAND:
            self._held = data
            return None
        return data

    def respond(self, challenge: bytes) -> bytes:
        """Return the answer to ``challenge``; neither is in base64.

        Raises:
            MechanismFailed: the challenge is one too many, or not to be believed.
        """
        if self._held is not None:
            if challenge:
                raise MechanismFailed(f"{self.mechanism}: the first challenge is not empty")
            data, self._held = self._held, None
            return data
        try:
            self._response = _response(self._steps.send(challenge))
        except StopIteration:
            raise MechanismFailed(f"{self.mechanism}: there is one challenge too many") from None
        if self._response.data is None:
            raise MechanismFailed(f"{self.mechanism}: the challenge was not accepted")
        return self._response.data


def _response(answer: Response | bytes | None) -> Response:
    return answer if isinstance(answer, Response) else Response(answer)


def choose(
    method: str,
    offered: Sequence[str],
    *,
    user: str = "",
    secret: str = "",
    nonce: str = "",
    tls: Negotiated | None = None,
    end_point: bool = False,
    host: str | None = None,
    port: int | None = None,
) -> SaslExchange:
    """Return an exchange by the first mechanism of ``method`` that the server offers.

    Args:
        method: one of ``METHODS``.
        offered: the mechanisms that the server offers, in any case.
        user: the user name; for ``external`` whom to act as, or empty.
        secret: the password or token.
        nonce: for SCRAM, at least 16 random characters of printable ASCII, without commas;
            where it is empty there is no SCRAM.
        tls: what was negotiated, or None where nothing is encrypted.
        end_point: bind SCRAM to the server's certificate, not to the connection (RFC 5929 §4).
        host: the server's name as we know it, for OAUTHBEARER.
        port: the server's port, for OAUTHBEARER.

    Raises:
        MechanismMissing: none of them is offered, or can be used here.
    """
    names = {name.upper() for name in offered}
    binding = _binding(tls, end_point)
    found = next((name for name in _candidates(method, binding, nonce) if name in names), None)
    if found is None:
        raise MechanismMissing(_why_missing(method, offered, nonce))
    if found.startswith("SCRAM-"):
        # RFC 5802 §6: to a server that does bind, if only by a hash that we do not have, we say nothing of
        # what we could bind to: it would take us for the victim of somebody in between.
        if not _binds(found) and any(_binds(name) for name in names):
            binding = None
        return SaslExchange(found, scram(found, user, secret, nonce, binding))
    return SaslExchange(found, _start(found, user, secret, host, port))


def own(mechanism: str, steps: Exchange, offered: Sequence[str]) -> SaslExchange:
    """Return an exchange by a mechanism of the caller's, if the server offers it.

    Raises:
        MechanismMissing: it is not offered.
    """
    name = mechanism.upper()
    if name not in {name.upper() for name in offered}:
        raise MechanismMissing(f"auth own needs {name}, and the server offers {_listed(offered)}")
    return SaslExchange(name, steps)


def _binding(tls: Negotiated | None, end_point: bool) -> Binding | None:
    """Return what the channel is bound to, or None where it cannot be."""
    if tls is None:
        return None
    kind = _END_POINT if end_point else _CERTAIN_BINDING.get(tls.version, "")
    data = tls.bindings.get(kind)
    return (kind, data) if data and is_supported((kind, data)) else None


def _binds(mechanism: str) -> bool:
    return mechanism.startswith("SCRAM-") and mechanism.endswith("-PLUS")


def _candidates(method: str, binding: Binding | None, nonce: str) -> Sequence[str]:
    """Return the mechanisms that can be used here, best first."""
    names = METHODS[method]
    if not nonce or not is_supported():
        return [name for name in names if not name.startswith("SCRAM-")]
    bound = [f"{name}-PLUS" for name in names if name.startswith("SCRAM-") and binding is not None]
    return [*bound, *names]


def _start(mechanism: str, user: str, secret: str, host: str | None, port: int | None) -> Exchange:
    match mechanism:
        case "PLAIN":
            return plain(user, secret)
        case "LOGIN":
            return login(user, secret)
        case "CRAM-MD5":
            return cram_md5(user, secret)
        case "EXTERNAL":
            return external(user)
        case "XOAUTH2":
            return xoauth2(user, secret)
        case _:
            return oauthbearer(user, secret, host, port)


def _listed(offered: Sequence[str]) -> str:
    return ", ".join(offered) or "none"


def _why_missing(method: str, offered: Sequence[str], nonce: str) -> str:
    why = f"auth {method} needs {' or '.join(METHODS[method])}, and the server offers {_listed(offered)}"
    if method in ("auto", "scram"):
        if not is_supported():
            why += "; SCRAM needs the package scramp: install smtpstate[scram]"
        elif not nonce:
            why += "; SCRAM needs a nonce, which the adapter did not supply"
    return why
