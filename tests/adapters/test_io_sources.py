"""Every kind of message is read in pieces, closed when it is left, and its failures come out unchanged."""

from __future__ import annotations

import io
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import trio

from adapters.runtimes import Asynchronous, Runtime
from smtpstate._errors import DeadlinePassed, LocalProtocolError
from smtpstate._message import Message, Source
from smtpstate._requests import Clock, Pull, Steps
from smtpstate_io import Sources, context_for
from smtpstate_io._sources import pieces

if TYPE_CHECKING:
    from smtpstate._message import Readable

pytestmark = pytest.mark.usefixtures("nothing_left")

BIG = bytes(range(256)) * 1200  # 307200 octets


def generator(*chunks: bytes) -> Iterator[bytes]:
    yield from chunks


async def async_generator(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


class Chunks:
    """Iterable again and again, and no collection."""

    def __iter__(self) -> Iterator[bytes]:
        return generator(BIG, b"", b"end")


class AsyncChunks:
    """Iterable again and again, by an iterator that is no generator."""

    def __init__(self) -> None:
        self.left = [BIG, b"", b"end"]

    def __aiter__(self) -> AsyncChunks:
        return self

    async def __anext__(self) -> bytes:
        if not self.left:
            raise StopAsyncIteration
        return self.left.pop(0)


def mixed() -> Any:
    """Return what types do not allow and callers do."""
    return [bytearray(BIG), memoryview(b""), memoryview(b"end")]


SYNCHRONOUS: dict[str, Callable[[], Readable | Callable[[], Readable]]] = {
    "bytes": lambda: BIG + b"end",
    "bytearray": lambda: bytearray(BIG + b"end"),
    "memoryview": lambda: memoryview(BIG + b"end"),
    "list": lambda: [BIG, b"", b"end"],
    "mixed": mixed,
    "generator": lambda: generator(BIG, b"", b"end"),
    "iterable": Chunks,
    "file in memory": lambda: io.BytesIO(BIG + b"end"),
    "callable": lambda: lambda: generator(BIG, b"end"),
}
ASYNCHRONOUS_ONLY: dict[str, Callable[[], Readable | Callable[[], Readable]]] = {
    "asynchronous generator": lambda: async_generator(BIG, b"", b"end"),
    "asynchronous iterable": AsyncChunks,
    "callable for an asynchronous one": lambda: lambda: async_generator(BIG, b"end"),
}


def pull_all(source: Source) -> Steps[list[bytes]]:
    pieces: list[bytes] = []
    while piece := (yield from Pull(source)):
        pieces.append(piece)
    assert (yield from Pull(source)) == b""
    return pieces


def pulled(runtime: Runtime, message: Readable | Callable[[], Readable]) -> list[bytes]:
    return runtime.drive(lambda clock: pull_all(Source(Message(message))))


def check(pieces: list[bytes]) -> None:
    assert b"".join(pieces) == BIG + b"end"
    assert all(type(piece) is bytes and 0 < len(piece) <= 262144 for piece in pieces)


@pytest.mark.parametrize("kind", SYNCHRONOUS)
def test_every_kind_is_read_in_pieces(runtime: Runtime, kind: str) -> None:
    check(pulled(runtime, SYNCHRONOUS[kind]()))


@pytest.mark.parametrize("kind", ASYNCHRONOUS_ONLY)
def test_asynchronous_kinds_are_read_in_pieces(asynchronous: Asynchronous, kind: str) -> None:
    check(pulled(asynchronous, ASYNCHRONOUS_ONLY[kind]()))


@pytest.mark.parametrize("kind", ASYNCHRONOUS_ONLY)
def test_the_blocking_adapter_refuses_asynchronous_kinds(kind: str) -> None:
    source = Source(Message(ASYNCHRONOUS_ONLY[kind]()))
    with pytest.raises(LocalProtocolError, match=r"^an asynchronous message needs an asynchronous adapter$"):
        Sources(time.monotonic).pull(Pull(source))


def test_a_source_is_not_asked_once_its_deadline_has_passed(runtime: Runtime) -> None:
    def chunks() -> Iterator[bytes]:
        raise AssertionError("it was asked")
        yield b""

    with pytest.raises(DeadlinePassed):
        runtime.drive(lambda clock: Pull(Source(Message(chunks())), clock()).__iter__())


def test_a_path_is_opened_and_closed(runtime: Runtime, tmp_path: Path) -> None:
    path = tmp_path / "message"
    path.write_bytes(BIG + b"end")
    check(pulled(runtime, path))


def test_a_path_of_another_library_is_opened_too(runtime: Runtime, tmp_path: Path) -> None:
    path = tmp_path / "message"
    path.write_bytes(BIG + b"end")
    check(pulled(runtime, trio.Path(path)))


def test_an_open_file_is_read_from_where_it_stands_and_left_open(runtime: Runtime, tmp_path: Path) -> None:
    path = tmp_path / "message"
    path.write_bytes(b"head" + BIG + b"end")
    with path.open("rb") as file:
        file.read(4)
        check(pulled(runtime, file))
        assert not file.closed


def test_a_file_of_an_asynchronous_library_is_iterated(asynchronous: Asynchronous, tmp_path: Path) -> None:
    path = tmp_path / "message"
    path.write_bytes(BIG + b"end")

    async def open_and_pull() -> bytes:
        async with await anyio.open_file(path, "rb") as file:
            wire = asynchronous.wire(context_for)
            sources, request = wire.sources(), Pull(Source(Message(file)))
            pieces = b""
            while piece := await sources.pull(request):
                pieces += piece
            await sources.aclose()
            wire.close()
        return pieces

    assert asynchronous.loop(open_and_pull) == BIG + b"end"


def test_each_source_is_a_reading_from_the_start(runtime: Runtime, tmp_path: Path) -> None:
    path = tmp_path / "message"
    path.write_bytes(BIG)

    def steps(clock: Clock) -> Steps[list[bytes]]:
        message = Message(path)
        first, second = Source(message), Source(message)
        return [(yield from Pull(first)), (yield from Pull(second))]

    assert runtime.drive(steps) == [BIG[:262144]] * 2


def test_a_missing_file_is_the_callers_error(runtime: Runtime, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        pulled(runtime, tmp_path / "none")


@pytest.mark.parametrize(
    ("message", "what"),
    [
        (lambda: ["text"], "str"),
        (lambda: [b"octets", None], "NoneType"),
        (lambda: [7], "int"),
        (lambda: io.StringIO("text"), "str"),
    ],
    ids=["str", "None", "int", "text file"],
)
def test_what_is_not_made_of_bytes_is_refused(
    runtime: Runtime, message: Callable[[], Any], what: str
) -> None:
    with pytest.raises(LocalProtocolError, match=f"^a message is made of bytes, not of {what}$"):
        pulled(runtime, message)


def test_a_file_that_has_nothing_yet_is_refused(runtime: Runtime) -> None:
    class Pipe(io.RawIOBase):
        def read(self, size: int = -1) -> None:
            return None

    with pytest.raises(LocalProtocolError, match="nothing to read yet"):
        pulled(runtime, Pipe())


class OwnError(Exception):
    """An error of the caller's."""


@pytest.mark.parametrize(
    "error", [OwnError("mine"), TimeoutError("mine"), ConnectionResetError("mine"), TimeoutError("mine")]
)
def test_an_error_of_the_source_comes_out_unchanged(runtime: Runtime, error: Exception) -> None:
    def failing() -> Iterator[bytes]:
        yield b"one"
        raise error

    with pytest.raises(type(error)) as caught:
        pulled(runtime, failing())
    assert caught.value is error


def test_an_error_of_an_asynchronous_source_comes_out_unchanged(asynchronous: Asynchronous) -> None:
    error = OwnError("mine")

    async def failing() -> AsyncIterator[bytes]:
        yield b"one"
        raise error

    with pytest.raises(OwnError) as caught:
        pulled(asynchronous, failing())
    assert caught.value is error


def test_a_path_that_is_left_in_the_middle_is_closed(runtime: Runtime, tmp_path: Path) -> None:
    path = tmp_path / "message"
    path.write_bytes(BIG)

    def steps(clock: Clock) -> Steps[bytes]:
        return (yield from Pull(Source(Message(path))))

    assert runtime.drive(steps) == BIG[:262144]


def test_a_generator_of_the_callers_is_not_lost_when_its_turn_ends(runtime: Runtime) -> None:
    """It is the caller's: the rest of it can still be read."""
    message = generator(b"one", b"two", b"three")

    def steps(clock: Clock) -> Steps[bytes]:
        return (yield from Pull(Source(Message(message))))

    assert runtime.drive(steps) == b"one"
    assert list(message) == [b"two", b"three"]


def test_a_file_that_a_callable_opened_is_closed_and_a_callers_file_is_not(tmp_path: Path) -> None:
    path = tmp_path / "message"
    path.write_bytes(b"hello")
    for owned in (True, False):
        with path.open("rb") as file:
            assert b"".join(pieces(file, owned=owned)) == b"hello"
            assert file.closed is owned
