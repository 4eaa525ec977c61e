"""The command line's options, and the file of --config, as settings; and the exit codes."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path

import click
import pytest

from smtpstate import Auth, Credentials, TargetConfig, TlsClient
from smtpstate_cli._exits import Exit, Failure
from smtpstate_cli._program import program
from smtpstate_cli._settings import target_config

HERE = "tcp://127.0.0.1:25"
PASSWORD, TOKEN = "correct horse battery", "ya29.a-token"


def settings(arguments: str, *more: str, endpoints: tuple[str, ...] = (HERE,)) -> TargetConfig:
    """Return what the options of ``arguments`` come to; those in ``more`` may hold blanks."""
    return everything(arguments, *more, endpoints=endpoints)[0]


def everything(
    arguments: str, *more: str, endpoints: tuple[str, ...] = (HERE,)
) -> tuple[TargetConfig, Credentials | None]:
    check = program.commands["check"]
    with check.make_context("check", [*arguments.split(), *more, *endpoints]) as context:
        options = {name: value for name, value in context.params.items() if name != "endpoints"}
        return target_config(options, endpoints)


@pytest.fixture
def password_file(tmp_path: Path) -> str:
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\n")
    return str(file)


@pytest.fixture
def config_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MAIL_PASSWORD", PASSWORD)
    file = tmp_path / "targets.conf"
    file.write_text(
        """
        target.smtp outside {
            targets tcp://mx.example:25
            require_tls yes
            auth plain me "{env:MAIL_PASSWORD}"
            command_timeout 30s
            tls_client {
                root_ca /etc/ca.pem
                server_name mx.example
            }
        }
        target.lmtp store {
            targets unix:///run/lmtp
        }
        """
    )
    return str(file)


# Options.


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", {}),
        ("--lmtp", {"protocol": "lmtp"}),
        ("--smtp", {"protocol": "smtp"}),
        ("--debug", {"debug": True}),
        ("-v", {"debug": True}),
        ("--verbose", {"debug": True}),
        ("--no-debug", {"debug": False}),
        ("--no-attempt-starttls", {"attempt_starttls": False}),
        ("--lmtp --attempt-starttls", {"protocol": "lmtp", "attempt_starttls": True}),
        ("--require-tls", {"require_tls": True}),
        ("--no-require-tls", {"require_tls": False}),
        ("--insecure-auth", {"insecure_auth": True}),
        ("--no-pipelining", {"pipelining": False}),
        ("--no-chunking", {"chunking": False}),
        ("--hostname client.example", {"hostname": "client.example"}),
        ("--source-address 127.0.0.2", {"source_address": "127.0.0.2"}),
        ("--failover auth --failover transient", {"failover": ["auth", "transient"]}),
        ("--ignore-keywords dsn", {"ignore_keywords": ["DSN"]}),
        ("--connect-timeout 1.5s", {"connect_timeout": 1.5}),
        ("--command-timeout 1h5m", {"command_timeout": 3900}),
        ("--submission-timeout 3m", {"submission_timeout": 180}),
        ("--transaction-timeout 1h", {"transaction_timeout": 3600}),
        ("--transaction-timeout off", {"transaction_timeout": None}),
        ("--failed-endpoint-delay 0", {"failed_endpoint_delay": 0}),
        ("--idle-timeout 5s", {"idle_timeout": 5}),
        ("--max-connections 3", {"max_connections": 3}),
        ("--max-messages 7", {"max_messages": 7}),
        ("--tls-root-ca /a --tls-root-ca /b", {"tls_client": {"root_ca": ["/a", "/b"]}}),
        ("--tls-cert /a --tls-key /b", {"tls_client": {"cert": "/a", "key": "/b"}}),
        ("--tls-server-name mx.example", {"tls_client": {"server_name": "mx.example"}}),
        ("--no-tls-verify", {"tls_client": {"verify": False}}),
        (
            "--tls-protocols tls1.2 --tls-protocols tls1.3",
            {"tls_client": {"protocols": ["tls1.2", "tls1.3"]}},
        ),
        (
            "--tls-ciphers ECDHE-RSA-AES128-GCM-SHA256",
            {"tls_client": {"ciphers": ["ECDHE-RSA-AES128-GCM-SHA256"]}},
        ),
        ("--tls-curves p256", {"tls_client": {"curves": ["p256"]}}),
        ("--auth-mechanism off", {"auth": "off"}),
        ("--auth-mechanism forward", {"auth": "forward"}),
        ("--auth-mechanism external --insecure-auth", {"auth": "external", "insecure_auth": True}),
    ],
)
def test_every_option_is_a_setting_of_the_same_name(arguments: str, expected: dict[str, object]) -> None:
    assert settings(arguments) == TargetConfig.from_mapping({"targets": [HERE], **expected})


def test_every_setting_has_an_option() -> None:
    options = {parameter.name for parameter in program.commands["send"].params}
    assert options == {parameter.name for parameter in program.commands["check"].params} - {"expiry_days"} | {
        *("sender", "recipients", "file")
    }
    named = {"targets": "endpoints", "protocol": "lmtp", "auth": "auth_user", "tls_client": "tls_root_ca"}
    wanted = {named.get(setting.name, setting.name) for setting in fields(TargetConfig)} - {"limits"}
    wanted |= {f"tls_{option.name}" for option in fields(TlsClient)}
    assert wanted - options == set()


def test_no_option_takes_a_secret() -> None:
    options = {option for parameter in program.commands["send"].params for option in parameter.opts}
    assert {option for option in options if "password" in option or "token" in option} == {
        *("--password-file", "--password-env", "--token-file", "--token-env")
    }


@pytest.mark.parametrize(
    ("option", "words", "name"),
    [
        ("--failover", "auth transient", "failover"),
        ("--ignore-keywords", "DSN SIZE", "ignore_keywords"),
    ],
)
def test_words_may_stand_in_one_argument(option: str, words: str, name: str) -> None:
    assert settings("", option, words) == TargetConfig.from_mapping({"targets": [HERE], name: words.split()})


def test_a_duration_may_be_a_sum() -> None:
    assert settings("", "--command-timeout", "1h 5m").command_timeout == 3900


def test_a_path_may_hold_blanks() -> None:
    assert settings("", "--tls-root-ca", "/a b").tls_client.root_ca == ("/a b",)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (
            "--connect-timeout 30",
            "--connect-timeout: expected a duration such as 5m, above 0, got '30': 30 needs",
        ),
        ("--max-messages 0", "--max-messages: expected a whole number above 0, got '0'"),
        ("--tls-cert /a", "--tls-cert: cert and key are needed together, and key is missing"),
        ("--tls-protocols tls1.1", "--tls-protocols: tls1.1 is no longer safe"),
        ("--tls-curves p257", "--tls-curves: 'p257' is unknown; did you mean p"),
        ("--failover never", "--failover: 'never' is unknown; expected one of"),
        ("--source-address here", "--source-address: expected an IP address, got 'here'"),
        ("--auth-mechanism external", "--auth-mechanism: external has nothing to show to tcp://127.0.0.1:25"),
    ],
)
def test_a_wrong_option_is_said_by_its_name(arguments: str, error: str) -> None:
    with pytest.raises(click.UsageError) as caught:
        settings(arguments)
    assert caught.value.message.startswith(error)


# Secrets.


@pytest.mark.parametrize("mechanism", ["auto", "plain", "login", "scram"])
def test_a_password_comes_from_a_file_or_the_environment(
    mechanism: str, password_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", PASSWORD)
    expected = Auth.from_words([mechanism, "me", PASSWORD])
    for source in (f"--password-file {password_file}", "--password-env SECRET"):
        assert settings(f"--auth-user me --auth-mechanism {mechanism} {source}").auth == expected


def test_the_mechanism_is_chosen_by_the_server_unless_it_is_said(password_file: str) -> None:
    assert settings(f"--auth-user me --password-file {password_file}").auth == Auth.auto("me", PASSWORD)


@pytest.mark.parametrize("mechanism", ["xoauth2", "oauthbearer"])
def test_a_token_comes_from_a_file_or_the_environment(
    mechanism: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", TOKEN)
    (tmp_path / "token").write_text(TOKEN)
    expected = Auth.from_words([mechanism, "me", TOKEN])
    for source in (f"--token-file {tmp_path}/token", "--token-env SECRET"):
        assert settings(f"--auth-user me --auth-mechanism {mechanism} {source}").auth == expected


def test_forwarded_credentials_are_those_of_the_message(password_file: str) -> None:
    config, credentials = everything(
        f"--auth-mechanism forward --auth-user me --password-file {password_file}"
    )
    assert (config.auth, credentials) == (Auth.forward(), Credentials("me", PASSWORD))


@pytest.mark.parametrize(
    ("written", "password"),
    [("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), (" a b ", " a b "), ("ä\n", "ä"), ("a", "a")],
)
def test_one_line_end_is_no_part_of_a_password(written: str, password: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(written.encode())
    assert settings(f"--auth-user me --password-file {file}").auth == Auth.auto("me", password)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (
            "--auth-user me",
            "--auth-mechanism: the password is missing; give --password-file or --password-env",
        ),
        (
            "--auth-mechanism xoauth2",
            "--auth-mechanism: the token is missing; give --token-file or --token-env",
        ),
        ("--password-env SECRET", "--password-env: whose is it? give --auth-user NAME"),
        ("--auth-user me --password-env UNSET_HERE", "--password-env: the environment has no 'UNSET_HERE'"),
        ("--auth-user me --token-env SECRET", "--auth-mechanism: a token is for xoauth2 or for oauthbearer"),
        ("--auth-user me --auth-mechanism plain --token-env SECRET", "--token-env: plain takes a password"),
        (
            "--auth-user me --auth-mechanism xoauth2 --password-env SECRET",
            "--password-env: xoauth2 takes a token",
        ),
        ("--auth-user me --auth-mechanism off", "--auth-mechanism: off takes neither user nor secret"),
        (
            "--auth-user me --password-env SECRET --password-file x",
            "only one of --password-file and --password-env can be given",
        ),
        ("--auth-user me --password-env EMPTY", "--auth-mechanism: the password is empty"),
        (
            "--auth-user me --auth-mechanism forward --password-env EMPTY",
            "--auth-mechanism: the password is empty",
        ),
        ("--target x", "--target: there is no file to find it in; give --config FILE"),
    ],
)
def test_half_of_a_credential_is_refused(arguments: str, error: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", PASSWORD)
    monkeypatch.setenv("EMPTY", "")
    with pytest.raises(click.UsageError) as caught:
        settings(arguments)
    assert caught.value.message.startswith(error)
    assert PASSWORD not in caught.value.message


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (None, "no such file or directory"),
        (b"correct \xff horse", "it is not UTF-8"),
        (b"x" * 65537, "it is longer than 65536 octets"),
    ],
)
def test_a_file_that_holds_no_password_is_named_and_nothing_of_it_shown(
    octets: bytes | None, why: str, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    if octets is not None:
        file.write_bytes(octets)
    with pytest.raises(Failure) as caught:
        settings(f"--auth-user me --password-file {file}")
    assert (caught.value.code, str(caught.value)) == (Exit.NO_INPUT, f"cannot read '{file}': {why}")


def test_a_name_that_is_no_file_name_is_said_to_be_none() -> None:
    with pytest.raises(Failure, match="embedded null byte"):
        settings("--auth-user me", "--password-file", "a\0b")


# The file.


def test_the_file_says_what_the_options_do_not(config_file: str) -> None:
    outside = settings(f"--config {config_file} --target outside", endpoints=())
    assert outside.auth == Auth.plain("me", PASSWORD)
    assert (outside.require_tls, outside.command_timeout) == (True, 30)
    assert [str(endpoint) for endpoint in outside.targets] == ["tcp://mx.example:25"]
    store = settings(f"--config {config_file} --target store", endpoints=())
    assert store == TargetConfig(targets="unix:///run/lmtp", protocol="lmtp")


def test_options_override_the_file(config_file: str, password_file: str) -> None:
    config = settings(
        f"--config {config_file} --target outside --no-require-tls --command-timeout 1m -v "
        f"--tls-root-ca /other.pem --auth-user you --password-file {password_file}"
    )
    assert [str(endpoint) for endpoint in config.targets] == [HERE]
    assert (config.require_tls, config.command_timeout, config.debug) == (False, 60, True)
    assert (config.tls_client.root_ca, config.tls_client.server_name) == (("/other.pem",), "mx.example")
    assert config.auth == Auth.plain("you", PASSWORD)


def test_a_new_password_is_for_the_user_of_the_file(
    config_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "another")
    config = settings(f"--config {config_file} --target outside --password-env SECRET")
    assert config.auth == Auth.plain("me", "another")


def test_authentication_can_be_turned_off(config_file: str) -> None:
    assert not settings(f"--config {config_file} --target outside --auth-mechanism off").auth.is_on


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("target.smtp {\n targets tcp://mx.example:25\n require_tls maybe\n}", "line 3: "),
        ("target.smtp { targets {env:UNSET_HERE} }", "UNSET_HERE"),
        ("", "there is no target"),
    ],
)
def test_a_mistake_in_the_file_is_said_with_its_line(text: str, error: str, tmp_path: Path) -> None:
    file = tmp_path / "conf"
    file.write_text(text)
    with pytest.raises(Failure) as caught:
        settings(f"--config {file}")
    assert caught.value.code == Exit.CONFIG
    assert str(caught.value).startswith(str(file))
    assert error in str(caught.value)


def test_a_target_that_is_not_in_the_file_is_said_with_those_that_are(config_file: str) -> None:
    with pytest.raises(Failure, match="no target named 'outsid'; did you mean outside"):
        settings(f"--config {config_file} --target outsid")
    with pytest.raises(Failure, match="choose one by name: outside store"):
        settings(f"--config {config_file}")


def test_a_file_that_cannot_be_read_is_named() -> None:
    with pytest.raises(Failure, match="cannot read '/nowhere/conf': no such file"):
        settings("--config /nowhere/conf")


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
        "CONFIG": os.EX_CONFIG,
        "INTERRUPTED": 130,
    }
