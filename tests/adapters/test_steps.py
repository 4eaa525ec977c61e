"""A transaction step by step: each answer as it comes, and nothing delivered that was not finished."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Iterator
from email.message import EmailMessage
from typing import Any

import anyio
import pytest

from adapters.alike import MESSAGE, OFFERS, Steps, config_for, numbered, run, target_of, until
from adapters.runtimes import Asynchronous, Runtime
from smtpstate import (
    Auth,
    Credentials,
    Delivery,
    DeliveryFailed,
    Envelope,
    LocalProtocolError,
    Message,
    Phase,
    Reply,
    Status,
)
from smtpstate.testing import ModelServer, on
from smtpstate_io import AsyncTransaction
from smtpstate_testing import serve

pytestmark = pytest.mark.usefixtures("nothing_left")

D, F, R, U = Status.DELIVERED, Status.DEFERRED, Status.REJECTED, Status.UNCERTAIN
OFFERED = pytest.mark.parametrize("offers", OFFERS)
NOBODY_YET = Envelope("a@x.example")


def statuses(delivery: Delivery) -> list[Status]:
    return [outcome.status for outcome in delivery.outcomes]


def is_lost(reply: Reply) -> bool:
    """Return whether it is what is said here of a lost connection."""
    return reply.local and reply.code == 421 and str(reply.enhanced) == "4.4.2"


def unused_endpoint() -> str:
    """Return where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        return f"tcp://127.0.0.1:{closed.getsockname()[1]}"


# Answers.


@OFFERED
@pytest.mark.parametrize("protocol", ["smtp", "lmtp"])
def test_each_step_gives_the_answer_and_the_message_goes_to_those_accepted(
    runtime: Runtime, offers: str, protocol: str
) -> None:
    answers = {"b": (250, "2.1.5 ok"), "c": (450, "4.2.1 busy"), "d": (550, "5.1.1 no"), "e": (552, "full")}
    rules = [on("RCPT", f"{name}@y.example").reply(*answer) for name, answer in answers.items()]
    rules.append(on("MAIL").reply(250, "2.1.0 welcome"))
    server = ModelServer(protocol, OFFERS[offers], rules)
    with serve(server) as served:

        async def main() -> Delivery:
            config = config_for(served.endpoint, protocol=protocol)
            async with target_of(runtime, config) as target, target.transaction(NOBODY_YET) as steps:
                assert (steps.reply.code, steps.reply.text) == (250, "2.1.0 welcome")
                for name, answer in answers.items():
                    reply = await steps.recipient(f"{name}@y.example")
                    assert (reply.code, reply.text, reply.local) == (*answer, False)
                assert statuses(steps.delivery) == [F, F, R, F]
                assert (await steps.recipient("f@y.example")).code == 250
                delivery = await steps.content(MESSAGE)
                assert delivery is steps.delivery
                return delivery

        delivery = run(runtime, main)
    assert statuses(delivery) == [D, F, R, F, D]
    assert [outcome.recipient[0] for outcome in delivery.outcomes] == list("bcdef")
    (stored,) = server.messages
    assert stored.recipients == ("b@y.example", "f@y.example")
    assert stored.content == MESSAGE
    assert stored.by == ("BDAT" if offers == "bdat" else "DATA")
    assert [peer.commands[-1] for peer in server.connections] == ["QUIT"]
    assert server.violations == []
    assert len(delivery.attempts) == 1


def test_with_lmtp_each_recipient_has_a_final_reply(runtime: Runtime) -> None:
    rules = [
        on("message", "c@y.example").reply(452, "4.2.2 full"),
        on("message", "d@y.example").reply(550, "5.2.1 no"),
    ]
    server = ModelServer("lmtp", OFFERS["data"], rules)
    with serve(server) as served:

        async def main() -> Delivery:
            config = config_for(served.endpoint, protocol="lmtp")
            async with target_of(runtime, config) as target, target.transaction(NOBODY_YET) as steps:
                for name in "bcd":
                    assert (await steps.recipient(f"{name}@y.example")).code == 250
                return await steps.content(MESSAGE)

        assert statuses(run(runtime, main)) == [D, F, R]


def test_recipients_of_the_envelope_are_named_on_entry(runtime: Runtime) -> None:
    server = ModelServer(extensions=OFFERS["data"], rules=[on("RCPT", "c@y.example").reply(550, "5.1.1 no")])
    with serve(server) as served:

        async def main() -> Delivery:
            envelope = Envelope("a@x.example", ["b@y.example", "c@y.example"])
            async with (
                target_of(runtime, config_for(served.endpoint)) as target,
                target.transaction(envelope) as steps,
            ):
                assert statuses(steps.delivery) == [F, R]
                await steps.recipient("d@y.example")
                return await steps.content(MESSAGE)

        assert statuses(run(runtime, main)) == [D, R, D]
    assert server.messages[0].recipients == ("b@y.example", "d@y.example")


@pytest.mark.parametrize(
    ("step", "status", "phase"), [("DATA", F, Phase.DATA), ("message", R, Phase.FINAL)], ids=["data", "final"]
)
def test_a_message_that_is_refused_is_an_outcome(
    runtime: Runtime, step: str, status: Status, phase: Phase
) -> None:
    code = 451 if status is F else 554
    server = ModelServer(extensions=OFFERS["data"], rules=[on(step, occurrence=1).reply(code, "no")])
    with serve(server) as served:

        async def main() -> Delivery:
            async with target_of(runtime, config_for(served.endpoint)) as target:
                async with target.transaction(numbered(0)) as steps:
                    delivery = await steps.content(MESSAGE)
                assert statuses(await target.deliver(numbered(1), MESSAGE)) == [D]
                return delivery

        (outcome,) = run(runtime, main).outcomes
    assert (outcome.status, outcome.phase, outcome.reply.code) == (status, phase, code)
    assert len(server.connections) == 1


def test_no_message_is_sent_where_nobody_was_accepted(runtime: Runtime) -> None:
    server = ModelServer(extensions=OFFERS["plain"], rules=[on("RCPT").reply(550, "5.1.1 no")])
    with serve(server) as served:

        async def main() -> Delivery:
            async with (
                target_of(runtime, config_for(served.endpoint)) as target,
                target.transaction(NOBODY_YET) as steps,
            ):
                await steps.recipient("b@y.example")
                return await steps.content(MESSAGE)

        assert statuses(run(runtime, main)) == [R]
    assert "DATA" not in server.commands


def test_the_server_takes_no_more_recipients_than_it_has_said(runtime: Runtime) -> None:
    server = ModelServer(extensions=("PIPELINING", "LIMITS RCPTMAX=2"))
    with serve(server) as served:

        async def main() -> Delivery:
            async with (
                target_of(runtime, config_for(served.endpoint)) as target,
                target.transaction(numbered(0)) as steps,
            ):
                assert (await steps.recipient("c@y.example")).code == 250
                reply = await steps.recipient("d@y.example")
                assert (reply.code, str(reply.enhanced), reply.local) == (452, "4.5.3", True)
                return await steps.content(MESSAGE)

        assert statuses(run(runtime, main)) == [D, D, F]
    assert sum("RCPT" in command for command in server.commands) == 2


# The beginning.


@pytest.mark.parametrize(("code", "status"), [(550, R), (450, F)])
def test_a_refused_sender_fails_the_entry_and_keeps_the_connection(
    runtime: Runtime, code: int, status: Status
) -> None:
    server = ModelServer(rules=[on("MAIL", occurrence=1).reply(code, "no thanks")])
    with serve(server) as served:

        async def main() -> DeliveryFailed:
            async with target_of(runtime, config_for(served.endpoint)) as target:
                with pytest.raises(DeliveryFailed) as caught:
                    async with target.transaction(numbered(0)):
                        raise AssertionError("unreachable")
                async with target.transaction(numbered(1)) as steps:
                    assert statuses(await steps.content(MESSAGE)) == [D]
                return caught.value

        failure = run(runtime, main)
    assert failure.reply is not None
    assert (failure.reply.code, failure.reply.text, failure.reply.local) == (code, "no thanks", False)
    assert statuses(failure.delivery) == [status]
    assert len(failure.delivery.attempts) == 1
    assert len(server.connections) == 1


def test_without_an_endpoint_the_entry_fails(runtime: Runtime) -> None:
    async def main() -> DeliveryFailed:
        async with target_of(runtime, config_for(unused_endpoint(), unused_endpoint())) as target:
            with pytest.raises(DeliveryFailed) as caught:
                async with target.transaction(NOBODY_YET):
                    raise AssertionError("unreachable")
            assert target._pool.count == 0
            return caught.value

    failure = run(runtime, main)
    assert failure.reply is not None
    assert failure.reply.local
    assert str(failure.reply.enhanced) == "4.4.1"
    assert failure.delivery.outcomes == ()
    assert len(failure.delivery.attempts) == 2


@pytest.mark.parametrize("transient", [False, True], ids=["unreachable", "busy"])
def test_the_second_endpoint_is_tried_before_anybody_is_named(runtime: Runtime, transient: bool) -> None:
    first = ModelServer(rules=[on("MAIL").reply(450, "4.3.2 busy")])
    second = ModelServer(extensions=OFFERS["bdat"])
    with serve(first) as one, serve(second) as two:

        async def main() -> Delivery:
            endpoint = one.endpoint if transient else unused_endpoint()
            config = config_for(endpoint, two.endpoint, failover={"connect", "transient"})
            async with target_of(runtime, config) as target, target.transaction(NOBODY_YET) as steps:
                assert (await steps.recipient("b@y.example")).code == 250
                return await steps.content(MESSAGE)

        delivery = run(runtime, main)
    assert statuses(delivery) == [D]
    assert len(delivery.attempts) == 2
    assert len(second.messages) == 1


def test_nobody_is_moved_to_another_endpoint_later(runtime: Runtime) -> None:
    first = ModelServer(rules=[on("RCPT", "c@y.example").reply(450, "4.2.1 busy")])
    second = ModelServer()
    with serve(first) as one, serve(second) as two:

        async def main() -> Delivery:
            config = config_for(one.endpoint, two.endpoint, failover={"connect", "transient"})
            async with target_of(runtime, config) as target, target.transaction(NOBODY_YET) as steps:
                assert (await steps.recipient("b@y.example")).code == 250
                assert (await steps.recipient("c@y.example")).code == 450
                return await steps.content(MESSAGE)

        assert statuses(run(runtime, main)) == [D, F]
    assert second.connections == []


@pytest.mark.parametrize("how", ["closed", "told", "at mail"])
def test_an_idle_connection_that_is_dead_by_then_is_not_noticed(runtime: Runtime, how: str) -> None:
    rules = {
        "closed": [on("message", connection=1).answer().close()],
        "told": [on("message", connection=1).answer().say(b"421 4.3.2 bye\r\n").close()],
        "at mail": [on("MAIL", connection=1, occurrence=2).close()],
    }
    server = ModelServer(extensions=OFFERS["bdat"], rules=rules[how])
    with serve(server) as served:

        async def main() -> Delivery:
            async with target_of(runtime, config_for(served.endpoint)) as target:
                assert statuses(await target.deliver(numbered(0), MESSAGE)) == [D]
                async with target.transaction(numbered(1)) as steps:
                    assert steps.reply.code == 250
                    assert not steps.reply.local
                    return await steps.content(MESSAGE)

        delivery = run(runtime, main)
    assert statuses(delivery) == [D]
    assert len(delivery.attempts) == 1
    assert [stored.connection for stored in server.messages] == [1, 2]


def test_a_step_carries_the_login_that_came_with_it(runtime: Runtime) -> None:
    server = ModelServer(extensions=("AUTH PLAIN",), users={"ann": "hunter2"}, require_auth=True)
    with serve(server) as served:

        async def main() -> None:
            config = config_for(served.endpoint, auth=Auth.forward(), insecure_auth=True)
            async with target_of(runtime, config) as target:
                login = Credentials("ann", "hunter2")
                async with target.transaction(numbered(0), credentials=login) as steps:
                    assert statuses(await steps.content(MESSAGE)) == [D]
                with pytest.raises(DeliveryFailed) as caught:
                    async with target.transaction(numbered(1)):
                        raise AssertionError("unreachable")
                assert caught.value.reply is not None
                assert (caught.value.reply.code, caught.value.reply.local) == (530, True)
                assert statuses(caught.value.delivery) == [R]

        run(runtime, main)
    assert [stored.identity for stored in server.messages] == ["ann"]


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


class _Stop(BaseException):
    """Whatever is no error, but ends a program."""


def test_whatever_ends_the_program_closes_the_connection_at_once(runtime: Runtime) -> None:
    server = ModelServer()
    with serve(server) as served:

        async def main() -> Delivery:
            async with target_of(runtime, config_for(served.endpoint)) as target:
                kept: list[Delivery] = []

                async def stop() -> None:
                    async with target.transaction(numbered(0)) as steps:
                        kept.append(steps.delivery)
                        raise _Stop

                with pytest.raises(_Stop):
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
                    again = Message(lambda: opened.append(True) or [MESSAGE])
                    assert statuses(await steps.content(again)) == [status]
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
