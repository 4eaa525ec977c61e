"""What goes wrong in a caller's own way to connect, under every runtime: whose mistake it is."""

from __future__ import annotations

import asyncio
import select
import socket
import struct
import threading
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, closing, contextmanager

import anyio
import pytest
import trio

from adapters.hooks import (
    STREAMS,
    Hook,
    Streamer,
    client_context,
    connect,
    delivered_by,
    drive_with,
    raising,
    tls_echo,
    to,
)
from adapters.runtimes import (
    ASYNCHRONOUS,
    LONG,
    Asynchronous,
    Runtime,
    peer,
    swallow,
)
from smtpstate import Endpoint, LocalProtocolError, TargetConfig
from smtpstate._errors import TransportError
from smtpstate_io import Channel, context_for

pytestmark = pytest.mark.usefixtures("nothing_left")

ABORTIVE = struct.pack("ii", 1, 0)  # SO_LINGER that resets instead of closing


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (ConnectionRefusedError(111, "ignored"), "connection refused"),
        (TimeoutError("the proxy is slow"), "the proxy is slow"),
        (EOFError("the proxy hung up"), "the proxy hung up"),
        (EOFError(), "EOFError"),
    ],
    ids=repr,
)
def test_what_the_network_does_to_a_hook_is_a_transport_error(
    runtime: Runtime, error: Exception, why: str
) -> None:
    with pytest.raises(TransportError, match=rf"^cannot connect to tcp://mx\.example:25: {why}$") as caught:
        drive_with(runtime, raising(error), connect)
    assert caught.value.__cause__ is error
    assert type(caught.value) is TransportError


@pytest.mark.parametrize(
    ("asynchronous", "error"),
    [
        pytest.param(runtime, error, id=f"{runtime}-{error!r}")
        for runtime in ASYNCHRONOUS
        for error in ([trio.BrokenResourceError("gone")] if runtime.name.endswith("trio") else [])
        + ([anyio.BrokenResourceError("gone"), anyio.EndOfStream("gone")] if "anyio" in runtime.name else [])
    ],
)
def test_so_is_what_the_framework_has_its_own_names_for(asynchronous: Asynchronous, error: Exception) -> None:
    with pytest.raises(TransportError, match=r"^cannot connect to tcp://mx\.example:25: gone$"):
        drive_with(asynchronous, raising(error), connect)


def test_a_hook_that_fails_for_the_network_defers_the_message(runtime: Runtime) -> None:
    config = TargetConfig(targets=["tcp://mx.example:25"])
    (outcome,) = delivered_by(runtime, raising(ConnectionRefusedError(111, "")), config).outcomes
    assert (outcome.status.name, str(outcome.reply)[:9]) == ("DEFERRED", "421 4.4.1")


def test_our_own_errors_come_through_a_hook_as_they_are(runtime: Runtime) -> None:
    error = TransportError("the proxy does not know the name", name_unknown=True)
    with pytest.raises(TransportError) as caught:
        drive_with(runtime, raising(error), connect)
    assert caught.value is error


def test_whatever_else_a_hook_raises_comes_out_unchanged(runtime: Runtime) -> None:
    error = LookupError("no proxy is set")
    with pytest.raises(LookupError) as caught:
        delivered_by(runtime, raising(error), TargetConfig(targets=["tcp://mx.example:25"]))
    assert caught.value is error


@contextmanager
def unconnected() -> Generator[socket.socket]:
    yield socket.socket()


@contextmanager
def listening() -> Generator[socket.socket]:
    yield socket.create_server(("127.0.0.1", 0))


@contextmanager
def of_datagrams() -> Generator[socket.socket]:
    with socket.socket(type=socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        sock = socket.socket(type=socket.SOCK_DGRAM)
        sock.connect(other.getsockname())
        yield sock


@contextmanager
def with_tls() -> Generator[socket.socket]:
    with peer(tls_echo) as there:
        yield client_context().wrap_socket(to(there)(there), server_hostname="127.0.0.1")


@pytest.mark.parametrize(
    ("making", "why"),
    [
        (unconnected, "must give a socket that is connected"),
        (listening, "must give a socket that is connected"),
        (of_datagrams, "must give a stream socket, not one of type SOCK_DGRAM"),
        (with_tls, "must give a socket without TLS: that is begun here"),
    ],
)
def test_a_socket_that_cannot_be_used_is_the_callers_mistake_and_closed(
    runtime: Runtime, making: Callable[[], AbstractContextManager[socket.socket]], why: str
) -> None:
    with making() as sock:
        with pytest.raises(LocalProtocolError, match=f"^connect= {why}$"):
            drive_with(runtime, lambda endpoint: sock, connect)
        assert sock.fileno() == -1


def test_something_else_than_a_socket_is_the_callers_mistake(asynchronous: Asynchronous) -> None:
    def at_once(endpoint: Endpoint) -> int:
        return 3

    async def later(endpoint: Endpoint) -> int:
        return 3

    hooks: list[Hook] = [at_once, later]
    for hook in hooks:
        with pytest.raises(LocalProtocolError, match=r"^connect= must give a connected socket, not int$"):
            drive_with(asynchronous, hook, connect)


def test_a_blocking_hook_must_give_a_socket_too() -> None:
    with closing(Channel(context_for)) as channel, pytest.raises(LocalProtocolError, match=r", not tuple$"):
        channel.adopt(("reader", "writer"))


def test_a_socket_that_was_closed_meanwhile_is_a_lost_connection(runtime: Runtime) -> None:
    """So a socket that was handed in is good for one connection, and whoever needs another one is told."""
    ours, theirs = socket.socketpair()
    with theirs:
        ours.close()
        with pytest.raises(TransportError, match=r"^the socket that connect= gave is closed$"):
            drive_with(runtime, lambda endpoint: ours, connect)


def test_a_socket_that_was_reset_meanwhile_is_a_lost_connection(runtime: Runtime) -> None:
    def reset(sock: socket.socket) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORTIVE)

    def hook(endpoint: Endpoint) -> socket.socket:
        made.append(to(there)(endpoint))
        poll = select.poll()
        poll.register(made[0], 0)  # only for errors
        assert poll.poll(LONG * 1000)
        return made[0]

    made: list[socket.socket] = []
    with (
        peer(reset) as there,
        pytest.raises(TransportError, match=r"^the connection is lost: connection res"),
    ):
        drive_with(runtime, hook, connect)
    assert made[0].fileno() == -1


@pytest.mark.parametrize(("asynchronous", "streamer"), STREAMS)
def test_a_stream_that_was_closed_is_a_lost_connection(
    asynchronous: Asynchronous, streamer: Streamer
) -> None:
    async def hook(endpoint: Endpoint) -> object:
        stream = await streamer(there)
        if isinstance(stream, tuple):
            stream[1].close()
            await stream[1].wait_closed()
        else:
            await stream.aclose()
        return stream

    with peer(swallow) as there, pytest.raises(TransportError, match=r"connect= gave is closed$"):
        drive_with(asynchronous, hook, connect)


ON_ASYNCIO = [runtime for runtime in ASYNCHRONOUS if not runtime.name.endswith("trio")]


@pytest.mark.parametrize("asynchronous", ON_ASYNCIO, ids=repr)
def test_streams_that_do_tls_are_the_callers_mistake(asynchronous: Asynchronous) -> None:
    async def hook(endpoint: Endpoint) -> object:
        return await asyncio.open_connection(there.host, there.port, ssl=client_context())

    with peer(tls_echo) as there, pytest.raises(LocalProtocolError, match=r"streams without TLS"):
        drive_with(asynchronous, hook, connect)


@pytest.mark.parametrize("asynchronous", ON_ASYNCIO, ids=repr)
def test_streams_with_something_left_to_send_are_the_callers_mistake(asynchronous: Asynchronous) -> None:
    over = threading.Event()

    async def hook(endpoint: Endpoint) -> object:
        reader, writer = await asyncio.open_connection(there.host, there.port)
        writer.write(bytes(50_000_000))
        return reader, writer

    with peer(lambda sock: over.wait(LONG)) as there:
        with pytest.raises(LocalProtocolError, match=r"that have sent all that was written: drain them$"):
            drive_with(asynchronous, hook, connect)
        over.set()
