"""The bounds that hold unless others are set."""

from __future__ import annotations

from dataclasses import fields

import pytest

from smtpstate._errors import ConfigError
from smtpstate._limits import Limits


@pytest.mark.parametrize(
    ("limit", "value"),
    [
        ("reply_line", 4096),
        ("challenge_line", 12288),
        ("reply_lines", 128),
        ("reply", 64 * 1024),
        ("challenges", 10),
        ("window", 16 * 1024),
        ("unix_window", 4 * 1024),
        ("chunks", 8),
    ],
)
def test_everything_received_is_bounded_by_default(limit: str, value: int) -> None:
    assert getattr(Limits(), limit) == value


@pytest.mark.parametrize("limit", [field.name for field in fields(Limits)])
@pytest.mark.parametrize("value", [0, -1])
def test_a_limit_that_lets_nothing_through_is_refused(limit: str, value: int) -> None:
    with pytest.raises(ConfigError, match=f"^limits: {limit}: expected a number above 0$"):
        Limits(**{limit: value})


@pytest.mark.parametrize("limit", [field.name for field in fields(Limits)])
def test_a_limit_of_one_is_taken(limit: str) -> None:
    assert getattr(Limits(**{limit: 1}), limit) == 1
