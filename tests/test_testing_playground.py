"""The playground: requests answered in memory, on a clock that passes only by waiting."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from smtpstate import (
    DeadlinePassed,
    Delivery,
    Dialogue,
    Endpoint,
    Envelope,
    TargetConfig,
    TransportError,
    forwarding,
)
from smtpstate._requests import (
    Clock,
    Connect,
    Connected,
    Give,
    Poll,
    Pull,
    Queue,
    Receive,
    Request,
    Send,
    Steps,
    Take,
)
from smtpstate.testing import (
    Abandoned,
    Accounts,
    Close,
    Exchange,
    Fault,
    ModelServer,
    Playground,
    Say,
    octet_by_octet,
    on,
)

MX = Endpoint.parse("tcp://mx.example:25")
GREETING = b"220 mx.example SMTP ready\r\n"


def connect(deadline: float = 10.0, endpoint: Endpoint = MX) -> Connect:
    return Connect(endpoint, None, deadline)


def play(server: ModelServer, begin: Callable[[Clock], Steps[None]]) -> Playground:
    playground = Playground({"tcp://mx.example:25": server})
    playground.run(begin)
    return playground


def ask(line: bytes, deadline: float = 100.0) -> Steps[bytes]:
    yield from Send(line + b"\r\n", deadline)
    return (yield from Receive(deadline))


def test_a_dialogue_is_played_to_its_result() -> None:
    def steps(clock: Clock) -> Steps[list[object]]:
        connected = yield from connect()
        greeting = yield from Receive(5.0)
        answer = yield from ask(b"QUIT")
        end = yield from Receive(5.0)
        return [connected, greeting, answer, end, clock()]

    playground = Playground({"tcp://mx.example:25": ModelServer()})
    assert playground.run(Dialogue(steps)) == [
        Connected("192.0.2.1", "192.0.2.25"),
        GREETING,
        b"221 2.0.0 goodbye\r\n",
        b"",
        0.0,
    ]
    assert playground.transcript == [
        "! connect mx.example:25",
        "S: 220 mx.example SMTP ready",
        "C: QUIT",
        "S: 221 2.0.0 goodbye",
        "! close",
    ]
    assert [type(request) for request in playground.requests] == [Connect, Receive, Send, Receive, Receive]
    assert playground.clock() == 0.0


def test_where_a_connection_leads_decides_what_it_is_like() -> None:
    unix = Endpoint.parse("unix:///run/lmtp")
    tls = Endpoint.parse("tls://mx.example:465")

    def steps(clock: Clock) -> Steps[list[Connected]]:
        first = yield from Connect(unix, None, 1.0)
        second = yield from Connect(tls, "192.0.2.9", 1.0)
        return [first, second]

    servers = {str(unix): ModelServer("lmtp"), str(tls): ModelServer()}
    playground = Playground(servers)
    assert playground.run(steps) == [Connected(None, None), Connected("192.0.2.9", "192.0.2.25")]
    assert playground.transcript == ["! connect unix:///run/lmtp", "! connect tls://mx.example:465"]
    assert servers[str(unix)].connections[0].closed  # who connects anew drops the connection before


def failing(request: Request) -> Callable[[Clock], Steps[Exception]]:
    """Return steps that connect, make ``request`` and return what it fails with."""

    def steps(clock: Clock) -> Steps[Exception]:
        if not isinstance(request, Connect):
            yield from connect()
        try:
            yield request
        except TransportError as error:
            return error
        raise AssertionError("it did not fail")

    return steps


@pytest.mark.parametrize(
    ("network", "message", "name_unknown", "time", "noted"),
    [
        ({}, "mx.example is not known", True, 0.0, "! refuse mx.example:25 mx.example is not known"),
        (
            {"tcp://mx.example:25": TransportError("refused")},
            "refused",
            False,
            0.0,
            "! refuse mx.example:25 refused",
        ),
        (
            {"tcp://mx.example:25": ModelServer(rules=[on("connect").refuse()])},
            "connection refused",
            False,
            0.0,
            "! refuse mx.example:25 connection refused",
        ),
        ({"tcp://mx.example:25": DeadlinePassed("slow")}, "slow", False, 10.0, "! refuse mx.example:25"),
    ],
)
def test_connecting_can_fail(
    network: dict[str, ModelServer | Exception], message: str, name_unknown: bool, time: float, noted: str
) -> None:
    playground = Playground(network)
    error = playground.run(failing(connect(10.0)))
    assert isinstance(error, TransportError)
    assert (str(error), error.name_unknown) == (message, name_unknown)
    assert playground.clock() == time
    assert playground.transcript == [noted]


def test_time_passes_only_by_waiting() -> None:
    def steps(clock: Clock) -> Steps[list[float]]:
        times = [clock()]
        yield from connect()
        yield from Receive(100.0)
        times.append(clock())
        yield from ask(b"NOOP")
        times.append(clock())
        yield from Send(b"HELP\r\n", 100.0)
        assert (yield from Poll()) is None
        yield from Receive(100.0)
        return [*times, clock()]

    server = ModelServer(rules=[on("connect").delay(3), on("HELP").delay(4.5)])
    playground = Playground({"tcp://mx.example:25": server}, latency=0.25)
    assert playground.run(steps) == [0.0, 3.25, 3.5, 8.25]


def test_a_silent_server_lets_the_deadline_pass() -> None:
    server = ModelServer(rules=[on("greeting").silence()])
    playground = Playground({"tcp://mx.example:25": server})
    assert str(playground.run(failing(Receive(7.0)))) == "the server did not answer in time"
    assert playground.clock() == 7.0


def test_a_late_answer_comes_after_its_deadline() -> None:
    def steps(clock: Clock) -> Steps[bytes]:
        yield from connect()
        with pytest.raises(DeadlinePassed):
            yield from Receive(6.0)
        assert clock() == 6.0
        assert (yield from Poll()) is None
        return (yield from Receive(7.0))

    assert (
        Playground({"tcp://mx.example:25": ModelServer(rules=[on("greeting").delay(7)])}).run(steps)
        == GREETING
    )


def test_a_deadline_in_the_past_moves_no_clock_back() -> None:
    playground = Playground({"tcp://mx.example:25": ModelServer(rules=[on("greeting").silence()])})
    playground.clock.wait_until(50.0)
    playground.run(failing(Receive(7.0)))
    assert playground.clock() == 50.0


def test_a_dialogue_that_waits_for_ever_is_an_error() -> None:
    def steps(clock: Clock) -> Steps[None]:
        yield from connect()
        yield from Receive(math.inf)

    with pytest.raises(AssertionError, match="wait for ever"):
        play(ModelServer(rules=[on("greeting").silence()]), steps)


def test_a_dialogue_that_never_ends_is_an_error() -> None:
    def steps(clock: Clock) -> Steps[None]:
        yield from connect()
        while True:
            yield from Poll()

    playground = Playground({"tcp://mx.example:25": ModelServer()}, most_requests=50)
    with pytest.raises(AssertionError, match="more than 50 requests"):
        playground.run(steps)


def test_there_must_be_a_connection() -> None:
    def steps(clock: Clock) -> Steps[None]:
        yield from Send(b"NOOP\r\n", 1.0)

    with pytest.raises(AssertionError, match="there is no connection"):
        play(ModelServer(), steps)


def test_what_is_no_request_is_an_error() -> None:
    def steps(clock: Clock) -> Steps[None]:
        yield Request()

    with pytest.raises(AssertionError, match="not a request"):
        play(ModelServer(), steps)


def test_a_connection_outlives_the_dialogue_and_is_dropped_with_one_that_fails() -> None:
    def first(clock: Clock) -> Steps[None]:
        yield from connect()
        yield from Receive(1.0)

    def second(clock: Clock) -> Steps[bytes]:
        return (yield from ask(b"NOOP"))

    def third(clock: Clock) -> Steps[None]:
        yield from Poll()
        raise ValueError("a mistake")

    server = ModelServer()
    playground = play(server, first)
    assert playground.run(second) == b"250 2.0.0 ok\r\n"
    assert not server.connections[0].closed
    with pytest.raises(ValueError, match="a mistake"):
        playground.run(third)
    assert server.connections[0].closed
    playground.close()


def test_a_server_can_act_of_its_own_accord() -> None:
    def first(clock: Clock) -> Steps[None]:
        yield from connect()
        yield from Receive(1.0)

    def second(clock: Clock) -> Steps[list[bytes | None]]:
        return [(yield from Poll()), (yield from Poll())]

    playground = play(ModelServer(), first)
    playground.server_does(Say(b"421 idle\r\n"), Close())
    assert playground.run(second) == [b"421 idle\r\n", b""]


def chatter(clock: Clock) -> Steps[str]:
    """Connect, read, send three commands; tell how it ended."""
    try:
        yield from connect()
        yield from Receive(1.0)
        for line in (b"NOOP", b"HELP", b"NOOP"):
            yield from ask(line)
    except TransportError as error:
        return str(error)
    return "done"


@pytest.mark.parametrize(
    ("fault", "result", "commands"),
    [
        (Fault(0, TransportError("x")), "x", 0),
        (Fault(4, TransportError("x")), "x", 1),
        (Fault(1, TransportError("x"), Send), "x", 1),
        (Fault(1, TransportError("x"), Send, delivered=6), "x", 2),
        (Fault(2, TransportError("x"), Receive, delivered=6), "x", 2),
        (Fault(9, TransportError("x"), Receive), "done", 3),
        (Fault(0, TransportError("x"), Pull), "done", 3),
    ],
)
def test_any_request_can_be_made_to_fail(fault: Fault, result: str, commands: int) -> None:
    server = ModelServer()
    playground = Playground({"tcp://mx.example:25": server}, faults=[fault])
    assert playground.run(chatter) == result
    assert len(server.commands) == commands


@pytest.mark.parametrize("at", range(8))
def test_a_dialogue_can_be_abandoned_at_any_request(at: int) -> None:
    closed: list[bool] = []

    def steps(clock: Clock) -> Steps[str]:
        try:
            return (yield from chatter(clock))
        finally:
            closed.append(True)

    server = ModelServer()
    playground = Playground({"tcp://mx.example:25": server}, faults=[Fault(at, None)])
    with pytest.raises(Abandoned, match=f"at request {at}"):
        playground.run(steps)
    assert closed == [True]
    assert len(playground.requests) == at + 1
    assert all(peer.closed for peer in server.connections)


def test_a_mistake_in_the_model_is_not_taken_for_the_network() -> None:
    def broken(accounts: Accounts) -> Exchange:
        raise ZeroDivisionError

    def steps(clock: Clock) -> Steps[None]:
        yield from connect()
        yield from Receive(1.0)
        yield from ask(b"EHLO a")
        with pytest.raises(TransportError):
            yield from ask(b"AUTH BROKEN")

    with pytest.raises(ZeroDivisionError):
        play(ModelServer(extensions=("AUTH BROKEN",), mechanisms={"BROKEN": broken}), steps)


def test_a_fault_can_be_any_error() -> None:
    def steps(clock: Clock) -> Steps[None]:
        with pytest.raises(ZeroDivisionError):
            yield from connect()
        yield from connect()
        with pytest.raises(KeyError):
            yield from Receive(1.0)

    faults = [Fault(0, ZeroDivisionError()), Fault(0, KeyError(), Receive)]
    Playground({"tcp://mx.example:25": ModelServer()}, faults=faults).run(steps)


def test_deliveries_are_taken_and_given_back() -> None:
    first, second = (Delivery(Envelope("a@x", ["b@y"]), text) for text in (b"one", b"two"))

    def steps(clock: Clock) -> Steps[list[Delivery | Queue]]:
        taken = [(yield from Take(wait=False)), (yield from Take(wait=False)), (yield from Take(wait=True))]
        yield from Give(second)
        return [*taken, (yield from Take(wait=True)), (yield from Take(wait=False))]

    playground = Playground({}, deliveries=[first, Queue.LATER, Queue.LATER, second])
    assert playground.run(steps) == [first, Queue.LATER, second, Queue.END, Queue.END]
    assert playground.given == [second]


def test_a_delivery_is_played_through() -> None:
    server = ModelServer(
        "lmtp", ("PIPELINING",), [on("RCPT", "c@y").reply(550, "5.1.1 no"), on("message", "d@y").reply(452)]
    )
    delivery = Delivery(Envelope("a@x", ["b@y", "c@y", "d@y"]), b"Subject: hi\n\n.dot\n")
    playground = Playground({"tcp://mx.example:25": server}, split=octet_by_octet)
    playground.run(forwarding(delivery, TargetConfig(targets="tcp://mx.example:25", protocol="lmtp")))
    assert [outcome.reply.code for outcome in delivery.outcomes] == [250, 550, 452]
    assert server.messages[0].content == b"Subject: hi\r\n\r\n.dot\r\n"
    assert server.messages[0].recipients == ("b@y",)
    assert server.violations == []
    assert playground.transcript[-2:] == ["C: QUIT", "S: 221 2.0.0 goodbye"]
