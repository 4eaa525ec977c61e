"""Message objects are written in the form that asks least of a server, and never changed."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage, Message
from email.mime.text import MIMEText

import pytest

from smtpstate._mime import can_be_rewritten, is_signed, needs_utf8, written


def mail(body: str = "hello\n", **header: str) -> EmailMessage:
    message = EmailMessage()
    for name, value in header.items():
        message[name.replace("_", "-")] = value
    message.set_content(body)
    return message


def parsed(octets: bytes) -> EmailMessage:
    message = message_from_bytes(octets, policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message


def test_lines_end_in_crlf_whatever_the_policy_says() -> None:
    for each in (policy.default, policy.SMTP, policy.compat32):
        message = message_from_bytes(b"Subject: hello\n\nFrom me\nto you\n", policy=each)
        assert written(message) == b"Subject: hello\r\n\r\nFrom me\r\nto you\r\n"


def test_who_gets_a_blind_copy_is_not_told_and_the_callers_message_keeps_it() -> None:
    message = mail(To="b@y.example", Bcc="c@y.example", Resent_Bcc="d@y.example")
    octets = written(message)
    assert b"cc:" not in octets
    assert b"To: b@y.example" in octets
    assert (message["Bcc"], message["Resent-Bcc"]) == ("c@y.example", "d@y.example")


def test_an_object_of_the_old_kind_is_written_too() -> None:
    message = MIMEText("grüße\n", "plain", "utf-8")
    message["Bcc"] = "c@y.example"
    octets = written(message)
    assert b"Bcc" not in octets
    assert octets.isascii()
    assert not needs_utf8(message)


def test_a_subject_in_any_script_is_encoded_unless_utf8_is_wanted() -> None:
    message = mail(Subject="grüße")
    assert written(message).isascii()
    assert "Subject: grüße".encode() in written(message, utf8=True)
    assert not needs_utf8(message)


@pytest.mark.parametrize(
    ("header", "needed"),
    [
        ({"To": "b@y.example"}, False),
        ({"To": "Grüße <b@y.example>"}, False),
        ({"To": "grüße@y.example"}, True),
        ({"From": "a@x.example", "Cc": "b@y.example, grüße@y.example"}, True),
        ({"Subject": "grüße@y.example"}, False),
    ],
)
def test_only_an_address_needs_utf8(header: dict[str, str], needed: bool) -> None:
    assert needs_utf8(mail(**header)) is needed


def test_an_8bit_part_is_encoded_again_where_7bit_is_wanted() -> None:
    message = EmailMessage()
    message.set_content("grüße\n", cte="8bit")
    assert "grüße".encode() in written(message)
    octets = written(message, seven_bit=True)
    assert octets.isascii()
    assert parsed(octets).get_content() == "grüße\n"
    assert can_be_rewritten(message)


@pytest.mark.parametrize(
    ("octets", "signed"),
    [
        (b"DKIM-Signature: v=1\n\nhello\n", True),
        (b'Content-Type: multipart/signed; boundary="b"\n\n--b\n\nhello\n--b--\n', True),
        (
            b'Content-Type: multipart/mixed; boundary="m"\n\n'
            b'--m\nContent-Type: multipart/signed; boundary="b"\n\n--b\n\nhello\n--b--\n--m--\n',
            True,
        ),
        (b"Subject: hello\n\nhello\n", False),
    ],
)
def test_what_is_signed_is_never_written_anew(octets: bytes, signed: bool) -> None:
    message = parsed(octets)
    assert is_signed(message) is signed
    assert can_be_rewritten(message) is not signed


def test_the_header_of_a_signed_message_is_not_folded_anew() -> None:
    octets = b"DKIM-Signature: v=1\r\nSubject: " + b"word " * 30 + b"end\r\n\r\nhello\r\n"
    assert written(parsed(octets)) == octets


@pytest.mark.parametrize(
    ("kind", "octets", "possible"),
    [
        ("text/plain; charset=utf-8", "grüße\n".encode(), True),
        ("text/plain; charset=latin-1", "grüße\n".encode("latin-1"), True),
        ("text/plain; charset=utf-8", "grüße\n".encode("latin-1"), False),
        ("text/plain; charset=nonesuch", "grüße\n".encode(), False),
        ("text/plain", "grüße\n".encode(), False),
        ("application/octet-stream", b"\xff\xfe\n", True),
    ],
)
def test_a_text_that_is_not_what_it_says_is_left_alone(kind: str, octets: bytes, possible: bool) -> None:
    header = f"Content-Type: {kind}\nContent-Transfer-Encoding: 8bit\n\n".encode()
    message: Message = parsed(header + octets)
    assert can_be_rewritten(message) is possible
    assert written(message).endswith(octets.replace(b"\n", b"\r\n"))
