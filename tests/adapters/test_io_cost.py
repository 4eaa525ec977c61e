"""What the system is asked for to deliver one message after the other: numbers that no machine changes."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

import smtpstate_blocking
from adapters.directives import ENVELOPE, D, deliver_in_turn, statuses
from adapters.runtimes import Runtime, peer
from smtpstate import TargetConfig
from smtpstate_asyncio._wire import AsyncioWaiter
from smtpstate_io import Channel
from smtpstate_trio._wire import TrioWaiter

pytestmark = pytest.mark.usefixtures("nothing_left")

MESSAGES = 10


def sink(sock: socket.socket) -> None:
    """Take mail, and answer each flight by one segment."""
    sock.sendall(b"220 mx.example\r\n")
    for ending, answer in flights():
        received = b""
        while not received.endswith(ending):
            octets = sock.recv(65536)
            received += octets
            if not octets:
                return
            if received == b"QUIT\r\n":
                sock.sendall(b"221 goodbye\r\n")
                return
        sock.sendall(answer)


def flights() -> Iterator[tuple[bytes, bytes]]:
    """Yield what each flight ends with, and the answer to all of it."""
    yield b"\r\n", b"250-mx.example\r\n250 PIPELINING\r\n"
    while True:
        yield (
            b"DATA\r\n",
            b"250 sender\r\n" + len(ENVELOPE.recipients) * b"250 recipient\r\n" + b"354 go on\r\n",
        )
        yield b"\r\n.\r\n", b"250 delivered\r\n"


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count what connections of ours ask of the system, and of the event loop."""
    counts: Counter[str] = Counter()

    def counted(owner: type, name: str, what: str) -> None:
        method: Callable[..., object] = getattr(owner, name)

        def call(*arguments: object) -> object:
            counts[what] += 1
            return method(*arguments)

        monkeypatch.setattr(owner, name, call)

    counted(Channel, "_given", "send")
    counted(Channel, "_received", "receive")
    counted(smtpstate_blocking.Wire, "_until", "wait")
    counted(AsyncioWaiter, "until", "wait")
    counted(TrioWaiter, "until", "wait")
    counted(AsyncioWaiter, "_set_timer", "timer")
    counted(AsyncioWaiter, "_watch", "watch")
    return counts


def test_a_message_costs_two_sends_three_receives_and_two_waits(
    runtime: Runtime, counts: Counter[str]
) -> None:
    """One receive is the glance at the idle connection. Nothing is watched or timed anew."""
    with peer(sink) as endpoint:
        config = TargetConfig(targets=[str(endpoint)])
        totals: list[Counter[str]] = []
        for times in (1, 1 + MESSAGES):
            counts.clear()
            assert [statuses(done) for done in deliver_in_turn(runtime, config, times)] == [[D, D]] * times
            totals.append(counts.copy())
    totals[1].subtract(totals[0])
    assert {what: count / MESSAGES for what, count in totals[1].items() if count} == {
        "send": 2,
        "receive": 3,
        "wait": 2,
    }
