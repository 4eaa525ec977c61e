"""The settings of TLS: every option, what is taken for it and what is not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from smtpstate._checks import WrongSetting
from smtpstate._errors import ConfigError
from smtpstate._tls import TlsClient, tls_client
from strategies import hostile_text


def refusal(**options: Any) -> str:
    """Return why these options are refused, as keywords and as a mapping alike."""
    with pytest.raises(ConfigError) as caught:
        TlsClient(**options)
    with pytest.raises(ConfigError) as mapped:
        TlsClient.from_mapping(options)
    assert str(caught.value) == str(mapped.value)
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_a_mapping_says_the_same_as_keywords() -> None:
    options: dict[str, Any] = {
        "protocols": ("tls1.2", "tls1.3"),
        "ciphers": ("ECDHE-RSA-AES128-GCM-SHA256",),
        "curves": ("X25519",),
        "root_ca": ("/a", "/b"),
        "cert": "/c",
        "key": "/k",
        "server_name": "mx.example",
        "verify": False,
    }
    assert TlsClient.from_mapping(options) == TlsClient(**options)
    assert TlsClient.from_mapping({}) == TlsClient()
    assert tls_client("tls_client", options) == TlsClient(**options)
    ready = TlsClient()
    assert tls_client("tls_client", ready) is ready


@pytest.mark.parametrize("name", ["protocols", "ciphers", "curves", "root_ca"])
def test_one_word_counts_as_several_and_any_iterable_is_taken(name: str) -> None:
    word = {"protocols": "tls1.2", "ciphers": "AES128-SHA", "curves": "p256", "root_ca": "/ca.pem"}[name]
    several: list[Any] = [word, [word], (word,), iter([word])]
    made = {TlsClient.from_mapping({name: value}) for value in several}
    assert [getattr(tls, name) for tls in made] == [(word,)]


def test_a_boolean_may_be_a_word_in_a_mapping() -> None:
    assert TlsClient.from_mapping({"verify": "no"}) == TlsClient(verify=False)


@pytest.mark.parametrize("value", [None, 5, "no", [("verify", False)], True])
def test_a_setting_that_is_no_mapping_is_refused(value: object) -> None:
    with pytest.raises(WrongSetting, match="^tls_client: expected a mapping of names to values, got "):
        tls_client("tls_client", value)


def test_an_unknown_option_is_refused_with_the_nearest() -> None:
    with pytest.raises(WrongSetting, match=r"^tls_client: root-ca: unknown here; did you mean root_ca\?$"):
        TlsClient.from_mapping({"root-ca": "/ca.pem"})


@pytest.mark.parametrize(
    ("protocols", "why"),
    [
        (["tls1.0"], "tls1.0 is no longer safe (RFC 8996); expected tls1.2 or tls1.3"),
        (["tls1.1", "tls1.3"], "tls1.1 is no longer safe (RFC 8996); expected tls1.2 or tls1.3"),
        (["SSL3"], "SSL3 is no longer safe (RFC 8996); expected tls1.2 or tls1.3"),
        (["TLSv1.2"], "expected tls1.2 or tls1.3, got 'TLSv1.2'"),
        (["tls1.3", "tls1.2"], "the lowest version comes first, as in tls1.2 tls1.3"),
        (["tls1.2", "tls1.2", "tls1.3"], "expected a lowest and a highest version"),
        ([""], "expected tls1.2 or tls1.3, or both, got ''"),
        (12, "expected tls1.2 or tls1.3, or both, got 12"),
        ([1.2], "expected tls1.2 or tls1.3, or both, got 1.2"),
    ],
)
def test_protocols_are_a_lowest_and_perhaps_a_highest_version(protocols: Any, why: str) -> None:
    assert refusal(protocols=protocols) == f"tls_client: protocols: {why}"


@pytest.mark.parametrize("protocols", ["tls1.2", "tls1.3", ["tls1.2", "tls1.2"], ["tls1.2", "tls1.3"], []])
def test_versions_in_use_are_taken(protocols: Any) -> None:
    assert TlsClient.from_mapping({"protocols": protocols}).verify


@pytest.mark.parametrize(
    ("ciphers", "why"),
    [
        (
            "ecdhe-rsa-aes128-gcm-sha256",
            "'ecdhe-rsa-aes128-gcm-sha256' is none: write the name of a TLS 1.2 suite",
        ),
        ("HIGH:!aNULL", "'HIGH:!aNULL' is none: write the name of a TLS 1.2 suite"),
        (
            "TLS_AES_128_GCM_SHA256",
            "'TLS_AES_128_GCM_SHA256' is none: it is a suite of TLS 1.3, and those are not",
        ),
        (["AES128-SHA", None], "expected names of cipher suites, got None"),
    ],
)
def test_ciphers_are_names_of_the_table(ciphers: Any, why: str) -> None:
    assert refusal(ciphers=ciphers).startswith(f"tls_client: ciphers: {why}")


def test_the_nearest_cipher_is_suggested() -> None:
    assert refusal(ciphers="ECDHE-RSA-AES128-GCM-SHA265").endswith(
        "; did you mean ECDHE-RSA-AES128-GCM-SHA256?"
    )
    assert refusal(ciphers="NONSENSE").endswith("no expression")


@pytest.mark.parametrize("curve", ["p256", "p384", "p521", "X25519", "x25519", "P256"])
def test_curves_are_known_in_any_case(curve: str) -> None:
    assert TlsClient(curves=(curve,)).curves == (curve,)


def test_any_other_curve_is_refused() -> None:
    assert refusal(curves="secp256r1") == "tls_client: curves: 'secp256r1' is unknown; did you mean p256?"
    assert refusal(curves=["p256", "brainpool"]) == (
        "tls_client: curves: 'brainpool' is unknown; expected one of p256 p384 p521 X25519"
    )


@pytest.mark.parametrize(("given_one", "missing"), [("cert", "key"), ("key", "cert")])
def test_half_a_pair_is_refused_where_it_stands(given_one: str, missing: str) -> None:
    assert refusal(**{given_one: "/x"}) == (
        f"tls_client: {given_one}: cert and key are needed together, and {missing} is missing"
    )


@pytest.mark.parametrize("name", ["cert", "key"])
@pytest.mark.parametrize("path", ["", "a\0b", 5, b"/x"])
def test_a_path_is_a_text(name: str, path: Any) -> None:
    assert refusal(**({"cert": "/c", "key": "/k"} | {name: path})).startswith(
        f"tls_client: {name}: expected the path of a file, got "
    )


@pytest.mark.parametrize("name", ["cert", "key"])
def test_what_a_file_holds_is_no_path_and_not_shown(name: str) -> None:
    pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA==\n-----END PRIVATE KEY-----\n"
    assert refusal(**({"cert": "/c", "key": "/k"} | {name: pem})) == (
        f"tls_client: {name}: expected the path of a file, got several lines"
    )


@pytest.mark.parametrize(
    ("server_name", "kept"),
    [
        ("mx.example", "mx.example"),
        ("mx.example.", "mx.example."),
        ("mx_1.example", "mx_1.example"),
        ("münchen.example", "xn--mnchen-3ya.example"),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:0::1", "2001:db8::1"),
        ("localhost", "localhost"),
    ],
)
def test_the_server_name_is_a_name_in_a_labels_or_an_address(server_name: str, kept: str) -> None:
    assert TlsClient(server_name=server_name).server_name == kept


@pytest.mark.parametrize(
    "server_name",
    [
        "",
        "*.example",
        "a b",
        "a..b",
        ".a",
        "-a",
        "a\0",
        "[::1]",
        "mx.example:25",
        "192.0.2",
        "a" * 64,
        "a." * 128,
        5,
        b"a",
    ],
)
def test_any_other_server_name_is_refused(server_name: Any) -> None:
    assert refusal(server_name=server_name).startswith(
        "tls_client: server_name: expected a host name or an IP address, got "
    )


def test_a_server_name_that_cannot_be_converted_is_refused() -> None:
    assert refusal(server_name="é..example").startswith("tls_client: server_name: not a domain: ")


@pytest.mark.parametrize("verify", [None, "maybe", 1])
def test_verify_is_a_boolean(verify: Any) -> None:
    assert refusal(verify=verify).startswith("tls_client: verify: expected yes or no, got ")


@given(hostile_text)
def test_any_text_is_an_option_or_a_config_error(text: str) -> None:
    for name in ("protocols", "ciphers", "curves", "root_ca", "cert", "key", "server_name", "verify"):
        try:
            TlsClient.from_mapping({name: text})
        except ConfigError as error:
            assert str(error).isprintable()
