"""The settings of a target as a whole: keywords, mappings, what must fit together, and what is never shown."""

from __future__ import annotations

import json
import pickle
import tomllib
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpstate._auth import Auth
from smtpstate._commands import Protocol
from smtpstate._config import TargetConfig, TargetSettings
from smtpstate._directives import DIRECTIVES
from smtpstate._endpoints import Endpoint
from smtpstate._errors import ConfigError
from smtpstate._limits import Limits
from smtpstate._tls import TlsClient
from strategies import hostile_text

MX = "tcp://mx.example:25"
SECRET = "Tr0ub4dor.3"


def plainly(value: object) -> str:
    """Name a parameter, the same in each process that collects the tests."""
    return "an object" if type(value) is object else ascii(value)


def refusal(**settings: Any) -> str:
    """Return why these settings are refused, as keywords and as a mapping alike."""
    together: dict[str, Any] = {"targets": [MX]} | settings
    with pytest.raises(ConfigError) as caught:
        TargetConfig(**together)
    with pytest.raises(ConfigError) as mapped:
        TargetConfig.from_mapping(together)
    assert str(caught.value) == str(mapped.value)
    assert str(caught.value).isprintable()
    assert SECRET not in repr(caught.value)
    return str(caught.value)


# Names and defaults.


def test_every_directive_is_a_keyword_of_the_same_name() -> None:
    names = [setting.name for setting in fields(TargetConfig)]
    assert set(names) == {*DIRECTIVES, "protocol", "limits"}
    assert set(TargetSettings.__annotations__) == set(names)


def test_the_defaults_are_those_of_the_manual() -> None:
    config = TargetConfig(targets=MX)
    assert config == TargetConfig(
        targets=[Endpoint("tcp", "mx.example", 25)],
        protocol=Protocol.SMTP,
        debug=False,
        attempt_starttls=True,
        require_tls=False,
        auth=Auth.off(),
        tls_client=TlsClient(),
        connect_timeout="5m",
        command_timeout="5m",
        submission_timeout="12m",
        hostname=None,
        insecure_auth=False,
        failover=["connect"],
        failed_endpoint_delay="10s",
        max_connections=10,
        max_messages=100,
        idle_timeout="30s",
        transaction_timeout=None,
        pipelining=True,
        chunking=True,
        ignore_keywords=[],
        source_address=None,
        limits=Limits(),
    )


def test_each_setting_is_kept_under_its_name() -> None:
    given_settings: dict[str, Any] = {
        "targets": (Endpoint("tls", "mx.example", 465),),
        "protocol": Protocol.LMTP,
        "debug": True,
        "attempt_starttls": True,
        "require_tls": True,
        "auth": Auth.plain("me", SECRET),
        "tls_client": TlsClient(verify=False),
        "connect_timeout": 1.0,
        "command_timeout": 2.0,
        "submission_timeout": 3.0,
        "hostname": "client.example",
        "insecure_auth": True,
        "failover": frozenset({"connect", "auth", "transient"}),
        "failed_endpoint_delay": 0.0,
        "max_connections": 4,
        "max_messages": 5,
        "idle_timeout": 6.0,
        "transaction_timeout": 7.0,
        "pipelining": False,
        "chunking": False,
        "ignore_keywords": frozenset({"SIZE"}),
        "source_address": "192.0.2.1",
        "limits": Limits(window=8),
    }
    config = TargetConfig(**given_settings)
    assert {setting.name: getattr(config, setting.name) for setting in fields(config)} == given_settings


@pytest.mark.parametrize(("protocol", "tried"), [("smtp", True), ("lmtp", False)])
def test_starttls_is_attempted_by_default_but_not_by_lmtp(protocol: str, tried: bool) -> None:
    assert TargetConfig(targets=MX, protocol=protocol).attempt_starttls is tried
    assert TargetConfig(targets=MX, protocol=protocol, attempt_starttls=None).attempt_starttls is tried
    assert (
        TargetConfig(targets=MX, protocol=protocol, attempt_starttls=not tried).attempt_starttls is not tried
    )


def test_words_of_the_language_are_taken_as_keywords_too() -> None:
    config = TargetConfig(
        targets=MX,
        debug="on",
        auth=["scram", "me", SECRET],
        tls_client={"curves": ["p256"], "verify": "off"},
        failover={"auth"},
        ignore_keywords="chunking",
        max_messages="7",
        transaction_timeout="off",
    )
    assert config.debug is True
    assert config.auth == Auth.scram("me", SECRET)
    assert config.tls_client == TlsClient(curves=("p256",), verify=False)
    assert config.failover == {"connect", "auth"}
    assert config.ignore_keywords == {"CHUNKING"}
    assert config.max_messages == 7
    assert config.transaction_timeout is None


# Mappings.

TOML = """
[target]
targets = ["tcp://mx1.example:25", "tls://mx2.example:465"]
protocol = "smtp"
require_tls = true
auth = ["plain", "me", "Tr0ub4dor.3"]
connect_timeout = "1h 5m"
command_timeout = 10
idle_timeout = 0.5
failed_endpoint_delay = 0
failover = ["auth"]
tls_client = { protocols = "tls1.2", server_name = "mx.example" }
"""


def test_settings_may_come_from_toml_and_json() -> None:
    mapping = tomllib.loads(TOML)["target"]
    assert TargetConfig.from_mapping(mapping) == TargetConfig(
        targets=["tcp://mx1.example:25", "tls://mx2.example:465"],
        require_tls=True,
        auth=Auth.plain("me", SECRET),
        connect_timeout=3900,
        command_timeout=10,
        idle_timeout=0.5,
        failed_endpoint_delay=0,
        failover=["auth"],
        tls_client=TlsClient(protocols=("tls1.2",), server_name="mx.example"),
    )
    assert TargetConfig.from_mapping(json.loads(json.dumps(mapping))) == TargetConfig.from_mapping(mapping)


def test_what_yaml_makes_of_off_and_of_nothing_is_understood() -> None:
    mapping = {
        "targets": MX,
        "auth": False,
        "transaction_timeout": False,
        "hostname": None,
        "source_address": None,
    }
    assert TargetConfig.from_mapping(mapping) == TargetConfig(targets=MX)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("require-tls", "require_tls"),
        ("requireTLS", "require_tls"),
        ("REQUIRE_TLS", "require_tls"),
        ("target", "targets"),
        ("conect_timeout", "connect_timeout"),
        ("max-messages", "max_messages"),
        ("tlsclient", "tls_client"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(name: str, nearest: str) -> None:
    assert refusal(**{name: SECRET}) == f"{name}: unknown here; did you mean {nearest}?"


@pytest.mark.parametrize("mapping", [None, "targets tcp://mx.example:25", [("targets", MX)], {5: MX}])
def test_what_is_no_mapping_of_names_is_refused(mapping: Any) -> None:
    with pytest.raises(ConfigError, match="^settings: expected "):
        TargetConfig.from_mapping(mapping)


def test_targets_are_required() -> None:
    mapping: Mapping[str, object] = {}
    with pytest.raises(ConfigError, match="^targets: expected at least one endpoint such as "):
        TargetConfig.from_mapping(mapping)


# What is refused.


@pytest.mark.parametrize("setting", [name for name in DIRECTIVES if name != "targets"])
@pytest.mark.parametrize(
    "value", [object(), b"\xff", 1j, [[]], {"a": b"b"}, -1, float("nan"), "\0", "\ud800"], ids=plainly
)
def test_a_value_of_the_wrong_type_is_a_config_error_that_names_the_setting(setting: str, value: Any) -> None:
    assert refusal(**{setting: value}).startswith(f"{setting}: ")


@pytest.mark.parametrize("value", [None, 5, {"window": 5}, Limits])
def test_limits_are_limits(value: Any) -> None:
    assert refusal(limits=value).startswith("limits: expected Limits(...), got ")


@pytest.mark.parametrize("value", [None, "SMTP", 5, [], object()], ids=plainly)
def test_a_protocol_is_smtp_or_lmtp(value: Any) -> None:
    assert refusal(protocol=value).startswith("protocol: expected smtp or lmtp, got ")


@given(st.sampled_from(list(DIRECTIVES)), hostile_text | st.lists(hostile_text, max_size=3))
def test_whatever_a_setting_holds_it_is_taken_or_a_config_error(name: str, value: object) -> None:
    try:
        TargetConfig.from_mapping({"targets": MX} | {name: value})
    except ConfigError as error:
        assert str(error).isprintable()


# What must fit together.

SOCKET = "unix:///run/lmtp"


def test_a_unix_socket_has_no_name_that_required_tls_could_verify() -> None:
    assert refusal(targets=[MX, SOCKET], require_tls=True) == (
        f"require_tls: {SOCKET} has no name to verify; give tls_client a server_name, or set require_tls no"
    )
    for tls in ({"server_name": "mx.example"}, {"server_name": "mx.example", "verify": False}):
        assert TargetConfig(targets=[SOCKET], require_tls=True, tls_client=tls).require_tls
    assert TargetConfig(targets=[SOCKET]).endpoints[0].is_unix
    assert refusal(targets=[SOCKET], require_tls=True, tls_client={"verify": False}).startswith(
        "require_tls: "
    )


def test_external_needs_a_certificate_or_a_unix_socket_or_leave() -> None:
    for endpoint in (MX, "tls://mx.example:465"):
        assert refusal(targets=[SOCKET, endpoint], auth="external") == (
            f"auth: external has nothing to show to {endpoint}; give tls_client a cert and key, "
            "use unix sockets, or set insecure_auth"
        )
    pair = {"cert": "/c", "key": "/k"}
    for fitting in ({"tls_client": pair}, {"insecure_auth": True}, {"targets": [SOCKET]}):
        settings: dict[str, Any] = {"targets": [MX, SOCKET], "auth": "external"} | fitting
        assert TargetConfig(**settings).auth == Auth.external()


# The whole.


def test_nothing_shows_a_secret_but_printing() -> None:
    config = TargetConfig(targets=MX, auth=["plain", "me", SECRET])
    shown = f"{config!r} {config} {[config]}"
    assert SECRET not in shown
    assert "auth=Auth.plain('me', ****)" in shown
    assert SECRET in config.to_text()


def test_settings_can_be_replaced_hashed_and_sent_to_other_processes() -> None:
    config = TargetConfig(targets=MX, auth=["plain", "me", SECRET], ignore_keywords=["SIZE"])
    assert replace(config, debug=True) == TargetConfig(
        targets=MX, auth=["plain", "me", SECRET], ignore_keywords=["SIZE"], debug=True
    )
    assert pickle.loads(pickle.dumps(config)) == config
    assert len({config, replace(config)}) == 1
    with pytest.raises(ConfigError, match="^max_messages: "):
        replace(config, max_messages=0)
