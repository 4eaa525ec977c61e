"""Connections in memory: pieces, turns, ends, buffers and handshakes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from smtpstate import DeadlinePassed, TlsFailed, TransportError
from smtpstate._requests import Clock, Handshake, Negotiated, Poll, Receive, Send, Steps
from smtpstate._tls import TlsClient
from smtpstate.testing import (
    ModelServer,
    ModelTls,
    Playground,
    Rule,
    Split,
    octet_by_octet,
    on,
    pieces,
    split_at,
    whole,
)
from test_testing_playground import GREETING, ask, connect, failing, play

SPLITS = {
    "whole": (whole, [GREETING]),
    "octet by octet": (octet_by_octet, [bytes((octet,)) for octet in GREETING]),
    "at 3 and 4": (split_at(4, 3), [b"220", b" ", GREETING[4:]]),
    "behind the end": (split_at(100), [GREETING]),
}


@pytest.mark.parametrize(("split", "parts"), SPLITS.values(), ids=SPLITS)
def test_what_servers_say_can_be_cut(split: Split, parts: list[bytes]) -> None:
    assert list(pieces(GREETING, split)) == parts

    def steps(clock: Clock) -> Steps[list[bytes]]:
        yield from connect()
        heard: list[bytes] = []
        while sum(map(len, heard)) < len(GREETING):
            heard.append((yield from Receive(1.0)))
        return heard

    playground = Playground({"tcp://mx.example:25": ModelServer()}, split=split)
    assert playground.run(steps) == parts
    assert playground.transcript[-1] == "S: 220 mx.example SMTP ready"


def test_positions_count_over_the_whole_connection() -> None:
    assert list(pieces(b"abcdef", split_at(2, 5, 9), offset=4)) == [b"a", b"bcde", b"f"]


def test_much_is_received_in_blocks() -> None:
    def steps(clock: Clock) -> Steps[list[int]]:
        yield from connect()
        first = yield from Receive(1.0)
        second = yield from Receive(1.0)
        return [len(first), len(second)]

    server = ModelServer(rules=[on("greeting").say(b"x" * 70_000)])
    assert Playground({"tcp://mx.example:25": server}).run(steps) == [65536, 4464]


def test_polling_never_waits() -> None:
    def steps(clock: Clock) -> Steps[list[bytes | None]]:
        yield from connect()
        polled = [(yield from Poll()), (yield from Poll())]
        yield from Send(b"QUIT\r\n", 1.0)
        return [*polled, (yield from Poll()), (yield from Poll()), (yield from Poll())]

    assert Playground({"tcp://mx.example:25": ModelServer()}).run(steps) == [
        GREETING,
        None,
        b"221 2.0.0 goodbye\r\n",
        b"",
        b"",
    ]


def test_turns_are_counted() -> None:
    def steps(clock: Clock) -> Steps[list[int]]:
        turns: list[int] = []
        yield from connect()
        yield from Receive(1.0)
        turns.append(playground.turns)
        yield from ask(b"EHLO a")
        turns.append(playground.turns)
        yield from ask(b"MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nDATA")
        turns.append(playground.turns)
        yield from Send(b"one\r\n", 1.0)
        yield from Send(b".\r\n", 1.0)
        yield from Receive(1.0)
        yield from ask(b"QUIT")
        yield from Receive(1.0)  # the end, for which nothing was said
        turns.append(playground.turns)
        return turns

    server = ModelServer(extensions=("PIPELINING",))
    playground = Playground({"tcp://mx.example:25": server})
    assert playground.run(steps) == [0, 1, 2, 4]
    playground.close()
    assert playground.turns == 4
    assert server.violations == []


def test_answers_that_are_there_already_take_no_turn() -> None:
    def steps(clock: Clock) -> Steps[None]:
        yield from connect()
        yield from Receive(1.0)
        yield from ask(b"EHLO a")
        yield from Send(b"MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\n", 1.0)
        yield from Receive(1.0)  # of the two answers, both come, and the first is read
        yield from Send(b"RCPT TO:<c@y>\r\n", 1.0)
        yield from Receive(1.0)  # the second
        yield from Receive(1.0)  # now it must wait

    server = ModelServer(extensions=("PIPELINING",))
    after = len(GREETING + b"250-mx.example greets a\r\n250 PIPELINING\r\n250 2.1.0 sender ok\r\n")
    playground = Playground({"tcp://mx.example:25": server}, split=split_at(after))
    playground.run(steps)
    assert playground.turns == 3
    assert server.violations == []


def test_who_does_not_wait_for_an_answer_pipelines() -> None:
    def steps(clock: Clock) -> Steps[None]:
        yield from connect()
        yield from Receive(1.0)
        yield from ask(b"EHLO a")
        yield from Send(b"MAIL FROM:<a@x>\r\n", 1.0)
        yield from Send(b"RCPT TO:<b@y>\r\n", 1.0)

    server = ModelServer()
    play(server, steps)
    assert server.violations == [
        "connection 1: octets came before MAIL was answered, though PIPELINING is not offered"
    ]


def test_the_end_of_a_connection_is_learned_by_reading_and_by_sending_twice() -> None:
    def steps(clock: Clock) -> Steps[None]:
        yield from connect()
        assert (yield from Receive(1.0)) == b"421 "
        yield from Send(b"lost\r\n", 1.0)
        with pytest.raises(TransportError, match="broken pipe"):
            yield from Send(b"NOOP\r\n", 1.0)
        assert (yield from Poll()) == b"\r\n"
        assert (yield from Receive(1.0)) == b""

    server = ModelServer(rules=[on("greeting").reply(421).close()])
    Playground({"tcp://mx.example:25": server}, split=split_at(4)).run(steps)
    assert server.commands == []


def test_a_reset_connection_gives_what_came_before_and_then_an_error() -> None:
    def steps(clock: Clock) -> Steps[None]:
        yield from connect()
        with pytest.raises(TransportError, match="broken pipe"):
            yield from Send(b"NOOP\r\n", 1.0)
        assert (yield from Receive(1.0)) == b"421 \r\n"
        for request in (Receive(1.0), Poll()):
            with pytest.raises(TransportError, match="reset by peer"):
                yield request

    play(ModelServer(rules=[on("greeting").reply(421).reset()]), steps)


def test_a_connection_that_will_end_takes_octets_until_then() -> None:
    def steps(clock: Clock) -> Steps[None]:
        yield from connect()
        yield from Send(b"NOOP\r\n", 1.0)
        yield from Send(b"NOOP\r\n", 1.0)

    play(ModelServer(rules=[on("greeting").delay(5).close()]), steps)


def test_a_server_that_reads_nothing_fills_its_buffer() -> None:
    def steps(clock: Clock) -> Steps[float]:
        yield from connect()
        yield from Send(b"x" * 60, 9.0)
        yield from Send(b"x" * 40, 9.0)
        with pytest.raises(DeadlinePassed, match="takes no more octets"):
            yield from Send(b"x", 9.0)
        return clock()

    server = ModelServer(rules=[on("greeting").stop_reading()])
    assert Playground({"tcp://mx.example:25": server}, server_buffer=100).run(steps) == 9.0


def test_a_server_that_cannot_write_reads_nothing() -> None:
    group = b"NOOP\r\n" * 100

    def impatient(clock: Clock) -> Steps[None]:
        yield from connect()
        yield from Receive(1.0)
        yield from Send(group * 9, 1.0)

    def patient(clock: Clock) -> Steps[int]:
        yield from connect()
        yield from Receive(1.0)
        yield from Send(group, 1.0)
        heard = 0
        while heard < 1400:
            heard += len((yield from Receive(1.0)))
        return heard

    network = {"tcp://mx.example:25": ModelServer()}
    with pytest.raises(DeadlinePassed):
        Playground(network, server_buffer=1000, client_buffer=100).run(impatient)
    assert Playground(network, server_buffer=1000, client_buffer=100).run(patient) == 1400


def test_a_server_that_ends_while_more_is_sent_hears_no_more() -> None:
    def steps(clock: Clock) -> Steps[None]:
        yield from connect()
        yield from Send(b"NOOP\r\nQUIT\r\n" + b"x" * 100, 1.0)

    server = ModelServer()
    Playground({"tcp://mx.example:25": server}, server_buffer=12).run(steps)
    assert server.commands == ["NOOP", "QUIT"]


def shake(server: ModelServer, tls: TlsClient | None = None) -> Callable[[Clock], Steps[Negotiated]]:
    def steps(clock: Clock) -> Steps[Negotiated]:
        yield from connect()
        if not server.settings.implicit_tls:
            yield from Receive(1.0)
            yield from ask(b"EHLO a")
            yield from ask(b"STARTTLS")
        return (yield from Handshake("mx.example", tls or TlsClient(), 9.0))

    return steps


@pytest.mark.parametrize("implicit", [True, False])
def test_a_handshake_is_played(implicit: bool) -> None:
    def steps(clock: Clock) -> Steps[bytes]:
        yield from shake(server)(clock)
        return (yield from (Receive(1.0) if implicit else ask(b"EHLO a")))

    server = ModelServer(extensions=("STARTTLS",), implicit_tls=implicit)
    playground = Playground({"tcp://mx.example:25": server})
    assert playground.run(steps) == (GREETING if implicit else b"250 mx.example greets a\r\n")
    assert "! tls mx.example" in playground.transcript
    assert server.violations == []


@pytest.mark.parametrize(
    ("model", "verify", "verified"),
    [
        (ModelTls(), True, True),
        (ModelTls(), False, False),
        (ModelTls(names=("mx.example",)), True, True),
        (ModelTls(names=("other.example",)), False, False),
        (ModelTls(trusted=False), False, False),
    ],
)
def test_what_a_handshake_leads_to(model: ModelTls, verify: bool, verified: bool) -> None:
    server = ModelServer(implicit_tls=True, tls=model)
    negotiated = Playground({"tcp://mx.example:25": server}).run(shake(server, TlsClient(verify=verify)))
    assert negotiated == Negotiated("TLSv1.3", "TLS_AES_256_GCM_SHA384", verified, b"a model certificate", {})


@pytest.mark.parametrize("model", [ModelTls(trusted=False), ModelTls(names=("other.example",))])
def test_a_certificate_can_be_at_fault(model: ModelTls) -> None:
    server = ModelServer(implicit_tls=True, tls=model)
    with pytest.raises(TlsFailed, match="does not verify") as caught:
        Playground({"tcp://mx.example:25": server}).run(shake(server))
    assert caught.value.certificate


@pytest.mark.parametrize(
    ("rule", "error", "message"),
    [
        (on("tls").close(), TlsFailed, "ended the connection during"),
        (on("tls").reset(), TlsFailed, "ended the connection during"),
        (on("tls").refuse(TlsFailed("bad version")), TlsFailed, "bad version"),
        (on("tls").say(b"?"), TlsFailed, "octets came in clear"),
        (on("STARTTLS").say(b"220 \r\n250 \r\n"), TlsFailed, "octets came in clear"),
        (on("tls").silence(), DeadlinePassed, "not done in time"),
        (on("tls").delay(20), DeadlinePassed, "not done in time"),
        (on("STARTTLS").reply(454), DeadlinePassed, "not done in time"),
    ],
)
def test_a_handshake_can_fail(rule: Rule, error: type[Exception], message: str) -> None:
    def steps(clock: Clock) -> Steps[None]:
        yield from connect()
        yield from Receive(1.0)
        yield from Send(b"EHLO a\r\n", 1.0)
        yield from Send(b"STARTTLS\r\n", 1.0)
        heard = b""
        while not heard.endswith((b"220 2.0.0 ready for TLS\r\n", b"220 \r\n", b"454 \r\n")):
            heard += yield from Receive(2.0)
        yield from Handshake("mx.example", TlsClient(), 9.0)

    server = ModelServer(extensions=("STARTTLS",), rules=[rule])
    playground = Playground({"tcp://mx.example:25": server}, split=octet_by_octet)
    with pytest.raises(error, match=message):
        playground.run(steps)
    assert playground.clock() == (9.0 if error is DeadlinePassed else 0.0)


def test_nothing_can_be_read_while_a_handshake_is_due() -> None:
    server = ModelServer(implicit_tls=True)
    playground = Playground({"tcp://mx.example:25": server})
    assert isinstance(playground.run(failing(Receive(3.0))), DeadlinePassed)

    def steps(clock: Clock) -> Steps[None]:
        yield from connect()
        assert (yield from Poll()) is None

    play(server, steps)
