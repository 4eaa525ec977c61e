"""Endpoints: the forms that are accepted, and the reason why each other one is not."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given

from smtpstate._endpoints import Endpoint
from smtpstate._errors import ConfigError
from strategies import endpoint_texts, hostile_text

LABEL = "a" * 63

ACCEPTED = [
    ("tcp://mx.example:25", Endpoint("tcp", "mx.example", 25)),
    ("tls://mx.example:465", Endpoint("tls", "mx.example", 465)),
    ("tcp://localhost:1", Endpoint("tcp", "localhost", 1)),
    ("tcp://mx.example:65535", Endpoint("tcp", "mx.example", 65535)),
    ("tcp://mx.example:00025", Endpoint("tcp", "mx.example", 25)),
    ("tcp://MX.Example:25", Endpoint("tcp", "MX.Example", 25)),
    ("tcp://mx.example.:25", Endpoint("tcp", "mx.example.", 25)),
    ("tcp://mx_1.example:25", Endpoint("tcp", "mx_1.example", 25)),
    ("tcp://1mx.2example:25", Endpoint("tcp", "1mx.2example", 25)),
    ("tcp://a-b.xn--fsqu00a.example:25", Endpoint("tcp", "a-b.xn--fsqu00a.example", 25)),
    (f"tcp://{LABEL}.example:25", Endpoint("tcp", f"{LABEL}.example", 25)),
    (
        f"tcp://{LABEL}.{LABEL}.{LABEL}.{LABEL[:61]}:25",
        Endpoint("tcp", f"{LABEL}.{LABEL}.{LABEL}.{LABEL[:61]}", 25),
    ),
    (
        f"tcp://{LABEL}.{LABEL}.{LABEL}.{LABEL[:61]}.:25",
        Endpoint("tcp", f"{LABEL}.{LABEL}.{LABEL}.{LABEL[:61]}.", 25),
    ),
    ("tcp://münchen.example:25", Endpoint("tcp", "xn--mnchen-3ya.example", 25)),
    ("tls://例子.example:465", Endpoint("tls", "xn--fsqu00a.example", 465)),
    ("tcp://192.0.2.1:25", Endpoint("tcp", "192.0.2.1", 25)),
    ("tcp://１９２.0.2.1:25", Endpoint("tcp", "192.0.2.1", 25)),  # mapped as any other name
    ("tcp://[::1]:25", Endpoint("tcp", "::1", 25)),
    ("tls://[2001:db8::1]:465", Endpoint("tls", "2001:db8::1", 465)),
    ("tcp://[::ffff:192.0.2.1]:25", Endpoint("tcp", "::ffff:192.0.2.1", 25)),
    ("tcp://[fe80::1%eth0]:25", Endpoint("tcp", "fe80::1%eth0", 25)),
    ("tcp://[fe80::1%2]:25", Endpoint("tcp", "fe80::1%2", 25)),
    ("unix:///run/lmtp", Endpoint("unix", path="/run/lmtp")),
    ("unix:///run/a@b:c%20[d]", Endpoint("unix", path="/run/a@b:c%20[d]")),
    ("unix:///run/ünï", Endpoint("unix", path="/run/ünï")),
    ("unix:@name", Endpoint("unix", path="@name")),
    ("unix:@a://b", Endpoint("unix", path="@a://b")),
    ("unix://@name", Endpoint("unix", path="@name")),
]

FORMS = "an endpoint is tcp://HOST:PORT, tls://HOST:PORT or unix://PATH"
NO_SCHEME = "is no scheme; use tcp://HOST:PORT, tls://HOST:PORT or unix://PATH"
BLANKS = "blanks and control characters are not allowed"
PORT = "the port is a number from 1 to 65535"
NEEDS_PORT = "a port is required, as in tcp://mx.example:25"
NEEDS_PORT_6 = "a port is required, as in [::1]:25"
BRACKETS = "write an IPv6 address in brackets, as in [::1]:25"
IPV4 = "not an IPv4 address: "
IPV6 = "not an IPv6 address: "
SCOPE = "a scope is the name or number of an interface, as in [fe80::1%eth0]:25"
NAME = "is no host name"
DOMAIN = "not a domain: "
PATH = "write an absolute path as in unix:///run/lmtp, or unix:@name"
QUERY = "query and fragment parts are not allowed"

REFUSED = [
    ("", FORMS),
    ("mx.example", FORMS),
    ("mx.example:25", FORMS),
    ("tcp:mx.example:25", FORMS),
    ("tcp:/mx.example:25", FORMS),
    ("unix:/run/lmtp", FORMS),
    ("//mx.example:25", FORMS),
    ("://mx.example:25", f"'' {NO_SCHEME}"),
    ("smtp://mx.example:25", f"'smtp' {NO_SCHEME}"),
    ("lmtp+unix:///run/lmtp", f"'lmtp+unix' {NO_SCHEME}"),
    ("http://mx.example:80", f"'http' {NO_SCHEME}"),
    ("TCP://mx.example:25", f"'TCP' {NO_SCHEME}"),
    ("ｔｃｐ://mx.example:25", f"'ｔｃｐ' {NO_SCHEME}"),
    (" ", BLANKS),
    (" tcp://mx.example:25", BLANKS),
    ("tcp://mx.example:25 ", BLANKS),
    ("tcp://mx.example:25\n", BLANKS),
    ("tcp://mx. example:25", BLANKS),
    ("tcp:// mx.example:25", BLANKS),
    ("tcp://mx.example :25", BLANKS),
    ("tcp://mx.example\r\n:25", BLANKS),
    ("tcp://mx\0.example:25", BLANKS),
    ("tcp://mx\x7f:25", BLANKS),
    ("unix:///run/a b", BLANKS),
    ("unix:///run/a\n", BLANKS),
    ("unix:///run/a\0", BLANKS),
    ("unix:///run/a\u2028b", BLANKS),
    ("unix:///run/a\xa0b", BLANKS),
    ("unix:///run/\udcff", BLANKS),
    ("unix:@a b", BLANKS),
    ("unix:@\0", BLANKS),
    ("tcp://mx.example", NEEDS_PORT),
    ("tcp://", NEEDS_PORT),
    ("tcp://mx.example:", PORT),
    ("tcp://mx.example:0", PORT),
    ("tcp://mx.example:65536", PORT),
    ("tcp://mx.example:000025", PORT),
    ("tcp://mx.example:-1", PORT),
    ("tcp://mx.example:+25", PORT),
    ("tcp://mx.example:2_5", PORT),
    ("tcp://mx.example:2.5", PORT),
    ("tcp://mx.example:0x19", PORT),
    ("tcp://mx.example:smtp", PORT),
    ("tcp://mx.example:２５", PORT),
    ("tcp://mx.example:²", PORT),
    ("tcp://mx.example:" + "9" * 5000, PORT),
    ("tcp://user@mx.example:25", "a user part is not allowed"),
    ("tcp://user:secret@mx.example:25", "a user part is not allowed"),
    ("tcp://mx.example:25?x=1", "a query part is not allowed"),
    ("tcp://mx.example:25#x", "a fragment part is not allowed"),
    ("tcp://mx.example:25/", "a path part is not allowed"),
    ("tcp:///run/lmtp", "a path part is not allowed"),
    ("tcp://:25", f"'' {NAME}"),
    ("tcp://.:25", f"'.' {NAME}"),
    ("tcp://mx..example:25", f"'mx..example' {NAME}"),
    ("tcp://.mx.example:25", f"'.mx.example' {NAME}"),
    ("tcp://mx.example..:25", f"'mx.example..' {NAME}"),
    ("tcp://-mx.example:25", f"'-mx.example' {NAME}"),
    ("tcp://mx-.example:25", f"'mx-.example' {NAME}"),
    ("tcp://mx!.example:25", f"'mx!.example' {NAME}"),
    ("tcp://mx%2e.example:25", f"'mx%2e.example' {NAME}"),
    ("tcp://*.example:25", f"'*.example' {NAME}"),
    ("tcp://mx\\example:25", "is no host name"),
    (f"tcp://{LABEL}a.example:25", NAME),
    (f"tcp://{LABEL}.{LABEL}.{LABEL}.{LABEL[:62]}:25", NAME),
    (f"tcp://{LABEL}.{LABEL}.{LABEL}.{LABEL[:62]}.:25", NAME),
    ("tcp://münchen..example:25", DOMAIN),
    ("tcp://a／b:25", DOMAIN),
    ("tcp://a＠b.example:25", DOMAIN),
    ("tcp://1.2.3:25", IPV4),
    ("tcp://127.1:25", IPV4),
    ("tcp://2130706433:25", IPV4),
    ("tcp://0x7f000001:25", IPV4),
    ("tcp://0X7F.1:25", IPV4),
    ("tcp://127.0.0.0x1:25", IPV4),
    ("tcp://192.0.2.256:25", IPV4),
    ("tcp://192.0.2.01:25", IPV4),
    ("tcp://192.0.2.1.:25", IPV4),
    ("tcp://mx.example.5:25", IPV4),
    ("tcp://2001:db8::1:25", BRACKETS),
    ("tcp://::1:25", BRACKETS),
    ("tcp://mx.example:25:25", BRACKETS),
    ("tcp://[::1]", NEEDS_PORT_6),
    ("tcp://[::1]25", NEEDS_PORT_6),
    ("tcp://[::1", NEEDS_PORT_6),
    ("tcp://[]", NEEDS_PORT_6),
    ("tcp://[::1]:", PORT),
    ("tcp://[::1]:0", PORT),
    ("tcp://[::1]:25:25", PORT),
    ("tcp://[]:25", IPV6),
    ("tcp://[192.0.2.1]:25", IPV6),
    ("tcp://[mx.example]:25", IPV6),
    ("tcp://[[::1]]:25", NEEDS_PORT_6),
    ("tcp://[::1::]:25", IPV6),
    ("tcp://[::１]:25", IPV6),
    ("tcp://[v1.fe80]:25", IPV6),
    ("tcp://[fe80::1%]:25", SCOPE),
    ("tcp://[fe80::1%é]:25", SCOPE),
    ("tcp://[fe80::1%a%b]:25", SCOPE),
    ("tcp://[fe80::1%a;b]:25", SCOPE),
    ("tcp://[%eth0]:25", SCOPE),
    ("unix://", PATH),
    ("unix:///", PATH),
    ("unix:///run/", PATH),
    ("unix://run/lmtp", PATH),
    ("unix://./lmtp", PATH),
    ("unix:@", PATH),
    ("unix://@", PATH),
    ("unix:///run/lmtp?x", QUERY),
    ("unix:///run/lmtp#x", QUERY),
    ("unix:@name?", QUERY),
]


@pytest.mark.parametrize(("text", "endpoint"), ACCEPTED, ids=ascii)
def test_an_endpoint_is_accepted(text: str, endpoint: Endpoint) -> None:
    assert Endpoint.parse(text) == endpoint


@pytest.mark.parametrize(("text", "why"), REFUSED, ids=lambda text: ascii(text)[:60])
def test_any_other_form_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Endpoint.parse(text)
    said = str(caught.value)
    assert said.startswith("not an endpoint: '")
    assert why in said
    assert said.isprintable()


@given(endpoint_texts)
def test_every_endpoint_of_the_grammar_printed_and_parsed_again_is_equal(text: str) -> None:
    endpoint = Endpoint.parse(text)
    assert Endpoint.parse(str(endpoint)) == endpoint
    assert str(endpoint) == text


@given(hostile_text)
def test_any_text_is_an_endpoint_or_a_config_error(text: str) -> None:
    for form in (
        "{}",
        "tcp://{}",
        "tcp://{}:25",
        "tcp://[{}]:25",
        "tcp://[fe80::1%{}]:25",
        "unix:{}",
        "unix:///{}",
    ):
        try:
            endpoint = Endpoint.parse(form.format(text))
        except ConfigError as error:
            assert str(error).isprintable()
        else:
            assert str(endpoint).isprintable()
            assert Endpoint.parse(str(endpoint)) == endpoint


@pytest.mark.parametrize(
    ("endpoint", "implicit", "unix"),
    [
        (Endpoint("tcp", "mx.example", 25), False, False),
        (Endpoint("tls", "mx.example", 465), True, False),
        (Endpoint("unix", path="/run/lmtp"), False, True),
    ],
    ids=str,
)
def test_tls_begins_with_the_first_octet_for_tls_endpoints_alone(
    endpoint: Endpoint, implicit: bool, unix: bool
) -> None:
    assert endpoint.implicit_tls is implicit
    assert endpoint.is_unix is unix


@pytest.mark.parametrize(
    ("scheme", "host", "port", "path", "why"),
    [
        ("ftp", "mx.example", 21, "", NO_SCHEME),
        ("", "mx.example", 25, "", NO_SCHEME),
        ("tcp", "mx.example", 0, "", PORT),
        ("tcp", "mx.example", 65536, "", PORT),
        ("tcp", "mx.example", -1, "", PORT),
        ("tcp", "", 25, "", NAME),
        ("tcp", "mx.example\r\n", 25, "", BLANKS),
        ("tcp", "mx example", 25, "", BLANKS),
        ("tcp", "user@mx.example", 25, "", NAME),
        ("tcp", "[::1]", 25, "", IPV6),
        ("tcp", "127.1", 25, "", IPV4),
        ("tcp", "fe80::1%a]:25", 25, "", SCOPE),
        ("tcp", "mx.example", 25, "/run/lmtp", "a path part is not allowed"),
        ("unix", "", 0, "", PATH),
        ("unix", "", 0, "run/lmtp", PATH),
        ("unix", "", 0, "/run/a b", BLANKS),
        ("unix", "mx.example", 0, "/run/lmtp", "a unix socket has neither host nor port"),
        ("unix", "", 25, "/run/lmtp", "a unix socket has neither host nor port"),
    ],
)
def test_an_endpoint_made_from_parts_is_checked_like_one_that_is_written(
    scheme: str, host: str, port: int, path: str, why: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        Endpoint(scheme, host, port, path)
    assert why in str(caught.value)
    assert str(caught.value).isprintable()


def test_an_endpoint_made_from_parts_has_its_name_converted() -> None:
    assert Endpoint("tcp", "münchen.example", 25).host == "xn--mnchen-3ya.example"


def test_a_name_that_needs_a_package_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "idna", None)
    with pytest.raises(ConfigError, match=r"install smtpstate\[idna\]$"):
        Endpoint.parse("tcp://münchen.example:25")


def test_a_password_in_an_endpoint_is_not_shown() -> None:
    with pytest.raises(ConfigError, match="a user part is not allowed") as refused:
        Endpoint.parse("tcp://me:s3cret-word@mx.example:25")
    assert "s3cret-word" not in str(refused.value)
