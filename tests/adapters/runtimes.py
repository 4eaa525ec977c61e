"""Every runtime that drives a dialogue, behind one face, and peers for them to talk to."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Generator
from contextlib import ExitStack, closing, contextmanager
from ssl import SSLContext
from types import FrameType
from typing import TYPE_CHECKING, TypeVar

import anyio
import anyio.lowlevel
import trio
import trio.testing
import uvloop

import smtpstate_anyio
import smtpstate_asyncio
import smtpstate_blocking
import smtpstate_trio
from smtpstate._auth import Credentials
from smtpstate._config import TargetConfig
from smtpstate._delivery import Delivery
from smtpstate._dialogue import Dialogue
from smtpstate._endpoints import Endpoint
from smtpstate._envelope import Envelope
from smtpstate._message import Message
from smtpstate._requests import Clock, Steps
from smtpstate._tls import TlsClient
from smtpstate._trace import Trace

if TYPE_CHECKING:
    from smtpstate._message import Readable
from smtpstate_io import Wait, context_for, drive

T = TypeVar("T")

#: What a test does, given the runtime's clock.
Begin = Callable[[Clock], Steps[T]]
#: The same, given also what to call right before the request that is to be cancelled.
BeginCancelled = Callable[[Clock, Callable[[], None]], Steps[None]]

#: What a test does, given what cancels it.
Cancellable = Callable[[Callable[[], object]], Awaitable[None]]

#: Seconds that a healthy test never needs.
LONG = 30.0


class Runtime(ABC):
    """One way to run an adapter."""

    name: str
    #: what comes out of a cancelled dialogue
    cancellation: type[BaseException]

    def drive(self, begin: Begin[T], contexts: Callable[[TlsClient], SSLContext] = context_for) -> T:
        """Drive the steps on a wire of their own, and close it."""
        return self.run(Dialogue(begin), contexts)

    @abstractmethod
    def run(self, dialogue: Dialogue[T], contexts: Callable[[TlsClient], SSLContext]) -> T: ...

    @abstractmethod
    def deliver(
        self,
        config: TargetConfig,
        envelope: Envelope,
        message: Message | Readable | Callable[[], Readable],
        *,
        credentials: Credentials | None = None,
        trace: Trace | None = None,
    ) -> Delivery:
        """Deliver by a target that lives as long as this."""

    @abstractmethod
    def waits(self, wait: Wait, seconds: float) -> float:
        """Wait for sockets, at most for so long, and return how long it took."""

    @abstractmethod
    def cancel(self, begin: BeginCancelled) -> BaseException | None:
        """Drive the steps, cancel them once they wait, and return what came out of the dialogue."""

    def __repr__(self) -> str:
        return self.name


class Blocking(Runtime):
    name = "blocking"
    cancellation = KeyboardInterrupt

    def run(self, dialogue: Dialogue[T], contexts: Callable[[TlsClient], SSLContext]) -> T:
        with closing(smtpstate_blocking.Wire(contexts)) as wire:
            return smtpstate_blocking.drive(dialogue, wire)

    def deliver(
        self,
        config: TargetConfig,
        envelope: Envelope,
        message: Message | Readable | Callable[[], Readable],
        *,
        credentials: Credentials | None = None,
        trace: Trace | None = None,
    ) -> Delivery:
        with smtpstate_blocking.Target(config, trace=trace) as target:
            return target.deliver(envelope, message, credentials=credentials)

    def waits(self, wait: Wait, seconds: float) -> float:
        begun = time.monotonic()
        smtpstate_blocking.Wire(context_for).until(wait, seconds)
        return time.monotonic() - begun

    def cancel(self, begin: BeginCancelled) -> BaseException | None:
        waits = threading.Event()
        over = False
        this = threading.get_ident()

        def interrupt() -> None:
            assert waits.wait(LONG)
            # A signal right before a system call does not interrupt it, and one between two
            # calls may hit anything: it is sent again and again, and only to who waits.
            while not over:
                if sys._current_frames()[this].f_code.co_name in ("until", "_look_up"):
                    signal.pthread_kill(this, signal.SIGUSR1)
                time.sleep(0.001)

        def interrupted(signum: int, frame: FrameType | None) -> None:
            nonlocal over
            if not over:
                over = True
                raise KeyboardInterrupt

        before = signal.signal(signal.SIGUSR1, interrupted)
        thread = threading.Thread(target=interrupt)
        thread.start()
        try:
            self.run(Dialogue(lambda clock: begin(clock, waits.set)), context_for)
        except BaseException as error:
            return error
        finally:
            over = True
            waits.set()
            thread.join()
            signal.signal(signal.SIGUSR1, before)
        return None


class Asynchronous(Runtime):
    """A runtime that is a framework's event loop."""

    wire: type[smtpstate_asyncio.Wire | smtpstate_trio.Wire | smtpstate_anyio.Wire]

    target: type[smtpstate_asyncio.Target | smtpstate_trio.Target | smtpstate_anyio.Target]

    def deliver(
        self,
        config: TargetConfig,
        envelope: Envelope,
        message: Message | Readable | Callable[[], Readable],
        *,
        credentials: Credentials | None = None,
        trace: Trace | None = None,
    ) -> Delivery:
        async def main() -> Delivery:
            async with self.target(config, trace=trace) as target:
                return await target.deliver(envelope, message, credentials=credentials)

        return self.loop(main)

    @abstractmethod
    def loop(self, main: Callable[[], Awaitable[T]]) -> T:
        """Run ``main`` to its end."""

    @abstractmethod
    async def sleep(self) -> None:
        """Wait until cancelled."""

    @abstractmethod
    async def turn(self) -> None:
        """Let everybody else have their turn."""

    @abstractmethod
    async def cancelled(self, main: Cancellable) -> BaseException | None:
        """Run ``main``, which is given what cancels it, and return what came out of it."""

    @abstractmethod
    def loop_beside(self, main: Callable[[], Awaitable[None]], turn: Callable[[], None]) -> None:
        """Do the same beside a task that calls ``turn`` each time it has its turn."""

    def waits(self, wait: Wait, seconds: float) -> float:
        async def main() -> float:
            with closing(self.wire(context_for)) as wire:
                begun = wire.clock()
                await wire._waiter.until(begun + seconds, wait)
                return wire.clock() - begun

        return self.loop(main)

    def run(self, dialogue: Dialogue[T], contexts: Callable[[TlsClient], SSLContext]) -> T:
        async def main() -> T:
            with closing(self.wire(contexts)) as wire:
                return await drive(dialogue, wire)

        return self.loop(main)


class Asyncio(Asynchronous):
    name = "asyncio"
    cancellation = asyncio.CancelledError
    wire = smtpstate_asyncio.Wire
    target = smtpstate_asyncio.Target

    def loop(self, main: Callable[[], Awaitable[T]]) -> T:
        async def coroutine() -> T:
            return await main()

        with asyncio.Runner(loop_factory=self.new_loop) as runner:
            return runner.run(coroutine())

    def new_loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.SelectorEventLoop()

    async def sleep(self) -> None:
        await asyncio.get_running_loop().create_future()

    async def turn(self) -> None:
        await asyncio.sleep(0.001)

    async def cancelled(self, main: Cancellable) -> BaseException | None:
        async def cancellable() -> None:
            await main(task.cancel)

        task = asyncio.create_task(cancellable())
        (result,) = await asyncio.gather(task, return_exceptions=True)
        return result

    def loop_beside(self, main: Callable[[], Awaitable[None]], turn: Callable[[], None]) -> None:
        async def beside() -> None:
            while True:
                turn()
                await asyncio.sleep(0)

        async def both() -> None:
            task = asyncio.create_task(beside())
            await main()
            task.cancel()

        self.loop(both)

    def cancel(self, begin: BeginCancelled) -> BaseException | None:
        async def main() -> BaseException | None:
            loop = asyncio.get_running_loop()

            async def dialogue() -> None:
                with closing(self.wire(context_for)) as wire:
                    await drive(Dialogue(lambda clock: begin(clock, waits)), wire)

            # The task goes on until it waits, before anything else gets its turn.
            def waits() -> None:
                loop.call_soon(task.cancel)

            task = asyncio.create_task(dialogue())
            (result,) = await asyncio.gather(task, return_exceptions=True)
            assert len(asyncio.all_tasks()) == 1
            return result

        return self.loop(main)


class Uvloop(Asyncio):
    name = "uvloop"

    def new_loop(self) -> asyncio.AbstractEventLoop:
        return uvloop.new_event_loop()


class Trio(Asynchronous):
    name = "trio"
    cancellation = trio.Cancelled
    wire = smtpstate_trio.Wire
    target = smtpstate_trio.Target

    def loop(self, main: Callable[[], Awaitable[T]]) -> T:
        return trio.run(main)

    async def sleep(self) -> None:
        await trio.sleep_forever()

    async def turn(self) -> None:
        await trio.sleep(0.001)

    async def cancelled(self, main: Cancellable) -> BaseException | None:
        result: BaseException | None = None
        with trio.CancelScope() as scope:
            try:
                await main(scope.cancel)
            except BaseException as error:
                result = error
                raise
        return result

    def loop_beside(self, main: Callable[[], Awaitable[None]], turn: Callable[[], None]) -> None:
        async def beside() -> None:
            while True:
                turn()
                await trio.lowlevel.checkpoint()

        async def both() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(beside)
                await main()
                nursery.cancel_scope.cancel()

        trio.run(both)

    def cancel(self, begin: BeginCancelled) -> BaseException | None:
        result: list[BaseException | None] = []

        async def main() -> None:
            async with trio.open_nursery() as nursery:

                async def when_all_wait() -> None:
                    await trio.testing.wait_all_tasks_blocked()
                    nursery.cancel_scope.cancel()

                def waits() -> None:
                    nursery.start_soon(when_all_wait)

                try:
                    with closing(self.wire(context_for)) as wire:
                        await drive(Dialogue(lambda clock: begin(clock, waits)), wire)
                except BaseException as error:
                    result.append(error)
                    raise
                result.append(None)

        trio.run(main)
        return result[0]


class Anyio(Asynchronous):
    wire = smtpstate_anyio.Wire
    target = smtpstate_anyio.Target

    def __init__(self, backend: str, cancellation: type[BaseException]) -> None:
        self.name = f"anyio-{backend}"
        self.backend = backend
        self.cancellation = cancellation

    def loop(self, main: Callable[[], Awaitable[T]]) -> T:
        return anyio.run(main, backend=self.backend)

    async def sleep(self) -> None:
        await anyio.sleep_forever()

    async def turn(self) -> None:
        await anyio.sleep(0.001)

    async def cancelled(self, main: Cancellable) -> BaseException | None:
        result: BaseException | None = None
        with anyio.CancelScope() as scope:
            try:
                await main(scope.cancel)
            except BaseException as error:
                result = error
                raise
        return result

    def loop_beside(self, main: Callable[[], Awaitable[None]], turn: Callable[[], None]) -> None:
        async def beside() -> None:
            while True:
                turn()
                await anyio.lowlevel.checkpoint()

        async def both() -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(beside)
                await main()
                group.cancel_scope.cancel()

        self.loop(both)

    def cancel(self, begin: BeginCancelled) -> BaseException | None:
        result: list[BaseException | None] = []

        async def main() -> None:
            async with anyio.create_task_group() as group:

                async def when_all_wait() -> None:
                    await anyio.wait_all_tasks_blocked()
                    group.cancel_scope.cancel()

                def waits() -> None:
                    group.start_soon(when_all_wait)

                try:
                    with closing(self.wire(context_for)) as wire:
                        await drive(Dialogue(lambda clock: begin(clock, waits)), wire)
                except BaseException as error:
                    result.append(error)
                    raise
                result.append(None)

        self.loop(main)
        return result[0]


BLOCKING = Blocking()
ASYNCHRONOUS: tuple[Asynchronous, ...] = (
    Asyncio(),
    Uvloop(),
    Trio(),
    Anyio("asyncio", asyncio.CancelledError),
    Anyio("trio", trio.Cancelled),
)
RUNTIMES: tuple[Runtime, ...] = (BLOCKING, *ASYNCHRONOUS)


@contextmanager
def serving(listener: socket.socket, serve: Callable[[socket.socket], object]) -> Generator[None, None, None]:
    """Serve each connection to ``listener``, one after the other; what fails there fails the test."""
    failures: list[BaseException] = []

    def accept() -> None:
        try:
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return  # that is how it ends
                with sock:
                    sock.settimeout(LONG)
                    if (
                        sock.family != socket.AF_UNIX
                    ):  # what is said right before a reset must be on its way by then
                        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    serve(sock)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()
    if failures:
        raise failures[0]


@contextmanager
def peer(
    serve: Callable[[socket.socket], object], host: str = "127.0.0.1", scheme: str = "tcp"
) -> Generator[Endpoint, None, None]:
    """Serve on a free port of the loopback interface, and yield where."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, 0), family=family)
    with serving(listener, serve):
        yield Endpoint(scheme, host, listener.getsockname()[1])


def echo(sock: socket.socket) -> None:
    """Send everything back until the end of the stream."""
    while data := sock.recv(65536):
        sock.sendall(data)


def swallow(sock: socket.socket) -> None:
    """Read until the end of the stream."""
    while sock.recv(65536):
        pass


@contextmanager
def full_backlog(host: str = "127.0.0.1") -> Generator[int, None, None]:
    """Yield a port whose listener answers nobody any more."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server((host, 0), backlog=0))
        for _ in range(4):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
