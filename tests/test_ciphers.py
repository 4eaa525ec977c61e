"""Names of cipher suites: each form of each, and what is none."""

from __future__ import annotations

import ssl

import pytest

from smtpstate._ciphers import CIPHERS, TLS13_CIPHERS, openssl_cipher


@pytest.mark.parametrize(("standard", "ours"), CIPHERS.items())
def test_each_suite_has_three_names(standard: str, ours: str) -> None:
    registered = "TLS_" + standard.replace("-", "_").replace("AES", "AES_").replace("CCM8", "CCM_8")
    assert openssl_cipher(ours) == openssl_cipher(standard) == openssl_cipher(registered) == ours


def test_openssl_knows_the_names_in_the_table() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers("ALL:@SECLEVEL=0")
    known = {cipher["name"] for cipher in context.get_ciphers()}
    # Those with CCM are left out of some builds.
    assert {name for name in CIPHERS.values() if "CCM" not in name} <= known


def test_the_hash_of_chacha_may_be_left_out() -> None:
    assert openssl_cipher("ECDHE-RSA-WITH-CHACHA20-POLY1305") == "ECDHE-RSA-CHACHA20-POLY1305"


@pytest.mark.parametrize("name", sorted(TLS13_CIPHERS))
def test_a_suite_of_tls_1_3_is_refused_with_the_reason(name: str) -> None:
    for form in (name, name.replace("_", "-")):
        with pytest.raises(ValueError, match="^it is a suite of TLS 1.3, and those are not chosen$"):
            openssl_cipher(form)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "HIGH",
        "HIGH:!aNULL",
        "ECDHE+AESGCM",
        "@SECLEVEL=0",
        "ECDHE-RSA-AES128-GCM-SHA256:ALL",
        "-AES128-SHA",
        "!AES128-SHA",
        "+AES128-SHA",
        "aes128-sha",
        "RC4-MD5",
        "NULL-SHA256",
        "DES-CBC3-SHA",
        "AES128-GCM-SHA",
    ],
)
def test_an_expression_or_an_unknown_or_broken_suite_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="^write the name of a TLS 1.2 suite such as .*, no expression$"):
        openssl_cipher(name)
