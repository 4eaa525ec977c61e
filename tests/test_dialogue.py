"""The dialogue: any loop can drive it, and its repr says where it waits."""

from __future__ import annotations

import gc
from collections.abc import Generator
from typing import Any

import pytest

from smtpstate._dialogue import Dialogue
from smtpstate._errors import DeadlinePassed, LocalProtocolError
from smtpstate._requests import Clock, Poll, Receive, Request, Send, Steps


def now() -> float:
    return 100.0


def greet(clock: Clock) -> Steps[str]:
    """Ask for one thing after the other."""
    greeting = yield from Receive(clock() + 5)
    yield from Send(b"QUIT\r\n", clock() + 5)
    return greeting.decode()


def nested(clock: Clock) -> Steps[str]:
    return (yield from greet(clock))


def test_each_request_is_answered_and_the_result_is_what_the_steps_return() -> None:
    dialogue = Dialogue(greet)
    seen: list[Request] = []
    for request in dialogue.requests(now):
        seen.append(request)
        dialogue.answer(b"220 hello" if isinstance(request, Receive) else None)
    assert seen == [Receive(105.0), Send(b"QUIT\r\n", 105.0)]
    assert dialogue.result == "220 hello"


def test_the_steps_can_be_driven_without_the_dialogue() -> None:
    dialogue = Dialogue(nested)
    steps = dialogue.begin(now)
    assert next(steps) == Receive(105.0)
    assert repr(dialogue) == "<Dialogue nested > greet>"
    assert steps.send(b"220 hello") == Send(b"QUIT\r\n", 105.0)
    with pytest.raises(StopIteration) as end:
        steps.send(None)
    assert end.value.value == "220 hello"


def test_none_is_an_answer() -> None:
    def ask(_: Clock) -> Steps[bytes | None]:
        return (yield from Poll())

    dialogue = Dialogue(ask)
    for _ in dialogue.requests(now):
        dialogue.answer(None)
    assert dialogue.result is None


def test_none_can_be_the_result() -> None:
    def ask(_: Clock) -> Steps[None]:
        yield from Poll()

    dialogue = Dialogue(ask)
    for _ in dialogue.requests(now):
        dialogue.answer(b"")
    assert dialogue.result is None


def test_a_failure_is_raised_where_the_request_was_asked_and_may_be_mended_there() -> None:
    def ask(clock: Clock) -> Steps[str]:
        try:
            yield from Receive(clock())
        except DeadlinePassed as error:
            yield from Poll()
            return str(error)
        raise AssertionError

    dialogue = Dialogue(ask)
    seen: list[Request] = []
    for request in dialogue.requests(now):
        seen.append(request)
        if isinstance(request, Receive):
            dialogue.fail(DeadlinePassed("nothing came"))
        else:
            dialogue.answer(None)
    assert seen == [Receive(100.0), Poll()]
    assert dialogue.result == "nothing came"


@pytest.mark.parametrize("error", [DeadlinePassed("late"), OSError("source"), KeyboardInterrupt()], ids=repr)
def test_a_failure_that_nobody_mends_comes_out_unchanged(error: BaseException) -> None:
    dialogue = Dialogue(greet)
    requests = dialogue.requests(now)
    next(requests)
    dialogue.fail(error)
    with pytest.raises(type(error)) as caught:
        next(requests)
    assert caught.value is error


def test_what_the_steps_raise_comes_out_unchanged() -> None:
    def refuse(_: Clock) -> Steps[None]:
        yield from Poll()
        raise LocalProtocolError("not like that")

    dialogue = Dialogue(refuse)
    requests = dialogue.requests(now)
    next(requests)
    dialogue.answer(None)
    with pytest.raises(LocalProtocolError, match=r"^not like that$"):
        next(requests)


def test_a_failure_counts_more_than_an_answer() -> None:
    dialogue = Dialogue(greet)
    requests = dialogue.requests(now)
    next(requests)
    dialogue.answer(b"220 hello")
    dialogue.fail(DeadlinePassed("late"))
    with pytest.raises(DeadlinePassed):
        next(requests)


def test_an_answer_is_used_once() -> None:
    dialogue = Dialogue(greet)
    requests = dialogue.requests(now)
    next(requests)
    dialogue.answer(b"220 hello")
    next(requests)
    with pytest.raises(RuntimeError, match=r"^the request was not answered: Send\(deadline=105\.0\)$"):
        next(requests)


def test_a_request_that_is_neither_answered_nor_failed_is_a_mistake_of_the_adapter() -> None:
    requests = Dialogue(greet).requests(now)
    next(requests)
    with pytest.raises(RuntimeError, match=r"^the request was not answered: Receive\(deadline=105\.0\)$"):
        next(requests)


def test_there_is_no_result_before_the_end() -> None:
    dialogue = Dialogue(greet)
    with pytest.raises(RuntimeError, match=r"^<Dialogue not begun> has no result$"):
        _ = dialogue.result
    requests = dialogue.requests(now)
    next(requests)
    with pytest.raises(RuntimeError, match=r"^<Dialogue greet> has no result$"):
        _ = dialogue.result


def test_the_repr_names_the_calls_that_are_suspended() -> None:
    dialogue = Dialogue(nested)
    assert repr(dialogue) == "<Dialogue not begun>"
    for _ in dialogue.requests(now):
        assert repr(dialogue) == "<Dialogue nested > greet>"
        dialogue.answer(b"")
    assert repr(dialogue) == "<Dialogue ended>"


def test_the_repr_says_so_while_nothing_is_suspended() -> None:
    shown: list[str] = []

    def look(_: Clock) -> Steps[None]:
        shown.append(repr(dialogue))
        yield from Poll()

    dialogue: Dialogue[None] = Dialogue(look)
    for _ in dialogue.requests(now):
        dialogue.answer(None)
    assert shown == ["<Dialogue look>"]


def test_leaving_the_loop_early_closes_the_steps() -> None:
    closed: list[str] = []

    def ask(_: Clock) -> Steps[None]:
        try:
            yield from Poll()
        finally:
            closed.append("closed")

    dialogue = Dialogue(ask)
    for _ in dialogue.requests(now):
        break
    gc.collect()
    assert closed == ["closed"]
    assert repr(dialogue) == "<Dialogue ended>"


class OwnSteps(Generator[Request, Any, str]):
    """Steps that are no generator of Python's own."""

    def send(self, value: Any, /) -> Request:
        if value == b"done":
            raise StopIteration("result")
        return Poll()

    def throw(self, *error: Any) -> Request:
        raise error[0]


def test_steps_need_not_be_written_as_a_generator() -> None:
    dialogue: Dialogue[str] = Dialogue(lambda clock: OwnSteps())
    for _ in dialogue.requests(now):
        assert repr(dialogue).startswith("<Dialogue ")
        dialogue.answer(b"done")
    assert dialogue.result == "result"
