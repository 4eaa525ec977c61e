"""A transaction step by step: how it begins, and each answer as it comes."""

from __future__ import annotations

import socket

import pytest

from adapters.alike import (
    MESSAGE,
    OFFERED,
    OFFERS,
    D,
    F,
    R,
    config_for,
    numbered,
    run,
    target_of,
)
from adapters.runtimes import Runtime
from smtpstate import (
    Auth,
    Credentials,
    Delivery,
    DeliveryFailed,
    Envelope,
    Phase,
    Status,
)
from smtpstate.testing import ModelServer, on
from smtpstate_testing import serve

pytestmark = pytest.mark.usefixtures("nothing_left")

NOBODY_YET = Envelope("a@x.example")


def statuses(delivery: Delivery) -> list[Status]:
    return [outcome.status for outcome in delivery.outcomes]


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
