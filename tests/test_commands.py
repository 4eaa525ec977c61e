"""Commands: their octets, what they need, what they hide, and that none has a second line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpstate import _about_client, _commands, _questions
from smtpstate._about_client import Xclient, Xforward
from smtpstate._commands import (
    AuthAbort,
    AuthBegin,
    AuthResponse,
    Bdat,
    Command,
    Content,
    Data,
    Ehlo,
    EndOfContent,
    Helo,
    LastBdat,
    Lhlo,
    Mail,
    Noop,
    Opening,
    Protocol,
    Quit,
    Rcpt,
    Rset,
    StartTls,
    TlsStarted,
    names,
)
from smtpstate._errors import LocalProtocolError
from smtpstate._questions import Expn, Help, Vrfy
from strategies import COMMANDS, commands, hostile_text

SECRET = b"\0user\0hunter2"


@pytest.mark.parametrize(
    ("command", "wire"),
    [
        (Ehlo("client.example"), b"EHLO client.example\r\n"),
        (Ehlo("[IPv6:2001:db8::1]"), b"EHLO [IPv6:2001:db8::1]\r\n"),
        (Helo("client.example"), b"HELO client.example\r\n"),
        (Lhlo("client.example"), b"LHLO client.example\r\n"),
        (StartTls(), b"STARTTLS\r\n"),
        (AuthBegin("LOGIN"), b"AUTH LOGIN\r\n"),
        (AuthBegin("PLAIN", SECRET), b"AUTH PLAIN AHVzZXIAaHVudGVyMg==\r\n"),
        (AuthBegin("EXTERNAL", b""), b"AUTH EXTERNAL =\r\n"),  # RFC 4954 §4
        (
            AuthBegin("X_1-" + "A" * 16, b"\xff" * 100),
            b"AUTH X_1-" + b"A" * 16 + b" " + b"/" * 133 + b"w==\r\n",
        ),
        (AuthResponse(SECRET), b"AHVzZXIAaHVudGVyMg==\r\n"),
        (AuthResponse(b""), b"\r\n"),
        (AuthAbort(), b"*\r\n"),
        (Mail("a@x.example"), b"MAIL FROM:<a@x.example>\r\n"),
        (Mail(""), b"MAIL FROM:<>\r\n"),
        (Mail("ünï@x.example", (("SMTPUTF8", None),)), "MAIL FROM:<ünï@x.example> SMTPUTF8\r\n".encode()),
        (
            Mail("a@x", (("SIZE", "5"), ("BODY", "8BITMIME"), ("REQUIRETLS", None))),
            b"MAIL FROM:<a@x> SIZE=5 BODY=8BITMIME REQUIRETLS\r\n",
        ),
        (Mail("a@x", (("AUTH", "<>"),)), b"MAIL FROM:<a@x> AUTH=<>\r\n"),
        (Rcpt("b@y.example"), b"RCPT TO:<b@y.example>\r\n"),
        (Rcpt("postmaster"), b"RCPT TO:<postmaster>\r\n"),
        (Rcpt('"a b>"@y'), b'RCPT TO:<"a b>"@y>\r\n'),
        (
            Rcpt("b@y", (("NOTIFY", "NEVER"), ("ORCPT", "rfc822;b@y"), ("X", "a=b"))),
            b"RCPT TO:<b@y> NOTIFY=NEVER ORCPT=rfc822;b@y X=a=b\r\n",
        ),
        (Data(), b"DATA\r\n"),
        (EndOfContent(), b".\r\n"),
        (Bdat(b"abc\r\n"), b"BDAT 5\r\nabc\r\n"),
        (Bdat(b".\r\n", last=True), b"BDAT 3 LAST\r\n.\r\n"),
        (Bdat(b"", last=True), b"BDAT 0 LAST\r\n"),
        (Rset(), b"RSET\r\n"),
        (Noop(), b"NOOP\r\n"),
        (Quit(), b"QUIT\r\n"),
        (Vrfy("smith"), b"VRFY smith\r\n"),
        (Expn("list members"), b"EXPN list members\r\n"),
        (Help(), b"HELP\r\n"),
        (Help("mail"), b"HELP mail\r\n"),
        (Xclient((("ADDR", "192.0.2.1"), ("NAME", "a b"))), b"XCLIENT ADDR=192.0.2.1 NAME=a+20b\r\n"),
        (Xforward((("HELO", "ü\r\n"),)), b"XFORWARD HELO=+C3+BC+0D+0A\r\n"),
    ],
    ids=str,
)
def test_the_octets_of_a_command(command: Command, wire: bytes) -> None:
    assert bytes(command) == wire


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (AuthBegin("PLAIN", SECRET), "AUTH PLAIN ****"),
        (AuthBegin("PLAIN", b""), "AUTH PLAIN ****"),
        (AuthBegin("LOGIN"), "AUTH LOGIN"),
        (AuthResponse(SECRET), "****"),
        (Content(SECRET), "(13 octets)"),
        (Bdat(SECRET, last=True), "BDAT 13 LAST (13 octets)"),
        (Bdat(SECRET), "BDAT 13 (13 octets)"),
    ],
)
def test_secrets_and_content_are_masked_when_printed(command: Command, line: str) -> None:
    assert str(command) == line
    assert "hunter2" not in repr(command)


@given(commands)
def test_what_is_printed_is_the_line_where_nothing_is_masked(command: Command) -> None:
    if not isinstance(command, (AuthBegin, AuthResponse, Content, Bdat)):
        assert bytes(command) == f"{command}\r\n".encode()


# Nothing of a caller's string can end a line.


#: Every command that there is.
KINDS = [
    kind
    for name, kind in (vars(_commands) | vars(_about_client) | vars(_questions)).items()
    if isinstance(kind, type)
    and issubclass(kind, Command)
    and kind is not Command
    and not name.startswith("_")
]
NEVER_SENT = {Opening, TlsStarted, LastBdat}


def test_every_command_that_can_be_sent_is_generated() -> None:
    assert set(COMMANDS) == set(KINDS) - NEVER_SENT


hostile_parameters = st.lists(
    st.tuples(st.just("SIZE") | hostile_text, st.none() | hostile_text), max_size=2
).map(tuple)
hostile_attributes = st.lists(st.tuples(st.just("NAME") | hostile_text, hostile_text), max_size=2).map(tuple)
plain_or_hostile = st.just("a@x") | hostile_text

#: Each command that takes strings, made of any strings whatever.
HOSTILE: dict[type[Command], Callable[[st.DataObject], Command]] = {
    Ehlo: lambda data: Ehlo(data.draw(hostile_text)),
    Helo: lambda data: Helo(data.draw(hostile_text)),
    Lhlo: lambda data: Lhlo(data.draw(hostile_text)),
    AuthBegin: lambda data: AuthBegin(data.draw(hostile_text), data.draw(st.none() | st.binary())),
    AuthResponse: lambda data: AuthResponse(data.draw(st.binary())),
    Mail: lambda data: Mail(data.draw(plain_or_hostile), data.draw(hostile_parameters)),
    Rcpt: lambda data: Rcpt(data.draw(plain_or_hostile), data.draw(hostile_parameters)),
    Vrfy: lambda data: Vrfy(data.draw(hostile_text)),
    Expn: lambda data: Expn(data.draw(hostile_text)),
    Help: lambda data: Help(data.draw(hostile_text)),
    Xclient: lambda data: Xclient(data.draw(hostile_attributes)),
    Xforward: lambda data: Xforward(data.draw(hostile_attributes)),
    Bdat: lambda data: Bdat(data.draw(st.binary()), last=data.draw(st.booleans())),
}


def command_line(command: Command) -> bytes:
    """Return the line of a command, without its end; what follows a BDAT line is counted, not read."""
    wire = bytes(command)
    if isinstance(command, Bdat):
        assert wire.endswith(command.chunk)
        wire = wire[: len(wire) - len(command.chunk)]
    assert wire.endswith(b"\r\n")
    return wire[:-2]


@pytest.mark.parametrize("kind", HOSTILE, ids=lambda kind: kind.__name__)
@given(st.data())
def test_no_string_of_a_caller_can_end_a_line(kind: type[Command], data: st.DataObject) -> None:
    try:
        command = HOSTILE[kind](data)
    except LocalProtocolError as error:
        assert str(error).isprintable()
        return
    line = command_line(command)
    assert b"\r" not in line
    assert b"\n" not in line
    assert b"\0" not in line
    assert len(line.decode().splitlines()) <= 1  # an empty answer to a challenge has none
    assert len(str(command).splitlines()) == 1


@given(commands)
def test_no_command_has_a_second_line(command: Command) -> None:
    if not isinstance(command, Content):
        assert len(command_line(command).splitlines()) <= 1


BREAKS = ["\r", "\n", "\r\n", "\r\nRSET", "\0", "\t", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029"]


#: Each place in which a command takes a string.
ARGUMENTS: list[Callable[[str], Command]] = [
    Ehlo,
    Helo,
    Lhlo,
    AuthBegin,
    Mail,
    Rcpt,
    Vrfy,
    Expn,
    Help,
    lambda text: Mail("a@x", ((text, None),)),
    lambda text: Mail("a@x", (("SIZE", text),)),
    lambda text: Rcpt("a@x", ((text, "1"),)),
    lambda text: Rcpt("a@x", (("ORCPT", text),)),
    lambda text: Xclient(((text, "1"),)),
    lambda text: Xforward(((text, "1"),)),
]


@pytest.mark.parametrize("line_break", BREAKS, ids=ascii)
@pytest.mark.parametrize("make", ARGUMENTS)
def test_a_line_break_is_refused_in_each_argument(make: Callable[[str], Command], line_break: str) -> None:
    for text in (f"A{line_break}", f"{line_break}A", f"A{line_break}B", line_break):
        with pytest.raises(LocalProtocolError):
            make(text)


# What each argument must be.


@pytest.mark.parametrize("name", ["", " ", "a b", "ünï.example", "a\xa0b", "\x7f", "a\ud800"], ids=ascii)
@pytest.mark.parametrize("kind", [Ehlo, Helo, Lhlo])
def test_the_name_in_a_hello_is_one_word_of_ascii(kind: type[Ehlo | Helo | Lhlo], name: str) -> None:
    with pytest.raises(LocalProtocolError, match=f"^{kind.verb} needs a name in ASCII, not '"):
        kind(name)


@pytest.mark.parametrize("mechanism", ["", "plain", "PLAIN ", "A B", "A" * 21, "PLÄIN", "PLAIN\n", "A=", "²"])
def test_a_mechanism_is_1_to_20_of_its_characters(mechanism: str) -> None:
    with pytest.raises(LocalProtocolError, match=r"^not a SASL mechanism: '"):
        AuthBegin(mechanism)


def test_a_path_of_mail_or_rcpt_is_a_checked_address() -> None:
    with pytest.raises(LocalProtocolError, match=r"^the reverse-path holds '>' outside quotes: "):
        Mail("a@x>")
    with pytest.raises(LocalProtocolError, match=r"^the recipient has a quote without its end: "):
        Rcpt('"a@x')
    with pytest.raises(LocalProtocolError, match=r"^the recipient is empty"):
        Rcpt("")


@pytest.mark.parametrize("text", ["", " ", "\xa0"], ids=ascii)
def test_a_question_is_about_something(text: str) -> None:
    with pytest.raises(LocalProtocolError, match=r"^VRFY needs an argument$"):
        Vrfy(text)
    with pytest.raises(LocalProtocolError, match=r"^EXPN needs an argument$"):
        Expn(text)


# What the rest of the machine reads off a command.


@pytest.mark.parametrize(
    ("command", "needs"),
    [
        (StartTls(), ("STARTTLS",)),
        (AuthBegin("PLAIN"), ("AUTH",)),
        (Bdat(b""), ("CHUNKING",)),
        (Mail("a@x"), ()),
        (Mail("a@x", (("SIZE", "1"), ("SMTPUTF8", None))), ("SIZE", "SMTPUTF8")),
        (Mail("a@x", (("BODY", "8BITMIME"),)), ("8BITMIME",)),
        (Mail("a@x", (("BODY", "BINARYMIME"),)), ("BINARYMIME",)),
        (Mail("a@x", (("body", "binarymime"),)), ("BINARYMIME",)),
        (Mail("a@x", (("BODY", None),)), ("8BITMIME",)),
        (Mail("a@x", (("X-OWN", "BINARYMIME"),)), ("X-OWN",)),
        (Mail("a@x", (("RET", "HDRS"), ("ENVID", "x"))), ("DSN", "DSN")),
        (Mail("a@x", (("by", "5;R"), ("HOLDFOR", "5"))), ("DELIVERBY", "FUTURERELEASE")),
        (Mail("a@x", (("X-OWN", None),)), ("X-OWN",)),
        (Rcpt("b@y"), ()),
        (Rcpt("b@y", (("NOTIFY", "NEVER"), ("RRVS", "x"))), ("DSN", "RRVS")),
        (Xclient((("ADDR", "1"),)), ("XCLIENT",)),
        (Xforward((("ADDR", "1"),)), ("XFORWARD",)),
        (Quit(), ()),
    ],
    ids=str,
)
def test_a_command_needs_what_must_have_been_offered(command: Command, needs: tuple[str, ...]) -> None:
    assert command.needs == needs


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_hello_starttls_and_auth_are_never_pipelined(kind: type[Command]) -> None:
    # RFC 2920 §3.1: these, and what changes the connection, are the last of their group.
    followed = {Mail, Rcpt, Content, EndOfContent, Bdat, LastBdat, Rset}
    assert kind.pipelines is (kind in followed)


def test_the_last_chunk_stands_in_a_column_of_its_own() -> None:
    assert Bdat(b"", last=True).kind is LastBdat
    assert Bdat(b"").kind is Bdat
    assert Rset().kind is Rset


def test_each_protocol_has_its_own_hello() -> None:
    assert (Ehlo.protocol, Helo.protocol, Lhlo.protocol) == (Protocol.SMTP, Protocol.SMTP, Protocol.LMTP)
    assert {kind.protocol for kind in KINDS} == {None, Protocol.SMTP, Protocol.LMTP}


@given(commands)
def test_commands_are_values(command: Command) -> None:
    assert {command, replace(command)} == {command}
    assert command != Rcpt("nobody")


def test_what_is_never_sent_has_a_name_for_messages() -> None:
    assert names([Mail, Opening, TlsStarted]) == "MAIL, the greeting, the TLS handshake"
