"""Hundreds of deliveries at once through one pool: each arrives exactly once, and the pool keeps to its size."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator

import anyio
import pytest

import smtpstate_blocking
from adapters.runtimes import Asynchronous
from smtpstate import Delivery, Envelope, Phase, Status, TargetConfig
from smtpstate.testing import ModelServer, on
from smtpstate.testing._peer import Peer
from smtpstate_testing import serve

pytestmark = pytest.mark.usefixtures("nothing_left")

DELIVERIES = 500
POOL = 50
THREADS = 100


@pytest.fixture(params=[100, 4], ids=["kept", "replaced"])
def most_messages(request: pytest.FixtureRequest) -> int:
    """How many messages a connection carries: all that come, or so few that others must take its place."""
    assert isinstance(request.param, int)
    return request.param


@pytest.fixture
def open_together(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many connections a server has, noted each time that it takes one."""
    counts: list[int] = []
    connect = ModelServer.connect

    def counted(server: ModelServer) -> Peer:
        peer = connect(server)
        # One that the client has left by QUIT is over before the client hears the answer to that.
        counts.append(sum(not each.closed for each in server.connections))
        return peer

    monkeypatch.setattr(ModelServer, "connect", counted)
    return counts


def numbered(n: int) -> Delivery:
    """Return a delivery that no other is like."""
    return Delivery(Envelope("a@x.example", [f"r{n}@y.example"]), f"Subject: {n}\r\n\r\nhello\r\n".encode())


def check(server: ModelServer, deliveries: list[Delivery], open_together: list[int]) -> None:
    """All were delivered, to whom they were for, exactly once, and all connections are gone."""
    outcomes = [outcome for delivery in deliveries for outcome in delivery.outcomes]
    assert Counter(outcome.status for outcome in outcomes) == {Status.DELIVERED: DELIVERIES}
    came = Counter((stored.recipients, stored.content) for stored in server.messages)
    assert came == {
        ((f"r{n}@y.example",), f"Subject: {n}\r\n\r\nhello\r\n".encode()): 1 for n in range(DELIVERIES)
    }
    assert max(open_together) <= POOL
    assert all(peer.commands[-1:] == ["QUIT"] for peer in server.connections)
    assert server.violations == []


def test_500_tasks_share_a_pool_of_50(
    asynchronous: Asynchronous, most_messages: int, open_together: list[int]
) -> None:
    server = ModelServer(extensions=["PIPELINING"])
    deliveries = [numbered(n) for n in range(DELIVERIES)]
    with serve(server) as served:
        config = TargetConfig(
            targets=served.endpoint, max_connections=POOL, max_messages=most_messages, hostname="c.example"
        )

        async def main() -> None:
            async with asynchronous.target(config) as target, anyio.create_task_group() as group:
                for delivery in deliveries:
                    group.start_soon(target.run, delivery)

        asynchronous.loop(main)
    check(server, deliveries, open_together)
    # Every one of the pool's places is taken before the first delivery can be over.
    assert len(server.connections) >= max(POOL, DELIVERIES // most_messages)
    assert len(server.connections) == POOL or most_messages < 100


def test_whoever_waits_for_the_pool_can_be_cancelled(asynchronous: Asynchronous) -> None:
    # The first two say nothing more, so that all others wait until everybody is cancelled.
    silence = on("MAIL", occurrence=range(1, 3), across_connections=True).silence()
    server = ModelServer(rules=[silence])
    cancelled = [numbered(n) for n in range(100)]
    following = [numbered(n) for n in range(100, 110)]

    async def main() -> None:
        config = TargetConfig(targets=served.endpoint, max_connections=2, hostname="c.example")
        async with asynchronous.target(config) as target:
            async with anyio.create_task_group() as group:
                for delivery in cancelled:
                    group.start_soon(target.run, delivery)
                while sum("MAIL" in command for command in server.commands) < 2:
                    await asynchronous.turn()
                group.cancel_scope.cancel()
            assert target._pool.count == 0
            async with anyio.create_task_group() as group:
                for delivery in following:
                    group.start_soon(target.run, delivery)

    with serve(server) as served:
        asynchronous.loop(main)
    assert {delivery.outcomes[0].status for delivery in cancelled} == {Status.DEFERRED}
    assert sum(delivery.outcomes[0].phase is Phase.MAIL for delivery in cancelled) == 2
    assert {delivery.outcomes[0].status for delivery in following} == {Status.DELIVERED}
    assert len(server.messages) == 10
    assert len(server.connections) == 4  # none of them was used again, and both places were


def test_100_threads_share_a_pool_of_50(most_messages: int, open_together: list[int]) -> None:
    server = ModelServer(extensions=["PIPELINING"])
    deliveries = [numbered(n) for n in range(DELIVERIES)]
    waiting: Iterator[Delivery] = iter(deliveries)
    books = threading.Lock()
    with serve(server) as served:
        config = TargetConfig(
            targets=served.endpoint, max_connections=POOL, max_messages=most_messages, hostname="c.example"
        )
        with smtpstate_blocking.Target(config) as target:

            def work() -> None:
                while True:
                    with books:
                        delivery = next(waiting, None)
                    if delivery is None:
                        return
                    target.run(delivery)

            threads = [threading.Thread(target=work) for _ in range(THREADS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    check(server, deliveries, open_together)
    assert len(server.connections) >= DELIVERIES // most_messages
