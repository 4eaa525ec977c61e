"""Line ends and dots: block by block as fast as can be, against one octet at a time as plain as can be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smtpstate._content import DataEncoder, LineEnds, StrictLineEnds
from smtpstate._errors import LocalProtocolError
from strategies import splits

CR, LF, DOT = 13, 10, 46

#: Octets that matter come often, all others now and then.
messages = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"a", b"\0"]) | st.binary(max_size=3)).map(b"".join)

#: Every message of up to five octets of those that matter.
SHORT = [bytes(octets) for length in range(6) for octets in product(b"\r\n.a", repeat=length)]


def mended(message: bytes) -> bytes:
    """Make every line end CRLF, octet by octet; the last line is ended too."""
    lines = bytearray()
    before = LF
    for octet in message:
        if octet == LF and before == CR:
            pass  # the second half of a CRLF
        elif octet in (CR, LF):
            lines += b"\r\n"
        else:
            lines.append(octet)
        before = octet
    return bytes(lines) + (b"" if before in (CR, LF) else b"\r\n")


def stuffed(message: bytes) -> bytes:
    """Write a message as DATA wants it, octet by octet (RFC 5321 §4.5.2)."""
    wire = bytearray()
    before = LF
    for octet in mended(message):
        if octet == DOT and before == LF:
            wire.append(DOT)
        wire.append(octet)
        before = octet
    return bytes(wire) + b".\r\n"


def received(wire: bytes) -> bytes:
    """Return what a server stores that follows RFC 5321 §4.5.2 to the letter; nothing follows the end of data."""
    lines: list[bytes] = []
    while True:
        line, end, wire = wire.partition(b"\r\n")
        assert end
        if line == b".":
            assert wire == b""
            return b"".join(lines)
        lines.append(line.removeprefix(b".") + b"\r\n")


def is_strict(message: bytes) -> bool:
    """Tell whether CR and LF stand only side by side, octet by octet."""
    before = 0
    for octet in message:
        if (before == CR) is not (octet == LF):
            return False
        before = octet
    return before != CR


def cuts(message: bytes) -> Iterator[list[bytes]]:
    """Yield every way to cut a message into parts."""
    inner = max(len(message) - 1, 0)
    for borders in product((False, True), repeat=inner):
        where = [0, *(n for n, border in enumerate(borders, 1) if border), len(message)]
        yield [message[start:end] for start, end in zip(where, where[1:], strict=False)]


def octets(message: bytes) -> list[bytes]:
    return [bytes([octet]) for octet in message]


def with_line_ends(parts: Iterable[bytes]) -> bytes:
    lines = LineEnds()
    return b"".join([lines.encode(part) for part in parts]) + lines.finish()


def encoded(parts: Iterable[bytes]) -> bytes:
    encoder = DataEncoder()
    return b"".join([encoder.encode(part) for part in parts]) + encoder.finish()


def passes(parts: Iterable[bytes]) -> bool:
    strict = StrictLineEnds()
    try:
        for part in parts:
            strict.check(part)
        strict.finish()
    except LocalProtocolError:
        return False
    return True


# Against the reference.


def test_every_short_message_is_encoded_right_however_it_is_cut() -> None:
    for message in SHORT:
        lines, wire, strict = mended(message) if message else b"", stuffed(message) if message else b".\r\n", is_strict(message)
        for parts in cuts(message):
            assert with_line_ends(parts) == lines, parts
            assert encoded(parts) == wire, parts
            assert passes(parts) is strict, parts


@given(messages, st.data())
@example(b"", st.nothing())
def test_any_message_is_encoded_right_however_it_is_cut(message: bytes, data: st.DataObject) -> None:
    parts = data.draw(splits(message))
    assert with_line_ends(parts) == mended(message)
    assert encoded(parts) == stuffed(message)
    assert passes(parts) is is_strict(message)
