"""What a target says of TLS reaches the standard library, or is refused in words."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme

from smtpstate._ciphers import CIPHERS
from smtpstate._errors import ConfigError
from smtpstate._tls import TlsClient
from smtpstate_io import Contexts, context_for

CA = trustme.CA()
CLIENT = CA.issue_cert("client.example")


def test_the_defaults_are_strict() -> None:
    context = context_for(TlsClient())
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert not context.hostname_checks_common_name
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.maximum_version is ssl.TLSVersion.MAXIMUM_SUPPORTED
    assert context.verify_flags & ssl.VERIFY_X509_STRICT
    assert context.verify_flags & ssl.VERIFY_X509_PARTIAL_CHAIN
    assert context.cert_store_stats()["x509_ca"] or context.get_ca_certs() == []


def test_root_ca_replaces_the_systems(tmp_path: Path) -> None:
    for name, authority in (("one", CA), ("two", trustme.CA())):
        authority.cert_pem.write_to_path(tmp_path / name)
    context = context_for(TlsClient(root_ca=(f"{tmp_path}/one", f"{tmp_path}/two")))
    assert context.cert_store_stats() == {"x509": 2, "crl": 0, "x509_ca": 2}


def test_verify_no_checks_nothing_and_reads_nothing() -> None:
    context = context_for(TlsClient(verify=False))
    assert context.verify_mode is ssl.CERT_NONE
    assert not context.check_hostname


@pytest.mark.parametrize(
    ("protocols", "lowest", "highest"),
    [
        (("tls1.2",), ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.MAXIMUM_SUPPORTED),
        (("tls1.3",), ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.MAXIMUM_SUPPORTED),
        (("tls1.2", "tls1.2"), ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2),
        (("tls1.2", "tls1.3"), ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3),
    ],
)
def test_protocols_set_lowest_and_highest(
    protocols: tuple[str, ...], lowest: ssl.TLSVersion, highest: ssl.TLSVersion
) -> None:
    context = context_for(TlsClient(protocols=protocols))
    assert (context.minimum_version, context.maximum_version) == (lowest, highest)


def test_only_the_named_ciphers_of_tls_1_2_are_left() -> None:
    names = ("ECDHE-RSA-AES256-GCM-SHA384", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256")
    left = [
        c["name"] for c in context_for(TlsClient(ciphers=names)).get_ciphers() if c["protocol"] != "TLSv1.3"
    ]
    assert left == ["ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES128-GCM-SHA256"]


def test_the_table_is_openssls_own() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers("ALL:@SECLEVEL=0")
    assert set(CIPHERS.values()) <= {cipher["name"] for cipher in context.get_ciphers()}


def write(path: Path, data: bytes = b"") -> str:
    path.write_bytes(data)
    return str(path)


def encrypted_key() -> bytes:
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
        load_pem_private_key,
    )

    key = load_pem_private_key(CLIENT.private_key_pem.bytes(), None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"root_ca": ("{tmp}/none",)}, "root_ca: cannot read {tmp}/none: no such file or directory"),
        ({"root_ca": ("{tmp}/empty",)}, "root_ca: {tmp}/empty: there is no certificate in it"),
        ({"root_ca": ("{tmp}",)}, "root_ca: cannot read {tmp}: is a directory"),
        (
            {"cert": "{tmp}/none", "key": "{tmp}/key"},
            "cert: cannot read {tmp}/none: no such file or directory",
        ),
        ({"cert": "{tmp}/cert", "key": "{tmp}"}, "key: cannot read {tmp}: is a directory"),
        (
            {"cert": "{tmp}/cert", "key": "{tmp}/other"},
            "key: {tmp}/other: it is not the key of the certificate in {tmp}/cert",
        ),
        (
            {"cert": "{tmp}/empty", "key": "{tmp}/key"},
            "cert and key: no such pair is in {tmp}/empty and {tmp}/key",
        ),
        (
            {"cert": "{tmp}/cert", "key": "{tmp}/encrypted"},
            "key: {tmp}/encrypted: it is encrypted; give one without a password",
        ),
        ({"curves": ("p256", "p384")}, "curves: this Python can set one curve only"),
    ],
)
def test_a_mistake_is_said_in_words(
    settings: dict[str, str | tuple[str, ...]], complaint: str, tmp_path: Path
) -> None:
    write(tmp_path / "empty")
    write(tmp_path / "cert", CLIENT.cert_chain_pems[0].bytes())
    write(tmp_path / "key", CLIENT.private_key_pem.bytes())
    write(tmp_path / "other", CA.issue_cert("other.example").private_key_pem.bytes())
    write(tmp_path / "encrypted", encrypted_key())

    def filled(value: str | tuple[str, ...]) -> str | list[str]:
        if isinstance(value, str):
            return value.replace("{tmp}", str(tmp_path))
        return [item.replace("{tmp}", str(tmp_path)) for item in value]

    tls = TlsClient.from_mapping({name: filled(value) for name, value in settings.items()})
    with pytest.raises(ConfigError) as caught:
        context_for(tls)
    assert str(caught.value) == "tls_client: " + complaint.replace("{tmp}", str(tmp_path))


def test_ciphers_that_the_library_lacks_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a library is that was built without some of them."""

    def openssl_cipher(name: str) -> str:
        return name.replace("AES128", "RC4")

    monkeypatch.setattr("smtpstate_io._contexts.openssl_cipher", openssl_cipher)
    with pytest.raises(ConfigError, match=r"^tls_client: ciphers: this TLS library has none of AES128-SHA$"):
        context_for(TlsClient(ciphers=("AES128-SHA",)))
    with pytest.raises(ConfigError, match=r"^tls_client: ciphers: this TLS library has no AES128-SHA$"):
        context_for(TlsClient(ciphers=("AES256-SHA", "AES128-SHA")))


def test_a_curve_that_the_library_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smtpstate_io._contexts._CURVES", {"x25519": "X25520"})
    with pytest.raises(ConfigError, match=r"^tls_client: curves: this Python cannot set X25519$"):
        context_for(TlsClient(curves=("X25519",)))


@pytest.mark.parametrize("curve", ["p256", "P384", "p521", "X25519", "x25519"])
def test_each_curve_can_be_set(curve: str) -> None:
    assert context_for(TlsClient(curves=(curve,))).verify_mode is ssl.CERT_REQUIRED


def test_a_target_makes_each_context_once() -> None:
    contexts = Contexts()
    assert contexts.get(TlsClient()) is contexts.get(TlsClient())
    assert contexts.get(TlsClient()) is not contexts.get(TlsClient(verify=False))
    assert contexts.get(TlsClient()) is not Contexts().get(TlsClient())
