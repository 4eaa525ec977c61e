"""What a target asks of TLS."""

from __future__ import annotations

from typing import Any

import pytest

from smtpstate._errors import ConfigError
from smtpstate._tls import TlsClient, tls_client


def test_by_default_everything_is_left_to_the_library_and_verified() -> None:
    tls = TlsClient()
    assert tls.protocols == tls.ciphers == tls.curves == tls.root_ca == ()
    assert tls.cert is tls.key is tls.server_name is None
    assert tls.verify is True


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("protocols", "tls1.3"),
        ("ciphers", "ECDHE-RSA-AES128-GCM-SHA256"),
        ("curves", "p256"),
        ("root_ca", "ca.pem"),
    ],
)
def test_one_word_is_a_list_of_one(name: str, word: str) -> None:
    for given in (word, [word], iter([word])):
        one: dict[str, Any] = {name: given}
        assert getattr(TlsClient(**one), name) == (word,)


@pytest.mark.parametrize(
    "protocols",
    [(), ("tls1.2",), ("tls1.3",), ("tls1.2", "tls1.3"), ("tls1.2", "tls1.2"), ("tls1.3", "tls1.3")],
)
def test_protocols_are_a_lowest_and_a_highest_version(protocols: tuple[str, ...]) -> None:
    assert TlsClient(protocols=protocols).protocols == protocols


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (
            {"protocols": "tls1.0"},
            "protocols: tls1.0 is no longer safe (RFC 8996); expected tls1.2 or tls1.3",
        ),
        ({"protocols": ["tls1.1", "tls1.3"]}, "protocols: tls1.1 is no longer safe (RFC 8996)"),
        ({"protocols": ["tls1.2", "tls1.1"]}, "protocols: tls1.1 is no longer safe (RFC 8996)"),
        ({"protocols": "SSL3"}, "protocols: SSL3 is no longer safe"),
        ({"protocols": "TLS1.2"}, "protocols: expected tls1.2 or tls1.3, got 'TLS1.2'"),
        ({"protocols": "tls1.2\n"}, "protocols: expected tls1.2 or tls1.3"),
        ({"protocols": ""}, "protocols: expected tls1.2 or tls1.3"),
        ({"protocols": 1.2}, "protocols: expected tls1.2 or tls1.3"),
        ({"protocols": b"tls1.2"}, "protocols: expected tls1.2 or tls1.3"),
        ({"protocols": ["tls1.3", "tls1.2"]}, "protocols: the lowest version comes first"),
        ({"protocols": ["tls1.2", "tls1.2", "tls1.3"]}, "protocols: expected a lowest and a highest version"),
        ({"ciphers": "HIGH:!aNULL"}, "ciphers: 'HIGH:!aNULL' is none: "),
        ({"ciphers": "TLS_AES_128_GCM_SHA256"}, "ciphers: 'TLS_AES_128_GCM_SHA256' is none: "),
        ({"ciphers": "ECDHE-RSA-AES128-GCM-SHA25"}, "did you mean ECDHE-RSA-AES128-GCM-SHA256?"),
        ({"curves": "p255"}, "curves: 'p255' is unknown; did you mean p256?"),
        ({"cert": "client.pem"}, "cert: cert and key are needed together, and key is missing"),
        ({"key": "client.key"}, "key: cert and key are needed together, and cert is missing"),
        ({"cert": "", "key": "client.key"}, "cert: expected the path of a file, got ''"),
        ({"cert": "client.pem", "key": "a\0b"}, "key: expected the path of a file, got "),
        ({"verify": "maybe"}, "verify: expected yes or no, got 'maybe'"),
        ({"verify": 1}, "verify: expected yes or no, got 1"),
        ({"server_name": ""}, "server_name: expected a host name or an IP address, got ''"),
        ({"server_name": "*.example"}, "server_name: expected a host name or an IP address, got '*.example'"),
        ({"server_name": "mx.example:25"}, "server_name: expected a host name or an IP address"),
        ({"server_name": "127.1"}, "server_name: expected a host name or an IP address"),
        ({"server_name": "a\r\nb"}, "server_name: expected a host name or an IP address"),
        ({"server_name": 5}, "server_name: expected a host name or an IP address, got 5"),
        ({"server_name": "é..example"}, "server_name: not a domain: 'é..example': "),
    ],
    ids=str,
)
def test_what_cannot_be_is_a_config_error_with_the_reason(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError) as by_keywords:
        TlsClient(**options)
    with pytest.raises(ConfigError) as by_mapping:
        TlsClient.from_mapping(options)
    for caught in (by_keywords, by_mapping):
        assert str(caught.value).startswith("tls_client: ")
        assert why in str(caught.value)
        assert str(caught.value).isprintable()


def test_a_cert_and_key_pair_is_named_and_not_read() -> None:
    tls = TlsClient(cert="no such file", key="nor this")
    assert (tls.cert, tls.key) == ("no such file", "nor this")


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("mx.example", "mx.example"),
        ("mx.example.", "mx.example."),
        ("münchen.example", "xn--mnchen-3ya.example"),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:DB8:0::1", "2001:db8::1"),
    ],
)
def test_the_server_name_is_a_host_name_or_an_address(given: str, name: str) -> None:
    assert TlsClient(server_name=given).server_name == name


@pytest.mark.parametrize("curve", ["p256", "P384", "p521", "X25519", "x25519"])
def test_a_curve_is_known_in_any_case(curve: str) -> None:
    assert TlsClient(curves=(curve,)).curves == (curve,)


def test_a_mapping_says_the_same_as_keywords() -> None:
    options: dict[str, object] = {
        "protocols": ["tls1.2", "tls1.3"],
        "verify": "no",
        "server_name": "mx.example",
    }
    tls = TlsClient(protocols=("tls1.2", "tls1.3"), verify=False, server_name="mx.example")
    assert TlsClient.from_mapping(options) == tls
    assert tls_client("tls_client", options) == tls
    assert tls_client("tls_client", tls) is tls
    assert TlsClient.from_mapping({}) == TlsClient()


def test_an_unknown_option_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match=r"^tls_client: server: unknown here; did you mean server_name\?$"):
        TlsClient.from_mapping({"server": "mx.example"})


@pytest.mark.parametrize("value", [None, True, "yes", ["verify", "no"]], ids=repr)
def test_anything_else_is_no_tls_client(value: object) -> None:
    with pytest.raises(ConfigError, match=r"^tls_client: expected a "):
        tls_client("tls_client", value)
