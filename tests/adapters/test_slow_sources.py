"""An asynchronous message is waited for until its deadline, and cancelled then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest

from adapters.directives import ENVELOPE, D, F, config_of, only_outcome, statuses
from adapters.runtimes import LONG, Asynchronous
from smtpstate import DeadlinePassed, Delivery, Message
from smtpstate._message import Source
from smtpstate._requests import Clock, Pull, Steps
from smtpstate.testing import ModelServer
from smtpstate_testing import serve

if TYPE_CHECKING:
    from smtpstate._message import Readable

pytestmark = pytest.mark.usefixtures("nothing_left")

#: Seconds: long enough for what does not have to wait.
SHORT = 0.5
SETTINGS = "transaction_timeout 500ms"

HEAD = b"Subject: slow\r\n\r\n"
BLOCK = b"0123456789abcde\r\n" * 8000


class Hanging:
    """Yields its chunks, then nothing, and notes how it ended."""

    def __init__(self, asynchronous: Asynchronous, *chunks: bytes) -> None:
        self.asynchronous = asynchronous
        self.chunks = chunks
        self.ended_with: type[BaseException] | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            for chunk in self.chunks:
                yield chunk
            await self.asynchronous.sleep()
        except BaseException as error:
            self.ended_with = type(error)
            raise


def pull_all(message: Readable | Callable[[], Readable], seconds: float) -> Callable[[Clock], Steps[bytes]]:
    def steps(clock: Clock) -> Steps[bytes]:
        source, deadline, octets = Source(Message(message)), clock() + seconds, b""
        while piece := (yield from Pull(source, deadline)):
            octets += piece
        return octets

    return steps


@pytest.mark.parametrize("chunks", [(), (HEAD,), (HEAD, BLOCK)], ids=len)
def test_a_source_that_hangs_is_cancelled_at_its_deadline(
    asynchronous: Asynchronous, chunks: tuple[bytes, ...]
) -> None:
    hanging = Hanging(asynchronous, *chunks)
    with pytest.raises(DeadlinePassed):
        asynchronous.drive(pull_all(hanging, SHORT))
    assert hanging.ended_with is asynchronous.cancellation


def test_a_source_that_hides_its_cancellation_has_not_ended_the_message(asynchronous: Asynchronous) -> None:
    async def graceful() -> AsyncIterator[bytes]:
        yield HEAD
        with suppress(asynchronous.cancellation):
            await asynchronous.sleep()

    with pytest.raises(DeadlinePassed):
        asynchronous.drive(pull_all(graceful(), SHORT))

    server = ModelServer()
    with serve(server) as served:
        delivery = asynchronous.deliver(config_of(served.endpoint, SETTINGS), ENVELOPE, Message(graceful))
    assert statuses(delivery) == [F, F]
    assert server.messages == []


def test_a_source_that_never_waits_is_stopped_at_its_deadline_too(asynchronous: Asynchronous) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x"

    def steps(clock: Clock) -> Steps[None]:
        source, deadline = Source(Message(endless())), clock() + 0.02
        while True:
            yield from Pull(source, deadline)

    with pytest.raises(DeadlinePassed):
        asynchronous.drive(steps)


def test_a_deadline_that_has_passed_opens_no_source(asynchronous: Asynchronous) -> None:
    def opened() -> bytes:
        raise AssertionError("it was opened")

    with pytest.raises(DeadlinePassed):
        asynchronous.drive(pull_all(opened, 0))


async def in_a_task_group(ended: list[str]) -> AsyncIterator[bytes]:
    """Keep a scope, and a task in it, from each piece to the next."""
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep, 0)
        try:
            for _ in range(3):
                with anyio.CancelScope():
                    yield HEAD
                    await anyio.lowlevel.checkpoint()
                    yield HEAD
        finally:
            ended.append("left")
            group.cancel_scope.cancel()


def test_a_source_may_keep_scopes_of_its_own_open_between_its_pieces(asynchronous: Asynchronous) -> None:
    ended: list[str] = []
    assert asynchronous.drive(pull_all(in_a_task_group(ended), LONG)) == HEAD * 6
    assert ended == ["left"]


def test_a_source_that_is_left_in_the_middle_leaves_its_scopes_in_order(asynchronous: Asynchronous) -> None:
    left: list[type[BaseException]] = []

    async def in_a_scope() -> AsyncIterator[bytes]:
        with anyio.CancelScope():
            try:
                yield HEAD
            except BaseException as error:
                left.append(type(error))
                raise

    def steps(clock: Clock) -> Steps[bytes]:
        return (yield from Pull(Source(Message(in_a_scope())), clock() + LONG))

    assert asynchronous.drive(steps) == HEAD
    assert left == [GeneratorExit]


def test_the_deadline_of_a_source_ends_nothing_while_nobody_waits_for_a_piece(
    asynchronous: Asynchronous,
) -> None:
    turns = 0

    async def main() -> Delivery:
        nonlocal turns
        async with asynchronous.target(config_of(served.endpoint)) as target:
            wire = target._wire()
            sources = wire.sources()
            request = Pull(Source(Message(Hanging(asynchronous, HEAD))), wire.clock() + 0.02)
            assert await sources.pull(request) == HEAD
            assert request.deadline is not None
            while wire.clock() < request.deadline + 0.02:
                turns += 1
                await asynchronous.turn()
            delivery = await target.deliver(ENVELOPE, HEAD)
            with pytest.raises(DeadlinePassed):
                await sources.pull(request)
            await sources.aclose()
            wire.close()
        return delivery

    with serve(ModelServer()) as served:
        assert statuses(asynchronous.loop(main)) == [D, D]
    assert turns


@pytest.mark.parametrize(
    "chunks", [(), (HEAD,), (HEAD, BLOCK, BLOCK)], ids=["at once", "before mail", "in the middle"]
)
@pytest.mark.parametrize("extensions", [(), ("PIPELINING", "CHUNKING", "BINARYMIME")], ids=["DATA", "BDAT"])
def test_transaction_timeout_ends_a_delivery_whose_source_hangs(
    asynchronous: Asynchronous, chunks: tuple[bytes, ...], extensions: tuple[str, ...]
) -> None:
    hanging = Hanging(asynchronous, *chunks)
    message = Message(hanging, line_ends="binary" if extensions else "crlf")
    server = ModelServer(extensions=extensions)
    with serve(server) as served:
        delivery = asynchronous.deliver(config_of(served.endpoint, SETTINGS), ENVELOPE, message)
    outcome = only_outcome(delivery)
    assert (outcome.status, str(outcome.reply.enhanced)) == (F, "4.4.2")
    assert isinstance(outcome.error, DeadlinePassed)
    assert hanging.ended_with is asynchronous.cancellation
    assert server.messages == []
    assert server.commands[-1:] != ["QUIT"]


def test_a_source_that_hangs_ends_neither_the_queue_nor_the_target(asynchronous: Asynchronous) -> None:
    hanging = Hanging(asynchronous, HEAD)
    handed = [Delivery(ENVELOPE, message) for message in (HEAD, hanging, HEAD)]

    async def main() -> list[Delivery]:
        config = config_of(served.endpoint, f"max_connections 1\n{SETTINGS}")
        async with asynchronous.target(config) as target:
            async with target.deliver_many(handed) as results:
                given = [delivery async for delivery in results]
            return [*given, await target.deliver(ENVELOPE, HEAD)]

    with serve(ModelServer(extensions=("PIPELINING", "CHUNKING"))) as served:
        first, second, third, after = asynchronous.loop(main)
    assert [statuses(each) for each in (first, second, third, after)] == [[D, D], [F, F], [D, D], [D, D]]
    assert hanging.ended_with is asynchronous.cancellation


def test_a_caller_who_cancels_is_not_told_of_a_deadline(asynchronous: Asynchronous) -> None:
    hanging = Hanging(asynchronous, HEAD)

    async def main(cancel: Callable[[], object]) -> None:
        config = config_of(served.endpoint, "transaction_timeout 5m")
        async with asynchronous.target(config) as target:

            async def source() -> AsyncIterator[bytes]:
                async for chunk in hanging:
                    yield chunk
                    cancel()

            await target.deliver(ENVELOPE, source())

    with serve(ModelServer()) as served:
        came = asynchronous.loop(lambda: asynchronous.cancelled(main))
    assert isinstance(came, asynchronous.cancellation)
    assert not isinstance(came, asyncio.TimeoutError)
