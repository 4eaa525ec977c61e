"""Whole deliveries to model servers on real sockets, under every runtime."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import trustme

import smtpstate_anyio
import smtpstate_asyncio
import smtpstate_blocking
import smtpstate_trio
from adapters.runtimes import Asynchronous, Runtime
from smtpstate import ConfigError, Envelope, LocalProtocolError, Status, TargetConfig, TlsClient, TraceEvent
from smtpstate._auth import Credentials
from smtpstate.testing import ModelServer, on
from smtpstate_testing import serve

pytestmark = pytest.mark.usefixtures("nothing_left")

CA = trustme.CA()
MESSAGE = b"Subject: test\r\n\r\n" + b"0123456789abcdef" * 4 * 3000 + b"\r\n.\r\n..dots\r\n"
ENVELOPE = Envelope("a@x.example", ["b@y.example", "c@y.example"])


@pytest.fixture(scope="session")
def server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with CA.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.tempfile() as file:
        context.load_cert_chain(file)
    return context


@pytest.fixture(scope="session")
def trusting(tmp_path_factory: pytest.TempPathFactory) -> TlsClient:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    CA.cert_pem.write_to_path(path)
    return TlsClient(root_ca=(str(path),))


@pytest.mark.parametrize("extensions", [[], ["PIPELINING"], ["PIPELINING", "CHUNKING"]], ids=repr)
@pytest.mark.parametrize("protocol", ["smtp", "lmtp"])
def test_a_message_arrives_as_it_was_given(runtime: Runtime, protocol: str, extensions: list[str]) -> None:
    server = ModelServer(protocol, extensions)
    with serve(server) as served:
        delivery = runtime.deliver(
            TargetConfig(targets=[served.endpoint], protocol=protocol), ENVELOPE, MESSAGE
        )
    assert [outcome.status for outcome in delivery.outcomes] == [Status.DELIVERED] * 2, delivery.outcomes
    assert [stored.content for stored in server.messages] == [MESSAGE]
    assert server.violations == []


def test_a_message_goes_over_a_unix_socket(runtime: Runtime, tmp_path: Path) -> None:
    server = ModelServer("lmtp", ["PIPELINING"])
    with serve(server, unix_path=tmp_path / "lmtp") as served:
        delivery = runtime.deliver(
            TargetConfig(targets=[served.endpoint], protocol="lmtp"), ENVELOPE, MESSAGE
        )
    assert [outcome.status for outcome in delivery.outcomes] == [Status.DELIVERED] * 2, delivery.outcomes
    assert [stored.content for stored in server.messages] == [MESSAGE]


@pytest.mark.parametrize("implicit", [False, True])
def test_a_message_goes_inside_tls(
    runtime: Runtime, server_context: ssl.SSLContext, trusting: TlsClient, implicit: bool
) -> None:
    server = ModelServer(
        "smtp", ["PIPELINING"] if implicit else ["PIPELINING", "STARTTLS"], implicit_tls=implicit
    )
    with serve(server, tls=server_context) as served:
        config = TargetConfig(targets=[served.endpoint], require_tls=True, tls_client=trusting)
        delivery = runtime.deliver(config, ENVELOPE, MESSAGE)
    assert [outcome.status for outcome in delivery.outcomes] == [Status.DELIVERED] * 2, delivery.outcomes
    (attempt,) = delivery.attempts
    assert attempt.tls is not None
    assert attempt.tls.verified
    assert [stored.content for stored in server.messages] == [MESSAGE]


def test_credentials_of_the_caller_are_passed_on(
    runtime: Runtime, server_context: ssl.SSLContext, trusting: TlsClient
) -> None:
    server = ModelServer("smtp", ["STARTTLS", "AUTH PLAIN"], users={"user": "password"}, require_auth=True)
    with serve(server, tls=server_context) as served:
        config = TargetConfig(
            targets=[served.endpoint], require_tls=True, tls_client=trusting, auth=["forward"]
        )
        delivery = runtime.deliver(config, ENVELOPE, MESSAGE, credentials=Credentials("user", "password"))
    assert [outcome.status for outcome in delivery.outcomes] == [Status.DELIVERED] * 2, delivery.outcomes


def test_scram_has_its_randomness(runtime: Runtime) -> None:
    server = ModelServer("smtp", ["AUTH SCRAM-SHA-256"], users={"user": "password"}, require_auth=True)
    with serve(server) as served:
        config = TargetConfig(
            targets=[served.endpoint], auth=["scram", "user", "password"], insecure_auth=True
        )
        delivery = runtime.deliver(config, ENVELOPE, MESSAGE)
    assert [outcome.status for outcome in delivery.outcomes] == [Status.DELIVERED] * 2, delivery.outcomes


def test_what_servers_do_is_said_in_the_outcomes(runtime: Runtime) -> None:
    server = ModelServer("smtp", ["PIPELINING"], [on("RCPT", "b@y.example").reply(550, "5.1.1 no such user")])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        refusing = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    with serve(server) as served:
        delivery = runtime.deliver(TargetConfig(targets=[refusing, served.endpoint]), ENVELOPE, MESSAGE)
    assert [outcome.status for outcome in delivery.outcomes] == [Status.REJECTED, Status.DELIVERED]
    assert [attempt.error is None for attempt in delivery.attempts] == [False, True]


def test_each_step_is_traced(runtime: Runtime) -> None:
    events: list[TraceEvent] = []
    with serve(ModelServer()) as served:
        runtime.deliver(TargetConfig(targets=[served.endpoint]), ENVELOPE, MESSAGE, trace=events.append)
    assert {type(event).__name__ for event in events} >= {
        "Connecting",
        "Opened",
        "Sent",
        "Received",
        "Settled",
    }


class OwnError(Exception):
    """An error of the caller's."""


def test_an_error_of_the_message_is_the_callers_and_nothing_is_delivered(runtime: Runtime) -> None:
    def message() -> Iterator[bytes]:
        yield MESSAGE
        raise OwnError

    server = ModelServer("smtp", ["PIPELINING"])
    with serve(server) as served, pytest.raises(OwnError):
        runtime.deliver(TargetConfig(targets=[served.endpoint]), ENVELOPE, message())
    assert server.messages == []


def test_an_asynchronous_message_arrives(asynchronous: Asynchronous) -> None:
    async def message() -> AsyncIterator[bytes]:
        for start in range(0, len(MESSAGE), 1000):
            yield MESSAGE[start : start + 1000]

    server = ModelServer("smtp", ["PIPELINING"])
    with serve(server) as served:
        asynchronous.deliver(TargetConfig(targets=[served.endpoint]), ENVELOPE, message())
    assert [stored.content for stored in server.messages] == [MESSAGE]


def test_what_the_caller_did_wrong_is_an_exception(runtime: Runtime) -> None:
    with pytest.raises(LocalProtocolError, match="no recipient"):
        runtime.deliver(TargetConfig(targets=["tcp://127.0.0.1:9"]), Envelope("a@x.example"), MESSAGE)


def test_a_file_that_cannot_be_read_is_known_when_the_target_is_made(
    runtime: Runtime, tmp_path: Path
) -> None:
    config = TargetConfig(
        targets=["tcp://127.0.0.1:9"], tls_client=TlsClient(root_ca=(str(tmp_path / "none"),))
    )
    with pytest.raises(
        ConfigError, match=r"^tls_client: root_ca: cannot read .*/none: no such file or directory$"
    ):
        runtime.deliver(config, ENVELOPE, MESSAGE)


@pytest.mark.parametrize("module", [smtpstate_blocking, smtpstate_asyncio, smtpstate_trio, smtpstate_anyio])
def test_a_target_shows_its_endpoints(module: ModuleType) -> None:
    config = TargetConfig(targets=["tcp://mx.example:25", "unix:///run/lmtp"])
    assert repr(module.Target(config)) == "<Target tcp://mx.example:25 unix:///run/lmtp>"
