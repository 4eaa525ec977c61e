"""Wait for sockets under anyio, whose back ends do that themselves: several times as fast as through it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from ssl import SSLContext
from typing import TypeVar, final

import anyio
from anyio.abc import SocketAttribute, SocketStream

from smtpstate._endpoints import Endpoint
from smtpstate._errors import DeadlinePassed
from smtpstate._tls import TlsClient
from smtpstate_asyncio._wire import AsyncioWaiter
from smtpstate_io import AsyncWire, Waiter, bounded_by, duplicate, had_at_once

T = TypeVar("T")

#: What the network does to a hook that uses anyio.
FAILURES: tuple[type[Exception], ...] = (
    OSError,
    EOFError,
    anyio.BrokenResourceError,
    anyio.EndOfStream,
    anyio.IncompleteRead,
)


@final
class AnyioWaiter(AsyncioWaiter):
    """Waits on the back end asyncio, where a task may always wait for a future of its loop.

    Args:
        arrived: called when octets have arrived.
    """

    failures: tuple[type[Exception], ...] = FAILURES

    async def within(self, deadline: float, doing: Awaitable[T]) -> T:
        """Return what ``doing`` gives, and cancel it at ``deadline``."""
        with anyio.CancelScope(deadline=deadline):
            return await doing
        raise DeadlinePassed("the deadline passed")

    def bounded(self, pieces: AsyncGenerator[bytes, None], deadline: float) -> AsyncGenerator[bytes, None]:
        """Yield what ``pieces`` yields, and cancel it at ``deadline``."""
        return bounded_by(anyio.CancelScope(), pieces, deadline)

    async def socket_of(self, made: object) -> tuple[object, bytes]:
        """Take the socket out of a stream of anyio's, or out of asyncio's own, and what it holds."""
        sock, octets = await socket_of(made, holds_octets=True)
        return (sock, octets) if sock is not made else await super().socket_of(made)


@final
class Wire(AsyncWire):
    """One connection at a time, for use in one event loop.

    Args:
        context_for: gives the context for each ``Handshake``.
        connect: connects in the caller's own way: given an endpoint it returns a
            connected socket or ``anyio.abc.SocketStream``, or an awaitable of one.
    """

    def __init__(
        self,
        context_for: Callable[[TlsClient], SSLContext],
        *,
        connect: Callable[[Endpoint], object] | None = None,
    ) -> None:
        super().__init__(context_for, _waiter, connect)


async def socket_of(made: object, *, holds_octets: bool) -> tuple[object, bytes]:
    """Take the socket out of a stream of anyio's.

    Args:
        made: what a hook has made.
        holds_octets: streams of this back end may have received more than they
            were asked for.

    Returns:
        the socket, or whatever else ``made`` is, and the octets that the
        stream has received already.
    """
    if not isinstance(made, SocketStream):
        return made, b""
    octets = b""
    try:
        sock = duplicate(made.extra(SocketAttribute.raw_socket))
        try:
            while holds_octets and (more := _had(made)):
                octets += more
            await anyio.aclose_forcefully(made)  # our duplicate of its socket stays connected
        except BaseException:
            sock.close()
            raise
    except BaseException:
        with anyio.CancelScope(shield=True):
            await anyio.aclose_forcefully(made)
        raise
    return sock, octets


def _had(stream: SocketStream) -> bytes:
    async def receive() -> bytes:
        try:
            return await stream.receive()
        except anyio.EndOfStream:
            return b""

    return had_at_once(receive())


def current_home() -> object:
    """Return the event loop of asyncio, or what is another one in each run of trio."""
    if _on_asyncio():
        return asyncio.get_running_loop()
    from smtpstate_anyio._on_trio import current_root_task  # trio need not be installed otherwise

    return current_root_task()


def _on_asyncio() -> bool:
    return issubclass(anyio.get_cancelled_exc_class(), asyncio.CancelledError)


def _waiter(arrived: Callable[[], None]) -> Waiter:
    if _on_asyncio():
        return AnyioWaiter(arrived)
    from smtpstate_anyio._on_trio import AnyioTrioWaiter  # trio need not be installed otherwise

    return AnyioTrioWaiter(arrived)
