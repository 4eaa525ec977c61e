"""Messages as the playground reads them."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable, Iterator
from email.message import EmailMessage
from pathlib import PurePath
from typing import TYPE_CHECKING

import pytest

from smtpstate._message import Message, Source
from smtpstate._requests import Clock, Pull, Steps
from smtpstate.testing import Playground

if TYPE_CHECKING:
    from smtpstate._message import Readable


def whatever_is_pulled(
    message: Readable | Callable[[], Readable], playground: Playground | None = None
) -> list[bytes]:
    def steps(clock: Clock) -> Steps[list[bytes]]:
        source = Source(Message(message))
        chunks: list[bytes] = []
        while chunk := (yield from Pull(source)):
            chunks.append(chunk)
        assert (yield from Pull(source)) == b""
        return chunks

    return (playground or Playground({})).run(steps)


class Unlisted:
    """An iterable that is nothing else."""

    def __iter__(self) -> Iterator[bytes]:
        yield b"one"
        yield b""
        yield b"two"


@pytest.mark.parametrize(
    ("message", "chunks"),
    [
        (b"", []),
        (b"text", [b"text"]),
        (bytearray(b"text"), [b"text"]),
        (memoryview(b"text"), [b"text"]),
        (b"x" * 65537, [b"x" * 65536, b"x"]),
        (Unlisted(), [b"one", b"two"]),
        ([b"x" * 65537], [b"x" * 65536, b"x"]),
        (io.BytesIO(b"x" * 65537), [b"x" * 65536, b"x"]),
        (lambda: b"text", [b"text"]),
        (lambda: io.BytesIO(b"text"), [b"text"]),
    ],
)
def test_messages_are_read_as_adapters_read_them(
    message: Readable | Callable[[], Readable], chunks: list[bytes]
) -> None:
    assert whatever_is_pulled(message) == chunks


def test_files_are_read_only_by_what_the_test_gives() -> None:
    playground = Playground({}, read_path=lambda path: f"content of {path!r}".encode())
    assert whatever_is_pulled(PurePath("x.eml"), playground) == [b"content of 'x.eml'"]
    with pytest.raises(AssertionError, match="give it read_path"):
        whatever_is_pulled(PurePath("x.eml"))


async def asynchronous() -> AsyncIterator[bytes]:
    yield b""


@pytest.mark.parametrize(
    ("message", "complaint"),
    [(asynchronous(), "asynchronous"), (EmailMessage(), "pulled as octets")],
)
def test_what_no_adapter_gets_cannot_be_pulled(message: Readable, complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        whatever_is_pulled(message)


def test_each_source_is_a_reading_of_its_own_and_its_errors_come_through() -> None:
    def chunks() -> Iterator[bytes]:
        yield b"one"
        raise OSError("disk on fire")

    def steps(clock: Clock) -> Steps[list[bytes]]:
        first, second = Source(Message(chunks)), Source(Message(chunks))
        pulled = [(yield from Pull(first)), (yield from Pull(second))]
        with pytest.raises(OSError, match="disk on fire"):
            yield from Pull(first)
        return pulled

    assert Playground({}).run(steps) == [b"one", b"one"]
