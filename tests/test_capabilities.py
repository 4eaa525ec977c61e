"""What a server offers, read from its answer to EHLO."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpstate._capabilities import Capabilities
from smtpstate._replies import Reply
from strategies import replies


def offered(*lines: bytes) -> Capabilities:
    return Capabilities.of(Reply(250, (b"mx.example", *lines)))


@pytest.mark.parametrize(
    ("line", "keyword", "words"),
    [
        (b"PIPELINING", "PIPELINING", ()),
        (b"SIZE 1000", "SIZE", ("1000",)),
        (b"SIZE", "SIZE", ()),
        (b"AUTH PLAIN LOGIN", "AUTH", ("PLAIN", "LOGIN")),
        (b"AUTH  PLAIN \t LOGIN  ", "AUTH", ("PLAIN", "LOGIN")),
        (b"  PIPELINING", "PIPELINING", ()),
        (b"PIPELINING  ", "PIPELINING", ()),
        (b"8BITMIME", "8BITMIME", ()),
        (b"X-OWN_1.2", "X-OWN_1.2", ()),
        (b"LIMITS RCPTMAX=20 MAILMAX=5", "LIMITS", ("RCPTMAX=20", "MAILMAX=5")),
        (b"X ~!", "X", ("~!",)),
    ],
)
def test_each_line_is_a_keyword_and_its_parameters(line: bytes, keyword: str, words: tuple[str, ...]) -> None:
    assert dict(offered(line)) == {keyword: words}


@pytest.mark.parametrize("line", [b"pipelining", b"Pipelining", b"PIPELINING"])
@pytest.mark.parametrize("keyword", ["pipelining", "PipeLining", "PIPELINING"])
def test_keywords_are_case_insensitive(line: bytes, keyword: str) -> None:
    assert keyword in offered(line)
    assert keyword not in offered(b"DSN", b"SIZE 5 PIPELINING")
    assert offered(line)[keyword] == ()


def test_auth_with_an_equals_sign_counts_as_auth() -> None:
    assert offered(b"AUTH=PLAIN").mechanisms == ("PLAIN",)
    assert offered(b"AUTH=PLAIN LOGIN").mechanisms == ("PLAIN", "LOGIN")
    assert offered(b"AUTH PLAIN LOGIN", b"AUTH=LOGIN CRAM-MD5").mechanisms == ("PLAIN", "LOGIN", "CRAM-MD5")


def test_the_first_line_is_never_a_keyword() -> None:
    assert dict(Capabilities.of(Reply(250, (b"PIPELINING",)))) == {}
    assert dict(Capabilities.of(Reply(250, (b"SIZE 1", b"DSN")))) == {"DSN": ()}


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b" ",
        b"-",
        b"=PLAIN",
        b"ENHANCED STATUS\x00",
        b"SIZE 1\x00",
        b"SIZE\x0b1",
        b"SIZE\x851",
        b"SIZE\xa01",
        b"SI\xc5\xbfE",
        "ＳＩＺＥ 1".encode(),
        b"SIZE\r",
        b"SIZE:1",
        b"\xff",
    ],
)
def test_a_line_that_is_no_keyword_is_passed_over(line: bytes) -> None:
    assert dict(offered(b"DSN", line, b"CHUNKING")) == {"DSN": (), "CHUNKING": ()}


def test_a_keyword_that_comes_twice_adds_its_parameters_once() -> None:
    assert dict(offered(b"AUTH PLAIN A", b"DSN", b"auth B PLAIN B A C")) == {
        "AUTH": ("PLAIN", "A", "B", "C"),
        "DSN": (),
    }


def test_mechanisms_are_in_upper_case_and_the_servers_order() -> None:
    assert offered(b"AUTH login Plain SCRAM-SHA-256").mechanisms == ("LOGIN", "PLAIN", "SCRAM-SHA-256")
    assert offered(b"DSN").mechanisms == ()


@pytest.mark.parametrize(
    ("line", "size"),
    [
        (b"SIZE 10240000", 10240000),
        (b"SIZE=1000", 1000),
        (b"SIZE 007", 7),
        (b"SIZE " + b"9" * 20, int("9" * 20)),
        (b"SIZE 1000 2000", 1000),
        (b"SIZE", None),
        (b"SIZE 0", None),  # RFC 1870 §4: no fixed maximum is in force
        (b"SIZE -1", None),
        (b"SIZE +1", None),
        (b"SIZE 1_000", None),
        (b"SIZE 1e3", None),
        (b"SIZE many", None),
        (b"SIZE " + b"9" * 21, None),
        (b"DSN", None),
    ],
)
def test_size_is_the_largest_message_in_octets(line: bytes, size: int | None) -> None:
    assert offered(line).size == size


@pytest.mark.parametrize("digit", ["²", "٣", "３", "१"])
def test_a_size_or_limit_in_other_digits_is_none(digit: str) -> None:
    given_by_a_program = Capabilities({"SIZE": (digit,), "LIMITS": (f"RCPTMAX={digit}",)})
    assert given_by_a_program.size is None
    assert given_by_a_program.limit("RCPTMAX") is None


@pytest.mark.parametrize(
    ("line", "limit"),
    [
        (b"LIMITS RCPTMAX=20", 20),
        (b"LIMITS MAILMAX=5 rcptmax=20", 20),
        (b"LIMITS RCPTMAX=999999", 999999),
        (b"LIMITS RCPTMAX=1000000", None),  # RFC 9422 §3 allows six digits
        (b"LIMITS RCPTMAX=0", None),
        (b"LIMITS RCPTMAX=", None),
        (b"LIMITS RCPTMAX", None),
        (b"LIMITS RCPTMAX=-1", None),
        (b"LIMITS RCPTMAX=1_0", None),
        (b"LIMITS RCPTMAX==1", None),
        (b"LIMITS XRCPTMAX=1", None),
        (b"LIMITS RCPTMAX=1000000 RCPTMAX=5 RCPTMAX=7", 5),
        (b"LIMITS RCPTMAX=0 RCPTMAX=5", None),
        (b"LIMITS", None),
        (b"RCPTMAX 5", None),
    ],
)
def test_a_limit_is_a_number_of_at_most_six_digits(line: bytes, limit: int | None) -> None:
    assert offered(line).limit("RCPTMAX") == limit


def test_what_is_ignored_limits_nothing() -> None:
    capabilities = offered(b"SIZE 5", b"LIMITS RCPTMAX=20")
    assert (capabilities.size, capabilities.limit("RCPTMAX"), capabilities.limit("MAILMAX")) == (5, 20, None)
    ignored = capabilities.without(frozenset({"SIZE", "LIMITS"}))
    assert (ignored.size, ignored.limit("RCPTMAX")) == (None, None)


def test_keywords_to_be_ignored_count_as_not_offered() -> None:
    assert dict(offered(b"DSN", b"SIZE 5", b"CHUNKING").without(frozenset({"SIZE", "DSN"}))) == {
        "CHUNKING": ()
    }


def test_it_is_a_mapping() -> None:
    capabilities = Capabilities({"dsn": (), "Auth": ("PLAIN",)})
    assert capabilities == {"DSN": (), "AUTH": ("PLAIN",)}
    assert len(capabilities) == 2
    assert list(capabilities) == ["DSN", "AUTH"]
    assert capabilities.get("size") is None
    no_keyword: object = 5
    assert no_keyword not in capabilities
    assert len(Capabilities()) == 0
    with pytest.raises(KeyError):
        capabilities["SIZE"]


def test_the_repr_reads_like_the_servers_lines() -> None:
    assert repr(offered(b"DSN", b"AUTH PLAIN LOGIN")) == "<Capabilities DSN, AUTH PLAIN LOGIN>"
    assert repr(Capabilities()) == "<Capabilities none>"


@given(replies)
def test_any_reply_can_be_read(reply: Reply) -> None:
    for keyword, words in Capabilities.of(reply).items():
        assert keyword.isascii()
        assert keyword == keyword.upper()
        assert len(set(words)) == len(words)
        assert all(word.isascii() and word.isprintable() and " " not in word for word in words)


@given(st.lists(st.binary(max_size=30)))
def test_any_octets_can_be_read(lines: list[bytes]) -> None:
    capabilities = offered(*lines)
    assert repr(capabilities).isprintable()
    assert capabilities.size is None or capabilities.size > 0


@pytest.mark.parametrize(
    "line",
    [
        b"A" + b" " * 3_000_000 + b"\x80",
        b" " * 3_000_000 + b"\x80",
        b"A" * 3_000_000 + b"\x80",
        b"A" + b"=" * 3_000_000 + b"\x80",
        b"AUTH " + b" ".join(b"%d" % n for n in range(300_000)) + b"\x80",
    ],
    ids=["blanks after", "blanks before", "keyword", "equals signs", "words"],
)
def test_a_line_made_to_be_slow_is_read_in_one_go(line: bytes) -> None:
    # Lines this long never come; where time grew with the square of their length, this would take hours.
    assert dict(offered(line)) == {}
    assert list(offered(b"A " + line[:-1])) == ["A"]
