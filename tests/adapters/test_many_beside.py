"""A queue of deliveries beside others who use the same target, and when that is closed."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import AsyncIterable, Callable, Generator, Iterator

import anyio
import pytest

import smtpstate_blocking
from adapters.alike import (
    MESSAGE,
    OFFERS,
    D,
    Target,
    config_for,
    endless,
    keep,
    mails,
    names,
    numbered,
    run,
    senders,
    statuses,
    taken,
    target_of,
    until,
)
from adapters.runtimes import Asynchronous, Runtime
from smtpstate import Delivery, Envelope, LocalProtocolError
from smtpstate.testing import ModelServer, on
from smtpstate_blocking._many import _Moving
from smtpstate_blocking._target import _Lent
from smtpstate_io import Backlog, Lane, Wait
from smtpstate_testing import serve

pytestmark = pytest.mark.usefixtures("nothing_left")


def test_a_delivery_gets_its_turn_beside_an_endless_queue(asynchronous: Asynchronous) -> None:
    server = ModelServer(extensions=OFFERS["bdat"])
    beside: list[Delivery] = []
    with serve(server) as served:

        async def main() -> None:
            config = config_for(served.endpoint, max_connections=1, max_messages=10_000)
            async with asynchronous.target(config) as target:

                async def deliver() -> None:
                    beside.append(await target.deliver(Envelope("b@x.example", ["z@y.example"]), MESSAGE))

                async with (
                    anyio.create_task_group() as group,
                    target.deliver_many(endless(), ahead=32) as results,
                ):
                    await anext(results)
                    group.start_soon(deliver)
                    for _ in range(200):
                        await anext(results)
                        if "b@x.example" in senders(server):
                            return
                    raise AssertionError("it never had its turn")

        asynchronous.loop(main)
    assert statuses(beside) == [D]
    assert len(server.connections) == 1


def test_a_thread_gets_its_turn_beside_an_endless_queue() -> None:
    server = ModelServer(extensions=OFFERS["bdat"])
    beside: list[Delivery] = []
    with (
        serve(server) as served,
        smtpstate_blocking.Target(
            config_for(served.endpoint, max_connections=1, max_messages=10_000)
        ) as target,
    ):

        def deliver() -> None:
            beside.append(target.deliver(Envelope("b@x.example", ["z@y.example"]), MESSAGE))

        with target.deliver_many(endless(), ahead=4) as results:
            next(results)
            thread = threading.Thread(target=deliver)
            thread.start()
            while not target._permit.waiting:
                thread.join(0.001)
            for _ in range(200):
                next(results)
                if "b@x.example" in senders(server):
                    break
            else:
                raise AssertionError("it never had its turn")
        thread.join()
    assert statuses(beside) == [D]
    assert len(server.connections) == 1


def test_nobody_is_made_way_for_who_waits_no_longer(asynchronous: Asynchronous) -> None:
    server = ModelServer()
    with serve(server) as served:

        async def main() -> None:
            async with asynchronous.target(config_for(served.endpoint, max_connections=1)) as target:
                waiting = [0]

                async def deliver(cancel: Callable[[], object]) -> None:
                    async with anyio.create_task_group() as group:

                        async def give_up() -> None:
                            await until(lambda: target._permit().waiting == 1)
                            waiting.append(1)
                            cancel()

                        group.start_soon(give_up)
                        await target.deliver(numbered(1), MESSAGE)

                async with target.transaction(numbered(0)):
                    assert await asynchronous.cancelled(deliver) is not None
                    assert waiting == [0, 1]
                    assert target._permit().waiting == 0
                assert statuses([await target.deliver(numbered(2), MESSAGE)]) == [D]
                assert target._permit().waiting == 0

        asynchronous.loop(main)


def test_a_wait_for_a_while_ends_in_time_whatever_else_happens() -> None:
    """Where it counted anew each time that another lane moves, it might never end."""

    def steps() -> Generator[tuple[Wait, float], None, None]:
        yield Wait((), seconds=50.0), time.monotonic() + 1000
        yield Wait((), seconds=50.0), time.monotonic() + 10

    with smtpstate_blocking.Target(config_for("tcp://127.0.0.1:9")) as target:
        lane = Lane(Backlog(iter(()), depth=1, most=1), bool)
        moving = _Moving(target._slots.take(mails(1)[0]), lane, steps())
        for least, most in ((40, 50), (0, 10)):
            assert moving.move()
            assert time.monotonic() + least < moving.wakes <= time.monotonic() + most
        assert not moving.move()
        target._slots.drop(moving.slot)


def test_the_target_can_be_used_for_each_result(runtime: Runtime) -> None:
    server = ModelServer(extensions=OFFERS["bdat"])
    with serve(server) as served:

        async def main() -> list[Delivery]:
            beside: list[Delivery] = []
            async with (
                target_of(runtime, config_for(served.endpoint, max_connections=1)) as target,
                target.deliver_many(mails(12), ahead=4) as results,
            ):
                async for delivery in results:
                    bounce = Envelope(None, [f"bounce-{delivery.outcomes[0].recipient}"])
                    beside.append(await target.deliver(bounce, MESSAGE))
            return beside

        beside = run(runtime, main)
    assert statuses(beside) == [D] * 12
    assert Counter(taken(server)) == Counter(names(beside) + [f"r{n}@y.example" for n in range(12)])
    assert len(server.connections) == 1


def test_two_queues_share_one_connection(runtime: Runtime) -> None:
    server = ModelServer(extensions=OFFERS["bdat"])
    first, second = mails(10), [Delivery(numbered(n), MESSAGE) for n in range(10, 20)]
    with serve(server) as served:

        async def main() -> list[Delivery]:
            done: list[Delivery] = []
            async with (
                target_of(runtime, config_for(served.endpoint, max_connections=1)) as target,
                target.deliver_many(first, ahead=2) as one,
                target.deliver_many(second, ahead=3) as two,
            ):
                for _ in range(10):
                    done += [await anext(one), await anext(two)]
            return done

        done = run(runtime, main)
    assert done[::2] == first
    assert done[1::2] == second
    assert statuses(done) == [D] * 20
    assert Counter(taken(server)) == Counter(names(done))
    assert len(server.connections) == 1


def test_a_queue_can_be_delivered_for_each_result_of_another(runtime: Runtime) -> None:
    server = ModelServer(extensions=OFFERS["data"])
    with serve(server) as served:

        async def main() -> list[Delivery]:
            done: list[Delivery] = []
            async with (
                target_of(runtime, config_for(served.endpoint, max_connections=1)) as target,
                target.deliver_many(mails(4)) as outer,
            ):
                async for delivery in outer:
                    done += [delivery]
                    async with target.deliver_many(mails(3)) as inner:
                        done += [each async for each in inner]
            return done

        done = run(runtime, main)
    assert statuses(done) == [D] * 16
    assert Counter(taken(server)) == Counter(names(done))


async def iterate_until_closed(results: AsyncIterable[Delivery], done: list[Delivery]) -> None:
    """Keep what comes until the target's end is told of."""
    try:
        await keep(results, done)
    except LocalProtocolError as error:
        assert "closed" in str(error)
    else:
        raise AssertionError("the queue has come to its end")


def test_closing_the_target_ends_its_queues(runtime: Runtime) -> None:
    server = ModelServer(extensions=OFFERS["bdat"])
    with serve(server) as served:

        async def main() -> list[Delivery]:
            done: list[Delivery] = []
            target = target_of(runtime, config_for(served.endpoint, max_connections=1))
            await target.__aenter__()
            async with target.deliver_many(endless(), ahead=3) as results:
                done.append(await anext(results))
                await target.__aexit__(None, None, None)
                await iterate_until_closed(results, done)
            with pytest.raises(LocalProtocolError, match="closed"):
                target.deliver_many([])
            if isinstance(target, Target):
                assert (target.inner._permit._permits, target.inner._permit._work) == (1, {})
            return done

        done = run(runtime, main)
    assert statuses(done) == [D] * len(done)
    assert Counter(taken(server)) == Counter(names(done))
    assert [peer.commands[-1] for peer in server.connections] == ["QUIT"]


def test_closing_the_target_in_another_task_ends_its_queues(asynchronous: Asynchronous) -> None:
    server = ModelServer(extensions=OFFERS["bdat"])
    with serve(server) as served:

        async def main() -> list[Delivery]:
            done: list[Delivery] = []
            target = asynchronous.target(config_for(served.endpoint, max_connections=2))
            await target.__aenter__()
            async with anyio.create_task_group() as group, target.deliver_many(endless(), ahead=3) as results:
                done.append(await anext(results))
                group.start_soon(target.__aexit__, None, None, None)
                await iterate_until_closed(results, done)
            return done

        done = asynchronous.loop(main)
    assert Counter(taken(server)) == Counter(names(done))
    assert all(peer.commands[-1] == "QUIT" for peer in server.connections)


def test_a_target_left_by_an_exception_ends_its_queues_too(runtime: Runtime) -> None:
    server = ModelServer(extensions=OFFERS["bdat"])
    with serve(server) as served:

        async def main() -> list[Delivery]:
            done: list[Delivery] = []
            config = config_for(served.endpoint, max_connections=1, max_messages=10_000)
            target = target_of(runtime, config)
            await target.__aenter__()
            async with target.deliver_many(endless(), ahead=32) as results:
                done.append(await anext(results))
                error = KeyError("mine")
                await target.__aexit__(KeyError, error, None)
                await iterate_until_closed(results, done)
            assert target._pool.count == 0
            return done

        done = run(runtime, main)
    assert Counter(taken(server)) == Counter(names(done))
    assert len(done) <= 200


def test_who_comes_while_the_target_is_being_closed_is_turned_away() -> None:
    server = ModelServer()
    with serve(server) as served:
        target = smtpstate_blocking.Target(config_for(served.endpoint, max_connections=1))
        turned_away: list[LocalProtocolError] = []

        def come_late() -> None:
            try:
                with _Lent(target, mails(1)[0]):
                    pass
            except LocalProtocolError as error:
                turned_away.append(error)

        target.__enter__()
        with target._permit:
            closing = threading.Thread(target=target.__exit__, args=(None, None, None))
            closing.start()
            while not target._permit.waiting:
                closing.join(0.001)
            late = threading.Thread(target=come_late)
            late.start()
            while target._permit.waiting < 2:
                late.join(0.001)
        closing.join()
        late.join()
    assert [str(error) for error in turned_away] == ["the target is closed"]


def test_an_iterable_that_waits_for_its_own_target_is_told_so() -> None:
    server = ModelServer(rules=[on("message", occurrence=2).silence()])
    with (
        serve(server) as served,
        smtpstate_blocking.Target(config_for(served.endpoint, max_connections=1)) as target,
    ):

        def given() -> Iterator[tuple[Envelope, bytes]]:
            yield numbered(0), MESSAGE
            target.deliver(numbered(1), MESSAGE)
            raise AssertionError("unreachable")

        with target.deliver_many(given()) as results:
            assert statuses([next(results)]) == [D]
            with pytest.raises(LocalProtocolError, match="cannot wait"):
                next(results)
