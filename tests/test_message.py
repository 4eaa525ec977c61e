"""What a message can be, and whether it can be read a second time."""

from __future__ import annotations

import copy
import mmap
import pickle
from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import FrozenInstanceError, replace
from email.message import EmailMessage
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from smtpstate._errors import LocalProtocolError
from smtpstate._message import Message, Source


class Chunks:
    """An iterable that begins anew each time, or only seems to."""

    def __init__(self, chunks: list[bytes], *, anew: bool) -> None:
        self._chunks = chunks
        self._iterator = iter(chunks)
        self._anew = anew

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._chunks) if self._anew else self._iterator


class AsyncChunks:
    """An asynchronous iterable."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"a"


class Readable:
    """The least that a file can be."""

    def read(self, size: int = -1, /) -> bytes:
        return b"a"[:size]


class CallableFile(Readable):
    """A file that can be called too."""

    def __call__(self) -> bytes:
        return b""


def generator() -> Iterator[bytes]:
    yield b"a"


async def async_generator() -> AsyncIterator[bytes]:
    yield b"a"


ANEW: list[Any] = [
    b"a",
    bytearray(b"a"),
    memoryview(b"a"),
    EmailMessage(),
    Path("message.eml"),
    [b"a", b"b"],
    (b"a",),
    deque([b"a"]),
    generator,  # the function, not what it returns
    async_generator,
    lambda: b"a",
]
ONCE: list[Any] = [
    BytesIO(b"a"),
    Readable(),
    CallableFile(),
    generator(),
    iter([b"a"]),
    async_generator(),
    AsyncChunks(),
    Chunks([b"a"], anew=False),
    Chunks([b"a"], anew=True),  # looks like the one before, and a second reading of that is empty
    map(bytes, [[1]]),
]


def kind(value: object) -> str:
    return type(value).__name__


@pytest.mark.parametrize("source", ANEW, ids=kind)
def test_what_begins_anew_can_be_read_again(source: Any) -> None:
    assert Message(source).can_be_read_again


@pytest.mark.parametrize("source", ONCE, ids=kind)
def test_a_source_that_may_be_at_its_end_cannot_be_read_again(source: Any) -> None:
    assert not Message(source).can_be_read_again


def test_a_mapped_file_has_a_place_where_it_is_and_cannot_be_read_again() -> None:
    with mmap.mmap(-1, 16) as mapped:
        source: Any = mapped
        assert not Message(source).can_be_read_again


@pytest.mark.parametrize("source", [*ANEW[:8], *ONCE], ids=kind)
def test_what_can_be_read_is_opened_as_it_is(source: Any) -> None:
    assert Message(source).opened() is source


def test_a_callable_is_asked_anew_each_time() -> None:
    sources = [BytesIO(b"a"), BytesIO(b"b")]
    message = Message(iter(sources).__next__)
    assert [message.opened(), message.opened()] == sources


@pytest.mark.parametrize("returned", [None, 5, "text", lambda: b"", Message(b"")], ids=kind)
def test_a_callable_that_returns_no_message_is_an_error_of_the_caller(returned: Any) -> None:
    with pytest.raises(LocalProtocolError, match=f"^not a message: {type(returned).__name__}$"):
        Message(lambda: returned).opened()


@pytest.mark.parametrize("source", [None, 5, 1.5, object()], ids=kind)
def test_anything_else_is_no_message(source: Any) -> None:
    with pytest.raises(LocalProtocolError, match=f"^not a message: {type(source).__name__}$"):
        Message(source)


@pytest.mark.parametrize("source", ["Subject: a\r\n\r\n", "/var/mail/message.eml", ""])
def test_a_str_is_neither_a_message_nor_a_path(source: Any) -> None:
    with pytest.raises(
        LocalProtocolError, match=r"^a message is bytes or an EmailMessage; for a file give a pathlib\.Path$"
    ):
        Message(source)


def test_a_message_stays_what_it_is() -> None:
    message = Message(b"a", line_ends="strict")
    assert Message.of(message) is message
    assert Message.of(b"a") == Message(b"a")


@pytest.mark.parametrize(
    "message", [Message(b"a"), Message(b"a", size=1, utf8=False), Message([b"a"])], ids=repr
)
def test_a_message_is_a_value(message: Message) -> None:
    for again in (copy.copy(message), copy.deepcopy(message), pickle.loads(pickle.dumps(message))):
        assert again == message
        assert repr(again) == repr(message)
    assert replace(message, line_ends="strict") == replace(
        replace(message, line_ends="strict"), open=message.open
    )
    assert replace(message, line_ends="strict") != message
    assert hash(Message(b"a")) == hash(Message(b"a", None, "refuse", None, "crlf"))
    assert (
        repr(Message(b"a"))
        == "Message(open=b'a', size=None, eight_bit='refuse', utf8=None, line_ends='crlf')"
    )


@pytest.mark.parametrize("name", ["open", "size", "other"])
def test_a_message_cannot_be_changed(name: str) -> None:
    # a slotted dataclass says of what is no field of it that its ``super`` is wrong
    with pytest.raises((FrozenInstanceError, TypeError)):
        setattr(Message(b"a"), name, 5)


@pytest.mark.parametrize("line_ends", ["crlf", "strict", "binary"])
@pytest.mark.parametrize("eight_bit", [True, False, "refuse", "send"])
@pytest.mark.parametrize("size", [None, 0, 5])
def test_the_options_of_a_message(line_ends: Any, eight_bit: Any, size: int | None) -> None:
    message = Message(b"", size, eight_bit=eight_bit, line_ends=line_ends)
    assert (message.line_ends, message.eight_bit, message.size) == (line_ends, eight_bit, size)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"line_ends": "lf"}, "line_ends is crlf, strict or binary, not 'lf'"),
        ({"line_ends": None}, "line_ends is crlf, strict or binary, not None"),
        ({"eight_bit": "yes"}, "eight_bit is True, False, refuse or send, not 'yes'"),
        ({"eight_bit": None}, "eight_bit is True, False, refuse or send, not None"),
        ({"size": -1}, "the size of a message is a number of octets, not -1"),
    ],
    ids=str,
)
def test_any_other_option_is_refused(options: dict[str, Any], why: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        Message(b"", **options)
    assert str(caught.value) == why


def test_each_reading_is_a_source_of_its_own_and_shows_nothing_of_the_message() -> None:
    message = Message(b"Subject: secret")
    source = Source(message)
    assert source.message is message
    assert source != Source(message)
    assert repr(source) == "<Source of bytes>"
    assert repr(Source(Message(BytesIO(b"secret")))) == "<Source of BytesIO>"


@pytest.mark.parametrize("binary", [False, True])
def test_what_is_declared_of_a_message_that_is_not_there_yet(binary: bool) -> None:
    message = Message.declared(size=5, eight_bit=True, utf8=False, binary=binary)
    assert (message.size, message.eight_bit, message.utf8) == (5, True, False)
    assert message.line_ends == ("binary" if binary else "crlf")
    with pytest.raises(LocalProtocolError, match="^the size of a message is a number of octets, not -1$"):
        Message.declared(size=-1, eight_bit="refuse", utf8=None, binary=binary)
