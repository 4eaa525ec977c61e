"""The model server's side of AUTH: each mechanism, taken and refused, and what is no SASL at all."""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Generator

import pytest

from smtpstate.testing import Accounts, ModelServer, Peer
from test_testing import greeted, tell

USERS = {"user": "secret", "a,b=c": "token"}
WELCOME = "235 2.7.0 welcome"
INVALID = "535 5.7.8 credentials are not valid"
MECHANISMS = "PLAIN LOGIN CRAM-MD5 XOAUTH2 OAUTHBEARER EXTERNAL"


def b64(octets: bytes) -> str:
    return b64encode(octets).decode()


def server_with(mechanisms: str = MECHANISMS, external: str | None = "user") -> ModelServer:
    return ModelServer(extensions=(f"AUTH {mechanisms}",), users=USERS, external=external, require_auth=True)


def proof(password: bytes) -> bytes:
    return hmac.new(password, b"<1.1@model.example>", "md5").hexdigest().encode()


BEARER_ERROR = "334 " + b64(b'{"status":"401","schemes":"bearer"}')
TOKEN_ERROR = "334 " + b64(b'{"status":"invalid_token"}')

EXCHANGES = {
    "plain": ("PLAIN", [b"\0user\0secret"], ["334 ", WELCOME], "user"),
    "plain for oneself": ("PLAIN", [b"user\0user\0secret"], ["334 ", WELCOME], "user"),
    "plain for another": ("PLAIN", [b"other\0user\0secret"], ["334 ", INVALID], None),
    "plain, wrong password": ("PLAIN", [b"\0user\0guess"], ["334 ", INVALID], None),
    "plain, unknown user": ("PLAIN", [b"\0nobody\0secret"], ["334 ", INVALID], None),
    "plain, malformed": ("PLAIN", [b"user secret"], ["334 ", INVALID], None),
    "login": (
        "LOGIN",
        [b"user", b"secret"],
        ["334 " + b64(b"Username:"), "334 " + b64(b"Password:"), WELCOME],
        "user",
    ),
    "login, wrong": (
        "LOGIN",
        [b"user", b""],
        ["334 " + b64(b"Username:"), "334 " + b64(b"Password:"), INVALID],
        None,
    ),
    "cram-md5": (
        "CRAM-MD5",
        [b"user " + proof(b"secret")],
        ["334 " + b64(b"<1.1@model.example>"), WELCOME],
        "user",
    ),
    "cram-md5, wrong": (
        "CRAM-MD5",
        [b"user " + proof(b"x")],
        ["334 " + b64(b"<1.1@model.example>"), INVALID],
        None,
    ),
    "cram-md5, unknown": (
        "CRAM-MD5",
        [b"x " + proof(b"secret")],
        ["334 " + b64(b"<1.1@model.example>"), INVALID],
        None,
    ),
    "xoauth2": ("XOAUTH2", [b"user=user\1auth=Bearer secret\1\1"], ["334 ", WELCOME], "user"),
    "xoauth2, wrong": (
        "XOAUTH2",
        [b"user=user\1auth=Bearer x\1\1", b""],
        ["334 ", BEARER_ERROR, INVALID],
        None,
    ),
    "xoauth2, malformed": ("XOAUTH2", [b"user", b""], ["334 ", BEARER_ERROR, INVALID], None),
    "oauthbearer": (
        "OAUTHBEARER",
        [b"n,a=a=2Cb=3Dc,\1host=mx.example\1port=25\1auth=Bearer token\1\1"],
        ["334 ", WELCOME],
        "a,b=c",
    ),
    "oauthbearer, wrong": (
        "OAUTHBEARER",
        [b"n,a=user,\1auth=Bearer x\1\1", b"\1"],
        ["334 ", TOKEN_ERROR, INVALID],
        None,
    ),
    "oauthbearer, malformed": ("OAUTHBEARER", [b"n,a=user", b"\1"], ["334 ", TOKEN_ERROR, INVALID], None),
    "external": ("EXTERNAL", [b""], ["334 ", WELCOME], "user"),
    "external, named": ("EXTERNAL", [b"user"], ["334 ", WELCOME], "user"),
    "external, another": ("EXTERNAL", [b"other"], ["334 ", INVALID], None),
}


@pytest.mark.parametrize(("mechanism", "responses", "answers", "identity"), EXCHANGES.values(), ids=EXCHANGES)
def test_an_exchange(
    mechanism: str, responses: list[bytes], answers: list[str], identity: str | None
) -> None:
    server = server_with()
    peer = greeted(server)
    assert tell(peer, f"AUTH {mechanism}", *map(b64, responses)) == answers
    assert peer.session.identity == identity
    assert tell(peer, "MAIL FROM:<a@x>")[0][:3] == ("250" if identity else "530")
    assert server.violations == []


@pytest.mark.parametrize(
    ("mechanism", "responses", "answers", "identity"),
    [exchange for exchange in EXCHANGES.values() if exchange[2][0] == "334 "],
)
def test_an_initial_response_saves_a_turn(
    mechanism: str, responses: list[bytes], answers: list[str], identity: str | None
) -> None:
    server = server_with()
    peer = greeted(server)
    first, *others = responses
    assert tell(peer, f"auth {mechanism.lower()} {b64(first) or '='}", *map(b64, others)) == answers[1:]
    assert peer.session.identity == identity
    assert server.violations == []


def test_who_has_logged_in_is_kept_with_the_message() -> None:
    server = server_with()
    peer = greeted(server)
    tell(
        peer,
        "AUTH PLAIN " + b64(b"\0user\0secret"),
        "MAIL FROM:<a@x> AUTH=a+2Bb",
        "RCPT TO:<b@y>",
        "DATA",
        ".",
    )
    assert server.messages[0].identity == "user"


def test_external_needs_to_know_the_client() -> None:
    assert tell(greeted(server_with(external=None)), "AUTH EXTERNAL =") == [INVALID]


def test_an_exchange_can_be_cancelled() -> None:
    server = server_with()
    peer = greeted(server)
    assert tell(peer, "AUTH PLAIN", "*", "NOOP") == ["334 ", "501 5.7.0 cancelled", "250 2.0.0 ok"]
    assert server.violations == []


WRONG = {
    "PLAIN ???": "501 5.5.2 not base64",
    "PLAIN AGE": "501 5.5.2 not base64",
    "PLAIN ä": "501 5.5.2 not base64",
    "PLAIN ": "501 5.5.2 no response of no octets but =",
    "LOGIN dXNlcg==": "501 5.7.0 LOGIN takes no initial response",
    "SCRAM-SHA-1": "504 5.5.4 mechanism 'SCRAM-SHA-1' is not offered",
    "": "504 5.5.4 mechanism '' is not offered",
}


@pytest.mark.parametrize(("argument", "answer"), WRONG.items())
def test_what_is_no_sasl_is_refused_and_noted(argument: str, answer: str) -> None:
    server = server_with()
    assert tell(greeted(server), f"AUTH {argument}") == [answer]
    assert server.violations == [f"connection 1: {answer}"]


def test_nobody_logs_in_twice() -> None:
    server = server_with()
    peer = greeted(server)
    login = "AUTH PLAIN " + b64(b"\0user\0secret")
    assert tell(peer, login, login) == [WELCOME, "503 5.5.1 AUTH does not belong here"]


def test_a_mechanism_can_be_added() -> None:
    def own(accounts: Accounts) -> Generator[bytes, bytes, str | None]:
        answer = yield b"who?"
        return "me" if answer == b"me" else None

    server = ModelServer(extensions=("AUTH OWN",), mechanisms={"OWN": own})
    peer: Peer = greeted(server)
    assert tell(peer, "AUTH OWN", b64(b"me")) == ["334 " + b64(b"who?"), WELCOME]
    assert tell(greeted(server), "AUTH OWN", b64(b"you"))[-1] == INVALID


def test_the_old_way_to_offer_mechanisms_is_offered_as_it_is_written() -> None:
    peer = greeted(ModelServer(extensions=("AUTH=PLAIN",), users=USERS))
    assert tell(peer, "EHLO a")[1:] == ["250 AUTH=PLAIN"]
    assert tell(peer, "AUTH PLAIN " + b64(b"\0user\0secret")) == [WELCOME]


def test_passwords_are_not_shown() -> None:
    assert "secret" not in repr(server_with().settings)
