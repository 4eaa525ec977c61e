"""A message is read in blocks, whatever it was given as, and held to what was promised of it."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpstate import LocalProtocolError, Message, TransportError
from smtpstate._reader import BLOCK, NotSevenBit, Reader, SourceFailed
from smtpstate._requests import Pull, Steps

T = TypeVar("T")


class Store:
    """Answers the requests of readers from chunks; an exception among them is raised."""

    def __init__(self, chunks: Iterable[bytes | Exception] = ()) -> None:
        self.chunks = iter(chunks)
        self.pulled = 0

    def run(self, steps: Steps[T]) -> T:
        try:
            request = next(steps)
            while True:
                assert isinstance(request, Pull)
                self.pulled += 1
                chunk = next(self.chunks, b"")
                request = steps.throw(chunk) if isinstance(chunk, Exception) else steps.send(chunk)
        except StopIteration as stop:
            result: T = stop.value
            return result


def blocks(reader: Reader, store: Store) -> list[bytes]:
    found: list[bytes] = []
    while not reader.ended:
        found.append(store.run(reader.read()))
    return found


def stream() -> Iterator[bytes]:
    """Stand for a source; the store has what is in it."""
    return iter(())


SIZES = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 2 * BLOCK + 5]


@pytest.mark.parametrize("size", SIZES)
def test_what_is_in_memory_is_read_in_blocks_without_asking_for_anything(size: int) -> None:
    octets = bytes(range(251)) * (size // 251 + 1)
    for given_as in (octets[:size], bytearray(octets[:size]), memoryview(octets)[:size]):
        store = Store()
        reader = Reader(Message(given_as))
        found = blocks(reader, store)
        assert b"".join(found) == octets[:size]
        assert all(len(block) == BLOCK for block in found[:-1])
        assert (store.pulled, reader.seen, reader.total) == (0, size, size)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("piece", [1000, BLOCK])
def test_a_source_is_read_in_blocks_whatever_its_pieces(size: int, piece: int) -> None:
    octets = bytes(range(251)) * (size // 251 + 1)
    store = Store(octets[start : min(start + piece, size)] for start in range(0, size, piece))
    reader = Reader(Message(stream()))
    found = blocks(reader, store)
    assert b"".join(found) == octets[:size]
    assert all(len(block) == BLOCK for block in found[:-1])
    assert (reader.seen, reader.total) == (size, size)


@given(st.lists(st.binary(min_size=1, max_size=40_000), max_size=8))
def test_no_octet_is_lost_between_peeking_and_reading(chunks: list[bytes]) -> None:
    store, reader = Store(chunks), Reader(Message(stream()))
    first = store.run(reader.peek())
    assert not reader.begun
    found = blocks(reader, store)
    assert found[0] == first == store.run(Reader(Message(b"".join(chunks))).peek())
    assert b"".join(found) == b"".join(chunks)


def test_a_piece_that_is_a_block_is_read_without_a_copy() -> None:
    piece = b"x" * BLOCK
    store, reader = Store([piece, b"y"]), Reader(Message(stream()))
    assert store.run(reader.read()) is piece


def test_pieces_larger_than_a_block_are_cut() -> None:
    octets = bytes(range(256)) * (3 * BLOCK // 256) + b"end"
    store, reader = Store([octets[:1], octets[1:-1], octets[-1:]]), Reader(Message(stream()))
    found = blocks(reader, store)
    assert b"".join(found) == octets
    assert all(len(block) == BLOCK for block in found[:-1])


def test_a_source_is_asked_for_no_more_than_one_block_ahead() -> None:
    store, reader = Store([b"x" * BLOCK] * 100), Reader(Message(stream()))
    store.run(reader.peek())
    assert store.pulled == 1
    store.run(reader.read())
    assert store.pulled == 1
    store.run(reader.read())
    assert store.pulled == 2


def test_a_small_source_is_whole_after_a_peek_and_a_large_one_never() -> None:
    store, reader = Store([b"abc", b"def"]), Reader(Message(stream()))
    assert (reader.whole, reader.size, reader.total) == (None, None, None)
    assert store.run(reader.peek()) == b"abcdef"
    assert (reader.whole, reader.size) == (b"abcdef", 8)
    store, reader = Store([b"x" * BLOCK] * 2), Reader(Message(stream(), size=2 * BLOCK))
    store.run(reader.peek())
    assert (reader.whole, reader.size, reader.total) == (None, 2 * BLOCK, 2 * BLOCK)


def test_taking_the_whole_counts_as_reading_it() -> None:
    reader = Reader(Message(b"abc"))
    Store().run(reader.peek())
    reader.take_whole()
    assert (reader.begun, reader.ended, reader.seen) == (True, True, 3)


def test_another_form_of_the_message_is_read_in_its_place() -> None:
    mime = EmailMessage()
    reader = Reader(Message(mime))
    assert reader.mime is mime
    assert blocks(reader.rewritten(b"another form"), Store()) == [b"another form"]
    assert Reader(Message(lambda: mime)).mime is mime
    assert Reader(Message(b"octets")).mime is None


def test_a_callable_is_asked_once_for_each_reading(tmp_path: Path) -> None:
    asked: list[int] = []

    def opened() -> bytes:
        asked.append(1)
        return b"abc"

    reader = Reader(Message(opened))
    assert reader.mime is None
    assert blocks(reader, Store()) == [b"abc"]
    assert asked == [1]


@pytest.mark.parametrize("error", [ValueError("no"), TransportError("no network"), LocalProtocolError("no")])
@pytest.mark.parametrize("before", [0, 1, 2 * BLOCK])
def test_what_a_source_raises_is_told_apart_from_what_the_network_does(before: int, error: Exception) -> None:
    chunks: list[bytes | Exception] = [b"x" * before] if before else []
    store, reader = Store([*chunks, error]), Reader(Message(stream()))
    with pytest.raises(SourceFailed) as caught:
        blocks(reader, store)
    assert caught.value.cause is error


# Promises.


@pytest.mark.parametrize(
    ("promised", "has", "why"), [(2, b"abc", "has more"), (4, b"abc", "has 3"), (0, b"a", "has more")]
)
def test_a_promised_size_is_kept_or_an_error(promised: int, has: bytes, why: str) -> None:
    for reader, store in (
        (Reader(Message(has, size=promised)), Store()),
        (Reader(Message(stream(), size=promised)), Store([has])),
    ):
        with pytest.raises(LocalProtocolError, match=why):
            blocks(reader, store)
    whole = Reader(Message(has, size=promised))
    Store().run(whole.peek())
    with pytest.raises(LocalProtocolError, match=why):
        whole.checked_whole()


def test_a_promised_size_is_held_against_a_stream_before_its_end() -> None:
    store, reader = Store([b"x" * BLOCK] * 100), Reader(Message(stream(), size=BLOCK + 1))
    store.run(reader.read())
    with pytest.raises(LocalProtocolError, match="more"):
        store.run(reader.read())
    assert store.pulled <= 3


def test_8bit_octets_are_an_error_where_there_were_to_be_none() -> None:
    with pytest.raises(LocalProtocolError, match="7bit"):
        blocks(Reader(Message(b"\xe9", eight_bit=False)), Store())


def test_8bit_octets_end_the_reading_where_the_server_cannot_take_them() -> None:
    reader = Reader(Message(stream()))
    reader.refuses_eight_bit = True
    store = Store([b"x" * BLOCK, b"\xe9"])
    assert store.run(reader.read()) == b"x" * BLOCK
    with pytest.raises(NotSevenBit):
        store.run(reader.read())
    reader = Reader(Message(b"\xe9"))
    reader.refuses_eight_bit = True
    reader.refuses_eight_bit = False
    assert blocks(reader, Store()) == [b"\xe9"]


@pytest.mark.parametrize("octets", [b"a\nb", b"a\rb", b"a\r", b"x" * (BLOCK - 1) + b"\r" + b"x"])
def test_strict_line_ends_are_kept_or_an_error(octets: bytes) -> None:
    with pytest.raises(LocalProtocolError):
        blocks(Reader(Message(octets, line_ends="strict")), Store())
    reader = Reader(Message(octets, line_ends="strict"))
    Store().run(reader.peek())
    with pytest.raises(LocalProtocolError):
        reader.checked_whole()


def test_a_strict_line_end_may_lie_across_two_blocks() -> None:
    octets = b"x" * (BLOCK - 1) + b"\r\nx\r\n"
    reader = Reader(Message(octets, line_ends="strict"))
    assert b"".join(blocks(reader, Store())) == octets


@pytest.mark.parametrize(
    ("octets", "size"), [(b"", 0), (b"a", 3), (b"a\n", 3), (b"a\r\n", 3), (b"\n\r\n\r", 6), (b".\n.", 6)]
)
def test_the_size_is_that_of_what_is_sent(octets: bytes, size: int) -> None:
    def measured(**more: Any) -> int | None:
        reader = Reader(Message(octets, **more))
        Store().run(reader.peek())
        return reader.size

    assert measured() == size
    assert measured(line_ends="binary") == len(octets)


def never() -> Generator[bytes, None, None]:
    """Fail the test that reads it."""
    raise AssertionError
    yield b""


def test_nothing_is_read_before_it_is_needed() -> None:
    reader = Reader(Message(never()))
    assert (reader.begun, reader.ended, reader.seen, reader.total) == (False, False, 0, None)
