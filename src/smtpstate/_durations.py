"""Durations as people write them: ``5m``, ``1h 5m``, ``1.5s``."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction

_UNITS = {
    "h": Fraction(3600),
    "m": Fraction(60),
    "s": Fraction(1),
    "ms": Fraction(1, 10**3),
    "us": Fraction(1, 10**6),
    "ns": Fraction(1, 10**9),
}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)([^\s0-9.]*)\s*", re.ASCII)
_LONGEST = 100  # characters; no duration needs more, and numbers without end cost time without end


def parse_duration(text: str) -> float:
    """Return the seconds of a sum of numbers with units: ``h``, ``m``, ``s``, ``ms``, ``us``, ``ns``.

    The sum is exact, and rounded once: what ``print_duration`` wrote is read as
    the same number.

    Raises:
        ValueError: ``text`` is no duration; the message says why.
    """
    total = Fraction(0)
    position = 0
    while part := _PART.match(text, position, _LONGEST):
        number, unit = part.groups()
        if not unit:
            raise ValueError(f"{number} needs a unit, one of {' '.join(_UNITS)}")
        if unit not in _UNITS:
            raise ValueError(f"{unit!r} is no unit; use one of {' '.join(_UNITS)}")
        total += Fraction(number) * _UNITS[unit]
        position = part.end()
    if not text or position < len(text):
        raise ValueError("a duration is a sum of numbers with units, as in 5m or 1h 30m")
    return float(total)


def print_duration(seconds: float) -> str:
    """Return ``seconds``, which are not negative, as ``parse_duration`` reads them."""
    if seconds != int(seconds):
        return f"{Decimal(repr(seconds)):f}s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "m"), (rest, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number) or "0s"
