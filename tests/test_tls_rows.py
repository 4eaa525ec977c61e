"""The table of TLS policy: what is tried, what is settled for, what ends an endpoint."""

from __future__ import annotations

from typing import Any

import pytest

from playing import MX, MX2, D, F
from smtpstate import (
    DeadlinePassed,
    Delivery,
    Envelope,
    Status,
    TargetConfig,
    TlsFailed,
    TransportError,
    forwarding,
)
from smtpstate._requests import Handshake, Receive, Send
from smtpstate.testing import Fault, ModelServer, ModelTls, Playground, Rule, on

STARTTLS = ("STARTTLS", "PIPELINING", "8BITMIME")


def play(
    rules: list[Rule] | None = None,
    *,
    extensions: tuple[str, ...] = STARTTLS,
    tls: ModelTls | None = None,
    faults: list[Fault] | None = None,
    endpoint: str = MX,
    second: bool = False,
    protocol: str = "smtp",
    **settings: Any,
) -> tuple[list[Status], ModelServer, Delivery, Playground]:
    """Deliver one message to a server that offers STARTTLS."""
    implicit = endpoint.startswith("tls:")
    server = ModelServer(protocol, extensions, rules or (), tls=tls, implicit_tls=implicit)
    other = ModelServer(protocol, extensions)
    playground = Playground({endpoint: server, MX2: other}, faults=faults or ())
    delivery = Delivery(Envelope("a@x.example", ["b@y.example"]), b"hello\r\n")
    targets = [endpoint, MX2] if second else [endpoint]
    playground.run(forwarding(delivery, TargetConfig(targets=targets, protocol=protocol, **settings)))
    playground.close()
    assert server.violations == []
    if second:
        assert [message.tls for message in other.messages] == [True]
    return [outcome.status for outcome in delivery.outcomes], server, delivery, playground


def encrypted(server: ModelServer) -> list[bool]:
    return [message.tls for message in server.messages]


def handshakes(playground: Playground) -> list[bool]:
    """Whether each handshake asked for a verified certificate."""
    return [request.tls.verify for request in playground.requests if isinstance(request, Handshake)]


BAD_CERTIFICATE = ModelTls(trusted=False)
BROKEN = [
    TlsFailed("wrong version number"),
    TransportError("connection reset"),
    DeadlinePassed("the deadline passed"),
]


# attempt_starttls no, require_tls no.


def test_without_attempt_starttls_the_connection_stays_plain() -> None:
    statuses, server, _, _ = play(attempt_starttls=False)
    assert (statuses, encrypted(server)) == ([D], [False])
    assert "STARTTLS" not in server.commands


def test_lmtp_attempts_no_starttls_by_default() -> None:
    assert "STARTTLS" not in play(protocol="lmtp")[1].commands
    assert "STARTTLS" in play(protocol="lmtp", attempt_starttls=True)[1].commands


# attempt_starttls yes, require_tls no.


def test_starttls_is_used_where_it_is_offered_and_everything_before_is_forgotten() -> None:
    statuses, server, delivery, _ = play()
    assert (statuses, encrypted(server)) == ([D], [True])
    assert server.commands[:3] == ["EHLO [192.0.2.1]", "STARTTLS", "EHLO [192.0.2.1]"]
    [attempt] = delivery.attempts
    assert attempt.tls is not None
    assert attempt.tls.verified


def test_without_an_offer_of_starttls_the_same_connection_stays_plain() -> None:
    statuses, server, _, _ = play(extensions=("PIPELINING",))
    assert (statuses, encrypted(server), len(server.connections)) == ([D], [False], 1)


@pytest.mark.parametrize("code", [454, 554])
def test_starttls_refused_leaves_the_same_connection_plain(code: int) -> None:
    statuses, server, _, _ = play([on("STARTTLS").reply(code, "not now")])
    assert (statuses, encrypted(server), len(server.connections)) == ([D], [False], 1)


@pytest.mark.parametrize("how", ["close", "reset", "silence", "421"])
def test_421_or_close_or_silence_at_starttls_means_a_new_connection_in_plain(how: str) -> None:
    rule = on("STARTTLS").reply(421, "bye").close() if how == "421" else getattr(on("STARTTLS"), how)()
    statuses, server, delivery, _ = play([rule])
    assert (statuses, encrypted(server), len(server.connections)) == ([D], [False], 2)
    assert "STARTTLS" not in server.connections[1].commands
    assert [attempt.phase.value for attempt in delivery.attempts] == ["tls", "final"]


def test_a_bad_certificate_means_a_new_connection_with_tls_unverified() -> None:
    statuses, server, delivery, playground = play(tls=BAD_CERTIFICATE)
    assert (statuses, encrypted(server), len(server.connections)) == ([D], [True], 2)
    assert handshakes(playground) == [True, False]
    assert delivery.attempts[1].tls is not None
    assert not delivery.attempts[1].tls.verified


@pytest.mark.parametrize("error", BROKEN, ids=["tls", "reset", "stall"])
def test_tls_that_fails_means_a_new_connection_in_plain_without_starttls(error: Exception) -> None:
    statuses, server, _, playground = play(faults=[Fault(0, error, kind=Handshake)])
    assert (statuses, encrypted(server), len(server.connections)) == ([D], [False], 2)
    assert handshakes(playground) == [True]
    assert "STARTTLS" not in server.connections[1].commands


def test_tls_that_fails_unverified_too_means_a_third_connection_in_plain() -> None:
    statuses, server, _, playground = play(
        tls=BAD_CERTIFICATE, faults=[Fault(1, TlsFailed("broken"), kind=Handshake)]
    )
    assert (statuses, encrypted(server), len(server.connections)) == ([D], [False], 3)
    assert handshakes(playground) == [True, False]


@pytest.mark.parametrize("error", BROKEN, ids=["tls", "reset", "stall"])
@pytest.mark.parametrize("kind", [Send, Receive])
def test_a_failure_before_the_first_reply_inside_tls_is_a_failed_handshake(
    kind: type, error: Exception
) -> None:
    # Send: EHLO, STARTTLS, EHLO inside.  Receive: greeting, EHLO, STARTTLS, EHLO inside.
    fault = Fault(2 if kind is Send else 3, error, kind=kind)
    statuses, server, _, _ = play(faults=[fault])
    assert (statuses, encrypted(server), len(server.connections)) == ([D], [False], 2)


def test_verify_no_asks_for_no_certificate_and_counts_as_unverified() -> None:
    statuses, server, delivery, playground = play(tls=BAD_CERTIFICATE, tls_client={"verify": False})
    assert (statuses, encrypted(server), len(server.connections)) == ([D], [True], 1)
    assert handshakes(playground) == [False]
    assert delivery.attempts[0].tls is not None
    assert not delivery.attempts[0].tls.verified


@pytest.mark.parametrize("surplus", [b"250 injected\r\n", b"2", b"250-mx\r\n250 AUTH PLAIN\r\n"])
def test_octets_beyond_the_220_of_starttls_end_the_endpoint(surplus: bytes) -> None:
    statuses, server, delivery, playground = play([on("STARTTLS").answer().say(surplus)])
    assert (statuses, encrypted(server), len(server.connections)) == ([F], [], 1)
    assert delivery.outcomes[0].phase.value == "tls"
    assert handshakes(playground) == []


@pytest.mark.parametrize("code", [250, 235, 354])
def test_only_220_is_a_yes_to_starttls(code: int) -> None:
    statuses, server, _, playground = play([on("STARTTLS").reply(code, "yes?")])
    assert (statuses, encrypted(server), handshakes(playground)) == ([F], [], [])


# require_tls yes.


@pytest.mark.parametrize("attempt", [True, False])
def test_require_tls_implies_starttls(attempt: bool) -> None:
    statuses, server, _, _ = play(attempt_starttls=attempt, require_tls=True)
    assert (statuses, encrypted(server)) == ([D], [True])


def check_endpoint_fails(rules: list[Rule] | None = None, **how: Any) -> None:
    """One endpoint alone defers with 4.7.5, or the server's own 421; with another, that is taken."""
    statuses, server, delivery, _ = play(rules, require_tls=True, **how)
    assert (statuses, encrypted(server), len(server.connections)) == ([F], [], 1)
    [outcome] = delivery.outcomes
    assert outcome.phase.value == "tls"
    assert outcome.reply.code == 421 or str(outcome.reply.enhanced) == "4.7.5"
    assert not any(command.startswith("MAIL") for command in server.commands)
    assert play(rules, require_tls=True, second=True, **how)[0] == [D]


def test_tls_required_and_not_offered_ends_the_endpoint() -> None:
    server = ModelServer(extensions=("PIPELINING",))
    other = ModelServer(extensions=STARTTLS)
    playground = Playground({MX: server, MX2: other})
    delivery = Delivery(Envelope("a@x.example", ["b@y.example"]), b"hello\r\n")
    playground.run(forwarding(delivery, TargetConfig(targets=[MX, MX2], require_tls=True)))
    assert (delivery.outcomes[0].status, server.messages, encrypted(other)) == (D, [], [True])
    assert str(delivery.attempts[0].reply.enhanced if delivery.attempts[0].reply else "") == "4.7.5"


@pytest.mark.parametrize("code", [454, 554])
def test_tls_required_and_refused_ends_the_endpoint(code: int) -> None:
    check_endpoint_fails([on("STARTTLS").reply(code, "not now")])


@pytest.mark.parametrize("how", ["close", "reset", "silence", "421"])
def test_tls_required_and_cut_short_ends_the_endpoint(how: str) -> None:
    rule = on("STARTTLS").reply(421, "bye").close() if how == "421" else getattr(on("STARTTLS"), how)()
    check_endpoint_fails([rule])


def test_tls_required_and_not_verified_ends_the_endpoint() -> None:
    check_endpoint_fails(tls=BAD_CERTIFICATE)


@pytest.mark.parametrize("error", BROKEN, ids=["tls", "reset", "stall"])
def test_tls_required_and_broken_ends_the_endpoint(error: Exception) -> None:
    check_endpoint_fails(faults=[Fault(0, error, kind=Handshake)])


def test_tls_required_with_verify_no_is_satisfied_by_any_certificate() -> None:
    statuses, server, _, _ = play(tls=BAD_CERTIFICATE, require_tls=True, tls_client={"verify": False})
    assert (statuses, encrypted(server)) == ([D], [True])


# tls:// endpoints.


def test_implicit_tls_begins_at_once_and_asks_for_no_starttls() -> None:
    statuses, server, _, _ = play(endpoint="tls://mx.example:465")
    assert (statuses, encrypted(server)) == ([D], [True])
    assert "STARTTLS" not in server.commands


@pytest.mark.parametrize("fault", [None, *BROKEN], ids=["certificate", "tls", "reset", "stall"])
def test_implicit_tls_never_falls_back(fault: Exception | None) -> None:
    statuses, server, delivery, _ = play(
        endpoint="tls://mx.example:465",
        tls=BAD_CERTIFICATE if fault is None else None,
        faults=[Fault(0, fault, kind=Handshake)] if fault else None,
    )
    assert (statuses, encrypted(server), len(server.connections)) == ([F], [], 1)
    assert str(delivery.outcomes[0].reply.enhanced) == "4.7.5"
    assert delivery.outcomes[0].phase.value == "tls"


# Names.


@pytest.mark.parametrize(
    ("endpoint", "settings", "name"),
    [
        (MX, {}, "mx.example"),
        ("tcp://192.0.2.7:25", {}, "192.0.2.7"),
        ("tcp://[2001:db8::7]:25", {}, "2001:db8::7"),
        (MX, {"tls_client": {"server_name": "other.example"}}, "other.example"),
    ],
)
def test_the_certificate_must_name_the_server_name_or_the_endpoints_host(
    endpoint: str, settings: dict[str, Any], name: str
) -> None:
    _, _, _, playground = play(endpoint=endpoint, **settings)
    [request] = [request for request in playground.requests if isinstance(request, Handshake)]
    assert request.server_name == name


def test_a_unix_socket_uses_starttls_only_with_a_server_name() -> None:
    assert "STARTTLS" not in play(endpoint="unix:///run/mx")[1].commands
    statuses, server, _, _ = play(endpoint="unix:///run/mx", tls_client={"server_name": "mx.example"})
    assert (statuses, encrypted(server)) == ([D], [True])
