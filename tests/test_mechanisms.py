"""Each mechanism's octets, as its RFC or its inventor shows them."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sasl import everything_of, responses, said
from smtpstate._errors import LocalProtocolError, RemoteProtocolError
from smtpstate._mechanisms import (
    Exchange,
    MechanismFailed,
    Response,
    checked_password,
    checked_token,
    checked_user,
    cram_md5,
    decode_challenge,
    external,
    login,
    oauthbearer,
    plain,
    xoauth2,
)

TOKEN = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="


# The wire.


@pytest.mark.parametrize(
    ("user", "password", "encoded"),
    [
        ("tim", "tanstaaftanstaaf", "AHRpbQB0YW5zdGFhZnRhbnN0YWFm"),  # RFC 4616 §4
        ("jürgen", "pass wörd", "AGrDvHJnZW4AcGFzcyB3w7ZyZA=="),
        ("a", "\x01\t\r\n", "AGEAAQkNCg=="),
    ],
)
def test_plain_says_all_at_once(user: str, password: str, encoded: str) -> None:
    assert said(plain(user, password)) == [b64decode(encoded)]
    with pytest.raises(StopIteration):
        responses(plain(user, password), b"")


@pytest.mark.parametrize(
    "prompts",
    [(b"Username:", b"Password:"), (b"User Name\0", b"Password\0"), (b"", b""), (b"Password:", b"\xff")],
)
def test_login_goes_by_the_order_of_the_prompts_and_not_by_their_words(prompts: tuple[bytes, bytes]) -> None:
    assert said(login("tim", "tanstääf"), *prompts) == [None, b"tim", "tanstääf".encode()]
    with pytest.raises(StopIteration):
        responses(login("tim", "tanstääf"), *prompts, b"")


def test_login_is_not_settled_before_the_password_is_sent() -> None:
    assert [r.proven for r in responses(login("tim", "secret"), b"", b"")] == [False, False, True]


def test_cram_md5_hashes_the_challenge() -> None:
    # RFC 2195 §2
    challenge = b"<1896.697170952@postoffice.reston.mci.net>"
    answers = responses(cram_md5("tim", "tanstaaftanstaaf"), challenge)
    assert [r.data for r in answers] == [None, b"tim b913a602c7eda7a495b4e6e7334d3890"]
    assert [r.proven for r in answers] == [False, True]


def test_cram_md5_writes_names_and_keys_in_utf_8() -> None:
    _, answer = said(cram_md5("jürgen b", "pässword" * 20), b"<1@x>")
    assert answer == b"j\xc3\xbcrgen b 861d890aa27008d8c3b3069b9bb39c59"


@pytest.mark.parametrize(
    ("identity", "octets"), [("", b""), ("jürgen@x.example", b"j\xc3\xbcrgen@x.example")]
)
def test_external_says_whom_to_act_as_or_nothing(identity: str, octets: bytes) -> None:
    assert said(external(identity)) == [octets]


def test_xoauth2_is_as_its_inventor_shows_it() -> None:
    steps = xoauth2("someuser@example.com", "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg")
    encoded = (
        "dXNlcj1zb21ldXNlckBleGFtcGxlLmNvbQFhdXRoPUJlYXJlciB5YTI5LnZGOWRmdDRxbVRjMk52YjNSbGNrQmhkSFJoZG1semRHRXVZMjl0"
        "Q2cBAQ=="
    )
    error = b64decode(
        "eyJzdGF0dXMiOiI0MDEiLCJzY2hlbWVzIjoiYmVhcmVyIG1hYyIsInNjb3BlIjoiaHR0cHM6Ly9tYWlsLmdvb2dsZS5jb20vIn0K"
    )
    first, last = responses(steps, error)
    assert first.data == b64decode(encoded)
    assert first.proven
    assert first.detail is None
    assert last.data == b""
    assert not last.proven
    assert last.detail == '{"status": "401", "schemes": "bearer mac", "scope": "https://mail.google.com/"}'


@pytest.mark.parametrize(
    ("port", "encoded"),
    [
        (
            143,  # RFC 7628 §4.1
            "bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9MTQzAWF1dGg9QmVhcmVyIHZGOWRmdDRxbVRj"
            "Mk52YjNSbGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9PQEB",
        ),
        (
            587,  # RFC 7628 §4.4
            "bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9NTg3AWF1dGg9QmVhcmVyIHZGOWRmdDRxbVRj"
            "Mk52YjNSbGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9PQEB",
        ),
    ],
)
def test_oauthbearer_says_where_the_token_goes(port: int, encoded: str) -> None:
    assert said(oauthbearer("user@example.com", TOKEN, "server.example.com", port)) == [b64decode(encoded)]


def test_oauthbearer_answers_an_error_and_keeps_it() -> None:
    error = (
        b'{"status":"invalid_token","scope":"example_scope",'
        b'"openid-configuration":"https://example.com/.well-known/openid-configuration"}'
    )
    first, last = responses(oauthbearer("user@example.com", TOKEN, None, None), error)
    assert first == Response(f"n,a=user@example.com,\x01auth=Bearer {TOKEN}\x01\x01".encode())
    assert last.data == b64decode("AQ==")
    assert not last.proven
    assert last.detail is not None
    assert last.detail.startswith('{"status": "invalid_token", "scope": "example_scope"')


def test_oauthbearer_escapes_what_would_end_the_name() -> None:
    [first] = said(oauthbearer("a=b,c", "t", None, None))
    assert first == b"n,a=a=3Db=2Cc,\x01auth=Bearer t\x01\x01"


@pytest.mark.parametrize("mechanism", [xoauth2, partial(oauthbearer, host="mx.example", port=587)])
@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (b"", None),
        (b"not\r\njson \xff", "not\\r\\njson \N{REPLACEMENT CHARACTER}"),
        (b'{"status": "\x1b[2J"}', '{"status": "\\x1b[2J"}'),
        (b'{"status": "\\u001b[2J"}', '{"status": "\\u001b[2J"}'),
        ('{"status": "ung\\u00fcltig für ä"}'.encode(), '{"status": "ungültig für ä"}'),
        (b"no to/k+en is good", "no **** is good"),
        (b'{"got": "to/k+en"}', '{"got": "****"}'),
        (b'{"got": "to\\/\\u006b+en"}', '{"got": "****"}'),
        (b"[" * 9000, "[" * 9000),
        (b"9" * 9000, "9" * 9000),
    ],
)
def test_the_reason_of_a_refusal_is_safe_to_show(
    mechanism: Callable[[str, str], Exchange], error: bytes, shown: str | None
) -> None:
    _, last = responses(mechanism("user", "to/k+en"), error)
    assert last.detail == shown


@given(st.binary(max_size=200))
def test_no_error_of_oauth_is_beyond_answering(error: bytes) -> None:
    _, last = responses(xoauth2("user", "token"), error)
    assert last.data == b""
    assert last.detail is None or ("token" not in last.detail and last.detail.isprintable())


# Challenges.


@given(st.binary(max_size=100))
def test_a_challenge_is_base64(octets: bytes) -> None:
    assert decode_challenge(b64encode(octets)) == octets


@pytest.mark.parametrize(
    "text",
    [
        b"Username:",
        b"VXNlcm5hbWU",
        b"VXNl cm5hbWU=",
        b"VXNlcm5hbWU=\n",
        b"=",
        b"====",
        b"YQ==YQ==",
        b"-_-_",
        b"\xff\xfe",
    ],
)
def test_a_challenge_that_is_no_base64_is_seen(text: bytes) -> None:
    with pytest.raises(MechanismFailed, match=r"^the challenge is no base64$") as caught:
        decode_challenge(text)
    assert isinstance(caught.value, RemoteProtocolError)


# What cannot be said.


@pytest.mark.parametrize(
    ("user", "reason"),
    [
        ("", "the user name is empty"),
        ("a\0b", "the user name holds a control character, or is not valid Unicode"),
        ("a\x01b", "the user name holds a control character, or is not valid Unicode"),
        ("a\n", "the user name holds a control character, or is not valid Unicode"),
        ("a\x7f", "the user name holds a control character, or is not valid Unicode"),
        ("a\ud800", "the user name holds a control character, or is not valid Unicode"),
    ],
)
def test_what_is_no_user_name_is_refused(user: str, reason: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        checked_user(user)
    assert str(caught.value) == reason


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("", "the password is empty"),
        ("hunter2\0", "the password holds a NUL, or is not valid Unicode"),
        ("\udfffhunter2", "the password holds a NUL, or is not valid Unicode"),
    ],
)
def test_what_is_no_password_is_refused(password: str, reason: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        checked_password(password)
    assert str(caught.value) == reason
    assert "hunter2" not in everything_of(caught.value)


@pytest.mark.parametrize(
    "token", ["", "hunter2\n", "hunter 2", "hünter2", "hunter2\x01", "\ud800", "=", "a=b", 'a"b']
)
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        checked_token(token)
    assert str(caught.value) == "the token is not letters, digits and -._~+/, with = only at its end"
    assert "unter" not in everything_of(caught.value)


def test_what_can_be_said_is_returned_as_it_is() -> None:
    assert checked_user("jürgen b@x.example") == "jürgen b@x.example"
    assert checked_password("\t\x01 pässword🔑") == "\t\x01 pässword🔑"
    assert checked_token(TOKEN) == TOKEN


@pytest.mark.parametrize(
    "steps",
    [
        lambda: plain("", "hunter2"),
        lambda: plain("user", "hunter2\0"),
        lambda: login("", "hunter2"),
        lambda: login("user", "hunter2\0"),
        lambda: cram_md5("a\0", "hunter2"),
        lambda: cram_md5("user", "hunter2\0"),
        lambda: external("\n"),
        lambda: xoauth2("a\x01", "hunter2"),
        lambda: xoauth2("user", "hunter2\n"),
        lambda: oauthbearer("a\x01", "hunter2", None, None),
        lambda: oauthbearer("user", "hunter2\n", None, None),
    ],
)
def test_nothing_is_sent_of_what_cannot_be_sent_whole(steps: Callable[[], Exchange]) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        next(steps())
    assert "hunter2" not in everything_of(caught.value)


def test_a_response_hides_its_octets() -> None:
    assert repr(Response(b"hunter2")) == "Response(proven=True, detail=None)"
