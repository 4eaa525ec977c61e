"""Waiting for one of a target's connections is part of what transaction_timeout covers."""

from __future__ import annotations

import threading

import anyio
import pytest

from adapters.alike import MESSAGE, D, F, config_for, numbered, run, statuses, target_of, until
from adapters.runtimes import LONG, Asynchronous, Runtime
from smtpstate import Auth, Credentials, DeadlinePassed, Delivery, DeliveryFailed, Outcome, TargetConfig
from smtpstate._courier import Courier
from smtpstate._dialogue import Dialogue
from smtpstate.testing import ModelServer
from smtpstate_blocking._gate import Gate
from smtpstate_testing import serve

pytestmark = pytest.mark.usefixtures("nothing_left")

#: Seconds.
SHORT = 0.3


def settings(endpoint: str) -> TargetConfig:
    return config_for(endpoint, max_connections=1, transaction_timeout=SHORT)


def check_late(outcome: Outcome) -> None:
    assert (outcome.status, outcome.phase.value, str(outcome.reply.enhanced)) == (F, "connect", "4.4.1")
    assert isinstance(outcome.error, DeadlinePassed)
    assert outcome.reply.local


def test_transaction_timeout_covers_the_wait_for_a_connection(runtime: Runtime) -> None:
    server = ModelServer()

    async def main() -> None:
        async with target_of(runtime, settings(served.endpoint)) as target:
            async with target.transaction(numbered(0)):  # it has the only connection
                late = await target.deliver(numbered(1), MESSAGE)
                check_late(late.outcomes[0])
                with pytest.raises(DeliveryFailed, match=r"421 4\.4\.1 .*deadline passed"):
                    async with target.transaction(numbered(2)):
                        raise AssertionError("it has begun")
                assert target._pool.count == 1
            assert statuses([await target.deliver(numbered(3), MESSAGE)]) == [D]
        assert target._pool.count == 0

    with serve(server) as served:
        run(runtime, main)
    assert [command for command in server.commands if command.startswith("RCPT")] == [
        "RCPT TO:<r0@y.example>",
        "RCPT TO:<r3@y.example>",
    ]


def test_transaction_timeout_covers_the_wait_to_try_credentials(runtime: Runtime) -> None:
    server = ModelServer(extensions=("AUTH PLAIN",), users={"me": "secret"})
    credentials = Credentials("me", "secret")

    async def main() -> None:
        config = config_for(
            served.endpoint,
            max_connections=1,
            transaction_timeout=SHORT,
            auth=Auth.forward(),
            insecure_auth=True,
        )
        async with target_of(runtime, config) as target:
            async with target.transaction(numbered(0), credentials=credentials):
                reply = await target.authenticate(credentials)
                assert (reply.code, str(reply.enhanced), reply.local) == (421, "4.4.1", True)
            assert (await target.authenticate(credentials)).code == 235

    with serve(server) as served:
        run(runtime, main)


def test_what_is_left_after_the_wait_is_all_that_a_delivery_has(
    asynchronous: Asynchronous, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float | None] = []
    times: list[float] = []
    delivering = Courier.delivering

    def noted(courier: Courier, delivery: Delivery, ends: float | None = None) -> Dialogue[None]:
        given.append(ends)
        return delivering(courier, delivery, ends)

    monkeypatch.setattr(Courier, "delivering", noted)

    async def main() -> None:
        config = config_for(served.endpoint, max_connections=1, transaction_timeout=LONG)
        async with asynchronous.target(config) as target:
            clock = target._wire().clock
            async with anyio.create_task_group() as group, target._permit():
                times.append(clock())
                group.start_soon(target.deliver, numbered(0), MESSAGE)
                await until(lambda: target._permit().waiting == 1)
                times.append(clock())
            [ends] = given
            assert ends is not None
            assert times[0] <= ends - LONG <= times[1]

    with serve(ModelServer()) as served:
        asynchronous.loop(main)


def test_who_is_too_late_at_the_gate_leaves_it_to_the_others() -> None:
    gate = Gate(1)
    with gate:
        assert not gate.enter(0)
        assert gate.waiting == 0
        late = threading.Thread(target=gate.enter)
        late.start()
        while not gate.waiting:
            late.join(0.001)
        assert not gate.enter(0)
        assert gate.waiting == 1
    late.join()
    assert not gate.enter_if_free()
    gate.leave()
    assert gate.enter(0)
