"""Mail through a SOCKS5 proxy, under every runtime: the example of the guide, and its like."""

from __future__ import annotations

import select
import socket
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import anyio
import pytest
import trio

from adapters.directives import D, statuses
from adapters.hooks import (
    delivered_by,
    to,
)
from adapters.runtimes import (
    LONG,
    Runtime,
    peer,
)
from smtpstate import Endpoint, TargetConfig
from smtpstate.testing import ModelServer
from smtpstate_testing import serve
from test_docs import blocks

pytestmark = pytest.mark.usefixtures("nothing_left")

GUIDE = Path(__file__).parents[2] / "docs" / "guide.md"


class Proxy:
    """A SOCKS5 server that connects wherever it is told to (RFC 1928)."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.there: Endpoint | None = None  # where names lead to; nowhere without

    def serve(self, sock: socket.socket) -> None:
        with sock.makefile("rb", buffering=0) as file:
            assert file.read(3) == b"\5\1\0"
            sock.sendall(b"\5\0")
            assert file.read(4) == b"\5\1\0\3"
            (length,) = file.read(1)
            host = file.read(length).decode("ascii")
            self.asked.append((host, int.from_bytes(file.read(2), "big")))
        if self.there is None:
            sock.sendall(b"\5\4\0\1" + bytes(6))
            return
        with to(self.there)(self.there) as other:
            sock.sendall(b"\5\0\0\1" + bytes(6))
            relay(sock, other)


def relay(one: socket.socket, other: socket.socket) -> None:
    """Hand on what comes from either side, until one of them has ended."""
    while True:
        for sock in select.select([one, other], [], [])[0]:
            data = sock.recv(65536)
            if not data:
                return
            (other if sock is one else one).sendall(data)


@contextmanager
def proxy() -> Generator[tuple[Proxy, tuple[str, int]]]:
    served = Proxy()
    with peer(served.serve) as endpoint:
        yield served, (endpoint.host, endpoint.port)


async def spoken_by_asyncio(there: tuple[str, int], endpoint: Endpoint) -> object:
    """Ask a proxy as the guide shows it."""
    (code,) = [block for block in blocks(GUIDE, "python") if "SOCKS5" in block]
    assert '("127.0.0.1", 1080)' in code
    names: dict[str, Callable[[Endpoint], Awaitable[object]]] = {}
    code = code.replace('("127.0.0.1", 1080)', repr(there))
    exec(compile(code, GUIDE.name, "exec", dont_inherit=True), names)
    return await names["through_socks"](endpoint)


def socks(endpoint: Endpoint) -> Generator[tuple[bytes, int], bytes, None]:
    """Yield what to say to a proxy, and how many octets of its answer to come back with."""
    assert (yield b"\5\1\0", 2) == b"\5\0"
    host = endpoint.host.encode("ascii")
    request = b"\5\1\0\3" + bytes([len(host)]) + host + endpoint.port.to_bytes(2, "big")
    if (yield request, 10)[1]:
        raise OSError("the proxy cannot connect, for reason 4")


def spoken_plainly(there: tuple[str, int], endpoint: Endpoint) -> socket.socket:
    sock = socket.create_connection(there, timeout=LONG)
    try:
        steps = socks(endpoint)
        say, count = next(steps)
        with suppress(StopIteration), sock.makefile("rb", buffering=0) as file:
            while True:
                sock.sendall(say)
                say, count = steps.send(file.read(count))
    except BaseException:
        sock.close()
        raise
    return sock


async def spoken_by_trio(there: tuple[str, int], endpoint: Endpoint) -> object:
    stream = await trio.open_tcp_stream(*there)
    try:
        steps = socks(endpoint)
        say, count = next(steps)
        with suppress(StopIteration):
            while True:
                await stream.send_all(say)
                say, count = steps.send(bytes(await stream.receive_some(count)))
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return stream


async def spoken_by_anyio(there: tuple[str, int], endpoint: Endpoint) -> object:
    stream = await anyio.connect_tcp(*there)
    try:
        steps = socks(endpoint)
        say, count = next(steps)
        with suppress(StopIteration):
            while True:
                await stream.send(say)
                say, count = steps.send(await stream.receive(count))
    except BaseException:
        await anyio.aclose_forcefully(stream)
        raise
    return stream


SPOKEN: dict[str, Callable[[tuple[str, int], Endpoint], object]] = {
    "blocking": spoken_plainly,
    "asyncio": spoken_by_asyncio,
    "uvloop": spoken_by_asyncio,
    "trio": spoken_by_trio,
    "anyio-asyncio": spoken_by_anyio,
    "anyio-trio": spoken_by_anyio,
}


def test_mail_goes_through_a_socks_proxy(runtime: Runtime) -> None:
    server = ModelServer("smtp", ["PIPELINING"])
    with serve(server) as served, proxy() as (asked_proxy, there):
        asked_proxy.there = Endpoint.parse(served.endpoint)
        delivery = delivered_by(
            runtime, partial(SPOKEN[runtime.name], there), TargetConfig(targets=["tcp://mx.example:25"])
        )
    assert statuses(delivery) == [D]
    assert asked_proxy.asked == [("mx.example", 25)]
    assert [message.sender for message in server.messages] == ["a@x.example"]


def test_where_a_socks_proxy_reaches_nobody_the_next_endpoint_is_tried(runtime: Runtime) -> None:
    config = TargetConfig(targets=["tcp://mx1.example:25", "tcp://mx2.example:26"])
    with proxy() as (asked_proxy, there):
        delivery = delivered_by(runtime, partial(SPOKEN[runtime.name], there), config)
    assert asked_proxy.asked == [("mx1.example", 25), ("mx2.example", 26)]
    (outcome,) = delivery.outcomes
    assert outcome.status.name == "DEFERRED"
    assert "the proxy cannot connect, for reason 4" in str(outcome.error or outcome.reply)
