"""How long a target waits: each time-out ends what it covers, and nothing else.

All time-outs that a test does not set are minutes long: a delivery that comes
back at all was ended by the one that it sets.
"""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

import pytest

from adapters.directives import WAITING, D, F, U, deliver, only_outcome, server_context, statuses
from adapters.runtimes import Runtime, full_backlog, peer, swallow
from smtpstate import DeadlinePassed, Envelope, Outcome
from smtpstate.testing import ModelServer, Rule, on
from smtpstate_testing import serve

pytestmark = [pytest.mark.usefixtures("nothing_left"), pytest.mark.parametrize("runtime", WAITING, ids=repr)]

SHORT = "300ms"
#: Seconds between the octets of a server that drips: each comes long before the time is over.
DROP = 0.05
#: So many of them that the time is over long before they are.
LINE = b"250 " + b"x" * 400 + b"\r\n"


def drip(sock: socket.socket) -> None:
    """Send the beginning of a TLS record that does not end."""
    sock.recv(1)  # what comes before the client's first word is another matter
    with suppress(OSError):
        for octet in itertools.chain(b"\x16\x03\x03\x40\x00", itertools.repeat(0)):
            sock.sendall(bytes([octet]))
            threading.Event().wait(DROP)


def check_ran_out(outcome: Outcome, phase: str, enhanced: str) -> None:
    assert (outcome.status, outcome.phase.value, str(outcome.reply.enhanced)) == (F, phase, enhanced)
    assert isinstance(outcome.error, DeadlinePassed)


def test_connect_timeout_ends_an_attempt_that_nobody_answers(runtime: Runtime) -> None:
    with full_backlog() as port:
        outcome = only_outcome(deliver(runtime, f"tcp://127.0.0.1:{port}", f"connect_timeout {SHORT}"))
    check_ran_out(outcome, "connect", "4.4.1")


@pytest.mark.parametrize("behave", [swallow, drip])
def test_connect_timeout_ends_the_handshake_of_implicit_tls(
    runtime: Runtime, behave: Callable[[socket.socket], None]
) -> None:
    with peer(behave, scheme="tls") as endpoint:
        outcome = only_outcome(deliver(runtime, str(endpoint), f"connect_timeout {SHORT}"))
    check_ran_out(outcome, "tls", "4.7.5")


SILENT = [
    (on("greeting").silence(), "greeting", "4.4.2"),
    (on("greeting").drip(b"220 " + b"x" * 400 + b"\r\n", DROP), "greeting", "4.4.2"),
    (on("EHLO").silence(), "hello", "4.4.2"),
    (on("EHLO").drip(b"250-mx.example\r\n" * 30, DROP), "hello", "4.4.2"),
    (on("MAIL").silence(), "mail", "4.4.2"),
    (on("RCPT").drip(LINE, DROP), "rcpt", "4.4.2"),
    (on("DATA").silence(), "data", "4.4.2"),
    (on("DATA").drip(LINE, DROP), "data", "4.4.2"),
]


@pytest.mark.parametrize(
    ("rule", "phase", "enhanced"), SILENT, ids=[f"{rule.step}-{len(rule.effects)}" for rule, _, _ in SILENT]
)
def test_command_timeout_ends_the_wait_for_a_reply(
    runtime: Runtime, rule: Rule, phase: str, enhanced: str
) -> None:
    server = ModelServer(rules=[rule])
    with serve(server) as served:
        delivery = deliver(runtime, served.endpoint, f"command_timeout {SHORT}")
    check_ran_out(only_outcome(delivery), phase, enhanced)
    assert server.messages == []
    assert server.commands[-1:] != ["QUIT"]  # it is not believed any more


def test_command_timeout_ends_a_handshake_after_starttls(runtime: Runtime) -> None:
    server = ModelServer(extensions=["STARTTLS"], rules=[on("tls").silence()])
    with serve(server, tls=server_context()) as served:
        delivery = deliver(runtime, served.endpoint, f"command_timeout {SHORT}\nrequire_tls yes")
    check_ran_out(only_outcome(delivery), "tls", "4.7.5")


def test_command_timeout_ends_a_block_of_the_message_that_makes_no_progress(runtime: Runtime) -> None:
    server = ModelServer(rules=[on("content", after=1).stop_reading()])
    message = b"Subject: large\r\n\r\n" + b"0123456789abcdef" * 1_000_000
    with serve(server, buffers=8192) as served:
        delivery = deliver(runtime, served.endpoint, f"command_timeout {SHORT}", message=message)
    check_ran_out(only_outcome(delivery), "content", "4.4.2")


@pytest.mark.parametrize("protocol", ["smtp", "lmtp"])
def test_command_timeout_does_not_cover_the_final_reply(runtime: Runtime, protocol: str) -> None:
    server = ModelServer(protocol, rules=[on("message", occurrence=1).delay(0.6)])
    with serve(server) as served:
        delivery = deliver(runtime, served.endpoint, f"command_timeout {SHORT}", protocol=protocol)
    assert statuses(delivery) == [D, D]


SILENCE = on("message").silence()
DRIP = on("message").drip(LINE, DROP)


@pytest.mark.parametrize(
    ("protocol", "extensions", "rule"),
    [
        ("smtp", [], SILENCE),
        ("smtp", ["PIPELINING", "CHUNKING"], DRIP),
        ("lmtp", ["PIPELINING", "CHUNKING"], SILENCE),
        ("lmtp", [], DRIP),
    ],
    ids=["smtp-DATA-silent", "smtp-BDAT-drips", "lmtp-BDAT-silent", "lmtp-DATA-drips"],
)
def test_submission_timeout_ends_the_wait_for_the_final_reply(
    runtime: Runtime, protocol: str, extensions: list[str], rule: Rule
) -> None:
    server = ModelServer(protocol, extensions, [rule])
    with serve(server) as served:
        delivery = deliver(runtime, served.endpoint, f"submission_timeout {SHORT}", protocol=protocol)
    outcome = only_outcome(delivery)
    assert (outcome.status, outcome.phase.value) == (U, "final")
    assert isinstance(outcome.error, DeadlinePassed)


def test_submission_timeout_leaves_recipients_their_replies_that_came(runtime: Runtime) -> None:
    server = ModelServer("lmtp", rules=[on("message", "c@y.example").silence()])
    with serve(server) as served:
        delivery = deliver(runtime, served.endpoint, f"submission_timeout {SHORT}", protocol="lmtp")
    assert statuses(delivery) == [D, U]


def test_submission_timeout_covers_no_command(runtime: Runtime) -> None:
    server = ModelServer(rules=[on("RCPT", occurrence=1).delay(0.6)])
    with serve(server) as served:
        delivery = deliver(runtime, served.endpoint, f"submission_timeout {SHORT}")
    assert statuses(delivery) == [D, D]


@pytest.mark.parametrize(
    ("directive", "delivered"),
    [("transaction_timeout off", True), ("transaction_timeout 500ms", False)],
)
def test_transaction_timeout_ends_what_is_slow_only_as_a_whole(
    runtime: Runtime, directive: str, delivered: bool
) -> None:
    envelope = Envelope("a@x.example", [f"{n}@y.example" for n in range(20)])
    server = ModelServer(rules=[on("RCPT").delay(0.05)])
    with serve(server) as served:
        delivery = deliver(runtime, served.endpoint, directive, envelope=envelope)
    if delivered:
        assert set(statuses(delivery)) == {D}
    else:
        assert server.messages == []
        assert set(statuses(delivery)) == {F}
        assert {type(outcome.error) for outcome in delivery.outcomes} == {DeadlinePassed}


def test_transaction_timeout_covers_all_endpoints_together(runtime: Runtime) -> None:
    with full_backlog() as port:
        endpoints = [f"tcp://127.0.0.1:{port}", f"tcp://127.0.0.1:{port}"]
        delivery = deliver(runtime, endpoints, f"transaction_timeout {SHORT}")
    check_ran_out(only_outcome(delivery), "connect", "4.4.1")


def test_transaction_timeout_also_ends_the_wait_for_the_final_reply(runtime: Runtime) -> None:
    server = ModelServer(rules=[on("message").silence()])
    with serve(server) as served:
        delivery = deliver(runtime, served.endpoint, "transaction_timeout 500ms")
    outcome = only_outcome(delivery)
    assert (outcome.status, outcome.phase.value) == (U, "final")
