"""Targets of all runtimes behind one asynchronous face; with blocking sockets nothing ever waits in it."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

import anyio
import pytest

import smtpstate_blocking
import smtpstate_blocking._many
import smtpstate_blocking._transactions
from adapters.runtimes import Asynchronous, Runtime
from smtpstate import Credentials, Delivery, Envelope, Message, Recipient, Reply, Status, TargetConfig, Trace
from smtpstate.testing import ModelServer
from smtpstate_io import AsyncTarget

if TYPE_CHECKING:
    from smtpstate._message import Readable
    from smtpstate_io._backlog import Item

T = TypeVar("T")

MESSAGE = b"Subject: x\r\n\r\nhello\r\n"

#: What a server offers, from what takes most turns to what takes fewest.
OFFERS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "data": ("PIPELINING",),
    "bdat": ("PIPELINING", "CHUNKING"),
}


def run(runtime: Runtime, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run ``main`` to its end."""
    if isinstance(runtime, Asynchronous):
        return runtime.loop(main)
    try:
        main().send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise AssertionError("nothing waits with blocking sockets")


def target_of(runtime: Runtime, config: TargetConfig, *, trace: Trace | None = None) -> AsyncTarget | Target:
    """Return a target of a runtime's."""
    if isinstance(runtime, Asynchronous):
        return runtime.target(config, trace=trace)
    return Target(config, trace=trace)


def config_for(*endpoints: str, **more: Any) -> TargetConfig:
    """Return settings for tests."""
    return TargetConfig(targets=endpoints, hostname="c.example", **more)


def numbered(n: int) -> Envelope:
    """Return an envelope that no other is like."""
    return Envelope("a@x.example", [f"r{n}@y.example"])


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what happens beside us."""
    for _ in range(3000):
        if condition():
            return
        await anyio.sleep(0.005)
    raise AssertionError("it never came")


class Deliveries:
    """The deliveries of many, with blocking sockets."""

    def __init__(self, inner: smtpstate_blocking._many.Deliveries) -> None:
        self.inner = inner
        self._backlog = inner._backlog

    async def __aenter__(self) -> Self:
        self.inner.__enter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.inner.__exit__(kind, error, trace)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delivery:
        try:
            return next(self.inner)
        except StopIteration:
            raise StopAsyncIteration from None


class Steps:
    """A transaction, with blocking sockets."""

    def __init__(self, inner: smtpstate_blocking._transactions.Transaction) -> None:
        self.inner = inner
        self.delivery = inner.delivery
        self.reply = inner.reply

    async def recipient(self, recipient: str | Recipient) -> Reply:
        return self.inner.recipient(recipient)

    async def content(
        self,
        message: Message | Readable | Callable[[], Readable],
        *,
        progress: Callable[[int, int | None], object] | None = None,
    ) -> Delivery:
        return self.inner.content(message, progress=progress)


class Target:
    """A target, with blocking sockets."""

    def __init__(self, config: TargetConfig, *, trace: Trace | None = None) -> None:
        self.inner = smtpstate_blocking.Target(config, trace=trace)
        self._pool = self.inner._pool

    async def __aenter__(self) -> Self:
        self.inner.__enter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.inner.__exit__(kind, error, trace)

    async def deliver(
        self,
        envelope: Envelope,
        message: Message | Readable | Callable[[], Readable],
        *,
        credentials: Credentials | None = None,
    ) -> Delivery:
        return self.inner.deliver(envelope, message, credentials=credentials)

    def deliver_many(self, deliveries: Iterable[Item], *, ahead: int = 32) -> Deliveries:
        return Deliveries(self.inner.deliver_many(deliveries, ahead=ahead))

    @asynccontextmanager
    async def transaction(
        self,
        envelope: Envelope,
        *,
        credentials: Credentials | None = None,
        size: int | None = None,
        eight_bit: bool | Literal["refuse", "send"] = "refuse",
        utf8: bool | None = None,
        binary: bool = False,
    ) -> AsyncGenerator[Steps, None]:
        with self.inner.transaction(
            envelope, credentials=credentials, size=size, eight_bit=eight_bit, utf8=utf8, binary=binary
        ) as transaction:
            yield Steps(transaction)

    async def authenticate(self, credentials: Credentials) -> Reply:
        return self.inner.authenticate(credentials)


# Many deliveries.

D, F, R, U = Status.DELIVERED, Status.DEFERRED, Status.REJECTED, Status.UNCERTAIN
OFFERED = pytest.mark.parametrize("offers", OFFERS)

#: Seconds to wait for a final reply that never comes; no test waits for so long unless it fails.
PATIENCE = 20.0


def mails(number: int) -> list[Delivery]:
    """Return deliveries, each to a recipient of its own."""
    return [Delivery(numbered(n), MESSAGE) for n in range(number)]


def endless() -> Iterator[tuple[Envelope, bytes]]:
    """Give the same without end."""
    for n in itertools.count():
        yield numbered(n), MESSAGE


def failing(number: int, error: Exception) -> Iterator[tuple[Envelope, bytes]]:
    """Give some, and fail."""
    yield from itertools.islice(endless(), number)
    raise error


def statuses(deliveries: list[Delivery]) -> list[Status]:
    """Return what became of each recipient."""
    return [outcome.status for delivery in deliveries for outcome in delivery.outcomes]


def names(deliveries: list[Delivery]) -> list[str]:
    """Return each recipient."""
    return [outcome.recipient for delivery in deliveries for outcome in delivery.outcomes]


def taken(*servers: ModelServer) -> list[str]:
    """Return every recipient for whom a server has a message, once for each message."""
    return [name for server in servers for stored in server.messages for name in stored.recipients]


def senders(server: ModelServer) -> list[str]:
    """Return from whom a server has messages."""
    return [stored.sender for stored in server.messages]


async def keep(results: AsyncIterable[Delivery], done: list[Delivery]) -> None:
    """Keep each as it comes."""
    async for delivery in results:
        done += [delivery]


class Stop(BaseException):
    """Whatever is no error, but ends a program."""
