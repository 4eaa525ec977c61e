"""A connection in memory: two systems with their buffers, and a clock that only waiting moves."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections import deque
from collections.abc import Iterable
from typing import Protocol, TypeAlias, final

from smtpstate._errors import DeadlinePassed, TlsFailed, TransportError
from smtpstate._requests import Handshake, Negotiated, SendInterrupted
from smtpstate.testing._actions import (
    Action,
    Close,
    Delay,
    Refuse,
    Reset,
    Say,
    Silence,
    StartTls,
    StopReading,
)
from smtpstate.testing._settings import ModelTls
from smtpstate.testing._splitting import Split

_MOST_AT_ONCE = 65536  # octets that one Receive answers at most

_Coming: TypeAlias = bytes | Close | Reset | StartTls | Refuse


@final
class VirtualClock:
    """A clock in seconds that stands still, but where something waits."""

    __slots__ = ("now",)

    def __init__(self, now: float = 0.0) -> None:
        self.now: float = now

    def __call__(self) -> float:
        """Return the time."""
        return self.now

    def wait_until(self, time: float) -> None:
        """Let time pass, unless it has passed.

        Raises:
            AssertionError: it would never be over.
        """
        if time == math.inf:
            raise AssertionError("the dialogue would wait for ever")
        self.now = max(self.now, time)


class ServerSide(Protocol):
    """What a connection needs of its other end: a ``Peer``, or one that follows a script."""

    @property
    @abstractmethod
    def tls_model(self) -> ModelTls:
        """What a handshake leads to."""

    @abstractmethod
    def greet(self) -> list[Action]:
        """Begin."""

    @abstractmethod
    def feed(self, data: bytes, *, unread: bool = False) -> None:
        """Take octets from the client."""

    @abstractmethod
    def step(self) -> list[Action] | None:
        """Work through one command; None if more octets are needed."""

    @abstractmethod
    def tls_started(self) -> list[Action]:
        """Go on inside TLS."""

    @abstractmethod
    def disconnected(self) -> None:
        """Learn that the client has left."""


@final
class MemoryConnection:
    """A connection as the client's system sees it.

    Attributes:
        turns: how often the client had said something and then had to wait.
    """

    def __init__(
        self,
        peer: ServerSide,
        clock: VirtualClock,
        *,
        split: Split,
        latency: float,
        server_buffer: int,
        client_buffer: int,
    ) -> None:
        self.turns = 0
        self._peer = peer
        self._clock = clock
        self._split = split
        self._latency = latency
        self._server_buffer = server_buffer
        self._client_buffer = client_buffer
        self._coming: deque[tuple[float, _Coming]] = deque()  # with the time of arrival
        self._on_the_way = 0  # octets in it
        self._arrived = bytearray()
        self._received = 0
        self._unread = bytearray()  # sent, and not read by the server
        self._busy_until = 0.0  # what the server does before it does anything further
        self._spoken = False  # since the client waited last
        self._reading = True
        self._ended: float | None = None  # when the server ended the connection
        self._sent_in_vain = False
        self.perform(peer.greet())

    def perform(self, actions: Iterable[Action]) -> None:
        """Carry out what the server does."""
        self._busy_until = max(self._busy_until, self._clock())
        for action in actions:
            match action:
                case Say():
                    self._on_the_way += len(action.data)
                    self._put(action.data)
                case Delay():
                    self._busy_until += action.seconds
                case StopReading():
                    self._reading = False
                case Close() | Reset():
                    self._ended = self._busy_until
                    self._put(action)
                case StartTls() | Refuse():
                    self._put(action)
                case _:
                    assert isinstance(action, Silence), action

    def _put(self, what: _Coming) -> None:
        self._coming.append((self._busy_until + self._latency, what))

    def _run_server(self) -> None:
        """Let the server work. It reads nothing while it cannot write."""
        while self._reading and self._ended is None:
            unread = len(self._arrived) + self._on_the_way
            if unread > self._client_buffer:
                return
            if self._unread:
                self._peer.feed(bytes(self._unread), unread=unread > 0)
                self._unread.clear()
            actions = self._peer.step()
            if actions is None:
                return
            self.perform(actions)

    def send(self, data: bytes, deadline: float, *, heed: bool = False) -> None:
        """Send ``data``.

        Raises:
            TransportError: the connection is broken.
            SendInterrupted: the buffers are full, and the server has said something meanwhile.
            DeadlinePassed: the buffers are full and stay so.
        """
        self._spoken = True
        if self._ended is not None:
            # The system takes what is sent first after an end, and learns that nobody is there.
            if self._ended <= self._clock() and (
                self._sent_in_vain or isinstance(self._coming[-1][1], Reset)
            ):
                raise TransportError("broken pipe")
            self._sent_in_vain = True
            return
        while data and self._ended is None:
            room = self._server_buffer - len(self._unread)
            if room <= 0:
                if heed and (self._arrived or self._coming):
                    raise SendInterrupted("the server has spoken meanwhile")
                self._clock.wait_until(deadline)
                raise DeadlinePassed("the server takes no more octets")
            self._unread += data[:room]
            data = data[room:]
            self._run_server()

    def receive(self, deadline: float) -> bytes:
        """Wait for octets; none at the end of the stream.

        Raises:
            TransportError: the connection is broken.
            DeadlinePassed: nothing came in time.
        """
        if not self._arrived:
            self.turns += self._spoken
            self._spoken = False
            if not self._coming or self._coming[0][0] > deadline or self._head(StartTls, Refuse):
                self._clock.wait_until(deadline)
                raise DeadlinePassed("the server did not answer in time")
            self._clock.wait_until(self._coming[0][0])
            self._land()
        return self._take()

    def poll(self) -> bytes | None:
        """Return what is there without waiting: None if nothing has come, no octets at the end.

        Raises:
            TransportError: the connection is broken.
        """
        self._land()
        if not self._arrived and not (self._coming and self._coming[0][0] <= self._clock()):
            return None
        return None if self._head(StartTls, Refuse) else self._take()

    def _land(self) -> None:
        while self._coming and self._coming[0][0] <= self._clock():
            what = self._coming[0][1]
            if not isinstance(what, bytes):
                break
            self._coming.popleft()
            self._on_the_way -= len(what)
            self._arrived += what

    def _head(self, *kinds: type[_Coming]) -> bool:
        return not self._arrived and bool(self._coming) and isinstance(self._coming[0][1], kinds)

    def _take(self) -> bytes:
        if self._head(Close):
            return b""
        if self._head(Reset):
            raise TransportError("connection reset by peer")
        n = self._split(self._received, min(len(self._arrived), _MOST_AT_ONCE))
        data = bytes(self._arrived[:n])
        del self._arrived[:n]
        self._received += n
        self._run_server()
        return data

    def shake_hands(self, request: Handshake) -> Negotiated:
        """Play a TLS handshake.

        Raises:
            TlsFailed: it fails, or octets were received before it.
            DeadlinePassed: the server does not take part in it.
        """
        nothing = not self._coming or self._coming[0][0] > request.deadline
        if nothing and not self._arrived:
            self._clock.wait_until(request.deadline)
            raise DeadlinePassed("the TLS handshake was not done in time")
        if self._arrived or self._head(bytes):
            raise TlsFailed("octets came in clear before the TLS handshake")
        time, what = self._coming[0]
        self._clock.wait_until(time)
        if isinstance(what, Refuse):
            raise what.error
        if not isinstance(what, StartTls):
            raise TlsFailed("the server ended the connection during the TLS handshake")
        model = self._peer.tls_model
        named = model.trusted and (not model.names or request.server_name in model.names)
        if request.tls.verify and not named:
            raise TlsFailed("the certificate does not verify", certificate=True)
        self._coming.popleft()
        self.perform(self._peer.tls_started())
        return Negotiated(
            model.version, model.cipher, named and request.tls.verify, model.certificate, model.bindings
        )

    def close(self) -> None:
        """Leave."""
        self._peer.disconnected()
