"""``smtpstate check``, and ``send`` with TLS and passwords, against real servers with real certificates."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme

from smtpstate import Endpoint, Negotiated, Phase
from smtpstate._check import Report, Verdict
from smtpstate.testing import ModelServer, Rule, on
from smtpstate_cli import main
from smtpstate_cli._certificates import read_certificate
from smtpstate_cli._exits import Exit
from smtpstate_cli._findings import Finding
from smtpstate_testing import serve

PASSWORD = "correct horse battery"
OFFERED = ("PIPELINING", "SIZE 1000000", "STARTTLS", "AUTH PLAIN SCRAM-SHA-256", "LIMITS RCPTMAX=100")
CA = trustme.CA()
NOW = datetime.now(UTC)
DAY = timedelta(days=1)


class Said(NamedTuple):
    """How the program ended, and what it said."""

    code: int
    out: str
    err: str


Run = Callable[..., Said]
Start = Callable[..., str]


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR", "COLUMNS", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the program. Nothing of the password is ever printed."""
    monkeypatch.setenv("MAIL_PASSWORD", PASSWORD)

    def run(*arguments: str | Path) -> Said:
        code = main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        assert PASSWORD not in said.out + said.err
        return Said(code, said.out, said.err)

    return run


@pytest.fixture
def servers() -> list[ModelServer]:
    """The servers that were started."""
    return []


@pytest.fixture
def start(servers: list[ModelServer]) -> Iterator[Start]:
    """Start a server with a certificate for this machine, and return its endpoint."""
    with ExitStack() as running:

        def start(
            *rules: Rule, extensions: Sequence[str] = OFFERED, tls: bool = False, **certificate: Any
        ) -> str:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            issued = CA.issue_cert("127.0.0.1", "mx.example", **certificate)
            with issued.private_key_and_cert_chain_pem.tempfile() as file:
                context.load_cert_chain(file)
            server = ModelServer("smtp", extensions, rules, users={"me": PASSWORD}, implicit_tls=tls)
            servers.append(server)
            return running.enter_context(serve(server, tls=context)).endpoint

        yield start
    assert [violation for server in servers for violation in server.violations] == []


@pytest.fixture
def trust(tmp_path: Path) -> tuple[str, str]:
    """Options that make the certificates of these servers trusted."""
    CA.cert_pem.write_to_path(tmp_path / "ca.pem")
    return "--tls-root-ca", str(tmp_path / "ca.pem")


LOGIN = ("--auth-user", "me", "--password-env", "MAIL_PASSWORD")


def fields(out: str) -> dict[str, str]:
    """Return what is printed of one endpoint, by its names."""
    first, *rest = out.splitlines()
    return {"": first, **dict(re.split(" +", line.strip(), maxsplit=1) for line in rest)}


def test_a_server_is_described(
    run: Run, start: Start, trust: tuple[str, str], servers: list[ModelServer]
) -> None:
    endpoint = start(not_before=NOW - DAY, not_after=NOW + 100 * DAY)
    said = run("check", *trust, *LOGIN, endpoint)
    assert (said.code, said.err) == (0, "")
    shown = fields(said.out)
    assert shown[""] == f"{endpoint}  ready"
    assert shown["address"] == "127.0.0.1"
    assert shown["greeting"] == "220 mx.example SMTP ready"
    assert shown["hello"] == "250 mx.example greets [127.0.0.1]"
    assert shown["extensions"] == "PIPELINING"
    assert shown["limits"] == "size 1000000 octets, RCPTMAX=100"
    assert shown["mechanisms"] == "PLAIN SCRAM-SHA-256"
    assert shown["tls"].startswith("TLSv1.3, TLS_")
    assert shown["verified"] == "yes"
    assert shown["certificate"] == "mx.example, 127.0.0.1"
    assert "Testing CA" in shown["issuer"]
    assert shown["valid"].endswith(f"{NOW + 100 * DAY:%Y-%m-%d %H:%M} UTC, 100.0 days left")
    assert shown["user"] == "me"
    assert re.fullmatch(
        r"connect \S+ ms, tls \S+ ms, greeting \S+ ms, hello \S+ ms, noop \S+ ms",
        shown["round"].removeprefix("trips ").strip(),
    )
    assert servers[0].messages == []
    assert [command for command in servers[0].commands if command.startswith("MAIL")] == []


def test_the_same_is_an_object_in_json(run: Run, start: Start, trust: tuple[str, str]) -> None:
    endpoint = start(not_after=NOW + 100 * DAY, tls=True, extensions=OFFERED[:2])
    said = run("check", *trust, "--json", endpoint, "tcp://127.0.0.1:1")
    assert said.code == Exit.DEFERRED
    found, unreachable = map(json.loads, said.out.splitlines())
    assert (found["endpoint"], found["ok"], found["verdict"], found["problems"]) == (
        endpoint,
        True,
        "ready",
        [],
    )
    assert (found["address"], found["size"], found["mechanisms"]) == ("127.0.0.1", 1000000, [])
    assert found["extensions"] == {"PIPELINING": [], "SIZE": ["1000000"]}
    assert (found["tls"]["verified"], found["tls_failure"], found["user"]) == (True, None, None)
    assert found["certificate"]["names"] == ["mx.example", "127.0.0.1"]
    assert round(found["certificate"]["days_left"]) == 100
    assert set(found["seconds"]) == {"connect", "tls", "greeting", "hello", "noop"}
    assert all(0 <= seconds < 60 for seconds in found["seconds"].values())
    assert (unreachable["ok"], unreachable["verdict"], unreachable["certificate"]) == (
        False,
        "deferred",
        None,
    )
    assert unreachable["problems"] == [
        "connect: 421 4.4.1 cannot connect to tcp://127.0.0.1:1: connection refused"
    ]


@pytest.mark.parametrize("name", ["ready", "no TLS"])
def test_a_server_without_tls_says_so(run: Run, start: Start, name: str) -> None:
    required = ["--require-tls"] * (name == "no TLS")
    said = run("check", *required, start(extensions=()))
    assert said.code == (Exit.DEFERRED if required else 0)
    shown = fields(said.out)
    assert shown["tls"].startswith("none")
    assert (shown["extensions"], shown["mechanisms"], shown["limits"]) == ("none", "none", "no fixed size")
    assert ("TLS is required" in shown["tls"]) is bool(required)


# What a monitor learns from the exit code.


@pytest.mark.parametrize(
    ("options", "after", "code", "problem"),
    [
        ((), 100 * DAY, 0, None),
        ((), 13 * DAY, Exit.REJECTED, r"the certificate expires on [-0-9]+ [:0-9]+ UTC, in 13.0 days"),
        (("--expiry-days", "12"), 13 * DAY, 0, None),
        (("--expiry-days", "0"), 0.5 * DAY, 0, None),
        (("--expiry-days", "200"), 100 * DAY, Exit.REJECTED, "the certificate expires on .* in 100.0 days"),
        (("--no-tls-verify",), 13 * DAY, Exit.REJECTED, "the certificate expires on "),
    ],
)
def test_a_certificate_that_is_about_to_expire_is_a_problem(
    run: Run,
    start: Start,
    trust: tuple[str, str],
    options: Sequence[str],
    after: timedelta,
    code: int,
    problem: str | None,
) -> None:
    said = run("check", *trust, *options, start(not_before=NOW - DAY, not_after=NOW + after))
    assert said.code == code
    shown = fields(said.out)
    assert shown[""].endswith("  expiring" if problem else "  ready")
    assert (problem is None) == ("problem" not in shown)
    if problem:
        assert re.match(problem, shown["problem"])


@pytest.mark.parametrize("options", [(), ("--require-tls",), LOGIN], ids=str)
def test_an_expired_certificate_is_a_problem_always(
    run: Run, start: Start, trust: tuple[str, str], options: Sequence[str]
) -> None:
    endpoint = start(not_before=NOW - 9 * DAY, not_after=NOW - DAY)
    said = run("check", *trust, *options, endpoint)
    assert said.code == Exit.REJECTED
    assert "problem       the certificate has expired on" in said.out
    shown = fields(said.out)
    assert shown["verified"] == "no: the server's certificate is refused: certificate has expired"
    assert shown["certificate"] == "mx.example, 127.0.0.1"
    assert shown["valid"].endswith(" UTC, -1.0 days left")
    assert ("454 4.7.5" in said.out) is bool(options)


@pytest.mark.parametrize(
    ("options", "code"), [((), 0), (("--require-tls",), Exit.DEFERRED), (LOGIN, Exit.DEFERRED)]
)
def test_a_certificate_that_does_not_verify_is_a_problem_where_a_delivery_would_give_up(
    run: Run, start: Start, options: Sequence[str], code: int, servers: list[ModelServer]
) -> None:
    said = run("check", *options, start())
    assert said.code == code
    shown = fields(said.out)
    assert shown["verified"].startswith("no: the server's certificate is refused: ")
    assert shown["certificate"] == "mx.example, 127.0.0.1"
    assert len(servers[0].connections) == 2
    assert "AUTH" not in " ".join(servers[0].commands)


def test_a_wrong_name_is_said(run: Run, start: Start, trust: tuple[str, str]) -> None:
    said = run("check", *trust, "--require-tls", "--tls-server-name", "mx.other.example", start())
    assert said.code == Exit.DEFERRED
    assert "mx.other.example" in fields(said.out)["verified"]


@pytest.mark.parametrize(
    ("rules", "code"),
    [
        ([], 0),
        ([on("greeting").reply(554, "5.3.2 no")], Exit.REJECTED),
        ([on("greeting").reply(450, "4.3.2 later")], Exit.DEFERRED),
        ([on("AUTH").reply(535, "5.7.8 no")], Exit.REJECTED),
        ([on("EHLO").say(b"\x1b]0;title\x07\r\n")], Exit.DEFERRED),
        ([on("greeting").close()], Exit.DEFERRED),
        ([on("STARTTLS").close()], Exit.DEFERRED),
        ([on("STARTTLS").say(b"220 go\r\n250 injected\r\n")], Exit.DEFERRED),
    ],
    ids=str,
)
def test_the_exit_code_says_whether_a_delivery_would_get_as_far_as_mail(
    run: Run, start: Start, trust: tuple[str, str], rules: list[Rule], code: int
) -> None:
    said = run("check", *trust, *LOGIN, start(*rules))
    assert said.code == code
    assert said.err == ""
    assert ("problem" in said.out) is (code != 0)
    assert said.out.replace("\n", "").isprintable()


def test_the_worst_of_several_endpoints_counts(run: Run, start: Start) -> None:
    good, refusing, nobody = start(), start(on("greeting").reply(554, "no")), "tcp://127.0.0.1:1"
    assert run("check", good, good).code == 0
    assert run("check", good, nobody, good).code == Exit.DEFERRED
    said = run("check", nobody, refusing, good)
    assert said.code == Exit.REJECTED
    assert [line for line in said.out.splitlines() if not line.startswith(" ")] == [
        f"{nobody}  deferred",
        f"{refusing}  refused",
        f"{good}  ready",
    ]


def test_the_endpoints_of_a_file_are_checked(
    run: Run, start: Start, trust: tuple[str, str], tmp_path: Path
) -> None:
    first, second = start(), start(on("AUTH").reply(535, "5.7.8 no"))
    file = tmp_path / "conf"
    file.write_text(
        f'target.smtp x {{ targets {first} {second}\n auth auto me "{{env:MAIL_PASSWORD}}"\n'
        f"tls_client {{ root_ca {trust[1]} }} }}\ntarget.smtp y {{ targets tcp://127.0.0.1:1 }}"
    )
    said = run("check", "--config", file, "--target", "x")
    assert said.code == Exit.REJECTED
    assert [line for line in said.out.splitlines() if not line.startswith(" ")] == [
        f"{first}  ready",
        f"{second}  refused",
    ]


def test_the_dialogue_is_shown_when_asked_for(run: Run, start: Start, trust: tuple[str, str]) -> None:
    said = run("check", "-v", *trust, *LOGIN, start())
    lines = said.err.splitlines()
    assert [line for line in lines if line.startswith("> ")] == [
        "> EHLO [127.0.0.1]",
        "> STARTTLS",
        "> EHLO [127.0.0.1]",
        "> AUTH SCRAM-SHA-256 ****",
        "> ****",
        "> ****",
        "> NOOP",
        "> QUIT",
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        ((), Exit.USAGE, "no endpoint to check (see smtpstate check --help)"),
        (("mx.example:25",), Exit.USAGE, "not an endpoint: 'mx.example:25': an endpoint is "),
        (("--expiry-days", "-1", "tcp://127.0.0.1:1"), Exit.USAGE, "invalid value for '--expiry-days'"),
        (("--config", "/nowhere/conf"), Exit.NO_INPUT, "cannot read '/nowhere/conf': no such file"),
        (
            ("--tls-root-ca", "/nowhere/ca", "tcp://127.0.0.1:1"),
            Exit.CONFIG,
            "tls_client: root_ca: cannot read /nowhere/ca: no such file or directory",
        ),
    ],
)
def test_wrong_usage_is_one_line(run: Run, arguments: Sequence[str], code: int, error: str) -> None:
    said = run("check", *arguments)
    assert (said.code, said.out) == (code, "")
    assert said.err.startswith(f"smtpstate: {error}")
    assert said.err.count("\n") == 1


def test_the_help_lists_every_exit_code(run: Run) -> None:
    said = run("check", "--help")
    listed = said.out[said.out.index("Exit codes") :]
    codes = [int(code) for code in re.findall(r"^ +(\d+)  ", listed, re.MULTILINE)]
    assert sorted(codes) == [0, 64, 66, 69, 70, 75, 78, 130]


# Certificates, whatever they are made of.


def test_what_is_no_certificate_is_none() -> None:
    der = ssl.PEM_cert_to_DER_cert(CA.issue_cert("mx.example").cert_chain_pems[0].bytes().decode())
    assert read_certificate(der) is not None
    for broken in (b"", b"x", der[:-1], der[: len(der) // 2], b"\x30\x82" + der[2:4] + bytes(len(der))):
        assert read_certificate(broken) is None
    for n in range(0, len(der), 7):  # whatever it says then, nothing else may happen
        changed = bytearray(der)
        changed[n] ^= 0xFF
        read_certificate(bytes(changed))


def report_with(der: bytes) -> Report:
    return Report(
        endpoint=Endpoint.parse("tcp://mx.example:25"),
        verdict=Verdict.READY,
        phase=Phase.HELLO,
        tls=Negotiated("TLSv1.3", "\x1b[31m", True, certificate=der),
    )


def test_a_certificate_without_names_shows_its_subject() -> None:
    der = ssl.PEM_cert_to_DER_cert(CA.cert_pem.bytes().decode())
    shown = fields("\n".join(Finding(report_with(der), NOW, 14).lines()))
    assert shown["certificate"].startswith("no names; subject ")
    assert "Testing CA" in shown["certificate"]


def test_a_certificate_that_cannot_be_read_is_said_to_be_so() -> None:
    finding = Finding(report_with(b"junk"), NOW, 14)
    assert finding.lines() == [
        "tcp://mx.example:25  ready",
        "  tls           TLSv1.3, \\x1b[31m",
        "  verified      yes",
        "  certificate   cannot be read",
    ]
    assert json.loads(finding.json())["certificate"] is None


# Sending with all of it.


def test_a_message_is_sent_with_tls_and_a_password(
    run: Run, start: Start, trust: tuple[str, str], tmp_path: Path, servers: list[ModelServer]
) -> None:
    (tmp_path / "letter").write_bytes(b"Subject: hello\n\nHello!\n")
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    said = run(
        *("send", "--from", "a@x.example", "--to", "b@y.example", "--require-tls", *trust, "-v"),
        *("--auth-user", "me", "--password-file", tmp_path / "password"),
        *(tmp_path / "letter", start()),
    )
    assert said.code == 0
    assert "* authenticated: me by SCRAM-SHA-256" in said.err
    assert [message.identity for message in servers[0].messages] == ["me"]


def test_a_message_is_sent_as_the_file_says(
    run: Run, start: Start, trust: tuple[str, str], tmp_path: Path, servers: list[ModelServer]
) -> None:
    (tmp_path / "letter").write_bytes(b"Subject: hello\n\nHello!\n")
    file = tmp_path / "conf"
    file.write_text(
        f'target.smtp out {{ targets {start()}\n require_tls\n debug\n auth plain me "{{env:MAIL_PASSWORD}}"\n'
        f"tls_client {{ root_ca {trust[1]} }} }}\ntarget.smtp y {{ targets tcp://127.0.0.1:1 }}"
    )
    send = ("send", "--from", "a@x.example", "--to", "b@y.example", "--config", file, "--target", "out")
    said = run(*send, tmp_path / "letter")
    assert said.code == 0
    assert "* authenticated: me by PLAIN" in said.err
    assert run(*send, "--no-debug", tmp_path / "letter").err == ""
    assert [message.identity for message in servers[0].messages] == ["me", "me"]


def test_forwarded_credentials_are_sent(
    run: Run, start: Start, trust: tuple[str, str], tmp_path: Path, servers: list[ModelServer]
) -> None:
    (tmp_path / "letter").write_bytes(b"Subject: hello\n\nHello!\n")
    send = ("send", "--from", "a@x.example", "--to", "b@y.example", *trust, "--auth-mechanism", "forward")
    endpoint = start()
    assert run(*send, *LOGIN, tmp_path / "letter", endpoint).code == 0
    assert run(*send, tmp_path / "letter", endpoint).code == Exit.REJECTED
    assert [message.identity for message in servers[0].messages] == ["me"]


def test_a_file_that_the_settings_name_must_be_there(run: Run, start: Start, tmp_path: Path) -> None:
    (tmp_path / "letter").write_bytes(b"Subject: hello\n\nHello!\n")
    send = ("send", "--from", "a@x.example", "--to", "b@y.example", "--tls-root-ca", "/nowhere/ca")
    said = run(*send, tmp_path / "letter", start())
    assert (said.code, said.out) == (Exit.CONFIG, "")
    assert said.err == "smtpstate: tls_client: root_ca: cannot read /nowhere/ca: no such file or directory\n"
