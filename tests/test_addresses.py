"""Addresses: what goes out as it was given, and what never goes out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smtpstate._addresses import all_plain, checked_address, domain_of
from smtpstate._errors import LocalProtocolError
from strategies import addresses, hostile_text

ACCEPTED = [
    "user@example.org",
    "postmaster",  # RFC 5321 §4.1.1.3: without a domain
    "Postmaster",
    "a..b@docomo.example",
    ".a.@docomo.example",
    "user+tag@example.org",
    "!#$%&'*+-/=?^_`{|}~@example.org",
    "user%other.example@example.org",
    "other.example!user@example.org",
    "a@b@c",
    "@example.org",
    "user@",
    "@relay.example:user@example.org",
    "user@[192.0.2.1]",
    "user@[IPv6:2001:db8::1]",
    "user@host_name.example.",
    "a,b;c:d@example.org",
    "(comment)user@example.org",
    '""@example.org',
    '"a b"@example.org',
    '"a<b>c"@example.org',
    r'"a\"b"@example.org',
    r'"a\\"@example.org',
    r'"\ "@example.org',
    '"a@b"@example.org',
    '"@"',
    'a."b c".d@example.org',
    r"domain\user@example.org",
    r"a\@b@example.org",
    "ünï@example.org",
    "用户@例子.example",
    '"ü ï"@example.org',
    "a\ufeff\u200db@example.org",
    "x" * 1000 + "@example.org",
]

CONTROL = "holds a control character"
BLANK = "holds a blank outside quotes"
BALANCE = "has a quote without its end"

REFUSED = [
    ("", "is empty"),
    ("a\r\nRCPT TO:<b@x>", CONTROL),
    ("a\r@x", CONTROL),
    ("a\n@x", CONTROL),
    ("a@x\r\n", CONTROL),
    ("\r\na@x", CONTROL),
    ("a\0@x", CONTROL),
    ("a\t@x", CONTROL),
    ("a\v@x", CONTROL),
    ("a\f@x", CONTROL),
    ("a\x1b[2J@x", CONTROL),
    ("a\x1c@x", CONTROL),
    ("a\x7f@x", CONTROL),
    ("a\x80@x", CONTROL),
    ("a\x85@x", CONTROL),
    ("a\x9f@x", CONTROL),
    ("a\u2028@x", CONTROL),
    ("a\u2029@x", CONTROL),
    ('"a\rb"@x', CONTROL),
    ('"a\nb"@x', CONTROL),
    ('"a\\\nb"@x', CONTROL),
    ('"a\0b"@x', CONTROL),
    ('"a\u2028b"@x', CONTROL),
    (" a@x", BLANK),
    ("a@x ", BLANK),
    ("a b@x", BLANK),
    ("a @x", BLANK),
    (" ", BLANK),
    ("a\xa0b@x", BLANK),
    ("a\u2003b@x", BLANK),
    ("a\u3000b@x", BLANK),
    ("a\u1680b@x", BLANK),
    ('"a b" c@x', BLANK),
    ("a@x SIZE=1", BLANK),
    (r"a\ b@x", BLANK),
    ("<a@x>", "holds '<' outside quotes"),
    ("<>", "holds '<' outside quotes"),
    ("a<@x", "holds '<' outside quotes"),
    ("a@x>", "holds '>' outside quotes"),
    ("a>b@x", "holds '>' outside quotes"),
    (r"a\>b@x", "holds '>' outside quotes"),
    ('"a">@x', "holds '>' outside quotes"),
    ('"a\\\\">@x', "holds '>' outside quotes"),
    ("User <a@x>", BLANK),
    ('"a@x', BALANCE),
    ('a"@x', BALANCE),
    ('"', BALANCE),
    ('"""@x', BALANCE),
    (r'"a\"@x', BALANCE),
    (r'"a\"', BALANCE),
    ('"a\\', BALANCE),
    ('"a b@x', BALANCE),
    (r'a\"b"@x', "holds a quote after a backslash outside quotes"),
    (r'a\"> NOTIFY=NEVER "@x', "holds a quote after a backslash outside quotes"),
    (r'"a"\"b"@x', "holds a quote after a backslash outside quotes"),
    ("a@x\\", "ends in a backslash"),
    ("\\", "ends in a backslash"),
    ("a@x\ud800", "is not valid Unicode"),
    ("a\udc0d\udc0a@x", "is not valid Unicode"),
    ('"\udcff"@x', "is not valid Unicode"),
]


@pytest.mark.parametrize("address", ACCEPTED, ids=ascii)
def test_odd_but_real_mailboxes_go_out_as_given(address: str) -> None:
    assert checked_address(address, "the recipient") is address


@pytest.mark.parametrize(("address", "why"), REFUSED, ids=ascii)
def test_what_would_not_stay_between_its_brackets_is_refused(address: str, why: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        checked_address(address, "the recipient")
    assert str(caught.value).startswith(f"the recipient {why}")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("control", [*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029])
@pytest.mark.parametrize("around", ["a{}@x", '"a{}"@x', '"a\\{}"@x', "ü{}@x"])
def test_no_control_stands_anywhere_not_even_in_quotes(control: int, around: str) -> None:
    with pytest.raises(LocalProtocolError, match=CONTROL):
        checked_address(around.format(chr(control)), "the recipient")


@pytest.mark.parametrize("address", [None, b"a@x", 5, ["a@x"], ("a", "x")], ids=repr)
def test_an_address_that_is_no_str_is_refused(address: Any) -> None:
    with pytest.raises(LocalProtocolError, match=f"^the sender is a str, not {type(address).__name__}$"):
        checked_address(address, "the sender")


@given(addresses)
def test_every_mailbox_of_the_grammar_is_taken_as_it_is(address: str) -> None:
    assert checked_address(address, "the recipient") == address


def end_of_path(line: str, *, escapes_outside_quotes: bool) -> int:
    """Return where a server sees the end of the path that begins ``line``, by either school."""
    quoted = escaped = False
    for at, c in enumerate(line):
        if escaped:
            escaped = False
        elif c == "\\" and (quoted or escapes_outside_quotes):
            escaped = True
        elif c == '"':
            quoted = not quoted
        elif c == ">" and not quoted:
            return at
    return -1


@given(hostile_text)
@example(r'a\"> NOTIFY=NEVER "@x')
@example("a\\")
def test_every_server_sees_the_end_of_a_path_where_it_is(address: str) -> None:
    try:
        checked_address(address, "the recipient")
    except LocalProtocolError as error:
        assert str(error).isprintable()
    else:
        line = f"{address}> SIZE=1"
        assert end_of_path(line, escapes_outside_quotes=False) == len(address)
        assert end_of_path(line, escapes_outside_quotes=True) == len(address)
        assert len(line.splitlines()) == 1


@pytest.mark.parametrize(
    ("address", "domain"),
    [
        ("a@example.org", "example.org"),
        ("a@b@example.org", "example.org"),
        ('"a@b"@example.org', "example.org"),
        ("@relay.example:a@example.org", "example.org"),
        ("a@[IPv6:2001:db8::1]", "[IPv6:2001:db8::1]"),
        ("用户@例子.example", "例子.example"),
        ("postmaster", ""),
        ("", ""),
        ("a@", ""),
        ("@example.org", ""),
        ('"a@b"', ""),
        ('a@"b@c"', ""),
    ],
)
def test_the_domain_follows_the_last_at_sign_outside_quotes(address: str, domain: str) -> None:
    assert domain_of(address) == domain


PLAIN = "!#$%&'*+-/=?^_`{|}~@[]:;,.()azAZ09"
BEYOND = [chr(code) for code in range(0x180) if not ("!" <= chr(code) <= "~") or chr(code) in '"\\<>']


@given(st.lists(st.text(PLAIN, min_size=1), min_size=1))
def test_several_plain_addresses_are_seen_to_be_so_at_a_glance(several: list[str]) -> None:
    assert all_plain(several)


@pytest.mark.parametrize("c", BEYOND, ids=ascii)
@pytest.mark.parametrize("where", ["{}b@y", "b{}@y", "b@y{}", "{}"])
@pytest.mark.parametrize("among", [("{}",), ("a@x", "{}"), ("{}", "a@x"), ("a@x", "{}", "c@z")])
def test_an_address_with_anything_else_gets_a_closer_look(c: str, where: str, among: tuple[str, ...]) -> None:
    assert not all_plain([each.format(where.format(c)) for each in among])


@pytest.mark.parametrize(
    "several", [[], [""], ["", ""], ["a@x", ""], ["", "a@x"], ["a@x", "", "b@y"]], ids=repr
)
def test_nobody_is_not_plain(several: list[str]) -> None:
    assert not all_plain(several)


@given(st.lists(hostile_text))
@example(["a@x\nb@y", ""])
def test_whatever_is_plain_at_a_glance_is_taken_on_a_closer_look(several: list[str]) -> None:
    if all_plain(several):
        assert [checked_address(address, "the recipient") for address in several] == several
