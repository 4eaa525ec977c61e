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
        super().__init__(context_for, self._loop.time)

    async def _until(self, ends: float, wait: Wait) -> None:
        loop = self._loop
        ready: asyncio.Future[None] = loop.create_future()
        timer = loop.call_at(ends, _wake, ready)
        watch = loop.add_writer if wait.to_write else loop.add_reader
        unwatch = loop.remove_writer if wait.to_write else loop.remove_reader
        for sock in wait.sockets:
            watch(sock, _wake, ready)
        try:
            await ready
        finally:
            timer.cancel()
            for sock in wait.sockets:
                unwatch(sock)

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
