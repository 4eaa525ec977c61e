"""The values that directives take, where they are more than numbers, booleans and durations."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

import pytest

from smtpstate._checks import WrongSetting
from smtpstate._directives import (
    DIRECTIVES,
    TLS_OPTIONS,
    attempt_starttls,
    endpoints,
    failover,
    hostname,
    ignore_keywords,
    source_address,
)
from smtpstate._endpoints import Endpoint

MX = Endpoint("tcp", "mx.example", 25)


def refusal(check: Callable[[str, object], object], value: object) -> str:
    with pytest.raises(WrongSetting) as caught:
        check("it", value)
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_each_directive_of_the_language_is_in_the_table() -> None:
    assert list(DIRECTIVES) == [
        "targets",
        "debug",
        "attempt_starttls",
        "require_tls",
        "auth",
        "tls_client",
        "connect_timeout",
        "command_timeout",
        "submission_timeout",
        "hostname",
        "insecure_auth",
        "failover",
        "failed_endpoint_delay",
        "max_connections",
        "max_messages",
        "idle_timeout",
        "transaction_timeout",
        "pipelining",
        "chunking",
        "ignore_keywords",
        "source_address",
    ]
    assert list(TLS_OPTIONS) == [
        "protocols",
        "ciphers",
        "curves",
        "root_ca",
        "cert",
        "key",
        "server_name",
        "verify",
    ]


@pytest.mark.parametrize("value", [MX, str(MX), [MX], (str(MX),), iter([MX]), {str(MX)}])
def test_endpoints_are_endpoints_or_texts_one_or_several(value: object) -> None:
    assert endpoints("it", value) == (MX,)


def test_endpoints_keep_their_order_and_those_given_twice() -> None:
    texts = ["tcp://b.example:25", "tcp://a.example:25", "tcp://b.example:25"]
    assert [str(endpoint) for endpoint in endpoints("it", texts)] == texts


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ([], "expected at least one endpoint such as tcp://mx.example:25"),
        (None, "expected endpoints such as tcp://mx.example:25, got None"),
        (25, "expected endpoints such as tcp://mx.example:25, got 25"),
        ([25], "expected an endpoint, got int"),
        (b"tcp://mx.example:25", "expected an endpoint, got int"),
        (
            "tcp://mx.example",
            "not an endpoint: 'tcp://mx.example': a port is required, as in tcp://mx.example:25",
        ),
    ],
)
def test_what_is_no_endpoint_is_refused_with_the_reason(value: object, why: str) -> None:
    assert refusal(endpoints, value) == f"it: {why}"


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (None, None),
        ("client.example", "client.example"),
        ("localhost", "localhost"),
        ("münchen.example", "xn--mnchen-3ya.example"),
        ("[192.0.2.1]", "[192.0.2.1]"),
        ("[IPv6:2001:db8::1]", "[IPv6:2001:db8::1]"),
        ("[ipv6:::1]", "[ipv6:::1]"),
    ],
)
def test_the_hostname_is_a_name_or_an_address_literal(value: object, name: str | None) -> None:
    assert hostname("it", value) == name


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("192.0.2.1", "an address is written as a literal: [192.0.2.1]"),
        ("2001:db8::1", "an address is written as a literal: [IPv6:2001:db8::1]"),
        ("é..example", "not a domain: 'é..example': "),
        *(
            (value, "expected a name or an address literal such as [192.0.2.1], got ")
            for value in (
                "",
                "a b",
                "a\r\nMAIL FROM:<x>",
                "-a",
                "a.",
                "a" * 256,
                "[192.0.2]",
                "[192.0.2.1",
                "[::1]",
                "[IPv6:fe80::1%eth0]",
                "[IPv6:x]",
                "[[192.0.2.1]]",
                "[]",
                "[192.0.2.1]\n",
                5,
                b"a",
            )
        ),
    ],
)
def test_any_other_hostname_is_refused_with_the_remedy(value: object, why: str) -> None:
    assert refusal(hostname, value).startswith(f"it: {why}")


@pytest.mark.parametrize(
    ("value", "address"),
    [(None, None), ("192.0.2.1", "192.0.2.1"), ("fe80::1%eth0", "fe80::1%eth0"), (ip_address("::1"), "::1")],
)
def test_the_source_address_is_an_ip_address(value: object, address: str | None) -> None:
    assert source_address("it", value) == address


@pytest.mark.parametrize("value", ["", "localhost", "[::1]", "192.0.2.1:25", 1, True, b"\1\1\1\1"])
def test_any_other_source_address_is_refused(value: object) -> None:
    assert refusal(source_address, value).startswith("it: expected an IP address, got ")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("connect", {"connect"}),
        ("auth", {"connect", "auth"}),
        ({"transient"}, {"connect", "transient"}),
        (["transient", "auth", "connect", "auth"], {"connect", "auth", "transient"}),
        ([], {"connect"}),
    ],
)
def test_failover_always_holds_connect(value: object, words: set[str]) -> None:
    assert failover("it", value) == words


def test_any_other_failover_is_refused() -> None:
    assert refusal(failover, ["transiant"]) == "it: 'transiant' is unknown; did you mean transient?"
    assert refusal(failover, "off") == "it: 'off' is unknown; expected one of connect auth transient"
    assert refusal(failover, None) == "it: expected any of connect auth transient, got None"


def test_keywords_are_upper_cased() -> None:
    assert ignore_keywords("it", ["chunking", "X-Own", "8bitmime"]) == {"CHUNKING", "X-OWN", "8BITMIME"}
    assert ignore_keywords("it", "SIZE") == {"SIZE"}
    assert ignore_keywords("it", []) == frozenset()


@pytest.mark.parametrize("value", ["-X", "AUTH=PLAIN", "A B", "SİZE", 5, [5]])
def test_what_is_no_keyword_is_refused(value: object) -> None:
    assert refusal(ignore_keywords, value).startswith("it: expected EHLO keywords such as CHUNKING, got ")


def test_attempt_starttls_may_be_left_to_the_protocol() -> None:
    assert attempt_starttls("it", None) is None
    assert attempt_starttls("it", "no") is False
    assert refusal(attempt_starttls, "auto") == "it: expected yes or no, got 'auto'"
