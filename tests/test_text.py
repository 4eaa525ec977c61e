"""Foreign text: shown safely, and kept out of the wire."""

from __future__ import annotations

import pytest
from hypothesis import given

from smtpstate._errors import LocalProtocolError
from smtpstate._text import checked_line, visible
from strategies import hostile_text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("plain text", "plain text"),
        ("grüße 日本", "grüße 日本"),
        ("a\r\nb\0", r"a\r\nb\x00"),
        ("\x1b[2J", r"\x1b[2J"),
        ("\x7f\x85\x9b", r"\x7f\x85\x9b"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("\u202eoof", r"\u202eoof"),  # would turn what follows around
        ("\ud800\udc80", r"\ud800\udc80"),
        ("\U000e0001", r"\U000e0001"),
        ("\xa0", r"\xa0"),
    ],
)
def test_what_cannot_be_printed_is_made_visible(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(hostile_text)
def test_visible_text_is_printable_and_can_be_encoded(text: str) -> None:
    assert visible(text).isprintable()
    visible(text).encode()


@pytest.mark.parametrize("text", ["", "a b", "~!", "ünï", "日本", "a\xa0b", "\ufeff", "\U0001f600"])
def test_text_without_controls_is_returned_as_it_is(text: str) -> None:
    assert checked_line(text, "it") is text


CONTROLS = [*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0)), "\u2028", "\u2029"]


@pytest.mark.parametrize("control", CONTROLS, ids=ascii)
@pytest.mark.parametrize("around", ["{}", "a{}", "{}a", "é{}b"])
def test_every_control_character_is_refused_wherever_it_stands(control: str, around: str) -> None:
    with pytest.raises(LocalProtocolError, match=r"^it holds a control character: '"):
        checked_line(around.format(control), "it")


@pytest.mark.parametrize("surrogate", ["\ud800", "\udc0a", "\udc80", "\udfff"], ids=ascii)
def test_a_lone_surrogate_is_refused(surrogate: str) -> None:
    with pytest.raises(LocalProtocolError, match=r"^it is not valid Unicode: 'a\\ud"):
        checked_line("a" + surrogate, "it")


@pytest.mark.parametrize("text", [None, b"a", 25, ["a"]], ids=repr)
def test_what_is_no_str_is_refused(text: object) -> None:
    with pytest.raises(LocalProtocolError, match=f"^it is a str, not {type(text).__name__}$"):
        checked_line(text, "it")


@given(hostile_text)
def test_what_is_let_through_is_one_line_by_everybodys_reckoning(text: str) -> None:
    try:
        checked_line(text, "it")
    except LocalProtocolError as error:
        assert str(error).isprintable()
    else:
        assert len(f"{text}.".splitlines()) == 1
        assert len((text.encode() + b".").splitlines()) == 1
