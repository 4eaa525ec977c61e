"""Wait for sockets under trio."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from ssl import SSLContext
from typing import final

import trio

from smtpstate._tls import TlsClient
from smtpstate_io import AddressInfo, AsyncWire, Wait


@final
class Wire(AsyncWire):
    """One connection at a time, for use in one run of trio.

    Args:
        context_for: gives the context for each ``Handshake``.
    """

    def __init__(self, context_for: Callable[[TlsClient], SSLContext]) -> None:
        super().__init__(context_for, trio.current_time)

    async def _until(self, ends: float, wait: Wait) -> None:
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

    async def _look_up(self, host: str, port: int, deadline: float) -> Iterable[AddressInfo] | None:
        # trio leaves a look-up that is given up to its thread, until the system's resolver answers.
        with trio.CancelScope(deadline=deadline):
            return await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return None

    async def _checkpoint(self) -> None:
        await trio.lowlevel.checkpoint()
