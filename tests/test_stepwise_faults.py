"""A transaction step by step, when any request goes wrong, and when the server says what nobody asked for."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import pytest

from playing import MESSAGE, D, F, Played, U
from smtpstate import (
    DeadlinePassed,
    Envelope,
    Status,
    TransportError,
)
from smtpstate._requests import Clock, Request, Send
from smtpstate.testing import (
    Action,
    Close,
    Fault,
    Reset,
    Rule,
    Say,
    octet_by_octet,
    on,
)
from stepping import NOBODY_YET, Stage, Steps, step_through

B, C = "b@y.example", "c@y.example"
BOTH = Envelope("a@x.example", [B, C])
BIG = (b"x" * 76 + b"\r\n") * 2000  # three blocks
EXTENSIONS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "pipelining": ("PIPELINING",),
    "chunking": ("PIPELINING", "CHUNKING"),
    "chunks": ("CHUNKING",),
}
OFFERS = pytest.mark.parametrize("extensions", EXTENSIONS.values(), ids=EXTENSIONS)
PROTOCOLS = pytest.mark.parametrize("protocol", ["smtp", "lmtp"])
EIGHT_BIT = "Subject: hello\r\n\r\ngrüße\r\n".encode()
UTF8_HEADER = "Subject: grüße\r\n\r\nhello\r\n".encode()


def statuses(steps: Steps) -> list[Status]:
    return [outcome.status for outcome in steps.delivery.outcomes]


def is_lost(steps: Steps) -> bool:
    """Return whether the next recipient is answered with what is said here of a lost connection."""
    reply = steps.name("late@y.example")
    return (reply.code, str(reply.enhanced), reply.local) == (421, "4.4.2", True)


# Every request goes wrong.


MESSAGES = {"small": MESSAGE, "big": BIG}


def dialogue(protocol: str, extensions: str, message: str) -> Callable[..., Played]:
    """Return what takes one of the main dialogues through its steps, given the faults."""

    def run(**playing: Any) -> Played:
        return step_through(
            (), EXTENSIONS[extensions], protocol=protocol, message=MESSAGES[message], playing=playing
        )

    return run


DIALOGUES = {
    f"{protocol}-{extensions}-{message}": dialogue(protocol, extensions, message)
    for protocol in ("smtp", "lmtp")
    for extensions in EXTENSIONS
    for message in MESSAGES
}
ERRORS: dict[str, TransportError | None] = {
    "reset": TransportError("connection reset"),
    "late": DeadlinePassed("the deadline passed"),
    "interrupted": None,
}
CASES = [(name, n) for name in DIALOGUES for n in range(len(DIALOGUES[name]().playground.requests))]


def ends_message(requests: list[Request]) -> bool:
    """Return whether the sending of the message's end is among the requests."""
    sent = [request.data for request in requests if isinstance(request, Send)]
    return any(b"\r\n.\r\n" in data or b" LAST\r\n" in data for data in sent)


def check(played: Played, n: int) -> None:
    """Hold the outcomes against what the server has, and what was asked for up to request ``n``."""
    end_requested = ends_message(played.playground.requests[: n + 1])
    accepted = {recipient for message in played.server.messages for recipient in message.recipients}
    assert len(played.server.messages) <= 1, "sent twice"
    for outcome in played.delivery.outcomes:
        if outcome.status is D:
            assert outcome.recipient in accepted
        else:
            assert outcome.status is (U if end_requested else F)
        assert outcome.may_retry is (outcome.status is F)
        if outcome.status is F:
            assert outcome.recipient not in accepted, "a retry would duplicate"


@pytest.mark.parametrize("name", DIALOGUES)
def test_the_main_dialogues_deliver(name: str) -> None:
    played = DIALOGUES[name]()
    assert played.statuses == [D, D]
    check(played, len(played.playground.requests))


@pytest.mark.parametrize("how", ERRORS)
@pytest.mark.parametrize(("name", "n"), CASES)
def test_every_recipient_has_one_outcome_when_request_n_goes_wrong(name: str, n: int, how: str) -> None:
    played = DIALOGUES[name](faults=[Fault(n, ERRORS[how])])
    assert [outcome.recipient for outcome in played.delivery.outcomes] == [B, C][: len(played.statuses)]
    assert played.statuses
    assert len(played.delivery.attempts) <= 1
    check(played, n)


@pytest.mark.parametrize("delivered", [0, 1, 40])
@pytest.mark.parametrize("how", ERRORS)
@pytest.mark.parametrize("name", DIALOGUES)
def test_a_send_that_fails_halfway_is_judged_by_what_was_asked_for(
    name: str, how: str, delivered: int
) -> None:
    for n, request in enumerate(DIALOGUES[name]().playground.requests):
        if isinstance(request, Send):
            check(DIALOGUES[name](faults=[Fault(n, ERRORS[how], delivered=delivered)]), n)


@pytest.mark.parametrize("name", DIALOGUES)
def test_answers_octet_by_octet_change_nothing(name: str) -> None:
    whole, split = DIALOGUES[name](), DIALOGUES[name](split=octet_by_octet)
    assert split.said == whole.said
    assert [o.reply for o in split.delivery.outcomes] == [o.reply for o in whole.delivery.outcomes]


# What the server says unasked, between the steps.


@pytest.mark.parametrize("step", ["naming", "sending"])
@pytest.mark.parametrize(
    ("actions", "code", "enhanced"),
    [
        ([Close()], 421, "4.4.2"),
        ([Reset()], 421, "4.4.2"),
        ([Say(b"421 4.3.2 bye\r\n"), Close()], 421, "4.3.2"),
        ([Say(b"250 2.1.5 ok\r\n")], 451, "4.5.0"),
        ([Say(b"25")], 451, "4.5.0"),
    ],
    ids=["close", "reset", "421", "250", "part"],
)
@OFFERS
def test_what_comes_before_it_is_asked_for_is_no_answer(
    actions: list[Action], code: int, enhanced: str, step: str, extensions: tuple[str, ...]
) -> None:
    stage = Stage((), extensions)
    steps = stage.begin(BOTH)
    before = len(stage.said)
    stage.playground.server_does(*actions)
    if step == "naming":
        reply = steps.name("d@y.example")
        assert (reply.code, str(reply.enhanced)) == (code, enhanced)
    steps.send()
    assert set(statuses(steps)) == {F}, "the message has not left, so that a retry cannot duplicate it"
    assert {(o.reply.code, str(o.reply.enhanced)) for o in steps.delivery.outcomes} == {(code, enhanced)}
    assert len(stage.said) == before


# Connections.


@pytest.mark.parametrize("envelope", [NOBODY_YET, BOTH], ids=["nobody", "both"])
@pytest.mark.parametrize(
    "actions",
    [[Close()], [Reset()], [Say(b"421 4.3.2 bye\r\n"), Close()], [Say(b"2")], [Say(b"250 ok\r\n")]],
    ids=["close", "reset", "421", "part", "250"],
)
@OFFERS
def test_an_idle_connection_that_died_is_replaced_unseen(
    actions: list[Action], envelope: Envelope, extensions: tuple[str, ...]
) -> None:
    stage = Stage((), extensions)
    stage.begin(BOTH).send()
    stage.playground.server_does(*actions)
    steps = stage.begin(envelope)
    steps.name("d@y.example")
    steps.send()
    assert set(statuses(steps)) == {D}
    assert [attempt.error for attempt in steps.delivery.attempts] == [None]
    assert stage.connections == 2


@pytest.mark.parametrize("envelope", [NOBODY_YET, BOTH], ids=["nobody", "both"])
@pytest.mark.parametrize(
    "death",
    [
        on("MAIL", connection=1, occurrence=2).close(),
        on("MAIL", connection=1, occurrence=2).reset(),
        on("MAIL", connection=1, occurrence=2).reply(421, "4.4.2 idle").close(),
    ],
    ids=["close", "reset", "421"],
)
@OFFERS
def test_an_idle_connection_found_dead_at_mail_is_replaced_unseen(
    death: Rule, envelope: Envelope, extensions: tuple[str, ...]
) -> None:
    stage = Stage([death], extensions)
    stage.begin(BOTH).send()
    steps = stage.begin(envelope)
    steps.name("d@y.example")
    steps.send()
    assert set(statuses(steps)) == {D}
    assert len(steps.delivery.attempts) == 1
    assert stage.connections == 2


def test_a_connection_that_is_new_and_dies_at_mail_is_not_replaced() -> None:
    stage = Stage([on("MAIL", connection=1, occurrence=2).close(), on("MAIL", connection=2).close()])
    stage.begin(BOTH).send()
    failed = stage.fail(BOTH)
    assert [outcome.status for outcome in failed.delivery.outcomes] == [F, F]
    assert stage.connections == 2


def test_silence_at_mail_is_not_taken_for_a_dead_connection() -> None:
    stage = Stage([on("MAIL", occurrence=2).silence()])
    stage.begin(BOTH).send()
    stage.fail(BOTH)
    assert stage.connections == 1


def test_an_idle_connection_that_died_at_the_envelopes_recipients_is_no_secret() -> None:
    stage = Stage([on("RCPT", occurrence=3).close()])
    stage.begin(BOTH).send()
    failed = stage.fail(BOTH)
    assert failed.reply is not None
    assert failed.reply.code == 421
    assert stage.connections == 1


# Leaving in the middle of a step.


def leave_at(stage: Stage, steps: Steps, n: int) -> list[Request] | None:
    """Send the message, but leave at its ``n``-th request, as another task may; return what was asked for by then.

    The connection is closed then, and the step finds that out. None, if it came to its end before.
    """
    dialogue = steps.steps.sending(MESSAGE)
    asked: list[Request] = []

    def sending(clock: Clock) -> Generator[Request, Any, None]:
        for request in dialogue.requests(clock):
            if len(asked) == n:
                steps.leave()
            if len(asked) <= n:
                asked.append(request)
            if len(asked) > n:
                dialogue.fail(TransportError("the connection is closed"))
            else:
                dialogue.answer((yield request))

    stage.playground.run(sending)
    return asked if len(asked) > n else None


@PROTOCOLS
@OFFERS
def test_a_step_that_is_left_while_it_is_under_way_ends_once(
    extensions: tuple[str, ...], protocol: str
) -> None:
    n = 0
    while True:
        stage = Stage((), extensions, protocol=protocol)
        steps = stage.begin(BOTH)
        asked = leave_at(stage, steps, n)
        if asked is None:
            break
        assert statuses(steps) == ([U, U] if ends_message(asked) else [F, F])
        assert len(steps.delivery.attempts) == 1
        assert not stage.courier.keeps_connection
        n += 1
    assert n > 2
    assert statuses(steps) == [D, D]
