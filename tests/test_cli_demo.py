"""``smtpstate demo``: what it shows, and that it notices when it does not go as it should."""

from __future__ import annotations

import dataclasses
import email
import email.policy
import re
import tempfile
from importlib.resources import files
from pathlib import Path

import pytest

from smtpstate.testing import Rule, on
from smtpstate_cli import _demo, main

MESSAGE = files("smtpstate_cli") / "demo.eml"


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR", "COLUMNS", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


def test_the_demo_shows_four_outcomes_by_each_protocol(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    tables = re.findall(r"^(alice|bob|carol|dave)@example\.org +(\w+) +(\w+) +(.+)$", out, re.MULTILINE)
    lmtp, smtp = tables[:4], tables[4:]
    assert lmtp == [
        ("alice", "delivered", "final", "250 2.0.0 message accepted"),
        ("bob", "rejected", "rcpt", "550 5.1.1 no such user here"),
        ("carol", "deferred", "final", "452 4.2.2 mailbox full"),
        ("dave", "delivered", "final", "250 2.0.0 message accepted"),
    ]
    assert smtp == [
        ("alice", "delivered", "final", "250 2.0.0 message accepted"),
        ("bob", "rejected", "rcpt", "550 5.1.1 no such user here"),
        ("carol", "deferred", "rcpt", "450 4.2.1 mailbox busy, try again later"),
        ("dave", "delivered", "final", "250 2.0.0 message accepted"),
    ]


def test_the_demo_shows_the_dialogue_with_every_explanation(capsys: pytest.CaptureFixture[str]) -> None:
    main(["demo"])
    lines = capsys.readouterr().out.splitlines()
    for scene, hello in ((_demo.LMTP, "LHLO"), (_demo.SMTP, "EHLO")):
        begin = lines.index(scene.title)
        end = next(n for n, line in enumerate(lines[begin:], begin) if line.startswith("    < 221"))
        part = lines[begin:end]
        assert sum(line.startswith(f"    > {hello} ") for line in part) == 1
        explained = " ".join(line[4:] for line in part if line.startswith("  # "))
        assert explained == " ".join(note for _, note in scene.notes)


def test_every_line_of_the_demo_fits_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    main(["demo"])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_the_demos_message_is_a_real_one_with_an_attachment() -> None:
    message = email.message_from_bytes(MESSAGE.read_bytes(), policy=email.policy.default)
    assert message.defects == []
    assert [part.get_content_type() for part in message.walk()] == [
        "multipart/mixed",
        "text/plain",
        "text/csv",
    ]
    assert b"\n..." in MESSAGE.read_bytes()  # a line that is sent with a dot more


@pytest.mark.parametrize(
    ("rules", "complaint"),
    [
        ((), "bob@example.org was delivered by LMTP"),
        ((on("message").reply(550, "5.0.0 no"),), "what came by LMTP is not what was sent"),
    ],
)
def test_a_demo_that_does_not_go_as_it_should_says_so(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    rules: tuple[Rule, ...],
    complaint: str,
) -> None:
    monkeypatch.setattr(_demo, "LMTP", dataclasses.replace(_demo.LMTP, rules=rules))
    assert main(["demo"]) == 70
    out, err = capsys.readouterr()
    assert err.startswith("smtpstate: the demo did not go as it should: ")
    assert err.count("\n") == 1
    assert complaint in err
    assert "What to make of it" not in out


def test_a_machine_that_does_not_let_servers_start_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deep = tmp_path / ("d" * 120)  # longer than the path of a unix socket can be
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    assert main(["demo"]) == 70
    assert capsys.readouterr().err == "smtpstate: the demo cannot run here: af_unix path too long\n"
    assert list(deep.iterdir()) == []


def test_the_demo_can_be_interrupted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_demo, "serve", interrupted)
    assert main(["demo"]) == 130
    assert capsys.readouterr().err.strip() == ""
