"""Read the caller's message, whatever it is, in pieces of at most 256 KiB."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable
from os import PathLike
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

from smtpstate._errors import LocalProtocolError
from smtpstate._message import Source

if TYPE_CHECKING:
    from smtpstate._message import Readable

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
    """The source that is being read, one at a time."""

    def __init__(self) -> None:
        self._source: Source | None = None
        self._pieces: Generator[bytes, None, None] | None = None

    def pull(self, source: Source) -> bytes:
        """Return the next piece, empty at the end.

        Raises:
            LocalProtocolError: the source is asynchronous, or yields something else than octets.
        """
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
    """The same for adapters that can wait for an asynchronous source."""

    def __init__(self) -> None:
        self._source: Source | None = None
        self._pieces: Generator[bytes, None, None] | None = None
        self._async_pieces: AsyncGenerator[bytes, None] | None = None

    async def pull(self, source: Source) -> bytes:
        """Return the next piece, empty at the end.

        Raises:
            LocalProtocolError: the source yields something else than octets.
        """
        if source is not self._source:
            await self.aclose()
            self._source = source
            content = source.message.opened()
            if isinstance(content, AsyncIterable):
                self._async_pieces = async_pieces(content)
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
