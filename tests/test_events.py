"""Events: values that say what has happened, to what, and cannot be changed afterwards."""

from __future__ import annotations

import inspect
from dataclasses import FrozenInstanceError, fields

import pytest

import smtpstate._events as module
from dialogues import MAIL, RCPT
from smtpstate._capabilities import Capabilities
from smtpstate._commands import Noop
from smtpstate._events import (
    NEED_DATA,
    Answered,
    ConnectionEnded,
    Event,
    HelloAnswered,
    MessageAnswered,
    NeedData,
    RecipientDelivered,
    ServiceClosing,
)
from smtpstate._replies import Reply

OK = Reply(250, (b"ok",))

CLASSES = [
    value
    for _, value in inspect.getmembers(module, inspect.isclass)
    if issubclass(value, Event) and value not in (Event, Answered)
]


def made(kind: type[Event]) -> Event:
    """Return an event of a class."""
    if kind is HelloAnswered:
        return HelloAnswered(OK, Noop(), Capabilities())
    if kind is RecipientDelivered:
        return RecipientDelivered(OK, Noop(), RCPT)
    if kind is ServiceClosing:
        return ServiceClosing(OK, (MAIL, RCPT))
    if kind is ConnectionEnded:
        return ConnectionEnded((MAIL, RCPT))
    assert issubclass(kind, Answered)
    return kind(OK, Noop())


def test_there_is_one_class_for_each_thing_that_can_happen() -> None:
    assert {kind.__name__ for kind in CLASSES} == {
        "Greeted",
        "HelloAnswered",
        "TlsReady",
        "Challenged",
        "Authenticated",
        "SenderAnswered",
        "RecipientAnswered",
        "ContentWanted",
        "ChunkAnswered",
        "MessageAnswered",
        "RecipientDelivered",
        "CommandAnswered",
        "ServiceClosing",
        "ConnectionEnded",
    }


@pytest.mark.parametrize("kind", CLASSES)
def test_an_event_is_a_value(kind: type[Event]) -> None:
    event = made(kind)
    assert event == made(kind)
    assert kind.__name__ in repr(event)
    assert not hasattr(event, "__dict__")
    for field in fields(event):
        with pytest.raises(FrozenInstanceError):
            setattr(event, field.name, None)


@pytest.mark.parametrize("kind", [kind for kind in CLASSES if kind is not HelloAnswered])
def test_an_event_can_be_put_into_a_set(kind: type[Event]) -> None:
    assert len({made(kind), made(kind)}) == 1


def test_events_of_two_classes_are_never_equal() -> None:
    events = [made(kind) for kind in CLASSES]
    assert all((one == other) is (one is other) for one in events for other in events)


@pytest.mark.parametrize("kind", [kind for kind in CLASSES if issubclass(kind, Answered)])
def test_an_answer_carries_its_reply_and_the_command_it_belongs_to(kind: type[Answered]) -> None:
    event = made(kind)
    assert isinstance(event, Answered)
    assert (event.reply, event.command) == (OK, Noop())


def test_what_is_said_of_nobody_in_particular_has_no_recipient() -> None:
    assert ServiceClosing(OK, ()).recipient is None


def test_a_message_is_answered_after_its_end_unless_something_else_is_said() -> None:
    assert not MessageAnswered(OK, Noop()).early


def test_the_sign_that_nothing_has_happened_is_no_event() -> None:
    assert NEED_DATA is NeedData.NEED_DATA
    assert not isinstance(NEED_DATA, Event)
