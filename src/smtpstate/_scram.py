"""SCRAM, by the package scramp where it is installed; what that leaves to its callers is here (RFC 5802)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

from smtpstate._errors import LocalProtocolError
from smtpstate._mechanisms import Exchange, MechanismFailed, Response, checked_password, checked_user
from smtpstate._text import visible

#: The fewest iterations that we take from a server (RFC 5802 §5.1): with fewer, whoever reads the
#: exchange, or is the server, finds a weak password too easily.
FEWEST_ITERATIONS = 4096
#: The most: we compute them, so a server could keep us busy for as long as it likes. As many as are
#: advised for passwords in store; they cost a quarter of a second.
MOST_ITERATIONS = 600_000

#: The type of a channel binding, and its octets (RFC 5802 §6).
Binding: TypeAlias = tuple[str, bytes]

_ITERATIONS = re.compile(r",i=([^,]*)")
_COUNT = re.compile(r"[1-9][0-9]{0,6}")
_NONCE = re.compile(r"[\x21-\x2b\x2d-\x7e]{16,}")  # RFC 5802 §7: printable; a short one proves nothing


def is_supported(binding: Binding | None = None) -> bool:
    """Whether scramp is installed and, where there is a ``binding``, can use one of its type."""
    try:
        import scramp
    except ImportError:
        return False
    try:
        scramp.ScramClient(["SCRAM-SHA-256"], "user", "password", channel_binding=binding, c_nonce="nonce")
    except scramp.ScramException:
        return False
    return True


def scram(name: str, user: str, password: str, nonce: str, binding: Binding | None = None) -> Exchange:
    """SCRAM: both sides prove that they know the password, and neither says it (RFC 5802 §3).

    Args:
        name: the mechanism, such as ``SCRAM-SHA-256`` or, with the channel bound, ``SCRAM-SHA-256-PLUS``.
        user: the user name.
        password: the password.
        nonce: what makes this exchange unlike all others: at least 16 random
            characters of printable ASCII, without commas.
        binding: what the channel could be bound to, or None. With a ``name`` that
            binds nothing it tells the server that we saw it offer no binding, so that
            one that did offer it knows that somebody took the offer away (RFC 5802 §6).

    Raises:
        LocalProtocolError: user name, password or nonce cannot be used.
        MechanismFailed: the server did not prove that it knows the password, or asks
            for fewer than ``FEWEST_ITERATIONS`` or more than ``MOST_ITERATIONS``.
    """
    import scramp

    if not _NONCE.fullmatch(nonce):
        raise LocalProtocolError("a nonce is at least 16 characters of printable ASCII, without commas")
    checked_user(user)
    checked_password(password)
    try:
        client = scramp.ScramClient([name], user, password, channel_binding=binding, c_nonce=nonce)
    except scramp.ScramException as error:  # what it says of SASLprep holds nothing of the text
        raise LocalProtocolError(
            f"the user name or the password cannot be prepared for {name}: {error.args[0]}"
        ) from None

    def believe(hear: Callable[[str], None], challenge: bytes) -> None:
        text = _text(name, challenge)
        try:
            hear(text)
        except scramp.ScramException as error:
            raise MechanismFailed(f"{name}: {visible(str(error.args[0])).rstrip('.')}") from None

    challenge = yield Response(client.get_client_first().encode(), proven=False)
    _check_iterations(name, challenge)
    believe(client.set_server_first, challenge)
    challenge = yield Response(client.get_client_final().encode(), proven=False)
    believe(client.set_server_final, challenge)
    # RFC 4954 §4: a success carries no data, so the server's proof comes before it, as a challenge.
    yield b""


def _text(name: str, challenge: bytes) -> str:
    try:
        text = challenge.decode()
    except UnicodeDecodeError:
        raise MechanismFailed(f"{name}: the challenge is not valid Unicode") from None
    if text.startswith("e="):
        raise MechanismFailed(f"{name}: the server gave up: {visible(text[2:])}")
    return text


def _check_iterations(name: str, challenge: bytes) -> None:
    for count in _ITERATIONS.findall(challenge.decode(errors="replace")):
        if not _COUNT.fullmatch(count) or not FEWEST_ITERATIONS <= int(count) <= MOST_ITERATIONS:
            raise MechanismFailed(
                f"{name}: expected {FEWEST_ITERATIONS} to {MOST_ITERATIONS} iterations, got {visible(count)}"
            )
