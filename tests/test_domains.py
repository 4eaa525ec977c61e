"""Domains in other scripts."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given

from smtpstate._domains import to_a_labels
from smtpstate._errors import LocalProtocolError
from strategies import domains, hostile_text


@pytest.mark.parametrize(
    ("domain", "converted"),
    [
        ("münchen.example", "xn--mnchen-3ya.example"),
        ("MÜNCHEN.example", "xn--mnchen-3ya.example"),
        ("例子.example", "xn--fsqu00a.example"),
        ("münchen。example", "xn--mnchen-3ya.example"),  # an ideographic full stop
        ("münchen.example.", "xn--mnchen-3ya.example."),
        ("ｍｘ.example", "mx.example"),
    ],
)
def test_u_labels_are_converted(domain: str, converted: str) -> None:
    assert to_a_labels(domain) == converted


def test_no_domain_is_mapped_to_somebody_elses() -> None:
    # IDNA 2003, which the standard library's codec is, took the first for fass.example.
    assert to_a_labels("faß.example") == "xn--fa-hia.example"
    assert to_a_labels("βόλος.example") == "xn--nxasmm1c.example"


@given(domains)
def test_ascii_domains_are_returned_as_they_are(domain: str) -> None:
    assert to_a_labels(domain) is domain


@pytest.mark.parametrize(
    "domain",
    [
        "a＞b.example",  # these become ASCII that ends a path, a host or a word
        "a＠b.example",
        "a／b.example",
        "a：25.example",
        "a\u3000b.example",
        "℀.example",
        "⑴.example",
        "é..example",
        ".é",
        "é\r\n.example",
        "é\0.example",
        "é\u2028.example",
        "é b.example",
        "xn--é.example",
        "\u202eé.example",
        "\u200b",
        "é\ud800.example",
        "\udc0a",
        "-é.example",
        "é" * 64 + ".example",
        "é." * 100 + "example",
        "[é]",
        "é_b.example",
    ],
    ids=ascii,
)
def test_what_is_no_domain_is_refused(domain: str) -> None:
    with pytest.raises(LocalProtocolError, match=r"^not a domain: ") as caught:
        to_a_labels(domain)
    assert str(caught.value).isprintable()


@given(hostile_text.filter(lambda text: not text.isascii()))
def test_what_is_converted_has_nothing_but_letters_digits_hyphens_and_dots(domain: str) -> None:
    try:
        converted = to_a_labels(domain)
    except LocalProtocolError as error:
        assert str(error).isprintable()
    else:
        assert converted.isascii()
        assert converted.replace("-", "a").replace(".", "a").isalnum()


def test_without_the_package_other_scripts_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "idna", None)
    assert to_a_labels("mx.example") == "mx.example"
    with pytest.raises(
        LocalProtocolError,
        match=r"^the domain 'münchen\.example' needs the package idna: install smtpstate\[idna\]$",
    ):
        to_a_labels("münchen.example")
