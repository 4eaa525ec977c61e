"""Leaving a queue of deliveries before its end, in whatever way: what was begun is known, and nothing is left."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator

import anyio
import pytest

import smtpstate_blocking
from adapters.alike import (
    MESSAGE,
    OFFERED,
    OFFERS,
    PATIENCE,
    D,
    F,
    Stop,
    U,
    config_for,
    endless,
    failing,
    mails,
    names,
    numbered,
    run,
    statuses,
    taken,
    target_of,
    until,
)
from adapters.runtimes import Asynchronous, Runtime
from smtpstate import Delivery, Envelope, Message
from smtpstate.testing import ModelServer, on
from smtpstate_testing import serve

pytestmark = pytest.mark.usefixtures("nothing_left")


@OFFERED
def test_leaving_early_settles_what_was_begun_and_begins_no_more(runtime: Runtime, offers: str) -> None:
    server = ModelServer(extensions=OFFERS[offers])
    drawn: list[Delivery] = []

    def given() -> Iterator[Delivery]:
        for n in itertools.count():
            drawn.append(Delivery(numbered(n), MESSAGE))
            yield drawn[-1]

    with serve(server) as served:

        async def main() -> list[Delivery]:
            async with target_of(runtime, config_for(served.endpoint, max_connections=2)) as target:
                async with target.deliver_many(given(), ahead=5) as results:
                    done = [await anext(results)]
                    drawn_by_then = len(drawn)
                done += [delivery async for delivery in results]
                assert len(drawn) == drawn_by_then
                return done

        done = run(runtime, main)
    assert statuses(done) == [D] * len(done)
    assert Counter(names(done)) == Counter(taken(server))
    not_begun = [delivery for delivery in drawn if delivery not in done]
    assert all(not delivery.attempts for delivery in not_begun)
    assert all(peer.commands[-1] == "QUIT" for peer in server.connections)


def test_an_asynchronous_iterable_that_is_left_early_is_closed(asynchronous: Asynchronous) -> None:
    server = ModelServer()
    closed: list[bool] = []

    async def given() -> AsyncIterator[tuple[Envelope, bytes]]:
        try:
            yield numbered(0), MESSAGE
            await asynchronous.sleep()
        finally:
            closed.append(True)

    with serve(server) as served:

        async def main() -> None:
            async with asynchronous.target(config_for(served.endpoint)) as target:
                async with target.deliver_many(given()) as results:
                    await anext(results)
                assert closed == [True]

        asynchronous.loop(main)


def test_an_asynchronous_iterable_is_asked_for_no_more_than_is_of_use_and_closed(
    asynchronous: Asynchronous,
) -> None:
    server = ModelServer(extensions=OFFERS["bdat"])
    drawn = 0
    closed: list[bool] = []

    async def given() -> AsyncIterator[tuple[Envelope, bytes]]:
        nonlocal drawn
        try:
            for item in endless():
                drawn += 1
                assert drawn <= 2 + 2 + 2 + 1  # given back, under way, at hand, and one more
                yield item
        finally:
            await asynchronous.turn()
            closed.append(True)

    with serve(server) as served:

        async def main() -> None:
            async with asynchronous.target(config_for(served.endpoint, max_connections=1)) as target:
                async with target.deliver_many(given(), ahead=2) as results:
                    await until(lambda: bool(results._backlog.done) and not results._backlog.lanes)
                assert closed == [True]
                assert len([delivery async for delivery in results]) <= 4

        asynchronous.loop(main)


def test_an_exception_of_the_caller_comes_out_as_it_is_and_closes_everything(runtime: Runtime) -> None:
    server = ModelServer(
        extensions=OFFERS["data"], rules=[on("message", connection=1, occurrence=2).silence()]
    )
    error = ExceptionGroup("mine", [KeyError("mine")])
    with serve(server) as served:

        async def main() -> None:
            config = config_for(served.endpoint, max_connections=1, submission_timeout=PATIENCE)
            async with target_of(runtime, config) as target:
                tasks = len(anyio.get_running_tasks()) if isinstance(runtime, Asynchronous) else 0
                results = target.deliver_many(mails(5))

                async def fail() -> None:
                    async with results:
                        await anext(results)
                        raise error

                with pytest.raises(ExceptionGroup) as caught:
                    await fail()
                assert caught.value is error
                if isinstance(runtime, Asynchronous):
                    assert len(anyio.get_running_tasks()) == tasks
                assert target._pool.count == 0
                again = await target.deliver(numbered(9), MESSAGE)  # its place is free
                assert statuses([again]) == [D]
                assert [delivery async for delivery in results] == []

        run(runtime, main)
    assert [peer.commands.count("QUIT") for peer in server.connections] == [0, 1]


def test_a_block_left_before_anything_has_begun_is_over(runtime: Runtime) -> None:
    error = KeyError("mine")

    async def main() -> None:
        async with target_of(runtime, config_for("tcp://127.0.0.1:9")) as target:
            results = target.deliver_many(mails(3))

            async def fail() -> None:
                async with results:
                    raise error

            with pytest.raises(KeyError) as caught:
                await fail()
            assert caught.value is error
            assert [delivery async for delivery in results] == []

    run(runtime, main)


def test_who_has_left_by_an_exception_is_told_of_no_other(runtime: Runtime) -> None:
    server = ModelServer(extensions=OFFERS["bdat"])
    with serve(server) as served:

        async def main() -> None:
            async with target_of(runtime, config_for(served.endpoint)) as target:
                results = target.deliver_many(failing(3, KeyError("mine")))

                async def leave() -> None:
                    async with results:
                        await anext(results)
                        if isinstance(runtime, Asynchronous):
                            await until(lambda: not results._backlog.lanes)
                        assert results._backlog.failure is not None
                        raise ValueError("mine too")

                with pytest.raises(ValueError, match="mine too"):
                    await leave()
                assert statuses([delivery async for delivery in results]) in ([], [D], [D, D])

        run(runtime, main)


def test_a_cancellation_while_iterating_leaves_nothing_behind(asynchronous: Asynchronous) -> None:
    server = ModelServer(
        extensions=OFFERS["bdat"], rules=[on("message", connection=1, occurrence=3).silence()]
    )
    kept = mails(5)
    done: list[Delivery] = []
    with serve(server) as served:

        async def main() -> None:
            config = config_for(served.endpoint, max_connections=1)
            async with asynchronous.target(config) as target:
                tasks = len(anyio.get_running_tasks())

                async def stopped(cancel: Callable[[], object]) -> None:
                    async with target.deliver_many(kept) as results:
                        async for delivery in results:
                            done.extend([delivery])
                            if len(done) == 2:
                                cancel()

                error = await asynchronous.cancelled(stopped)
                assert type(error) is asynchronous.cancellation
                assert len(anyio.get_running_tasks()) == tasks
                assert target._pool.count == 0
                assert statuses([await target.deliver(numbered(9), MESSAGE)]) == [D]

        asynchronous.loop(main)
    assert done == kept[:2]
    assert statuses(kept[:2]) == [D, D]
    assert set(statuses(kept[2:])) <= {U, F}
    assert statuses(kept)[2] is U
    assert server.connections[0].commands.count("QUIT") == 0


def test_a_cancellation_inside_the_block_leaves_nothing_behind(asynchronous: Asynchronous) -> None:
    server = ModelServer(rules=[on("MAIL").silence()])
    kept = mails(5)
    with serve(server) as served:

        async def given() -> AsyncIterator[Delivery]:
            for delivery in kept:
                yield delivery
            await asynchronous.sleep()

        async def main() -> None:
            config = config_for(served.endpoint, max_connections=2)
            async with asynchronous.target(config) as target:
                tasks = len(anyio.get_running_tasks())

                async def stopped(cancel: Callable[[], object]) -> None:
                    async with target.deliver_many(given()):
                        await until(lambda: any("MAIL" in command for command in server.commands))
                        cancel()
                        await asynchronous.sleep()

                error = await asynchronous.cancelled(stopped)
                assert type(error) is asynchronous.cancellation
                assert len(anyio.get_running_tasks()) == tasks
                assert target._pool.count == 0

        asynchronous.loop(main)
    assert statuses(kept) == [F] * 5


def test_a_cancellation_while_the_block_is_left_stops_the_waiting(asynchronous: Asynchronous) -> None:
    server = ModelServer(rules=[on("message").silence()])
    kept = mails(1)
    with serve(server) as served:

        async def main() -> None:
            async with asynchronous.target(config_for(served.endpoint)) as target:
                tasks = len(anyio.get_running_tasks())

                async def stopped(cancel: Callable[[], object]) -> None:
                    async with target.deliver_many(kept):
                        await until(lambda: "DATA" in server.commands)
                        cancel()

                assert await asynchronous.cancelled(stopped) is not None
                assert len(anyio.get_running_tasks()) == tasks
                assert target._pool.count == 0

        asynchronous.loop(main)
    assert statuses(kept)[0] in (U, F)


@pytest.mark.parametrize("source", ["deliveries", "message", "caller"])
def test_whatever_ends_the_program_stops_a_blocking_queue_at_once(source: str) -> None:
    server = ModelServer(extensions=OFFERS["data"])

    def message() -> Iterator[bytes]:
        yield b"Subject: x\r\n\r\n"
        raise Stop

    def given() -> Iterator[tuple[Envelope, Message]]:
        for n in range(3):
            yield numbered(n), Message(MESSAGE)
        if source == "deliveries":
            raise Stop
        if source == "message":
            yield numbered(3), Message(message, eight_bit=False, utf8=False)
        yield from ((numbered(n), Message(MESSAGE)) for n in itertools.count(4))

    with (
        serve(server) as served,
        smtpstate_blocking.Target(config_for(served.endpoint, max_connections=1)) as target,
    ):

        def stop() -> None:
            with target.deliver_many(given(), ahead=2) as results:
                for n, _ in enumerate(results):
                    if source == "caller" and n == 2:
                        raise Stop

        with pytest.raises(Stop):
            stop()
        assert target._pool.count == 0
        assert statuses([target.deliver(numbered(99), MESSAGE)]) == [D]
    assert [peer.commands.count("QUIT") for peer in server.connections] == [0, 1]
