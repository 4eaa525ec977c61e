"""A transaction step by step: each answer as it comes, and one outcome each, wherever it ends."""

from __future__ import annotations

import pytest

from playing import MESSAGE, D, F, R, U
from smtpstate import (
    DeliveryFailed,
    Envelope,
    LocalProtocolError,
    Phase,
    Recipient,
    Status,
    TraceEvent,
)
from smtpstate._requests import Receive
from smtpstate._trace import Settled
from smtpstate.testing import (
    Abandoned,
    Fault,
    Rule,
    on,
)
from stepping import NOBODY_YET, Stage, Steps

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


# What each step is answered with.


@PROTOCOLS
@OFFERS
@pytest.mark.parametrize("message", [MESSAGE, BIG], ids=["small", "big"])
def test_each_step_gives_its_answer_and_the_message_goes_to_those_accepted(
    extensions: tuple[str, ...], protocol: str, message: bytes
) -> None:
    rules = [
        on("MAIL").reply(250, "2.1.0 welcome"),
        on("RCPT", C).reply(550, "5.1.1 no"),
        on("RCPT", "d@y.example").reply(251, "2.1.5 goes elsewhere"),
    ]
    stage = Stage(rules, extensions, protocol=protocol)
    steps = stage.begin()
    assert (steps.steps.reply.code, steps.steps.reply.text) == (250, "2.1.0 welcome")
    assert [steps.name(name).code for name in (B, C, "d@y.example")] == [250, 550, 251]
    assert statuses(steps) == [F, R, F]
    assert steps.delivery.outcomes[0].phase is Phase.DATA
    assert steps.send(message).outcomes == steps.delivery.outcomes
    assert statuses(steps) == [D, R, D]
    assert steps.delivery.envelope.recipients == tuple(map(Recipient, (B, C, "d@y.example")))
    [stored] = stage.server.messages
    assert (stored.recipients, stored.content) == ((B, "d@y.example"), message)
    [attempt] = steps.delivery.attempts
    assert (attempt.reply, attempt.error) == (None, None)
    again = stage.begin(BOTH)
    again.send()
    assert "RSET" not in stage.verbs
    assert stage.connections == 1
    assert stage.server.violations == []


@pytest.mark.parametrize(
    ("rule", "code", "enhanced", "status", "local"),
    [
        (on("MAIL").reply(451, "4.3.0 later"), 451, "4.3.0", F, False),
        (on("MAIL").reply(452, "full"), 452, "None", F, False),
        (on("MAIL").reply(550, "5.7.1 no"), 550, "5.7.1", R, False),
        (on("MAIL").reply(421, "4.3.2 bye").close(), 421, "4.3.2", F, False),
        (on("MAIL").reply(354, "what"), 354, "None", F, False),
        (on("MAIL").say(b"hello\r\n"), 451, "4.5.0", F, True),
        (on("MAIL").close(), 421, "4.4.2", F, True),
        (on("MAIL").reset(), 421, "4.4.2", F, True),
        (on("MAIL").silence(), 421, "4.4.2", F, True),
        (on("greeting").reply(554, "5.3.2 go away"), 554, "5.3.2", F, False),
        (on("EHLO").reply(421, "4.3.2 bye").close(), 421, "4.3.2", F, False),
        (on("connect").refuse(), 421, "4.4.1", F, True),
    ],
)
@OFFERS
def test_a_transaction_that_cannot_be_begun_raises_with_everybody_settled(
    rule: Rule, code: int, enhanced: str, status: Status, local: bool, extensions: tuple[str, ...]
) -> None:
    for envelope in (NOBODY_YET, BOTH):
        stage = Stage([rule], extensions)
        failed = stage.fail(envelope)
        assert failed.reply is not None
        if code != 354:
            assert (failed.reply.code, str(failed.reply.enhanced)) == (code, enhanced)
            assert failed.reply.local is local
        assert str(failed).startswith(f"{status.value}: ")
        outcomes = failed.delivery.outcomes
        assert [(outcome.status, outcome.reply) for outcome in outcomes] == [(status, failed.reply)] * len(
            envelope.recipients
        )
        assert len(failed.delivery.attempts) == 1
        assert stage.server.messages == []


@pytest.mark.parametrize(
    ("code", "text", "status"),
    [
        (250, "ok", D),
        (251, "elsewhere", D),
        (450, "4.2.1 busy", F),
        (452, "4.5.3 too many", F),
        (552, "too many", F),
        (552, "5.5.3 too many", F),
        (552, "5.2.2 full", R),
        (550, "5.1.1 no", R),
        (553, "no", R),
    ],
)
@PROTOCOLS
@OFFERS
def test_a_recipients_answer_is_his_alone(
    code: int, text: str, status: Status, protocol: str, extensions: tuple[str, ...]
) -> None:
    stage = Stage([on("RCPT", C).reply(code, text)], extensions, protocol=protocol)
    steps = stage.begin()
    assert steps.name(B).code == 250
    answer = steps.name(C)
    assert (answer.code, answer.text, answer.local) == (code, text, False)
    assert steps.name("d@y.example").code == 250
    steps.send()
    assert statuses(steps) == [D, status, D]
    assert len(stage.server.messages) == 1, "nobody is sent the message in a further transaction"
    assert stage.server.violations == []


@pytest.mark.parametrize("step", ["beginning", "naming"])
@pytest.mark.parametrize(
    ("rule", "code", "enhanced", "local"),
    [
        (on("RCPT", C).reply(421, "4.3.2 bye").close(), 421, "4.3.2", False),
        (on("RCPT", C).say(b"hello\r\n"), 451, "4.5.0", True),
        (on("RCPT", C).close(), 421, "4.4.2", True),
        (on("RCPT", C).reset(), 421, "4.4.2", True),
        (on("RCPT", C).silence(), 421, "4.4.2", True),
    ],
)
@OFFERS
def test_a_connection_that_is_lost_at_a_recipient_defers_all_who_were_accepted(
    step: str, rule: Rule, code: int, enhanced: str, local: bool, extensions: tuple[str, ...]
) -> None:
    stage = Stage([on("RCPT", "no@y.example").reply(550, "no"), rule], extensions)
    names = ["no@y.example", B, C]
    if step == "beginning":
        failed = stage.fail(Envelope("a@x.example", names))
        delivery, reply = failed.delivery, failed.reply
    else:
        steps = stage.begin()
        assert [steps.name(name).code for name in names[:2]] == [550, 250]
        reply = steps.name(C)
        assert steps.name("d@y.example") == reply
        delivery = steps.send()
    assert reply is not None
    assert (reply.code, str(reply.enhanced), reply.local) == (code, enhanced, local)
    assert [outcome.status for outcome in delivery.outcomes] == [R, F, F, F][: len(delivery.outcomes)]
    assert {outcome.reply for outcome in delivery.outcomes[1:]} == {reply}
    assert delivery.outcomes[0].reply.code == 550
    assert len(delivery.attempts) == 1
    assert stage.server.messages == []


@pytest.mark.parametrize(
    ("rule", "status", "phase"),
    [
        (on("DATA").reply(451, "4.3.0 later"), F, Phase.DATA),
        (on("DATA").reply(554, "5.6.0 no"), R, Phase.DATA),
        (on("DATA").reply(421, "4.3.2 bye").close(), F, Phase.DATA),
        (on("DATA").reply(250, "what"), F, Phase.DATA),
        (on("DATA").close(), F, Phase.DATA),
        (on("DATA").silence(), F, Phase.DATA),
        (on("content").reply(552, "5.3.4 too big").close(), R, Phase.CONTENT),
        (on("message").reply(250, "2.0.0 queued"), D, Phase.FINAL),
        (on("message").reply(451, "4.3.0 later"), F, Phase.FINAL),
        (on("message").reply(554, "5.6.0 no"), R, Phase.FINAL),
        (on("message").reply(421, "4.3.2 bye").close(), F, Phase.FINAL),
        (on("message").reply(354, "what"), U, Phase.FINAL),
        (on("message").say(b"hello\r\n"), U, Phase.FINAL),
        (on("message").close(), U, Phase.FINAL),
        (on("message").reset(), U, Phase.FINAL),
        (on("message").silence(), U, Phase.FINAL),
    ],
)
@pytest.mark.parametrize("extensions", [(), ("PIPELINING",)], ids=["plain", "pipelining"])
def test_what_the_message_is_answered_with_is_everybodys_outcome(
    rule: Rule, status: Status, phase: Phase, extensions: tuple[str, ...]
) -> None:
    steps = Stage([rule], extensions).begin(Envelope("a@x.example", [B]))
    steps.name(C)
    steps.send(BIG)
    assert statuses(steps) == [status, status]
    assert {outcome.phase for outcome in steps.delivery.outcomes} == {phase}
    assert len(steps.delivery.attempts) == 1


@pytest.mark.parametrize(
    ("extensions", "message"),
    [(EXTENSIONS["chunking"], MESSAGE), (EXTENSIONS["chunks"], MESSAGE), (EXTENSIONS["chunks"], BIG)],
    ids=["at once", "alone", "in parts"],
)
@pytest.mark.parametrize(
    ("rule", "status"),
    [
        (on("BDAT").reply(451, "4.3.0 later"), F),
        (on("BDAT").reply(552, "5.3.4 too big"), R),
        (on("message").reply(554, "5.6.0 no"), R),
        (on("message").close(), U),
    ],
)
def test_what_chunks_are_answered_with_is_everybodys_outcome(
    rule: Rule, status: Status, message: bytes, extensions: tuple[str, ...]
) -> None:
    steps = Stage([rule], extensions).begin(Envelope("a@x.example", [B]))
    steps.name(C)
    steps.send(message)
    assert statuses(steps) == [status, status]


def test_with_lmtp_each_recipient_has_a_final_answer() -> None:
    rules = [on("message", C).reply(452, "4.2.2 full"), on("message", "e@y.example").close()]
    steps = Stage(rules, protocol="lmtp").begin(Envelope("a@x.example", [B]))
    for name in (C, B, "d@y.example", "e@y.example"):
        steps.name(name)
    steps.send()
    assert statuses(steps) == [D, F, D, D, U]


def test_recipients_who_were_all_refused_get_no_message() -> None:
    stage = Stage([on("RCPT").reply(550, "no")])
    steps = stage.begin(BOTH)
    steps.name("d@y.example")
    steps.send()
    assert statuses(steps) == [R, R, R]
    assert "DATA" not in stage.verbs


def test_a_transaction_without_recipients_sends_nothing() -> None:
    stage = Stage()
    assert stage.begin().send().outcomes == ()
    assert stage.verbs == ["EHLO", "MAIL"]


# Leaving.


@OFFERS
@PROTOCOLS
@pytest.mark.parametrize("named", [0, 1, 2])
def test_leaving_early_delivers_nothing_and_the_next_transaction_begins_anew(
    named: int, protocol: str, extensions: tuple[str, ...]
) -> None:
    stage = Stage((), extensions, protocol=protocol)
    steps = stage.begin()
    for name in (B, C)[:named]:
        steps.name(name)
    steps.leave()
    steps.leave()
    assert statuses(steps) == [F] * named
    assert {str(outcome.reply.enhanced) for outcome in steps.delivery.outcomes} <= {"4.5.0"}
    assert len(steps.delivery.attempts) == 1
    for act in (lambda: steps.name(B), lambda: steps.send()):
        with pytest.raises(LocalProtocolError, match="^the transaction is over$"):
            act()
    again = stage.begin()
    again.name("d@y.example")
    again.send()
    assert stage.verbs.count("RSET") == 1
    assert [message.recipients for message in stage.server.messages] == [("d@y.example",)]
    assert stage.connections == 1
    assert stage.server.violations == []


def test_leaving_after_the_message_changes_nothing() -> None:
    steps = Stage().begin(BOTH)
    steps.send()
    steps.leave()
    assert statuses(steps) == [D, D]
    assert len(steps.delivery.attempts) == 1


def test_nothing_can_be_done_before_it_has_begun() -> None:
    steps = Steps(Stage(), BOTH)
    for act in (lambda: steps.steps.reply, lambda: steps.name(B), lambda: steps.send()):
        with pytest.raises(LocalProtocolError, match="^the transaction has not begun$"):
            act()
    steps.steps.interrupt()
    steps.leave()
    assert statuses(steps) == [F, F]
    assert steps.delivery.attempts == ()


def test_nothing_can_be_done_after_it_has_failed_to_begin() -> None:
    stage = Stage([on("MAIL").reply(550, "no")])
    steps = Steps(stage, BOTH)
    with pytest.raises(DeliveryFailed):
        steps.begin()
    steps.steps.interrupt()
    steps.leave()
    assert statuses(steps) == [R, R]
    assert len(steps.delivery.attempts) == 1
    with pytest.raises(LocalProtocolError, match="^the transaction is over$"):
        steps.name(B)


def test_who_is_named_after_an_interrupted_message_is_no_part_of_it() -> None:
    steps = Stage(playing={"faults": [Fault(4, None, kind=Receive)]}).begin(BOTH)
    with pytest.raises(Abandoned):
        steps.send()
    steps.steps.interrupt()
    assert statuses(steps) == [U, U]
    assert is_lost(steps)
    steps.leave()
    assert statuses(steps) == [U, U, F]


def test_after_an_interruption_nobody_is_believed_on_that_connection() -> None:
    stage = Stage(playing={"faults": [Fault(4, None, kind=Receive)]})
    steps = stage.begin(Envelope("a@x.example", [B]))
    steps.name(C)
    with pytest.raises(Abandoned):
        steps.name("d@y.example")
    steps.leave()
    assert statuses(steps) == [F, F, F]
    assert not stage.courier.keeps_connection
    again = stage.begin(BOTH)
    again.send()
    assert statuses(again) == [D, D]
    assert stage.connections == 2


def test_the_outcomes_are_shown_once_to_whoever_watches() -> None:
    events: list[TraceEvent] = []
    stage = Stage()
    stage.courier._trace = events.append
    steps = stage.begin(BOTH)
    steps.send()
    steps.leave()
    settled = [event.outcome for event in events if isinstance(event, Settled)]
    assert tuple(settled) == steps.delivery.outcomes


# Time.


def test_a_transaction_timeout_covers_all_steps_together() -> None:
    stage = Stage([on("RCPT").delay(4)], transaction_timeout=10)
    steps = stage.begin()
    assert [steps.name(name).code for name in (B, C)] == [250, 250]
    assert is_lost(steps)
    assert stage.playground.clock() == 10
    steps.send()
    assert statuses(steps) == [F, F, F]
    assert stage.server.messages == []


def test_the_callers_own_time_counts_too() -> None:
    stage = Stage(transaction_timeout=10)
    steps = stage.begin(BOTH)
    stage.playground.clock.wait_until(10)
    steps.send()
    assert statuses(steps) == [F, F]
    assert {o.reply.text for o in steps.delivery.outcomes} == {"4.4.2 the deadline passed"}
    assert "DATA" not in stage.verbs


def test_the_next_transaction_has_a_time_of_its_own() -> None:
    stage = Stage(transaction_timeout=10)
    stage.begin(BOTH).send()
    stage.playground.clock.wait_until(20)
    again = stage.begin(BOTH)
    again.send()
    assert statuses(again) == [D, D]
    assert stage.connections == 1
