"""Every request over plain sockets, under every runtime."""

from __future__ import annotations

import select
import socket
import struct
import threading
from collections.abc import AsyncIterator, Generator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from adapters.runtimes import (
    BLOCKING,
    LONG,
    Asynchronous,
    Runtime,
    echo,
    full_backlog,
    peer,
    serving,
    swallow,
)
from smtpstate._endpoints import Endpoint
from smtpstate._errors import DeadlinePassed, TransportError
from smtpstate._message import Message, Source
from smtpstate._requests import (
    Clock,
    Connect,
    Connected,
    Poll,
    Pull,
    Receive,
    Request,
    Send,
    SendInterrupted,
    Steps,
)
from smtpstate_io import Address, Wait, context_for

pytestmark = pytest.mark.usefixtures("nothing_left")

SHORT = 0.15  # seconds; for deadlines that pass
ABORTIVE = struct.pack("ii", 1, 0)  # SO_LINGER that resets instead of closing


def connect(endpoint: Endpoint, clock: Clock, source: str | None = None) -> Steps[Connected]:
    return Connect(endpoint, source, clock() + LONG).__iter__()


def receive_all(clock: Clock) -> Steps[bytes]:
    received = b""
    while data := (yield from Receive(clock() + LONG)):
        received += data
    return received


def receive_exactly(count: int, clock: Clock) -> Steps[bytes]:
    received = b""
    while len(received) < count:
        data = yield from Receive(clock() + LONG)
        assert data
        received += data
    return received


def send_forever(clock: Clock) -> Steps[None]:
    while True:
        yield from Send(bytes(65536), clock() + LONG)


def poll_until_something(clock: Clock) -> Steps[bytes]:
    ends = clock() + LONG
    while (data := (yield from Poll())) is None:
        assert clock() < ends
    return data


@contextmanager
def unix_listener(path: str, backlog: int = 16) -> Generator[socket.socket, None, None]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(backlog)
        yield listener


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_connect_answers_with_both_addresses(runtime: Runtime, host: str) -> None:
    with peer(swallow, host) as endpoint:
        connected = runtime.drive(lambda clock: connect(endpoint, clock))
    assert connected == Connected(host, host)


def test_a_name_is_looked_up(runtime: Runtime) -> None:
    with peer(swallow) as endpoint:
        connected = runtime.drive(lambda clock: connect(Endpoint("tcp", "localhost", endpoint.port), clock))
    assert connected == Connected("127.0.0.1", "127.0.0.1")


@pytest.mark.parametrize("abstract", [False, True])
def test_a_unix_socket_has_no_addresses(runtime: Runtime, abstract: bool, tmp_path: Path) -> None:
    name = f"@smtpstate-{id(tmp_path)}" if abstract else str(tmp_path / "socket")
    with unix_listener(name.replace("@", "\0")) as listener, serving(listener, echo):

        def steps(clock: Clock) -> Steps[tuple[Connected, bytes]]:
            connected = yield from connect(Endpoint("unix", path=name), clock)
            yield from Send(b"over unix", clock() + LONG)
            return connected, (yield from receive_exactly(9, clock))

        assert runtime.drive(steps) == (Connected(None, None), b"over unix")


def test_a_unix_socket_that_is_not_there_is_a_transport_error(runtime: Runtime, tmp_path: Path) -> None:
    with pytest.raises(
        TransportError, match=f"^cannot connect to unix://{tmp_path}/none: no such file or directory$"
    ):
        runtime.drive(lambda clock: connect(Endpoint("unix", path=f"{tmp_path}/none"), clock))


def test_a_busy_unix_socket_is_asked_again(runtime: Runtime, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with unix_listener(path, backlog=0) as listener, socket.socket(socket.AF_UNIX) as first:
        first.connect(path)

        def steps(clock: Clock) -> Steps[bytes]:
            with pytest.raises(DeadlinePassed):
                yield from Connect(Endpoint("unix", path=path), None, clock() + SHORT)
            with serving(listener, lambda sock: sock.sendall(b"your turn")):
                yield from connect(Endpoint("unix", path=path), clock)
                return (yield from receive_all(clock))

        assert runtime.drive(steps) == b"your turn"


def test_the_source_address_is_bound(runtime: Runtime) -> None:
    seen: list[str] = []
    with peer(lambda sock: seen.append(sock.getpeername()[0])) as endpoint:

        def steps(clock: Clock) -> Steps[Connected]:
            connected = yield from connect(endpoint, clock, "127.0.0.9")
            yield from receive_all(clock)
            return connected

        assert runtime.drive(steps) == Connected("127.0.0.9", "127.0.0.1")
    assert seen == ["127.0.0.9"]


def test_a_source_address_of_another_family_reaches_nothing(runtime: Runtime) -> None:
    with peer(swallow) as endpoint, pytest.raises(TransportError, match=r"family as source_address ::1$"):
        runtime.drive(lambda clock: connect(endpoint, clock, "::1"))


def test_a_source_address_that_is_not_ours_cannot_be_bound(runtime: Runtime) -> None:
    with peer(swallow) as endpoint, pytest.raises(TransportError, match=r"cannot assign requested address$"):
        runtime.drive(lambda clock: connect(endpoint, clock, "192.0.2.1"))


def test_a_refused_connection_is_a_transport_error(runtime: Runtime) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = Endpoint("tcp", "127.0.0.1", listener.getsockname()[1])
    with pytest.raises(
        TransportError, match=rf"^cannot connect to {endpoint}: connection refused$"
    ) as caught:
        runtime.drive(lambda clock: connect(endpoint, clock))
    assert type(caught.value) is TransportError
    assert not caught.value.name_unknown


def test_an_unknown_name_is_told_apart(runtime: Runtime) -> None:
    with pytest.raises(TransportError, match=r"^cannot look up nonexistent\.invalid: ") as caught:
        runtime.drive(lambda clock: connect(Endpoint("tcp", "nonexistent.invalid", 25), clock))
    assert caught.value.name_unknown


def test_a_connection_that_nobody_answers_ends_at_its_deadline(runtime: Runtime) -> None:
    with full_backlog() as port:

        def steps(clock: Clock) -> Steps[float]:
            begun = clock()
            with pytest.raises(DeadlinePassed):
                yield from Connect(Endpoint("tcp", "127.0.0.1", port), None, begun + SHORT)
            return clock() - begun

        assert runtime.drive(steps) > SHORT - 0.01  # clocks may tick in milliseconds


def test_the_next_address_is_tried_when_one_refuses(runtime: Runtime, addresses: list[Address]) -> None:
    with peer(swallow) as endpoint:
        addresses += [Address(socket.AF_INET, (host, endpoint.port)) for host in ("127.0.0.2", "127.0.0.1")]
        connected = runtime.drive(lambda clock: connect(Endpoint("tcp", "mx.example", endpoint.port), clock))
    assert connected.remote == "127.0.0.1"


def test_the_next_address_is_tried_when_one_is_silent(runtime: Runtime, addresses: list[Address]) -> None:
    with full_backlog("127.0.0.2") as silent, peer(swallow) as endpoint:
        addresses += [
            Address(socket.AF_INET, ("127.0.0.2", silent)),
            Address(socket.AF_INET, ("127.0.0.1", endpoint.port)),
        ]
        connected = runtime.drive(lambda clock: connect(Endpoint("tcp", "mx.example", endpoint.port), clock))
    assert connected.remote == "127.0.0.1"


@pytest.mark.parametrize("to_write", [False, True])
def test_of_several_sockets_the_first_that_is_ready_ends_the_wait(runtime: Runtime, to_write: bool) -> None:
    with ExitStack() as stack:
        silent, ready = (tuple(map(stack.enter_context, socket.socketpair())) for _ in range(2))
        silent[0].setblocking(False)
        while select.select((), silent[:1], (), 0)[1]:
            silent[0].send(bytes(1000))
        ready[1].send(b"x")
        assert runtime.waits(Wait((silent[0], ready[0]), to_write), LONG) < LONG
        assert (
            runtime.waits(Wait((silent[0], stack.enter_context(silent[0].dup())), to_write), SHORT)
            > SHORT - 0.01
        )


def test_a_slow_address_may_still_win(addresses: list[Address]) -> None:
    """The first answers only after the next was tried and has refused."""
    with (
        ExitStack() as stack,
        socket.create_server(("127.0.0.2", 0), backlog=0) as listener,
        socket.create_connection(listener.getsockname()),  # it fills the backlog until it is served
    ):
        port = listener.getsockname()[1]
        addresses += [Address(socket.AF_INET, (host, port)) for host in ("127.0.0.2", "127.0.0.3")]
        late = threading.Timer(0.4, stack.enter_context, [serving(listener, lambda sock: None)])
        late.start()
        connected = BLOCKING.drive(lambda clock: connect(Endpoint("tcp", "mx.example", port), clock))
        late.join()
        stack.close()
    assert connected.remote == "127.0.0.2"


def test_all_failures_are_named_when_no_address_answers(runtime: Runtime, addresses: list[Address]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    addresses += [Address(socket.AF_INET, (host, port)) for host in ("127.0.0.1", "127.0.0.2")]
    why = r": 127\.0\.0\.1: connection refused; 127\.0\.0\.2: connection refused$"
    with pytest.raises(TransportError, match=why):
        runtime.drive(lambda clock: connect(Endpoint("tcp", "mx.example", port), clock))


def test_connect_drops_the_connection_before(runtime: Runtime) -> None:
    ended = threading.Event()

    def serve(sock: socket.socket) -> None:
        swallow(sock)
        ended.set()

    with peer(serve) as first, peer(echo) as second:

        def steps(clock: Clock) -> Steps[bytes]:
            yield from connect(first, clock)
            yield from connect(second, clock)
            assert ended.wait(LONG)
            yield from Send(b"to the second", clock() + LONG)
            return (yield from receive_exactly(13, clock))

        assert runtime.drive(steps) == b"to the second"


def test_much_is_sent_and_received(runtime: Runtime) -> None:
    sent = bytes(range(256)) * 8192
    received = bytearray()

    def serve(sock: socket.socket) -> None:
        while len(received) < len(sent):
            received.extend(sock.recv(100_000))
        sock.sendall(received)

    with peer(serve) as endpoint:

        def steps(clock: Clock) -> Steps[bytes]:
            yield from connect(endpoint, clock)
            yield from Send(sent, clock() + LONG)
            return (yield from receive_all(clock))

        assert runtime.drive(steps) == sent
    assert received == sent


def test_at_most_65536_octets_are_received_at_once(runtime: Runtime) -> None:
    with peer(lambda sock: sock.sendall(bytes(1_000_000))) as endpoint:

        def steps(clock: Clock) -> Steps[list[int]]:
            yield from connect(endpoint, clock)
            sizes = [len((yield from Receive(clock() + LONG)))]
            while sizes[-1]:
                sizes.append(len((yield from Receive(clock() + LONG))))
            return sizes

        sizes = runtime.drive(steps)
    assert sum(sizes) == 1_000_000
    assert max(sizes) <= 65536


def test_the_end_of_the_stream_stays_the_end(runtime: Runtime) -> None:
    with peer(lambda sock: sock.sendall(b"words")) as endpoint:

        def steps(clock: Clock) -> Steps[list[bytes | None]]:
            yield from connect(endpoint, clock)
            yield from receive_all(clock)
            return [(yield from Receive(clock() + LONG)), (yield from Poll()), (yield from Poll())]

        assert runtime.drive(steps) == [b"", b"", b""]


def test_a_peer_that_has_ended_its_stream_still_listens(runtime: Runtime) -> None:
    heard: list[bytes] = []

    def serve(sock: socket.socket) -> None:
        sock.shutdown(socket.SHUT_WR)
        heard.append(sock.recv(65536))

    with peer(serve) as endpoint:

        def steps(clock: Clock) -> Steps[bytes]:
            yield from connect(endpoint, clock)
            received = yield from Receive(clock() + LONG)
            yield from Send(b"goodbye", clock() + LONG)
            return received

        assert runtime.drive(steps) == b""
    assert heard == [b"goodbye"]


def test_poll_does_not_wait(runtime: Runtime) -> None:
    with peer(echo) as endpoint:

        def steps(clock: Clock) -> Steps[tuple[bytes | None, bytes, bytes | None]]:
            yield from connect(endpoint, clock)
            nothing = yield from Poll()
            yield from Send(b"ping", clock() + LONG)
            return nothing, (yield from poll_until_something(clock)), (yield from Poll())

        assert runtime.drive(steps) == (None, b"ping", None)


def test_what_comes_while_a_source_is_waited_for_is_kept(asynchronous: Asynchronous) -> None:
    """The answer to a Receive comes first, so that the connection is watched already."""
    sent = bytes(range(256)) * 1000
    go_on, all_sent = threading.Event(), threading.Event()

    def serve(sock: socket.socket) -> None:
        sock.sendall(b"first")
        assert go_on.wait(LONG)
        sock.sendall(sent)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORTIVE)
        assert all_sent.wait(LONG)

    async def message() -> AsyncIterator[bytes]:
        go_on.set()
        for _ in range(20):
            await asynchronous.turn()
        yield b"chunk"

    with peer(serve) as endpoint:

        def steps(clock: Clock) -> Steps[tuple[bytes, bytes]]:
            yield from connect(endpoint, clock)
            first = yield from receive_exactly(5, clock)
            yield from Pull(Source(Message(message())))
            received = b""
            while len(received) < len(sent):
                data = yield from Receive(clock() + LONG)
                assert 0 < len(data) <= 65536
                received += data
            all_sent.set()
            with pytest.raises(TransportError, match=r"^cannot receive: connection reset by peer$"):
                yield from Receive(clock() + LONG)
            return first, received

        assert asynchronous.drive(steps) == (b"first", sent)


def test_a_reset_while_a_source_is_waited_for_is_told_to_who_asks_next(asynchronous: Asynchronous) -> None:
    go_on, closed = threading.Event(), threading.Event()

    def serve(sock: socket.socket) -> None:
        sock.sendall(b"first")
        assert go_on.wait(LONG)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORTIVE)
        sock.close()
        closed.set()

    async def message() -> AsyncIterator[bytes]:
        go_on.set()
        assert closed.wait(LONG)
        for _ in range(5):
            await asynchronous.turn()
        yield b"chunk"

    with peer(serve) as endpoint:

        def steps(clock: Clock) -> Steps[bytes]:
            yield from connect(endpoint, clock)
            yield from receive_exactly(5, clock)
            yield from Pull(Source(Message(message())))
            return (yield from Receive(clock() + LONG))

        with pytest.raises(TransportError, match=r"^cannot receive: connection reset by peer$"):
            asynchronous.drive(steps)


def test_a_reset_is_a_transport_error(runtime: Runtime) -> None:
    with peer(lambda sock: sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORTIVE)) as endpoint:

        def steps(clock: Clock) -> Steps[bytes]:
            yield from connect(endpoint, clock)
            return (yield from Receive(clock() + LONG))

        with pytest.raises(
            TransportError, match=r"^cannot (connect to .*|receive): connection reset by peer$"
        ):
            runtime.drive(steps)


def test_words_before_a_reset_are_heard(runtime: Runtime) -> None:
    closed = threading.Event()

    def serve(sock: socket.socket) -> None:
        assert sock.recv(2) == b"he"  # the rest stays unread, so that closing resets
        sock.sendall(b"last words")
        sock.close()
        closed.set()

    with peer(serve) as endpoint:

        def steps(clock: Clock) -> Steps[bytes]:
            yield from connect(endpoint, clock)
            yield from Send(b"hello", clock() + LONG)
            assert closed.wait(LONG)
            return (yield from Receive(clock() + LONG))

        assert runtime.drive(steps) == b"last words"


def test_last_words_can_be_polled_after_a_failed_send(runtime: Runtime) -> None:
    closed = threading.Event()

    def serve(sock: socket.socket) -> None:
        sock.recv(2)
        sock.sendall(b"last words")
        sock.close()
        closed.set()

    with peer(serve) as endpoint:

        def steps(clock: Clock) -> Steps[bytes | None]:
            yield from connect(endpoint, clock)
            yield from Send(bytes(10), clock() + LONG)
            assert closed.wait(LONG)
            with pytest.raises(
                TransportError, match=r"^cannot send: (broken pipe|connection reset by peer)$"
            ):
                yield from send_forever(clock)
            return (yield from Poll())

        assert runtime.drive(steps) == b"last words"


def test_last_words_can_be_polled_after_a_send_that_took_too_long(runtime: Runtime) -> None:
    spoken = threading.Event()
    done = threading.Event()

    def serve(sock: socket.socket) -> None:
        sock.sendall(b"stop it")
        spoken.set()
        done.wait(LONG)

    with peer(serve) as endpoint:

        def steps(clock: Clock) -> Steps[bytes | None]:
            yield from connect(endpoint, clock)
            assert spoken.wait(LONG)
            with pytest.raises(DeadlinePassed):
                yield from Send(bytes(50_000_000), clock() + SHORT)
            done.set()
            return (yield from Poll())

        assert runtime.drive(steps) == b"stop it"


def test_a_send_that_heeds_gives_up_when_the_other_side_speaks(runtime: Runtime) -> None:
    over = threading.Event()

    def serve(sock: socket.socket) -> None:
        sock.sendall(b"stop it")
        assert over.wait(LONG)

    with peer(serve) as endpoint:

        def steps(clock: Clock) -> Steps[bytes | None]:
            yield from connect(endpoint, clock)
            with pytest.raises(SendInterrupted, match=r"^the other side has spoken meanwhile$"):
                yield from Send(bytes(50_000_000), clock() + LONG, heed=True)
            return (yield from Poll())

        try:
            assert runtime.drive(steps) == b"stop it"
        finally:
            over.set()


def test_a_reader_that_drips_does_not_extend_the_deadline_of_a_send(runtime: Runtime) -> None:
    done = threading.Event()

    def serve(sock: socket.socket) -> None:
        while not done.wait(0.01):
            sock.recv(65536)

    with peer(serve) as endpoint:

        def steps(clock: Clock) -> Steps[None]:
            yield from connect(endpoint, clock)
            try:
                yield from Send(bytes(100_000_000), clock() + SHORT)
            finally:
                done.set()

        with pytest.raises(DeadlinePassed):
            runtime.drive(steps)


def test_a_silent_peer_is_waited_for_until_the_deadline(runtime: Runtime) -> None:
    with peer(swallow) as endpoint:

        def steps(clock: Clock) -> Steps[float]:
            yield from connect(endpoint, clock)
            begun = clock()
            with pytest.raises(DeadlinePassed):
                yield from Receive(begun + SHORT)
            return clock() - begun

        assert runtime.drive(steps) > SHORT - 0.01  # clocks may tick in milliseconds


def test_a_connection_is_good_after_a_deadline_of_receive(runtime: Runtime) -> None:
    with peer(echo) as endpoint:

        def steps(clock: Clock) -> Steps[bytes]:
            yield from connect(endpoint, clock)
            with pytest.raises(DeadlinePassed):
                yield from Receive(clock() - 1)
            yield from Send(b"still here", clock() + LONG)
            return (yield from receive_exactly(10, clock))

        assert runtime.drive(steps) == b"still here"


@pytest.mark.parametrize("request_", [Receive(1e12), Send(b"x", 1e12), Poll()], ids=repr)
def test_nothing_can_be_asked_without_a_connection(runtime: Runtime, request_: Receive | Send | Poll) -> None:
    def steps(clock: Clock) -> Steps[bytes | None]:
        return (yield from request_.__iter__())

    with pytest.raises(TransportError, match=r"^there is no connection$"):
        runtime.drive(steps)


def test_an_unknown_request_is_a_type_error(runtime: Runtime) -> None:
    def steps(clock: Clock) -> Steps[None]:
        yield Request()

    with pytest.raises(TypeError, match="not a request for a connection"):
        runtime.drive(steps)


def test_others_have_their_turn_while_much_is_sent(asynchronous: Asynchronous) -> None:
    """The kernel takes each block at once, so that nothing has to be waited for."""
    sends = 6
    turns_before: list[int] = []

    async def main() -> None:
        with closing(asynchronous.wire(context_for)) as wire:
            await wire.perform(Connect(endpoint, None, wire.clock() + LONG))
            for _ in range(sends):
                turns_before.append(turns)
                await wire.perform(Send(bytes(40_000), wire.clock() + LONG))

    turns = 0

    def turn() -> None:
        nonlocal turns
        turns += 1

    with peer(swallow) as endpoint:
        asynchronous.loop_beside(main, turn)
    assert turns_before[-1] >= sends - 2  # trio may let us begin twice before the other has begun at all
