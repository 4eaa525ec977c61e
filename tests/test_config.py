"""The settings of a target: what is taken, what is not, and what is said about it."""

from __future__ import annotations

import sys
from dataclasses import FrozenInstanceError
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpstate._commands import Protocol
from smtpstate._config import TargetConfig, Timeouts
from smtpstate._endpoints import Endpoint
from smtpstate._errors import ConfigError
from smtpstate._limits import Limits
from strategies import endpoint_texts, hostile_text

MX = "tcp://mx.example:25"


def refusal(**settings: Any) -> str:
    """Return why these settings are refused."""
    all_settings: dict[str, Any] = {"targets": [MX]}
    with pytest.raises(ConfigError) as caught:
        TargetConfig(**(all_settings | settings))
    assert str(caught.value).isprintable()
    return str(caught.value)


# Targets.


def test_targets_keep_the_order_in_which_they_are_to_be_tried() -> None:
    config = TargetConfig(targets=[MX, "tls://mx2.example:465", "unix:///run/lmtp"])
    assert config.endpoints == (
        Endpoint("tcp", "mx.example", 25),
        Endpoint("tls", "mx2.example", 465),
        Endpoint("unix", path="/run/lmtp"),
    )


@pytest.mark.parametrize(
    "targets",
    [MX, [MX], (MX,), iter([MX]), Endpoint.parse(MX), [Endpoint.parse(MX)]],
    ids=["a text", "a list", "a tuple", "an iterator", "an endpoint", "a list of endpoints"],
)
def test_targets_are_endpoints_or_their_texts_one_or_several(targets: Any) -> None:
    assert TargetConfig(targets=targets).endpoints == (Endpoint("tcp", "mx.example", 25),)


@given(st.lists(endpoint_texts, min_size=1))
def test_every_endpoint_can_be_a_target(texts: list[str]) -> None:
    assert [str(endpoint) for endpoint in TargetConfig(targets=texts).endpoints] == texts


def test_a_target_is_required() -> None:
    assert refusal(targets=[]) == "targets: expected at least one endpoint such as tcp://mx.example:25"


def test_a_bad_target_is_named_with_the_reason() -> None:
    assert refusal(targets=[MX, "mx.example"]) == (
        "targets: not an endpoint: 'mx.example': "
        "an endpoint is tcp://HOST:PORT, tls://HOST:PORT or unix://PATH"
    )


@pytest.mark.parametrize("target", [None, 25, b"tcp://mx.example:25", ("mx.example", 25)], ids=repr)
def test_a_target_that_is_no_text_is_refused(target: Any) -> None:
    assert refusal(targets=[target]) == f"targets: expected an endpoint, got {type(target).__name__}"


# The protocol.


@pytest.mark.parametrize(
    ("given_as", "protocol"),
    [
        ("smtp", Protocol.SMTP),
        ("lmtp", Protocol.LMTP),
        (Protocol.SMTP, Protocol.SMTP),
        (Protocol.LMTP, Protocol.LMTP),
    ],
)
def test_the_protocol_is_smtp_or_lmtp(given_as: str | Protocol, protocol: Protocol) -> None:
    config = TargetConfig(targets=MX, protocol=given_as)
    assert config.speaks is config.protocol is protocol


def test_the_protocol_is_smtp_by_default() -> None:
    assert TargetConfig(targets=MX).speaks is Protocol.SMTP


@pytest.mark.parametrize("protocol", ["esmtp", "SMTP", "", "smtp\n", None, 5])
def test_any_other_protocol_is_refused(protocol: Any) -> None:
    assert refusal(protocol=protocol) == f"protocol: expected smtp or lmtp, got {str(protocol)!r}"


# Time-outs.

TIMEOUTS = ["connect_timeout", "command_timeout", "submission_timeout", "transaction_timeout"]


def test_the_timeouts_are_5_5_and_12_minutes_and_off_by_default() -> None:
    timeouts = TargetConfig(targets=MX).timeouts
    assert timeouts == Timeouts()
    assert (timeouts.connect, timeouts.command, timeouts.submission) == (300, 300, 720)
    assert timeouts.transaction is None


def test_each_timeout_is_a_setting_of_its_own() -> None:
    settings: dict[str, Any] = {name: number for number, name in enumerate(TIMEOUTS, 1)}
    timeouts = TargetConfig(targets=MX, **settings).timeouts
    assert timeouts == Timeouts(connect=1, command=2, submission=3, transaction=4)


@pytest.mark.parametrize("name", TIMEOUTS)
@pytest.mark.parametrize("value", [0.001, 1, 86400, 999_999_999.0])
def test_a_timeout_is_a_number_of_seconds(name: str, value: float) -> None:
    settings: dict[str, Any] = {name: value}
    assert getattr(TargetConfig(targets=MX, **settings), name) == value


@pytest.mark.parametrize("name", TIMEOUTS)
@pytest.mark.parametrize(
    "value",
    [0, 0.0, -0.0, -1, 1e9, float("inf"), float("nan"), True, "5", "0s", "-5m", "5x", b"5", Decimal(5), [5]],
    ids=repr,
)
def test_a_timeout_of_0_or_no_number_is_refused(name: str, value: Any) -> None:
    expected = f"{name}: expected a duration such as 5m, or a number of seconds, above 0"
    assert refusal(**{name: value}).startswith(expected)


@pytest.mark.parametrize("name", TIMEOUTS)
def test_a_timeout_may_be_a_text_of_the_language(name: str) -> None:
    settings: dict[str, Any] = {name: "1h 5m"}
    assert getattr(TargetConfig(targets=MX, **settings), name) == 3900


def test_only_the_transaction_timeout_can_be_off() -> None:
    assert TargetConfig(targets=MX, transaction_timeout=None).timeouts.transaction is None
    for name in TIMEOUTS[:3]:
        assert refusal(**{name: None}).endswith("above 0, got None")


# Names and addresses.


@pytest.mark.parametrize(
    ("hostname", "name"),
    [
        ("client.example", "client.example"),
        ("localhost", "localhost"),
        ("a_b.example", "a_b.example"),
        ("münchen.example", "xn--mnchen-3ya.example"),
        ("[192.0.2.1]", "[192.0.2.1]"),
        ("[IPv6:2001:db8::1]", "[IPv6:2001:db8::1]"),
        ("a" * 255, "a" * 255),
    ],
)
def test_the_hostname_is_a_name_converted_to_a_labels_or_an_address_literal(hostname: str, name: str) -> None:
    assert TargetConfig(targets=MX, hostname=hostname).hostname == name


@pytest.mark.parametrize(
    "hostname",
    [
        "",
        " ",
        "a b",
        "client.example\r\n",
        "client.example\n",
        "a\0",
        "-a",
        "a-",
        ".a",
        "a.",
        "<a>",
        "[]",
        "[a",
        "[a]b",
        "[a b]",
        "[[a]]",
        "[a\n]",
        "[192.0.2.300]",
        "[2001:db8::1]",
        "[IPv6:fe80::1%eth0]",
        "[mx.example]",
        "a" * 256,
    ],
    ids=ascii,
)
def test_any_other_hostname_is_refused(hostname: str) -> None:
    assert refusal(hostname=hostname).startswith(
        "hostname: expected a name or an address literal such as [192.0.2.1], got '"
    )


def test_a_hostname_that_cannot_be_converted_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(hostname="é..example").startswith("hostname: not a domain: 'é..example': ")
    monkeypatch.setitem(sys.modules, "idna", None)
    assert refusal(hostname="é.example").endswith("install smtpstate[idna]")


@pytest.mark.parametrize("address", ["192.0.2.1", "::1", "fe80::1%eth0"])
def test_the_source_address_is_an_ip_address(address: str) -> None:
    assert TargetConfig(targets=MX, source_address=address).source_address == address


@pytest.mark.parametrize(
    "address",
    ["", "mx.example", "[::1]", "192.0.2.1:25", "192.0.2", "192.0.2.1\n", "１.1.1.1", 5, b"\1\1\1\1", True],
)
def test_any_other_source_address_is_refused(address: Any) -> None:
    assert refusal(source_address=address).startswith("source_address: expected an IP address, got ")


@given(hostile_text)
def test_whatever_text_a_setting_has_it_is_taken_or_a_config_error(text: str) -> None:
    for name in ("targets", "protocol", "hostname", "source_address", "connect_timeout"):
        settings: dict[str, Any] = {"targets": MX} | {name: text}
        try:
            TargetConfig(**settings)
        except ConfigError as error:
            assert str(error).isprintable()


# Settings that must fit each other.


def test_starttls_is_tried_by_default_for_smtp_and_not_for_lmtp() -> None:
    assert TargetConfig(targets=MX).attempt_starttls is True
    assert TargetConfig(targets=MX, protocol="lmtp").attempt_starttls is False
    for protocol in ("smtp", "lmtp"):
        assert TargetConfig(targets=MX, protocol=protocol, attempt_starttls=True).attempt_starttls is True
        assert TargetConfig(targets=MX, protocol=protocol, attempt_starttls=False).attempt_starttls is False


def test_tls_required_on_a_unix_socket_needs_a_name_to_verify() -> None:
    unix = "unix:///run/lmtp"
    assert refusal(targets=[MX, unix], require_tls=True) == (
        "require_tls: unix:///run/lmtp has no name to verify; "
        "give tls_client a server_name, or set require_tls no"
    )
    named = TargetConfig(targets=unix, require_tls=True, tls_client={"server_name": "mx.example"})
    assert named.tls_client.server_name == "mx.example"


def test_external_needs_something_to_show() -> None:
    assert refusal(auth="external").startswith("auth: external has nothing to show to tcp://mx.example:25; ")
    pair = {"cert": "client.pem", "key": "client.key"}
    assert TargetConfig(targets=MX, auth="external", tls_client=pair).auth.kind == "external"
    assert TargetConfig(targets=MX, auth="external", insecure_auth=True).insecure_auth is True
    assert TargetConfig(targets="unix:///run/lmtp", auth="external").auth.kind == "external"


def test_limits_are_limits() -> None:
    limits = Limits(reply_lines=5)
    assert TargetConfig(targets=MX, limits=limits).limits is limits
    assert refusal(limits={"reply_lines": 5}) == "limits: expected Limits(...), got dict"


# The whole.


def test_an_unknown_setting_is_refused_with_the_nearest_one() -> None:
    assert refusal(require_tsl=True) == "require_tsl: unknown here; did you mean require_tls?"


def test_settings_cannot_be_changed() -> None:
    config: Any = TargetConfig(targets=MX)
    with pytest.raises(FrozenInstanceError):
        config.hostname = "other.example"


def test_equal_settings_are_equal_however_they_are_given() -> None:
    made = TargetConfig(targets=MX, require_tls=True, connect_timeout=60)
    assert made == TargetConfig(
        targets=[Endpoint.parse(MX)], protocol="smtp", require_tls="yes", connect_timeout="1m"
    )
    assert made == TargetConfig.from_mapping({"targets": [MX], "require_tls": True, "connect_timeout": "1m"})
    assert made == TargetConfig.parse(f"deliver_to smtp {MX} {{\n require_tls\n connect_timeout 1m\n}}")


TWO = """
target.smtp one { targets tcp://a.example:25 }
target.lmtp two { targets unix:///run/lmtp }
"""


def test_a_text_may_hold_several_named_targets() -> None:
    targets = TargetConfig.parse_all(TWO)
    assert {name: target.speaks for name, target in targets.items()} == {
        "one": Protocol.SMTP,
        "two": Protocol.LMTP,
    }
    assert TargetConfig.parse(TWO, name="two") == targets["two"]


def test_one_of_several_targets_is_chosen_by_its_name() -> None:
    with pytest.raises(ConfigError, match=r"^x: there are several targets; choose one by name: one two$"):
        TargetConfig.parse(TWO, filename="x")
    with pytest.raises(ConfigError, match=r"^<text>: there is no target named 'on'; did you mean one\?$"):
        TargetConfig.parse(TWO, name="on")
    unnamed = TargetConfig.parse(TWO + f"deliver_to smtp {MX}")
    assert unnamed == TargetConfig(targets=MX)


def test_a_mistake_in_a_text_says_where_it_is() -> None:
    text = f"deliver_to smtp {MX} {{\n    require_tls maybe\n}}"
    with pytest.raises(ConfigError) as caught:
        TargetConfig.parse(text, filename="mail.conf")
    said = str(caught.value)
    assert said.startswith("mail.conf")
    assert "line 2: require_tls: expected yes or no, got 'maybe'" in said


def test_settings_of_a_text_that_do_not_fit_each_other_are_said_with_their_line() -> None:
    with pytest.raises(ConfigError, match=r"line 2: require_tls: unix:///run/lmtp has no name to verify"):
        TargetConfig.parse("deliver_to lmtp unix:///run/lmtp {\n require_tls\n}")


def test_a_text_takes_words_from_the_environment_that_it_is_given() -> None:
    text = "deliver_to smtp tcp://{env:MX}:25"
    assert TargetConfig.parse(text, env={"MX": "mx.example"}) == TargetConfig(targets=MX)


def test_what_is_printed_is_read_back() -> None:
    config = TargetConfig(targets=MX, protocol="lmtp", hostname="a.example", ignore_keywords=["DSN"])
    assert TargetConfig.parse(config.to_text()) == config
    assert TargetConfig.parse_all(config.to_text("name")) == {"name": config}


def test_limits_cannot_be_printed() -> None:
    with pytest.raises(ConfigError, match=r"^limits: they cannot be written as text$"):
        TargetConfig(targets=MX, limits=Limits(chunks=1)).to_text()
