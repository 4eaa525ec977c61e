"""Ways to connect of a caller's own, for tests that go them under every runtime."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from typing import TypeVar

import anyio
import anyio.abc
import pytest
import trio

import smtpstate_blocking
from adapters.directives import CA, server_context
from adapters.runtimes import (
    ASYNCHRONOUS,
    LONG,
    Asynchronous,
    Begin,
    Runtime,
    echo,
)
from smtpstate import Delivery, Endpoint, Envelope, TargetConfig
from smtpstate._courier import forwarding
from smtpstate._dialogue import Dialogue
from smtpstate._requests import Clock, Connect, Connected, Receive, Send, Steps
from smtpstate_io import context_for, drive

T = TypeVar("T")

ANYWHERE = Endpoint("tcp", "mx.example", 25)
Hook = Callable[[Endpoint], object]
SocketHook = Callable[[Endpoint], socket.socket]


def run_with(runtime: Runtime, hook: Hook, dialogue: Dialogue[T]) -> T:
    """Run a dialogue on a wire that connects by ``hook``, and close it."""
    if isinstance(runtime, Asynchronous):
        asynchronous = runtime

        async def main() -> T:
            with closing(asynchronous.wire(context_for, connect=hook)) as wire:
                return await drive(dialogue, wire)

        return asynchronous.loop(main)

    def plain(endpoint: Endpoint) -> socket.socket:
        made = hook(endpoint)
        assert isinstance(made, socket.socket)
        return made

    with closing(smtpstate_blocking.Wire(context_for, connect=plain)) as wire:
        return smtpstate_blocking.drive(dialogue, wire)


def drive_with(runtime: Runtime, hook: Hook, begin: Begin[T]) -> T:
    """Drive the steps on a wire that connects by ``hook``, and close it."""
    return run_with(runtime, hook, Dialogue(begin))


def connect(clock: Clock) -> Steps[Connected]:
    return Connect(ANYWHERE, None, clock() + LONG).__iter__()


def receive_exactly(count: int, clock: Clock) -> Steps[bytes]:
    received = b""
    while len(received) < count:
        data = yield from Receive(clock() + LONG)
        assert 0 < len(data) <= 65536
        received += data
    return received


def asked(clock: Clock) -> Steps[tuple[Connected, bytes]]:
    """Connect, and have something echoed."""
    connected = yield from connect(clock)
    yield from Send(b"hello", clock() + LONG)
    return connected, (yield from receive_exactly(5, clock))


def to(endpoint: Endpoint) -> SocketHook:
    """Return a hook that connects to ``endpoint`` instead."""
    return lambda _: socket.create_connection((endpoint.host, endpoint.port))


# Streams as each framework makes them.

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter] | trio.SocketStream | anyio.abc.SocketStream
Streamer = Callable[[Endpoint], Awaitable[Stream]]


async def asyncio_streams(endpoint: Endpoint) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(endpoint.host, endpoint.port)


async def trio_stream(endpoint: Endpoint) -> trio.SocketStream:
    return await trio.open_tcp_stream(endpoint.host, endpoint.port)


async def anyio_stream(endpoint: Endpoint) -> anyio.abc.SocketStream:
    return await anyio.connect_tcp(endpoint.host, endpoint.port)


def streamers(runtime: Asynchronous) -> list[Streamer]:
    """Return how streams are opened under a runtime."""
    if runtime.name in ("asyncio", "uvloop"):
        return [asyncio_streams]
    if runtime.name == "trio":
        return [trio_stream]
    return [anyio_stream, trio_stream] if runtime.name == "anyio-trio" else [anyio_stream, asyncio_streams]


async def read_some(stream: Stream, count: int) -> bytes:
    """Read so many octets from a stream, but not more."""
    if isinstance(stream, trio.SocketStream):
        return bytes(await stream.receive_some(count))
    if isinstance(stream, tuple):
        return await stream[0].readexactly(count)
    return await stream.receive(count)


STREAMS = [
    pytest.param(runtime, streamer, id=f"{runtime}-{streamer.__name__}")
    for runtime in ASYNCHRONOUS
    for streamer in streamers(runtime)
]


def delivered_by(runtime: Runtime, hook: Hook, config: TargetConfig) -> Delivery:
    """Deliver a message over a connection of the hook's."""
    delivery = Delivery(Envelope("a@x.example", ["b@y.example"]), b"Subject: x\r\n\r\nhello\r\n")
    run_with(runtime, hook, forwarding(delivery, config))
    return delivery


def raising(error: Exception) -> SocketHook:
    def hook(endpoint: Endpoint) -> socket.socket:
        raise error

    return hook


def tls_echo(sock: socket.socket) -> None:
    with suppress(OSError), server_context().wrap_socket(sock, server_side=True) as encrypted:
        echo(encrypted)


def client_context() -> ssl.SSLContext:
    return ssl.create_default_context(cadata=CA.cert_pem.bytes().decode())
