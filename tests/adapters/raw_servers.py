"""Servers that say what they are told to, and fail where they are told to: as cheap as can be."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from ssl import SSLContext
from typing import TypeAlias

#: Serves one connection.
Serve: TypeAlias = Callable[[socket.socket], object]


def talking(ends: str = "", /, **answers: bytes) -> Serve:
    """Answer each command by the first four letters of its verb, and by 250 those without an answer.

    ``GREETING`` stands for the greeting and ``END`` for the end of the message. The
    connection is closed after the answer to ``ends``, and in place of an empty one.
    """
    said = {"GREETING": b"220 mx.example\r\n", "DATA": b"354 go ahead\r\n", "": b"", **answers}

    def serve(sock: socket.socket) -> None:
        with suppress(OSError), sock.makefile("rb") as lines:  # whatever a client does to its connection
            step = "GREETING"
            while answer := said.get(step, b"250 ok\r\n"):
                sock.sendall(answer)
                if step == ends:
                    return
                if step == "DATA":
                    while lines.readline() not in (b".\r\n", b""):
                        pass
                    step = "END"
                else:
                    step = lines.readline()[:4].decode("ascii", "replace").upper()

    return serve


def resetting(serve: Serve) -> Serve:
    """Do the same, and reset the connection where it would be closed."""

    def serve_and_reset(sock: socket.socket) -> None:
        serve(sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return serve_and_reset


def shaking_hands(context: SSLContext, serve: Serve) -> Serve:
    """Do the same inside TLS."""

    def serve_inside(sock: socket.socket) -> None:
        with suppress(OSError), context.wrap_socket(sock, server_side=True) as encrypted:
            serve(encrypted)

    return serve_inside
