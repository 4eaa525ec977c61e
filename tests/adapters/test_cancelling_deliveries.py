"""A delivery that is cancelled at any of its requests keeps what it knows, and its connection serves nobody else."""

from __future__ import annotations

from collections.abc import Callable
from ssl import SSLContext

import anyio
import pytest

from adapters.cancelling import MAINS, Requests, ca_file, delivery, fates, played
from adapters.directives import server_context
from adapters.runtimes import Asynchronous
from smtpstate import Status
from smtpstate._requests import Connect
from smtpstate_testing import serve

pytestmark = pytest.mark.usefixtures("nothing_left")

REQUESTS = {name: played(main)[0] for name, main in MAINS.items()}
CASES = [(name, n) for name, kinds in REQUESTS.items() for n in range(len(kinds))]


@pytest.fixture(scope="module")
def context() -> SSLContext:
    return server_context()


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> str:
    return ca_file(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Requests:
    return Requests(monkeypatch)


@pytest.mark.parametrize("name", MAINS)
def test_the_same_requests_are_made_as_in_memory(
    asynchronous: Asynchronous, name: str, requests: Requests, context: SSLContext, ca: str
) -> None:
    main = MAINS[name]
    deliveries = [delivery() for _ in range(main.before + 1)]
    with serve(main.server(), tls=context) as served:

        async def run() -> None:
            async with asynchronous.target(main.config(served.endpoint, ca)) as target:
                for each in deliveries:
                    requests.begin()
                    await target.run(each)
                assert tuple(requests.kinds) == REQUESTS[name]

        asynchronous.loop(run)
    assert fates(deliveries[-1]) == played(main)[1]
    assert [outcome.status.name for outcome in deliveries[-1].outcomes] == [
        "DELIVERED",
        "REJECTED",
        "DELIVERED",
    ]


@pytest.mark.parametrize(("name", "n"), CASES)
def test_a_delivery_cancelled_at_request_n_keeps_what_it_knows_and_leaves_nothing(
    asynchronous: Asynchronous, name: str, n: int, requests: Requests, context: SSLContext, ca: str
) -> None:
    main = MAINS[name]
    server = main.server()
    cancelled, following = delivery(), delivery()
    with serve(server, tls=context) as served:

        async def run() -> None:
            async with asynchronous.target(main.config(served.endpoint, ca)) as target:
                for _ in range(main.before):
                    await target.run(delivery())
                tasks = len(anyio.get_running_tasks())

                async def stopped(cancel: Callable[[], object]) -> None:
                    requests.begin(n, cancel)
                    await target.run(cancelled)

                error = await asynchronous.cancelled(stopped)
                assert type(error) is asynchronous.cancellation
                assert tuple(requests.kinds) == REQUESTS[name][: n + 1]
                assert len(anyio.get_running_tasks()) == tasks
                assert target._pool.count == 0
                requests.begin()
                await target.run(following)

        asynchronous.loop(run)
    assert fates(cancelled) == played(main, n)[1]
    assert fates(following) == played(main)[1]
    # Nobody said goodbye on the connection of the cancelled delivery, and the next had one of its own.
    last = len(server.connections)
    quits = [peer.commands.count("QUIT") for peer in server.connections]
    assert quits == [0] * (last - 1) + [1]
    assert last == 2 or REQUESTS[name][n] is Connect
    assert [stored.connection for stored in server.messages].count(last) == 1
    # Whoever may have the message already is never said to be without it.
    before_it = [stored for stored in server.messages if stored.connection != last][main.before :]
    has_it = {recipient for stored in before_it for recipient in stored.recipients}
    status = {outcome.recipient: outcome.status for outcome in cancelled.outcomes}
    assert all(status[recipient] in (Status.DELIVERED, Status.UNCERTAIN) for recipient in has_it)
    assert all(recipient in has_it for recipient in status if status[recipient] is Status.DELIVERED)


def test_some_are_cancelled_when_the_fate_of_a_part_of_the_recipients_is_known() -> None:
    known = {tuple(status for _, status, *_ in played(MAINS[name], n)[1]) for name, n in CASES}
    assert known >= {
        ("DEFERRED", "DEFERRED", "DEFERRED"),
        ("DEFERRED", "REJECTED", "DEFERRED"),
        ("UNCERTAIN", "REJECTED", "UNCERTAIN"),
        ("DELIVERED", "REJECTED", "UNCERTAIN"),
    }
