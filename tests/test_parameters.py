"""Parameters: what stands in them stays within its word, and what cannot is refused."""

from __future__ import annotations

import pytest

from smtpstate._commands import Mail, Rcpt
from smtpstate._errors import LocalProtocolError
from smtpstate._parameters import xtext


@pytest.mark.parametrize("keyword", ["", "SI ZE", "-SIZE", "SIZE=", "SÎZE", "SIZE\n", "_", "²"])
def test_a_parameter_keyword_is_of_letters_digits_and_hyphens(keyword: str) -> None:
    for make in (lambda: Mail("a@x", ((keyword, "1"),)), lambda: Rcpt("a@x", ((keyword, None),))):
        with pytest.raises(LocalProtocolError, match=r"^not a parameter keyword: '"):
            make()


@pytest.mark.parametrize("value", ["", " ", "a b", "1 BODY=8BITMIME", " 1", "1 "])
def test_a_parameter_value_is_one_word(value: str) -> None:
    with pytest.raises(LocalProtocolError, match=r"^not a value for SIZE: '"):
        Mail("a@x", (("SIZE", value),))


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("", ""),
        ("abc~!", "abc~!"),
        ("a+b=c", "a+2Bb+3Dc"),
        ("a b\x7f", "a+20b+7F"),
        ("\r\n\0", "+0D+0A+00"),
        ("ü", "+C3+BC"),
        ("\udcff", "+FF"),
    ],
)
def test_xtext_is_printable_ascii_with_the_rest_in_hexadecimal(text: str, encoded: str) -> None:
    assert xtext(text) == encoded
