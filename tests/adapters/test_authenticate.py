"""Credentials tried alone: what the server says of them, and who may use the connection afterwards."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass

import anyio
import pytest

from adapters.alike import MESSAGE, config_for, numbered, run, target_of, until
from adapters.runtimes import Asynchronous, Runtime
from smtpstate import Auth, Credentials, LocalProtocolError, Reply, Status, TargetConfig
from smtpstate.testing import ModelServer, Rule, on
from smtpstate_testing import serve

pytestmark = pytest.mark.usefixtures("nothing_left")

ANN, BOB = Credentials("ann", "hunter2"), Credentials("bob", "pass-word")
WRONG = Credentials("ann", "stale-token")
D = Status.DELIVERED


def server(*rules: Rule, extensions: tuple[str, ...] = ("PIPELINING", "AUTH PLAIN LOGIN")) -> ModelServer:
    """Return a server that knows two users."""
    users = {login.user: login.password for login in (ANN, BOB)}
    return ModelServer(extensions=extensions, rules=rules, users=users, require_auth=True)


def forwarding(*endpoints: str, failover: frozenset[str] = frozenset({"connect"})) -> TargetConfig:
    return config_for(*endpoints, auth=Auth.forward(), insecure_auth=True, failover=failover)


@dataclass
class Tried:
    """What an attempt came to."""

    reply: Reply
    kept: int  # connections that the target had afterwards

    @property
    def enhanced(self) -> str:
        return str(self.reply.enhanced)


def attempt(runtime: Runtime, config: TargetConfig, credentials: Credentials = ANN) -> Tried:
    async def main() -> Tried:
        async with target_of(runtime, config) as target:
            reply = await target.authenticate(credentials)
            return Tried(reply, target._pool.count)

    return run(runtime, main)


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_who_is_let_in_hears_it_in_the_words_of_the_server(runtime: Runtime, mechanism: str) -> None:
    model = server(on("message").reply(250, "never"), extensions=(f"AUTH {mechanism}",))
    with serve(model) as served:
        tried = attempt(runtime, forwarding(served.endpoint))
    assert (tried.reply.code, tried.reply.local) == (235, False)
    assert tried.kept == 1
    assert [command.split()[0] for command in model.commands if "QUIT" in command] == ["QUIT"]
    assert not any("MAIL" in command for command in model.commands)


def test_who_is_refused_hears_it_too_and_nothing_is_kept(runtime: Runtime) -> None:
    model = server()
    with serve(model) as served:
        tried = attempt(runtime, forwarding(served.endpoint), WRONG)
    assert (tried.reply.code, tried.reply.local) == (535, False)
    assert tried.kept == 0
    assert sum("AUTH" in command for command in model.commands) == 1


@pytest.mark.parametrize(("code", "text"), [(454, "4.7.0 later"), (535, "5.7.8 no"), (538, "5.7.11 no")])
def test_what_the_server_says_is_the_result(runtime: Runtime, code: int, text: str) -> None:
    model = server(on("AUTH").reply(code, text))
    with serve(model) as served:
        tried = attempt(runtime, forwarding(served.endpoint))
    assert (tried.reply.code, tried.reply.text, tried.reply.local) == (code, text, False)
    assert tried.kept == 0


def test_where_nobody_can_be_asked_the_reply_is_a_local_one(runtime: Runtime) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        endpoint = f"tcp://127.0.0.1:{closed.getsockname()[1]}"
    tried = attempt(runtime, forwarding(endpoint))
    assert (tried.reply.local, tried.enhanced, tried.kept) == (True, "4.4.1", 0)


def test_where_no_mechanism_is_offered_the_reply_is_a_local_one_and_nothing_has_left(
    runtime: Runtime,
) -> None:
    model = server(extensions=())
    with serve(model) as served:
        tried = attempt(runtime, forwarding(served.endpoint))
    assert (tried.reply.local, tried.enhanced, tried.kept) == (True, "4.7.0", 0)
    assert not any("AUTH" in command for command in model.commands)


def test_nothing_is_sent_in_clear_unless_that_is_allowed(runtime: Runtime) -> None:
    model = server()
    with serve(model) as served:
        tried = attempt(runtime, config_for(served.endpoint, auth=Auth.forward()))
    assert (tried.reply.local, tried.enhanced, tried.kept) == (True, "4.7.11", 0)
    assert not any("AUTH" in command for command in model.commands)


def test_the_next_endpoint_is_asked_where_the_first_cannot_be_reached(runtime: Runtime) -> None:
    model = server()
    with socket.create_server(("127.0.0.1", 0)) as closed:
        endpoint = f"tcp://127.0.0.1:{closed.getsockname()[1]}"
    with serve(model) as served:
        tried = attempt(runtime, forwarding(endpoint, served.endpoint))
    assert tried.reply.code == 235


@pytest.mark.parametrize("code", [454, 535])
@pytest.mark.parametrize("moves", [False, True])
def test_a_refusal_is_taken_to_the_next_endpoint_only_where_that_is_wanted(
    runtime: Runtime, moves: bool, code: int
) -> None:
    first, second = server(on("AUTH").reply(code, "no")), server()
    failover = frozenset({"connect", "auth"} if moves else {"connect"})
    with serve(first) as one, serve(second) as two:
        tried = attempt(runtime, forwarding(one.endpoint, two.endpoint, failover=failover))
    assert tried.reply.code == (235 if moves else code)
    assert len(second.connections) == moves


@pytest.mark.parametrize("auth", [Auth.off(), Auth.plain("ann", "hunter2")], ids=["off", "plain"])
def test_it_is_for_targets_that_forward_credentials(runtime: Runtime, auth: Auth) -> None:
    async def main() -> None:
        config = config_for("tcp://127.0.0.1:9", auth=auth)
        async with target_of(runtime, config) as target:
            with pytest.raises(LocalProtocolError):
                await target.authenticate(ANN)
            assert target._pool.count == 0

    run(runtime, main)


def test_a_closed_target_tries_nothing(runtime: Runtime) -> None:
    async def main() -> None:
        async with target_of(runtime, forwarding("tcp://127.0.0.1:9")) as target:
            pass
        with pytest.raises(LocalProtocolError, match="closed"):
            await target.authenticate(ANN)

    run(runtime, main)


def test_the_connection_serves_the_same_login_and_no_other(runtime: Runtime) -> None:
    model = server()
    with serve(model) as served:

        async def main() -> None:
            async with target_of(runtime, forwarding(served.endpoint)) as target:
                assert (await target.authenticate(ANN)).code == 235
                bobs = await target.deliver(numbered(0), MESSAGE, credentials=BOB)
                wrong = await target.deliver(numbered(1), MESSAGE, credentials=WRONG)
                anns = await target.deliver(numbered(2), MESSAGE, credentials=ANN)
                async with target.transaction(numbered(3), credentials=ANN) as steps:
                    again = await steps.content(MESSAGE)
                assert [each.outcomes[0].status for each in (bobs, wrong, anns, again)] == [
                    D,
                    Status.REJECTED,
                    D,
                    D,
                ]

        run(runtime, main)
    found = {stored.recipients[0][:2]: (stored.connection, stored.identity) for stored in model.messages}
    assert found["r2"] == found["r3"] == (1, "ann")
    assert found["r0"] == (2, "bob")
    assert all(sum("AUTH" in command for command in peer.commands) == 1 for peer in model.connections)


def test_each_attempt_has_a_new_connection(runtime: Runtime) -> None:
    """What an older one was let in with may not be good any more."""
    model = server(on("AUTH", occurrence=3, across_connections=True).reply(535, "5.7.8 no more"))
    with serve(model) as served:

        async def main() -> list[int]:
            async with target_of(runtime, forwarding(served.endpoint)) as target:
                codes = [(await target.authenticate(ANN)).code for _ in range(4)]
                assert target._pool.count == 1
                return codes

        assert run(runtime, main) == [235, 235, 535, 235]
    assert len(model.connections) == 4
    assert all(peer.commands[-1] == "QUIT" for peer in model.connections)


def test_a_target_that_was_never_entered_keeps_no_connection_of_an_attempt(runtime: Runtime) -> None:
    model = server()
    with serve(model) as served:

        async def main() -> None:
            target = target_of(runtime, forwarding(served.endpoint))
            assert (await target.authenticate(ANN)).code == 235
            assert target._pool.count == 0

        run(runtime, main)
    assert model.commands[-1] == "QUIT"


def test_a_server_that_hangs_up_is_a_lost_one(runtime: Runtime) -> None:
    model = server(on("AUTH").close())
    with serve(model) as served:
        tried = attempt(runtime, forwarding(served.endpoint))
    assert (tried.reply.local, tried.reply.code, tried.kept) == (True, 421, 0)


def test_a_cancelled_attempt_leaves_nothing_behind(asynchronous: Asynchronous) -> None:
    model = server(on("AUTH", connection=1).silence())
    with serve(model) as served:

        async def main() -> None:
            async with asynchronous.target(forwarding(served.endpoint)) as target:
                tasks = len(anyio.get_running_tasks())

                async def stopped(cancel: Callable[[], object]) -> None:
                    async with anyio.create_task_group() as group:

                        async def when_asked() -> None:
                            await until(lambda: any("AUTH" in command for command in model.commands))
                            cancel()

                        group.start_soon(when_asked)
                        await target.authenticate(ANN)

                assert await asynchronous.cancelled(stopped) is not None
                assert len(anyio.get_running_tasks()) == tasks
                assert target._pool.count == 0
                assert (await target.authenticate(ANN)).code == 235

        asynchronous.loop(main)
