"""Line ends and dots: block by block as fast as can be, against one octet at a time as plain as can be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpstate._content import DataEncoder, LineEnds, StrictLineEnds
from smtpstate._errors import LocalProtocolError
from strategies import splits

CR, LF, DOT = 13, 10, 46

#: Octets that matter come often, all others now and then.
messages = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"a", b"\0"]) | st.binary(max_size=3)).map(
    b"".join
)

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
        yield [message[start:end] for start, end in pairwise(where)]


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
        lines, wire, strict = mended(message), stuffed(message), is_strict(message)
        for parts in cuts(message):
            assert with_line_ends(parts) == lines, parts
            assert encoded(parts) == wire, parts
            assert passes(parts) is strict, parts


@given(messages, st.data())
def test_any_message_is_encoded_right_however_it_is_cut(message: bytes, data: st.DataObject) -> None:
    parts = data.draw(splits(message))
    assert with_line_ends(parts) == mended(message)
    assert encoded(parts) == stuffed(message)
    assert passes(parts) is is_strict(message)


@given(messages)
def test_any_message_is_encoded_right_octet_by_octet(message: bytes) -> None:
    assert with_line_ends(octets(message)) == mended(message)
    assert encoded(octets(message)) == stuffed(message)
    assert passes(octets(message)) is is_strict(message)


@given(messages, st.data())
def test_undoing_the_dots_gives_the_message_back(message: bytes, data: st.DataObject) -> None:
    assert received(encoded(data.draw(splits(message)))) == mended(message)


@given(
    st.lists(st.sampled_from([b"a", b".", b"..", b"", b".a", b"a."])).map(
        lambda lines: b"".join(line + b"\r\n" for line in lines)
    )
)
def test_a_message_with_proper_line_ends_arrives_as_it_is(message: bytes) -> None:
    assert received(encoded([message])) == with_line_ends([message]) == message


@given(messages, st.integers(0, 60))
def test_an_empty_part_changes_nothing(message: bytes, where: int) -> None:
    parts = [message[:where], b"", b"", message[where:], b""]
    assert encoded(parts) == stuffed(message)
    assert with_line_ends(parts) == mended(message)
    assert passes(parts) is is_strict(message)


# By example.


@pytest.mark.parametrize(
    ("message", "wire"),
    [
        (b"", b".\r\n"),
        (b".", b"..\r\n.\r\n"),
        (b"..", b"...\r\n.\r\n"),
        (b".\n.\n.", b"..\r\n..\r\n..\r\n.\r\n"),
        (b"no final newline", b"no final newline\r\n.\r\n"),
        (b"final newline\r\n", b"final newline\r\n.\r\n"),
        (b"final feed\n", b"final feed\r\n.\r\n"),
        (b"final return\r", b"final return\r\n.\r\n"),
        (b"\r\n", b"\r\n.\r\n"),
        (b"\n", b"\r\n.\r\n"),
        (b"\r", b"\r\n.\r\n"),
        (b"\r\r\n", b"\r\n\r\n.\r\n"),
        (b"\n\r", b"\r\n\r\n.\r\n"),
        (b"a.b\n", b"a.b\r\n.\r\n"),
        (b"\0\n.\0\n", b"\0\r\n..\0\r\n.\r\n"),
    ],
)
def test_these_messages_are_sent_as(message: bytes, wire: bytes) -> None:
    assert encoded([message]) == encoded(octets(message)) == stuffed(message) == wire


def test_every_octet_value_gets_through() -> None:
    every = bytes(range(256))
    for message in (
        every,
        every[::-1],
        every * 3,
        bytes(octet for value in every for octet in (value, DOT, value)),
    ):
        assert encoded([message]) == encoded(octets(message)) == stuffed(message)
        assert received(stuffed(message)) == mended(message)


@pytest.mark.parametrize("length", [998, 1000, 65536, 1 << 20])
@pytest.mark.parametrize("octet", [b"x", b".", b"\xff"])
def test_lines_may_have_any_length(octet: bytes, length: int) -> None:
    line = octet * length
    extra = b"." if octet == b"." else b""
    half = length // 2
    assert encoded([line[:half], line[half:]]) == extra + line + b"\r\n.\r\n"


def test_what_is_right_already_is_not_copied() -> None:
    block = b"Subject: x\r\n\r\ntext\r\n" * 100
    assert DataEncoder().encode(block) is block


@pytest.mark.parametrize(
    ("parts", "at_start"),
    [
        ([], True),
        ([b"a"], False),
        ([b"a\r"], True),
        ([b"a\r", b"\n"], True),
        ([b"a\n"], True),
        ([b"\n", b"."], False),
    ],
)
def test_it_is_known_whether_a_line_begins(parts: list[bytes], at_start: bool) -> None:
    lines = LineEnds()
    for part in parts:
        lines.encode(part)
    assert lines.at_line_start is at_start
    lines.finish()
    assert lines.at_line_start


def test_the_last_line_is_ended_once() -> None:
    lines = LineEnds()
    lines.encode(b"a")
    assert (lines.finish(), lines.finish()) == (b"\r\n", b"")


# Strict line ends.


@pytest.mark.parametrize(
    ("parts", "what"),
    [
        ([b"a\nb"], "LF"),
        ([b"a", b"\nb"], "LF"),
        ([b"\n"], "LF"),
        ([b"a\r\n\n"], "LF"),
        ([b"a\r", b"\n\n"], "LF"),
        ([b"a\rb"], "CR"),
        ([b"a\r", b"b"], "CR"),
        ([b"a\r", b"\r\n"], "CR"),
        ([b"a\r\r\n"], "CR"),
        ([b"a\r", b"\n\rb"], "CR"),
    ],
)
def test_strict_line_ends_refuse_a_lone_half(parts: list[bytes], what: str) -> None:
    strict = StrictLineEnds()
    for part in parts[:-1]:
        strict.check(part)
    with pytest.raises(
        LocalProtocolError, match=f"^the message holds a bare {what}, and its line ends are strict$"
    ):
        strict.check(parts[-1])


@pytest.mark.parametrize("parts", [[b"\r"], [b"a\r"], [b"a\r\n\r"], [b"a", b"\r"], [b"a\r", b""]])
def test_strict_line_ends_refuse_a_lone_half_at_the_end(parts: list[bytes]) -> None:
    strict = StrictLineEnds()
    for part in parts:
        strict.check(part)
    with pytest.raises(
        LocalProtocolError, match="^the message holds a bare CR, and its line ends are strict$"
    ):
        strict.finish()


@given(messages, st.data())
def test_what_strict_line_ends_let_through_is_sent_as_it_is(message: bytes, data: st.DataObject) -> None:
    proper = mended(message)
    assert passes(data.draw(splits(proper)))
    assert with_line_ends(octets(proper)) == proper
