"""A deadline passes only for who has looked once more, under every runtime; and a dripping server gains nothing."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from typing import TypeVar

import pytest

import smtpstate_blocking
from adapters.directives import server_context
from adapters.hooks import connect, drive_with, to
from adapters.runtimes import LONG, Asynchronous, Begin, Runtime, peer, swallow
from smtpstate._dialogue import Dialogue
from smtpstate._endpoints import Endpoint
from smtpstate._errors import DeadlinePassed
from smtpstate._requests import Clock, Handshake, Receive, Send, Steps
from smtpstate._tls import TlsClient
from smtpstate_io import Wait, context_for, drive

T = TypeVar("T")

pytestmark = pytest.mark.usefixtures("nothing_left")


@contextmanager
def pair() -> Generator[tuple[Callable[[Endpoint], socket.socket], socket.socket]]:
    """Yield a hook that connects to a socket, and that socket: what it sends has arrived at once."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield lambda endpoint: ours, theirs


def test_an_answer_that_came_in_time_is_heard_after_the_deadline(runtime: Runtime) -> None:
    """Whoever was busy while it came would else think that it never did."""
    with pair() as (hook, server):

        def steps(clock: Clock) -> Steps[bytes]:
            yield from connect(clock)
            server.send(b"250 delivered\r\n")
            return (yield from Receive(clock() - 1))

        assert drive_with(runtime, hook, steps) == b"250 delivered\r\n"


def test_so_is_the_end_of_the_stream(runtime: Runtime) -> None:
    with pair() as (hook, server):

        def steps(clock: Clock) -> Steps[bytes]:
            yield from connect(clock)
            server.shutdown(socket.SHUT_WR)
            return (yield from Receive(clock() - 1))

        assert drive_with(runtime, hook, steps) == b""


def test_who_drips_gains_no_time(runtime: Runtime) -> None:
    with pair() as (hook, server):

        def steps(clock: Clock) -> Steps[None]:
            yield from connect(clock)
            deadline = clock() - 1
            for octet in (b"2", b"5", b"0"):
                server.send(octet)
                assert (yield from Receive(deadline)) == octet
                with pytest.raises(DeadlinePassed, match=r"^the deadline passed$"):
                    yield from Receive(deadline)

        drive_with(runtime, hook, steps)


class Waits:
    """A clock that moves only while somebody waits: always to the end of the wait, at which something happens."""

    def __init__(self, patch: pytest.MonkeyPatch, *happens: Callable[[], object]) -> None:
        self._patch = patch
        self._happens = list(happens)
        self.now = 1000.0

    def wait(self, ends: float) -> None:
        """Wait until then."""
        assert self.now < ends
        self._happens.pop(0)()
        self.now = ends

    def drive(self, runtime: Runtime, hook: Callable[[Endpoint], socket.socket], begin: Begin[T]) -> T:
        """Drive the steps on a wire that connects by ``hook``."""
        dialogue = Dialogue(begin)
        if isinstance(runtime, Asynchronous):
            asynchronous = runtime

            async def main() -> T:
                async def until(ends: float, wait: Wait) -> None:
                    self.wait(ends)

                with closing(asynchronous.wire(context_for, connect=hook)) as wire:
                    self._patch.setattr(wire, "clock", lambda: self.now)
                    self._patch.setattr(wire._waiter, "until", until)
                    return await drive(dialogue, wire)

            return asynchronous.loop(main)

        def until(wait: Wait, remaining: float) -> None:
            self.wait(self.now + remaining)

        with closing(smtpstate_blocking.Wire(context_for, connect=hook)) as wire:
            self._patch.setattr(wire, "clock", lambda: self.now)
            self._patch.setattr(wire, "until", until)
            return smtpstate_blocking.drive(dialogue, wire)


def nothing() -> None:
    """Let nothing happen."""


def test_what_comes_at_the_end_of_a_wait_is_heard(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    with pair() as (hook, server):
        waits = Waits(monkeypatch, lambda: server.send(b"250 delivered\r\n"))

        def steps(clock: Clock) -> Steps[bytes]:
            yield from connect(clock)
            return (yield from Receive(clock() + 300))

        assert waits.drive(runtime, hook, steps) == b"250 delivered\r\n"


def test_a_wait_in_which_nothing_comes_is_the_last(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    with pair() as (hook, _):
        waits = Waits(monkeypatch, nothing)

        def steps(clock: Clock) -> Steps[float]:
            yield from connect(clock)
            with pytest.raises(DeadlinePassed):
                yield from Receive(clock() + 300)
            return clock()

        assert waits.drive(runtime, hook, steps) == 1300


def test_what_the_system_takes_at_the_end_of_a_wait_is_sent(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = socket.socketpair()
    with one, other:
        one.setblocking(False)
        octets = bytes(one.send(bytes(10_000_000)) + 1000)  # a little more than fits at once
    with pair() as (hook, server):

        def read() -> None:
            received.append(len(server.recv(len(octets))))

        received: list[int] = []
        waits = Waits(monkeypatch, read)

        def steps(clock: Clock) -> Steps[None]:
            yield from connect(clock)
            yield from Send(octets, clock() + 300)

        waits.drive(runtime, hook, steps)
        read()
        assert sum(received) == len(octets)
        assert waits.now == 1300


def test_a_tls_record_of_which_only_a_part_came_is_nothing(runtime: Runtime) -> None:
    half, go_on = threading.Event(), threading.Event()

    def serve(sock: socket.socket) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = server_context().wrap_bio(incoming, outgoing, server_side=True)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                sock.sendall(outgoing.read())
                incoming.write(sock.recv(65536))
        tls.write(b"250 delivered\r\n")
        octets = outgoing.read()
        sock.sendall(octets[:-5])
        half.set()
        assert go_on.wait(LONG)
        sock.sendall(octets[-5:])
        swallow(sock)

    with peer(serve) as there:

        def steps(clock: Clock) -> Steps[bytes]:
            yield from connect(clock)
            yield from Handshake("127.0.0.1", TlsClient(verify=False), clock() + LONG)
            assert half.wait(LONG)
            with pytest.raises(DeadlinePassed):
                yield from Receive(clock() - 1)
            go_on.set()
            return (yield from Receive(clock() + LONG))

        assert drive_with(runtime, to(there), steps) == b"250 delivered\r\n"
