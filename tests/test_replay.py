"""Deliveries played again from their traces, with nothing but the trace, the message and the settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from playing import MESSAGE, MX, MX2
from smtpstate import (
    Credentials,
    DeadlinePassed,
    Delivery,
    Envelope,
    Message,
    Phase,
    TargetConfig,
    TraceEvent,
    TransportError,
    forwarding,
)
from smtpstate._replay import _Recording
from smtpstate._requests import Pull, Request
from smtpstate.testing import Fault, ModelServer, ModelTls, Playground, Rule, on
from smtpstate.trace import Failed, Received, Sent, Settled, TraceDiffers, as_json, replay

SECRET = "correct horse 42"
B, C = "b@y.example", "c@y.example"
LONG = b"Subject: long\r\n\r\n" + b"a line of some length, and then another one\r\n" * 6000


@dataclass
class Played:
    """A delivery, and its trace."""

    delivery: Delivery
    config: TargetConfig
    trace: list[TraceEvent]
    requests: Sequence[Request]

    def again(
        self, trace: Sequence[TraceEvent | str] | None = None, message: bytes | None = None
    ) -> Delivery:
        before = self.delivery
        delivery = Delivery(before.envelope, message or before.message, credentials=before.credentials)
        replay(self.trace if trace is None else trace, delivery, self.config)
        return delivery


def play(
    rules: Sequence[Rule] = (),
    message: bytes | list[bytes] = MESSAGE,
    *,
    endpoint: str = MX,
    protocol: str = "smtp",
    extensions: Sequence[str] = ("PIPELINING", "SIZE 10000000"),
    faults: Sequence[Fault] = (),
    tls: ModelTls | None = None,
    cut: int | None = None,
    second: bool = False,
    credentials: Credentials | None = None,
    **settings: Any,
) -> Played:
    server = ModelServer(protocol, extensions, rules, tls=tls, users={"me": SECRET}, cut=cut)
    other = ModelServer(protocol, extensions, name="mx2.example")
    playground = Playground({endpoint: server, MX2: other}, faults=faults, latency=0.125)
    config = TargetConfig(targets=[endpoint, MX2] if second else [endpoint], protocol=protocol, **settings)
    delivery = Delivery(Envelope("a@x.example", [B, C]), message, credentials=credentials)
    trace: list[TraceEvent] = []
    playground.run(forwarding(delivery, config, nonce=lambda: "n" * 20, trace=trace.append))
    playground.close()
    return Played(delivery, config, trace, playground.requests)


def said(delivery: Delivery) -> list[str]:
    return [f"{outcome} at {outcome.phase.value} of {outcome.endpoint}" for outcome in delivery.outcomes]


def check(played: Played) -> None:
    """Play it again from the events and from their lines, and compare the outcomes."""
    assert said(played.again()) == said(played.delivery)
    again = played.again([as_json(event) for event in played.trace])
    assert said(again) == said(played.delivery)
    assert [(a.endpoint, a.phase) for a in again.attempts] == [
        (a.endpoint, a.phase) for a in played.delivery.attempts
    ]


@pytest.mark.parametrize("protocol", ["smtp", "lmtp"])
@pytest.mark.parametrize("message", [MESSAGE, b"", LONG], ids=["short", "empty", "long"])
@pytest.mark.parametrize(
    "extensions", [(), ("PIPELINING",), ("CHUNKING",), ("PIPELINING", "CHUNKING")], ids=" ".join
)
@pytest.mark.parametrize(
    "rules",
    [
        [],
        [on("EHLO").reply(502, "5.5.1 unknown")],
        [on("greeting").reply(554, "5.3.2 no")],
        [on("greeting").say(b"hello?\r\n")],
        [on("RCPT", B).reply(550, "5.1.1 no", "two lines \xff of it")],
        [on("RCPT", C).reply(452, "4.5.3 too many")],
        [on("RCPT").reply(450, "4.2.1 busy")],
        [on("MAIL").reply(421, "4.3.2 going down").close()],
        [on("DATA").reply(451, "4.3.0 later")],
        [on("message").reply(552, "5.3.4 too big")],
        [on("message").close()],
        [on("message").silence()],
        [on("message", C).reset()],
        [on("content").reply(452, "4.3.1 full").close()],
        [on("QUIT").close()],
        [on("RCPT", B).say(b"999 what\r\n")],
    ],
    ids=lambda rules: str(rules)[:40],
)
def test_a_replay_has_the_same_outcomes(
    protocol: str, message: bytes, extensions: Sequence[str], rules: list[Rule]
) -> None:
    check(play(rules, message, protocol=protocol, extensions=extensions, failover=["transient"], second=True))


TLS = ("PIPELINING", "STARTTLS", "AUTH PLAIN LOGIN CRAM-MD5 SCRAM-SHA-256 XOAUTH2")
ENOUGH = range(len(play(message=LONG, extensions=TLS).requests))


@pytest.mark.parametrize("error", [TransportError("broken"), DeadlinePassed("too late")], ids=repr)
@pytest.mark.parametrize("n", ENOUGH)
def test_a_replay_fails_where_the_delivery_failed(n: int, error: TransportError) -> None:
    check(play(message=LONG, extensions=TLS, faults=[Fault(n, error)]))


@pytest.mark.parametrize("n", range(4))
def test_a_replay_fails_where_the_message_was_late(n: int) -> None:
    chunks = [MESSAGE, LONG, MESSAGE]
    late = Fault(n, DeadlinePassed("too late"), Pull)
    played = play(message=chunks, extensions=TLS, faults=[late], transaction_timeout=60)
    assert isinstance(played.delivery.attempts[0].error, DeadlinePassed)
    check(played)


@pytest.mark.parametrize("cut", range(0, 700, 19))
def test_a_replay_ends_where_the_server_ended(cut: int) -> None:
    check(play(message=LONG, extensions=TLS, cut=cut, second=True))


@pytest.mark.parametrize(
    "tls",
    [ModelTls(), ModelTls(trusted=False), ModelTls(version="TLSv1.2", names=("other.example",))],
    ids=["good", "untrusted", "misnamed"],
)
@pytest.mark.parametrize("require_tls", [True, False])
def test_a_replay_needs_no_certificate(tls: ModelTls, require_tls: bool) -> None:
    check(play(extensions=TLS, tls=tls, require_tls=require_tls, second=True))


@pytest.mark.parametrize(
    "error", [TransportError("nobody", name_unknown=True), TransportError("refused")], ids=repr
)
def test_a_replay_knows_why_nothing_could_be_connected(error: TransportError) -> None:
    played = play(faults=[Fault(0, error)])
    check(played)
    assert str(played.delivery.outcomes[0].reply).startswith(
        "421 4.4.4" if error.name_unknown else "421 4.4.1"
    )


@pytest.mark.parametrize("password", [SECRET, "wrong"])
@pytest.mark.parametrize("kind", ["plain", "login", "scram", "auto"])
def test_a_replay_needs_no_password(kind: str, password: str) -> None:
    played = play(extensions=TLS, auth=[kind, "me", password], second=True, failover=["auth"])
    played.config = TargetConfig(
        targets=played.config.targets, auth=[kind, "somebody", "anything"], failover=["auth"]
    )
    check(played)


def test_a_replay_forwards_any_credentials() -> None:
    played = play(extensions=TLS, auth="forward", credentials=Credentials("me", SECRET))
    played.delivery.credentials = Credentials("somebody", "anything")
    check(played)


@pytest.mark.parametrize(
    "challenge", [b"334 not base64!\r\n", b"334 YWJj\r\n"], ids=["no base64", "not what SCRAM says"]
)
def test_a_replay_gives_up_where_the_mechanism_gave_up(challenge: bytes) -> None:
    for kind in ("scram", "plain"):
        check(play([on("AUTH").say(challenge)], extensions=TLS, auth=[kind, "me", SECRET]))


def test_a_message_in_pieces_is_read_again() -> None:
    played = play(message=[LONG[:70000], LONG[70000:]], extensions=TLS)
    check(played)
    assert "delivered" in said(played.delivery)[0]


def test_a_unix_socket_has_no_addresses() -> None:
    played = play(endpoint="unix:///run/lmtp", protocol="lmtp")
    assert "> LHLO localhost" in [str(event) for event in played.trace]
    check(played)


def test_our_address_is_read_off_the_name_that_we_gave() -> None:
    played = play()
    lines = [
        replace(event, line="EHLO [IPv6:2001:db8::1]")
        if isinstance(event, Sent) and "EHLO" in event.line
        else event
        for event in played.trace
    ]
    assert said(played.again(lines)) == said(played.delivery)


# Differences.


def test_another_message_leaves_the_trace() -> None:
    played = play()
    with pytest.raises(TraceDiffers, match=r"SIZE=51; now there is > MAIL .* SIZE=52"):
        played.again(message=MESSAGE.replace(b"hello", b"howdy!"))


def test_a_trace_that_ends_early_is_said_to() -> None:
    played = play()
    for length in range(len(played.trace)):
        with pytest.raises(TraceDiffers, match="the trace has its end; now there is "):
            played.again(played.trace[:length])


def test_the_first_difference_is_the_one_that_is_told() -> None:
    recording = _Recording([])
    for line in ("MAIL FROM:<>", "QUIT"):
        with pytest.raises(TraceDiffers, match="now there is > MAIL FROM:<>"):
            recording.compare(Sent(0.0, Phase.MAIL, line))


def test_a_trace_that_goes_on_is_said_to() -> None:
    played = play()
    with pytest.raises(TraceDiffers, match="now there is the end"):
        played.again([*played.trace, played.trace[-1]])


def test_an_answer_that_was_not_given_leads_elsewhere() -> None:
    played = play()
    lines = [
        replace(event, reply=replace(event.reply, code=550))
        if isinstance(event, Received) and event.reply.code == 354
        else event
        for event in played.trace
    ]
    with pytest.raises(TraceDiffers):
        played.again(lines)


def test_a_failure_of_the_message_itself_cannot_be_made_up() -> None:
    class Broken(Exception):
        """Of a source."""

    def source() -> Iterator[bytes]:
        yield LONG
        raise Broken

    server = ModelServer()
    trace: list[TraceEvent] = []
    config = TargetConfig(targets=[MX])
    envelope = Envelope("a@x.example", [B])
    with pytest.raises(Broken):
        Playground({MX: server}).run(
            forwarding(Delivery(envelope, Message(source)), config, trace=trace.append)
        )
    assert "* failed: Broken" in [str(event) for event in trace]
    with pytest.raises(TraceDiffers):
        replay(trace, Delivery(envelope, MESSAGE), config)


def test_a_failure_of_unknown_cause_cannot_be_made_up() -> None:
    played = play()
    before = [event for event in played.trace if not isinstance(event, Settled)][:4]
    with pytest.raises(TraceDiffers, match="failed: odd; now there is no such failure"):
        played.again([*before, Failed(1.0, Phase.HELLO, "odd")])


def test_what_is_no_trace_is_refused() -> None:
    played = play()
    with pytest.raises(ValueError, match="not a line of a trace"):
        played.again(["nothing"])
    with pytest.raises(TraceDiffers, match="its end"):
        played.again([])
