"""A caller's own way to connect, under every runtime: what it gives is used, bounded, and closed."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

import smtpstate_blocking
from adapters.directives import CA, D, server_context, statuses
from adapters.hooks import (
    ANYWHERE,
    STREAMS,
    Streamer,
    asked,
    connect,
    delivered_by,
    drive_with,
    read_some,
    receive_exactly,
    streamers,
    to,
)
from adapters.runtimes import (
    LONG,
    Asynchronous,
    Runtime,
    echo,
    peer,
    swallow,
)
from smtpstate import Endpoint, Envelope, TargetConfig, TlsClient
from smtpstate._dialogue import Dialogue
from smtpstate._errors import DeadlinePassed, TlsFailed, TransportError
from smtpstate._requests import Clock, Connect, Connected, Handshake, Receive, Steps
from smtpstate.testing import ModelServer
from smtpstate_io import Channel, context_for, drive
from smtpstate_testing import serve

pytestmark = pytest.mark.usefixtures("nothing_left")

SHORT = 0.15  # seconds; for deadlines that pass


# What is used.


def test_the_socket_that_the_hook_gives_is_used(runtime: Runtime) -> None:
    endpoints: list[Endpoint] = []

    def hook(endpoint: Endpoint) -> socket.socket:
        endpoints.append(endpoint)
        return to(there)(endpoint)

    with peer(echo) as there:
        assert drive_with(runtime, hook, asked) == (Connected("127.0.0.1", "127.0.0.1"), b"hello")
    assert endpoints == [ANYWHERE]


def test_the_hook_may_have_to_be_awaited(asynchronous: Asynchronous) -> None:
    async def hook(endpoint: Endpoint) -> socket.socket:
        await asynchronous.turn()
        return to(there)(endpoint)

    with peer(echo) as there:
        assert drive_with(asynchronous, hook, asked) == (Connected("127.0.0.1", "127.0.0.1"), b"hello")


def test_a_socket_that_was_connected_before_may_be_handed_in(runtime: Runtime) -> None:
    with peer(echo, "::1") as there:
        sock = socket.create_connection((there.host, there.port))
        assert drive_with(runtime, lambda endpoint: sock, asked) == (Connected("::1", "::1"), b"hello")
        assert sock.fileno() == -1


def test_a_pair_of_unix_sockets_has_no_addresses(runtime: Runtime) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.send(b"hello")
        assert drive_with(runtime, lambda endpoint: ours, asked) == (Connected(None, None), b"hello")
        assert theirs.recv(10) == b"hello"


def test_the_socket_before_is_closed_when_the_hook_is_called_again(runtime: Runtime) -> None:
    made: list[socket.socket] = []

    def hook(endpoint: Endpoint) -> socket.socket:
        assert [sock for sock in made if sock.fileno() != -1] == []
        made.append(to(there)(endpoint))
        return made[-1]

    def steps(clock: Clock) -> Steps[bytes]:
        yield from connect(clock)
        return (yield from asked(clock))[1]

    with peer(echo) as there:
        assert drive_with(runtime, hook, steps) == b"hello"
    assert [sock.fileno() for sock in made] == [-1, -1]


@pytest.mark.parametrize(("asynchronous", "streamer"), STREAMS)
def test_a_stream_of_the_framework_is_as_good_as_a_socket(
    asynchronous: Asynchronous, streamer: Streamer
) -> None:
    with peer(echo) as there:
        answer = drive_with(asynchronous, lambda endpoint: streamer(there), asked)
    assert answer == (Connected("127.0.0.1", "127.0.0.1"), b"hello")


@pytest.mark.parametrize(("asynchronous", "streamer"), STREAMS)
def test_what_a_stream_has_received_already_is_not_lost(
    asynchronous: Asynchronous, streamer: Streamer
) -> None:
    sent = bytes(range(256)) * 100

    async def hook(endpoint: Endpoint) -> object:
        stream = await streamer(there)
        assert await read_some(stream, 3) == sent[:3]
        return stream

    def serve_all(sock: socket.socket) -> None:
        sock.sendall(sent)
        swallow(sock)

    def steps(clock: Clock) -> Steps[bytes]:
        yield from connect(clock)
        return (yield from receive_exactly(len(sent) - 3, clock))

    with peer(serve_all) as there:
        assert drive_with(asynchronous, hook, steps) == sent[3:]


@pytest.mark.parametrize(("asynchronous", "streamer"), STREAMS)
def test_the_end_of_a_stream_comes_after_what_it_has_received(
    asynchronous: Asynchronous, streamer: Streamer
) -> None:
    async def hook(endpoint: Endpoint) -> object:
        stream = await streamer(there)
        assert await read_some(stream, 1) == b"h"
        for _ in range(5):
            await asynchronous.turn()
        return stream

    def steps(clock: Clock) -> Steps[bytes]:
        yield from connect(clock)
        received = b""
        while data := (yield from Receive(clock() + LONG)):
            received += data
        return received

    with peer(lambda sock: sock.sendall(b"hello")) as there:
        assert drive_with(asynchronous, hook, steps) == b"ello"


def test_of_what_came_early_no_more_than_65536_octets_are_handed_on_at_once() -> None:
    ours, theirs = socket.socketpair()
    octets = bytes(range(256)) * 600
    with closing(Channel(context_for)) as channel, theirs:
        channel.adopt(ours, octets)
        pieces = [channel.look() for _ in range(4)]
    assert [len(piece) for piece in pieces if piece is not None] == [65536, 65536, len(octets) - 131072]
    assert b"".join(piece or b"" for piece in pieces) == octets


def test_every_connection_of_a_target_is_made_by_its_hook(runtime: Runtime) -> None:
    endpoints: list[str] = []

    def hook(endpoint: Endpoint) -> socket.socket:
        endpoints.append(str(endpoint))
        return to(Endpoint.parse(served.endpoint))(endpoint)

    config = TargetConfig(targets=["tcp://mx.example:25"], max_messages=1)
    envelope = Envelope("a@x.example", ["b@y.example"])
    with serve(ModelServer()) as served:
        if isinstance(runtime, Asynchronous):
            asynchronous = runtime

            async def main() -> None:
                async with asynchronous.target(config, connect=hook) as target:
                    for _ in range(2):
                        assert statuses(await target.deliver(envelope, b"hello\r\n")) == [D]

            asynchronous.loop(main)
        else:
            with smtpstate_blocking.Target(config, connect=hook) as target:
                for _ in range(2):
                    assert statuses(target.deliver(envelope, b"hello\r\n")) == [D]
    assert endpoints == ["tcp://mx.example:25"] * 2


# TLS is ours.


def test_tls_is_begun_over_the_socket_of_the_hook(runtime: Runtime, tmp_path: Path) -> None:
    CA.cert_pem.write_to_path(tmp_path / "ca.pem")
    with serve(ModelServer(implicit_tls=True), tls=server_context()) as served:
        there = Endpoint.parse(served.endpoint)
        config = TargetConfig(
            targets=["tls://127.0.0.1:465"], tls_client=TlsClient(root_ca=(str(tmp_path / "ca.pem"),))
        )
        delivery = delivered_by(runtime, to(there), config)
    assert statuses(delivery) == [D]
    assert delivery.attempts[0].tls is not None


def test_octets_that_came_before_the_handshake_are_refused(asynchronous: Asynchronous) -> None:
    async def hook(endpoint: Endpoint) -> object:
        stream = await streamers(asynchronous)[0](there)
        assert await read_some(stream, 1) == b"i"
        return stream

    def say_something(sock: socket.socket) -> None:
        sock.sendall(b"in clear")
        swallow(sock)

    def steps(clock: Clock) -> Steps[None]:
        yield from connect(clock)
        yield from Handshake("mx.example", TlsClient(), clock() + LONG)

    with peer(say_something) as there, pytest.raises(TlsFailed, match=r"^octets arrived before the handsh"):
        drive_with(asynchronous, hook, steps)


# Time, and cancellation.


def test_a_socket_that_comes_too_late_is_closed(runtime: Runtime) -> None:
    ours, theirs = socket.socketpair()

    def steps(clock: Clock) -> Steps[None]:
        yield from Connect(ANYWHERE, None, clock() - 1)

    with theirs, pytest.raises(DeadlinePassed, match=r"^the deadline passed$"):
        drive_with(runtime, lambda endpoint: ours, steps)
    assert ours.fileno() == -1


def test_a_hook_that_hangs_is_cancelled_at_the_deadline(asynchronous: Asynchronous) -> None:
    ended: list[type[BaseException]] = []

    async def hook(endpoint: Endpoint) -> object:
        try:
            await asynchronous.sleep()
        except BaseException as error:
            ended.append(type(error))
            raise
        raise AssertionError

    def steps(clock: Clock) -> Steps[float]:
        begun = clock()
        with pytest.raises(DeadlinePassed, match=r"^the deadline passed$"):
            yield from Connect(ANYWHERE, None, begun + SHORT)
        return clock() - begun

    assert drive_with(asynchronous, hook, steps) > SHORT - 0.01  # clocks may tick in milliseconds
    assert ended == [asynchronous.cancellation]


def test_a_time_out_of_the_hooks_own_is_not_ours(asynchronous: Asynchronous) -> None:
    async def hook(endpoint: Endpoint) -> object:
        await asynchronous.turn()
        raise TimeoutError("mine")

    with pytest.raises(TransportError, match=r": mine$") as caught:
        drive_with(asynchronous, hook, connect)
    assert not isinstance(caught.value, DeadlinePassed)


def test_a_cancellation_within_the_hook_comes_out_unchanged(asynchronous: Asynchronous) -> None:
    came_out: list[BaseException | None] = []

    async def main(cancel: Callable[[], object]) -> None:
        async def hook(endpoint: Endpoint) -> object:
            with to(there)(endpoint):
                cancel()
                await asynchronous.sleep()
            raise AssertionError

        with closing(asynchronous.wire(context_for, connect=hook)) as wire:
            await drive(Dialogue(connect), wire)

    async def around() -> None:
        came_out.append(await asynchronous.cancelled(main))

    with peer(swallow) as there:
        asynchronous.loop(around)
    assert [type(error) for error in came_out] == [asynchronous.cancellation]


@pytest.mark.parametrize(("asynchronous", "streamer"), STREAMS)
def test_what_a_hook_made_is_closed_when_a_cancellation_comes_right_behind_it(
    asynchronous: Asynchronous, streamer: Streamer
) -> None:
    """The fixture sees a socket that is left open."""

    async def main(cancel: Callable[[], object]) -> None:
        async def hook(endpoint: Endpoint) -> object:
            stream = await streamer(there)
            cancel()
            return stream

        with closing(asynchronous.wire(context_for, connect=hook)) as wire:
            await drive(Dialogue(connect), wire)
            await asynchronous.sleep()

    async def around() -> None:
        came_out.append(await asynchronous.cancelled(main))

    came_out: list[BaseException | None] = []
    with peer(swallow) as there:
        asynchronous.loop(around)
    assert [type(error) for error in came_out] == [asynchronous.cancellation]
