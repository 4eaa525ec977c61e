"""Many deliveries at once: each is settled exactly once and given back, whatever else happens."""

from __future__ import annotations

import asyncio
import itertools
import socket
import threading
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

import smtpstate_asyncio
import smtpstate_blocking
from adapters.alike import MESSAGE, OFFERS, config_for, numbered, run, target_of, until
from adapters.cancelling import ca_file
from adapters.directives import WAITING, server_context
from adapters.runtimes import Asynchronous, Runtime
from smtpstate import Auth, Credentials, Delivery, Envelope, LocalProtocolError, Message, Status, TlsClient
from smtpstate.testing import ModelServer, Peer, on
from smtpstate_testing import serve

pytestmark = pytest.mark.usefixtures("nothing_left")

D, F, R, U = Status.DELIVERED, Status.DEFERRED, Status.REJECTED, Status.UNCERTAIN
OFFERED = pytest.mark.parametrize("offers", OFFERS)

#: In place of a final reply that never comes; no test waits for so long unless it fails.
PATIENCE = 20.0


def mails(number: int, message: Any = MESSAGE) -> list[Delivery]:
    return [Delivery(numbered(n), message) for n in range(number)]


def endless() -> Iterator[tuple[Envelope, bytes]]:
    for n in itertools.count():
        yield numbered(n), MESSAGE


def statuses(deliveries: list[Delivery]) -> list[Status]:
    return [outcome.status for delivery in deliveries for outcome in delivery.outcomes]


def names(deliveries: list[Delivery]) -> list[str]:
    return [outcome.recipient for delivery in deliveries for outcome in delivery.outcomes]


def taken(*servers: ModelServer) -> list[str]:
    """Return every recipient for whom a server has a message, once for each message."""
    return [name for server in servers for stored in server.messages for name in stored.recipients]


async def keep(results: AsyncIterable[Delivery], done: list[Delivery]) -> None:
    """Keep each as it comes."""
    async for delivery in results:
        done += [delivery]


def senders(server: ModelServer) -> list[str]:
    return [stored.sender for stored in server.messages]


class Tick:
    """Wait until something has come, under any runtime."""

    def __init__(self) -> None:
        self.count = 0

    async def reaches(self, count: int) -> None:
        await until(lambda: self.count >= count)


# What comes in, and what comes out.


@OFFERED
def test_each_delivery_is_made_once_and_given_back_in_its_order_on_one_connection(
    runtime: Runtime, offers: str
) -> None:
    server = ModelServer(extensions=OFFERS[offers])
    kept = mails(20)
    with serve(server) as served:

        async def main() -> list[Delivery]:
            async with target_of(runtime, config_for(served.endpoint, max_connections=1)) as target:
                given = ((numbered(n), MESSAGE) if n % 2 else kept[n] for n in range(20))
                async with target.deliver_many(given) as results:
                    return [delivery async for delivery in results]

        done = run(runtime, main)
    assert names(done) == taken(server) == [f"r{n}@y.example" for n in range(20)]
    assert statuses(done) == [D] * 20
    assert done[::2] == kept[::2]
    assert [peer.commands[-1] for peer in server.connections] == ["QUIT"]
    assert server.violations == []


@OFFERED
def test_a_pool_gives_each_delivery_back_once(runtime: Runtime, offers: str) -> None:
    server = ModelServer(extensions=OFFERS[offers])
    kept = mails(60)
    with serve(server) as served:

        async def main() -> list[Delivery]:
            async with (
                target_of(runtime, config_for(served.endpoint, max_connections=3)) as target,
                target.deliver_many(kept, ahead=4) as results,
            ):
                return [delivery async for delivery in results]

        done = run(runtime, main)
    assert statuses(done) == [D] * 60
    assert Counter(names(done)) == Counter(taken(server)) == Counter(names(kept))
    assert len(server.connections) <= 3
    assert all(peer.commands[-1] == "QUIT" for peer in server.connections)
    assert server.violations == []


def test_deliveries_come_from_an_asynchronous_iterable_too(asynchronous: Asynchronous) -> None:
    server = ModelServer(extensions=OFFERS["bdat"])
    kept = mails(40)
    with serve(server) as served:

        async def given() -> AsyncIterator[Delivery | tuple[Envelope, bytes]]:
            for delivery in kept:
                await asynchronous.turn()
                yield delivery

        async def main() -> list[Delivery]:
            async with (
                asynchronous.target(config_for(served.endpoint, max_connections=2)) as target,
                target.deliver_many(given(), ahead=3) as results,
            ):
                return [delivery async for delivery in results]

        done = asynchronous.loop(main)
    assert statuses(done) == [D] * 40
    assert Counter(map(id, done)) == Counter(map(id, kept))
    assert Counter(taken(server)) == Counter(names(kept))


def test_results_come_out_while_the_iterable_waits(asynchronous: Asynchronous) -> None:
    server = ModelServer(extensions=OFFERS["bdat"])
    seen = Tick()
    with serve(server) as served:

        async def given() -> AsyncIterator[tuple[Envelope, bytes]]:
            for n in range(4):
                await seen.reaches(n)  # it goes on only once the one before has been given back
                yield numbered(n), MESSAGE

        async def main() -> list[str]:
            async with asynchronous.target(config_for(served.endpoint)) as target:
                done: list[Delivery] = []
                async with target.deliver_many(given()) as results:
                    async for delivery in results:
                        done.append(delivery)
                        seen.count += 1
                return names(done)

        assert asynchronous.loop(main) == [f"r{n}@y.example" for n in range(4)]
    assert len(server.connections) == 1


def test_nothing_at_all_is_delivered_where_there_is_nothing(runtime: Runtime) -> None:
    server = ModelServer()
    with serve(server) as served:

        async def main() -> list[Delivery]:
            async with (
                target_of(runtime, config_for(served.endpoint)) as target,
                target.deliver_many([]) as results,
            ):
                return [delivery async for delivery in results]

        assert run(runtime, main) == []
    assert server.connections == []


def test_queues_go_through_tls(runtime: Runtime, tmp_path: Path) -> None:
    server = ModelServer(extensions=("PIPELINING", "STARTTLS"))
    with serve(server, tls=server_context()) as served:

        async def main() -> list[Delivery]:
            config = config_for(
                served.endpoint,
                require_tls=True,
                tls_client=TlsClient(root_ca=(ca_file(tmp_path),)),
                max_connections=2,
            )
            async with target_of(runtime, config) as target, target.deliver_many(mails(8)) as results:
                return [delivery async for delivery in results]

        done = run(runtime, main)
    assert statuses(done) == [D] * 8
    assert all(stored.tls for stored in server.messages)
    assert Counter(taken(server)) == Counter(names(done))


# What fails on the caller's side.


def failing(number: int, error: Exception) -> Iterator[tuple[Envelope, bytes]]:
    for n in range(number):
        yield numbered(n), MESSAGE
    raise error


@OFFERED
def test_what_an_iterable_has_given_before_it_fails_is_delivered(runtime: Runtime, offers: str) -> None:
    server = ModelServer(extensions=OFFERS[offers])
    error = KeyError("mine")
    done: list[Delivery] = []
    with serve(server) as served:

        async def main() -> None:
            async with (
                target_of(runtime, config_for(served.endpoint)) as target,
                target.deliver_many(failing(7, error)) as results,
            ):
                await keep(results, done)

        with pytest.raises(KeyError) as caught:
            run(runtime, main)
    assert caught.value is error
    assert statuses(done) == [D] * 7
    assert Counter(taken(server)) == Counter(names(done)) == Counter(f"r{n}@y.example" for n in range(7))


def test_what_an_asynchronous_iterable_has_given_before_it_fails_is_delivered(
    asynchronous: Asynchronous,
) -> None:
    server = ModelServer(extensions=OFFERS["data"])
    error = KeyError("mine")
    done: list[Delivery] = []
    with serve(server) as served:

        async def given() -> AsyncIterator[tuple[Envelope, bytes]]:
            for item in failing(7, error):
                yield item

        async def main() -> None:
            async with (
                asynchronous.target(config_for(served.endpoint, max_connections=2)) as target,
                target.deliver_many(given()) as results,
            ):
                await keep(results, done)

        with pytest.raises(KeyError) as caught:
            asynchronous.loop(main)
    assert caught.value is error
    assert Counter(taken(server)) == Counter(names(done)) == Counter(f"r{n}@y.example" for n in range(7))


def test_a_failure_is_told_once(runtime: Runtime) -> None:
    server = ModelServer(extensions=OFFERS["bdat"])
    with serve(server) as served:

        async def main() -> None:
            async with (
                target_of(runtime, config_for(served.endpoint)) as target,
                target.deliver_many(failing(2, KeyError("mine"))) as results,
            ):
                await anext(results)
                await anext(results)
                with pytest.raises(KeyError):
                    await anext(results)
                with pytest.raises(StopAsyncIteration):
                    await anext(results)

        run(runtime, main)
    assert len(server.messages) == 2


def test_a_failure_that_nobody_has_seen_comes_out_at_the_end_of_the_block(runtime: Runtime) -> None:
    server = ModelServer(extensions=OFFERS["plain"])
    error = KeyError("mine")

    def source() -> Iterator[bytes]:
        yield b"Subject: x\r\n\r\n"
        raise error

    with serve(server) as served:

        async def main() -> Delivery:
            first, second = mails(1)[0], Delivery(numbered(1), Message(source, eight_bit=False, utf8=False))
            async with (
                target_of(runtime, config_for(served.endpoint, max_connections=1)) as target,
                target.deliver_many([first, second]) as results,
            ):
                delivery = await anext(results)
                if isinstance(runtime, Asynchronous):
                    await until(lambda: not results._backlog.lanes)
                return delivery

        with pytest.raises(KeyError) as caught:
            run(runtime, main)
    assert caught.value is error
    assert taken(server) == ["r0@y.example"]


@OFFERED
def test_a_source_that_fails_takes_only_its_own_delivery_with_it(runtime: Runtime, offers: str) -> None:
    server = ModelServer(extensions=OFFERS[offers])
    error = KeyError("mine")

    def source() -> Iterator[bytes]:
        yield b"Subject: x\r\n\r\n" + b"x" * 100_000
        raise error

    given = mails(6)
    given[3] = Delivery(numbered(3), Message(source, eight_bit=False, utf8=False))
    done: list[Delivery] = []
    with serve(server) as served:

        async def main() -> None:
            async with (
                target_of(runtime, config_for(served.endpoint, max_connections=1)) as target,
                target.deliver_many(given) as results,
            ):
                await keep(results, done)

        with pytest.raises(KeyError) as caught:
            run(runtime, main)
    assert caught.value is error
    assert done == given[:3]
    assert set(statuses(done)) <= {D, U}
    assert all(name in taken(server) for name in names(done))
    assert set(taken(server)) <= set(names(done))


@pytest.mark.parametrize(
    "bad",
    [
        5,
        "ab",
        (1, 2),
        (numbered(0),),
        (numbered(0), b"", b""),
        (numbered(0), 7),
        (Envelope("a@x.example"), b""),
    ],
    ids=["number", "text", "no envelope", "one", "three", "no message", "no recipient"],
)
def test_what_is_no_delivery_is_a_mistake_of_the_caller(runtime: Runtime, bad: Any) -> None:
    server = ModelServer(extensions=OFFERS["bdat"])
    done: list[Delivery] = []
    with serve(server) as served:

        async def main() -> None:
            async with (
                target_of(runtime, config_for(served.endpoint)) as target,
                target.deliver_many([*mails(2), bad, *mails(2)]) as results,
            ):
                await keep(results, done)

        with pytest.raises(LocalProtocolError):
            run(runtime, main)
    assert statuses(done) == [D, D]
    assert len(server.messages) == 2


def test_an_asynchronous_iterable_that_cannot_even_begin_fails_the_queue(asynchronous: Asynchronous) -> None:
    class Broken:
        def __aiter__(self) -> AsyncIterator[Delivery]:
            raise KeyError("mine")

    async def main() -> None:
        async with (
            asynchronous.target(config_for("tcp://127.0.0.1:9")) as target,
            target.deliver_many(Broken()) as results,
        ):
            async for _ in results:
                pass

    with pytest.raises(KeyError):
        asynchronous.loop(main)


def test_an_iterable_that_was_cancelled_itself_does_not_end_in_silence() -> None:
    async def given() -> AsyncIterator[Delivery]:
        await asyncio.sleep(0)
        raise asyncio.CancelledError  # as from a task of its own that somebody has cancelled
        yield mails(1)[0]

    async def main() -> None:
        async with (
            smtpstate_asyncio.Target(config_for("tcp://127.0.0.1:9")) as target,
            target.deliver_many(given()) as results,
        ):
            with pytest.raises(asyncio.CancelledError):
                await anext(results)

    asyncio.run(main())


# Leaving.


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


# How many are begun, and on how many connections.


def test_a_caller_who_takes_nothing_is_waited_for(runtime: Runtime) -> None:
    server = ModelServer(extensions=OFFERS["bdat"])
    drawn = 0

    def given() -> Iterator[tuple[Envelope, bytes]]:
        nonlocal drawn
        for item in endless():
            drawn += 1
            yield item

    with serve(server) as served:

        async def main() -> None:
            config = config_for(served.endpoint, max_connections=2)
            async with target_of(runtime, config) as target, target.deliver_many(given(), ahead=3) as results:
                for n in range(1, 40):
                    if isinstance(runtime, Asynchronous):  # all lanes end by themselves
                        await until(lambda: bool(results._backlog.done) and not results._backlog.lanes)
                    # three given back, three under way in each of two lanes, and one at hand
                    assert drawn <= n - 1 + 3 + 2 * 3 + 1
                    await anext(results)

        run(runtime, main)
    assert len(server.connections) <= 2


@OFFERED
def test_when_a_connection_can_take_no_more_others_are_opened(runtime: Runtime, offers: str) -> None:
    """Three connections never answer; what is not on them must go over the fourth."""
    rules = [on("message", connection=n).silence() for n in (1, 2, 3)]
    server = ModelServer(extensions=OFFERS[offers], rules=rules)
    kept = mails(20)
    done: list[Delivery] = []
    with serve(server) as served:

        async def main() -> None:
            config = config_for(served.endpoint, max_connections=4, submission_timeout=PATIENCE)
            ahead = 2 if offers == "bdat" else 32
            async with (
                target_of(runtime, config) as target,
                target.deliver_many(kept, ahead=ahead) as results,
            ):
                while len(done) < 14:
                    done.append(await anext(results))
                raise KeyError("enough")

        with pytest.raises(KeyError, match="enough"):
            run(runtime, main)
    assert statuses(done) == [D] * 14
    assert len(server.connections) == 4
    on_fourth = [stored for stored in server.messages if stored.connection == 4]
    assert Counter(name for stored in on_fourth for name in stored.recipients) == Counter(names(done))


@pytest.mark.parametrize(("offers", "number"), [("bdat", 10), ("data", 2)])
def test_one_connection_does_where_it_takes_all_that_there_is(
    runtime: Runtime, offers: str, number: int
) -> None:
    server = ModelServer(extensions=OFFERS[offers])
    with serve(server) as served:

        async def main() -> list[Delivery]:
            async with (
                target_of(runtime, config_for(served.endpoint)) as target,
                target.deliver_many(mails(number)) as results,
            ):
                return [delivery async for delivery in results]

        assert statuses(run(runtime, main)) == [D] * number
    assert len(server.connections) == 1


@OFFERED
def test_with_one_ahead_each_is_answered_before_the_next_is_begun(runtime: Runtime, offers: str) -> None:
    server = ModelServer(extensions=OFFERS[offers])
    with serve(server) as served:

        async def main() -> list[Delivery]:
            config = config_for(served.endpoint, max_connections=1)
            async with (
                target_of(runtime, config) as target,
                target.deliver_many(mails(6), ahead=1) as results,
            ):
                return [delivery async for delivery in results]

        assert statuses(run(runtime, main)) == [D] * 6
    assert taken(server) == [f"r{n}@y.example" for n in range(6)]
    assert len(server.connections) == 1


@pytest.mark.parametrize("ahead", [0, -1])
def test_nothing_can_be_done_with_nothing_ahead(runtime: Runtime, ahead: int) -> None:
    target = target_of(runtime, config_for("tcp://127.0.0.1:9"))
    with pytest.raises(LocalProtocolError, match="ahead is at least 1"):
        target.deliver_many([], ahead=ahead)


def test_a_spent_connection_is_replaced_in_the_middle(runtime: Runtime) -> None:
    server = ModelServer(extensions=OFFERS["bdat"])
    with serve(server) as served:

        async def main() -> list[Delivery]:
            config = config_for(served.endpoint, max_connections=1, max_messages=3)
            async with target_of(runtime, config) as target, target.deliver_many(mails(8)) as results:
                return [delivery async for delivery in results]

        assert statuses(run(runtime, main)) == [D] * 8
    assert [stored.connection for stored in server.messages] == [1, 1, 1, 2, 2, 2, 3, 3]
    assert all(peer.commands[-1] == "QUIT" for peer in server.connections)


def test_a_target_that_was_never_entered_keeps_no_connection_of_a_queue(runtime: Runtime) -> None:
    server = ModelServer(extensions=OFFERS["bdat"])
    with serve(server) as served:

        async def main() -> list[Delivery]:
            target = target_of(runtime, config_for(served.endpoint))
            async with target.deliver_many(mails(5)) as results:
                return [delivery async for delivery in results]

        assert statuses(run(runtime, main)) == [D] * 5
    assert [peer.commands[-1] for peer in server.connections] == ["QUIT"]


# What fails on the servers' side.


@OFFERED
def test_after_a_lost_connection_only_what_may_have_arrived_is_uncertain(
    runtime: Runtime, offers: str
) -> None:
    server = ModelServer(extensions=OFFERS[offers], rules=[on("message", connection=1, occurrence=3).close()])
    kept = mails(8)
    with serve(server) as served:

        async def main() -> list[Delivery]:
            config = config_for(served.endpoint, max_connections=1)
            async with target_of(runtime, config) as target, target.deliver_many(kept) as results:
                return [delivery async for delivery in results]

        done = run(runtime, main)
    assert done == kept
    uncertain = [delivery for delivery in done if statuses([delivery]) == [U]]
    assert set(statuses(done)) == {D, U}
    assert uncertain == kept[2 : 2 + len(uncertain)]
    assert len(uncertain) == 1 or offers == "bdat"
    delivered = [delivery for delivery in done if delivery not in uncertain]
    assert Counter(name for name in taken(server) if name in names(delivered)) == Counter(names(delivered))


def test_what_nothing_has_come_of_goes_to_the_next_endpoint(runtime: Runtime) -> None:
    first = ModelServer(
        extensions=OFFERS["bdat"], rules=[on("MAIL", "a1@x.example").reply(450, "4.2.0 later")]
    )
    second = ModelServer(extensions=OFFERS["bdat"])
    kept = [Delivery(Envelope(f"a{n}@x.example", [f"r{n}@y.example"]), MESSAGE) for n in range(4)]
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = f"tcp://127.0.0.1:{closed.getsockname()[1]}"
    with serve(first) as one, serve(second) as two:

        async def main() -> list[Delivery]:
            config = config_for(
                nobody, one.endpoint, two.endpoint, failover={"connect", "transient"}, max_connections=1
            )
            async with target_of(runtime, config) as target, target.deliver_many(kept) as results:
                return [delivery async for delivery in results]

        done = run(runtime, main)
    assert done == kept
    assert statuses(done) == [D] * 4
    assert "r1@y.example" in taken(second)
    assert Counter(taken(first, second)) == Counter(names(kept))
    assert str(done[0].attempts[0].endpoint) == nobody


def test_refusals_are_outcomes_and_hold_nobody_up(runtime: Runtime) -> None:
    rules = [
        on("RCPT", "r1@y.example").reply(550, "5.1.1 no"),
        on("RCPT", "r3@y.example").reply(450, "4.2.1 no"),
    ]
    server = ModelServer(extensions=OFFERS["bdat"], rules=rules)
    with serve(server) as served:

        async def main() -> list[Delivery]:
            config = config_for(served.endpoint, max_connections=1)
            async with target_of(runtime, config) as target, target.deliver_many(mails(5)) as results:
                return [delivery async for delivery in results]

        assert statuses(run(runtime, main)) == [D, R, D, F, D]


@pytest.mark.parametrize("runtime", WAITING, ids=repr)
def test_a_server_that_falls_silent_is_given_up_in_time(runtime: Runtime) -> None:
    server = ModelServer(extensions=OFFERS["data"], rules=[on("RCPT", connection=1).silence()])
    with serve(server) as served:

        async def main() -> list[Delivery]:
            config = config_for(served.endpoint, max_connections=1, command_timeout=1.0)
            async with target_of(runtime, config) as target, target.deliver_many(mails(3)) as results:
                return [delivery async for delivery in results]

        done = run(runtime, main)
    assert statuses(done) == [F, D, D]
    assert "4.4.2" in str(done[0].outcomes[0].reply)


def test_each_has_the_login_that_came_with_it(runtime: Runtime) -> None:
    users = {"ann": "hunter2", "bob": "pass-word"}
    server = ModelServer(extensions=("PIPELINING", "CHUNKING", "AUTH PLAIN"), users=users, require_auth=True)
    logins = [Credentials(user, password) for user, password in users.items()]
    kept = [Delivery(numbered(n), MESSAGE, credentials=logins[n // 3]) for n in range(6)]
    kept += [Delivery(numbered(6), MESSAGE), Delivery(numbered(7), MESSAGE, credentials=logins[0])]
    with serve(server) as served:

        async def main() -> list[Delivery]:
            config = config_for(served.endpoint, auth=Auth.forward(), insecure_auth=True, max_connections=2)
            async with target_of(runtime, config) as target, target.deliver_many(kept, ahead=2) as results:
                return [delivery async for delivery in results]

        done = run(runtime, main)
    assert Counter(map(id, done)) == Counter(map(id, kept))
    assert statuses(kept) == [D] * 6 + [R, D]
    who = {stored.recipients[0]: stored.identity for stored in server.messages}
    assert who == {f"r{n}@y.example": "ann" if n < 3 or n == 7 else "bob" for n in (*range(6), 7)}


# Others who use the target at the same time.


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


class _Stop(BaseException):
    """Whatever is no error, but ends a program."""


@pytest.mark.parametrize("source", ["deliveries", "message", "caller"])
def test_whatever_ends_the_program_stops_a_blocking_queue_at_once(source: str) -> None:
    server = ModelServer(extensions=OFFERS["data"])

    def message() -> Iterator[bytes]:
        yield b"Subject: x\r\n\r\n"
        raise _Stop

    def given() -> Iterator[tuple[Envelope, Message]]:
        for n in range(3):
            yield numbered(n), Message(MESSAGE)
        if source == "deliveries":
            raise _Stop
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
                        raise _Stop

        with pytest.raises(_Stop):
            stop()
        assert target._pool.count == 0
        assert statuses([target.deliver(numbered(99), MESSAGE)]) == [D]
    assert [peer.commands.count("QUIT") for peer in server.connections] == [0, 1]


@pytest.mark.parametrize("offers", ["data", "bdat"])
def test_connections_that_are_replaced_are_not_too_many_either(
    runtime: Runtime, offers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = ModelServer(extensions=OFFERS[offers])
    open_together: list[int] = []
    connect = ModelServer.connect

    def counted(server: ModelServer) -> Peer:
        peer = connect(server)
        open_together.append(sum(not each.closed for each in server.connections))
        return peer

    monkeypatch.setattr(ModelServer, "connect", counted)
    with serve(server) as served:

        async def main() -> list[Delivery]:
            config = config_for(served.endpoint, max_connections=3, max_messages=4)
            async with (
                target_of(runtime, config) as target,
                target.deliver_many(mails(60), ahead=6) as results,
            ):
                return [delivery async for delivery in results]

        done = run(runtime, main)
    assert statuses(done) == [D] * 60
    assert Counter(taken(server)) == Counter(names(done))
    assert max(open_together) <= 3
    assert len(server.connections) >= 15


def test_who_comes_while_the_target_is_being_closed_is_turned_away() -> None:
    server = ModelServer()
    with serve(server) as served:
        target = smtpstate_blocking.Target(config_for(served.endpoint, max_connections=1))
        turned_away: list[LocalProtocolError] = []

        def come_late() -> None:
            try:
                with target._permit, target._connection(mails(1)[0]):
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


# Using it wrongly.


def test_it_is_iterated_over_in_its_block(runtime: Runtime) -> None:
    async def main() -> None:
        results = target_of(runtime, config_for("tcp://127.0.0.1:9")).deliver_many([])
        with pytest.raises(RuntimeError, match="within its"):
            await anext(results)
        async with results:
            with pytest.raises(StopAsyncIteration):
                await anext(results)
        with pytest.raises(StopAsyncIteration):
            await anext(results)
        with pytest.raises(RuntimeError, match="only once"):
            await results.__aenter__()

    run(runtime, main)


def test_what_cannot_be_iterated_over_is_refused_at_once(runtime: Runtime) -> None:
    target = target_of(runtime, config_for("tcp://127.0.0.1:9"))
    nothing: Any = 5
    with pytest.raises(TypeError):
        target.deliver_many(nothing)
