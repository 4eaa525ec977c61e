"""What waiting, sending and receiving cost the system: numbers that no machine changes."""

from __future__ import annotations

import gc
import socket
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from weakref import ref

import pytest

import smtpstate_blocking
from adapters.directives import ENVELOPE, MESSAGE, D, statuses
from adapters.hooks import drive_with, to
from adapters.runtimes import ASYNCHRONOUS, LONG, Asynchronous, Runtime, echo, peer
from smtpstate import Delivery, Message, TargetConfig
from smtpstate._dialogue import Dialogue
from smtpstate._errors import DeadlinePassed
from smtpstate._message import Source
from smtpstate._requests import Clock, Connect, Pull, Receive, Send, Steps
from smtpstate_asyncio._wire import AsyncioWaiter
from smtpstate_io import Channel, context_for, drive
from smtpstate_trio._wire import TrioWaiter

pytestmark = pytest.mark.usefixtures("nothing_left")

MESSAGES = 10
SHORT = 0.15  # seconds; for a deadline that passes


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
    counted(Channel, "receive_early", "early")
    counted(smtpstate_blocking.Wire, "until", "wait")
    counted(smtpstate_blocking.Wire, "_ready", "glance")
    counted(AsyncioWaiter, "until", "wait")
    counted(TrioWaiter, "until", "wait")
    counted(AsyncioWaiter, "_set_timer", "timer")
    counted(AsyncioWaiter, "_watch", "watch")
    return counts


def test_a_message_costs_two_sends_two_receives_two_waits_and_one_glance(
    runtime: Runtime, counts: Counter[str]
) -> None:
    """The glance is at the idle connection; one more receive, where that cannot be asked for less.

    Nothing is watched or timed anew.
    """
    seen: list[Counter[str]] = []

    def check(delivery: Delivery) -> None:
        assert statuses(delivery) == [D, D]
        seen.append(counts.copy())

    with peer(sink) as endpoint:
        config = TargetConfig(targets=[str(endpoint)])
        if isinstance(runtime, Asynchronous):
            asynchronous = runtime

            async def main() -> None:
                async with asynchronous.target(config) as target:
                    for _ in range(1 + MESSAGES):
                        check(await target.deliver(ENVELOPE, MESSAGE))

            asynchronous.loop(main)
        else:
            with smtpstate_blocking.Target(config) as target:
                for _ in range(1 + MESSAGES):
                    check(target.deliver(ENVELOPE, MESSAGE))
    cost = seen[-1]
    cost.subtract(seen[0])
    del cost["early"]  # as many of the receives as the framework likes
    expected = {"send": 2, "receive": 2, "wait": 2}
    if isinstance(runtime, Asynchronous):
        expected["receive"] += 1
    else:
        expected["glance"] = 1
    assert {what: count / MESSAGES for what, count in cost.items() if count} == expected


def test_a_new_connection_is_waited_for_and_not_the_one_before(
    runtime: Runtime, counts: Counter[str]
) -> None:
    """To wait for what is closed already is no wait at all."""
    with peer(echo) as endpoint:
        # Both are there from the beginning, so that the second has a number of its own.
        socks = [to(endpoint)(endpoint) for _ in range(2)]

        def steps(clock: Clock) -> Steps[int]:
            before = 0
            for _ in range(2):
                yield from Connect(endpoint, None, clock() + LONG)
                yield from Send(b"hello", clock() + LONG)
                before = counts["wait"]
                assert (yield from Receive(clock() + LONG)) == b"hello"
            return counts["wait"] - before

        assert drive_with(runtime, lambda _: socks.pop(0), steps) == 1


ON_ASYNCIO = [runtime for runtime in ASYNCHRONOUS if not runtime.name.endswith("trio")]


@pytest.mark.parametrize("asynchronous", ON_ASYNCIO, ids=repr)
def test_a_connection_that_nobody_asks_is_not_looked_at_again_and_again(
    asynchronous: Asynchronous, counts: Counter[str]
) -> None:
    """It stays readable, which the event loop would tell us at each of its turns."""
    go_on, sent, over = threading.Event(), threading.Event(), threading.Event()

    def serve(sock: socket.socket) -> None:
        sock.sendall(b"first")
        assert go_on.wait(LONG)
        sock.sendall(bytes(200_000))
        sent.set()
        assert over.wait(LONG)

    async def message() -> AsyncIterator[bytes]:
        go_on.set()
        assert sent.wait(LONG)
        before = counts["early"]
        for _ in range(20):
            await asynchronous.turn()
        looks.append(counts["early"] - before)
        yield b"chunk"

    looks: list[int] = []
    with peer(serve) as endpoint:

        def steps(clock: Clock) -> Steps[None]:
            yield from Connect(endpoint, None, clock() + LONG)
            assert (yield from Receive(clock() + LONG)) == b"first"
            yield from Pull(Source(Message(message())))

        try:
            asynchronous.drive(steps)
        finally:
            over.set()
    assert looks == [1]


@pytest.mark.parametrize("asynchronous", ON_ASYNCIO, ids=repr)
def test_a_connection_that_is_closed_is_forgotten_by_the_loop(asynchronous: Asynchronous) -> None:
    """A timer that goes on would keep it for as long as the longest wait."""

    async def main() -> None:
        def steps(clock: Clock) -> Steps[None]:
            yield from Connect(endpoint, None, clock() + LONG)
            yield from Send(b"hello", clock() + LONG)
            assert (yield from Receive(clock() + LONG)) == b"hello"

        with closing(asynchronous.wire(context_for)) as wire:
            await drive(Dialogue(steps), wire)
        waiter = ref(wire._waiter)
        del wire
        await asynchronous.turn()
        gc.collect()
        assert waiter() is None

    with peer(echo) as endpoint:
        asynchronous.loop(main)


def test_a_short_wait_behind_a_long_one_is_short(runtime: Runtime) -> None:
    """The timer of the long one is still there."""
    with peer(echo) as endpoint:

        def steps(clock: Clock) -> Steps[float]:
            yield from Connect(endpoint, None, clock() + LONG)
            yield from Send(b"hello", clock() + LONG)
            assert (yield from Receive(clock() + LONG)) == b"hello"
            begun = clock()
            with pytest.raises(DeadlinePassed):
                yield from Receive(begun + SHORT)
            return clock() - begun

        assert SHORT - 0.01 < runtime.drive(steps) < LONG  # clocks may tick in milliseconds
