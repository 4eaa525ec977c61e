"""The model server's SCRAM: the examples of the RFCs, channel bindings, and every way to be refused."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode

import pytest

from smtpstate.testing import Accounts, ModelServer, ModelTls
from smtpstate.testing._scram import SCRAM_MECHANISMS
from test_testing import greeted, tell

EXAMPLES = {
    # RFC 5802 §5
    "SCRAM-SHA-1": (
        "QSXCR+Q6sek8bf92",
        b"3rfcNHYJY1ZVvWVs7j",
        b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
        b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
        b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
        b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
    ),
    # RFC 7677 §3
    "SCRAM-SHA-256": (
        "W22ZaJ0SNY7soEsUEjb6gQ==",
        b"%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
        b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
    ),
}


@pytest.mark.parametrize(("mechanism", "example"), EXAMPLES.items(), ids=EXAMPLES)
def test_the_example_of_the_rfc(
    mechanism: str, example: tuple[str, bytes, bytes, bytes, bytes, bytes]
) -> None:
    salt, nonce, first, challenge, final, signature = example
    accounts = Accounts(users={"user": "pencil"}, salt=b64decode(salt), nonce=nonce)
    exchange = SCRAM_MECHANISMS[mechanism](accounts)
    assert next(exchange) == b""
    assert exchange.send(first) == challenge
    assert exchange.send(final) == signature
    with pytest.raises(StopIteration) as ended:
        exchange.send(b"")
    assert ended.value.value == "user"


def b64(octets: bytes) -> str:
    return b64encode(octets).decode()


def proof(password: bytes, said: bytes) -> str:
    """Return what a client proves with, for the model server's salt and SHA-256."""
    salted = hashlib.pbkdf2_hmac("sha256", password, b"salt of the model", 4096)
    key = hmac.digest(salted, b"Client Key", "sha256")
    signature = hmac.digest(hashlib.sha256(key).digest(), said, "sha256")
    return b64(bytes(a ^ b for a, b in zip(key, signature, strict=True)))


OFFERED = "AUTH SCRAM-SHA-256 SCRAM-SHA-256-PLUS"
NONCE = "abc3rfcNHYJY1ZVvWVs7j"


def log_in(
    header: str,
    *,
    plus: bool = False,
    offered: str = OFFERED,
    user: str = "user",
    password: str = "pencil",
    channel: bytes | None = None,
    nonce: str = NONCE,
) -> list[str]:
    """Log in as a client that gives these; return the server's last answer and who has logged in."""
    tls = ModelTls(bindings={"tls-unique": b"unique"})
    server = ModelServer(
        extensions=(offered,), users={"user": "pencil", "a,b=c": "ﬁ"}, tls=tls, implicit_tls=True
    )
    peer = server.connect()
    peer.greet()
    peer.tls_started()
    bare = f"n={user},r=abc"
    *_, answer = tell(
        peer, "EHLO a", f"AUTH SCRAM-SHA-256{'-PLUS' if plus else ''} {b64(f'{header}{bare}'.encode())}"
    )
    if answer.startswith("334"):
        challenge = b64decode(answer[4:]).decode()
        bound = b64(header.encode() + (channel or b""))
        unproved = f"c={bound},r={nonce}"
        proved = f"{unproved},p={proof(password.encode(), f'{bare},{challenge},{unproved}'.encode())}"
        (answer,) = tell(peer, b64(proved.encode()))
    if answer.startswith("334"):
        (answer,) = tell(peer, "")
    return [answer[:3], peer.session.identity or ""]


WELCOME, REFUSED = ["235", "user"], ["535", ""]


def test_a_client_logs_in() -> None:
    assert log_in("n,,") == WELCOME
    assert log_in("n,a=other,") == WELCOME
    assert log_in("y,,", offered="AUTH SCRAM-SHA-256") == WELCOME
    assert log_in("n,,", user="a=2Cb=3Dc", password="fi") == ["235", "a,b=c"]


def test_a_client_binds_the_channel() -> None:
    assert log_in("p=tls-unique,,", plus=True, channel=b"unique") == WELCOME


@pytest.mark.parametrize("header", ["", "x,,", "n,", "n,b=x,"])
def test_a_message_that_is_none_is_refused(header: str) -> None:
    assert log_in(header) == REFUSED


def test_a_client_is_refused() -> None:
    assert log_in("n,,", password="pen") == REFUSED
    assert log_in("n,,", user="nobody") == REFUSED
    assert log_in("n,,", nonce="abc") == REFUSED
    assert log_in("n,,", nonce="a,b") == REFUSED


def test_a_binding_that_does_not_match_is_refused() -> None:
    assert log_in("n,,", plus=True) == REFUSED
    assert log_in("p=tls-unique,,", channel=b"unique") == REFUSED
    assert log_in("p=tls-unique,,", plus=True, channel=b"other") == REFUSED
    assert log_in("p=tls-exporter,,", plus=True, channel=b"unique") == REFUSED
    assert log_in("n,,", channel=b"unique") == REFUSED


def test_a_client_from_which_the_offer_was_hidden_is_refused() -> None:
    assert log_in("y,,") == REFUSED


def test_a_driver_can_say_what_the_bindings_are() -> None:
    server = ModelServer(extensions=("STARTTLS",), tls=ModelTls(bindings={"tls-unique": b"x"}))
    peer = greeted(server)
    tell(peer, "STARTTLS")
    peer.tls_started({"tls-exporter": b"y"})
    assert peer.session.bindings == {"tls-exporter": b"y"}
