"""The server's side of SASL: each mechanism a small generator of challenges."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, final

#: Yields challenges, is sent responses, and returns who the client is, or None if it did not
#: prove that. A mechanism in which the client speaks first begins with an empty challenge.
Exchange: TypeAlias = Generator[bytes, bytes, str | None]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """Who may log in, and with what."""

    users: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)  #: password or token of each
    external: str | None = None  #: who the client is by other means, such as its certificate
    challenge: bytes = b"<1.1@model.example>"  #: what CRAM-MD5 challenges with
    nonce: bytes = b"3rfcNHYJY1ZVvWVs7j"  #: the server's part of SCRAM's
    salt: bytes = b"salt of the model"
    iterations: int = 4096
    offered: tuple[str, ...] = ()  #: the mechanisms offered on this connection
    bindings: Mapping[str, bytes] = field(
        default_factory=dict[str, bytes], repr=False
    )  #: of its TLS, by type

    def check(self, user: bytes, secret: bytes) -> str | None:
        """Return the user's name if ``secret`` is theirs."""
        name = user.decode("utf-8", "replace")
        return name if name in self.users and self.users[name].encode() == secret else None


Mechanism: TypeAlias = Callable[[Accounts], Exchange]


def plain(accounts: Accounts) -> Exchange:
    """PLAIN: one message with identity, user and password (RFC 4616 §2)."""
    response = yield b""
    parts = response.split(b"\0")
    if len(parts) != 3:
        return None
    identity, user, password = parts
    name = accounts.check(user, password)
    return name if identity in (b"", user) else None


def login(accounts: Accounts) -> Exchange:
    """LOGIN: user and password, one after the other."""
    user = yield b"Username:"
    password = yield b"Password:"
    return accounts.check(user, password)


def cram_md5(accounts: Accounts) -> Exchange:
    """CRAM-MD5: the challenge keyed with the password (RFC 2195 §2)."""
    response = yield accounts.challenge
    user, _, digest = response.decode("utf-8", "replace").rpartition(" ")
    password = accounts.users.get(user)
    if password is None:
        return None
    proof = hmac.new(password.encode(), accounts.challenge, "md5").hexdigest()
    return user if digest == proof else None


def xoauth2(accounts: Accounts) -> Exchange:
    """XOAUTH2: a bearer token, and on failure a challenge that says why."""
    response = yield b""
    found = re.fullmatch(rb"user=([^\x01]*)\x01auth=Bearer ([^\x01]*)\x01\x01", response)
    name = accounts.check(found[1], found[2]) if found else None
    if name is None:
        yield b'{"status":"401","schemes":"bearer"}'
    return name


def oauthbearer(accounts: Accounts) -> Exchange:
    """OAUTHBEARER: the same, in the form of the standard (RFC 7628 §3.1)."""
    response = yield b""
    found = re.fullmatch(
        rb"n,a=([^,\x01]*),\x01(?:(?:host|port)=[^\x01]*\x01)*auth=Bearer ([^\x01]*)\x01\x01", response
    )
    user = found[1].replace(b"=2C", b",").replace(b"=3D", b"=") if found else b""
    name = accounts.check(user, found[2]) if found else None
    if name is None:
        yield b'{"status":"invalid_token"}'
    return name


def external(accounts: Accounts) -> Exchange:
    """EXTERNAL: who the client is by other means (RFC 4422)."""
    response = yield b""
    known = accounts.external
    return known if known is not None and response in (b"", known.encode()) else None


#: The mechanisms that a model server knows by itself, by their names.
MECHANISMS: Mapping[str, Mechanism] = {
    "PLAIN": plain,
    "LOGIN": login,
    "CRAM-MD5": cram_md5,
    "XOAUTH2": xoauth2,
    "OAUTHBEARER": oauthbearer,
    "EXTERNAL": external,
}
