"""The server's end of one real connection: octets, TLS when asked, and every way to end."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from collections.abc import Callable
from typing import TypeVar, final

T = TypeVar("T")

_BLOCK = 65536


@final
class Channel:
    """A blocking connection on which TLS can begin at any time.

    TLS works on buffers in memory: the socket itself is never wrapped, so
    that another thread may shut it down and it may be reset at any time.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._tls: ssl.SSLObject | None = None
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()

    def start_tls(self, context: ssl.SSLContext) -> dict[str, bytes]:
        """Shake hands as a server and return the channel bindings, by type (RFC 5929 §3).

        Raises:
            OSError: that failed; an ``ssl.SSLError`` is one.
        """
        tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        try:
            self._with_octets(tls.do_handshake)
        finally:
            self._flush()  # also the alert that says what is wrong
        self._tls = tls
        # RFC 9266 §3: tls-unique is not defined for TLS 1.3.
        unique = tls.get_channel_binding("tls-unique") if tls.version() == "TLSv1.2" else None
        return {} if unique is None else {"tls-unique": unique}

    def receive(self) -> bytes:
        """Wait for octets; none at the end of the stream.

        Raises:
            OSError: the connection is broken.
        """
        tls = self._tls
        if tls is None:
            return self._socket.recv(_BLOCK)
        try:
            return self._with_octets(lambda: tls.read(_BLOCK))
        except ssl.SSLZeroReturnError:
            return b""

    def send(self, data: bytes) -> None:
        """Send all of ``data``.

        Raises:
            OSError: the connection is broken.
        """
        if self._tls is None:
            self._socket.sendall(data)
        else:
            self._tls.write(data)
            self._flush()

    def close(self) -> None:
        """End the connection in an orderly way."""
        with contextlib.suppress(OSError):
            if self._tls is not None:
                with contextlib.suppress(ssl.SSLError):  # the client's own farewell is not waited for
                    self._tls.unwrap()
                self._flush()
        self._socket.close()

    def reset(self) -> None:
        """Break the connection. A unix socket knows no reset: there it ends, without TLS's farewell."""
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def interrupt(self) -> None:
        """Wake up whoever waits in another thread; the connection is over."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _with_octets(self, step: Callable[[], T]) -> T:
        """Run a step of TLS, and again each time that the octets it needs have come."""
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                self._flush()
            data = self._socket.recv(_BLOCK)
            if data:
                self._incoming.write(data)
            else:
                self._incoming.write_eof()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._socket.sendall(self._outgoing.read())
