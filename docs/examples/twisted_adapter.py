"""Drive smtpstate from Twisted: its reactor waits, and smtpstate_io does what takes no time."""

import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.threads import deferToThreadPool

from smtpstate import DeadlinePassed, Dialogue, Pull
from smtpstate_io import AsyncWire, Wait, Waiter, context_for

T = TypeVar("T")


async def drive(dialogue: Dialogue[T], reactor: Any) -> T:
    """Perform all requests of ``dialogue``; whoever cancels this closes its connection at once."""
    wire = AsyncWire(context_for, lambda _: _ReactorWaiter(reactor))
    sources = wire.sources()
    try:
        for request in dialogue.requests(wire.clock):
            try:
                performing = sources.pull(request) if isinstance(request, Pull) else wire.perform(request)
                dialogue.answer(await performing)
            except CancelledError:  # the request has not failed: nobody wants its answer any more
                raise
            except Exception as error:
                dialogue.fail(error)
        return dialogue.result
    finally:
        wire.close()
        await sources.aclose()


class _ReactorWaiter(Waiter):
    def __init__(self, reactor: Any) -> None:
        super().__init__(time.monotonic)  # a reactor's seconds may go back with the system's clock
        self.reactor = reactor

    async def until(self, ends: float, wait: Wait) -> None:
        done: Deferred[None] = Deferred()
        watched = [_Watched(sock, done) for sock in wait.sockets]
        for each in watched:
            self.reactor.addWriter(each) if wait.to_write else self.reactor.addReader(each)
        try:
            with suppress(TimeoutError):
                await done.addTimeout(max(0.0, ends - self.clock()), self.reactor)
        finally:
            for each in watched:
                self.reactor.removeWriter(each) if wait.to_write else self.reactor.removeReader(each)

    async def within(self, deadline: float, doing: Awaitable[T]) -> T:
        async def wait() -> T:
            return await doing

        seconds = max(0.0, deadline - self.clock())
        try:
            return await Deferred.fromCoroutine(wait()).addTimeout(seconds, self.reactor)
        except TimeoutError:
            raise DeadlinePassed("the deadline passed") from None

    def look_up(self, host: str, port: int) -> Deferred[Any]:
        pool = self.reactor.getThreadPool()
        return deferToThreadPool(self.reactor, pool, socket.getaddrinfo, host, port, 0, socket.SOCK_STREAM)

    async def checkpoint(self) -> None:
        await self.until(self.clock(), Wait(()))

    def forget(self) -> None: ...  # nothing is watched while nobody waits


class _Watched:  # a socket as reactors see it: IReadDescriptor, IWriteDescriptor
    def __init__(self, sock: socket.socket, done: Deferred[None]) -> None:
        self.fileno, self.logPrefix = sock.fileno, lambda: "smtpstate"
        self.doRead = self.doWrite = lambda: done.callback(None)
        self.connectionLost: Callable[[object], None] = lambda reason: done.callback(None)
