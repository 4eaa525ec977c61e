"""What no connection may be used again for: one whose session never opened, or of another event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

import smtpstate_asyncio
import smtpstate_blocking
from adapters.runtimes import RUNTIMES, Asynchronous, Runtime, Uvloop
from smtpstate import Auth, Delivery, Envelope, Status, TargetConfig
from smtpstate.testing import ModelServer, Rule, on
from smtpstate_testing import serve

D, F = Status.DELIVERED, Status.DEFERRED
MESSAGE = b"Subject: x\r\n\r\nhello\r\n"

_LOGIN: dict[str, Any] = {"auth": Auth.plain("me", "s3cret-word"), "insecure_auth": True}
_FAILURES: dict[str, tuple[list[Rule], tuple[str, ...], dict[str, Any]]] = {
    "no tls": ([], (), {"require_tls": True}),
    "starttls": ([on("STARTTLS").reply(454, "no")], ("STARTTLS",), {"require_tls": True}),
    "ehlo 4xx": ([on("EHLO").reply(450, "no")], (), {}),
    "helo 5xx": ([on("EHLO").reply(550, "no"), on("HELO").reply(550, "no")], (), {}),
    "auth": ([on("AUTH").reply(535, "no")], ("AUTH PLAIN",), _LOGIN),
}


def deliveries(number: int) -> list[Delivery]:
    return [Delivery(Envelope("a@x.example", [f"r{n}@y.example"]), MESSAGE) for n in range(number)]


def run_all(runtime: Runtime, config: TargetConfig, made: list[Delivery], *, queued: bool) -> None:
    """Deliver one after the other by one target: each by itself, or from a queue."""
    if not isinstance(runtime, Asynchronous):
        with smtpstate_blocking.Target(config) as blocking:
            if queued:
                with blocking.deliver_many(made, ahead=1) as results:
                    assert list(results) == made
            else:
                for delivery in made:
                    blocking.run(delivery)
        return
    runtime.loop(_run_all(runtime, config, made, queued=queued))


def _run_all(
    runtime: Asynchronous, config: TargetConfig, made: list[Delivery], *, queued: bool
) -> Callable[[], Awaitable[None]]:
    async def main() -> None:
        async with runtime.target(config) as target:
            if queued:
                async with target.deliver_many(made, ahead=1) as results:
                    assert [delivery async for delivery in results] == made
            else:
                for delivery in made:
                    await target.run(delivery)

    return main


@pytest.mark.parametrize("queued", [False, True])
@pytest.mark.parametrize("failure", _FAILURES)
@pytest.mark.parametrize("runtime", RUNTIMES, ids=repr)
def test_where_no_session_can_be_had_no_message_is_ever_spoken_of(
    runtime: Runtime, failure: str, queued: bool
) -> None:
    rules, extensions, settings = _FAILURES[failure]
    server = ModelServer(extensions=("PIPELINING", *extensions), rules=rules, users={"me": "s3cret-word"})
    made = deliveries(3)
    with serve(server) as served:
        config = TargetConfig(targets=served.endpoint, max_connections=1, **settings)
        run_all(runtime, config, made, queued=queued)
    assert [delivery.outcomes[0].status for delivery in made] == [F, F, F]
    assert server.messages == []
    assert not any(line.startswith(("MAIL", "RCPT")) for peer in server.connections for line in peer.commands)
    assert len(server.connections) == 3


# Event loops.


def entered_in_one_loop_left_in_another(
    run: Callable[[Callable[[], Awaitable[Any]]], Any], config: TargetConfig
) -> list[Status]:
    target = smtpstate_asyncio.Target(config)
    made = deliveries(6)

    async def enter() -> None:
        await target.__aenter__()
        await asyncio.gather(*map(target.run, made[:3]))

    async def use() -> None:
        await asyncio.gather(*map(target.run, made[3:5]))
        async with target.deliver_many(made[5:]) as results:
            assert [delivery async for delivery in results] == made[5:]

    async def leave() -> None:
        await target.__aexit__(None, None, None)

    for main in (enter, use, leave):
        run(main)
    return [delivery.outcomes[0].status for delivery in made]


@pytest.mark.parametrize("uvloop", [False, True])
def test_a_target_goes_from_one_event_loop_to_the_next_without_its_idle_connections(
    uvloop: bool, nothing_left: None
) -> None:
    def run(main: Callable[[], Awaitable[None]]) -> None:
        async def coroutine() -> None:
            await main()

        with asyncio.Runner(loop_factory=Uvloop().new_loop if uvloop else None) as runner:
            runner.run(coroutine())

    server = ModelServer(extensions=["PIPELINING"])
    with serve(server) as served:
        config = TargetConfig(targets=served.endpoint, max_connections=1)
        assert entered_in_one_loop_left_in_another(run, config) == [D] * 6
    assert len(server.connections) == 2
    assert server.violations == []


def test_a_target_that_was_never_entered_serves_several_at_once_in_each_loop(nothing_left: None) -> None:
    server = ModelServer(rules=[on("message").delay(0.05)])
    with serve(server) as served:
        target = smtpstate_asyncio.Target(TargetConfig(targets=served.endpoint, max_connections=1))

        async def main() -> None:
            made = deliveries(3)
            await asyncio.gather(*map(target.run, made))
            assert [delivery.outcomes[0].status for delivery in made] == [D] * 3

        for _ in range(2):
            asyncio.run(main())


def test_a_target_that_is_left_by_an_exception_in_another_loop_drops_what_was_idle(
    nothing_left: None,
) -> None:
    server = ModelServer()
    with serve(server) as served:
        target = smtpstate_asyncio.Target(TargetConfig(targets=served.endpoint))

        async def enter() -> None:
            await target.__aenter__()
            await target.run(deliveries(1)[0])

        async def leave() -> None:
            error = KeyError("something else")
            await target.__aexit__(KeyError, error, None)

        asyncio.run(enter())
        asyncio.run(leave())
    assert "QUIT" not in server.commands


def test_a_target_goes_from_one_run_to_the_next_under_every_framework(
    asynchronous: Asynchronous, nothing_left: None
) -> None:
    server = ModelServer(extensions=["PIPELINING"])
    with serve(server) as served:
        target = asynchronous.target(TargetConfig(targets=served.endpoint, max_connections=1))
        made = deliveries(6)

        async def use(begun: list[Delivery]) -> None:
            async with anyio.create_task_group() as group:
                for delivery in begun:
                    group.start_soon(target.run, delivery)

        async def enter() -> None:
            await target.__aenter__()
            await use(made[:3])

        async def leave() -> None:
            await use(made[3:])
            await target.__aexit__(None, None, None)

        for main in (enter, leave):
            asynchronous.loop(main)
    assert [delivery.outcomes[0].status for delivery in made] == [D] * 6
    assert len(server.connections) == 2
