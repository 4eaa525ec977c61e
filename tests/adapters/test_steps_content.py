"""A transaction step by step: its message, what was declared of it, and mistakes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from email.message import EmailMessage
from typing import Any

import pytest

from adapters.alike import (
    MESSAGE,
    OFFERS,
    D,
    F,
    R,
    Steps,
    config_for,
    numbered,
    run,
    target_of,
)
from adapters.runtimes import Runtime
from smtpstate import (
    Delivery,
    DeliveryFailed,
    Envelope,
    LocalProtocolError,
    Message,
    Status,
)
from smtpstate.testing import ModelServer
from smtpstate_io import AsyncTransaction
from smtpstate_testing import serve

pytestmark = pytest.mark.usefixtures("nothing_left")

NOBODY_YET = Envelope("a@x.example")


def statuses(delivery: Delivery) -> list[Status]:
    return [outcome.status for outcome in delivery.outcomes]


# The message, and what was declared of it.

ALL = ("PIPELINING", "8BITMIME", "SMTPUTF8", "CHUNKING", "BINARYMIME", "SIZE 1000")


@pytest.mark.parametrize(
    ("declared", "message", "said"),
    [
        ({}, MESSAGE, {"BODY": "8BITMIME"}),  # it may turn out to be
        ({"eight_bit": False}, MESSAGE, {}),
        ({"eight_bit": False, "size": 22}, MESSAGE, {"SIZE": "22"}),
        ({"eight_bit": True}, b"Subject: x\r\n\r\n\xe4\r\n", {"BODY": "8BITMIME"}),
        ({"utf8": True}, "Subject: ä\r\n\r\nä\r\n".encode(), {"BODY": "8BITMIME", "SMTPUTF8": None}),
        ({"binary": True}, b"Subject: x\r\n\r\na\nb\rc\0", {"BODY": "BINARYMIME"}),
    ],
    ids=["nothing", "7bit", "size", "8bit", "utf8", "binary"],
)
def test_what_is_declared_is_said_before_the_message_is_there(
    runtime: Runtime, declared: dict[str, Any], message: bytes, said: dict[str, str | None]
) -> None:
    server = ModelServer(extensions=ALL)
    with serve(server) as served:

        async def main() -> Delivery:
            async with (
                target_of(runtime, config_for(served.endpoint)) as target,
                target.transaction(numbered(0), **declared) as steps,
            ):
                return await steps.content(message)

        assert statuses(run(runtime, main)) == [D]
    assert dict(server.messages[0].parameters) == said
    assert server.messages[0].content == message
    assert server.violations == []


@pytest.mark.parametrize(
    ("declared", "offers", "enhanced"),
    [
        ({"size": 2000}, ("SIZE 1000",), "5.3.4"),
        ({"eight_bit": True}, (), "5.6.3"),
        ({"utf8": True}, (), "5.6.7"),
        ({"binary": True}, ("CHUNKING",), "5.6.3"),
    ],
    ids=["size", "8bit", "utf8", "binary"],
)
def test_what_the_server_cannot_take_fails_the_entry(
    runtime: Runtime, declared: dict[str, Any], offers: tuple[str, ...], enhanced: str
) -> None:
    server = ModelServer(extensions=offers)
    with serve(server) as served:

        async def main() -> DeliveryFailed:
            async with target_of(runtime, config_for(served.endpoint)) as target:
                with pytest.raises(DeliveryFailed) as caught:
                    async with target.transaction(numbered(0), **declared):
                        raise AssertionError("unreachable")
                return caught.value

        failure = run(runtime, main)
    assert failure.reply is not None
    assert (failure.reply.local, str(failure.reply.enhanced)) == (True, enhanced)
    assert statuses(failure.delivery) == [R]
    assert not any("MAIL" in command for command in server.commands)


@pytest.mark.parametrize(
    ("message", "offers", "enhanced"),
    [
        (b"Subject: x\r\n\r\n\xe4\r\n", (), "5.6.3"),
        (b"Subject: x\r\n\r\n" + b"x" * 2000, ("SIZE 1000",), "5.3.4"),
    ],
    ids=["8bit", "size"],
)
def test_a_message_that_the_server_cannot_take_after_all_is_rejected(
    runtime: Runtime, message: bytes, offers: tuple[str, ...], enhanced: str
) -> None:
    server = ModelServer(extensions=offers)
    with serve(server) as served:

        async def main() -> Delivery:
            async with target_of(runtime, config_for(served.endpoint)) as target:
                async with target.transaction(numbered(0)) as steps:
                    delivery = await steps.content(message)
                assert statuses(await target.deliver(numbered(1), MESSAGE)) == [D]
                return delivery

        (outcome,) = run(runtime, main).outcomes
    assert (outcome.status, str(outcome.reply.enhanced)) == (R, enhanced)
    assert len(server.messages) == len(server.connections) == 1


def test_a_binary_message_must_have_been_declared(runtime: Runtime) -> None:
    server = ModelServer(extensions=ALL)
    with serve(server) as served:

        async def main() -> None:
            async with target_of(runtime, config_for(served.endpoint)) as target:
                async with target.transaction(numbered(0)) as steps:
                    with pytest.raises(LocalProtocolError, match="declared"):
                        await steps.content(Message(b"a\nb", line_ends="binary"))
                assert statuses(steps.delivery) == [F]

        run(runtime, main)
    assert server.messages == []


def test_a_message_object_goes_in_the_form_that_was_agreed(runtime: Runtime) -> None:
    message = EmailMessage()
    message["Subject"] = "hello"
    message.set_content("grün\n")
    server = ModelServer(extensions=OFFERS["data"])
    with serve(server) as served:

        async def main() -> Delivery:
            async with (
                target_of(runtime, config_for(served.endpoint)) as target,
                target.transaction(numbered(0)) as steps,
            ):
                return await steps.content(message)

        assert statuses(run(runtime, main)) == [D]
    assert server.messages[0].content.isascii()
    assert b"Subject: hello\r\n" in server.messages[0].content


def test_progress_is_told(runtime: Runtime) -> None:
    server = ModelServer()
    told: list[tuple[int, int | None]] = []
    with serve(server) as served:

        async def main() -> None:
            async with (
                target_of(runtime, config_for(served.endpoint)) as target,
                target.transaction(numbered(0)) as steps,
            ):
                await steps.content(MESSAGE, progress=lambda sent, size: told.append((sent, size)))

        run(runtime, main)
    assert told[-1] == (len(MESSAGE), len(MESSAGE))


def test_a_source_that_fails_ends_the_transaction_and_the_connection(runtime: Runtime) -> None:
    server = ModelServer(extensions=OFFERS["data"])
    error = KeyError("mine")

    def source() -> Iterator[bytes]:
        yield b"Subject: x\r\n\r\n" + b"x" * 100_000
        raise error

    with serve(server) as served:

        async def main() -> Delivery:
            async with target_of(runtime, config_for(served.endpoint)) as target:
                async with target.transaction(numbered(0)) as steps:
                    with pytest.raises(KeyError) as caught:
                        await steps.content(source())
                    assert caught.value is error
                    with pytest.raises(LocalProtocolError, match="over"):
                        await steps.recipient("b@y.example")
                assert target._pool.count == 0
                assert statuses(await target.deliver(numbered(1), MESSAGE)) == [D]
                return steps.delivery

        assert statuses(run(runtime, main)) == [F]
    assert [stored.connection for stored in server.messages] == [2]


# Using it wrongly.


def test_after_the_end_there_are_no_steps(runtime: Runtime) -> None:
    server = ModelServer()
    with serve(server) as served:

        async def main() -> None:
            async with target_of(runtime, config_for(served.endpoint)) as target:
                async with target.transaction(numbered(0)) as steps:
                    await steps.content(MESSAGE)
                    for _ in range(2):
                        with pytest.raises(LocalProtocolError, match="over"):
                            await steps.recipient("b@y.example")
                        with pytest.raises(LocalProtocolError, match="over"):
                            await steps.content(MESSAGE)
                async with target.transaction(numbered(1)) as left:
                    pass
                for after in (steps, left):
                    with pytest.raises(LocalProtocolError, match="over"):
                        await after.recipient("b@y.example")
                    with pytest.raises(LocalProtocolError, match="over"):
                        await after.content(MESSAGE)
            with pytest.raises(LocalProtocolError, match="closed"):
                async with target.transaction(numbered(2)):
                    raise AssertionError("unreachable")

        run(runtime, main)
    assert len(server.messages) == 1


def test_a_mistake_changes_nothing(runtime: Runtime) -> None:
    server = ModelServer()
    text: Any = "a text"
    with serve(server) as served:

        async def main() -> None:
            async with target_of(runtime, config_for(served.endpoint)) as target:
                with pytest.raises(LocalProtocolError):
                    async with target.transaction(numbered(0), size=-1):
                        raise AssertionError("unreachable")
                async with target.transaction(NOBODY_YET) as steps:
                    with pytest.raises(LocalProtocolError):
                        await steps.recipient("b@y.example\r\nRCPT TO:<c@y.example>")
                    await steps.recipient("b@y.example")
                    with pytest.raises(LocalProtocolError):
                        await steps.content(text)
                    assert statuses(await steps.content(MESSAGE)) == [D]

        run(runtime, main)
    assert server.messages[0].recipients == ("b@y.example",)
    assert len(server.connections) == 1


def test_there_is_one_step_at_a_time(runtime: Runtime) -> None:
    """The message's own source is read in the middle of a step."""
    server = ModelServer()
    told: list[tuple[int, int | None]] = []
    with serve(server) as served:

        async def main() -> Delivery:
            async with (
                target_of(runtime, config_for(served.endpoint)) as target,
                target.transaction(numbered(0)) as steps,
            ):
                return await steps.content(busy(steps), progress=lambda sent, size: told.append((sent, size)))

        assert statuses(run(runtime, main)) == [D]
    assert server.messages[0].content == MESSAGE
    assert told[-1][0] == len(MESSAGE)  # the second message has not taken the place of the first


def busy(steps: AsyncTransaction | Steps) -> AsyncIterator[bytes] | Iterator[bytes]:
    """Give the message, and try another step and another message meanwhile."""
    if isinstance(steps, AsyncTransaction):

        async def waiting(steps: AsyncTransaction = steps) -> AsyncIterator[bytes]:
            with pytest.raises(LocalProtocolError, match="another step"):
                await steps.recipient("b@y.example")
            with pytest.raises(LocalProtocolError, match="another step"):
                await steps.content(b"another message")
            yield MESSAGE

        return waiting()

    def blocking(steps: Steps = steps) -> Iterator[bytes]:
        with pytest.raises(LocalProtocolError, match="another step"):
            steps.inner.recipient("b@y.example")
        with pytest.raises(LocalProtocolError, match="another step"):
            steps.inner.content(b"another message")
        yield MESSAGE

    return blocking()
