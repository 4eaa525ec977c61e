"""What an adapter waits for: sockets that become ready, or a moment that passes."""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Iterable
from dataclasses import dataclass
from math import inf
from types import TracebackType
from typing import Protocol, TypeVar, final

from smtpstate._errors import DeadlinePassed
from smtpstate._requests import Clock
from smtpstate_io._addresses import AddressInfo

T = TypeVar("T")


@final
@dataclass(frozen=True, slots=True)
class Wait:
    """Wait until one of ``sockets`` is ready, or until ``seconds`` have passed.

    Waking up too early is harmless: whoever yielded this looks again.
    """

    sockets: tuple[socket.socket, ...]  #: never closed while they are waited for
    to_write: bool = False  #: ready means writable instead of readable
    seconds: float | None = None  #: None waits for the sockets alone


class Waiter(ABC):
    """Waits for one connection, as an asynchronous framework does it.

    Args:
        clock: the framework's own; deadlines are read on it.
    """

    #: what means, out of a caller's hook, that the network failed
    failures: tuple[type[Exception], ...] = (OSError, EOFError)

    def __init__(self, clock: Clock) -> None:
        self.clock: Clock = clock

    @abstractmethod
    async def until(self, ends: float, wait: Wait) -> None:
        """Return at ``ends``, or as soon as one of the sockets is ready; too early does no harm."""

    @abstractmethod
    async def within(self, deadline: float, doing: Awaitable[T]) -> T:
        """Return what ``doing`` gives, and cancel it at ``deadline``.

        Raises:
            DeadlinePassed: it was not done by then.
        """

    async def bounded(
        self, pieces: AsyncGenerator[bytes, None], deadline: float
    ) -> AsyncGenerator[bytes, None]:
        """Yield what ``pieces`` yields, and cancel it at ``deadline``.

        Raises:
            DeadlinePassed: it was not at its end by then.
        """
        try:
            while True:
                piece = await self.within(deadline, anext(pieces, b""))
                # A source may hide that it was cancelled: then its end is not the message's.
                if self.clock() >= deadline:
                    raise DeadlinePassed("the deadline passed")
                if not piece:
                    return
                yield piece
        finally:
            await pieces.aclose()

    @abstractmethod
    def look_up(self, host: str, port: int) -> Awaitable[Iterable[AddressInfo]]:
        """Return what ``getaddrinfo`` finds for stream sockets."""

    @abstractmethod
    async def checkpoint(self) -> None:
        """Let other tasks have their turn."""

    async def socket_of(self, made: object) -> tuple[object, bytes]:
        """Take the socket out of a connected stream of the framework's own.

        Returns:
            the socket, or whatever else ``made`` is, and the octets that the
            stream has received already.
        """
        return made, b""

    @abstractmethod
    def forget(self) -> None:
        """Watch the connection no longer: it is about to be closed."""


class Scope(Protocol):
    """What trio and anyio cancel by."""

    @property
    def deadline(self) -> float:
        """When to cancel, on the framework's clock."""
        ...

    @deadline.setter
    def deadline(self, deadline: float, /) -> None: ...

    @property
    def cancel_called(self) -> bool:
        """Whether that has happened."""
        ...

    def __enter__(self) -> object: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> bool | None: ...


async def bounded_by(
    scope: Scope, pieces: AsyncGenerator[bytes, None], deadline: float
) -> AsyncGenerator[bytes, None]:
    """Do what ``Waiter.bounded`` does where scopes must be left in the reverse order.

    A source may keep scopes and nurseries of its own open from one piece to the next,
    so that ours is open for as long, and has no deadline while nobody waits for a piece.
    """
    with scope:
        try:
            while True:
                scope.deadline = deadline
                piece = await anext(pieces, b"")
                if scope.cancel_called:
                    break
                scope.deadline = inf
                if not piece:
                    return
                yield piece
        finally:
            await pieces.aclose()
    raise DeadlinePassed("the deadline passed")
