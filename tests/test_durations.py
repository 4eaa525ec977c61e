"""Durations: what is one, what is none and why, and that printing loses nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpstate._durations import parse_duration, print_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5m", 300.0),
        ("12m", 720.0),
        ("1h 5m", 3900.0),
        ("1h5m", 3900.0),
        ("1h\t5m ", 3900.0),
        ("5m1h", 3900.0),
        ("1.5h", 5400.0),
        (".5s", 0.5),
        ("007s", 7.0),
        ("250ms", 0.25),
        ("1us", 1e-6),
        ("1ns", 1e-9),
        ("1m 1m", 120.0),
        ("0s", 0.0),
        ("0.1s0.2s", 0.3),  # the exact sum: floats would give 0.30000000000000004
    ],
)
def test_a_duration_is_a_sum_of_numbers_with_units(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


UNITS = "h m s ms us ns"
FORM = "a duration is a sum of numbers with units, as in 5m or 1h 30m"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", FORM),
        (" ", FORM),
        (" 5m", FORM),
        ("-5m", FORM),
        ("+5m", FORM),
        ("5m -1s", FORM),
        ("m", FORM),
        ("1m" * 51, FORM),
        ("9" * 5000 + "s", f"{'9' * 100} needs a unit, one of {UNITS}"),
        ("\u0665m", FORM),  # a digit, but none of ASCII
        ("5", f"5 needs a unit, one of {UNITS}"),
        ("0", f"0 needs a unit, one of {UNITS}"),
        ("5 m", f"5 needs a unit, one of {UNITS}"),
        ("1h5", f"5 needs a unit, one of {UNITS}"),
        ("1.2.3s", f"1.2 needs a unit, one of {UNITS}"),
        ("5.", f"5 needs a unit, one of {UNITS}"),
        ("5M", f"'M' is no unit; use one of {UNITS}"),
        ("5min", f"'min' is no unit; use one of {UNITS}"),
        ("1d", f"'d' is no unit; use one of {UNITS}"),
        ("1,5h", f"',' is no unit; use one of {UNITS}"),
        ("1e3s", f"'e' is no unit; use one of {UNITS}"),
        ("5µs", f"'µs' is no unit; use one of {UNITS}"),
    ],
)
def test_anything_else_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(ValueError, match="unit") as caught:
        parse_duration(text)
    assert str(caught.value) == why


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0s"),
        (10.0, "10s"),
        (90.0, "1m30s"),
        (300.0, "5m"),
        (3900.0, "1h5m"),
        (7200.0, "2h"),
        (1.5, "1.5s"),
        (1e-9, "0.000000001s"),
    ],
)
def test_a_duration_is_printed_in_large_units_where_it_is_whole(seconds: float, text: str) -> None:
    assert print_duration(seconds) == text


@given(st.floats(1e-9, 1e9))
def test_what_is_printed_is_read_as_the_same_number(seconds: float) -> None:
    assert parse_duration(print_duration(seconds)) == seconds


@given(st.text(st.sampled_from("0123456789.hmsun -\n"), max_size=120) | st.text())
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except ValueError:
        return
    assert seconds >= 0
