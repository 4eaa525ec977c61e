"""A cancellation at each request comes out unchanged and leaves nothing behind, under every runtime."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator

import pytest
import trustme

from adapters.runtimes import BLOCKING, LONG, RUNTIMES, Asynchronous, Runtime, full_backlog, peer, swallow
from smtpstate._endpoints import Endpoint
from smtpstate._errors import DeadlinePassed
from smtpstate._message import Message, Source
from smtpstate._requests import Clock, Connect, Handshake, Pull, Receive, Request, Send, Steps
from smtpstate._tls import TlsClient
from smtpstate_io import Address

pytestmark = pytest.mark.usefixtures("nothing_left")


@pytest.fixture
def silent() -> Generator[Endpoint, None, None]:
    """Where somebody accepts, and neither reads nor writes."""
    over = threading.Event()
    with peer(lambda sock: over.wait(LONG)) as endpoint:
        yield endpoint
        over.set()


def ask(request: Request) -> Steps[object]:
    answer: object = yield request
    return answer


def cancelled(runtime: Runtime, prelude: list[Request], request: Callable[[Clock], Request]) -> None:
    """Cancel ``runtime`` while ``request`` waits, and see that it was just that."""
    came_through: list[object] = []

    def steps(clock: Clock, waits: Callable[[], None]) -> Steps[None]:
        for before in prelude:
            yield from ask(before)
        waits()
        came_through.append((yield from ask(request(clock))))

    error = runtime.cancel(steps)
    assert type(error) is runtime.cancellation
    assert came_through == []


def connected(endpoint: Endpoint) -> list[Request]:
    return [Connect(endpoint, None, 1e12)]


def test_while_connecting(runtime: Runtime) -> None:
    with full_backlog() as port:
        cancelled(
            runtime, [], lambda clock: Connect(Endpoint("tcp", "127.0.0.1", port), None, clock() + LONG)
        )


def test_while_several_addresses_race(runtime: Runtime, addresses: list[Address]) -> None:
    with full_backlog() as one, full_backlog() as other:
        addresses += [Address(socket.AF_INET, ("127.0.0.1", port)) for port in (one, other)]
        cancelled(runtime, [], lambda clock: Connect(Endpoint("tcp", "mx.example", 25), None, clock() + LONG))


def test_while_receiving(runtime: Runtime, silent: Endpoint) -> None:
    cancelled(runtime, connected(silent), lambda clock: Receive(clock() + LONG))


def test_while_sending(runtime: Runtime, silent: Endpoint) -> None:
    cancelled(runtime, connected(silent), lambda clock: Send(bytes(50_000_000), clock() + LONG))


def test_in_the_handshake(runtime: Runtime, silent: Endpoint) -> None:
    cancelled(
        runtime,
        connected(silent),
        lambda clock: Handshake("mx.example", TlsClient(verify=False), clock() + LONG),
    )


def test_inside_tls(runtime: Runtime) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with trustme.CA().issue_cert("mx.example").private_key_and_cert_chain_pem.tempfile() as file:
        context.load_cert_chain(file)

    def serve(sock: socket.socket) -> None:
        with context.wrap_socket(sock, server_side=True) as encrypted:
            swallow(encrypted)

    with peer(serve) as endpoint:
        handshake = Handshake("mx.example", TlsClient(verify=False), 1e12)
        cancelled(runtime, [*connected(endpoint), handshake], lambda clock: Receive(clock() + LONG))


def test_while_pulling(asynchronous: Asynchronous, silent: Endpoint) -> None:
    closed: list[str] = []

    async def message() -> AsyncIterator[bytes]:
        try:
            yield b"one"
            await asynchronous.sleep()
        finally:
            closed.append("closed")

    source = Source(Message(message()))
    cancelled(asynchronous, [*connected(silent), Pull(source)], lambda clock: Pull(source))
    assert closed == ["closed"]


def test_a_source_that_is_left_in_the_middle_is_closed(asynchronous: Asynchronous, silent: Endpoint) -> None:
    closed: list[str] = []

    async def message() -> AsyncIterator[bytes]:
        try:
            yield b"one"
            yield b"two"
        finally:
            closed.append("closed")

    source = Source(Message(message()))
    cancelled(asynchronous, [*connected(silent), Pull(source)], lambda clock: Receive(clock() + LONG))
    assert closed == ["closed"]


class Resolver:
    """Answers when it is told to, and says when it is asked."""

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.asked: Callable[[], object] = bool
        self._getaddrinfo = socket.getaddrinfo

    def getaddrinfo(
        self, host: str, port: int, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> object:
        if not flags & socket.AI_NUMERICHOST:
            self.asked()
            assert self.answers.wait(LONG)
        return self._getaddrinfo(host, port, family, type, proto, flags)


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    resolver = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", resolver.getaddrinfo)
    return resolver


def test_while_a_name_is_looked_up(runtime: Runtime, resolver: Resolver) -> None:
    """Not every loop asks the module ``socket``; the others are cancelled before they have their answer."""

    def steps(clock: Clock, waits: Callable[[], None]) -> Steps[None]:
        try:
            if runtime is BLOCKING:  # a thread asks, and must have begun
                resolver.asked = waits
            else:
                waits()
            yield Connect(Endpoint("tcp", "localhost", 9), None, clock() + LONG)
        finally:
            resolver.answers.set()

    error = runtime.cancel(steps)
    join_look_ups()
    assert type(error) is runtime.cancellation


@pytest.fixture(params=[runtime for runtime in RUNTIMES if runtime.name != "uvloop"], ids=repr)
def resolved_by_python(request: pytest.FixtureRequest) -> Runtime:
    """A runtime that looks names up through the module ``socket``."""
    assert isinstance(request.param, Runtime)
    return request.param


def test_a_look_up_ends_at_its_deadline(resolved_by_python: Runtime, resolver: Resolver) -> None:
    def steps(clock: Clock) -> Steps[None]:
        try:
            yield Connect(Endpoint("tcp", "localhost", 9), None, clock() + 0.1)
        finally:
            resolver.answers.set()

    with pytest.raises(DeadlinePassed, match=r"^the look-up of localhost took too long$"):
        resolved_by_python.drive(steps)
    join_look_ups()


def join_look_ups() -> None:
    """Wait until no thread is looking up a name; trio's own go on to live."""
    while any(thread.name.startswith(("look-up of ", "getaddrinfo ")) for thread in threading.enumerate()):
        time.sleep(0.001)
