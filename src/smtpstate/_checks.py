"""Single settings: whether a value is one, and if not, what would be."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import TypeAlias, TypeGuard, final

from smtpstate._durations import parse_duration
from smtpstate._errors import ConfigError
from smtpstate._text import visible

#: The name of a setting, or its names from the outermost in: ``("tls_client", "cert")``.
Path: TypeAlias = str | tuple[str, ...]

_BOOLEANS: Mapping[str, bool] = {
    **dict.fromkeys(("yes", "true", "on", "1"), True),
    **dict.fromkeys(("no", "false", "off", "0"), False),
}
_WHOLE = re.compile(r"[0-9]{1,9}", re.ASCII)
_SHORTEST, _LONGEST = 1e-9, 1e9  # seconds
_DURATION = "a duration such as 5m, or a number of seconds, above 0"
_SHOWN = 80  # characters of a wrong value that an error repeats


@final
class WrongSetting(ConfigError):
    """A setting is wrong; whoever knows where it is written can say so by its path."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.path = (path,) if isinstance(path, str) else path  #: names from the outermost in
        self.reason = reason  #: what is wrong, and what would be right

    def __str__(self) -> str:
        return ": ".join((*self.path, self.reason))


def is_mapping(value: object) -> TypeGuard[Mapping[object, object]]:
    """Return whether ``value`` is a mapping, of whatever."""
    return isinstance(value, Mapping)


def is_iterable(value: object) -> TypeGuard[Iterable[object]]:
    """Return whether ``value`` is an iterable, of whatever."""
    return isinstance(value, Iterable)


def shown(value: object) -> str:
    """Return a wrong value as errors show it: short, printable, and its type alone where it is no plain value.

    Never for a value that may be a secret.
    """
    if isinstance(value, str):
        return repr(value if len(value) <= _SHOWN else f"{value[:_SHOWN]}...")
    if value is None or isinstance(value, (bool, float)):
        return repr(value)
    if isinstance(value, int) and value.bit_length() <= 64:  # Python refuses to print those of many digits
        return repr(value)
    return type(value).__name__


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return the end of an error about an unknown ``word``: the nearest one known, or all."""
    names = {name.lower(): name for name in known}
    close = get_close_matches(word[:_SHOWN].lower().replace("-", "_"), names, n=1)
    return f"did you mean {names[close[0]]}?" if close else f"expected one of {' '.join(names.values())}"


def known_names(given: object, known: Iterable[str], path: tuple[str, ...] = ()) -> Mapping[str, object]:
    """Return a copy of ``given`` if it is a mapping whose keys are all ``known``.

    Raises:
        WrongSetting: it is not; the nearest known name is suggested.
    """
    if not is_mapping(given):
        raise WrongSetting(path or "settings", f"expected a mapping of names to values, got {shown(given)}")
    known = tuple(known)
    checked: dict[str, object] = {}
    for name, value in given.items():
        if not isinstance(name, str):
            raise WrongSetting(path or "settings", f"expected names, got {shown(name)}")
        if name not in known:
            raise WrongSetting((*path, visible(name[:_SHOWN])), f"unknown here; {suggestion(name, known)}")
        checked[name] = value
    return checked


def boolean(path: Path, value: object) -> bool:
    """Return a boolean, given as such or as a word.

    Raises:
        WrongSetting: it is none.
    """
    found = _BOOLEANS.get(value.lower()) if isinstance(value, str) else value
    if not isinstance(found, bool):
        raise WrongSetting(path, f"expected yes or no, got {shown(value)}")
    return found


def seconds(path: Path, value: object, expected: str = _DURATION) -> float:
    """Return a time of at least a nanosecond, given in seconds or in words, in seconds.

    Raises:
        WrongSetting: it is none, or no time at all.
    """
    number = _seconds(path, value, expected)
    if not _SHORTEST <= number < _LONGEST:
        raise WrongSetting(path, f"expected {expected}, got {shown(value)}")
    return number


def seconds_or_zero(path: Path, value: object) -> float:
    """Return the same, or 0, which turns off what waits so long.

    Raises:
        WrongSetting: it is neither.
    """
    expected = f"{_DURATION}, or 0 for off"
    return 0.0 if _seconds(path, value, expected) == 0 else seconds(path, value, expected)


def seconds_or_off(path: Path, value: object) -> float | None:
    """Return the same, or None for ``off``, None, and False, which is what YAML makes of ``off``.

    Raises:
        WrongSetting: it is neither.
    """
    off = value is None or value is False or value == "off"
    return None if off else seconds(path, value, f"{_DURATION}, or off")


def positive(path: Path, value: object) -> int:
    """Return a whole number above 0, given as such or in digits.

    Raises:
        WrongSetting: it is none.
    """
    number = int(value) if isinstance(value, str) and _WHOLE.fullmatch(value) else value
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number < 10**9:
        raise WrongSetting(path, f"expected a whole number above 0, got {shown(value)}")
    return number


def text(path: Path, value: object, expected: str) -> str:
    """Return a text that is not empty and holds no control characters.

    Raises:
        WrongSetting: it is none; ``expected`` says what would be.
    """
    if not isinstance(value, str) or not value or any(c < " " or c == "\x7f" for c in value):
        raise WrongSetting(path, f"expected {expected}, got {shown(value)}")
    return value


def texts(path: Path, value: object, expected: str) -> tuple[str, ...]:
    """Return several such texts; one alone counts as several.

    Raises:
        WrongSetting: one is none; ``expected`` says what would be.
    """
    if isinstance(value, str):
        value = (value,)
    if isinstance(value, (bytes, bytearray)) or is_mapping(value) or not is_iterable(value):
        raise WrongSetting(path, f"expected {expected}, got {shown(value)}")
    return tuple(text(path, one, expected) for one in value)


def _seconds(path: Path, value: object, expected: str) -> float:
    if isinstance(value, str) and value != "0":
        try:
            return parse_duration(value)
        except ValueError as error:
            raise WrongSetting(path, f"expected {expected}, got {shown(value)}: {error}") from None
    number = 0.0 if value == "0" else value
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        raise WrongSetting(path, f"expected {expected}, got {shown(value)}")
    return float(number) if -_LONGEST < number < _LONGEST else _LONGEST  # beyond is out of bounds anyhow
