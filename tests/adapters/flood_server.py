"""A server that answers much and reads little: a program of its own, for tests that look for deadlocks.

It says on its standard output where it listens, serves one connection, and says then what
has come. Its sockets have buffers of 4 KiB, each of its replies has 500 octets, and it
reads nothing more until all that is due has been written.
"""

from __future__ import annotations

import json
import socket
import sys

BUFFER = 4096
REPLY = 500


def long_reply(code: bytes) -> bytes:
    """Return a reply of 500 octets, its line end included."""
    return code + b" " + b"x" * (REPLY - len(code) - 3) + b"\r\n"


OK, GO_AHEAD, BYE = long_reply(b"250"), long_reply(b"354"), long_reply(b"221")


class Server:
    """One connection, and what has come on it."""

    def __init__(self, sock: socket.socket, extensions: list[str], *, lmtp: bool) -> None:
        self._sock = sock
        self._lmtp = lmtp
        self._hello = b"".join(b"250-%b\r\n" % line.encode() for line in ["flood.example", *extensions]) + OK
        self._buffer = b""
        self.recipients = 0
        self.octets = 0

    def serve(self) -> None:
        """Answer until the client has left."""
        self._sock.sendall(b"220 flood.example\r\n")
        while data := self._sock.recv(65536):
            *lines, rest = (self._buffer + data).split(b"\r\n")
            self._buffer = rest
            replies: list[bytes] = []
            for n, line in enumerate(lines):
                if line.startswith((b"DATA", b"BDAT")):
                    self._buffer = b"\r\n".join([*lines[n + 1 :], rest])
                    self._sock.sendall(b"".join(replies))
                    replies = [self._take_lines() if line == b"DATA" else self._take_chunk(line)]
                    while self._buffer.startswith(b"BDAT") and b"\r\n" in self._buffer:
                        self._sock.sendall(b"".join(replies))
                        line, _, self._buffer = self._buffer.partition(b"\r\n")
                        replies = [self._take_chunk(line)]
                    break
                replies.append(self._answer(line))
            self._sock.sendall(b"".join(replies))

    def _answer(self, line: bytes) -> bytes:
        verb = line[:4]
        if verb == b"RCPT":
            self.recipients += 1
        return {b"EHLO": self._hello, b"LHLO": self._hello, b"QUIT": BYE}.get(verb, OK)

    def _take_chunk(self, line: bytes) -> bytes:
        _, size, *last = line.split(b" ")
        due = int(size) - len(self._buffer)
        self.octets += int(size)
        while due > 0:
            data = self._sock.recv(65536)
            if not data:
                raise EOFError("the client left amid a chunk")
            self._buffer, due = data, due - len(data)
        self._buffer = self._buffer[len(self._buffer) + due :]
        return OK * self.recipients if last and self._lmtp else OK

    def _take_lines(self) -> bytes:
        self._sock.sendall(GO_AHEAD)
        content = bytearray(self._buffer)
        while not content.endswith(b"\r\n.\r\n"):
            data = self._sock.recv(65536)
            if not data:
                raise EOFError("the client left amid the message")
            content += data
        self._buffer = b""
        self.octets += len(content) - len(b".\r\n")
        return OK * self.recipients if self._lmtp else OK


def main(protocol: str, path: str, *extensions: str) -> None:
    """Serve one connection, on a unix socket or, where ``path`` is empty, on a free port."""
    with socket.socket(socket.AF_UNIX if path else socket.AF_INET) as listener:
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            listener.setsockopt(socket.SOL_SOCKET, option, BUFFER)  # those of the connection are the same
        listener.bind(path or ("127.0.0.1", 0))
        listener.listen()
        print(path or listener.getsockname()[1], flush=True)
        sock, _ = listener.accept()
    with sock:
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, BUFFER)
        server = Server(sock, list(extensions), lmtp=protocol == "lmtp")
        server.serve()
    print(json.dumps({"recipients": server.recipients, "octets": server.octets}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
