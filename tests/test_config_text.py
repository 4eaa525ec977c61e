"""Settings as text: what loads as it stands, which target is meant, and that printing loses nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpstate._auth import Auth
from smtpstate._commands import Protocol
from smtpstate._config import TargetConfig
from smtpstate._errors import ConfigError
from smtpstate._limits import Limits
from smtpstate._mechanisms import Exchange
from smtpstate._tls import TlsClient
from strategies import endpoint_texts

SHORT = (
    "deliver_to smtp tcp://127.0.0.1:5353          # or: target.smtp [name] { targets ... }, target.lmtp\n"
)
LONG = """\
deliver_to smtp tcp://127.0.0.1:5353 {
    debug no
    tls_client {
        protocols tls1.2 tls1.3
        root_ca /etc/ssl/ca.pem
    }
    attempt_starttls yes
    require_tls no
    auth off
    targets tcp://127.0.0.1:2525
    connect_timeout 5m
    command_timeout 5m
    submission_timeout 12m
}
"""
SEVERAL = """\
hostname client.example
target.smtp out {
    targets tcp://mx1.example:25 tls://mx2.example:465
    auth plain me {env:PASSWORD}
}
target.lmtp in { targets unix:///run/lmtp }
"""
ENV = {"PASSWORD": 'a "b"'}


def refusal(text: str, name: str | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        TargetConfig.parse(text, name=name, filename="relay.conf", env=ENV)
    assert str(caught.value).isprintable()
    return str(caught.value)


# Reading.


def test_the_shortest_text_is_one_line() -> None:
    assert TargetConfig.parse(SHORT) == TargetConfig(targets="tcp://127.0.0.1:5353")


def test_a_long_text_says_what_it_says() -> None:
    assert TargetConfig.parse(LONG) == TargetConfig(
        targets=["tcp://127.0.0.1:5353", "tcp://127.0.0.1:2525"],
        tls_client=TlsClient(protocols=("tls1.2", "tls1.3"), root_ca=("/etc/ssl/ca.pem",)),
    )


def test_a_text_may_hold_several_targets_with_names() -> None:
    targets = TargetConfig.parse_all(SEVERAL, env=ENV)
    assert targets == {
        "out": TargetConfig(
            targets=["tcp://mx1.example:25", "tls://mx2.example:465"],
            auth=["plain", "me", 'a "b"'],
            hostname="client.example",
        ),
        "in": TargetConfig(targets="unix:///run/lmtp", protocol="lmtp", hostname="client.example"),
    }
    for name, config in targets.items():
        assert TargetConfig.parse(SEVERAL, name=name, env=ENV) == config


def test_without_a_name_the_unnamed_target_is_meant_or_the_only_one() -> None:
    assert TargetConfig.parse("target.smtp a tcp://a.example:25").endpoints[0].host == "a.example"
    both = "target.smtp a tcp://a.example:25\ntarget.smtp tcp://b.example:25"
    assert TargetConfig.parse(both).endpoints[0].host == "b.example"
    assert TargetConfig.parse(both, name="").endpoints[0].host == "b.example"
    assert TargetConfig.parse(both, name="a").endpoints[0].host == "a.example"
    assert list(TargetConfig.parse_all(both)) == ["a", ""]


@pytest.mark.parametrize("name", [None, ""])
def test_one_of_several_targets_is_chosen_by_name(name: str | None) -> None:
    assert refusal(SEVERAL, name) == "relay.conf: there are several targets; choose one by name: out in"


def test_a_target_that_is_not_there_is_refused_with_the_nearest() -> None:
    assert refusal(SEVERAL, "outt") == "relay.conf: there is no target named 'outt'; did you mean out?"
    assert refusal(SHORT, "out") == "relay.conf: there is no target named 'out'; there is one without a name"


def test_a_mistake_in_any_target_is_found() -> None:
    assert refusal(SEVERAL + "target.smtp { debug maybe }", "in") == (
        "relay.conf: line 7: debug: expected yes or no, got 'maybe'"
    )


def test_what_does_not_fit_together_is_told_with_its_line() -> None:
    assert refusal("target.lmtp {\n targets unix:///run/lmtp\n\n require_tls\n}").startswith(
        "relay.conf: line 4: require_tls: unix:///run/lmtp has no name to verify"
    )
    assert refusal("\ntarget.smtp {\n debug\n}") == (
        "relay.conf: line 2: target.smtp: targets: expected at least one endpoint such as tcp://mx.example:25"
    )


def test_a_text_is_a_text_and_has_no_environment_unless_it_is_given_one() -> None:
    octets: Any = LONG.encode()
    with pytest.raises(ConfigError, match="^<text>: expected text, got bytes$"):
        TargetConfig.parse(octets)
    with pytest.raises(ConfigError, match="^<text>: line 1: hostname: the environment has no PATH; "):
        TargetConfig.parse("hostname {env:PATH}\n" + SHORT)


# Printing.

_users = st.text(st.characters(min_codepoint=0x20, exclude_categories=["Cc", "Cs"]), min_size=1)
_passwords = st.text(
    st.sampled_from('{}env:-\\" #\r\nHOSTab') | st.characters(min_codepoint=1, exclude_categories=["Cs"]),
    min_size=1,
)
_tokens = st.from_regex(r"[A-Za-z0-9._~+/-]{1,20}={0,2}", fullmatch=True)
_auths = (
    st.sampled_from([Auth.off(), Auth.forward(), Auth.external()])
    | st.builds(Auth.plain, _users, _passwords)
    | st.builds(Auth.login, _users, _passwords)
    | st.builds(Auth.scram, _users, _passwords)
    | st.builds(Auth.auto, _users, _passwords)
    | st.builds(Auth.xoauth2, _users, _tokens)
    | st.builds(Auth.oauthbearer, _users, _tokens)
)
_paths = st.text(st.characters(min_codepoint=0x20, exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20)
_pairs = st.none() | st.tuples(_paths, _paths)
_ciphers = st.sampled_from(
    ["ECDHE-RSA-AES128-GCM-SHA256", "TLS_RSA_WITH_AES_128_CBC_SHA", "RSA-WITH-AES256-CCM8"]
)


def _tls(pair: tuple[str, str] | None, **options: Any) -> TlsClient:
    cert, key = pair or (None, None)
    return TlsClient(cert=cert, key=key, **options)


_tls_clients = st.builds(
    _tls,
    _pairs,
    protocols=st.sampled_from([(), ("tls1.2",), ("tls1.3",), ("tls1.2", "tls1.3")]),
    ciphers=st.lists(_ciphers, max_size=3).map(tuple),
    curves=st.sampled_from([(), ("p256",), ("X25519", "p384")]),
    root_ca=st.lists(_paths, max_size=2).map(tuple),
    server_name=st.sampled_from(["mx.example", "192.0.2.1"]),
    verify=st.booleans(),
)
_times = st.floats(1e-9, 1e9, exclude_max=True)
_configs = st.builds(
    TargetConfig,
    targets=st.lists(endpoint_texts, min_size=1, max_size=3),
    protocol=st.sampled_from(Protocol),
    debug=st.booleans(),
    attempt_starttls=st.none() | st.booleans(),
    require_tls=st.booleans(),
    auth=_auths,
    tls_client=_tls_clients,
    connect_timeout=_times,
    command_timeout=_times,
    submission_timeout=_times,
    hostname=st.sampled_from([None, "client.example", "[192.0.2.1]", "[IPv6:::1]"]),
    insecure_auth=st.just(True),  # so that everything else fits together
    failover=st.sets(st.sampled_from(["connect", "auth", "transient"])),
    failed_endpoint_delay=st.just(0.0) | _times,
    max_connections=st.integers(1, 10**9 - 1),
    max_messages=st.integers(1, 10**9 - 1),
    idle_timeout=_times,
    transaction_timeout=st.none() | _times,
    pipelining=st.booleans(),
    chunking=st.booleans(),
    ignore_keywords=st.sets(st.sampled_from(["SIZE", "X-OWN", "8BITMIME"])),
    source_address=st.sampled_from([None, "192.0.2.1", "fe80::1%eth0"]),
)


@given(_configs)
def test_any_settings_that_are_printed_are_read_as_equal(config: TargetConfig) -> None:
    assert TargetConfig.parse(config.to_text()) == config
    assert TargetConfig.parse_all(config.to_text("out")) == {"out": config}


@given(_passwords)
def test_any_password_survives_being_printed(password: str) -> None:
    config = TargetConfig(targets="tcp://mx.example:25", auth=["plain", "me", password])
    assert TargetConfig.parse(config.to_text(), env={"HOST": "other"}).auth.password == password


def test_printing_says_every_setting() -> None:
    assert TargetConfig.parse(LONG).to_text() == (
        "target.smtp {\n"
        "    targets tcp://127.0.0.1:5353 tcp://127.0.0.1:2525\n"
        "    debug no\n"
        "    attempt_starttls yes\n"
        "    require_tls no\n"
        "    auth off\n"
        "    tls_client {\n"
        "        protocols tls1.2 tls1.3\n"
        "        root_ca /etc/ssl/ca.pem\n"
        "        verify yes\n"
        "    }\n"
        "    connect_timeout 5m\n"
        "    command_timeout 5m\n"
        "    submission_timeout 12m\n"
        "    insecure_auth no\n"
        "    failover connect\n"
        "    failed_endpoint_delay 10s\n"
        "    max_connections 10\n"
        "    max_messages 100\n"
        "    idle_timeout 30s\n"
        "    pipelining yes\n"
        "    chunking yes\n"
        "}\n"
    )


def _mechanism() -> Exchange:
    yield b""


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"limits": Limits(window=1)}, "limits: they cannot be written as text"),
        ({"auth": Auth.xoauth2("me", lambda: "token")}, "auth: a callable cannot be written as text"),
        ({"auth": Auth.own("X", _mechanism)}, "auth: a callable cannot be written as text"),
    ],
)
def test_what_no_text_can_say_is_not_printed(settings: dict[str, Any], why: str) -> None:
    config = TargetConfig(targets="tcp://mx.example:25", **settings)
    with pytest.raises(ConfigError) as caught:
        config.to_text()
    assert str(caught.value) == why
