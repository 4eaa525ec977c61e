"""Wait for sockets under asyncio, on any loop that can watch them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from ssl import SSLContext
from typing import TypeVar, final

from smtpstate._endpoints import Endpoint
from smtpstate._errors import DeadlinePassed, LocalProtocolError
from smtpstate._tls import TlsClient
from smtpstate_io import AddressInfo, AsyncWire, Wait, Waiter, duplicate, had_at_once

T = TypeVar("T")


class AsyncioWaiter(Waiter):
    """Waits within one event loop.

    To begin to watch a socket and to end it costs more than to receive from it,
    and so does a timer: a socket is watched as long as somebody waits again
    before the next octets come, and one timer goes from wait to wait.

    Args:
        arrived: called when octets have arrived.
    """

    def __init__(self, arrived: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._arrived = arrived
        self._watched: socket.socket | None = None
        self._ready: asyncio.Future[None] | None = None  # what somebody waits for
        self._reader: asyncio.Future[None] | None = None  # the same, if it is for octets
        self._ends = 0.0
        self._timer: asyncio.TimerHandle | None = None  # it rings at the end of the wait, or before
        self._rings = 0.0  # when; a loop may round what it is told
        super().__init__(self._loop.time)

    async def until(self, ends: float, wait: Wait) -> None:
        """Return at ``ends``, or as soon as one of the sockets is ready."""
        ready = self._ready = self._loop.create_future()
        self._ends = ends
        if self._timer is None or self._rings > ends:
            self._set_timer()
        try:
            if wait.to_write or len(wait.sockets) != 1:
                await self._any(wait, ready)
            else:
                self._reader = ready
                if self._watched is not wait.sockets[0]:
                    self._watch(wait.sockets[0])
                await ready
        finally:
            self._ready = self._reader = None

    async def within(self, deadline: float, doing: Awaitable[T]) -> T:
        """Return what ``doing`` gives, and cancel it at ``deadline``."""
        return await _within(asyncio.timeout_at(deadline), doing)

    async def bounded(
        self, pieces: AsyncGenerator[bytes, None], deadline: float
    ) -> AsyncGenerator[bytes, None]:
        """Yield what ``pieces`` yields, and cancel it at ``deadline``."""
        try:
            while True:
                timer = asyncio.timeout_at(deadline)
                piece = await _within(timer, anext(pieces, b""))
                # A source may hide that it was cancelled: then its end is not the message's.
                if timer.expired():
                    raise DeadlinePassed("the deadline passed")
                if not piece:
                    return
                yield piece
        finally:
            await pieces.aclose()

    def look_up(self, host: str, port: int) -> Awaitable[Iterable[AddressInfo]]:
        """Return what ``getaddrinfo`` finds for stream sockets."""
        return self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)

    async def checkpoint(self) -> None:
        """Let other tasks have their turn."""
        await asyncio.sleep(0)

    async def socket_of(self, made: object) -> tuple[object, bytes]:
        """Take the socket out of a reader and its writer, and what the reader holds."""
        match made:
            case (asyncio.StreamReader() as reader, asyncio.StreamWriter() as writer):
                try:
                    return _taken_apart(reader, writer)
                finally:
                    writer.transport.abort()  # our duplicate of its socket stays connected
            case _:
                return made, b""

    def forget(self) -> None:
        """Watch the connection no longer."""
        self._unwatch()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings = self._ends
        self._timer = self._loop.call_at(self._ends, self._ring)

    def _ring(self) -> None:
        self._timer = None
        if self._ready is None:
            return
        if self._loop.time() < self._ends:  # it was set for a wait before
            self._set_timer()
        else:
            _wake(self._ready)

    async def _any(self, wait: Wait, ready: asyncio.Future[None]) -> None:
        watch = self._loop.add_writer if wait.to_write else self._loop.add_reader
        unwatch = self._loop.remove_writer if wait.to_write else self._loop.remove_reader
        for sock in wait.sockets:
            watch(sock, _wake, ready)
        try:
            await ready
        finally:
            for sock in wait.sockets:
                unwatch(sock)

    def _watch(self, sock: socket.socket) -> None:
        self._unwatch()
        self._watched = sock
        self._loop.add_reader(sock, self._readable)

    def _unwatch(self) -> None:
        if self._watched is not None:
            self._loop.remove_reader(self._watched)
            self._watched = None

    def _readable(self) -> None:
        self._arrived()
        if self._reader is None:
            self._unwatch()  # the rest stays with the system until somebody asks for it
        else:
            _wake(self._reader)


@final
class Wire(AsyncWire):
    """One connection at a time, for use in one event loop.

    Args:
        context_for: gives the context for each ``Handshake``.
        connect: connects in the caller's own way: given an endpoint it returns a
            connected socket, or the reader and the writer of streams, or an
            awaitable of these.
    """

    def __init__(
        self,
        context_for: Callable[[TlsClient], SSLContext],
        *,
        connect: Callable[[Endpoint], object] | None = None,
    ) -> None:
        super().__init__(context_for, AsyncioWaiter, connect)


async def _within(timer: asyncio.Timeout, doing: Awaitable[T]) -> T:
    try:
        async with timer:
            return await doing
    except TimeoutError as error:
        if timer.expired():
            raise DeadlinePassed("the deadline passed") from error
        raise


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def _taken_apart(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[socket.socket, bytes]:
    if writer.get_extra_info("sslcontext") is not None:
        raise LocalProtocolError("connect= must give streams without TLS: that is begun here")
    if writer.transport.get_write_buffer_size():
        raise LocalProtocolError("connect= must give streams that have sent all that was written: drain them")
    sock = duplicate(writer.get_extra_info("socket"))
    try:
        octets = b""
        while more := had_at_once(reader.read(65536)):
            octets += more
    except BaseException:
        sock.close()
        raise
    return sock, octets
