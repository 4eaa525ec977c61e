"""Single settings: what is taken, and how what is not is shown."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from decimal import Decimal

import pytest

from smtpstate._checks import (
    WrongSetting,
    boolean,
    known_names,
    positive,
    seconds,
    seconds_or_off,
    seconds_or_zero,
    shown,
    suggestion,
    text,
    texts,
)
from smtpstate._errors import ConfigError


def refusal(make: Callable[[], object]) -> str:
    with pytest.raises(WrongSetting) as caught:
        make()
    assert str(caught.value).isprintable()
    return str(caught.value)


# The error.


def test_a_wrong_setting_is_named_by_its_path() -> None:
    error = WrongSetting(("tls_client", "cert"), "it is gone")
    assert isinstance(error, ConfigError)
    assert (error.path, error.reason) == (("tls_client", "cert"), "it is gone")
    assert str(error) == "tls_client: cert: it is gone"
    assert WrongSetting("debug", "why").path == ("debug",)


def test_the_error_can_be_sent_to_other_processes() -> None:
    error = pickle.loads(pickle.dumps(WrongSetting("debug", "why")))
    assert (str(error), error.path) == ("debug: why", ("debug",))


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        ("maybe", "'maybe'"),
        ("a\nb\x1b[2J", "'a\\nb\\x1b[2J'"),
        ("x" * 81, f"'{'x' * 80}...'"),
        (None, "None"),
        (True, "True"),
        (1.5, "1.5"),
        (10, "10"),
        (2**64, "int"),
        (["secret"], "list"),
        (b"secret", "bytes"),
    ],
)
def test_a_wrong_value_is_shown_short_and_printable_or_by_its_type(value: object, seen: str) -> None:
    assert shown(value) == seen


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("require_tsl", "did you mean require_tls?"),
        ("require-tls", "did you mean require_tls?"),
        ("requireTLS", "did you mean require_tls?"),
        ("REQUIRE_TLS", "did you mean require_tls?"),
        ("x25519", "did you mean X25519?"),
        ("colour", "expected one of require_tls X25519"),
        ("x" * 10**6, "expected one of require_tls X25519"),
    ],
)
def test_the_nearest_known_name_is_suggested_or_all_of_them(word: str, hint: str) -> None:
    assert suggestion(word, ["require_tls", "X25519"]) == hint


# Mappings.


def test_a_mapping_of_known_names_is_copied() -> None:
    given = {"debug": True}
    known = known_names(given, ["debug", "auth"])
    assert known == given
    assert known is not given


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"debg": 1}, "debg: unknown here; did you mean debug?"),
        ({"a\nb": 1}, "a\\nb: unknown here; expected one of debug auth"),
        ({"x" * 99: 1}, f"{'x' * 80}: unknown here; expected one of debug auth"),
        ({5: 1}, "settings: expected names, got 5"),
        (None, "settings: expected a mapping of names to values, got None"),
        ([("debug", 1)], "settings: expected a mapping of names to values, got list"),
    ],
)
def test_a_mapping_of_anything_else_is_refused(given: object, why: str) -> None:
    assert refusal(lambda: known_names(given, iter(["debug", "auth"]))) == why


def test_a_mapping_within_another_is_named_by_its_path() -> None:
    assert refusal(lambda: known_names({"x": 1}, ["cert"], ("tls_client",))).startswith(
        "tls_client: x: unknown"
    )
    assert (
        refusal(lambda: known_names({5: 1}, ["cert"], ("tls_client",))) == "tls_client: expected names, got 5"
    )
    assert refusal(lambda: known_names(5, ["cert"], ("tls_client",))).startswith(
        "tls_client: expected a mapping"
    )


# Booleans.


@pytest.mark.parametrize("value", [True, "yes", "true", "on", "1", "YES", "True", "oN"])
def test_what_is_true(value: object) -> None:
    assert boolean("debug", value) is True


@pytest.mark.parametrize("value", [False, "no", "false", "off", "0", "NO", "False", "oFF"])
def test_what_is_false(value: object) -> None:
    assert boolean("debug", value) is False


@pytest.mark.parametrize(
    "value", ["maybe", "", "y", "yes ", "2", "ｙｅｓ", 1, 0, None, 1.0, [], ["yes"], b"yes"]
)
def test_anything_else_is_no_boolean(value: object) -> None:
    assert refusal(lambda: boolean("debug", value)) == f"debug: expected yes or no, got {shown(value)}"


# Durations.

ABOVE = "wait: expected a duration such as 5m, or a number of seconds, above 0"


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (5, 5.0),
        (0.5, 0.5),
        ("5m", 300.0),
        ("1h 5m", 3900.0),
        (1e-9, 1e-9),
        ("1ns", 1e-9),
        (999_999_999, 999_999_999.0),
    ],
)
def test_a_duration_is_a_number_of_seconds_or_a_text(value: object, number: float) -> None:
    for check in (seconds, seconds_or_zero, seconds_or_off):
        found = check("wait", value)
        assert found == number
        assert isinstance(found, float)


@pytest.mark.parametrize(
    "value",
    [
        -1,
        -0.5,
        1e-10,
        1e9,
        10**400,
        -(10**400),
        float("inf"),
        float("-inf"),
        float("nan"),
        True,
        "5",
        "-5m",
        "9999999h",
    ],
)
@pytest.mark.parametrize("check", [seconds, seconds_or_zero, seconds_or_off])
def test_a_duration_out_of_bounds_is_refused(check: Callable[[str, object], object], value: object) -> None:
    assert refusal(lambda: check("wait", value)).startswith(ABOVE)


@pytest.mark.parametrize("value", [Decimal(5), b"5m", ["5m"], object()])
@pytest.mark.parametrize("check", [seconds, seconds_or_zero, seconds_or_off])
def test_what_is_neither_number_nor_text_is_no_duration(
    check: Callable[[str, object], object], value: object
) -> None:
    assert refusal(lambda: check("wait", value)).endswith(f"got {type(value).__name__}")


@pytest.mark.parametrize("value", [0, 0.0, -0.0, "0", "0s", "0h 0m", "0.0ns"])
def test_a_time_of_0_is_off_only_where_the_setting_allows_it(value: object) -> None:
    assert seconds_or_zero("wait", value) == 0
    assert refusal(lambda: seconds("wait", value)) == f"{ABOVE}, got {shown(value)}"
    assert refusal(lambda: seconds_or_off("wait", value)) == f"{ABOVE}, or off, got {shown(value)}"


@pytest.mark.parametrize("value", ["off", None, False])
def test_off_is_said_in_words_only_where_the_setting_allows_it(value: object) -> None:
    assert seconds_or_off("wait", value) is None
    assert refusal(lambda: seconds("wait", value)).startswith(f"{ABOVE}, got {shown(value)}")
    assert refusal(lambda: seconds_or_zero("wait", value)).startswith(
        f"{ABOVE}, or 0 for off, got {shown(value)}"
    )


def test_a_text_that_is_no_duration_is_refused_with_the_reason() -> None:
    assert refusal(lambda: seconds("wait", "5")) == (
        f"{ABOVE}, got '5': 5 needs a unit, one of h m s ms us ns"
    )


# Numbers and texts.


@pytest.mark.parametrize(
    ("value", "number"), [(1, 1), (100, 100), ("10", 10), ("007", 7), (999_999_999, 999_999_999)]
)
def test_a_number_is_given_as_such_or_in_digits(value: object, number: int) -> None:
    assert positive("max", value) == number


@pytest.mark.parametrize(
    "value", [0, -1, 10**9, 1.0, True, "", "0", "-1", "1.0", "1e3", "१", "9" * 10, " 1", None, [1]]
)
def test_anything_else_is_no_number_above_0(value: object) -> None:
    assert (
        refusal(lambda: positive("max", value)) == f"max: expected a whole number above 0, got {shown(value)}"
    )


@pytest.mark.parametrize("value", ["a", "a b", "ünï"])
def test_a_text_is_taken_as_it_is(value: str) -> None:
    assert text("key", value, "a path") == value
    assert texts("key", value, "paths") == texts("key", [value], "paths") == (value,)


@pytest.mark.parametrize("value", ["", "a\0", "a\nb", "\x7f", None, 5, b"a"])
def test_a_text_that_is_empty_or_holds_controls_is_refused(value: object) -> None:
    assert refusal(lambda: text("key", value, "a path")) == f"key: expected a path, got {shown(value)}"
    assert refusal(lambda: texts("key", [value], "paths")) == f"key: expected paths, got {shown(value)}"


@pytest.mark.parametrize("value", [None, 5, b"a", bytearray(b"a"), {"a": 1}])
def test_several_texts_are_an_iterable_of_them(value: object) -> None:
    assert texts("key", iter(["a", "b"]), "paths") == ("a", "b")
    assert texts("key", [], "paths") == ()
    assert refusal(lambda: texts("key", value, "paths")) == f"key: expected paths, got {shown(value)}"


def test_a_number_that_python_will_not_print_is_refused_all_the_same() -> None:
    assert refusal(lambda: positive("max", 10**5000)) == "max: expected a whole number above 0, got int"
