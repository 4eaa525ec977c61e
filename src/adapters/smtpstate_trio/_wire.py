"""Wait for sockets under trio."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from ssl import SSLContext
from typing import TypeVar, final

import trio

from smtpstate._endpoints import Endpoint
from smtpstate._errors import DeadlinePassed
from smtpstate._tls import TlsClient
from smtpstate_io import AddressInfo, AsyncWire, Wait, Waiter, bounded_by, duplicate

T = TypeVar("T")


class TrioWaiter(Waiter):
    """Waits within one run of trio.

    Args:
        arrived: not needed here: nothing is watched while nobody waits.
    """

    failures: tuple[type[Exception], ...] = (OSError, EOFError, trio.BrokenResourceError)

    def __init__(self, arrived: Callable[[], None]) -> None:
        super().__init__(trio.lowlevel.current_clock().current_time)  # several times as fast as asking trio

    async def until(self, ends: float, wait: Wait) -> None:
        """Return at ``ends``, or as soon as one of the sockets is ready."""
        ready = trio.lowlevel.wait_writable if wait.to_write else trio.lowlevel.wait_readable
        with trio.CancelScope(deadline=ends) as scope:
            if len(wait.sockets) == 1:
                await ready(wait.sockets[0])
                return

            async def first(sock: socket.socket) -> None:
                await ready(sock)
                scope.cancel()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_until, ends)
                for sock in wait.sockets:
                    nursery.start_soon(first, sock)

    async def within(self, deadline: float, doing: Awaitable[T]) -> T:
        """Return what ``doing`` gives, and cancel it at ``deadline``."""
        with trio.CancelScope(deadline=deadline):
            return await doing
        raise DeadlinePassed("the deadline passed")

    def bounded(self, pieces: AsyncGenerator[bytes, None], deadline: float) -> AsyncGenerator[bytes, None]:
        """Yield what ``pieces`` yields, and cancel it at ``deadline``."""
        return bounded_by(trio.CancelScope(), pieces, deadline)

    def look_up(self, host: str, port: int) -> Awaitable[Iterable[AddressInfo]]:
        """Return what ``getaddrinfo`` finds for stream sockets."""
        return trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)

    async def checkpoint(self) -> None:
        """Let other tasks have their turn."""
        await trio.lowlevel.checkpoint()

    async def socket_of(self, made: object) -> tuple[object, bytes]:
        """Take the socket out of a stream, which never receives more than it is asked for."""
        if not isinstance(made, trio.SocketStream):
            return made, b""
        try:
            return duplicate(made.socket), b""
        finally:
            made.socket.close()

    def forget(self) -> None:
        """Do nothing: nothing is watched while nobody waits."""


@final
class Wire(AsyncWire):
    """One connection at a time, for use in one run of trio.

    Args:
        context_for: gives the context for each ``Handshake``.
        connect: connects in the caller's own way: given an endpoint it returns a
            connected socket or ``trio.SocketStream``, or an awaitable of one.
    """

    def __init__(
        self,
        context_for: Callable[[TlsClient], SSLContext],
        *,
        connect: Callable[[Endpoint], object] | None = None,
    ) -> None:
        super().__init__(context_for, TrioWaiter, connect)
