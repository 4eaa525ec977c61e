"""A delivery: what is known of each recipient, in whatever order it becomes known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_overloads

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpstate import DeliveryFailed, Envelope, LocalProtocolError, Message, Phase, Recipient, Reply, Status
from smtpstate._delivery import Attempt, Delivery, Fate, Outcomes, tells_more
from smtpstate._endpoints import Endpoint

MX = Endpoint("tcp", "mx.example", 25)
NAMES = ["b@y.example", "c@y.example", "b@y.example"]
NOT_BEGUN = "451 4.4.1 the delivery has not begun"


def fate(status: Status = Status.DELIVERED, phase: Phase = Phase.FINAL, **more: Any) -> Fate:
    return Fate(status=status, reply=Reply.made_here(250, status.value), phase=phase, endpoint=MX, **more)


TAKEN = fate()
REFUSED = fate(Status.REJECTED, Phase.RCPT)
LATER = fate(Status.DEFERRED, Phase.RCPT, moves="transient")
LACKING = fate(Status.REJECTED, Phase.MAIL, moves="connect", lacking=True)
NOWHERE = fate(Status.DEFERRED, Phase.CONNECT, moves="connect")
FATES = [TAKEN, REFUSED, LATER, LACKING, NOWHERE]


def delivery(many: int = 3) -> Delivery:
    return Delivery(Envelope("a@x.example", [NAMES[index % 3] for index in range(many)]), b"")


def told(of: Delivery) -> list[Status]:
    return [outcome.status for outcome in of.outcomes]


def replies(of: Delivery) -> list[str]:
    return [str(outcome.reply) for outcome in of.outcomes]


def test_somebody_must_be_named() -> None:
    with pytest.raises(LocalProtocolError, match=r"^the envelope has no recipient$"):
        Delivery(Envelope("a@x.example"), b"")


# Settling.

steps = st.lists(st.tuples(st.sets(st.integers(0, 4)), st.sampled_from(FATES), st.booleans()), max_size=6)


@given(st.integers(1, 5), steps)
def test_however_fates_come_of_each_recipient_the_most_telling_is_kept(
    many: int, settled: list[tuple[set[int], Fate, bool]]
) -> None:
    made, kept = delivery(many), dict[int, Fate]()
    for indexes, fate, at_once in settled:
        some = sorted(index for index in indexes if index < many)
        if at_once:
            made.settle_all(some, fate)
        for index in some:
            if not at_once:
                made.settle(index, fate)
            if index not in kept or tells_more(fate, kept[index]):
                kept[index] = fate
    for failover in (frozenset[str](), frozenset({"connect"}), frozenset({"connect", "transient"})):
        assert made.remaining(failover) == [
            index for index in range(many) if index not in kept or kept[index].moves in failover
        ]
    expected = [
        kept[index].reply if index in kept else Reply.made_here(451, NOT_BEGUN[4:]) for index in range(many)
    ]
    assert [outcome.reply for outcome in made.outcomes] == expected


def test_everybody_is_everybody_only_if_each_is_named() -> None:
    made = delivery()
    made.settle_all([0, 0, 1], TAKEN)
    assert told(made) == [Status.DELIVERED, Status.DELIVERED, Status.DEFERRED]
    made.settle_all(iter([2, 1, 0]), REFUSED)
    assert told(made) == [Status.REJECTED] * 3


@pytest.mark.parametrize("many", [1, 3])
def test_everybody_may_be_settled_at_once_and_one_otherwise_after_it(many: int) -> None:
    made = delivery(many)
    made.settle_all(range(many), NOWHERE)
    assert told(made) == [Status.DEFERRED] * many
    made.settle(many - 1, TAKEN)
    assert told(made) == [Status.DEFERRED] * (many - 1) + [Status.DELIVERED]
    assert made.remaining({"connect"}) == list(range(many - 1))


@pytest.mark.parametrize("many", [1, 3])
@pytest.mark.parametrize("at_once", [False, True])
def test_what_tells_less_changes_nothing(many: int, at_once: bool) -> None:
    made = delivery(many)
    made.settle_all(range(many), LATER)
    if at_once:
        made.settle_all(range(many), NOWHERE)
    else:
        for index in range(many):
            made.settle(index, NOWHERE)
    assert replies(made) == [str(LATER.reply)] * many


def test_who_may_be_tried_elsewhere_is_a_list_of_the_callers_own() -> None:
    made = delivery()
    made.remaining(()).clear()
    assert made.remaining(()) == [0, 1, 2]


# Outcomes.


def test_the_outcomes_are_a_sequence() -> None:
    made = delivery()
    made.settle_all([0, 2], TAKEN)
    made.settle(1, REFUSED)
    outcomes = made.outcomes
    each = tuple(outcomes)
    assert len(outcomes) == 3
    assert [outcome.recipient for outcome in outcomes] == NAMES
    assert [outcome.status for outcome in each] == [Status.DELIVERED, Status.REJECTED, Status.DELIVERED]
    assert [outcomes[index] for index in (0, 1, 2, -1, -3)] == [*each, each[2], each[0]]
    assert (outcomes[1:], outcomes[::-1], outcomes[5:]) == (each[1:], each[::-1], ())
    assert list(reversed(outcomes)) == list(each[::-1])
    assert each[1] in outcomes
    assert outcomes.index(each[1]) == 1
    first, *others = outcomes
    assert (first, *others) == each
    for beyond in (3, -4):
        with pytest.raises(IndexError):
            outcomes[beyond]


def test_types_say_what_picking_one_and_picking_several_gives() -> None:
    declared = get_overloads(Outcomes.__getitem__)
    assert [each.__annotations__["return"] for each in declared] == ["Outcome", "tuple[Outcome, ...]"]
    assert [each(delivery().outcomes, 0) for each in declared] == [None, None]  # they say no more than that


def test_outcomes_compare_as_a_tuple_of_them() -> None:
    made = delivery()
    before = made.outcomes
    assert before == made.outcomes == tuple(before)
    assert tuple(before) == before
    assert hash(before) == hash(tuple(before))
    assert repr(before) == repr(tuple(before))
    made.settle(0, TAKEN)
    assert made.outcomes != before
    no_tuple: object = list(before)
    assert before != no_tuple
    assert Delivery.stepwise(Envelope("a@x.example")).outcomes == ()


@pytest.mark.parametrize("many", [1, 3])
@pytest.mark.parametrize("earlier", [None, NOWHERE])
def test_what_was_read_once_stays_as_it_is(many: int, earlier: Fate | None) -> None:
    made = delivery(many)
    if earlier is not None:
        made.settle_all(range(many), earlier)
    made.note({None: ["before"]})
    before = made.outcomes
    as_tuple = tuple(before)
    made.settle(0, TAKEN)
    made.settle_all(range(many), TAKEN)
    made.note({None: ["after"], 0: ["too"]})
    assert before == as_tuple
    assert {outcome.notes for outcome in before} == {("before",)}
    assert made.outcomes[0].notes == ("before", "after", "too")
    assert made.outcomes[-many].notes == ("before", "after", "too")


def test_what_would_be_if_all_stopped_now_is_asked_at_once() -> None:
    made, fates = delivery(2), dict[int, Fate]()
    made.under_way(fates.get)
    made.settle(1, REFUSED)
    fates[0] = LATER
    first = made.outcomes
    fates[0] = TAKEN
    assert [outcome.status for outcome in first] == [Status.DEFERRED, Status.REJECTED]
    assert told(made) == [Status.DELIVERED, Status.REJECTED]


@pytest.mark.parametrize("settle", [False, True])
def test_of_the_undecided_who_knows_better_is_asked_first(settle: bool) -> None:
    made = delivery(2)
    made.on_the_way(lambda index: NOWHERE if index == 1 else None)
    assert replies(made) == [NOT_BEGUN, str(NOWHERE.reply)]
    if settle:
        made.settle_all([0, 1], LATER)
        assert replies(made) == [str(LATER.reply)] * 2
    made.under_way(lambda index: REFUSED if index == 1 else None)
    assert replies(made) == [str(LATER.reply) if settle else NOT_BEGUN, str(REFUSED.reply)]


@pytest.mark.parametrize("by_one", [False, True])
def test_a_delivery_raises_unless_everybody_was_delivered(by_one: bool) -> None:
    made = delivery()
    with pytest.raises(DeliveryFailed, match=r"^b@y\.example: deferred: 451"):
        made.raise_for_status()
    if by_one:
        for index in range(3):
            made.settle(index, TAKEN)
    else:
        made.settle_all(range(3), TAKEN)
    made.raise_for_status()
    made.under_way(lambda index: REFUSED if index == 1 else None)
    with pytest.raises(DeliveryFailed, match=r"^c@y\.example: rejected: [^;]*$"):
        made.raise_for_status()


# Running it.


def test_one_at_a_time_may_run_it() -> None:
    made = delivery()
    made.claim()
    assert made.claimed
    with pytest.raises(LocalProtocolError, match=r"^the delivery is under way already$"):
        made.claim()
    made.release()
    assert not made.claimed


def test_who_may_have_the_message_when_it_is_released_is_settled() -> None:
    made, unknown = delivery(), fate(Status.UNCERTAIN)
    fates = {0: unknown, 1: LATER}
    made.under_way(fates.get)
    made.release()
    made.under_way(None)
    assert replies(made) == [str(unknown.reply), NOT_BEGUN, NOT_BEGUN]
    assert made.remaining({"transient"}) == [1, 2]


def test_an_attempt_may_be_made_when_somebody_reads_of_it() -> None:
    made, asked = delivery(), list[str]()

    def attempt(name: str) -> Callable[[], Attempt]:
        def make() -> Attempt:
            asked.append(name)
            return Attempt(endpoint=MX, phase=Phase.FINAL, user=name)

        return make

    made.tried(attempt("first"))
    made.tried(Attempt(endpoint=MX, phase=Phase.MAIL, user="second"))
    assert asked == []
    assert [each.user for each in made.attempts] == ["first", "second"]
    made.tried(attempt("third"))
    assert [each.user for each in made.attempts] == ["first", "second", "third"]
    assert made.attempts[0] is made.attempts[0]
    assert asked == ["first", "third"]


def test_a_message_is_read_anew_only_where_that_can_be() -> None:
    made = delivery()
    reader = made.reader()
    assert reader is not None
    assert made.reader() is reader
    reader.begun = True
    assert made.reader() not in (None, reader)
    once = Delivery(made.envelope, iter([b""]))
    reading = once.reader()
    assert reading is not None
    reading.begun = True
    assert once.reader() is None
    once.give_message(Message(b"other"), None)
    assert once.reader() is not None


# Step by step.


@given(st.lists(st.sampled_from(["name", "read", "settle"]), max_size=12))
def test_who_is_named_later_is_of_the_envelope_from_then_on(done: list[str]) -> None:
    made = Delivery.stepwise(Envelope("a@x.example", ["b@y.example"], envid="id"))
    names, statuses = ["b@y.example"], [Status.DEFERRED]
    for step in done:
        if step == "name":
            assert made.name(Recipient(f"r{len(names)}@y.example")) == len(names)
            names.append(f"r{len(names)}@y.example")
            statuses.append(Status.DEFERRED)
        elif step == "settle":
            made.settle(len(names) - 1, TAKEN)
            statuses[-1] = Status.DELIVERED
        else:
            assert list(made.envelope.addresses) == names
            assert made.envelope.envid == "id"
    assert [outcome.recipient for outcome in made.outcomes] == names
    assert told(made) == statuses
    assert made.envelope is made.envelope
    assert repr(made) == f"<Delivery from <a@x.example> to {len(names)} recipients>"
