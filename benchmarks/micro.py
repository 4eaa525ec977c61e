"""What needs no network: replies into events, messages into what DATA carries, and how work grows."""

from __future__ import annotations

import math
import re
import smtplib
import sys
import time
from collections.abc import Callable
from importlib import import_module

from measure import median, ratio
from smtpstate import Connection, Ehlo, Mail, Rcpt
from smtpstate._content import DataEncoder
from smtpstate._events import NEED_DATA

BLOCK = 65536
REPLY = b"250 2.1.5 Ok\r\n"


def seconds(work: Callable[[], object]) -> float:
    """Return how long it took."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def compare(ours: Callable[[], object], theirs: Callable[[], object], rounds: int) -> float:
    """Return how many times as long theirs takes, pair by pair."""
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(rounds)]
    return ratio([our for our, _ in pairs], [their for _, their in pairs])


def events(count: int, piece: int) -> None:
    """Turn the replies to so many recipients into events, with pieces of so many octets."""
    connection = Connection()
    connection.receive_data(b"220 sink\r\n")
    connection.next_event()
    connection.send(Ehlo("client.example"))
    connection.receive_data(b"250-sink\r\n250 PIPELINING\r\n")
    connection.next_event()
    connection.send(Mail("a@client.example"))
    named = Rcpt("b@mx.example")
    for _ in range(count - 1):
        connection.send(named)
    wire = REPLY * count
    for start in range(0, len(wire), piece):
        connection.receive_data(wire[start : start + piece])
        while connection.next_event() is not NEED_DATA:
            pass


def peer_replies(count: int) -> None:
    """Let smtpproto take as many replies, one at a time: it has one command in flight."""
    protocol = import_module("smtpproto.protocol")
    client = protocol.SMTPClientProtocol()
    client.feed_bytes(b"220 sink\r\n")
    client.get_outgoing_data()
    client.send_greeting("client.example")
    client.feed_bytes(b"250 sink\r\n")
    for _ in range(count):
        client.noop()
        client.feed_bytes(REPLY)


def base64_text(octets: int) -> bytes:
    """Return text with lines as of base64."""
    line = b"QmVuY2htYXJrcyBtdXN0IGJlIGFzIGR1bGwgYXMgdGhleSBhcmUgaG9uZXN0LCBhbmQgc28g\r\n"
    return (line * (octets // len(line) + 1))[:octets]


def encode(blocks: list[bytes]) -> None:
    """Make what DATA carries of a message."""
    encoder = DataEncoder()
    for block in blocks:
        encoder.encode(block)
    encoder.finish()


def encode_as_smtplib(blocks: list[bytes]) -> None:
    """Do as smtplib does."""
    for block in blocks:
        text = re.sub(rb"(?:\r\n|\n|\r(?!\n))", b"\r\n", block)
        smtplib._quote_periods(text)


def exponent(measure: Callable[[int], float], largest: int) -> float:
    """Return how work grows with its size over the two largest decades: 1 is linear."""
    few = median([measure(largest // 100) for _ in range(5)])
    many = median([measure(largest) for _ in range(3)])
    return math.log(many / few) / math.log(100)


def main(rounds: int) -> list[str]:
    """Return the figures as lines of a table of goals."""
    blocks = [base64_text(BLOCK)] * 200
    lines = [
        line(
            "message encoding, base64 text in 64 KiB blocks",
            "DataEncoder",
            "smtplib",
            5,
            compare(lambda: encode(blocks), lambda: encode_as_smtplib(blocks), rounds),
        )
    ]
    if "smtpproto" in sys.modules or _has("smtpproto"):
        count = 5000
        lines += [
            line(
                "replies into events, 64 KiB blocks",
                "Connection",
                "smtpproto",
                2,
                compare(lambda: events(count, BLOCK), lambda: peer_replies(count), rounds),
            ),
            line(
                "replies into events, octet by octet",
                "Connection",
                "smtpproto",
                1,
                compare(lambda: events(count // 5, 1), lambda: peer_replies(count // 5), rounds),
            ),
        ]
    growth = exponent(lambda count: seconds(lambda: events(count, BLOCK)), 100_000)
    lines.append(
        f"| replies into events: growth to 100,000 (exponent) | Connection | | at most 1.05 | {growth:.2f} | "
        f"{'yes' if growth <= 1.05 else 'no'} |"
    )
    return lines


def line(what: str, ours: str, theirs: str, factor: float, reached: float) -> str:
    """Return a line of the table of goals."""
    return f"| {what} | {ours} | {theirs} | {factor:.2g} | {reached:.2f} | {'yes' if reached >= factor else 'no'} |"


def _has(package: str) -> bool:
    try:
        import_module(package)
    except ImportError:
        return False
    return True
