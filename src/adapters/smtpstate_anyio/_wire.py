"""Wait for sockets under anyio, on either back end."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from ssl import SSLContext
from typing import final

import anyio
import anyio.lowlevel

from smtpstate._tls import TlsClient
from smtpstate_io import AddressInfo, AsyncWire, Wait


@final
class Wire(AsyncWire):
    """One connection at a time, for use in one event loop.

    Args:
        context_for: gives the context for each ``Handshake``.
    """

    def __init__(self, context_for: Callable[[TlsClient], SSLContext]) -> None:
        super().__init__(context_for, anyio.current_time)

    async def _until(self, ends: float, wait: Wait) -> None:
        ready = anyio.wait_writable if wait.to_write else anyio.wait_readable
        with anyio.CancelScope(deadline=ends) as scope:
            if len(wait.sockets) == 1:
                await ready(wait.sockets[0])
                return

            async def first(sock: socket.socket) -> None:
                await ready(sock)
                scope.cancel()

            async with anyio.create_task_group() as group:
                group.start_soon(anyio.sleep_until, ends)
                for sock in wait.sockets:
                    group.start_soon(first, sock)

    async def _look_up(self, host: str, port: int, deadline: float) -> Iterable[AddressInfo] | None:
        # A look-up that is given up leaves a thread behind until the system's resolver answers.
        with anyio.CancelScope(deadline=deadline):
            return await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return None

    async def _checkpoint(self) -> None:
        await anyio.lowlevel.checkpoint()
