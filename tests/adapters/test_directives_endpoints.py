"""Which endpoint is tried, from where and under which name: each directive's effect on the wire."""

from __future__ import annotations

import logging
import socket
from pathlib import Path

import pytest

from adapters.directives import (
    CA,
    OTHER_CA,
    D,
    F,
    config_of,
    deliver,
    deliver_in_turn,
    server_context,
    statuses,
)
from adapters.runtimes import Runtime
from smtpstate.testing import ModelServer, Rule, on
from smtpstate_testing import serve

pytestmark = pytest.mark.usefixtures("nothing_left")


def refusing() -> str:
    """Return an endpoint where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"tcp://127.0.0.1:{listener.getsockname()[1]}"


def test_targets_are_tried_in_order_those_on_the_opening_line_first(runtime: Runtime) -> None:
    second, third = ModelServer(), ModelServer()
    nobody, nobody_either = refusing(), refusing()
    with serve(second) as serving, serve(third) as spare:
        delivery = deliver(runtime, nobody, f"targets {nobody_either} {serving.endpoint} {spare.endpoint}")
    assert statuses(delivery) == [D, D]
    tried = [str(attempt.endpoint) for attempt in delivery.attempts]
    assert tried == [nobody, nobody_either, serving.endpoint]
    assert third.connections == []


def test_targets_are_passed_over_where_required_tls_fails(runtime: Runtime) -> None:
    untrusted, trusted = ModelServer(extensions=["STARTTLS"]), ModelServer(extensions=["STARTTLS"])
    with (
        CA.cert_pem.tempfile() as root_ca,
        serve(untrusted, tls=server_context(OTHER_CA.issue_cert("127.0.0.1"))) as first,
        serve(trusted, tls=server_context()) as second,
    ):
        directives = f"require_tls yes\ntls_client {{\nroot_ca {root_ca}\n}}"
        delivery = deliver(runtime, [first.endpoint, second.endpoint], directives)
    assert statuses(delivery) == [D, D]
    assert untrusted.messages == []
    assert [message.tls for message in trusted.messages] == [True]


@pytest.mark.parametrize(
    ("directive", "said"),
    [
        ("hostname mail.example", "mail.example"),
        ("hostname [192.0.2.1]", "[192.0.2.1]"),
        ("hostname bücher.example", "xn--bcher-kva.example"),
        ("", "[127.0.0.1]"),
    ],
)
def test_hostname_is_said_in_ehlo(runtime: Runtime, directive: str, said: str) -> None:
    server = ModelServer()
    with serve(server) as served:
        deliver(runtime, served.endpoint, directive)
    assert server.commands[0] == f"EHLO {said}"


def test_hostname_is_by_default_our_own_address_of_either_family(runtime: Runtime) -> None:
    server = ModelServer()
    with serve(server, host="::1") as served:
        deliver(runtime, served.endpoint)
    assert server.commands[0] == "EHLO [IPv6:::1]"


def test_hostname_is_by_default_localhost_on_unix_sockets(runtime: Runtime, tmp_path: Path) -> None:
    server = ModelServer("lmtp")
    with serve(server, unix_path=tmp_path / "lmtp") as served:
        deliver(runtime, served.endpoint, protocol="lmtp")
    assert server.commands[0] == "LHLO localhost"


def test_source_address_is_bound_and_named(runtime: Runtime) -> None:
    server = ModelServer()
    with serve(server) as served:
        delivery = deliver(runtime, served.endpoint, "source_address 127.0.0.2")
    assert statuses(delivery) == [D, D]
    assert server.commands[0] == "EHLO [127.0.0.2]"


def test_source_address_that_is_not_ours_reaches_nobody(runtime: Runtime) -> None:
    server = ModelServer()
    with serve(server) as served:
        delivery = deliver(runtime, served.endpoint, "source_address 192.0.2.1")
    assert statuses(delivery) == [F, F]
    assert delivery.outcomes[0].phase.value == "connect"
    assert server.connections == []


UNREACHABLE = on("greeting").reply(421, "4.3.2 not now").close()
TRANSIENT = on("RCPT", "b@y.example").reply(451, "4.7.1 greylisted")


def failing_over(runtime: Runtime, rule: Rule, directive: str) -> tuple[list[object], ModelServer]:
    """Deliver to two servers of which the first obeys ``rule``; return the outcomes, and the second."""
    first, second = ModelServer(rules=[rule]), ModelServer()
    with serve(first) as failing, serve(second) as spare:
        delivery = deliver(runtime, [failing.endpoint, spare.endpoint], directive)
    return [*statuses(delivery)], second


@pytest.mark.parametrize("directive", ["", "failover connect"])
def test_failover_connect_moves_on_from_an_endpoint_that_cannot_be_reached(
    runtime: Runtime, directive: str
) -> None:
    outcomes, second = failing_over(runtime, UNREACHABLE, directive)
    assert outcomes == [D, D]
    assert [message.recipients for message in second.messages] == [("b@y.example", "c@y.example")]


def test_failover_connect_stays_after_a_transient_refusal(runtime: Runtime) -> None:
    outcomes, second = failing_over(runtime, TRANSIENT, "failover connect")
    assert outcomes == [F, D]
    assert second.connections == []


def test_failover_transient_moves_on_with_those_recipients_only(runtime: Runtime) -> None:
    outcomes, second = failing_over(runtime, TRANSIENT, "failover connect transient")
    assert outcomes == [D, D]
    assert [message.recipients for message in second.messages] == [("b@y.example",)]


@pytest.mark.parametrize(("directive", "identities"), [("", []), ("failover auth", ["alice"])])
def test_failover_auth_moves_on_from_a_server_that_refuses_the_credentials(
    runtime: Runtime, directive: str, identities: list[str]
) -> None:
    first = ModelServer(extensions=["AUTH PLAIN"], users={"alice": "another"})
    second = ModelServer(extensions=["AUTH PLAIN"], users={"alice": "right-one"})
    with serve(first) as refuser, serve(second) as spare:
        delivery = deliver(
            runtime,
            [refuser.endpoint, spare.endpoint],
            f"auth plain alice right-one\ninsecure_auth yes\n{directive}",
        )
    assert statuses(delivery) == ([D, D] if identities else [F, F])
    assert [message.identity for message in second.messages] == identities


@pytest.mark.parametrize(
    ("directive", "connections"),
    [("", [1, 2]), ("failed_endpoint_delay 1h", [1, 2]), ("failed_endpoint_delay 0", [2, 1])],
)
def test_failed_endpoint_delay_has_what_failed_tried_last(
    runtime: Runtime, directive: str, connections: list[int]
) -> None:
    first = ModelServer(rules=[on("greeting", connection=1).reply(421, "4.3.2 not now").close()])
    second = ModelServer()
    with serve(first) as failing, serve(second) as spare:
        config = config_of([failing.endpoint, spare.endpoint], f"{directive}\nmax_messages 1")
        deliveries = deliver_in_turn(runtime, config, 2)
    assert [statuses(delivery) for delivery in deliveries] == [[D, D], [D, D]]
    assert [len(server.connections) for server in (first, second)] == connections


@pytest.mark.parametrize(("directive", "logged"), [("debug yes", True), ("debug no", False), ("", False)])
def test_debug_logs_the_dialogue_without_secrets(
    runtime: Runtime, directive: str, logged: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "smtpstate")
    server = ModelServer(extensions=["AUTH PLAIN"], users={"alice": "not-to-be-seen"})
    with serve(server) as served:
        directives = f"{directive}\nauth plain alice not-to-be-seen\ninsecure_auth yes"
        delivery = deliver(runtime, served.endpoint, directives)
    assert statuses(delivery) == [D, D]
    lines = [record.getMessage() for record in caplog.records if record.name == "smtpstate"]
    wanted = {
        "> EHLO [127.0.0.1]",
        "> AUTH PLAIN ****",
        "> RCPT TO:<c@y.example>",
        "< 250 2.1.5 recipient ok",
    }
    assert wanted <= set(lines) if logged else lines == []
    [secret] = [command.split()[2] for command in server.commands if command.startswith("AUTH PLAIN ")]
    assert not any("not-to-be-seen" in line or secret in line for line in lines)
