"""Sockets that a hook of the caller's has connected, before we go on with them."""

from __future__ import annotations

import os
import socket
from collections.abc import Coroutine
from ssl import SSLSocket
from typing import Protocol

from smtpstate._endpoints import Endpoint
from smtpstate._errors import LocalProtocolError, TransportError
from smtpstate_io._addresses import reason


class HasFileno(Protocol):
    """Whatever is at home on a file descriptor."""

    def fileno(self) -> int:
        """Return it, or -1 if that is closed."""
        ...


def connected_socket(made: object) -> tuple[socket.socket, str | None]:
    """Return what a hook has made as a socket, and the IP address at its other end, if it has one.

    A socket is closed if it cannot be used.

    Raises:
        LocalProtocolError: it is no socket, or none that is connected, or one that
            does TLS by itself.
        TransportError: it has been connected, but is so no longer.
    """
    if not isinstance(made, socket.socket):
        raise LocalProtocolError(f"connect= must give a connected socket, not {type(made).__name__}")
    try:
        return made, _peer_of(made)
    except BaseException:
        made.close()
        raise


def has_peer(sock: socket.socket) -> bool:
    """Return whether a socket is connected."""
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


def duplicate(theirs: HasFileno | None) -> socket.socket:
    """Return a socket of our own for a connection that somebody else's object is about to let go.

    Raises:
        TransportError: that object is closed.
    """
    fd = -1 if theirs is None else theirs.fileno()
    if fd < 0:
        raise TransportError("the stream that connect= gave is closed")
    return socket.socket(fileno=os.dup(fd))


def had_at_once(receiving: Coroutine[object, None, bytes]) -> bytes:
    """Return what ``receiving`` gives without having to wait, or nothing if it would have to.

    It is run here instead of by its framework: whoever has octets at hand gives
    them without a wait, other than one that just lets others have their turn.
    """
    try:
        while receiving.send(None) is None:
            pass
    except StopIteration as done:
        octets: bytes = done.value
        return octets
    receiving.close()
    return b""


def hook_failed(endpoint: Endpoint, error: Exception) -> TransportError:
    """Return our error for what the network did to a hook."""
    why = reason(error) if isinstance(error, OSError) else str(error) or type(error).__name__
    return TransportError(f"cannot connect to {endpoint}: {why}")


def _peer_of(sock: socket.socket) -> str | None:
    if isinstance(sock, SSLSocket):
        raise LocalProtocolError("connect= must give a socket without TLS: that is begun here")
    if sock.fileno() < 0:
        raise TransportError("the socket that connect= gave is closed")
    if sock.type != socket.SOCK_STREAM:
        raise LocalProtocolError(f"connect= must give a stream socket, not one of type {sock.type.name}")
    try:
        peer = sock.getpeername()
    except OSError as error:
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise TransportError(f"the connection is lost: {reason(OSError(code, ''))}") from error
        raise LocalProtocolError("connect= must give a socket that is connected") from error
    return str(peer[0]) if sock.family in (socket.AF_INET, socket.AF_INET6) else None
