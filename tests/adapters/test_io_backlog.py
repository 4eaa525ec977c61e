"""The books between a caller and the lanes: what is begun when, and which lane is of use."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from smtpstate import Delivery, Envelope, LocalProtocolError
from smtpstate._requests import Give, Queue, Take
from smtpstate_io import Backlog, Lane

WAIT, LOOK = Take(wait=True), Take(wait=False)


def deliveries(number: int) -> list[Delivery]:
    return [Delivery(Envelope("a@x.example", [f"r{n}@y.example"]), b"") for n in range(number)]


class Books:
    """A backlog, and how often it was told of a change."""

    def __init__(self, items: Iterator[Any] | None = None, *, depth: int = 4, most: int = 3) -> None:
        self.waiting = 0
        self.changes = 0
        self.backlog = Backlog(items, depth=depth, most=most, waiting=lambda: self.waiting)

    def changed(self) -> None:
        self.changes += 1

    def lane(self) -> Lane:
        lane = Lane(self.backlog, self.changed)
        self.backlog.lanes.append(lane)
        return lane


def take(lane: Lane, request: Take = LOOK) -> Delivery:
    taken = lane.answer(request)
    assert isinstance(taken, Delivery)
    return taken


def test_a_lane_takes_what_is_given_in_its_order_until_there_is_no_more() -> None:
    given = deliveries(3)
    lane = Books(iter(given)).lane()
    assert [take(lane) for _ in given] == given
    assert lane.answer(LOOK) is Queue.END
    assert lane.answer(WAIT) is Queue.END


def test_pairs_become_deliveries() -> None:
    envelope = Envelope("a@x.example", ["b@y.example"])
    lane = Books(iter([(envelope, b"hello")])).lane()
    delivery = take(lane)
    assert delivery.envelope is envelope
    assert delivery.message.open == b"hello"


@pytest.mark.parametrize(
    "item", [None, 5, "ab", (), (1, 2), (Envelope(None, ["b@y.example"]), b"", 3)], ids=repr
)
def test_anything_else_is_a_mistake_that_the_caller_is_told_of_at_the_end(item: Any) -> None:
    (given,) = deliveries(1)
    books = Books(iter([given, item, *deliveries(2)]))
    lane = books.lane()
    assert take(lane) is given
    assert lane.answer(WAIT) is Queue.END
    assert isinstance(books.backlog.failure, LocalProtocolError)
    assert "give deliveries, or pairs" in str(books.backlog.failure)


def test_what_cannot_wait_looks_later_and_what_could_ends() -> None:
    books = Books()
    lane = books.lane()
    assert lane.answer(LOOK) is Queue.LATER
    assert lane.answer(WAIT) is Queue.END  # so that its connection can be of use to others
    books.backlog.end()
    assert lane.answer(LOOK) is Queue.END


def test_nothing_is_begun_while_the_caller_is_behind() -> None:
    books = Books(iter(deliveries(20)), depth=2)
    lane = books.lane()
    for _ in range(2):
        lane.answer(Give(take(lane)))
    assert len(books.backlog.done) == 2
    assert lane.answer(LOOK) is Queue.LATER
    assert not books.backlog.wants_lane
    books.backlog.done.popleft()
    take(lane)


def test_an_iterable_is_asked_for_no_more_than_is_taken_and_one() -> None:
    drawn: list[int] = []

    def given() -> Iterator[Delivery]:
        for n in itertools.count():
            drawn.append(n)
            yield deliveries(1)[0]

    books = Books(given())
    for _ in range(5):
        assert books.backlog.wants_lane
    assert drawn == [0]
    lane = books.lane()
    take(lane)
    assert drawn == [0]


def test_what_is_given_from_elsewhere_is_enough_at_some_point() -> None:
    books = Books(depth=2)
    first, second = deliveries(2)
    books.backlog.put(first)
    assert not books.backlog.full
    books.backlog.put(second)
    assert books.backlog.full
    assert take(books.lane()) is first
    assert not books.backlog.full


# Which lanes are of use.


def test_one_lane_is_wanted_where_there_is_something_to_do() -> None:
    assert Books(iter(deliveries(1))).backlog.wants_lane
    assert not Books(iter([])).backlog.wants_lane
    assert not Books().backlog.wants_lane


def test_a_lane_that_has_just_begun_is_given_time() -> None:
    books = Books(iter(deliveries(9)))
    lane = books.lane()
    assert not books.backlog.wants_lane
    take(lane)
    assert not books.backlog.wants_lane


@pytest.mark.parametrize(("depth", "enough"), [(1, 1), (2, 2), (32, 2)])
def test_a_lane_in_which_one_waits_behind_another_is_not_enough(depth: int, enough: int) -> None:
    books = Books(iter(deliveries(9)), depth=depth)
    lane = books.lane()
    for _ in range(enough):
        assert not books.backlog.wants_lane
        assert books.changes == 0
        take(lane)
    assert books.changes == 1
    assert books.backlog.wants_lane


def test_a_lane_that_found_nothing_is_not_enough_when_something_comes() -> None:
    books = Books()
    (delivery,) = deliveries(1)
    lane = books.lane()
    assert lane.answer(LOOK) is Queue.LATER
    books.backlog.put(delivery)
    assert books.backlog.wants_lane
    take(lane)
    assert not books.backlog.wants_lane


def test_there_are_never_more_lanes_than_that() -> None:
    books = Books(iter(deliveries(99)), most=3)
    for _ in range(3):
        assert books.backlog.wants_lane
        lane = books.lane()
        take(lane)
        take(lane)
    assert not books.backlog.wants_lane


# The end.


def test_it_is_finished_when_all_lanes_are_gone() -> None:
    books = Books(iter(deliveries(1)))
    lane = books.lane()
    delivery = take(lane)
    assert lane.answer(LOOK) is Queue.END
    assert not books.backlog.finished
    lane.answer(Give(delivery))
    books.backlog.lanes.remove(lane)
    assert books.backlog.finished
    assert list(books.backlog.done) == [delivery]


def test_after_a_failure_of_the_iterable_what_is_at_hand_is_still_begun() -> None:
    books = Books()
    given = deliveries(2)
    for delivery in given:
        books.backlog.put(delivery)
    error = KeyError("mine")
    books.backlog.end(error)
    assert not books.backlog.finished
    lane = books.lane()
    assert [take(lane), take(lane)] == given
    assert lane.answer(LOOK) is Queue.END
    assert books.backlog.failure is error


def test_after_another_failure_no_more_is_begun_and_the_first_is_told() -> None:
    books = Books()
    books.backlog.put(deliveries(1)[0])
    error = KeyError("mine")
    books.backlog.fail(error)
    books.backlog.fail(KeyError("another"))
    assert books.lane().answer(LOOK) is Queue.END
    assert books.backlog.failure is error


def test_after_a_stop_the_iterable_is_not_asked_again() -> None:
    books = Books(iter(deliveries(5)))
    lane = books.lane()
    take(lane)
    books.backlog.stop()
    assert lane.answer(LOOK) is Queue.END
    assert not books.backlog.wants_lane
    assert books.backlog.failure is None


@pytest.mark.parametrize("depth", [0, -1])
def test_at_least_one_must_be_under_way(depth: int) -> None:
    with pytest.raises(LocalProtocolError, match=f"ahead is at least 1, not {depth}"):
        Backlog(None, depth=depth, most=1)


# Others who wait for a connection.


def test_a_lane_makes_way_for_somebody_else_after_its_turn() -> None:
    books = Books(iter(deliveries(99)), depth=2)
    lane = books.lane()
    books.waiting = 1
    first, second = take(lane), take(lane)
    for delivery in (first, second):
        assert lane.answer(LOOK) is Queue.LATER
        lane.answer(Give(delivery))
    assert lane.answer(WAIT) is Queue.END
    books.waiting = 0
    assert lane.answer(WAIT) is Queue.END  # its mind is made up
    assert books.backlog.wants_lane is False  # the caller is behind
    books.backlog.done.clear()
    assert books.backlog.wants_lane  # which waits until it is its turn again


def test_a_lane_goes_on_where_nobody_waits() -> None:
    books = Books(iter(deliveries(9)), depth=2)
    lane = books.lane()
    for _ in range(9):
        lane.answer(Give(take(lane)))
        books.backlog.done.clear()


def test_no_more_lanes_make_way_than_there_are_others() -> None:
    books = Books(iter(deliveries(99)), depth=1)
    first, second, third = books.lane(), books.lane(), books.lane()
    for lane in (first, second, third):
        take(lane)
    books.waiting = 2
    answers = [lane.answer(LOOK) for lane in (first, second, third)]
    assert [answer is Queue.LATER for answer in answers] == [True, True, False]


def test_a_lane_does_not_make_way_for_another_of_the_same_caller() -> None:
    books = Books(iter(deliveries(99)), depth=1)
    lane = books.lane()
    take(lane)
    books.lane()  # it waits for a connection
    books.waiting = 1
    take(lane)
    books.waiting = 2
    assert lane.answer(LOOK) is Queue.LATER
