"""Wait for sockets under anyio on trio."""

from __future__ import annotations

from typing import final

import trio

from smtpstate_anyio._wire import FAILURES, socket_of
from smtpstate_trio._wire import TrioWaiter


@final
class AnyioTrioWaiter(TrioWaiter):
    """Waits on the back end trio, whose scopes are those of anyio.

    Args:
        arrived: not needed here.
    """

    failures: tuple[type[Exception], ...] = (*FAILURES, trio.BrokenResourceError)

    async def socket_of(self, made: object) -> tuple[object, bytes]:
        """Take the socket out of a stream of anyio's, or of trio's own."""
        sock, octets = await socket_of(made, holds_octets=False)
        return (sock, octets) if sock is not made else await super().socket_of(made)


def current_root_task() -> object:
    """Return the first task of this run of trio."""
    return trio.lowlevel.current_root_task()
