"""Every request of the main dialogues fails in each way it can: one outcome each, and the right one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import pytest

from playing import MESSAGE, D, F, Played, U, play
from smtpstate import DeadlinePassed, Delivery, Envelope, TargetConfig, TransportError, forwarding
from smtpstate._requests import Poll, Receive, Send
from smtpstate.testing import Abandoned, Cut, Fault, ModelServer, Playground, octet_by_octet, split_at

BIG = (b"x" * 76 + b"\r\n") * 2000  # three blocks

EXTENSIONS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "pipelining": ("PIPELINING",),
    "chunking": ("PIPELINING", "CHUNKING"),
    "chunks": ("CHUNKING",),
}
MESSAGES = {"small": MESSAGE, "big": BIG}


def dialogue(protocol: str, extensions: str, message: str) -> Callable[..., Played]:
    """Return what plays one of the main dialogues, given the faults."""

    def run(**faults: Any) -> Played:
        return play(
            protocol=protocol,
            extensions=EXTENSIONS[extensions],
            message=MESSAGES[message],
            correct=False,
            **faults,
        )

    return run


DIALOGUES = {
    f"{protocol}-{extensions}-{message}": dialogue(protocol, extensions, message)
    for protocol in ("smtp", "lmtp")
    for extensions in EXTENSIONS
    for message in MESSAGES
}
How: TypeAlias = Literal["close", "reset", "silence"]
HOWS: tuple[How, ...] = ("close", "reset", "silence")
ERRORS: dict[str, TransportError] = {
    "reset": TransportError("connection reset"),
    "late": DeadlinePassed("the deadline passed"),
}


def requests_of(name: str) -> int:
    return len(DIALOGUES[name]().playground.requests)


CASES = [(name, n) for name in DIALOGUES for n in range(requests_of(name))]


def check(played: Played, n: int) -> None:
    """Hold the outcomes against what the server has, whatever happened."""
    requests = played.playground.requests
    sent = [request for request in requests[: n + 1] if isinstance(request, Send)]
    end_requested = any(b"\r\n.\r\n" in send.data or b" LAST\r\n" in send.data for send in sent)
    accepted = {recipient for message in played.server.messages for recipient in message.recipients}
    assert len(played.server.messages) <= 1, "sent twice"
    for outcome in played.delivery.outcomes:
        if outcome.status is D:
            assert outcome.recipient in accepted
        if outcome.status is F:
            assert outcome.may_retry
            assert outcome.recipient not in accepted, "a retry would duplicate"
            assert not end_requested
        if outcome.status is U:
            assert end_requested


@pytest.mark.parametrize("how", ERRORS)
@pytest.mark.parametrize(("name", "n"), CASES)
def test_every_recipient_has_one_outcome_when_request_n_fails(name: str, n: int, how: str) -> None:
    played = DIALOGUES[name](faults=[Fault(n, ERRORS[how])])
    assert len(played.statuses) == 2
    check(played, n)


@pytest.mark.parametrize(("name", "n"), CASES)
def test_every_recipient_has_one_outcome_when_request_n_is_cancelled(name: str, n: int) -> None:
    protocol, kind, size = name.split("-")
    server = ModelServer(protocol, EXTENSIONS[kind])
    playground = Playground({"tcp://mx.example:25": server}, faults=[Fault(n, None)])
    delivery = Delivery(Envelope("a@x.example", ["b@y.example", "c@y.example"]), MESSAGES[size])
    config = TargetConfig(targets=["tcp://mx.example:25"], protocol=protocol)
    with pytest.raises(Abandoned):
        playground.run(forwarding(delivery, config))
    second = ModelServer()
    check(Played(delivery, server, second, playground), n)


@pytest.mark.parametrize("delivered", [0, 1, 40])
@pytest.mark.parametrize("name", DIALOGUES)
def test_a_send_that_fails_halfway_is_judged_by_what_was_asked_for(name: str, delivered: int) -> None:
    whole = DIALOGUES[name]()
    for n, request in enumerate(whole.playground.requests):
        if isinstance(request, Send):
            check(DIALOGUES[name](faults=[Fault(n, ERRORS["reset"], delivered=delivered)]), n)


@pytest.mark.parametrize("kind", [Poll, Receive])
@pytest.mark.parametrize("name", [name for name in DIALOGUES if name.endswith("big")])
def test_a_failed_look_for_early_replies_is_a_lost_connection(name: str, kind: type) -> None:
    played = DIALOGUES[name](faults=[Fault(0, ERRORS["reset"], kind=kind)])
    assert all(status in (F, D) for status in played.statuses)
    check(played, len(played.playground.requests))


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("name", ["smtp-plain-small", "smtp-chunking-small", "lmtp-pipelining-small"])
def test_a_server_cut_off_after_any_octet_leaves_one_outcome_each(name: str, how: How) -> None:
    whole = DIALOGUES[name]()
    said = sum(len(line) for line in whole.playground.transcript if line.startswith("S: "))
    for octets in range(said):
        played = DIALOGUES[name](cut=Cut(octets, how))
        accepted = {recipient for message in played.server.messages for recipient in message.recipients}
        for outcome in played.delivery.outcomes:
            assert (outcome.status is F) <= (outcome.recipient not in accepted)
            assert (outcome.status is D) <= (outcome.recipient in accepted)


@pytest.mark.parametrize("name", DIALOGUES)
def test_replies_octet_by_octet_change_nothing(name: str) -> None:
    whole, split = DIALOGUES[name](), DIALOGUES[name](split=octet_by_octet)
    assert split.said == whole.said
    assert [o.reply for o in split.delivery.outcomes] == [o.reply for o in whole.delivery.outcomes]


@pytest.mark.parametrize("name", ["smtp-plain-small", "smtp-pipelining-small", "lmtp-chunking-small"])
def test_replies_cut_at_any_place_change_nothing(name: str) -> None:
    whole = DIALOGUES[name]()
    longest = max(len(line) for line in whole.playground.transcript)
    for place in range(1, longest):
        split = DIALOGUES[name](split=split_at(place))
        assert split.said == whole.said
        assert split.statuses == whole.statuses
