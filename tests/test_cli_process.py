"""The program as a process: its entry points, signals, and streams that are closed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from pathlib import Path

import pytest

from smtpstate.testing import ModelServer, on
from smtpstate_cli import main
from smtpstate_testing import serve

PATH = os.pathsep.join(path for path in sys.path if path)
A, B, C = "a@y.example", "b@y.example", "c@y.example"
MODULE = ("-m", "smtpstate_cli")


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR", "COLUMNS", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


def python(*arguments: str) -> subprocess.Popen[str]:
    """Start an interpreter that sees the same packages, its output in pipes."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", *arguments],
        env={**os.environ, "PYTHONPATH": PATH},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    with process:
        out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def shell(redirection: str, arguments: Sequence[str]) -> tuple[int, str, str]:
    """Run the program with its streams as ``redirection`` says."""
    done = subprocess.run(
        [
            "/bin/sh",
            "-c",
            f'exec "$@" {redirection}',
            "sh",
            sys.executable,
            "-W",
            "error",
            *MODULE,
            *arguments,
        ],
        env={**os.environ, "PYTHONPATH": PATH},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def letter(tmp_path: Path) -> str:
    file = tmp_path / "letter.eml"
    file.write_bytes(b"Subject: hello\n\nHello!\n")
    return str(file)


def to(*recipients: str) -> list[str]:
    return ["send", "--from", "s@x.example", *(word for name in recipients for word in ("--to", name))]


def test_the_module_is_the_program(letter: str) -> None:
    with serve(ModelServer()) as served:
        code, out, err = ended(python(*MODULE, *to(A), letter, served.endpoint))
    assert (code, err) == (0, "")
    assert "delivered" in out
    assert len(served.server.messages) == 1


def test_arguments_come_from_the_command_line_by_default(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["smtpstate", "send", "--help"])
    assert main() == 0
    assert capsys.readouterr().out.startswith("Usage: smtpstate send ")


@pytest.mark.parametrize("package", ["click", "rich"])
def test_a_missing_package_is_named_in_one_line(package: str) -> None:
    code = (
        f"import sys; sys.modules[{package!r}] = None; import smtpstate_cli; sys.exit(smtpstate_cli.main())"
    )
    assert ended(python("-c", code)) == (os.EX_CONFIG, "", "smtpstate: install smtpstate[cli]\n")


def test_a_package_that_only_one_command_needs_is_named_by_that_command() -> None:
    code = (
        "import sys, smtpstate_cli; sys.modules['cryptography'] = None;"
        "sys.exit(smtpstate_cli.main(['check', 'tcp://127.0.0.1:1']))"
    )
    assert ended(python("-c", code)) == (os.EX_CONFIG, "", "smtpstate: install smtpstate[cli]\n")


def test_another_missing_module_is_no_matter_of_extras() -> None:
    code = "import sys; sys.modules['smtpstate_blocking'] = None; import smtpstate_cli; smtpstate_cli.main()"
    status, _, err = ended(python("-c", code))
    assert status == 1
    assert "ModuleNotFoundError" in err


def test_an_error_of_our_own_is_traced_in_development_mode(letter: str) -> None:
    code = (
        "import sys, smtpstate_cli, smtpstate_cli._send as send; send.Target = None;"
        f"smtpstate_cli.main({[*to(A), letter, 'tcp://127.0.0.1:25']!r})"
    )
    status, _, err = ended(python("-X", "dev", "-c", code))
    assert status == 1
    assert "TypeError" in err


def test_an_interruption_shows_what_is_known_by_then(letter: str) -> None:
    rules = [on("message", B).reply(250, "2.0.0 another"), on("message", C).silence()]
    with serve(ModelServer("lmtp", ("PIPELINING",), rules)) as served:
        process = python(*MODULE, *to(A, B, C), "--lmtp", "-v", letter, served.endpoint)
        assert process.stderr is not None
        heard: list[str] = []
        while heard[-1:] != ["< 250 2.0.0 another"]:  # so that A's is taken in
            line = process.stderr.readline()
            assert line, heard
            heard.append(line.rstrip("\n"))
        process.send_signal(signal.SIGINT)
        code, out, err = ended(process)
    assert code == 130
    assert err == ""
    statuses = {line.split()[1]: line.split()[0] for line in out.splitlines()[1:]}
    assert (statuses[A], statuses[C]) == ("delivered", "uncertain")


def test_an_interruption_while_the_program_loads_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupting(MetaPathFinder):
        def find_spec(self, name: str, path: object, target: object = None, /) -> None:
            raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "smtpstate_cli._program", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupting(), *sys.meta_path])
    assert main(["send"]) == 130


@pytest.mark.parametrize(
    ("redirection", "out", "err"),
    [
        (">&-", "", ""),
        ("2>&-", "STATUS", ""),
        ("<&-", "STATUS", ""),
        (">/dev/full", "", "smtpstate: cannot write to standard output: no space left on device\n"),
        ("2>/dev/full", "STATUS", ""),
    ],
)
def test_a_closed_stream_costs_neither_the_delivery_nor_the_exit_code(
    letter: str, redirection: str, out: str, err: str
) -> None:
    with serve(ModelServer()) as served:
        verbose = ["-v"] if "2>" in redirection else []
        said = shell(redirection, [*to(A), *verbose, letter, served.endpoint])
    assert (said[0], said[1][: len(out)], said[2]) == (0, out, err)
    assert bool(said[1]) == bool(out)
    assert len(served.server.messages) == 1


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_has_left_is_no_matter(letter: str, stream: str) -> None:
    read, write = os.pipe()
    os.close(read)
    with serve(ModelServer()) as served, open(write, "wb") as unread:
        done = subprocess.run(
            [sys.executable, "-W", "error", *MODULE, *to(A), "-v", letter, served.endpoint],
            env={**os.environ, "PYTHONPATH": PATH},
            stdout=unread if stream == "stdout" else subprocess.PIPE,
            stderr=unread if stream == "stderr" else subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert done.returncode == 0
    if stream == "stdout":
        assert {line[:2] for line in done.stderr.splitlines()} == {"* ", "> ", "< "}
    else:
        assert done.stdout.startswith("STATUS")
    assert len(served.server.messages) == 1


def test_the_version_is_that_of_the_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    metadata = tmp_path / "smtpstate-12.3.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: smtpstate\nVersion: 12.3\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == "smtpstate 12.3\n"


def test_what_is_not_installed_has_no_version(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--version"])  # imports what it needs, which it could not find later
    capsys.readouterr()
    monkeypatch.setattr(sys, "path", [])
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == "smtpstate (not installed)\n"
