"""What needs no network: replies into events, messages into what DATA carries, and how work grows."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from importlib import import_module

from measure import median, ratio
from report import verdict
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


def compare(ours: Callable[[], float], theirs: Callable[[], float], rounds: int) -> float:
    """Return how many times as long theirs takes, pair by pair."""
    pairs = [(ours(), theirs()) for _ in range(rounds)]
    return ratio([our for our, _ in pairs], [their for _, their in pairs])


def events(count: int, piece: int) -> float:
    """Return how long the replies to so many recipients take to be events, in pieces of so many octets."""
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
    pieces = cut(REPLY * count, piece)

    def receive() -> None:
        for part in pieces:
            connection.receive_data(part)
            while connection.next_event() is not NEED_DATA:
                pass

    return seconds(receive)


def peer_replies(count: int, piece: int) -> float:
    """Return the same for smtpproto, which has one command in flight: so there are as many sessions."""
    protocol = import_module("smtpproto.protocol")
    pieces = cut(REPLY, piece)
    sessions = [protocol.SMTPClientProtocol() for _ in range(count)]
    for session in sessions:
        session.feed_bytes(b"220 sink\r\n")
        session.send_greeting("client.example")
        session.feed_bytes(b"250 sink\r\n")
        session.noop()

    def receive() -> None:
        for session in sessions:
            for part in pieces:
                session.feed_bytes(part)

    return seconds(receive)


def cut(octets: bytes, piece: int) -> list[bytes]:
    """Cut into pieces of so many octets."""
    return [octets[start : start + piece] for start in range(0, len(octets), piece)]


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
    """Do as smtplib does: mend line ends, then double dots."""
    for block in blocks:
        text = re.sub(rb"(?:\r\n|\n|\r(?!\n))", b"\r\n", block)
        re.sub(rb"(?m)^\.", b"..", text)


def grown(few: float, many: float) -> float:
    """Return the exponent by which work grew that took ``few`` and then, for 100 times as much, ``many``."""
    return math.log(many / few) / math.log(100)


def growth_line(what: str, who: str, exponent: float) -> str:
    """Return a line of the table of goals; 1 is linear."""
    return verdict(
        f"growth: {what}", f"{who} | exponent", "at most 1.05", f"{exponent:.2f}", met=exponent <= 1.05
    )


def main(rounds: int) -> list[str]:
    """Return the figures as lines of a table of goals."""
    blocks = [base64_text(BLOCK)] * 200
    encoded = compare(
        lambda: seconds(lambda: encode(blocks)), lambda: seconds(lambda: encode_as_smtplib(blocks)), rounds
    )
    who = "DataEncoder | times as fast as smtplib"
    lines = [line("message encoding, base64 text in 64 KiB blocks", who, 5, encoded)]
    many, few = 5000, 1000
    if _has("smtpproto"):
        who = "Connection | times as fast as smtpproto, a reply at a time"
        whole = compare(lambda: events(many, BLOCK), lambda: peer_replies(many, BLOCK), rounds)
        lines.append(line("replies into events, 64 KiB blocks", who, 2, whole))
        who = "Connection | times as fast as smtpproto, octet by octet"
        pieces = compare(lambda: events(few, 1), lambda: peer_replies(few, 1), rounds)
        lines.append(line("replies into events, octet by octet", who, 1, pieces))
    for piece, what, largest in ((BLOCK, "64 KiB blocks", 100_000), (1, "octet by octet", 20_000)):
        small, large = (
            median([events(count, piece) for _ in range(rounds)]) for count in (largest // 100, largest)
        )
        title = f"replies into events, {what}, to {largest:,}"
        lines.append(growth_line(title, "Connection", grown(small, large)))
    return lines


def line(what: str, who: str, factor: float, reached: float) -> str:
    """Return a line of the table of goals."""
    return verdict(what, who, f"at least {factor:.2g}", f"{reached:.2f}", met=reached >= factor)


def _has(package: str) -> bool:
    try:
        import_module(package)
    except ImportError:
        return False
    return True
