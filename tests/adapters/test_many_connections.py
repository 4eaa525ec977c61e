"""A queue of deliveries and its connections: how many there are, and what becomes of each delivery when one fails."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator

import pytest

from adapters.alike import (
    MESSAGE,
    OFFERED,
    OFFERS,
    PATIENCE,
    D,
    F,
    R,
    U,
    config_for,
    endless,
    mails,
    names,
    numbered,
    run,
    statuses,
    taken,
    target_of,
    until,
)
from adapters.directives import WAITING
from adapters.runtimes import Asynchronous, Runtime
from smtpstate import Auth, Credentials, Delivery, Envelope, LocalProtocolError
from smtpstate.testing import ModelServer, Peer, on
from smtpstate_testing import serve

pytestmark = pytest.mark.usefixtures("nothing_left")


# How many are begun, and on how many connections.


def test_a_caller_who_takes_nothing_is_waited_for(runtime: Runtime) -> None:
    server = ModelServer(extensions=OFFERS["bdat"])
    drawn = 0

    def given() -> Iterator[tuple[Envelope, bytes]]:
        nonlocal drawn
        for item in endless():
            drawn += 1
            yield item

    with serve(server) as served:

        async def main() -> None:
            config = config_for(served.endpoint, max_connections=2)
            async with target_of(runtime, config) as target, target.deliver_many(given(), ahead=3) as results:
                for n in range(1, 40):
                    if isinstance(runtime, Asynchronous):  # all lanes end by themselves
                        await until(lambda: bool(results._backlog.done) and not results._backlog.lanes)
                    # three given back, three under way in each of two lanes, and one at hand
                    assert drawn <= n - 1 + 3 + 2 * 3 + 1
                    await anext(results)

        run(runtime, main)
    assert len(server.connections) <= 2


@OFFERED
def test_when_a_connection_can_take_no_more_others_are_opened(runtime: Runtime, offers: str) -> None:
    """Three connections never answer; what is not on them must go over the fourth."""
    rules = [on("message", connection=n).silence() for n in (1, 2, 3)]
    server = ModelServer(extensions=OFFERS[offers], rules=rules)
    kept = mails(20)
    done: list[Delivery] = []
    with serve(server) as served:

        async def main() -> None:
            config = config_for(served.endpoint, max_connections=4, submission_timeout=PATIENCE)
            ahead = 2 if offers == "bdat" else 32
            async with (
                target_of(runtime, config) as target,
                target.deliver_many(kept, ahead=ahead) as results,
            ):
                while len(done) < 14:
                    done.append(await anext(results))
                raise KeyError("enough")

        with pytest.raises(KeyError, match="enough"):
            run(runtime, main)
    assert statuses(done) == [D] * 14
    assert len(server.connections) == 4
    on_fourth = [stored for stored in server.messages if stored.connection == 4]
    assert Counter(name for stored in on_fourth for name in stored.recipients) == Counter(names(done))


@pytest.mark.parametrize(("offers", "number"), [("bdat", 10), ("data", 2)])
def test_one_connection_does_where_it_takes_all_that_there_is(
    runtime: Runtime, offers: str, number: int
) -> None:
    server = ModelServer(extensions=OFFERS[offers])
    with serve(server) as served:

        async def main() -> list[Delivery]:
            async with (
                target_of(runtime, config_for(served.endpoint)) as target,
                target.deliver_many(mails(number)) as results,
            ):
                return [delivery async for delivery in results]

        assert statuses(run(runtime, main)) == [D] * number
    assert len(server.connections) == 1


@OFFERED
def test_with_one_ahead_each_is_answered_before_the_next_is_begun(runtime: Runtime, offers: str) -> None:
    server = ModelServer(extensions=OFFERS[offers])
    with serve(server) as served:

        async def main() -> list[Delivery]:
            config = config_for(served.endpoint, max_connections=1)
            async with (
                target_of(runtime, config) as target,
                target.deliver_many(mails(6), ahead=1) as results,
            ):
                return [delivery async for delivery in results]

        assert statuses(run(runtime, main)) == [D] * 6
    assert taken(server) == [f"r{n}@y.example" for n in range(6)]
    assert len(server.connections) == 1


@pytest.mark.parametrize("ahead", [0, -1])
def test_nothing_can_be_done_with_nothing_ahead(runtime: Runtime, ahead: int) -> None:
    target = target_of(runtime, config_for("tcp://127.0.0.1:9"))
    with pytest.raises(LocalProtocolError, match="ahead is at least 1"):
        target.deliver_many([], ahead=ahead)


def test_a_spent_connection_is_replaced_in_the_middle(runtime: Runtime) -> None:
    server = ModelServer(extensions=OFFERS["bdat"])
    with serve(server) as served:

        async def main() -> list[Delivery]:
            config = config_for(served.endpoint, max_connections=1, max_messages=3)
            async with target_of(runtime, config) as target, target.deliver_many(mails(8)) as results:
                return [delivery async for delivery in results]

        assert statuses(run(runtime, main)) == [D] * 8
    assert [stored.connection for stored in server.messages] == [1, 1, 1, 2, 2, 2, 3, 3]
    assert all(peer.commands[-1] == "QUIT" for peer in server.connections)


def test_a_target_that_was_never_entered_keeps_no_connection_of_a_queue(runtime: Runtime) -> None:
    server = ModelServer(extensions=OFFERS["bdat"])
    with serve(server) as served:

        async def main() -> list[Delivery]:
            target = target_of(runtime, config_for(served.endpoint))
            async with target.deliver_many(mails(5)) as results:
                return [delivery async for delivery in results]

        assert statuses(run(runtime, main)) == [D] * 5
    assert [peer.commands[-1] for peer in server.connections] == ["QUIT"]


# What fails on the servers' side.


@OFFERED
def test_after_a_lost_connection_only_what_may_have_arrived_is_uncertain(
    runtime: Runtime, offers: str
) -> None:
    server = ModelServer(extensions=OFFERS[offers], rules=[on("message", connection=1, occurrence=3).close()])
    kept = mails(8)
    with serve(server) as served:

        async def main() -> list[Delivery]:
            config = config_for(served.endpoint, max_connections=1)
            async with target_of(runtime, config) as target, target.deliver_many(kept) as results:
                return [delivery async for delivery in results]

        done = run(runtime, main)
    assert done == kept
    uncertain = [delivery for delivery in done if statuses([delivery]) == [U]]
    assert set(statuses(done)) == {D, U}
    assert uncertain == kept[2 : 2 + len(uncertain)]
    assert len(uncertain) == 1 or offers == "bdat"
    delivered = [delivery for delivery in done if delivery not in uncertain]
    assert Counter(name for name in taken(server) if name in names(delivered)) == Counter(names(delivered))


def test_what_nothing_has_come_of_goes_to_the_next_endpoint(runtime: Runtime) -> None:
    first = ModelServer(
        extensions=OFFERS["bdat"], rules=[on("MAIL", "a1@x.example").reply(450, "4.2.0 later")]
    )
    second = ModelServer(extensions=OFFERS["bdat"])
    kept = [Delivery(Envelope(f"a{n}@x.example", [f"r{n}@y.example"]), MESSAGE) for n in range(4)]
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = f"tcp://127.0.0.1:{closed.getsockname()[1]}"
    with serve(first) as one, serve(second) as two:

        async def main() -> list[Delivery]:
            config = config_for(
                nobody, one.endpoint, two.endpoint, failover={"connect", "transient"}, max_connections=1
            )
            async with target_of(runtime, config) as target, target.deliver_many(kept) as results:
                return [delivery async for delivery in results]

        done = run(runtime, main)
    assert done == kept
    assert statuses(done) == [D] * 4
    assert "r1@y.example" in taken(second)
    assert Counter(taken(first, second)) == Counter(names(kept))
    assert str(done[0].attempts[0].endpoint) == nobody


def test_refusals_are_outcomes_and_hold_nobody_up(runtime: Runtime) -> None:
    rules = [
        on("RCPT", "r1@y.example").reply(550, "5.1.1 no"),
        on("RCPT", "r3@y.example").reply(450, "4.2.1 no"),
    ]
    server = ModelServer(extensions=OFFERS["bdat"], rules=rules)
    with serve(server) as served:

        async def main() -> list[Delivery]:
            config = config_for(served.endpoint, max_connections=1)
            async with target_of(runtime, config) as target, target.deliver_many(mails(5)) as results:
                return [delivery async for delivery in results]

        assert statuses(run(runtime, main)) == [D, R, D, F, D]


@pytest.mark.parametrize("runtime", WAITING, ids=repr)
def test_a_server_that_falls_silent_is_given_up_in_time(runtime: Runtime) -> None:
    server = ModelServer(extensions=OFFERS["data"], rules=[on("RCPT", connection=1).silence()])
    with serve(server) as served:

        async def main() -> list[Delivery]:
            config = config_for(served.endpoint, max_connections=1, command_timeout=1.0)
            async with target_of(runtime, config) as target, target.deliver_many(mails(3)) as results:
                return [delivery async for delivery in results]

        done = run(runtime, main)
    assert statuses(done) == [F, D, D]
    assert "4.4.2" in str(done[0].outcomes[0].reply)


def test_each_has_the_login_that_came_with_it(runtime: Runtime) -> None:
    users = {"ann": "hunter2", "bob": "pass-word"}
    server = ModelServer(extensions=("PIPELINING", "CHUNKING", "AUTH PLAIN"), users=users, require_auth=True)
    logins = [Credentials(user, password) for user, password in users.items()]
    kept = [Delivery(numbered(n), MESSAGE, credentials=logins[n // 3]) for n in range(6)]
    kept += [Delivery(numbered(6), MESSAGE), Delivery(numbered(7), MESSAGE, credentials=logins[0])]
    with serve(server) as served:

        async def main() -> list[Delivery]:
            config = config_for(served.endpoint, auth=Auth.forward(), insecure_auth=True, max_connections=2)
            async with target_of(runtime, config) as target, target.deliver_many(kept, ahead=2) as results:
                return [delivery async for delivery in results]

        done = run(runtime, main)
    assert Counter(map(id, done)) == Counter(map(id, kept))
    assert statuses(kept) == [D] * 6 + [R, D]
    who = {stored.recipients[0]: stored.identity for stored in server.messages}
    assert who == {f"r{n}@y.example": "ann" if n < 3 or n == 7 else "bob" for n in (*range(6), 7)}


@pytest.mark.parametrize("offers", ["data", "bdat"])
def test_connections_that_are_replaced_are_not_too_many_either(
    runtime: Runtime, offers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = ModelServer(extensions=OFFERS[offers])
    open_together: list[int] = []
    connect = ModelServer.connect

    def counted(server: ModelServer) -> Peer:
        peer = connect(server)
        open_together.append(sum(not each.closed for each in server.connections))
        return peer

    monkeypatch.setattr(ModelServer, "connect", counted)
    with serve(server) as served:

        async def main() -> list[Delivery]:
            config = config_for(served.endpoint, max_connections=3, max_messages=4)
            async with (
                target_of(runtime, config) as target,
                target.deliver_many(mails(60), ahead=6) as results,
            ):
                return [delivery async for delivery in results]

        done = run(runtime, main)
    assert statuses(done) == [D] * 60
    assert Counter(taken(server)) == Counter(names(done))
    assert max(open_together) <= 3
    assert len(server.connections) >= 15
