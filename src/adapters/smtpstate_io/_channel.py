"""A connection as every adapter has it: sockets and TLS, but no waiting."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from ssl import SSLContext

from smtpstate._errors import TlsFailed, TransportError
from smtpstate._requests import Connect, Connected, Handshake, Negotiated, Receive, Send, SendInterrupted
from smtpstate._tls import TlsClient
from smtpstate_io._addresses import Address, reason, source_of
from smtpstate_io._handed import connected_socket, has_peer
from smtpstate_io._tls import Tls
from smtpstate_io._waits import Wait

_BLOCK = 65536  # octets received at once, at most
_HEAD_START = 0.25  # seconds before the next address is tried as well (RFC 8305 §5)
_GLANCE = 0.5  # seconds between looks at what has come while sending is stuck
_BUSY = Wait((), seconds=0.02)  # a unix socket whose queue is full cannot be waited for, only asked again


class Channel:
    """One connection at a time, over non-blocking sockets.

    Whatever may take time is an iterator of things to wait for. When it has
    come to its end, ``answer`` holds the answer to the request::

        for wait in channel.perform(request):
            wait_for(wait)
        return channel.answer

    Leaving that loop early leaves a connection that is good for ``close`` only.
    """

    def __init__(self, context_for: Callable[[TlsClient], SSLContext]) -> None:
        self._context_for = context_for
        self._sock: socket.socket | None = None
        self._tls: Tls | None = None
        self._racing: list[tuple[socket.socket, Address]] = []
        self._torn = False  # the kernel has taken only a part of what we send
        self._early: bytes | TransportError | None = None  # received before it was asked for
        self._heard: bytes | None = None  # received while something was being sent, and not yet asked for
        self._writable = self._heedful = _BUSY
        #: what to wait for before the next ``look``
        self.readable: Wait = _BUSY
        #: the answer to the request that was performed last
        self.answer: Connected | Negotiated | bytes | None = None

    def perform(self, request: Receive | Send | Handshake) -> Iterator[Wait]:
        """Carry out what needs nothing but this connection.

        Raises:
            TransportError: the network or TLS failed.
        """
        if isinstance(request, Receive):
            return self._receive()
        if isinstance(request, Send):
            return self._send(request)
        return self._handshake(request)

    def held(self) -> bytes | None:
        """Return what the system need not be asked for, empty at the end of the stream, None if nothing is.

        Raises:
            TransportError: the network or TLS failed.
        """
        if self._heard is not None:
            heard, self._heard = self._heard, None
            return heard
        if self._sock is None:
            raise TransportError("there is no connection")
        early = None if self._early is None else self._taken_early()
        if self._tls is None:
            return early
        if early is not None:
            self._tls.feed(early)
        return self._tls.read()

    def look(self) -> bytes | None:
        """Return what has arrived, empty at the end of the stream, None if nothing has.

        The system is asked for one block at most: whoever fills a TLS record
        octet by octet does not hold us up.

        Raises:
            TransportError: the network or TLS failed.
        """
        if self._tls is None and self._early is None and self._heard is None:
            return self._received()
        data = self.held()
        if data is None:
            data = self._received()
            if data is not None and self._tls is not None:
                self._tls.feed(data)
                data = self._tls.read()
        return data

    def poll(self) -> bytes | None:
        """Do the same, and look beyond what is held since it arrived before it was asked for."""
        held = self._early is not None or self._heard is not None
        data = self.look()
        return data + self._since(data) if held and data else data

    def _since(self, data: bytes) -> bytes:
        """Return what has arrived after ``data`` and fits behind it; how that ended is for whoever asks next."""
        self.receive_early()
        early = self._early
        if not isinstance(early, bytes) or not 0 < len(early) <= _BLOCK - len(data):
            return b""
        self._early = None
        if self._tls is None:
            return early
        self._tls.feed(early)
        try:
            return self._tls.read() or b""
        except TlsFailed as failure:
            self._early = failure
            return b""

    def send(self, request: Send) -> Iterator[Wait] | None:
        """Send what can be sent at once: None if that was all, or else whatever sends the rest.

        Raises:
            TransportError: the network or TLS failed.
        """
        data = request.data if self._tls is None else self._tls.seal(request.data)
        self.answer = None
        taken = self._given(data)
        return None if taken == len(data) else self._give_rest(memoryview(data)[taken:], heed=request.heed)

    def receive_early(self) -> None:
        """Take a block that has arrived for whoever asks next; one at most is held, and what failed with it."""
        if self._early is None:
            try:
                self._early = self._received()
            except TransportError as error:
                self._early = error

    def connect(self, request: Connect, addresses: list[Address]) -> Iterator[Wait]:
        """Open a connection to the first of ``addresses`` that answers (RFC 8305 §5).

        Each is given a short head start before the next is tried beside it.

        Raises:
            TransportError: none of them does.
        """
        self.close()
        addresses, source = source_of(addresses, request.source_address)
        failures: list[str] = []
        for address in addresses:
            yield from self._begin(address, source, failures)
            if self._racing and self._won(failures, request):
                return
            if self._racing and address is not addresses[-1]:
                yield Wait(tuple(sock for sock, _ in self._racing), to_write=True, seconds=_HEAD_START)
                if self._won(failures, request):
                    return
        while self._racing:
            yield Wait(tuple(sock for sock, _ in self._racing), to_write=True)
            if self._won(failures, request):
                return
        why = "; ".join(failures) if len(failures) > 1 else failures[0].rpartition(": ")[2]
        raise TransportError(f"cannot connect to {request.endpoint}: {why}")

    def adopt(self, made: object, early: bytes = b"") -> None:
        """Go on with a socket that a hook has connected, in place of the one before.

        Args:
            made: what the hook has made.
            early: octets that have already been received from it.

        Raises:
            LocalProtocolError: it is no connected stream socket.
            TransportError: its connection has ended meanwhile.
        """
        self.close()
        sock, remote = connected_socket(made)
        self._early = early or None
        self.answer = self._go_on_with(sock, remote)

    def close(self) -> None:
        """Close at once; TLS says its farewell if that takes no time. Never raises."""
        for loser, _ in self._racing:
            loser.close()
        self._racing.clear()
        sock, self._sock = self._sock, None
        tls, self._tls = self._tls, None
        torn, self._torn = self._torn, False
        self._early = self._heard = None
        if sock is None:
            return
        try:
            if tls is not None and not torn:
                sock.send(tls.farewell())
        except OSError:
            pass  # nobody is left to hear it
        finally:
            sock.close()

    def hang_up(self) -> None:
        """End a connection that somebody still uses, who hears of it and closes it."""
        if self._sock is not None:
            with suppress(OSError):  # it has ended already
                self._sock.shutdown(socket.SHUT_RDWR)

    def _receive(self) -> Iterator[Wait]:
        data = self.held()
        while data is None:
            yield self.readable
            data = self.look()
        self.answer = data

    def _send(self, request: Send) -> Iterator[Wait]:
        rest = self.send(request)
        if rest is not None:
            yield from rest

    def _give(self, data: bytes) -> Iterator[Wait]:
        taken = self._given(data)
        if taken < len(data):
            yield from self._give_rest(memoryview(data)[taken:])

    def _give_rest(self, rest: memoryview, *, heed: bool = False) -> Iterator[Wait]:
        wait = self._heedful if heed else self._writable
        self._torn = True
        while rest:
            yield wait
            if heed:
                self._heed()
            rest = rest[self._given(rest) :]
        self._torn = False

    def _given(self, data: bytes | memoryview) -> int:
        """Have the system take what it can, and return how many octets that were."""
        if self._sock is None:
            raise TransportError("there is no connection")
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._torn = True
            raise TransportError(f"cannot send: {reason(error)}") from error

    def _heed(self) -> None:
        self._heard = self.look()
        if self._heard is not None:
            raise SendInterrupted("the other side has spoken meanwhile")

    def _handshake(self, request: Handshake) -> Iterator[Wait]:
        self._refuse_early_octets()
        tls = self._tls = Tls(self._context_for(request.tls), request.server_name)
        try:
            yield from self._give(tls.shake())
            while tls.negotiated is None:
                octets = self._received() if self._early is None else self._taken_early()
                if octets is None:
                    yield self.readable
                else:
                    tls.feed(octets)
                    yield from self._give(tls.shake())
        except TlsFailed:
            raise
        except TransportError as error:
            raise TlsFailed(f"the handshake failed: {error}") from error
        self.answer = tls.negotiated

    def _refuse_early_octets(self) -> None:
        # A client speaks first in TLS: whatever is here by now came in clear, and perhaps from somebody else.
        self.receive_early()
        if isinstance(self._early, TransportError):
            raise TlsFailed(f"the handshake failed: {self._early}") from self._early
        if self._early or self._heard:
            raise TlsFailed("octets arrived before the handshake")

    def _taken_early(self) -> bytes | None:
        early, self._early = self._early, None
        if isinstance(early, TransportError):
            raise early
        if early is not None and len(early) > _BLOCK:
            early, self._early = early[:_BLOCK], early[_BLOCK:]
        return early

    def _received(self) -> bytes | None:
        if self._sock is None:
            raise TransportError("there is no connection")
        try:
            return self._sock.recv(_BLOCK)
        except BlockingIOError:
            return None
        except OSError as error:
            raise TransportError(f"cannot receive: {reason(error)}") from error

    def _go_on_with(self, sock: socket.socket, remote: str | None) -> Connected:
        sock.setblocking(False)
        self._sock = sock
        self.readable = Wait((sock,))
        self._writable = Wait((sock,), to_write=True)
        self._heedful = Wait((sock,), to_write=True, seconds=_GLANCE)
        if sock.family not in (socket.AF_INET, socket.AF_INET6):
            return Connected(None, None)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return Connected(sock.getsockname()[0], remote)

    def _begin(self, address: Address, source: Address | None, failures: list[str]) -> Iterator[Wait]:
        sock: socket.socket | None = None
        try:
            sock = socket.socket(address.family, socket.SOCK_STREAM)
            self._racing.append((sock, address))
            sock.setblocking(False)
            if source is not None:
                sock.bind(source.sockaddr)
            while (code := sock.connect_ex(address.sockaddr)) == errno.EAGAIN:
                yield _BUSY
            if code not in (0, errno.EINPROGRESS):
                raise OSError(code, "")
        except OSError as error:
            if sock is not None:
                self._racing.pop()
                sock.close()
            failures.append(_failure(address, error))

    def _won(self, failures: list[str], request: Connect) -> bool:
        for sock, address in list(self._racing):
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                self._racing.remove((sock, address))
                sock.close()
                failures.append(_failure(address, OSError(code, "")))
            elif has_peer(sock):
                self._racing.remove((sock, address))
                self.close()
                self.answer = self._go_on_with(sock, address.host)
                return True
        return False


def _failure(address: Address, error: OSError) -> str:
    return reason(error) if address.host is None else f"{address.host}: {reason(error)}"
