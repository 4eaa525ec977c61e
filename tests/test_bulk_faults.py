"""A queue amid faults of its caller, of its deadlines, and of servers that cannot count."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from playing import MESSAGE, MX, D, F, R, U
from queueing import OFFERED, OFFERS, Sent, honest, mail, mails, send
from smtpstate import (
    Auth,
    Courier,
    DeadlinePassed,
    Delivery,
    Envelope,
    LocalProtocolError,
    Message,
    RemoteProtocolError,
    TargetConfig,
    TraceEvent,
    TransportError,
)
from smtpstate._bulk import forward_many
from smtpstate._requests import Clock, Send, Steps
from smtpstate._trace import Failed, Received, Settled
from smtpstate.testing import Abandoned, Fault, ModelServer, Playground, Rule, octet_by_octet, on


class Broken(Exception):
    """The caller's own."""


def letter(n: int, recipients: int) -> Delivery:
    """Return a message for several."""
    return Delivery(Envelope(f"a{n}@x.example", [f"r{n}{m}@y.example" for m in range(recipients)]), MESSAGE)


# Servers that cannot count.


@pytest.mark.parametrize("offers", ["data", "bdat"])
def test_too_few_final_replies_of_lmtp_are_not_made_up_for_by_the_next_message(offers: str) -> None:
    rules = [
        on("message", occurrence=1, connection=1).say(b"552 5.3.4 too big\r\n"),
        on("message", occurrence=range(2, 4), connection=1).say(b""),
    ]
    deliveries = [letter(0, 3), letter(1, 3)]
    playground = Playground({MX: ModelServer("lmtp", OFFERS[offers], rules)}, deliveries=deliveries)
    playground.run(Courier(TargetConfig(targets=[MX], protocol="lmtp")).delivering_many())
    playground.close()
    assert [outcome.status for outcome in deliveries[0].outcomes] == [R, U, U]
    assert [outcome.status for outcome in deliveries[1].outcomes] == [D, D, D]


@pytest.mark.parametrize("offers", ["data", "bdat"])
def test_too_many_final_replies_of_lmtp_speak_for_no_other_message(offers: str) -> None:
    rules = [
        on("message", occurrence=1, connection=1).say(b"250 ok\r\n250 ok again\r\n"),
        on("message", occurrence=1, connection=2).reply(452, "4.2.2 full"),
        on("message", occurrence=2, connection=1).reply(452, "4.2.2 full"),
    ]
    sent = send(rules, offers, mails(number=2), protocol="lmtp", correct=False)
    assert sent.statuses == [D, F]


def test_single_recipients_of_lmtp_share_flights_where_data_tells_of_a_shift() -> None:
    sent = send((), "data", mails(number=10), protocol="lmtp")
    assert sent.playground.turns <= 13


# What fails of the caller's own.


@pytest.mark.parametrize("offers", ["data", "bdat"])
def test_a_token_that_cannot_be_had_for_a_further_connection_swallows_nothing(offers: str) -> None:
    tokens = iter(["t0ken"])

    def token() -> str:
        try:
            return next(tokens)
        except StopIteration:
            raise Broken from None

    server = ModelServer(extensions=(*OFFERS[offers], "AUTH XOAUTH2"), users={"me": "t0ken"})
    deliveries = mails(number=4)
    playground = Playground({MX: server}, deliveries=deliveries)
    auth = Auth.xoauth2("me", token)
    courier = Courier(TargetConfig(targets=[MX], auth=auth, insecure_auth=True, max_messages=2))
    with pytest.raises(Broken):
        playground.run(courier.delivering_many())
    assert playground.given == deliveries[:2]
    assert [delivery.outcomes[0].status for delivery in deliveries] == [D, D, F, F]
    assert not courier.keeps_connection


def failing_watcher(kind: type[TraceEvent], k: int, *, often: bool = False) -> Callable[[TraceEvent], None]:
    """Return one that fails at the ``k``-th event of a kind, or from there on."""
    seen: list[TraceEvent] = []

    def watch(event: TraceEvent) -> None:
        if isinstance(event, kind):
            seen.append(event)
            if len(seen) == k or (often and len(seen) > k):
                raise Broken

    return watch


@OFFERED
@pytest.mark.parametrize("often", [False, True])
def test_a_watcher_that_fails_when_something_is_heard_swallows_nothing_that_is_done(
    often: bool, offers: str
) -> None:
    seen: list[TraceEvent] = []
    send((), offers, mails(offers, 3), trace=seen.append)
    heard = sum(isinstance(event, Received) for event in seen)
    assert heard > 10
    for k in range(1, heard):  # the last answers QUIT, when all is done
        watch = failing_watcher(Received, k, often=often)
        sent = send((), offers, mails(offers, 3), trace=watch, raises=Broken)
        given = set(map(id, sent.playground.given))
        assert all(id(each) in given for each in sent.deliveries if each.outcomes[0].status is D)


def test_a_watcher_that_fails_when_an_outcome_is_shown_does_not_swallow_it() -> None:
    deliveries = mails(number=3)
    sent = send((), "bdat", deliveries, trace=failing_watcher(Settled, 1), raises=Broken)
    assert sent.statuses == [D, D, D]
    assert sent.playground.given == deliveries


def test_a_watcher_that_fails_when_the_connection_does_changes_no_outcome() -> None:
    rules = [on("message", occurrence=1).close()]
    sent = send(rules, "bdat", mails(number=2), trace=failing_watcher(Failed, 1), raises=Broken)
    assert sent.statuses == [U, U]
    assert len(sent.playground.given) == 2


def test_what_was_begun_anew_has_its_turn_although_a_watcher_fails() -> None:
    rules = [on("MAIL", occurrence=2, connection=1).close()]
    sent = send(rules, "data", mails(number=3), trace=failing_watcher(Failed, 1), raises=Broken)
    assert sent.statuses == [D, D, F]
    assert sent.playground.given == sent.deliveries[:2]


def test_a_watcher_that_fails_at_a_goodbye_swallows_nothing() -> None:
    def watch(event: TraceEvent) -> None:
        if str(event) == "> QUIT":
            raise Broken

    sent = send((), "data", mails(number=3), trace=watch, raises=Broken, max_messages=2)
    assert sent.statuses == [D, D, F]
    assert sent.playground.given == sent.deliveries[:2]


def test_progress_that_fails_at_the_end_does_not_swallow_what_is_delivered() -> None:
    deliveries = mails(number=2)

    def tell(sent: int, total: int | None) -> None:
        raise Broken

    deliveries[0].progress = tell
    sent = send((), "bdat", deliveries, raises=Broken)
    assert sent.statuses == [D, D]
    assert sent.playground.given == deliveries


# Deadlines.


def slow(playgrounds: Sequence[Playground], seconds: float, blocks: int = 1) -> Iterator[bytes]:
    """Yield a message, each block of it after so many seconds."""
    for _ in range(blocks):
        [playground] = playgrounds
        playground.clock.now += seconds
        yield b"x" * 70_000 + b"\r\n"


@pytest.mark.parametrize("offers", ["data", "bdat"])
def test_a_message_does_not_fail_by_the_deadline_of_the_one_before(offers: str) -> None:
    playgrounds: list[Playground] = []
    first, second = mail(0), mail(1, Message(slow(playgrounds, 2, 15), eight_bit=False))

    def handed() -> Iterator[Delivery]:
        yield first
        playgrounds[0].clock.now += 35  # the caller has something else to do
        yield second

    playgrounds.append(Playground({MX: ModelServer(extensions=OFFERS[offers])}, deliveries=handed()))
    courier = Courier(TargetConfig(targets=[MX], transaction_timeout=50))
    playgrounds[0].run(courier.delivering_many())
    playgrounds[0].close()
    assert playgrounds[0].clock() == 35 + 30
    assert [each.outcomes[0].status for each in (first, second)] == [D, D]


def test_a_message_of_which_nothing_has_come_survives_the_deadline_of_the_one_before() -> None:
    playgrounds: list[Playground] = []
    deliveries = mails(number=2)

    def handed() -> Iterator[Delivery]:
        yield deliveries[0]
        playgrounds[0].clock.now += 35
        yield deliveries[1]

    rules = [on("message", occurrence=1, connection=1).silence()]
    playgrounds.append(Playground({MX: ModelServer("smtp", OFFERS["data"], rules)}, deliveries=handed()))
    courier = Courier(TargetConfig(targets=[MX], transaction_timeout=50))
    playgrounds[0].run(courier.delivering_many())
    playgrounds[0].close()
    assert [delivery.outcomes[0].status for delivery in deliveries] == [U, D]
    assert playgrounds[0].clock() == 50


@pytest.mark.parametrize("offers", ["data", "bdat"])
@pytest.mark.parametrize("timeout", [None, 50])
def test_a_slow_source_does_not_hold_back_the_message_before(offers: str, timeout: float | None) -> None:
    playgrounds: list[Playground] = []
    first, second = mail(0), mail(1, Message(slow(playgrounds, 100), eight_bit=False))
    server = ModelServer(extensions=OFFERS[offers])
    playground = Playground({MX: server}, deliveries=[first, second])
    playgrounds.append(playground)
    playground.run(Courier(TargetConfig(targets=[MX], transaction_timeout=timeout)).delivering_many())
    playground.close()
    assert [each.outcomes[0].status for each in (first, second)] == [D, D if timeout is None else F]


def test_what_is_found_dead_before_a_slow_source_is_asked_costs_nothing() -> None:
    deliveries = [mail(0), mail(1, Message(iter([MESSAGE]), eight_bit=False))]
    whole = send((), "bdat", [mail(0), mail(1, Message(iter([MESSAGE]), eight_bit=False))])
    sends = [n for n, request in enumerate(whole.playground.requests) if isinstance(request, Send)]
    fault = Fault(sends[1], TransportError("connection reset"))
    sent = send((), "bdat", deliveries, faults=[fault])
    assert sent.statuses[1] is D
    assert len(sent.server.connections) == 2


def test_a_message_in_memory_waits_for_no_flight_of_its_own() -> None:
    deliveries = [mail(n, list(MESSAGE.splitlines(keepends=True))) for n in range(5)]
    sent = send((), "bdat", deliveries)
    assert sum(isinstance(request, Send) for request in sent.playground.requests) == 3


# The end of a queue.


@pytest.mark.parametrize("split", [None, octet_by_octet], ids=["whole", "octets"])
@pytest.mark.parametrize("verb", ["MAIL", "RCPT"])
@OFFERED
def test_a_queue_that_ends_on_a_refusal_keeps_its_connection(offers: str, verb: str, split: Any) -> None:
    rules = [on(verb, occurrence=2).reply(550, "no")]
    sent = send(rules, offers, mails(number=2), **({} if split is None else {"split": split}))
    assert sent.statuses == [D, R]
    assert [peer.commands[-1] for peer in sent.server.connections] == ["QUIT"]


@pytest.mark.parametrize("offers", ["data", "bdat"])
def test_a_connection_is_left_in_step_although_all_on_it_were_refused_already(offers: str) -> None:
    rules = [on("MAIL", occurrence=1, connection=1).reply(550, "no")]
    for timeout in (None, 50):
        settings: dict[str, Any] = {"max_messages": 1, "transaction_timeout": timeout}
        sent = send(rules, offers, mails(number=2), split=octet_by_octet, **settings)
        assert sent.statuses == [R, D]
        assert [peer.commands[-1] for peer in sent.server.connections] == ["QUIT", "QUIT"]


def test_what_comes_after_the_last_outcome_is_not_waited_for_longer_than_for_any_command() -> None:
    rules = [on("MAIL", occurrence=1).reply(550, "no"), on("BDAT").silence()]
    sent = send(rules, "bdat", mails(number=1), command_timeout=7, submission_timeout=70)
    assert sent.statuses == [R]
    assert sent.playground.clock() == 7


# The same delivery more than once.


@OFFERED
@pytest.mark.parametrize("between", [0, 1, 3])
def test_a_delivery_that_is_twice_in_a_queue_is_made_once(between: int, offers: str) -> None:
    twice = mail(0)
    sent = send((), offers, [twice, *mails(number=1 + between)[1:], twice, mail(9)])
    assert sorted(sent.taken) == [f"r{n}@y.example" for n in (*range(1 + between), 9)]
    assert sent.statuses == [D] * len(sent.deliveries)


def test_a_delivery_that_is_twice_in_a_queue_is_tried_again_only_where_it_has_not_been() -> None:
    twice = mail(0)
    sent = send([on("RCPT").reply(451)], "bdat", [twice, twice])
    assert sent.statuses == [F, F]
    assert len(sent.said) == len(set(sent.said))


def test_a_delivery_that_somebody_else_runs_is_refused_before_anything_is_sent() -> None:
    deliveries = mails(number=3)
    deliveries[1].claim()
    sent = send((), "bdat", deliveries, raises=LocalProtocolError)
    assert sent.statuses == [D, F, F]
    assert sent.playground.given == deliveries[:1]
    assert not any("a1@" in line for line in sent.said)
    assert [delivery.claimed for delivery in deliveries] == [False, True, False]


def test_a_delivery_taken_twice_that_somebody_else_runs_by_then_is_refused() -> None:
    twice = mail(0)

    class Greedy(list[Delivery]):
        """Runs what it is given once more."""

        def append(self, delivery: Delivery) -> None:
            super().append(delivery)
            delivery.claim()

    server = ModelServer(extensions=OFFERS["bdat"])
    playground = Playground({MX: server}, deliveries=[twice, twice])
    playground.given = Greedy()
    with pytest.raises(LocalProtocolError, match="under way already"):
        playground.run(Courier(TargetConfig(targets=[MX])).delivering_many())
    assert len(server.messages) == 1


@OFFERED
def test_a_queue_that_was_cancelled_can_be_run_again_and_doubles_nothing(offers: str) -> None:
    for n in range(2, len(send((), offers, mails(offers, 3)).playground.requests)):
        deliveries = mails(offers, 3)
        server = ModelServer(extensions=OFFERS[offers])
        playground = Playground({MX: server}, deliveries=deliveries, faults=[Fault(n, None)])
        courier = Courier(TargetConfig(targets=[MX]))
        with pytest.raises(Abandoned):
            playground.run(both(courier))
        assert not any(delivery.claimed for delivery in deliveries)
        unsure = [delivery for delivery in deliveries if delivery.outcomes[0].status is U]
        again = Playground({MX: server}, deliveries=deliveries)
        again.run(Courier(TargetConfig(targets=[MX])).delivering_many())
        again.close()
        honest(Sent(deliveries, server, ModelServer(), again))
        for delivery in deliveries:
            assert delivery.outcomes[0].status is (U if delivery in unsure else D)


def both(courier: Courier) -> Callable[[Clock], Steps[None]]:
    """Deliver many, and leave."""

    def steps(clock: Clock) -> Steps[None]:
        yield from forward_many(courier, 32, clock)
        yield from courier.leave()

    return steps


# What is told.


def test_421_in_the_first_of_several_transactions_is_the_word_to_all() -> None:
    rules = [on("BDAT", occurrence=1).reply(421, "4.3.2 closing").close()]
    sent = send(rules, "bdat", [letter(0, 3)], more_offers=["LIMITS RCPTMAX=1"])
    assert [outcome.reply.code for outcome in sent.deliveries[0].outcomes] == [421] * 3
    assert (len(sent.server.connections), len(sent.deliveries[0].attempts)) == (1, 1)
    assert sent.deliveries[0].attempts[0].reply is not None


def test_a_message_refused_before_its_end_is_not_tried_with_the_recipients_that_wait() -> None:
    large = Message(b"x" * 600_000, line_ends="binary")
    delivery = Delivery(Envelope("a0@x.example", ["r00@y.example", "r01@y.example"]), large)
    rules = [on("BDAT", occurrence=1).reply(452, "4.3.1 no room")]
    sent = send(rules, "chunks", [delivery], more_offers=["LIMITS RCPTMAX=1"], correct=False)
    assert [outcome.reply.code for outcome in delivery.outcomes] == [452, 452]
    assert len(sent.server.connections) == 1


@OFFERED
@pytest.mark.parametrize("protocol", ["smtp", "lmtp"])
@pytest.mark.parametrize(
    "rule",
    [
        on("message", occurrence=1).say(b"250 ok\r\n421 4.3.2 closing\r\n").close(),
        on("BDAT", occurrence=1).reply(552, "5.3.4 too big"),
        on("BDAT", occurrence=2).reply(552, "5.3.4 too big"),
        on("DATA", occurrence=1).say(b"354 go\r\n552 5.3.4 too big\r\n"),
        on("MAIL", occurrence=2).reply(421, "4.3.2 closing").close(),
    ],
)
def test_what_an_outcome_says_went_wrong_is_one_of_the_public_exceptions(
    rule: Rule, protocol: str, offers: str
) -> None:
    deliveries = [*mails(offers, 2), letter(2, 3), letter(3, 3)]
    sent = send([rule], offers, deliveries, protocol=protocol, correct=False)
    errors = [outcome.error for delivery in sent.deliveries for outcome in delivery.outcomes]
    errors += [attempt.error for delivery in sent.deliveries for attempt in delivery.attempts]
    public = {TransportError, DeadlinePassed, RemoteProtocolError}
    assert {type(error) for error in errors if error is not None} <= public


def test_a_dead_connection_found_by_naming_the_client_leaves_no_trace_in_the_attempts() -> None:
    rules = [on("XFORWARD", occurrence=1, connection=1).close()]
    deliveries = [mail(0, client={"NAME": "c.example"})]
    sent = send(rules, "bdat", deliveries, more_offers=["XFORWARD NAME"], one_first=True)
    assert sent.statuses == [D]
    [attempt] = deliveries[0].attempts
    assert (attempt.error, attempt.reply) == (None, None)
