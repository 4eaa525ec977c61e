"""What a message costs, in numbers that no machine changes: requests, and calls of functions.

Whoever makes a message dearer has to raise a bound here, and say why.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest

import smtpstate
from smtpstate import (
    Connection,
    Courier,
    Delivery,
    Dialogue,
    Ehlo,
    Envelope,
    Mail,
    Rcpt,
    Status,
    TargetConfig,
)
from smtpstate._events import NEED_DATA
from smtpstate._requests import Connect, Connected, Give, Poll, Queue, Receive, Request, Send, Take

SOURCE = f"{Path(smtpstate.__file__).parent}/"
MESSAGE = b"Subject: x\r\n\r\n" + b"0123456789abcdef0123456789abcdef0123456789abcdef\r\n" * 20
OK = b"250 2.0.0 Ok\r\n"


class Canned:
    """A server that says yes to everything, at no cost to speak of."""

    def __init__(self, *offers: bytes) -> None:
        self.counts: Counter[str] = Counter()
        self.queue: list[Delivery] = []
        self._hello = b"".join(b"250-%b\r\n" % line for line in (b"mx", *offers)) + b"250 8BITMIME\r\n"
        self._said: list[bytes] = []
        self._now = 0.0

    def drive(self, dialogue: Dialogue[None]) -> None:
        for request in dialogue.requests(self._clock):
            self.counts[type(request).__name__] += 1
            dialogue.answer(self._answer(request))

    def _clock(self) -> float:
        self._now += 0.001
        return self._now

    def _answer(self, request: Request) -> object:
        match request:
            case Receive():
                return self._said.pop(0)
            case Send():
                self._hear(request.data)
            case Connect():
                self._said.append(b"220 mx\r\n")
                return Connected("192.0.2.1", "192.0.2.2")
            case Take():
                return self.queue.pop() if self.queue else Queue.END
            case _:
                assert isinstance(request, (Poll, Give))
        return None

    def _hear(self, data: bytes) -> None:
        said, at = b"", 0
        while at < len(data):
            end = data.index(b"\n", at) + 1
            verb = data[at : at + 4]
            if verb == b"EHLO":
                said += self._hello
            elif verb == b"DATA":
                said += b"354 go on\r\n"
            elif verb == b"BDAT":
                said += OK
                end += int(data[at:end].split()[1])
            elif verb in (b"MAIL", b"RCPT", b"RSET") or data[at:end] == b".\r\n":
                said += OK
            at = end
        if said:
            self._said.append(said)


def delivery(recipients: int) -> Delivery:
    return Delivery(Envelope("a@x.example", [f"r{n}@y.example" for n in range(recipients)]), MESSAGE)


def calls_of(work: Callable[[], object]) -> int:
    """Return how many Python functions of smtpstate are called, generators resumed included."""
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event == "call" and frame.f_code.co_filename.startswith(SOURCE)

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
    return calls


def calls_to_drive(work: Dialogue[None], server: Canned) -> int:
    return calls_of(lambda: server.drive(work))


def warmed(*offers: bytes) -> tuple[Canned, Courier]:
    """Return a server and a courier whose connection is open, and idle."""
    server, courier = Canned(*offers), Courier(TargetConfig(targets=["tcp://mx.example:25"]))
    first = delivery(1)
    server.drive(courier.delivering(first))
    assert first.outcomes[0].status is Status.DELIVERED
    server.counts.clear()
    return server, courier


@pytest.mark.parametrize(
    ("offers", "requests"),
    [
        ((), {"Poll": 1, "Send": 4, "Receive": 4}),
        ((b"PIPELINING",), {"Poll": 1, "Send": 2, "Receive": 2}),
        ((b"PIPELINING", b"CHUNKING"), {"Poll": 1, "Send": 2, "Receive": 2}),
    ],
    ids=["plain", "pipelining", "chunking"],
)
def test_a_message_over_a_kept_connection_takes_so_many_requests(
    offers: tuple[bytes, ...], requests: dict[str, int]
) -> None:
    server, courier = warmed(*offers)
    server.drive(courier.delivering(delivery(1)))
    assert server.counts == requests


@pytest.mark.parametrize("recipients", [1, 50, 100])
def test_recipients_that_fit_the_window_take_no_more_requests(recipients: int) -> None:
    server, courier = warmed(b"PIPELINING")
    server.drive(courier.delivering(delivery(recipients)))
    assert server.counts == {"Poll": 1, "Send": 2, "Receive": 2}


def test_queued_messages_share_their_flights() -> None:
    server, courier = warmed(b"PIPELINING", b"CHUNKING")
    server.queue = [delivery(1) for _ in range(10)]
    server.drive(courier.delivering_many())
    assert server.counts["Send"] <= 3


@pytest.mark.parametrize(("offers", "most"), [((b"PIPELINING",), 217), ((b"PIPELINING", b"CHUNKING"), 213)])
def test_a_message_takes_no_more_calls_than_this(offers: tuple[bytes, ...], most: int) -> None:
    server, courier = warmed(*offers)
    assert calls_to_drive(courier.delivering(delivery(1)), server) <= most


def test_a_recipient_takes_no_more_calls_than_this() -> None:
    server, courier = warmed(b"PIPELINING")
    few = calls_to_drive(courier.delivering(delivery(100)), server)
    many = calls_to_drive(courier.delivering(delivery(1100)), server)
    assert (many - few) / 1000 <= 1.4


def test_a_queued_message_takes_no_more_calls_than_this() -> None:
    server, courier = warmed(b"PIPELINING", b"CHUNKING")
    server.queue = [delivery(1) for _ in range(10)]
    few = calls_to_drive(courier.delivering_many(), server)
    server.queue = [delivery(1) for _ in range(60)]
    many = calls_to_drive(courier.delivering_many(), server)
    assert (many - few) / 50 <= 188


def take_in(connection: Connection, pieces: list[bytes]) -> None:
    for piece in pieces:
        connection.receive_data(piece)
        while connection.next_event() is not NEED_DATA:
            pass


def transaction(recipients: int) -> Connection:
    """Return a connection that awaits the reply to MAIL, and one for each recipient."""
    connection = Connection()
    take_in(connection, [b"220 mx\r\n"])
    connection.send(Ehlo("x.example"))
    take_in(connection, [b"250-mx\r\n250 PIPELINING\r\n"])
    connection.send(Mail("a@x.example"))
    for _ in range(recipients):
        connection.send(Rcpt("b@y.example"))
    return connection


def test_an_octet_that_comes_on_its_own_takes_no_more_calls_than_this() -> None:
    connection = transaction(1)
    take_in(connection, [OK])
    before_the_end = [bytes([octet]) for octet in OK[:-1]]
    assert calls_of(lambda: take_in(connection, before_the_end)) <= 3 * len(before_the_end)


def test_a_reply_among_others_takes_no_more_calls_than_this() -> None:
    connection = transaction(100)
    take_in(connection, [OK])
    assert calls_of(lambda: take_in(connection, [OK * 100])) <= 404


def test_nothing_is_made_for_a_trace_that_nobody_watches() -> None:
    server, courier = warmed(b"PIPELINING")
    lines = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal lines
        lines += event == "call" and frame.f_code.co_filename.endswith("_trace.py")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        server.drive(courier.delivering(delivery(3)))
    finally:
        sys.setprofile(before)
    assert lines == 0
