"""Replies: every octet a server may send, however it is cut, and the bounds on all of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpstate._errors import LocalProtocolError, RemoteProtocolError
from smtpstate._limits import Limits
from smtpstate._replies import Reply
from smtpstate._reply_parser import ReplyParser
from strategies import replies, reply_octets, splits

SMALL = Limits(reply_line=12, challenge_line=20, reply_lines=4, reply=40)


def parsed(parts: Iterable[bytes], limits: Limits | None = None) -> list[Reply]:
    """Return all replies in ``parts``; there must be nothing left."""
    parser = ReplyParser(limits or Limits())
    found: list[Reply] = []
    for part in parts:
        parser.feed(part)
        while (reply := parser.next()) is not None:
            found.append(reply)
    assert not parser.holds_octets
    return found


def run(parts: Iterable[bytes], limits: Limits) -> tuple[list[Reply], bool]:
    """Return the replies that came before the first violation, and whether there was one."""
    parser = ReplyParser(limits)
    found: list[Reply] = []
    for part in parts:
        parser.feed(part)
        try:
            while (reply := parser.next()) is not None:
                found.append(reply)
        except RemoteProtocolError:
            return found, True
    return found, False


def octets(wire: bytes) -> list[bytes]:
    return [bytes([octet]) for octet in wire]


def refusal(wire: bytes, limits: Limits | None = None) -> str:
    """Return why ``wire`` is refused: with its last octet, and not before it."""
    parser = ReplyParser(limits or Limits())
    parser.feed(wire[:-1])
    while parser.next() is not None:
        pass
    parser.feed(wire[-1:])
    with pytest.raises(RemoteProtocolError) as caught:
        parser.next()
    return str(caught.value)


# What is a reply.


@pytest.mark.parametrize(
    ("wire", "reply"),
    [
        (b"250 ok\r\n", Reply(250, (b"ok",))),
        (b"250-a\r\n250-b\r\n250 c\r\n", Reply(250, (b"a", b"b", b"c"))),
        (b"250-a\r\n250\r\n", Reply(250, (b"a", b""))),
        (b"250-\r\n250 \r\n", Reply(250, (b"", b""))),
        (b"599 \r\n", Reply(599, (b"",))),
        (b"250  two blanks\r\n", Reply(250, (b" two blanks",))),
        (b"250 -\r\n", Reply(250, (b"-",))),
        (b"250--\r\n250 x\r\n", Reply(250, (b"-", b"x"))),
    ],
)
def test_a_reply_is_its_code_and_the_text_of_each_line(wire: bytes, reply: Reply) -> None:
    assert parsed([wire]) == [reply]


@pytest.mark.parametrize("wire", [b"250 ok\n", b"250-ok\n250\n", b"250-a\r\n250-b\n250 c\r\n"])
def test_reply_lines_may_end_in_bare_lf(wire: bytes) -> None:
    assert parsed([wire]) == parsed([wire.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")])


@pytest.mark.parametrize("wire", [b"250\r\n", b"250\n", b"250 \r\n"])
def test_250_without_text_is_fine(wire: bytes) -> None:
    assert parsed([wire]) == [Reply(250, (b"",))]


@pytest.mark.parametrize("octet", [n for n in range(256) if n != 0x0A])
def test_text_may_hold_any_octet_and_is_kept(octet: int) -> None:
    line = b"a" + bytes([octet]) + b"b" + bytes([octet])
    assert parsed([b"250 " + line + b"\r\n"]) == [Reply(250, (line,))]


@pytest.mark.parametrize("line", [b"a\rb", b"a\r", b"\r", b"\r\r", b"a\x0bb\x0cc\x1cd\x85e\xe2\x80\xa8f"])
def test_a_line_ends_at_lf_and_at_nothing_else(line: bytes) -> None:
    assert parsed([b"250 " + line + b"\r\n"]) == [Reply(250, (line,))]


def test_text_is_decoded_with_surrogateescape() -> None:
    reply = Reply(250, ("grüße".encode(), b"\xff\x00"))
    assert reply.text == "grüße\n\udcff\0"
    assert reply.text.encode("utf-8", "surrogateescape") == b"gr\xc3\xbc\xc3\x9fe\n\xff\0"


def test_several_replies_may_come_at_once() -> None:
    wire = b"250 a\r\n250-b\r\n250 c\n354\r\n"
    assert parsed([wire]) == [Reply(250, (b"a",)), Reply(250, (b"b", b"c")), Reply(354, (b"",))]


def test_nothing_comes_before_the_last_line_is_complete() -> None:
    parser = ReplyParser(Limits())
    for octet in octets(b"250-a\r\n250 b\r"):
        parser.feed(octet)
        assert parser.next() is None
        assert parser.holds_octets
    parser.feed(b"\n")
    assert parser.next() == Reply(250, (b"a", b"b"))
    assert not parser.holds_octets
    assert parser.next() is None


def test_octets_are_held_from_the_first_one_to_the_end_of_the_reply() -> None:
    parser = ReplyParser(Limits())
    assert not parser.holds_octets
    parser.feed(b"250-a\r\n")
    assert parser.unread == 7
    assert parser.next() is None
    assert parser.holds_octets  # half a reply is no silence
    assert parser.unread == 0


def test_octets_may_come_in_a_bytearray() -> None:
    wire = b"250-a\r\n250 b\r\n"
    kind: Any = bytearray  # whatever the signature says, it is what some transports read into
    assert parsed([kind(wire)]) == parsed(map(kind, octets(wire))) == parsed([wire])


@pytest.mark.parametrize("wire", [b"250 2.1.5 Ok\r", b"354-go\xff\x00\r", b"334 " + b"x" * 4091])
def test_octets_of_a_line_that_goes_well_need_no_look_one_by_one(wire: bytes) -> None:
    parser = ReplyParser(Limits())
    for octet in octets(b"250 a\r\n"):
        parser.feed(octet)
    assert (parser.idle, parser.next(), parser.idle) == (False, Reply(250, (b"a",)), True)
    for octet in octets(wire):
        parser.feed(octet)
        assert parser.idle
    parser.feed(b"\n")
    assert not parser.idle


@pytest.mark.parametrize(
    "wire", [b"1", b"6", b"2a", b"25a", b"2\n", b"250a", b"250\r", b"250\n", b"25 ", b"\r", b"\n"]
)
def test_an_octet_that_others_do_not_begin_with_is_looked_at_once_it_comes(wire: bytes) -> None:
    parser = ReplyParser(Limits())
    idle: list[bool] = []
    for octet in octets(wire):
        parser.feed(octet)
        idle.append(parser.idle)
    assert idle == [True] * (len(wire) - 1) + [False]


@pytest.mark.parametrize("unread", [1, 3, 4, 8, 9])
def test_no_octet_is_taken_beyond_those_that_may_be_unread(unread: int) -> None:
    parser = ReplyParser(Limits(unread=unread))
    for octet in octets(b"250 2.1.5 "[: unread + 1]):
        parser.feed(octet)
        assert parser.next() is None
    for octet in (b"x", b"\n"):
        with pytest.raises(LocalProtocolError):
            parser.feed(octet)
    assert parser.unread == unread + 1


# What is none.


@pytest.mark.parametrize("first", "0123456789")
def test_a_code_is_three_digits_of_which_the_first_is_2_to_5(first: str) -> None:
    for second, third in product("0123456789", repeat=2):
        wire = f"{first}{second}{third} x\r\n".encode()
        if first in "2345":
            assert parsed([wire]) == [Reply(int(wire[:3]), (b"x",))]
        else:
            assert (
                refusal(wire[:1]) == f"a reply must begin with three digits and a blank, not with '{first}'"
            )


@pytest.mark.parametrize(
    "wire",
    [
        b"\n",
        b"\r",
        b" ",
        b"-",
        b"+",
        b"0",
        b"1",
        b"6",
        b"9",
        b"x",
        b"\0",
        b"\xb2",  # superscript two, in Latin-1
        b"\xef",  # begins a fullwidth two, in UTF-8
        b"2\n",
        b"2\r",
        b"2 ",
        b"2_",
        b"2x",
        b"25\n",
        b"25\r",
        b"25 ",
        b"25-",
        b"25_",
        b"25\xb2",
        b"250\t",
        b"2500",
        b"250_",
        b"250.",
        b"250\0",
        b"250\x0b",
        b"250\x0c",
        b"250\x85",
        b"250\xa0",
        b"250\r\r",
        b"250\rx",
        b"250-a\r\n\n",
        b"250-a\r\n\r",
        b"250-a\r\n ",
        b"250-a\r\n2x",
        b"250-a\r\n250x",
        b"250 a\r\n.",
        b"354 go\r\nE",
    ],
)
def test_anything_else_is_refused_with_the_octet_that_makes_it_so(wire: bytes) -> None:
    assert refusal(wire).startswith("a reply must begin with three digits and a blank, not with '")


@pytest.mark.parametrize(
    ("wire", "why"),
    [
        (b"250-a\r\n5", "reply changes its code from 250 to 5"),
        (b"250-a\r\n26", "reply changes its code from 250 to 26"),
        (b"250-a\r\n251", "reply changes its code from 250 to 251"),
        (b"250-a\r\n250-b\r\n4", "reply changes its code from 250 to 4"),
    ],
)
def test_codes_differing_within_a_reply_are_refused(wire: bytes, why: str) -> None:
    assert refusal(wire) == why


def test_the_code_may_change_from_one_reply_to_the_next() -> None:
    assert [reply.code for reply in parsed([b"250-a\r\n250 b\r\n550 c\r\n"])] == [250, 550]


def test_what_follows_a_reply_that_was_met_before_is_looked_at_from_its_first_octet() -> None:
    parser = ReplyParser(Limits())
    for octet in octets(b"250 ok\r\n250 ok\r\n"):
        parser.feed(octet)
        parser.next()
    parser.feed(b"\x01")
    with pytest.raises(RemoteProtocolError, match="must begin with three digits"):
        parser.next()


def test_replies_before_the_violation_are_given_and_the_violation_is_said_each_time() -> None:
    parser = ReplyParser(Limits())
    parser.feed(b"250 a\r\nHTTP/1.1 400 Bad Request\r\n250 b\r\n")
    assert parser.next() == Reply(250, (b"a",))
    for _ in range(3):
        with pytest.raises(RemoteProtocolError, match="not with 'HTTP'"):
            parser.next()


def test_what_was_wrong_is_shown_without_its_controls() -> None:
    parser = ReplyParser(Limits())
    parser.feed(b"\x1b[2J\xff\r\n")
    with pytest.raises(RemoteProtocolError) as caught:
        parser.next()
    assert str(caught.value).isprintable()


# Limits.


def line_of(size: int, start: bytes = b"250 ", end: bytes = b"\r\n") -> bytes:
    return start.ljust(size - len(end), b"x") + end


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
@pytest.mark.parametrize(
    ("start", "most"), [(b"250 ", 4096), (b"250-", 4096), (b"334 ", 12288), (b"334-", 12288)]
)
def test_a_line_may_be_as_long_as_the_limit_with_its_end(start: bytes, most: int, end: bytes) -> None:
    wire = line_of(most, start, end) + (start[:3] + b"\r\n" if start.endswith(b"-") else b"")
    assert len(parsed([wire])[0].lines[0]) == most - 4 - len(end)
    assert parsed(octets(wire)) == parsed([wire])


@pytest.mark.parametrize(
    ("start", "most"), [(b"250 ", 4096), (b"250-", 4096), (b"335 ", 4096), (b"334 ", 12288)]
)
def test_a_longer_line_is_refused_at_once_and_not_when_it_ends(start: bytes, most: int) -> None:
    why = f"reply line is longer than {most} octets"
    assert refusal(line_of(most + 1, start)[:most]) == why
    assert run([line_of(most + 1, start)], Limits()) == ([], True)
    assert run([line_of(most + 1, start, b"\n")], Limits()) == ([], True)


def test_a_longer_line_is_refused_after_others_too() -> None:
    assert refusal(b"250-a\r\n" + line_of(4097)[:4096]) == "reply line is longer than 4096 octets"


def test_a_reply_may_have_128_lines() -> None:
    wire = b"250-a\r\n" * 127 + b"250 b\r\n"
    assert len(parsed([wire])[0].lines) == 128


def test_a_reply_of_more_lines_is_refused_as_soon_as_a_129th_is_announced() -> None:
    assert refusal(b"250-a\r\n" * 128) == "reply has more than 128 lines"
    assert run([b"250-a\r\n" * 128 + b"250 b\r\n"], Limits()) == ([], True)


def reply_of(size: int) -> bytes:
    """Return one reply of ``size`` octets, in lines of at most 4096."""
    full, rest = divmod(size - 2000, 4096)
    return line_of(4096, b"250-") * full + line_of(rest, b"250-") + line_of(2000)


def test_a_reply_may_have_64_kib() -> None:
    wire = reply_of(65536)
    assert len(wire) == 65536
    assert parsed([wire]) == parsed(octets(wire))
    assert len(parsed([wire])) == 1


def test_a_longer_reply_is_refused_at_once() -> None:
    wire = reply_of(65537)
    assert len(wire) == 65537
    assert refusal(wire[:65536]) == "reply is longer than 65536 octets"
    assert run([wire], Limits()) == ([], True)


def test_a_reply_that_goes_on_where_no_line_fits_any_more_is_refused_at_once() -> None:
    # The shortest line has four octets: a code and a bare LF.
    fits = b"250-" + b"x" * 6 + b"\r\n" + b"250-" + b"x" * 5 + b"\n"
    assert parsed([fits + b"250\n"], Limits(reply=len(fits) + 4)) == [Reply(250, (b"x" * 6, b"x" * 5, b""))]
    assert len(parsed(octets(fits + b"250\n"), Limits(reply=len(fits) + 4))) == 1
    assert refusal(fits, Limits(reply=len(fits) + 3)) == f"reply is longer than {len(fits) + 3} octets"


def test_each_reply_has_the_limits_for_itself() -> None:
    assert run([reply_of(65536) + reply_of(65537)], Limits())[1]
    assert len(parsed([(b"250-a\r\n" * 127 + b"250 b\r\n") * 5 + reply_of(65536) * 3])) == 8


# Any octets, cut anywhere.


@given(st.lists(replies, min_size=1, max_size=5), st.data())
def test_any_split_of_the_octets_gives_the_same_replies(sent: list[Reply], data: st.DataObject) -> None:
    wire = b"".join(map(bytes, sent))
    assert parsed(data.draw(splits(wire))) == parsed([wire]) == parsed(octets(wire)) == sent


@given(replies)
def test_a_reply_printed_and_parsed_again_is_equal(reply: Reply) -> None:
    assert parsed([bytes(reply)]) == [reply]


@given(reply_octets, st.data())
def test_any_split_of_any_octets_gives_the_same_replies_and_the_same_verdict(
    wire: bytes, data: st.DataObject
) -> None:
    assert run(data.draw(splits(wire)), SMALL) == run([wire], SMALL) == run(octets(wire), SMALL)


def by_the_book(wire: bytes, limits: Limits) -> tuple[list[Reply], bool, bytes]:
    """Return the replies of all whole lines, whether one is a violation, and the code of a reply under way."""
    found: list[Reply] = []
    lines: list[bytes] = []
    code, size = b"", 0
    for line in wire.split(b"\n")[:-1]:
        read = re.fullmatch(rb"([2-5][0-9][0-9])(?:([ -])(.*?))?\r?", line, re.DOTALL)
        length = len(line) + 1
        size += length
        if read is None or (lines and read[1] != code):
            return found, True, b""
        if length > (limits.challenge_line if read[1] == b"334" else limits.reply_line):
            return found, True, b""
        if size > limits.reply or len(lines) == limits.reply_lines:
            return found, True, b""
        lines.append(read[3] or b"")
        code = read[1]
        if read[2] != b"-":
            found.append(Reply(int(code), tuple(lines)))
            lines, code, size = [], b"", 0
    return found, False, code


@given(reply_octets)
def test_octets_are_refused_exactly_when_nothing_can_make_replies_of_them(wire: bytes) -> None:
    found, failed, code = by_the_book(wire, SMALL)
    rest = wire.rpartition(b"\n")[2]
    if not failed and (rest or code):
        # The fewest octets that end the line under way, or the line that must still come.
        shortest_end = (code or b"250")[len(rest) :] + b"\n"
        failed = by_the_book(wire + shortest_end, SMALL)[1]
    assert run([wire], SMALL) == (found, failed)


@given(reply_octets, st.data())
def test_memory_stays_within_the_limit_of_one_reply_whatever_comes(wire: bytes, data: st.DataObject) -> None:
    parser = ReplyParser(SMALL)
    try:
        for part in data.draw(splits(wire)):
            parser.feed(part)
            while parser.next() is not None:
                pass
            assert parser.unread + sum(map(len, parser._lines)) <= SMALL.reply
            assert len(parser._lines) < SMALL.reply_lines
    except RemoteProtocolError as error:
        assert str(error).isprintable()


class CountingBuffer(bytearray):
    """Counts the octets that are searched."""

    searched = 0

    def rfind(self, *args: Any) -> int:
        found = super().rfind(*args)
        self.searched += len(self) - max(found, 0)
        return found


@pytest.mark.parametrize(("lines", "size"), [(2, 64), (100, 64), (2, 4096), (16, 4096)])
def test_octets_that_come_one_by_one_are_searched_once(lines: int, size: int) -> None:
    wire = line_of(size, b"250-") * (lines - 1) + line_of(size)
    parser = ReplyParser(Limits())
    parser._buffer = buffer = CountingBuffer()
    for octet in octets(wire):
        parser.feed(octet)
        parser.next()
    assert not parser.holds_octets
    assert 0 < buffer.searched <= len(wire)
