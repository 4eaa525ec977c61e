"""How connections authenticate: each form of the directive, and what it puts on the wire."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from adapters.directives import CA, D, F, R, deliver, only_outcome, server_context, statuses
from adapters.runtimes import Runtime
from smtpstate import Credentials
from smtpstate.testing import ModelServer
from smtpstate_testing import serve

pytestmark = pytest.mark.usefixtures("nothing_left")

USERS = {"alice": "pass-or-token"}
ALL = "AUTH PLAIN LOGIN CRAM-MD5 SCRAM-SHA-1 SCRAM-SHA-256 XOAUTH2 OAUTHBEARER EXTERNAL"


@pytest.fixture(scope="session")
def tls_client() -> Iterator[str]:
    """The directives for a client that trusts our servers and shows them a certificate."""
    certificate = CA.issue_cert("alice.example")
    with ExitStack() as stack:
        root_ca = stack.enter_context(CA.cert_pem.tempfile())
        cert = stack.enter_context(certificate.cert_chain_pems[0].tempfile())
        key = stack.enter_context(certificate.private_key_pem.tempfile())
        yield f"tls_client {{\nroot_ca {root_ca}\ncert {cert}\nkey {key}\n}}"


def mechanisms(server: ModelServer) -> list[str]:
    """Return the mechanisms that were begun."""
    return [command.split()[1] for command in server.commands if command.startswith("AUTH ")]


@pytest.mark.parametrize(
    ("words", "offered", "mechanism"),
    [
        ("plain alice pass-or-token", ALL, "PLAIN"),
        ("login alice pass-or-token", ALL, "LOGIN"),
        ("scram alice pass-or-token", ALL, "SCRAM-SHA-256"),
        ("scram alice pass-or-token", "AUTH PLAIN SCRAM-SHA-1", "SCRAM-SHA-1"),
        ("xoauth2 alice pass-or-token", ALL, "XOAUTH2"),
        ("oauthbearer alice pass-or-token", ALL, "OAUTHBEARER"),
        ("external", ALL, "EXTERNAL"),
        ("auto alice pass-or-token", ALL, "SCRAM-SHA-256"),
        ("auto alice pass-or-token", "AUTH CRAM-MD5 LOGIN PLAIN", "PLAIN"),
        ("auto alice pass-or-token", "AUTH CRAM-MD5 LOGIN", "LOGIN"),
        ("auto alice pass-or-token", "AUTH CRAM-MD5", "CRAM-MD5"),
        ('plain "alice" "pass-or-token"', ALL, "PLAIN"),
    ],
)
def test_auth_logs_in_inside_tls_before_the_message(
    runtime: Runtime, tls_client: str, words: str, offered: str, mechanism: str
) -> None:
    server = ModelServer(
        extensions=["STARTTLS"], tls_extensions=[offered], users=USERS, external="alice", require_auth=True
    )
    with serve(server, tls=server_context()) as served:
        delivery = deliver(runtime, served.endpoint, f"auth {words}\n{tls_client}")
    assert statuses(delivery) == [D, D]
    assert mechanisms(server) == [mechanism]
    assert [(message.tls, message.identity) for message in server.messages] == [(True, "alice")]


@pytest.mark.parametrize("directive", ["", "auth off"])
def test_auth_off_says_nothing_of_it(runtime: Runtime, directive: str) -> None:
    server = ModelServer(extensions=[ALL], users=USERS)
    with serve(server) as served:
        delivery = deliver(runtime, served.endpoint, directive)
    assert statuses(delivery) == [D, D]
    assert mechanisms(server) == []


@pytest.mark.parametrize(
    ("offered", "mechanism"), [(ALL, "PLAIN"), ("AUTH CRAM-MD5 LOGIN", "LOGIN")], ids=["all", "no PLAIN"]
)
def test_auth_forward_logs_in_as_whoever_sends_the_message(
    runtime: Runtime, tls_client: str, offered: str, mechanism: str
) -> None:
    server = ModelServer(extensions=["STARTTLS"], tls_extensions=[offered], users=USERS, require_auth=True)
    with serve(server, tls=server_context()) as served:
        credentials = Credentials("alice", USERS["alice"])
        delivery = deliver(runtime, served.endpoint, f"auth forward\n{tls_client}", credentials=credentials)
    assert statuses(delivery) == [D, D]
    assert mechanisms(server) == [mechanism]


def test_auth_forward_without_credentials_connects_to_nobody(runtime: Runtime, tls_client: str) -> None:
    server = ModelServer(extensions=[ALL], users=USERS)
    with serve(server) as served:
        outcome = only_outcome(deliver(runtime, served.endpoint, f"auth forward\n{tls_client}"))
    assert (outcome.status, outcome.reply.code, str(outcome.reply.enhanced)) == (R, 530, "5.7.0")
    assert outcome.reply.local
    assert server.connections == []


@pytest.mark.parametrize("kind", ["plain", "login", "scram", "xoauth2", "oauthbearer", "auto"])
def test_auth_refused_defers_and_sends_no_message(runtime: Runtime, tls_client: str, kind: str) -> None:
    server = ModelServer(extensions=["STARTTLS"], tls_extensions=[ALL], users=USERS)
    with serve(server, tls=server_context()) as served:
        outcome = only_outcome(
            deliver(runtime, served.endpoint, f"auth {kind} alice wrong-one\n{tls_client}")
        )
    assert (outcome.status, outcome.phase.value, outcome.reply.code) == (F, "auth", 535)
    assert len(mechanisms(server)) == 1
    assert not any(command.startswith("MAIL") for command in server.commands)


def test_auth_forward_refused_rejects(runtime: Runtime, tls_client: str) -> None:
    server = ModelServer(extensions=["STARTTLS"], tls_extensions=[ALL], users=USERS)
    with serve(server, tls=server_context()) as served:
        credentials = Credentials("alice", "wrong-one")
        delivery = deliver(runtime, served.endpoint, f"auth forward\n{tls_client}", credentials=credentials)
    outcome = only_outcome(delivery)
    assert (outcome.status, outcome.phase.value, outcome.reply.code) == (R, "auth", 535)


@pytest.mark.parametrize("kind", ["plain", "login", "scram", "xoauth2", "oauthbearer", "auto"])
@pytest.mark.parametrize("directive", ["", "insecure_auth no", "insecure_auth yes"])
def test_insecure_auth_alone_lets_credentials_out_in_clear(
    runtime: Runtime, kind: str, directive: str
) -> None:
    server = ModelServer(extensions=[ALL], users=USERS)
    with serve(server) as served:
        delivery = deliver(runtime, served.endpoint, f"auth {kind} alice pass-or-token\n{directive}")
    allowed = directive == "insecure_auth yes"
    assert [bool(mechanisms(server)), len(server.messages)] == [allowed, int(allowed)]
    outcome = only_outcome(delivery)
    if not allowed:
        assert (outcome.status, outcome.phase.value) == (F, "auth")


def test_insecure_auth_is_not_needed_on_unix_sockets(runtime: Runtime, tmp_path: Path) -> None:
    server = ModelServer("lmtp", [ALL], users=USERS, require_auth=True)
    with serve(server, unix_path=tmp_path / "lmtp") as served:
        delivery = deliver(runtime, served.endpoint, "auth plain alice pass-or-token", protocol="lmtp")
    assert statuses(delivery) == [D, D]
    assert mechanisms(server) == ["PLAIN"]
