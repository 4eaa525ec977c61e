"""Read the caller's message, whatever it is, in pieces of at most 256 KiB."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable
from os import PathLike
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

from smtpstate._errors import DeadlinePassed, LocalProtocolError
from smtpstate._message import Source
from smtpstate._requests import Clock, Pull

if TYPE_CHECKING:
    from smtpstate._message import Readable
    from smtpstate_io._waits import Waiter

_BLOCK = 262144

# The C library of GNU gives each block back to the system when it is freed, and has the next one
# page by page from there, until something larger was freed once (mallopt(3), M_MMAP_THRESHOLD).
# These octets are never touched, so that they take no memory.
bytes(8 * _BLOCK)

#: What a caller's source yields; octets, unless it is mistaken.
_Chunk: TypeAlias = bytes | bytearray | memoryview | str | None


@runtime_checkable
class _Readable(Protocol):
    """A file: ``read`` returns octets, none at the end."""

    def read(self, size: int, /) -> _Chunk: ...


class Sources:
    """The source that is being read, one at a time.

    Args:
        clock: the adapter's own; deadlines are read on it.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._source: Source | None = None
        self._pieces: Generator[bytes, None, None] | None = None

    def pull(self, request: Pull) -> bytes:
        """Return the next piece, empty at the end.

        Raises:
            DeadlinePassed: its deadline had passed before; nothing can interrupt the source itself.
            LocalProtocolError: the source is asynchronous, or yields something else than octets.
        """
        _check_in_time(request, self._clock)
        source = request.source
        if source is not self._source:
            self.close()
            self._source = source
            self._pieces = pieces(source.message.opened(), owned=source.owned)
        assert self._pieces is not None
        return next(self._pieces, b"")

    def close(self) -> None:
        """Close what was opened to read."""
        if self._pieces is not None:
            self._pieces.close()


class AsyncSources:
    """The same for adapters that can wait for an asynchronous source, and cancel it at its deadline.

    Args:
        waiter: waits as the adapter's framework does.
    """

    def __init__(self, waiter: Waiter) -> None:
        self._waiter = waiter
        self._source: Source | None = None
        self._pieces: Generator[bytes, None, None] | None = None
        self._async_pieces: AsyncGenerator[bytes, None] | None = None

    async def pull(self, request: Pull) -> bytes:
        """Return the next piece, empty at the end.

        Raises:
            DeadlinePassed: there was none before the deadline of this source.
            LocalProtocolError: the source yields something else than octets.
        """
        _check_in_time(request, self._waiter.clock)
        source, deadline = request.source, request.deadline
        if source is not self._source:
            await self.aclose()
            self._source = source
            content = source.message.opened()
            if isinstance(content, AsyncIterable):
                pieces_of_it = async_pieces(content)
                bounded = self._waiter.bounded
                self._async_pieces = pieces_of_it if deadline is None else bounded(pieces_of_it, deadline)
            else:
                self._pieces = pieces(content, owned=source.owned)
        if self._pieces is not None:
            return next(self._pieces, b"")
        assert self._async_pieces is not None
        return await anext(self._async_pieces, b"")

    async def aclose(self) -> None:
        """Close what was opened to read."""
        if self._pieces is not None:
            self._pieces.close()
        if self._async_pieces is not None:
            await self._async_pieces.aclose()
        self._pieces = self._async_pieces = None


def _check_in_time(request: Pull, clock: Clock) -> None:
    if request.deadline is not None and clock() >= request.deadline:
        raise DeadlinePassed("the deadline passed")


def pieces(content: Readable, *, owned: bool = False) -> Generator[bytes, None, None]:
    """Yield all octets of ``content``, in pieces of 1 to 262144.

    Args:
        content: the message.
        owned: close it at the end, if it is a file.

    Raises:
        LocalProtocolError: it cannot be read here, or is not made of octets.
    """
    if isinstance(content, (bytes, bytearray, memoryview)):
        yield from _cut(bytes(content))
    elif isinstance(content, PathLike):
        with open(content, "rb", buffering=0) as file:
            yield from _read(file)
    elif isinstance(content, AsyncIterable) and not isinstance(content, Iterable):
        raise LocalProtocolError("an asynchronous message needs an asynchronous adapter")
    elif isinstance(content, _Readable):
        try:
            yield from _read(content)
        finally:
            close: object = getattr(content, "close", None)
            if owned and callable(close):
                close()
    else:
        yield from _each(content)


async def async_pieces(content: AsyncIterable[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield all octets of ``content``, in pieces of 1 to 262144."""
    chunks = aiter(content)
    try:
        async for chunk in chunks:
            for piece in _cut(chunk):
                yield piece
    finally:
        if isinstance(chunks, AsyncGenerator):  # left in the middle, it must not wait for the collector
            await chunks.aclose()


def _each(chunks: Iterable[_Chunk]) -> Generator[bytes, None, None]:
    for chunk in chunks:
        yield from _cut(chunk)


def _read(file: _Readable) -> Generator[bytes, None, None]:
    while chunk := file.read(_BLOCK):
        yield from _cut(chunk)
    if chunk is None:
        raise LocalProtocolError(
            "the message is a file that has nothing to read yet, and cannot be waited for"
        )


def _cut(chunk: _Chunk) -> Generator[bytes, None, None]:
    if not isinstance(chunk, (bytes, bytearray, memoryview)):
        raise LocalProtocolError(f"a message is made of bytes, not of {type(chunk).__name__}")
    octets = bytes(chunk)
    for start in range(0, len(octets), _BLOCK):
        yield octets[start : start + _BLOCK]
