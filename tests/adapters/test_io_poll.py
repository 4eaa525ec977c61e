"""One look finds all that has arrived, in however many parts it came; what ended it is told afterwards."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
import trustme

from adapters.runtimes import LONG, Asynchronous, Runtime, peer
from smtpstate._errors import TlsFailed, TransportError
from smtpstate._message import Message, Source
from smtpstate._requests import Clock, Connect, Handshake, Poll, Pull, Receive, Send, Steps
from smtpstate._tls import TlsClient
from smtpstate_io import Channel, Tls, context_for

pytestmark = pytest.mark.usefixtures("nothing_left")

CA = trustme.CA()


def server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with CA.issue_cert("mx.example").private_key_and_cert_chain_pem.tempfile() as file:
        context.load_cert_chain(file)
    return context


@contextmanager
def adopted(early: bytes) -> Generator[tuple[Channel, socket.socket], None, None]:
    """Yield a channel that holds what came early, and the other end of its connection."""
    ours, theirs = socket.socketpair()
    with closing(Channel(context_for)) as channel, theirs:
        channel.adopt(ours, early)
        yield channel, theirs


def test_what_is_held_and_what_came_later_are_found_together() -> None:
    with adopted(b"one") as (channel, theirs):
        theirs.sendall(b"two")
        assert channel.poll() == b"onetwo"
        assert channel.poll() is None


def test_no_more_than_65536_octets_are_found_at_once() -> None:
    early, later = b"x" * 40_000, b"y" * 40_000
    with adopted(early) as (channel, theirs):
        theirs.sendall(later)
        assert [channel.poll(), channel.poll(), channel.poll()] == [early, later, None]


def test_the_end_of_the_stream_is_told_after_what_came_before_it() -> None:
    with adopted(b"one") as (channel, theirs):
        theirs.close()
        assert [channel.poll(), channel.poll()] == [b"one", b""]


def test_what_broke_the_connection_is_told_after_what_came_before_it() -> None:
    with adopted(b"one") as (channel, _):
        assert channel._sock is not None
        channel._sock.close()  # to ask it fails from now on
        assert channel.poll() == b"one"
        with pytest.raises(TransportError, match="cannot receive"):
            channel.poll()


class Inside:
    """The two ends of TLS, without anything between them."""

    def __init__(self, tmp_path: Path) -> None:
        root_ca = tmp_path / "ca.pem"
        CA.cert_pem.write_to_path(root_ca)
        self.client = Tls(context_for(TlsClient(root_ca=(str(root_ca),))), "mx.example")
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._server = server_context().wrap_bio(self._incoming, self._outgoing, server_side=True)
        while self.client.negotiated is None:
            self._incoming.write(self.client.shake())
            with suppress(ssl.SSLWantReadError):
                self._server.do_handshake()
            self.client.feed(self._outgoing.read())
        assert self.client.read() is None  # it has read the server's session tickets

    def record(self, octets: bytes) -> bytes:
        """Return a record of the server's."""
        self._server.write(octets)
        return self._outgoing.read()


def test_several_records_of_tls_are_found_together(tmp_path: Path) -> None:
    inside = Inside(tmp_path)
    inside.client.feed(inside.record(b"one") + inside.record(b"two"))
    assert [inside.client.read(), inside.client.read()] == [b"onetwo", None]


def test_no_more_than_65536_octets_of_tls_are_found_at_once(tmp_path: Path) -> None:
    inside = Inside(tmp_path)
    octets = bytes(range(256)) * 400
    inside.client.feed(b"".join(inside.record(octets[n : n + 5000]) for n in range(0, len(octets), 5000)))
    found: list[bytes] = []
    while data := inside.client.read():
        found.append(data)
    assert b"".join(found) == octets
    assert list(map(len, found)) == [50_000, 50_000, 2_400]


@pytest.mark.parametrize("more", [b"", b"three"])
def test_a_record_that_is_broken_is_told_after_what_came_before_it(tmp_path: Path, more: bytes) -> None:
    inside = Inside(tmp_path)
    good = inside.record(b"one")
    broken = bytearray(inside.record(b"two"))
    broken[-1] ^= 1
    inside.client.feed(good + bytes(broken) + (inside.record(more) if more else b""))
    assert inside.client.read() == b"one"
    for _ in range(2):
        with pytest.raises(TlsFailed):
            inside.client.read()


def test_the_end_of_tls_is_told_after_what_came_before_it(tmp_path: Path) -> None:
    inside = Inside(tmp_path)
    inside.client.feed(inside.record(b"one") + inside.record(b"two"))
    inside.client.feed(b"")
    assert [inside.client.read(), inside.client.read(), inside.client.read()] == [b"onetwo", b"", b""]


def test_a_poll_finds_all_that_has_arrived_inside_tls(runtime: Runtime, tmp_path: Path) -> None:
    sent = threading.Event()
    root_ca = tmp_path / "ca.pem"
    CA.cert_pem.write_to_path(root_ca)

    def serve(sock: socket.socket) -> None:
        with server_context().wrap_socket(sock, server_side=True) as encrypted:
            encrypted.recv(1)
            for octets in (b"one", b"two", b"three"):
                encrypted.sendall(octets)
            sent.set()
            encrypted.recv(1)

    def steps(clock: Clock) -> Steps[bytes | None]:
        deadline = clock() + LONG
        yield from Connect(there, None, deadline)
        yield from Handshake("mx.example", TlsClient(root_ca=(str(root_ca),)), deadline)
        yield from Send(b"!", deadline)
        assert sent.wait(LONG)
        return (yield from Poll())

    with peer(serve) as there:
        assert runtime.drive(steps) == b"onetwothree"


def test_a_poll_finds_what_came_while_nobody_asked_and_all_that_came_since(
    asynchronous: Asynchronous,
) -> None:
    """A loop may take the first part as soon as it comes."""
    parts = [b"one", b"two", b"three"]
    go_on = [threading.Event() for _ in parts]
    sent = [threading.Event() for _ in parts]

    def serve(sock: socket.socket) -> None:
        for part, begin, done in zip(parts, go_on, sent, strict=True):
            assert begin.wait(LONG)
            sock.sendall(part)
            done.set()
        sock.recv(1)

    async def meanwhile(n: int) -> AsyncIterator[bytes]:
        go_on[n].set()
        assert sent[n].wait(LONG)
        for _ in range(5):
            await asynchronous.turn()
        yield b"x"

    def let_come(n: int) -> Callable[[], AsyncIterator[bytes]]:
        return lambda: meanwhile(n)

    def steps(clock: Clock) -> Steps[bytes | None]:
        yield from Connect(there, None, clock() + LONG)
        go_on[0].set()
        assert (yield from Receive(clock() + LONG)) == b"one"
        for n in (1, 2):
            yield from Pull(Source(Message(let_come(n))))
        return (yield from Poll())

    with peer(serve) as there:
        assert asynchronous.drive(steps) == b"twothree"
