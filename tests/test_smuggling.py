"""No message can end itself: whatever a server takes for a line end, only our end of data is one.

The judge is a set of tolerant servers, each of which takes some of CRLF, LF and
CR for a line end, and any mix of them. Were one of them to see an end of data
inside of a message, the rest of that message would be commands to it.
"""

from __future__ import annotations

import re
from itertools import chain, combinations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialogues import LMTP, MAIL, RCPT, hear, reach, say
from smtpstate._commands import Bdat, Content, Data, EndOfContent, Protocol
from smtpstate._content import LineEnds
from smtpstate._machine import State
from strategies import splits

#: What servers have been seen to take for a line end, and some more.
LINE_ENDS = (b"\r\n", b"\n", b"\r", b"\n\r", b"\r\r\n")

#: Every tolerant server: it takes at least CRLF, and any others besides.
SERVERS = [
    (b"\r\n", *others) for count in range(len(LINE_ENDS)) for others in combinations(LINE_ENDS[1:], count)
]

#: What follows the smuggled end of data.
PAYLOAD = b"MAIL FROM:<evil@x.example>\r\nRCPT TO:<b@y.example>\r\nDATA\r\nSubject: smuggled\r\n\r\nboo"

_HALVES = (
    b"",
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\r\n",
    b"\n\r",
    b"\n\n",
    b"\r\r",
    b"\r\n\r\n",
    b"\0",
    b"\0\r\n",
    b"\r\n\0",
)
_DOTS = (b".", b"..", b".\0", b"\0.", b" .", b". ")
#: A line end, a dot and a line end, in all the ways in which these have been misread.
SEQUENCES = [before + dots + behind for before, dots, behind in product(_HALVES, _DOTS, _HALVES)]


def lines_of(wire: bytes, ends: tuple[bytes, ...]) -> list[bytes]:
    """Cut octets into lines as a server does that takes each of ``ends`` for a line end, the longest first."""
    longest_first = sorted(ends, key=len, reverse=True)
    return re.split(b"|".join(map(re.escape, longest_first)), wire)


def stored(wire: bytes, ends: tuple[bytes, ...]) -> tuple[list[bytes], list[bytes]]:
    """Return the lines that such a server takes for the message, and those that it takes for commands."""
    lines = lines_of(wire, ends)
    end = lines.index(b".")
    return [line.removeprefix(b".") for line in lines[:end]], lines[end + 1 :]


def sent_by_data(parts: list[bytes], protocol: Protocol = Protocol.SMTP) -> bytes:
    """Return what goes out between the 354 and the final reply."""
    conn = reach(State.DATA, protocol)
    return say(conn, *map(Content, parts), EndOfContent())


def only_our_end_of_data_is_one(wire: bytes) -> bool:
    return all(stored(wire, ends)[1] == [b""] for ends in SERVERS)


def two_parts(message: bytes) -> list[list[bytes]]:
    return [[message[:cut], message[cut:]] for cut in range(len(message) + 1)]


@pytest.mark.parametrize("before", _HALVES)
@pytest.mark.parametrize("dots", _DOTS)
def test_no_sequence_ends_a_message_however_it_is_cut(before: bytes, dots: bytes) -> None:
    for behind in _HALVES:
        sequence = before + dots + behind
        for start in (b"", b"Subject: x\r\n\r\ntext"):
            for head, tail in two_parts(sequence):
                assert only_our_end_of_data_is_one(sent_by_data([start + head, tail + PAYLOAD]))
            assert only_our_end_of_data_is_one(
                sent_by_data([bytes([octet]) for octet in start + sequence + PAYLOAD])
            )


@given(
    st.lists(st.sampled_from([*SEQUENCES, PAYLOAD, b"\r", b"\n", b"."]) | st.binary(max_size=4)).map(
        b"".join
    ),
    st.data(),
)
def test_no_message_ends_itself_however_it_is_cut(message: bytes, data: st.DataObject) -> None:
    assert only_our_end_of_data_is_one(sent_by_data(data.draw(splits(message))))


def test_no_short_message_ends_itself() -> None:
    for octets in chain.from_iterable(product(b"\r\n.M", repeat=length) for length in range(7)):
        message = bytes(octets)
        assert only_our_end_of_data_is_one(sent_by_data([message])), message


@given(st.lists(st.sampled_from(SEQUENCES) | st.binary(max_size=4)).map(b"".join))
def test_every_tolerant_server_stores_the_same_lines(message: bytes) -> None:
    wire = sent_by_data([message])
    assert len({tuple(stored(wire, ends)[0]) for ends in SERVERS}) == 1


@given(st.lists(st.sampled_from([*SEQUENCES, PAYLOAD]) | st.binary(max_size=4)).map(b"".join), st.data())
def test_text_by_bdat_has_no_line_end_that_is_not_crlf(message: bytes, data: st.DataObject) -> None:
    lines = LineEnds()
    text = b"".join([lines.encode(part) for part in data.draw(splits(message))]) + lines.finish()
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", text)
    wire = Bdat(text, last=True)
    assert bytes(wire) == b"BDAT %d LAST\r\n" % len(text) + text


@pytest.mark.parametrize("protocol", Protocol, ids=str)
def test_a_message_cannot_say_commands(protocol: Protocol) -> None:
    conn = reach(State.READY, protocol)
    evil = b"\r.\r" + PAYLOAD + b"\n.\n" + PAYLOAD + b"\r\n.\r\n"
    wire = say(conn, MAIL, RCPT, Data())
    hear(conn, b"250 ok\r\n250 ok\r\n354 go\r\n")
    wire += say(conn, Content(evil), EndOfContent(), MAIL)
    for ends in SERVERS:
        lines = lines_of(wire, ends)
        start, end = lines.index(b"DATA") + 1, lines.index(b".")
        assert lines[start:end].count(b"MAIL FROM:<evil@x.example>") == 2
        commands = lines[:start] + lines[end + 1 :]
        assert commands == [
            b"MAIL FROM:<a@x.example>",
            b"RCPT TO:<b@y.example>",
            b"DATA",
            b"MAIL FROM:<a@x.example>",
            b"",
        ]


def test_the_judge_finds_an_end_of_data_that_a_careless_client_lets_through() -> None:
    careless = [
        b"a\n.\r\nMAIL\r\n.\r\n",
        b"a\r.\rMAIL\r\n.\r\n",
        b"a\r\n.\nMAIL\r\n.\r\n",
        b"a\r\n.\r\nMAIL\r\n.\r\n",
    ]
    for wire in (*careless, b"a\n\r.\r\nMAIL\r\n.\r\n", b"a\r\r\n.\r\nMAIL\r\n.\r\n"):
        assert not only_our_end_of_data_is_one(wire)
    assert only_our_end_of_data_is_one(b"a\r\n..\r\nMAIL\r\n.\r\n")


def test_the_end_of_an_lmtp_message_is_that_of_an_smtp_message() -> None:
    assert sent_by_data([b".\n"], LMTP) == sent_by_data([b".\n"]) == b"..\r\n.\r\n"
