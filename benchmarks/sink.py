"""Take mail as fast as Python can, and count it: python sink.py [chunking] [plain] [lmtp] [delay=0.05].

It prints its port, and on standard input's end what it has counted, as JSON. It believes
every command, so that nearly all of a run's time is the client's.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time
from collections import deque

BLOCK = 1 << 20


class Peer:
    """One client: what it is in the middle of."""

    def __init__(self, sock: socket.socket, *, lmtp: bool) -> None:
        self.sock = sock
        self.lmtp = lmtp
        self.rest = b""
        self.in_data = False
        self.chunk = 0  # octets of a BDAT chunk that are still to come
        self.last = False
        self.recipients = 0  # of the present message
        self.octets = 0
        self.tail = b""  # the last octets of DATA's content, where its end may begin
        self.leaves = False


class Counts:
    """What has been taken in all."""

    def __init__(self) -> None:
        self.messages = self.recipients = self.octets = self.connections = self.most_open = 0


def take(peer: Peer, data: bytes, counts: Counts, hello: bytes) -> bytes:
    """Take octets, and return what there is to say to them."""
    said: list[bytes] = []
    data = peer.rest + data
    peer.rest = b""
    at, size = 0, len(data)
    while at < size:
        if peer.chunk:
            taken = min(peer.chunk, size - at)
            peer.chunk -= taken
            peer.octets += taken
            at += taken
            if not peer.chunk:
                said.append(ended(peer, counts) if peer.last else b"250 2.0.0 Ok\r\n")
        elif peer.in_data:
            at = content(peer, data, at, counts, said)
        else:
            end = data.find(b"\n", at) + 1
            if not end:
                peer.rest = data[at:]
                break
            said.append(answer(peer, data[at:end], counts, hello))
            at = end
    return b"".join(said)


def content(peer: Peer, data: bytes, at: int, counts: Counts, said: list[bytes]) -> int:
    """Look for the end of a message; return up to where the octets are taken."""
    lines = peer.tail + (data[at:] if at else data)
    known = len(peer.tail)
    found = lines.find(b"\r\n.\r\n")
    if found < 0:
        peer.octets += len(lines) - known
        peer.tail = lines[-4:]
        return len(data)
    # The tail begins with the line end that came before the message, which is none of its octets.
    peer.octets += found + 2 - known
    peer.in_data = False
    said.append(ended(peer, counts))
    return at + found + 5 - known


def ended(peer: Peer, counts: Counts) -> bytes:
    """Count a message, and return its final reply, or LMTP's replies."""
    replies = peer.recipients if peer.lmtp else 1
    counts.messages += 1
    counts.recipients += peer.recipients
    counts.octets += peer.octets
    peer.recipients = peer.octets = 0
    return b"250 2.0.0 Ok: queued\r\n" * replies


def answer(peer: Peer, line: bytes, counts: Counts, hello: bytes) -> bytes:
    """Return the reply to a command."""
    verb = line[:4].upper()
    if verb == b"RCPT":
        peer.recipients += 1
        return b"250 2.1.5 Ok\r\n"
    if verb in (b"MAIL", b"RSET"):
        peer.recipients = 0
        return b"250 2.1.0 Ok\r\n"
    if verb == b"DATA":
        peer.in_data, peer.tail = True, b"\r\n"
        return b"354 End data with <CR><LF>.<CR><LF>\r\n"
    if verb == b"BDAT":
        words = line.split()
        peer.chunk, peer.last = int(words[1]), len(words) > 2
        return b"" if peer.chunk else ended(peer, counts) if peer.last else b"250 2.0.0 Ok\r\n"
    if verb in (b"EHLO", b"LHLO"):
        return hello
    if verb == b"QUIT":
        peer.leaves = True
        return b"221 2.0.0 Bye\r\n"
    return b"250 2.0.0 Ok\r\n"


def serve(words: list[str]) -> None:
    """Serve until standard input ends."""
    offers = [b"8BITMIME", b"ENHANCEDSTATUSCODES"]
    if "plain" not in words:
        offers.append(b"PIPELINING")
    if "chunking" in words:
        offers += [b"CHUNKING", b"BINARYMIME"]
    hello = b"250-sink.test\r\n" + b"".join(b"250-%b\r\n" % word for word in offers[:-1])
    hello += b"250 %b\r\n" % offers[-1]
    delay = next((float(word[6:]) for word in words if word.startswith("delay=")), 0.0)
    counts = Counts()
    later: deque[tuple[float, Peer, bytes]] = deque()
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    watch = selectors.DefaultSelector()
    watch.register(listener, selectors.EVENT_READ)
    watch.register(sys.stdin, selectors.EVENT_READ)
    print(listener.getsockname()[1], flush=True)
    open_now = 0

    def say(peer: Peer, octets: bytes) -> None:
        if delay:
            later.append((time.monotonic() + delay, peer, octets))
        elif octets:
            peer.sock.sendall(octets)

    while True:
        wait = max(later[0][0] - time.monotonic(), 0) if later else None
        for key, _ in watch.select(wait):
            if key.fileobj is listener:
                sock, _ = listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                peer = Peer(sock, lmtp="lmtp" in words)
                watch.register(sock, selectors.EVENT_READ, peer)
                open_now += 1
                counts.connections += 1
                counts.most_open = max(counts.most_open, open_now)
                say(peer, b"220 sink.test ESMTP\r\n")
            elif key.fileobj is sys.stdin:
                print(json.dumps(vars(counts)), flush=True)
                return
            else:
                peer = key.data
                try:
                    data = peer.sock.recv(BLOCK)
                except ConnectionError:
                    data = b""
                if data:
                    said = take(peer, data, counts, hello)
                    if said:
                        say(peer, said)
                if not data or (peer.leaves and not delay):
                    open_now -= 1
                    watch.unregister(peer.sock)
                    peer.sock.close()
        while later and later[0][0] <= time.monotonic():
            _, peer, octets = later.popleft()
            if peer.sock.fileno() >= 0:
                peer.sock.sendall(octets)


if __name__ == "__main__":
    serve(sys.argv[1:])
