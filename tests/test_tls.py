"""What a target asks of TLS."""

from __future__ import annotations

from typing import Any

import pytest

from smtpstate._errors import ConfigError
from smtpstate._tls import TlsClient


def test_by_default_everything_is_left_to_the_library_and_verified() -> None:
    tls = TlsClient()
    assert tls.protocols == tls.ciphers == tls.curves == tls.root_ca == ()
    assert tls.cert is tls.key is tls.server_name is None
    assert tls.verify is True


@pytest.mark.parametrize("name", ["ciphers", "curves", "root_ca"])
def test_one_word_is_a_list_of_one(name: str) -> None:
    one: dict[str, Any] = {name: "a"}
    assert getattr(TlsClient(**one), name) == ("a",)
    several: dict[str, Any] = {name: ["a", "b"]}
    assert getattr(TlsClient(**several), name) == ("a", "b")


@pytest.mark.parametrize(
    "protocols",
    [(), ("tls1.2",), ("tls1.3",), ("tls1.2", "tls1.3"), ("tls1.2", "tls1.2"), ("tls1.3", "tls1.3")],
)
def test_protocols_are_a_lowest_and_a_highest_version(protocols: tuple[str, ...]) -> None:
    assert TlsClient(protocols=protocols).protocols == protocols


def test_a_single_version_may_be_given_as_a_word() -> None:
    word: Any = "tls1.3"
    assert TlsClient(protocols=word).protocols == ("tls1.3",)


@pytest.mark.parametrize(
    ("protocols", "why"),
    [
        (("tls1.0",), "tls1.0 is no longer safe (RFC 8996)"),
        (("tls1.1", "tls1.3"), "tls1.1 is no longer safe (RFC 8996)"),
        (("tls1.2", "tls1.1"), "tls1.1 is no longer safe (RFC 8996)"),
        (("ssl3",), "expected tls1.2 or tls1.3, got 'ssl3'"),
        (("TLS1.2",), "expected tls1.2 or tls1.3, got 'TLS1.2'"),
        (("tls1.2\n",), r"expected tls1.2 or tls1.3, got 'tls1.2\n'"),
        (("",), "expected tls1.2 or tls1.3, got ''"),
        ((1.2,), "expected tls1.2 or tls1.3, got 1.2"),
        (("tls1.3", "tls1.2"), "the lowest version comes first"),
        (("tls1.2", "tls1.2", "tls1.3"), "expected a lowest and a highest version"),
    ],
)
def test_unknown_unsafe_or_reversed_versions_are_a_config_error(protocols: Any, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TlsClient(protocols=protocols)
    assert str(caught.value) == f"tls_client: protocols: {why}"


@pytest.mark.parametrize("half", [{"cert": "client.pem"}, {"key": "client.key"}, {"cert": ""}], ids=str)
def test_half_a_cert_and_key_pair_is_a_config_error(half: dict[str, Any]) -> None:
    with pytest.raises(
        ConfigError, match=r"^tls_client: cert and key are needed together, or neither of them$"
    ):
        TlsClient(**half)


def test_a_cert_and_key_pair_is_named_and_not_read() -> None:
    tls = TlsClient(cert="no such file", key="nor this")
    assert (tls.cert, tls.key) == ("no such file", "nor this")
