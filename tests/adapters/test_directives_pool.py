"""How many connections a target keeps, and for how long: each directive's effect on the wire."""

from __future__ import annotations

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import smtpstate_blocking
from adapters.directives import ENVELOPE, MESSAGE, WAITING, D, config_of, deliver_in_turn, statuses
from adapters.runtimes import Asynchronous, Runtime
from smtpstate import Delivery, TargetConfig
from smtpstate._directives import DIRECTIVES, TLS_OPTIONS
from smtpstate.testing import ModelServer, on
from smtpstate_testing import serve


def deliver_at_once(runtime: Runtime, config: TargetConfig, times: int) -> list[Delivery]:
    """Deliver the same message several times at the same time, by one target."""
    if isinstance(runtime, Asynchronous):
        asynchronous = runtime

        async def main() -> list[Delivery]:
            async with asynchronous.target(config) as target:
                return await asyncio.gather(*(target.deliver(ENVELOPE, MESSAGE) for _ in range(times)))

        return asynchronous.loop(main)
    with smtpstate_blocking.Target(config) as target, ThreadPoolExecutor(times) as threads:
        waiting = [threads.submit(target.deliver, ENVELOPE, MESSAGE) for _ in range(times)]
        return [each.result() for each in waiting]


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("runtime", WAITING, ids=repr)
@pytest.mark.parametrize(
    ("directive", "connections"), [("max_connections 1", 1), ("max_connections 2", 2), ("", 4)]
)
def test_max_connections_are_open_at_once_and_the_others_wait(
    runtime: Runtime, directive: str, connections: int
) -> None:
    server = ModelServer(rules=[on("greeting").delay(0.3)])  # so that all of them have begun by then
    with serve(server) as served:
        deliveries = deliver_at_once(runtime, config_of(served.endpoint, directive), 4)
    assert [statuses(delivery) for delivery in deliveries] == [[D, D]] * 4
    assert len(server.connections) == connections


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize(
    ("directive", "used"),
    [("", [1, 1, 1, 1, 1]), ("max_messages 2", [1, 1, 2, 2, 3]), ("max_messages 1", [1, 2, 3, 4, 5])],
)
def test_max_messages_go_over_one_connection(runtime: Runtime, directive: str, used: list[int]) -> None:
    server = ModelServer()
    with serve(server) as served:
        deliveries = deliver_in_turn(runtime, config_of(served.endpoint, directive), 5)
    assert [statuses(delivery) for delivery in deliveries] == [[D, D]] * 5
    assert [message.connection for message in server.messages] == used
    assert [peer.commands[-1] for peer in server.connections] == ["QUIT"] * used[-1]


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize(("directive", "used"), [("", [1, 1]), ("idle_timeout 1ms", [1, 2])])
def test_idle_timeout_ends_the_use_of_a_connection(runtime: Runtime, directive: str, used: list[int]) -> None:
    server = ModelServer()
    with serve(server) as served:
        config = config_of(served.endpoint, directive)
        deliveries = deliver_in_turn(runtime, config, 2, pause=0.02)
    assert [statuses(delivery) for delivery in deliveries] == [[D, D]] * 2
    assert [message.connection for message in server.messages] == used
    assert [peer.commands[-1] for peer in server.connections] == ["QUIT"] * used[-1]


def test_every_directive_has_tests_named_after_it() -> None:
    texts = [path.read_text("utf-8") for path in Path(__file__).parent.glob("test_directives_*.py")]
    names = [name for text in texts for name in re.findall(r"^def test_(\w+)\(", text, re.MULTILINE)]
    wanted = [*DIRECTIVES, "tls_client"]
    assert [each for each in wanted if not any(name.startswith(each) for name in names)] == []
    of_tls = "_".join(name for name in names if name.startswith("tls_client_")).split("_")
    assert [each for each in TLS_OPTIONS if not set(each.split("_")) <= set(of_tls)] == []
