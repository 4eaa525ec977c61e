"""Many deliveries at once: what comes in, what comes out, and what the caller does wrong."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

import smtpstate_asyncio
from adapters.alike import (
    MESSAGE,
    OFFERED,
    OFFERS,
    D,
    U,
    config_for,
    failing,
    keep,
    mails,
    names,
    numbered,
    run,
    statuses,
    taken,
    target_of,
    until,
)
from adapters.cancelling import ca_file
from adapters.directives import server_context
from adapters.runtimes import Asynchronous, Runtime
from smtpstate import Delivery, Envelope, LocalProtocolError, Message, TlsClient
from smtpstate.testing import ModelServer
from smtpstate_testing import serve

pytestmark = pytest.mark.usefixtures("nothing_left")


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
