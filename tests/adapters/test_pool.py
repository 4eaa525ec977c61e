"""The connections that a target keeps: how many, for whom, and what becomes of them at its end."""

from __future__ import annotations

import threading
from collections.abc import Callable

import anyio
import pytest

import smtpstate_blocking
from adapters.runtimes import Asynchronous
from smtpstate import Delivery, Envelope, LocalProtocolError, Status, TargetConfig
from smtpstate.testing import ModelServer, on
from smtpstate_blocking._gate import Gate
from smtpstate_testing import serve

D = Status.DELIVERED
MESSAGE = b"Subject: x\r\n\r\nhello\r\n"


def envelope(n: int = 0) -> Envelope:
    return Envelope("a@x.example", [f"r{n}@y.example"])


def check(server: ModelServer, messages: int, connections: int) -> None:
    """Each message came once, on no more connections than that, each of them left by QUIT."""
    assert len({stored.recipients for stored in server.messages}) == len(server.messages) == messages
    assert len(server.connections) <= connections
    assert all(peer.commands[-1:] == ["QUIT"] for peer in server.connections)
    assert server.violations == []


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what a server does in another thread."""
    for _ in range(1000):
        if condition():
            return
        await anyio.sleep(0.01)
    raise AssertionError("it never came")


def test_deliveries_one_after_the_other_share_a_connection(asynchronous: Asynchronous) -> None:
    server = ModelServer()
    with serve(server) as served:

        async def main() -> list[Delivery]:
            async with asynchronous.target(TargetConfig(targets=served.endpoint)) as target:
                return [await target.deliver(envelope(n), MESSAGE) for n in range(5)]

        assert [delivery.outcomes[0].status for delivery in asynchronous.loop(main)] == [D] * 5
    check(server, 5, 1)


def test_never_more_than_max_connections_are_open(asynchronous: Asynchronous) -> None:
    server = ModelServer(extensions=["PIPELINING"])
    deliveries = [Delivery(envelope(n), MESSAGE) for n in range(60)]
    with serve(server) as served:

        async def main() -> None:
            config = TargetConfig(targets=served.endpoint, max_connections=4)
            async with asynchronous.target(config) as target, anyio.create_task_group() as group:
                for delivery in deliveries:
                    group.start_soon(target.run, delivery)

        asynchronous.loop(main)
    assert [delivery.outcomes[0].status for delivery in deliveries] == [D] * 60
    check(server, 60, 4)


def test_closing_waits_for_deliveries_under_way(asynchronous: Asynchronous) -> None:
    server = ModelServer(rules=[on("message").delay(0.2)])
    delivery = Delivery(envelope(), MESSAGE)
    with serve(server) as served:

        async def main() -> None:
            async with anyio.create_task_group() as group:
                async with asynchronous.target(TargetConfig(targets=served.endpoint)) as target:
                    group.start_soon(target.run, delivery)
                    await until(lambda: any(peer.commands for peer in server.connections))
                assert delivery.outcomes[0].status is D
                with pytest.raises(LocalProtocolError, match="closed"):
                    await target.deliver(envelope(1), MESSAGE)

        asynchronous.loop(main)
    check(server, 1, 1)


def test_a_target_left_by_an_exception_drops_what_is_idle(asynchronous: Asynchronous) -> None:
    server = ModelServer()
    with serve(server) as served:

        async def main() -> None:
            async with asynchronous.target(TargetConfig(targets=served.endpoint)) as target:
                await target.deliver(envelope(), MESSAGE)
                raise KeyError("something else")

        with pytest.raises(KeyError):
            asynchronous.loop(main)
    assert "QUIT" not in server.commands


def test_a_cancelled_delivery_gives_its_place_to_the_next_and_its_connection_to_nobody(
    asynchronous: Asynchronous,
) -> None:
    server = ModelServer(rules=[on("MAIL", connection=1).silence()])
    with serve(server) as served:

        async def main() -> Delivery:
            config = TargetConfig(targets=served.endpoint, max_connections=1)
            async with asynchronous.target(config) as target:
                cancelled = Delivery(envelope(1), MESSAGE)
                async with anyio.create_task_group() as group:
                    group.start_soon(target.run, cancelled)
                    await until(lambda: any("MAIL" in command for command in server.commands))
                    group.cancel_scope.cancel()
                assert cancelled.outcomes[0].status is Status.DEFERRED
                return await target.deliver(envelope(2), MESSAGE)

        assert asynchronous.loop(main).outcomes[0].status is D
    assert len(server.connections) == 2
    assert [stored.recipients for stored in server.messages] == [("r2@y.example",)]


def test_connections_that_were_idle_for_too_long_are_left_at_the_next_use(asynchronous: Asynchronous) -> None:
    server = ModelServer()
    with serve(server) as served:

        async def main() -> None:
            config = TargetConfig(targets=served.endpoint, idle_timeout=0.05)
            async with asynchronous.target(config) as target:
                async with anyio.create_task_group() as group:
                    for n in range(3):
                        group.start_soon(target.run, Delivery(envelope(n), MESSAGE))
                await anyio.sleep(0.1)
                await target.deliver(envelope(3), MESSAGE)
                quits = server.commands.count("QUIT")
                assert quits == len(server.connections) - 1

        asynchronous.loop(main)
    check(server, 4, 4)


def test_a_target_that_was_never_entered_keeps_no_connection(asynchronous: Asynchronous) -> None:
    server = ModelServer()
    with serve(server) as served:

        async def main() -> None:
            target = asynchronous.target(TargetConfig(targets=served.endpoint))
            for n in range(2):
                await target.deliver(envelope(n), MESSAGE)

        asynchronous.loop(main)
    check(server, 2, 2)


# Threads.


def test_threads_share_a_blocking_target() -> None:
    server = ModelServer(extensions=["PIPELINING"])
    deliveries = [Delivery(envelope(n), MESSAGE) for n in range(40)]
    with serve(server) as served:
        with smtpstate_blocking.Target(TargetConfig(targets=served.endpoint, max_connections=3)) as target:
            threads = [threading.Thread(target=target.run, args=(delivery,)) for delivery in deliveries]
            for thread in threads:
                thread.start()
        for thread in threads:
            thread.join()
        with pytest.raises(LocalProtocolError, match="closed"):
            target.deliver(envelope(), MESSAGE)
    done = [delivery for delivery in deliveries if delivery.attempts]
    assert [delivery.outcomes[0].status for delivery in done] == [D] * len(done)
    check(server, len(done), 3)


def test_a_blocking_target_keeps_leaves_and_drops_like_the_others() -> None:
    server = ModelServer()
    with serve(server) as served:
        with smtpstate_blocking.Target(TargetConfig(targets=served.endpoint, idle_timeout=1000)) as target:
            assert [target.deliver(envelope(n), MESSAGE).outcomes[0].status for n in range(3)] == [D] * 3
        check(server, 3, 1)
        target = smtpstate_blocking.Target(TargetConfig(targets=served.endpoint))
        target.deliver(envelope(4), MESSAGE)
        check(server, 4, 2)

        def fail() -> None:
            with smtpstate_blocking.Target(TargetConfig(targets=served.endpoint)) as broken:
                broken.deliver(envelope(5), MESSAGE)
                raise KeyError("something else")

        with pytest.raises(KeyError):
            fail()
    assert server.connections[-1].commands[-1] != "QUIT"


def test_nobody_overtakes_at_the_gate() -> None:
    gate = Gate(1)
    order: list[int] = []
    threads: list[threading.Thread] = []
    with gate:
        for n in range(5):

            def pass_through(n: int = n) -> None:
                with gate:
                    order.append(n)

            threads.append(threading.Thread(target=pass_through))
            threads[-1].start()
            while len(gate._waiting) <= n:
                threads[-1].join(0.001)
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2, 3, 4]
