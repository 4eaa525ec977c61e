"""Replies: what they say, to programs and to people."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpstate._replies import EnhancedCode, Reply
from strategies import hostile_text


@pytest.mark.parametrize(
    ("reply", "enhanced"),
    [
        (Reply(250, (b"2.1.5 ok",)), "2.1.5"),
        (Reply(250, (b"2.1.5",)), "2.1.5"),
        (Reply(450, (b"4.2.1: try later",)), "4.2.1"),
        (Reply(550, (b"5.7.509\tno",)), "5.7.509"),
        (Reply(550, (b"5.1.1 a", b"5.2.2 b")), "5.1.1"),
        (Reply(250, (b"5.1.1 ok",)), None),
        (Reply(450, (b"5.1.1 no",)), None),
        (Reply(550, (b"4.1.1 no",)), None),
        (Reply(354, (b"3.0.0 go",)), None),
        (Reply(550, (b"no", b"5.1.1 such user")), None),
        (Reply(550, (b" 5.1.1 no",)), None),
        (Reply(550, (b"5.1 no",)), None),
        (Reply(550, (b"5.1.1.1 no",)), None),
        (Reply(550, (b"5.1.1000 no",)), None),
        (Reply(550, (b"5.1000.1 no",)), None),
        (Reply(550, (b"5,1,1 no",)), None),
        (Reply(550, ("５.１.１ no".encode(),)), None),
        (Reply(550, (b"5.\xb2.1 no",)), None),
        (Reply(550), None),
    ],
)
def test_an_enhanced_code_counts_if_its_class_matches(reply: Reply, enhanced: str | None) -> None:
    assert reply.enhanced == (enhanced and EnhancedCode.parse(enhanced))


def test_an_enhanced_code_is_printed_as_it_is_written() -> None:
    code = EnhancedCode.parse("5.7.509")
    assert code == EnhancedCode(5, 7, 509)
    assert str(code) == "5.7.509"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "5.1",
        "5.1.1 ",
        "5.1.1\n",
        " 5.1.1",
        "3.1.1",
        "5.1.1000",
        "5.1.1.1",
        "５.１.１",
        "5.².1",
        "5.1_0.1",
    ],
)
def test_no_enhanced_code_is_read_from_anything_else(text: str) -> None:
    with pytest.raises(ValueError, match=r"^not an enhanced status code: "):
        EnhancedCode.parse(text)


def test_replies_are_values() -> None:
    assert len({Reply(250, (b"ok",)), Reply(250, (b"ok",)), Reply(250, (b"no",))}) == 2
    assert len({EnhancedCode(5, 1, 1), EnhancedCode.parse("5.1.1")}) == 1


@pytest.mark.parametrize(("code", "digit"), [(200, 2), (299, 2), (354, 3), (421, 4), (599, 5)])
def test_the_first_digit_says_how_it_went(code: int, digit: int) -> None:
    assert Reply(code).digit == digit


@pytest.mark.parametrize(
    ("reply", "shown"),
    [
        (Reply(250, (b"ok",)), "250 ok"),
        (Reply(250), "250"),
        (Reply(250, (b"a", b"b")), "250 a / b"),
        (Reply(550, (b"\x1b[2Jgone\x07",)), r"550 \x1b[2Jgone\x07"),
        (Reply(550, (b"a\rb\0",)), r"550 a\rb\x00"),
        (Reply(550, ("grüße \u202e".encode(),)), r"550 grüße \u202e"),
        (Reply(550, (b"\xff",)), "550 \ufffd"),
    ],
)
def test_controls_are_made_visible_when_a_reply_is_printed(reply: Reply, shown: str) -> None:
    assert str(reply) == shown


@given(st.builds(Reply, st.integers(200, 599), st.lists(st.binary(), min_size=1).map(tuple)))
def test_printing_any_reply_yields_printable_text_only(reply: Reply) -> None:
    assert str(reply).isprintable()
    assert all(line.isprintable() for line in reply.visible_lines)


def test_a_reply_made_here_is_marked_as_such() -> None:
    reply = Reply.made_here(421, "4.4.2 connection lost")
    assert reply == Reply(421, (b"4.4.2 connection lost",), local=True)
    assert reply != Reply(421, (b"4.4.2 connection lost",))
    assert str(reply.enhanced) == "4.4.2"


@given(hostile_text)
def test_a_reply_made_here_is_one_line_whatever_is_said_in_it(text: str) -> None:
    # A relay passes it on, and the text may quote an error or a server.
    wire = bytes(Reply.made_here(421, text))
    assert wire.startswith(b"421 ")
    assert wire[:-2].decode().isprintable()
    assert wire.endswith(b"\r\n")
