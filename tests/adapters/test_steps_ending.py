"""A transaction step by step that ends before its time: nothing is delivered that was not finished."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import pytest

from adapters.alike import (
    MESSAGE,
    OFFERED,
    OFFERS,
    D,
    F,
    Stop,
    U,
    config_for,
    numbered,
    run,
    target_of,
    until,
)
from adapters.runtimes import Asynchronous, Runtime
from smtpstate import (
    Delivery,
    Envelope,
    LocalProtocolError,
    Message,
    Reply,
    Status,
)
from smtpstate.testing import ModelServer, on
from smtpstate_io import AsyncTransaction
from smtpstate_testing import serve

pytestmark = pytest.mark.usefixtures("nothing_left")

NOBODY_YET = Envelope("a@x.example")


def statuses(delivery: Delivery) -> list[Status]:
    return [outcome.status for outcome in delivery.outcomes]


def is_lost(reply: Reply) -> bool:
    """Return whether it is what is said here of a lost connection."""
    return reply.local and reply.code == 421 and str(reply.enhanced) == "4.4.2"


# The connection is lost.


@OFFERED
def test_after_a_lost_connection_every_step_says_so(runtime: Runtime, offers: str) -> None:
    server = ModelServer(extensions=OFFERS[offers], rules=[on("RCPT", connection=1, occurrence=2).close()])
    with serve(server) as served:

        async def main() -> Delivery:
            async with target_of(runtime, config_for(served.endpoint)) as target:
                async with target.transaction(NOBODY_YET) as steps:
                    assert (await steps.recipient("b@y.example")).code == 250
                    assert is_lost(await steps.recipient("c@y.example"))
                    assert is_lost(await steps.recipient("d@y.example"))
                    delivery = await steps.content(MESSAGE)
                async with target.transaction(numbered(1)) as steps:
                    assert statuses(await steps.content(MESSAGE)) == [D]
                return delivery

        delivery = run(runtime, main)
    assert statuses(delivery) == [F, F, F]
    assert all(is_lost(outcome.reply) for outcome in delivery.outcomes)
    assert len(server.connections) == 2
    assert [stored.connection for stored in server.messages] == [2]


def test_a_server_that_closes_says_so_to_everybody(runtime: Runtime) -> None:
    server = ModelServer(rules=[on("RCPT", connection=1, occurrence=2).reply(421, "4.3.2 closing").close()])
    with serve(server) as served:

        async def main() -> Delivery:
            async with target_of(runtime, config_for(served.endpoint)) as target:
                async with target.transaction(NOBODY_YET) as steps:
                    assert (await steps.recipient("b@y.example")).code == 250
                    for name in "cd":
                        reply = await steps.recipient(f"{name}@y.example")
                        assert (reply.code, reply.text, reply.local) == (421, "4.3.2 closing", False)
                    delivery = await steps.content(MESSAGE)
                assert statuses(await target.deliver(numbered(1), MESSAGE)) == [D]
                return delivery

        assert statuses(run(runtime, main)) == [F, F, F]
    assert [stored.connection for stored in server.messages] == [2]


@OFFERED
def test_a_connection_lost_after_the_message_leaves_it_uncertain(runtime: Runtime, offers: str) -> None:
    server = ModelServer(extensions=OFFERS[offers], rules=[on("message").close()])
    with serve(server) as served:

        async def main() -> Delivery:
            async with (
                target_of(runtime, config_for(served.endpoint)) as target,
                target.transaction(numbered(0)) as steps,
            ):
                return await steps.content(MESSAGE)

        assert statuses(run(runtime, main)) == [U]


# Leaving.


@OFFERED
def test_leaving_early_delivers_nothing_and_the_connection_goes_on(runtime: Runtime, offers: str) -> None:
    server = ModelServer(extensions=OFFERS[offers])
    with serve(server) as served:

        async def main() -> Delivery:
            async with target_of(runtime, config_for(served.endpoint)) as target:
                async with target.transaction(numbered(0)) as left:
                    await left.recipient("b@y.example")
                async with target.transaction(numbered(1)) as steps:
                    assert statuses(await steps.content(MESSAGE)) == [D]
                return left.delivery

        delivery = run(runtime, main)
    assert statuses(delivery) == [F, F]
    assert "left" in str(delivery.outcomes[0].reply)
    assert [stored.recipients for stored in server.messages] == [("r1@y.example",)]
    assert len(server.connections) == 1
    commands = [command for command in server.commands if command.split()[0] in ("MAIL", "RSET")]
    assert [command.split()[0] for command in commands] == ["MAIL", "RSET", "MAIL"]


def test_an_exception_of_the_caller_comes_out_as_it_is_and_the_connection_goes_on(runtime: Runtime) -> None:
    server = ModelServer()
    with serve(server) as served:

        async def main() -> None:
            async with target_of(runtime, config_for(served.endpoint)) as target:
                for error in (KeyError("mine"), StopAsyncIteration("mine"), StopIteration("mine")):
                    with pytest.raises(type(error)) as caught:
                        async with target.transaction(numbered(0)):
                            raise error
                    assert caught.value is error
                assert target._pool.count == 1

        run(runtime, main)
    assert server.messages == []
    assert len(server.connections) == 1


def test_whatever_ends_the_program_closes_the_connection_at_once(runtime: Runtime) -> None:
    server = ModelServer()
    with serve(server) as served:

        async def main() -> Delivery:
            async with target_of(runtime, config_for(served.endpoint)) as target:
                kept: list[Delivery] = []

                async def stop() -> None:
                    async with target.transaction(numbered(0)) as steps:
                        kept.append(steps.delivery)
                        raise Stop

                with pytest.raises(Stop):
                    await stop()
                assert target._pool.count == 0
                return kept[0]

        assert statuses(run(runtime, main)) == [F]
    assert "QUIT" not in server.commands


def test_a_target_that_was_never_entered_keeps_no_connection_of_a_transaction(runtime: Runtime) -> None:
    server = ModelServer()
    with serve(server) as served:

        async def main() -> None:
            target = target_of(runtime, config_for(served.endpoint))
            for n in range(2):
                async with target.transaction(numbered(n)) as steps:
                    assert statuses(await steps.content(MESSAGE)) == [D]

        run(runtime, main)
    assert [peer.commands[-1] for peer in server.connections] == ["QUIT", "QUIT"]


# Cancellation.


def test_whoever_goes_on_after_a_cancelled_step_hears_that_the_connection_is_lost(
    asynchronous: Asynchronous,
) -> None:
    server = ModelServer(extensions=OFFERS["data"], rules=[on("RCPT", "c@y.example").silence()])
    with serve(server) as served:

        async def main() -> Delivery:
            async with asynchronous.target(config_for(served.endpoint)) as target:
                async with target.transaction(NOBODY_YET) as steps:
                    assert (await steps.recipient("b@y.example")).code == 250

                    async def stopped(cancel: Callable[[], object]) -> None:
                        cancel()  # comes where the step waits for the answer
                        await steps.recipient("c@y.example")

                    error = await asynchronous.cancelled(stopped)
                    assert type(error) is asynchronous.cancellation
                    assert is_lost(await steps.recipient("d@y.example"))
                    delivery = await steps.content(MESSAGE)
                assert target._pool.count == 0
                assert statuses(await target.deliver(numbered(1), MESSAGE)) == [D]
                return delivery

        assert statuses(asynchronous.loop(main)) == [F, F, F]
    first, _ = server.connections
    assert [command.split()[0] for command in first.commands] == ["EHLO", "MAIL", "RCPT", "RCPT"]
    assert [stored.connection for stored in server.messages] == [2]


@pytest.mark.parametrize(("offers", "status"), [("bdat", U), ("data", F)])
def test_a_message_that_was_cancelled_is_uncertain_if_its_end_was_sent(
    asynchronous: Asynchronous, offers: str, status: Status
) -> None:
    server = ModelServer(
        extensions=OFFERS[offers], rules=[on("DATA").silence(), on("message", connection=1).silence()]
    )
    opened: list[bool] = []

    def again() -> list[bytes]:
        opened.append(True)
        return [MESSAGE]

    with serve(server) as served:

        async def main() -> Delivery:
            async with asynchronous.target(config_for(served.endpoint)) as target:
                async with target.transaction(numbered(0)) as steps:

                    async def stopped(cancel: Callable[[], object]) -> None:
                        cancel()
                        await steps.content(MESSAGE)

                    error = await asynchronous.cancelled(stopped)
                    assert type(error) is asynchronous.cancellation
                    assert statuses(steps.delivery) == [status]
                    assert statuses(await steps.content(Message(again))) == [status]
                    assert opened == []
                    with pytest.raises(LocalProtocolError, match="over"):
                        await steps.recipient("b@y.example")
                assert target._pool.count == 0
                return steps.delivery

        assert statuses(asynchronous.loop(main)) == [status]


def test_a_cancellation_between_steps_closes_the_connection_at_once(asynchronous: Asynchronous) -> None:
    server = ModelServer()
    kept: list[Delivery] = []
    with serve(server) as served:

        async def main() -> None:
            async with asynchronous.target(config_for(served.endpoint, max_connections=1)) as target:
                tasks = len(anyio.get_running_tasks())

                async def stopped(cancel: Callable[[], object]) -> None:
                    async with target.transaction(numbered(0)) as steps:
                        kept.append(steps.delivery)
                        cancel()
                        await asynchronous.sleep()

                error = await asynchronous.cancelled(stopped)
                assert type(error) is asynchronous.cancellation
                assert len(anyio.get_running_tasks()) == tasks
                assert target._pool.count == 0
                assert statuses(await target.deliver(numbered(1), MESSAGE)) == [D]

        asynchronous.loop(main)
    assert statuses(kept[0]) == [F]
    assert [peer.commands.count("QUIT") for peer in server.connections] == [0, 1]


def test_a_cancellation_on_entry_leaves_nothing_behind(asynchronous: Asynchronous) -> None:
    server = ModelServer(rules=[on("MAIL", connection=1).silence()])
    with serve(server) as served:

        async def main() -> None:
            async with asynchronous.target(config_for(served.endpoint, max_connections=1)) as target:

                async def stopped(cancel: Callable[[], object]) -> None:
                    async with anyio.create_task_group() as group:

                        async def when_asked() -> None:
                            await until(lambda: any("MAIL" in command for command in server.commands))
                            cancel()

                        group.start_soon(when_asked)
                        async with target.transaction(numbered(0)):
                            raise AssertionError("unreachable")

                assert await asynchronous.cancelled(stopped) is not None
                assert target._pool.count == 0
                assert statuses(await target.deliver(numbered(1), MESSAGE)) == [D]

        asynchronous.loop(main)


def test_a_connection_is_not_kept_whose_last_step_is_still_under_way(asynchronous: Asynchronous) -> None:
    server = ModelServer(rules=[on("RCPT", "b@y.example").silence()])
    with serve(server) as served:

        async def main() -> None:
            async with asynchronous.target(config_for(served.endpoint, max_connections=1)) as target:
                replies: list[Reply] = []

                async def name(steps: AsyncTransaction) -> None:
                    replies.append(await steps.recipient("b@y.example"))

                async with anyio.create_task_group() as group:
                    async with target.transaction(NOBODY_YET) as steps:
                        group.start_soon(name, steps)
                        await until(lambda: any("RCPT" in command for command in server.commands))
                    assert target._pool.count == 0
                    assert statuses(steps.delivery) == [F]
                    assert statuses(await target.deliver(numbered(1), MESSAGE)) == [D]
                assert is_lost(replies[0])

        asynchronous.loop(main)
    assert [stored.connection for stored in server.messages] == [2]
