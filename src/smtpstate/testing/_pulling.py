"""Read the caller's message in memory, as an adapter would."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Generator, Iterable
from email.message import Message as MimeMessage
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from smtpstate._message import Source

_BLOCK = 65536


@runtime_checkable
class _File(Protocol):
    @abstractmethod
    def read(self, size: int, /) -> bytes:
        """Return at most ``size`` octets, none at the end."""


@runtime_checkable
class _Path(Protocol):
    @abstractmethod
    def __fspath__(self) -> str | bytes:
        """Return the path."""


def pulled(source: Source, read_path: Callable[[str | bytes], bytes] | None) -> Generator[bytes, None, None]:
    """Yield the octets of one reading, in chunks of 1 to 65536."""
    message = source.message.opened()
    if isinstance(message, _Path):
        assert read_path is not None, "a playground opens no files; give it read_path"
        message = read_path(message.__fspath__())
    if isinstance(message, _File):
        while chunk := message.read(_BLOCK):
            yield chunk
    else:
        assert not isinstance(message, MimeMessage), "message objects are pulled as octets"
        assert isinstance(message, Iterable), "a playground cannot wait for an asynchronous message"
        chunks = (message,) if isinstance(message, (bytes, bytearray, memoryview)) else message
        for each in chunks:
            octets = bytes(each)
            for start in range(0, len(octets), _BLOCK):
                yield octets[start : start + _BLOCK]
