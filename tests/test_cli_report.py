"""What is printed of a delivery: nothing is lost, and nothing that a server says does harm."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from smtpstate import (
    Attempt,
    DeadlinePassed,
    Endpoint,
    Outcome,
    Phase,
    Reply,
    Status,
    TransportError,
)
from smtpstate._trace import Received, Sent, Settled
from smtpstate_cli._report import dialogue_lines, failure_lines, outcome_json, outcome_lines, show_table
from smtpstate_cli._screen import Screen, complain, reason, tolerate_any_text

ONE, TWO = Endpoint.parse("tcp://mx1.example:25"), Endpoint.parse("unix:///run/lmtp")
CUNNING = b"5.1.1 [red]nobody[/red] :smile: \x1b[31mhere\x07"
SHOWN = "5.1.1 [red]nobody[/red] :smile: \\x1b[31mhere\\x07"


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR", "COLUMNS", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


def outcome(
    recipient: str,
    status: Status = Status.DELIVERED,
    text: bytes = b"2.0.0 ok",
    *,
    code: int = 250,
    endpoint: Endpoint | None = ONE,
    local: bool = False,
) -> Outcome:
    return Outcome(
        recipient=recipient,
        status=status,
        reply=Reply(code, tuple(text.split(b"\n")), local),
        phase=Phase.FINAL,
        endpoint=endpoint,
    )


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let standard output be a terminal of so many columns."""

    def terminal(columns: int) -> None:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.delenv("NO_COLOR", raising=False)

    return terminal


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_a_table_loses_nothing_however_narrow_the_terminal(
    terminal: Callable[[int], None], capsys: pytest.CaptureFixture[str], columns: int
) -> None:
    terminal(columns)
    show_table(
        Screen(),
        [
            outcome("a@example.net", text=b"z" * 300),
            outcome(
                "b" * 50 + "@example.net", Status.REJECTED, CUNNING + b"\nsecond", code=550, endpoint=TWO
            ),
        ],
    )
    shown = plain(capsys.readouterr().out)
    assert max(map(len, shown.splitlines())) <= columns
    assert shown.count("z") == 300
    assert shown.count("b") == 50 + SHOWN.count("b")
    together = re.sub(r"\s", "", shown)
    assert "…" not in together
    if columns == 200:
        assert f"550 {SHOWN} / second" in shown


@pytest.mark.parametrize(
    ("status", "colour"),
    [
        (Status.DELIVERED, "32"),
        (Status.DEFERRED, "33"),
        (Status.REJECTED, "31"),
        (Status.UNCERTAIN, "1;35"),
    ],
)
def test_each_status_has_its_colour(
    terminal: Callable[[int], None], capsys: pytest.CaptureFixture[str], status: Status, colour: str
) -> None:
    terminal(80)
    show_table(Screen(), [outcome("a@example.net", status)])
    assert f"\x1b[{colour}m{status.value}" in capsys.readouterr().out


def test_an_endpoint_stands_above_the_table_where_it_is_everyones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show_table(Screen(), [outcome("a@example.net"), outcome("b@example.net")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "tcp://mx1.example:25"
    assert lines[1].split() == ["recipient", "status", "phase", "server's", "reply"]


def test_endpoints_are_a_column_where_there_are_several(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(Screen(), [outcome("a@example.net", endpoint=TWO), outcome("b@example.net", endpoint=None)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["recipient", "status", "phase", "endpoint", "server's", "reply"]
    assert [line.split()[3] for line in lines[2:]] == ["unix:///run/lmtp", "-"]


def test_a_reply_that_no_server_sent_is_marked() -> None:
    local = outcome("a@example.net", Status.DEFERRED, b"4.4.2 lost", code=421, local=True)
    assert outcome_lines([local])[1].endswith("  421 4.4.2 lost (local)")
    assert outcome_lines([outcome("a@example.net")])[1].endswith("  250 2.0.0 ok")


def test_lines_are_columns_of_equal_width_but_for_the_last() -> None:
    lines = outcome_lines(
        [outcome("a@example.net", text=CUNNING), outcome("longer@example.net", endpoint=TWO)]
    )
    assert lines == [
        "STATUS     RECIPIENT           PHASE  ENDPOINT              REPLY",
        f"delivered  a@example.net       final  tcp://mx1.example:25  250 {SHOWN}",
        "delivered  longer@example.net  final  unix:///run/lmtp      250 2.0.0 ok",
    ]


def test_json_has_all_of_an_outcome_on_one_line_in_ascii() -> None:
    text = outcome_json(
        [
            outcome("ä@example.net", Status.REJECTED, CUNNING, code=550),
            outcome("b@example.net", Status.DEFERRED, b"later\n", code=451, endpoint=None, local=True),
        ]
    )
    assert text.isascii()
    assert text.isprintable() or set(re.sub(r"[ -~]", "", text)) == {"\n"}
    assert [json.loads(line) for line in text.splitlines()] == [
        {
            "recipient": "ä@example.net",
            "status": "rejected",
            "may_retry": False,
            "code": 550,
            "enhanced": "5.1.1",
            "reply": f"550 {SHOWN}",
            "local": False,
            "phase": "final",
            "endpoint": "tcp://mx1.example:25",
            "notes": [],
        },
        {
            "recipient": "b@example.net",
            "status": "deferred",
            "may_retry": True,
            "code": 451,
            "enhanced": None,
            "reply": "451 later /",
            "local": True,
            "phase": "final",
            "endpoint": None,
            "notes": [],
        },
    ]


def test_each_line_of_a_reply_is_a_line_of_the_dialogue() -> None:
    event = Received(0.0, Phase.RCPT, Reply(550, (CUNNING, b"second")))
    assert [line.plain for line in dialogue_lines(event)] == [f"< 550-{SHOWN}", "< 550 second"]


def test_the_dialogue_cannot_turn_its_own_text_around() -> None:
    (line,) = dialogue_lines(Sent(0.0, Phase.RCPT, "RCPT TO:<\u202ea@example.net>"))
    assert line.plain == "> RCPT TO:<\\u202ea@example.net>"


def test_outcomes_are_no_part_of_the_dialogue() -> None:
    assert dialogue_lines(Settled(0.0, Phase.FINAL, outcome("a@example.net"))) == []


def test_only_endpoints_that_failed_are_spoken_of() -> None:
    attempts = [
        Attempt(endpoint=ONE, phase=Phase.CONNECT, error=TransportError(f"cannot connect to {ONE}: refused")),
        Attempt(endpoint=ONE, phase=Phase.GREETING, reply=Reply(554, (CUNNING,))),
        Attempt(endpoint=TWO, phase=Phase.FINAL, error=DeadlinePassed("the deadline passed")),
        Attempt(endpoint=TWO, phase=Phase.FINAL),
    ]
    assert failure_lines(attempts) == [
        "cannot connect to tcp://mx1.example:25: refused",
        f"tcp://mx1.example:25: greeting: 554 {SHOWN}",
        "unix:///run/lmtp: final: the deadline passed",
    ]


# The streams.


def test_a_complaint_is_one_line_whatever_it_holds(capsys: pytest.CaptureFixture[str]) -> None:
    complain("a\nb\x1b[0m[bold]")
    assert capsys.readouterr().err == "smtpstate: a\\nb\\x1b[0m[bold]\n"


def test_the_reason_of_an_error_is_the_systems_word_for_it() -> None:
    assert reason(FileNotFoundError(errno.ENOENT, "No such file", "/x")) == "no such file"
    assert reason(OSError("AF_UNIX path too long")) == "af_unix path too long"


def stream_to(descriptor: int) -> io.TextIOWrapper:
    return io.TextIOWrapper(open(descriptor, "wb"))


def test_what_an_encoding_lacks_is_shown_as_an_escape(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "out"
    with io.TextIOWrapper(file.open("wb"), encoding="ascii") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        tolerate_any_text()
        Screen().write("grün\n")
        show_table(Screen(), [outcome("ü@example.net")])
    assert file.read_bytes().startswith(b"gr\\xfcn\ntcp://mx1.example:25\n")
    assert b"\n--------" in file.read_bytes()
    assert b"\n\\xfc@example.net" in file.read_bytes()


def test_what_nobody_reads_is_dropped_without_a_word(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read, write = os.pipe()
    os.close(read)
    with stream_to(write) as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        screen = Screen()
        screen.write("first\n")
        screen.write("second\n")
    assert capsys.readouterr().err == ""


def test_a_full_disk_is_complained_about_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with stream_to(os.open("/dev/full", os.O_WRONLY)) as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        screen = Screen()
        screen.write("first\n")
        screen.write("second\n")
    assert capsys.readouterr().err == "smtpstate: cannot write to standard output: no space left on device\n"


def test_streams_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    tolerate_any_text()
    show_table(Screen(), [outcome("a@example.net")])
    complain("nobody hears this")
