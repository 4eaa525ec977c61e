"""``smtpstate send`` as its user meets it: exit codes, mistakes, messages, and what is printed."""

from __future__ import annotations

import io
import json
import os
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from smtpstate import TargetConfig
from smtpstate._durations import parse_duration
from smtpstate.testing import ModelServer, Rule, on
from smtpstate_cli import main
from smtpstate_cli._exits import Exit
from smtpstate_testing import Served, serve

EXTENSIONS = ("PIPELINING", "8BITMIME", "SIZE 100000000", "ENHANCEDSTATUSCODES")
A, B, C = "a@y.example", "b@y.example", "c@y.example"
LETTER = b"Subject: hello\n\nHello!\n"


class Said(NamedTuple):
    """How the program ended, and what it said."""

    code: int
    out: str
    err: str


Run = Callable[..., Said]
Start = Callable[..., Served]


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR", "COLUMNS", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str | Path) -> Said:
        code = main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return run


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a model server."""
    with ExitStack() as running:

        def start(*rules: Rule, protocol: str = "smtp", path: Path | None = None) -> Served:
            return running.enter_context(serve(ModelServer(protocol, EXTENSIONS, rules), unix_path=path))

        yield start


@pytest.fixture
def letter(tmp_path: Path) -> Path:
    file = tmp_path / "letter.eml"
    file.write_bytes(LETTER)
    return file


@pytest.fixture
def nobody() -> Iterator[str]:
    """An endpoint at which nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"tcp://127.0.0.1:{bound.getsockname()[1]}"


def to(*recipients: str) -> list[str]:
    return ["send", "--from", "s@x.example", *(word for name in recipients for word in ("--to", name))]


def stdin_of(monkeypatch: pytest.MonkeyPatch, binary: io.BufferedIOBase | io.RawIOBase) -> None:
    class Standard:
        buffer = binary

    monkeypatch.setattr(sys, "stdin", Standard())


# Exit codes.


@pytest.mark.parametrize(
    ("rules", "code"),
    [
        ((), Exit.DELIVERED),
        ((on("RCPT", B).reply(550, "5.1.1 no"),), Exit.REJECTED),
        ((on("message", B).reply(452, "4.2.2 full"),), Exit.DEFERRED),
        ((on("message", B).reply(452, "4.2.2 full"), on("RCPT", A).reply(550, "5.1.1 no")), Exit.DEFERRED),
        ((on("message", C).close(),), Exit.UNCERTAIN),
        ((on("message", A).reply(452, "4.2.2 full"), on("message", B).close()), Exit.UNCERTAIN),
        ((on("RCPT", A).reply(550, "5.1.1 no"), on("message", B).close()), Exit.UNCERTAIN),
        ((on("greeting").reply(554, "5.3.2 closed for today"),), Exit.DEFERRED),
    ],
)
def test_the_exit_code_is_that_of_the_outcome_that_asks_for_most_care(
    run: Run, start: Start, letter: Path, rules: Sequence[Rule], code: Exit
) -> None:
    served = start(*rules, protocol="lmtp")
    assert run(*to(A, B, C), "--lmtp", letter, served.endpoint).code == code


def test_the_help_lists_every_exit_code_and_every_status(run: Run) -> None:
    said = run("send", "--help")
    assert said.code == 0
    listed = said.out[said.out.index("Exit codes") :]
    assert [int(code) for code in re.findall(r"^ +(\d+) ", listed, re.MULTILINE)] == [*Exit]
    assert re.findall("^ +(delivered|deferred|rejected|uncertain)  ", said.out, re.MULTILINE) == [
        "delivered",
        "deferred",
        "rejected",
        "uncertain",
    ]


# Mistakes: one line, no traceback, nothing sent.


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--from", "s@x", "FILE", "SERVER"], "no recipient: name at least one by --to ADDRESS"),
        (["--from", "s@x", "--to", "", "FILE", "SERVER"], "the recipient is empty: ''"),
        (
            ["--from", "s@x", "--to", "Bob <b@y>", "FILE", "SERVER"],
            "the recipient holds a blank outside quotes: 'Bob <b@y>'",
        ),
        (
            ["--from", "s@x", "--to", "b@y\r\nDATA", "FILE", "SERVER"],
            "the recipient holds a control character: 'b@y\\r\\nDATA'",
        ),
        (["--from", "<s@x>", "--to", A, "FILE", "SERVER"], "the sender holds '<' outside quotes: '<s@x>'"),
        ([*to(A)[1:], "FILE"], "no endpoint to send to (see smtpstate send --help)"),
        (
            [*to(A)[1:], "tcp://127.0.0.1:25"],
            "no message: give FILE, or -, before it (see smtpstate send --help)",
        ),
        (
            [*to(A)[1:], "FILE", "tcp://mx.example"],
            "not an endpoint: 'tcp://mx.example': a port is required, as in tcp://mx.example:25"
            " (see smtpstate send --help)",
        ),
        (
            [*to(A)[1:], "FILE", "mx.example:25"],
            "not an endpoint: 'mx.example:25': an endpoint is tcp://HOST:PORT, tls://HOST:PORT or unix://PATH"
            " (see smtpstate send --help)",
        ),
        (
            [*to(A)[1:], "--hostname", "two words", "FILE", "SERVER"],
            "--hostname: expected a name or an address literal such as [192.0.2.1], got 'two words'"
            " (see smtpstate send --help)",
        ),
    ],
)
def test_wrong_usage_is_said_in_one_line_and_nothing_is_sent(
    run: Run, start: Start, letter: Path, arguments: Sequence[str], line: str
) -> None:
    served = start()
    words = {"FILE": str(letter), "SERVER": served.endpoint}
    said = run("send", *(words.get(argument, argument) for argument in arguments))
    assert said.err == f"smtpstate: {line}\n"
    assert said.code == Exit.USAGE
    assert said.out == ""
    assert served.server.connections == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["send", "--to", A, "letter", "tcp://127.0.0.1:25"], ["missing option", "--from"]),
        (to(A), ["missing argument", "FILE"]),
        (
            [*to(A), "--connect-timeout", "30", "letter", "tcp://127.0.0.1:25"],
            ["--connect-timeout", "30 needs a unit, one of h m s ms us ns"],
        ),
        (
            [*to(A), "--submission-timeout", "0s", "letter", "tcp://127.0.0.1:25"],
            ["--submission-timeout", "above 0, got '0s'"],
        ),
        ([*to(A), "--verbos", "letter", "tcp://127.0.0.1:25"], ["no such option", "--verbose"]),
        ([*to(A), "--hostname"], ["--hostname", "requires an argument"]),
        (["sent"], ["no such command", "sent"]),
    ],
)
def test_what_the_option_parser_refuses_is_said_in_our_form(
    run: Run, arguments: Sequence[str], said: Sequence[str]
) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (Exit.USAGE, "")
    assert re.fullmatch(r"smtpstate: (?!error|usage).*[^.] \(see smtpstate.* --help\)\n", err)
    assert [part for part in said if part not in err] == []


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("missing.eml", "no such file or directory"),
        ("", "is a directory"),
        ("bell\a.eml", "no such file or directory"),
        ("nul\0.eml", "embedded null byte"),
    ],
)
def test_a_message_that_cannot_be_opened_is_said_before_anything_is_connected(
    run: Run, start: Start, tmp_path: Path, name: str, why: str
) -> None:
    served = start()
    said = run(*to(A), f"{tmp_path}/{name}", served.endpoint)
    assert said == Said(Exit.NO_INPUT, "", f"smtpstate: cannot read {f'{tmp_path}/{name}'!r}: {why}\n")
    assert served.server.connections == []


def test_standard_input_that_is_closed_cannot_be_sent(
    run: Run, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    said = run(*to(A), "-", start().endpoint)
    assert said == Said(Exit.NO_INPUT, "", "smtpstate: cannot read standard input: it is closed\n")


def test_a_refused_connection_is_one_line_and_a_deferred_recipient(
    run: Run, letter: Path, nobody: str
) -> None:
    said = run(*to(A), letter, nobody)
    assert said.code == Exit.DEFERRED
    assert said.err == f"smtpstate: cannot connect to {nobody}: connection refused\n"
    assert f"deferred  {A}  connect  {nobody}  421 4.4.1 cannot connect" in said.out


def test_a_server_that_does_not_want_to_talk_is_quoted(run: Run, start: Start, letter: Path) -> None:
    served = start(on("greeting").reply(554, "5.3.2 closed \x1b[5mtoday"))
    said = run(*to(A), letter, served.endpoint)
    assert said.code == Exit.DEFERRED
    assert said.err == f"smtpstate: {served.endpoint}: greeting: 554 5.3.2 closed \\x1b[5mtoday\n"


class Broken(io.RawIOBase):
    """A file of which nothing can be read after its first line."""

    def __init__(self) -> None:
        self.begun = False

    def read(self, size: int = -1, /) -> bytes:
        if self.begun:
            raise OSError(5, "Input/output error")
        self.begun = True
        return b"Subject: half of it\n" * 30000


def test_a_message_that_cannot_be_read_to_its_end_is_never_delivered_in_part(
    run: Run, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = start(on("RCPT", B).reply(550, "5.1.1 no"))
    stdin_of(monkeypatch, Broken())
    said = run(*to(A, B), "-", served.endpoint)
    assert said.code == Exit.DATA
    assert said.err == "smtpstate: cannot read the message: input/output error\n"
    # The first blocks had left: what is known by then is said.
    assert [line.split()[:2] for line in said.out.splitlines()[1:]] == [["deferred", A], ["rejected", B]]
    assert served.server.messages == []


def test_a_message_that_has_nothing_to_read_yet_is_refused_instead_of_cut_off(
    run: Run, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = start()
    read, write = os.pipe()
    os.set_blocking(read, False)
    with open(read, "rb", buffering=0) as reading, open(write, "wb"):
        stdin_of(monkeypatch, reading)
        said = run(*to(A), "-", served.endpoint)
    assert said.code == Exit.DATA
    assert said.err.count("\n") == 1
    assert "nothing to read yet" in said.err
    assert served.server.messages == []


def test_an_error_of_our_own_is_one_line_too(run: Run, letter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("what\nnow")

    monkeypatch.setattr("smtpstate_cli._send.Target", broken)
    said = run(*to(A), letter, "tcp://127.0.0.1:25")
    where = "(where: python -X dev -m smtpstate_cli)"
    assert said == Said(Exit.INTERNAL, "", f"smtpstate: internal error: RuntimeError('what\\nnow') {where}\n")


def test_without_a_command_the_help_is_shown_as_an_error(run: Run) -> None:
    said = run()
    assert said.code == Exit.USAGE
    assert said.out == ""
    assert "Usage: smtpstate" in said.err
    assert "demo" in said.err
    assert "send" in said.err


# Messages.

MESSAGES = {
    "LF": b"Subject: x\n\nfirst\nsecond\n",
    "CRLF": b"Subject: x\r\n\r\nfirst\r\n",
    "dots only": b".\n..\n...\n.",
    "empty": b"",
    "no final line end": b"Subject: x\r\n\r\nend",
    "every octet": bytes(range(256)) * 3,
    "several blocks": b"Subject: x\n\n" + b".a line of an attachment\r\n" * 20000,
}


def as_held(message: bytes) -> bytes:
    lines = re.sub(rb"\r\n|\r|\n", b"\r\n", message)
    return lines if not lines or lines.endswith(b"\r\n") else lines + b"\r\n"


@pytest.mark.parametrize("protocol", ["smtp", "lmtp"])
@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
def test_a_file_arrives_octet_for_octet(
    run: Run, start: Start, tmp_path: Path, message: bytes, protocol: str
) -> None:
    file = tmp_path / "message"
    file.write_bytes(message)
    served = start(protocol=protocol, path=tmp_path / "socket" if protocol == "lmtp" else None)
    said = run(*to(A), *["--lmtp"] * (protocol == "lmtp"), file, served.endpoint)
    assert (said.code, said.err) == (0, "")
    assert [stored.content for stored in served.server.messages] == [as_held(message)]
    assert served.server.violations == []


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
def test_standard_input_arrives_octet_for_octet(
    run: Run, start: Start, monkeypatch: pytest.MonkeyPatch, message: bytes
) -> None:
    served = start()
    stdin_of(monkeypatch, io.BytesIO(message))
    assert run(*to(A), "-", served.endpoint).code == 0
    assert [stored.content for stored in served.server.messages] == [as_held(message)]


def test_a_pipe_is_opened_once_and_read_to_its_end(run: Run, start: Start, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    message = MESSAGES["several blocks"]
    writer = threading.Thread(target=fifo.write_bytes, args=(message,))
    writer.start()
    try:
        served = start()
        assert run(*to(A), fifo, served.endpoint).code == 0
    finally:
        os.close(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK))  # or the writer waits for a reader for ever
        writer.join()
    assert [stored.content for stored in served.server.messages] == [as_held(message)]


@pytest.mark.parametrize("sender", ["", "<>"])
def test_an_empty_sender_is_the_null_reverse_path(run: Run, start: Start, letter: Path, sender: str) -> None:
    served = start()
    assert run("send", "--from", sender, "--to", A, letter, served.endpoint).code == 0
    assert [stored.sender for stored in served.server.messages] == [""]


def test_the_next_endpoint_is_tried_where_one_cannot_be_reached(
    run: Run, start: Start, letter: Path, nobody: str
) -> None:
    served = start()
    said = run(*to(A), letter, nobody, served.endpoint)
    assert said.code == 0
    assert said.err == f"smtpstate: cannot connect to {nobody}: connection refused\n"
    assert f"delivered  {A}  final  {served.endpoint}  250 " in said.out


# Settings.


def test_the_hostname_is_said(run: Run, start: Start, letter: Path) -> None:
    served = start()
    run(*to(A), "--hostname", "client.example", letter, served.endpoint)
    assert served.server.commands[0] == "EHLO client.example"


@pytest.mark.parametrize(
    ("option", "silent"), [("--command-timeout", "greeting"), ("--submission-timeout", "message")]
)
def test_a_timeout_ends_the_waiting(run: Run, start: Start, letter: Path, option: str, silent: str) -> None:
    served = start(on(silent).silence())
    said = run(*to(A), option, "50ms", letter, served.endpoint)
    assert said.code == (Exit.UNCERTAIN if silent == "message" else Exit.DEFERRED)
    assert said.err.endswith("the deadline passed\n")


def test_the_options_say_what_the_settings_default_to(run: Run) -> None:
    described = run("send", "--help").out
    config = TargetConfig(targets="tcp://127.0.0.1:25")
    for name in ("connect", "command", "submission"):
        found = re.search(rf"--{name}-timeout .*?\[default: (\w+)\]", described, re.DOTALL)
        assert found is not None
        assert parse_duration(found[1]) == getattr(config, f"{name}_timeout")


# What is printed; more of it in test_cli_report.


def test_outcomes_are_lines_where_there_is_no_terminal(run: Run, start: Start, letter: Path) -> None:
    served = start(on("RCPT", B).reply(550, "5.1.1 [red]nobody[/red] \x1b[31mhere"))
    at = served.endpoint
    assert run(*to(A, B, A), letter, at).out.splitlines() == [
        f"STATUS     RECIPIENT    PHASE  {'ENDPOINT'.ljust(len(at))}  REPLY",
        f"delivered  {A}  final  {at}  250 2.0.0 message accepted",
        f"rejected   {B}  rcpt   {at}  550 5.1.1 [red]nobody[/red] \\x1b[31mhere",
        f"delivered  {A}  final  {at}  250 2.0.0 message accepted",
    ]


def test_outcomes_are_a_table_on_a_terminal(
    run: Run, start: Start, letter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    served = start()
    lines = re.sub(r"\x1b\[[0-9;]*m", "", run(*to(A), letter, served.endpoint).out).splitlines()
    assert [line.split() for line in (*lines[:2], *lines[3:])] == [
        [served.endpoint],
        ["recipient", "status", "phase", "server's", "reply"],
        [A, "delivered", "final", "250", "2.0.0", "message", "accepted"],
    ]


def test_outcomes_are_objects_in_json_when_asked_for(run: Run, start: Start, letter: Path) -> None:
    served = start(on("RCPT", B).reply(550, "5.1.1 no"))
    said = run(*to(A, B), "--json", letter, served.endpoint)
    assert [json.loads(line)["status"] for line in said.out.splitlines()] == ["delivered", "rejected"]


def test_the_dialogue_is_shown_on_standard_error_when_asked_for(run: Run, start: Start, letter: Path) -> None:
    served = start(on("RCPT", B).reply(550, "5.1.1 [red]nobody[/red] \x1b[31mhere", "z" * 200))
    said = run(*to(A, B), "-v", letter, served.endpoint)
    lines = said.err.splitlines()
    assert lines[0] == f"* connecting to {served.endpoint}"
    assert [line for line in lines if line.startswith("> RCPT")] == [f"> RCPT TO:<{A}>", f"> RCPT TO:<{B}>"]
    assert "< 550-5.1.1 [red]nobody[/red] \\x1b[31mhere" in lines
    assert f"< 550 {'z' * 200}" in lines
    assert lines[-1].startswith("< 221 ")
    assert {line[:2] for line in lines} == {"* ", "> ", "< "}
    assert run(*to(A), letter, served.endpoint).err == ""
