"""The command line's words as settings, and its exit codes."""

from __future__ import annotations

import os

import pytest

from smtpstate import TargetConfig
from smtpstate_cli._exits import Exit
from smtpstate_cli._settings import seconds, target_config


def test_options_become_settings_of_the_same_name() -> None:
    config = target_config(
        ["tcp://127.0.0.1:25", "unix:///run/lmtp"],
        lmtp=True,
        hostname="client.example",
        connect_timeout=1,
        command_timeout=2,
        submission_timeout=3,
    )
    assert config == TargetConfig(
        targets=["tcp://127.0.0.1:25", "unix:///run/lmtp"],
        protocol="lmtp",
        hostname="client.example",
        connect_timeout=1,
        command_timeout=2,
        submission_timeout=3,
    )


def test_a_duration_is_read_in_seconds() -> None:
    assert seconds("1h 5m") == 3900
    assert seconds("1.5s") == 1.5


@pytest.mark.parametrize("text", ["", "5", "m", "-5m", "5d", "soon", "0s", "0h 0m"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"unit|time"):
        seconds(text)


def test_the_codes_are_those_of_sysexits() -> None:
    assert {code.name: code.value for code in Exit} == {
        "DELIVERED": 0,
        "USAGE": os.EX_USAGE,
        "DATA": os.EX_DATAERR,
        "NO_INPUT": os.EX_NOINPUT,
        "REJECTED": os.EX_UNAVAILABLE,
        "INTERNAL": os.EX_SOFTWARE,
        "UNCERTAIN": os.EX_IOERR,
        "DEFERRED": os.EX_TEMPFAIL,
        "INTERRUPTED": 130,
    }
