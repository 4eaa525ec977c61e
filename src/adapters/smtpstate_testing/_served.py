"""Serve a model server: one thread that accepts, one for each connection, none left at the end."""

from __future__ import annotations

import os
import selectors
import socket
import ssl
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import final

from smtpstate._errors import TransportError
from smtpstate.testing import (
    Action,
    Close,
    Delay,
    ModelServer,
    Peer,
    Refuse,
    Reset,
    Say,
    Split,
    StartTls,
    StopReading,
    pieces,
    whole,
)
from smtpstate_testing._channel import Channel


@contextmanager
def serve(
    server: ModelServer,
    *,
    tls: ssl.SSLContext | None = None,
    unix_path: str | os.PathLike[str] | None = None,
    host: str = "127.0.0.1",
    split: Split = whole,
    buffers: int | None = None,
) -> Generator[Served, None, None]:
    """Serve ``server`` until the block is left; then all connections are closed and all threads joined.

    Args:
        server: whose rules are obeyed and whose messages grow.
        tls: certificate and settings for handshakes, by STARTTLS or from the first octet.
        unix_path: serve there (``@name`` in Linux's abstract namespace) instead of by TCP.
        host: the address to listen on; the port is chosen by the system.
        split: how what the server says is cut into pieces that are sent one by one.
        buffers: octets of the system's buffers for each direction, about.

    Raises:
        Exception: what went wrong in a thread, at the end of the block; not
            what clients do to connections.
    """
    with _listening(unix_path, host, buffers) as listener:
        served = Served(server, listener, _endpoint(listener, server), tls=tls, split=split)
        try:
            yield served
        finally:
            served.stop()
            if unix_path is not None and not os.fspath(unix_path).startswith("@"):
                os.unlink(unix_path)
    if served.failures:
        raise served.failures[0]


def _listening(unix_path: str | os.PathLike[str] | None, host: str, buffers: int | None) -> socket.socket:
    address: str | tuple[str, int] = (host, 0)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if unix_path is not None:
        path = os.fspath(unix_path)
        address, family = (f"\0{path[1:]}" if path.startswith("@") else path), socket.AF_UNIX
    listener = socket.socket(family)
    try:
        if buffers is not None:
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):  # connections inherit them
                listener.setsockopt(socket.SOL_SOCKET, option, buffers)
        listener.bind(address)
        listener.listen(1024)
    except BaseException:
        listener.close()
        raise
    return listener


def _endpoint(listener: socket.socket, server: ModelServer) -> str:
    address = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        if isinstance(address, bytes):
            return f"unix:@{address[1:].decode()}"
        return f"unix://{address}"
    scheme = "tls" if server.settings.implicit_tls else "tcp"
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"{scheme}://{host}:{address[1]}"


@final
class Served:
    """A model server while it is being served.

    Attributes:
        server: the model server.
        endpoint: where it is, such as ``tcp://127.0.0.1:40123`` or ``unix:///tmp/x``.
        failures: what went wrong in its threads.
    """

    def __init__(
        self,
        server: ModelServer,
        listener: socket.socket,
        endpoint: str,
        *,
        tls: ssl.SSLContext | None,
        split: Split,
    ) -> None:
        self.server = server
        self.endpoint = endpoint
        self.failures: list[Exception] = []
        self._listener = listener
        self._tls = tls
        self._split = split
        self._lock = threading.Lock()  # over the server and over what is listed here
        self._stopping = threading.Event()
        self._channels: set[Channel] = set()
        self._threads: list[threading.Thread] = []
        self._wake, self._woken = socket.socketpair()
        self._accepting = threading.Thread(target=self._accept, name=f"serve {endpoint}")
        self._accepting.start()

    @property
    def port(self) -> int:
        """The TCP port; 0 on a unix socket."""
        last = self.endpoint.rpartition(":")[2]
        return int(last) if last.isdigit() else 0

    def stop(self) -> None:
        """Close all connections and wait for all threads."""
        self._stopping.set()
        self._wake.close()
        self._accepting.join()
        self._woken.close()
        with self._lock:
            for channel in self._channels:
                channel.interrupt()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while True:
                selector.select()
                if self._stopping.is_set():
                    return
                sock, _ = self._listener.accept()
                if sock.family != socket.AF_UNIX:
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._begin(Channel(sock))

    def _begin(self, channel: Channel) -> None:
        with self._lock:
            try:
                peer = self.server.connect()
            except TransportError:
                channel.reset()
                return
            self._channels.add(channel)
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            thread = threading.Thread(target=self._converse, args=(channel, peer), name="serve a connection")
            thread.start()
            self._threads.append(thread)

    def _converse(self, channel: Channel, peer: Peer) -> None:
        try:
            _Conversation(channel, peer, self._lock, self._stopping, self._tls, self._split).run()
        except OSError:
            pass  # whatever a client does to its connection
        except Exception as error:
            self.failures.append(error)
        finally:
            with self._lock:
                peer.disconnected()
                self._channels.discard(channel)
            channel.close()


@final
class _Conversation:
    """One connection, from its greeting to its end."""

    def __init__(
        self,
        channel: Channel,
        peer: Peer,
        lock: threading.Lock,
        stopping: threading.Event,
        tls: ssl.SSLContext | None,
        split: Split,
    ) -> None:
        self._channel = channel
        self._peer = peer
        self._lock = lock
        self._stopping = stopping
        self._tls = tls
        self._split = split
        self._said = 0
        self._over = False

    def run(self) -> None:
        """Talk until one side ends it."""
        with self._lock:
            actions = self._peer.greet()
        self._perform(actions)
        while not self._over and (data := self._channel.receive()):
            with self._lock:
                self._peer.feed(data)
            # One command after the other: what is to be said about one is sent before the next is read.
            while not self._over:
                with self._lock:
                    step = self._peer.step()
                if step is None:
                    break
                self._perform(step)

    def _perform(self, actions: Sequence[Action]) -> None:
        for action in actions:
            match action:
                case Say():
                    for piece in pieces(action.data, self._split, self._said):
                        self._channel.send(piece)
                    self._said += len(action.data)
                case Delay():
                    self._over = self._stopping.wait(action.seconds)
                case StopReading():
                    self._stopping.wait()
                    self._over = True
                case StartTls():
                    self._start_tls()
                case Reset() | Refuse():
                    self._channel.reset()
                    self._over = True
                case Close():
                    self._channel.close()
                    self._over = True
                case _:
                    pass
            if self._over:
                return

    def _start_tls(self) -> None:
        if self._tls is None:
            raise ValueError("the model server offers TLS: serve it with tls=")
        bindings = self._channel.start_tls(self._tls)
        with self._lock:
            actions = self._peer.tls_started(bindings)
        self._perform(actions)
