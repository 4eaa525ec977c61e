"""Wait for sockets under asyncio, on any loop that can watch them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from ssl import SSLContext
from typing import final

from smtpstate._tls import TlsClient
from smtpstate_io import AddressInfo, AsyncWire, Wait


@final
class Wire(AsyncWire):
    """One connection at a time, for use in one event loop.

    Args:
        context_for: gives the context for each ``Handshake``.
    """

    def __init__(self, context_for: Callable[[TlsClient], SSLContext]) -> None:
        self._loop = asyncio.get_running_loop()
        self._watched: socket.socket | None = None
        self._reader: asyncio.Future[None] | None = None
        super().__init__(context_for, self._loop.time)

    def close(self) -> None:
        """Close the connection at once."""
        self._unwatch()
        super().close()

    async def _until(self, ends: float, wait: Wait) -> None:
        ready: asyncio.Future[None] = self._loop.create_future()
        timer = self._loop.call_at(ends, _wake, ready)
        try:
            if wait.to_write or len(wait.sockets) != 1:
                await self._any(wait, ready)
            else:
                # To begin to watch a socket and to end it costs more than to receive from it:
                # it is watched as long as somebody waits again before the next octets come.
                self._reader = ready
                self._watch(wait.sockets[0])
                await ready
        finally:
            self._reader = None
            timer.cancel()

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
        if self._watched is not sock:
            self._unwatch()
            self._watched = sock
            self._loop.add_reader(sock, self._readable)

    def _unwatch(self) -> None:
        if self._watched is not None:
            self._loop.remove_reader(self._watched)
            self._watched = None

    def _readable(self) -> None:
        self._channel.receive_early()
        if self._reader is None:
            self._unwatch()  # the rest stays with the system until somebody asks for it
        else:
            _wake(self._reader)

    async def _look_up(self, host: str, port: int, deadline: float) -> Iterable[AddressInfo] | None:
        # A look-up that is given up leaves a thread of the loop's executor behind until the system's
        # resolver answers; nothing can interrupt it.
        with suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                return await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return None

    async def _checkpoint(self) -> None:
        await asyncio.sleep(0)


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
