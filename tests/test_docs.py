"""The README and the pages under docs: what they show runs, and what they draw is the table."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from smtpstate import Status
from smtpstate._diagram import diagram
from smtpstate.testing import ModelServer, on
from smtpstate_testing import serve

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
WITH_CODE = [page for page in PAGES if "```python" in page.read_text("utf-8")]
#: What the pages write for an endpoint, and the protocol that is spoken there.
ENDPOINTS = {
    "tcp://mx.example:25": "smtp",
    "tcp://mx1.example:25": "smtp",
    "tcp://mx2.example:25": "smtp",
    "unix:///run/dovecot/lmtp": "lmtp",
}


def blocks(page: Path, language: str) -> list[str]:
    """Return the code blocks of ``page`` that are marked as ``language``."""
    found: list[str] = re.findall(
        rf"^```{language}\n(.*?)^```$", page.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    return found


@contextmanager
def world() -> Generator[dict[str, tuple[str, ModelServer]]]:
    """Serve every endpoint that the pages write; yields each with its real one."""
    with ExitStack() as stack:
        there: dict[str, tuple[str, ModelServer]] = {}
        for written, protocol in ENDPOINTS.items():
            refusal = on("RCPT", "nobody@mx.example").reply(550, "5.1.1 no such user")
            model = ModelServer(protocol, ["PIPELINING", "8BITMIME", "SIZE 10000000"], [refusal])
            there[written] = (stack.enter_context(serve(model)).endpoint, model)
        yield there


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.name)
def test_the_code_on_a_page_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "report.eml").write_bytes(b"Subject: report\n\nAll is well.\n")
    monkeypatch.chdir(tmp_path)
    with world() as there:
        names: dict[str, object] = {"__name__": "__main__"}
        for code in blocks(page, "python"):
            for written, (real, _) in there.items():
                code = code.replace(written, real)
            exec(compile(code, page.name, "exec", dont_inherit=True), names)
    assert [violation for _, model in there.values() for violation in model.violations] == []
    delivers = any(".deliver(" in code or ".run(" in code for code in blocks(page, "python"))
    assert ("delivered" in capsys.readouterr().out.lower()) is delivers


def test_the_command_lines_in_the_readme_print_what_is_shown(tmp_path: Path) -> None:
    (tmp_path / "hello.eml").write_bytes(b"Subject: hello\n\nHello!\n")
    (session,) = blocks(ROOT / "README.md", "console")
    printed = ""
    status = 0
    with world() as there:
        for line in session.splitlines():
            if line == "$ echo $?":
                printed += f"{line}\n{status}\n"
            elif line.startswith("$ smtpstate "):
                arguments = [there[word][0] if word in there else word for word in shlex.split(line)[2:]]
                done = subprocess.run(
                    [sys.executable, "-m", "smtpstate_cli", *arguments],
                    cwd=tmp_path,
                    env={"PYTHONPATH": os.pathsep.join(sys.path)},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    check=False,
                )
                printed += f"{line}\n{done.stdout}"
                status = done.returncode
        for written, (real, _) in there.items():
            printed = printed.replace(real, written)
    assert [line.split() for line in printed.splitlines()] == [line.split() for line in session.splitlines()]


def test_the_adapter_that_is_shown_is_complete_and_short(capsys: pytest.CaptureFixture[str]) -> None:
    adapter, use, *_ = blocks(ROOT / "docs" / "adapters.md", "python")
    assert len(adapter.splitlines()) < 80
    with world() as there:
        real, model = there["tcp://mx.example:25"]
        names: dict[str, object] = {}
        exec(compile(adapter + use.replace("tcp://mx.example:25", real), "adapters.md", "exec"), names)
    assert [message.recipients for message in model.messages] == [("bob@mx.example", "carol@mx.example")]
    assert model.messages[0].content == b"Subject: hello\r\n\r\nHello!\r\n"
    assert capsys.readouterr().out.count(Status.DELIVERED.value) == 2


def test_the_test_that_is_shown_passes(tmp_path: Path) -> None:
    (tmp_path / "test_shown.py").write_text(blocks(ROOT / "docs" / "testing.md", "python")[-1], "utf-8")
    environment = {"PYTHONPATH": os.pathsep.join(sys.path), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-m",
            "pytest",
            "-p",
            "smtpstate_testing.pytest_plugin",
            "test_shown.py",
        ],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert "1 passed" in done.stdout, done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file(page: Path) -> None:
    targets: list[str] = re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text("utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_readme_shows_the_table() -> None:
    shown = re.findall(
        r"<!-- diagram -->\n```mermaid\n(.*?)\n```\n<!-- /diagram -->",
        "".join(page.read_text("utf-8") for page in PAGES),
        re.DOTALL,
    )
    assert (ROOT / "README.md").read_text("utf-8").count("<!-- diagram -->") == 1
    assert set(shown) == {diagram()}, "make diagram prints it anew"


def test_the_outcome_tables_name_every_status() -> None:
    for page in (ROOT / "README.md", ROOT / "docs" / "outcomes.md"):
        for status in Status:
            assert f"| `{status.name}` |" in page.read_text("utf-8")


def test_the_diagram_is_printed_by_one_command(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    script = (ROOT / "docs" / "diagram.py").read_text("utf-8")
    (tmp_path / "docs" / "diagram.py").write_text(script, "utf-8")
    (tmp_path / "README.md").write_text("before\n<!-- diagram -->\nold\n<!-- /diagram -->\nafter\n", "utf-8")
    subprocess.run(
        [sys.executable, tmp_path / "docs" / "diagram.py"], check=True, env={"PYTHONPATH": str(ROOT / "src")}
    )
    expected = f"before\n<!-- diagram -->\n```mermaid\n{diagram()}\n```\n<!-- /diagram -->\nafter\n"
    assert (tmp_path / "README.md").read_text("utf-8") == expected
