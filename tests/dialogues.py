"""Real dialogues that lead a connection into each of its states, for the tests of layer 1."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest

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
    Lhlo,
    Mail,
    Noop,
    Protocol,
    Quit,
    Rcpt,
    Rset,
    StartTls,
)
from smtpstate._connection import Connection
from smtpstate._errors import RemoteProtocolError
from smtpstate._events import NEED_DATA, Event
from smtpstate._limits import Limits
from smtpstate._machine import State
from smtpstate._questions import Expn, Help, Vrfy

SMTP, LMTP = Protocol.SMTP, Protocol.LMTP

GREETING = b"220 mx.example\r\n"

#: Everything that a command may need.
KEYWORDS = (
    "PIPELINING",
    "CHUNKING",
    "STARTTLS",
    "AUTH PLAIN LOGIN",
    "SIZE 1000",
    "XCLIENT NAME",
    "XFORWARD NAME",
)

MAIL = Mail("a@x.example")
RCPT = Rcpt("b@y.example")

#: One command of each kind, by the name under which tests speak of it.
COMMANDS: Mapping[str, Command] = {
    "EHLO": Ehlo("c.example"),
    "HELO": Helo("c.example"),
    "LHLO": Lhlo("c.example"),
    "STARTTLS": StartTls(),
    "AUTH": AuthBegin("LOGIN"),
    "response": AuthResponse(b"secret"),
    "*": AuthAbort(),
    "MAIL": MAIL,
    "RCPT": RCPT,
    "DATA": Data(),
    "content": Content(b"x"),
    "end": EndOfContent(),
    "BDAT": Bdat(b"x"),
    "BDAT-LAST": Bdat(b"x", last=True),
    "RSET": Rset(),
    "NOOP": Noop(),
    "QUIT": Quit(),
    "VRFY": Vrfy("b"),
    "EXPN": Expn("list"),
    "HELP": Help(),
    "XCLIENT": Xclient((("NAME", "z.example"),)),
    "XFORWARD": Xforward((("NAME", "z.example"),)),
}

# What may be said in which state, by the RFCs: EHLO clears everything and is legal at any time between
# commands (RFC 5321 §4.1.4), NOOP, HELP, VRFY, EXPN, RSET need no EHLO (the same), QUIT is legal at any time
# (§4.1.1.10) but inside of something else; after STARTTLS and inside AUTH nothing else is (RFC 3207 §4,
# RFC 4954 §4), neither of them may be said inside a transaction, and DATA and BDAT do not mix (RFC 3030 §2).
_LEGAL = """
           GREETING HELLO READY TLS CHALLENGED MAIL RCPT DATA CHUNKS SPOILED CLOSED
EHLO              .     x     x   .          .    x    x    .      .       x      .
HELO              .     x     x   .          .    x    x    .      .       x      .
LHLO              .     x     x   .          .    x    x    .      .       x      .
STARTTLS          .     .     x   .          .    .    .    .      .       .      .
AUTH              .     .     x   .          .    .    .    .      .       .      .
response          .     .     .   .          x    .    .    .      .       .      .
*                 .     .     .   .          x    .    .    .      .       .      .
MAIL              .     .     x   .          .    .    .    .      .       .      .
RCPT              .     .     .   .          .    x    x    .      .       .      .
DATA              .     .     .   .          .    .    x    .      .       .      .
content           .     .     .   .          .    .    .    x      .       .      .
end               .     .     .   .          .    .    .    x      .       .      .
BDAT              .     .     .   .          .    .    x    .      x       .      .
BDAT-LAST         .     .     .   .          .    .    x    .      x       .      .
RSET              .     x     x   .          .    x    x    .      x       x      .
NOOP              .     x     x   .          .    x    x    .      x       x      .
QUIT              .     x     x   .          .    x    x    .      x       x      .
VRFY              .     x     x   .          .    x    x    .      .       x      .
EXPN              .     x     x   .          .    x    x    .      .       x      .
HELP              .     x     x   .          .    x    x    .      .       x      .
XCLIENT           .     .     x   .          .    .    .    .      .       .      .
XFORWARD          .     .     x   .          .    .    .    .      .       .      .
"""

# Where an answer leads, digit by digit; what is not here leads nowhere, whatever it is answered with.
_NEXT = """
EHLO       2 READY
HELO       2 READY
LHLO       2 READY
STARTTLS   2 TLS
AUTH       2 READY    3 CHALLENGED
response   2 READY    3 CHALLENGED  4 READY    5 READY
*          2 READY                  4 READY    5 READY
MAIL       2 MAIL
RCPT       2 RCPT
DATA                  3 DATA
end        2 READY                  4 READY    5 READY
BDAT       2 CHUNKS                 4 SPOILED  5 SPOILED
BDAT-LAST  2 READY                  4 SPOILED  5 SPOILED
RSET       2 READY
QUIT       2 CLOSED                 4 CLOSED   5 CLOSED
XCLIENT    2 HELLO
"""

_HEAD, *_ROWS = (line.split() for line in _LEGAL.strip().splitlines())
#: Whether a command is legal in a state.
LEGAL: Mapping[tuple[State, str], bool] = {
    (State[state], name): mark == "x"
    for name, *marks in _ROWS
    for state, mark in zip(_HEAD, marks, strict=True)
}
#: Command -> first digit of the answer -> the state after it, where that is another.
NEXT: Mapping[str, Mapping[int, State]] = {
    name: {int(digit): State[state] for digit, state in zip(rest[::2], rest[1::2], strict=True)}
    for name, *rest in (line.split() for line in _NEXT.strip().splitlines())
}

#: How each state is reached from READY: what is sent, and what it is answered with.
_FROM_READY: Mapping[State, tuple[tuple[Command, bytes], ...]] = {
    State.READY: (),
    State.TLS: ((StartTls(), b"220 go ahead\r\n"),),
    State.CHALLENGED: ((AuthBegin("LOGIN"), b"334 VXNlcm5hbWU6\r\n"),),
    State.MAIL: ((MAIL, b"250 ok\r\n"),),
    State.RCPT: ((MAIL, b"250 ok\r\n"), (RCPT, b"250 ok\r\n")),
    State.DATA: ((MAIL, b"250 ok\r\n"), (RCPT, b"250 ok\r\n"), (Data(), b"354 go ahead\r\n")),
    State.CHUNKS: ((MAIL, b"250 ok\r\n"), (RCPT, b"250 ok\r\n"), (Bdat(b"x"), b"250 ok\r\n")),
    State.SPOILED: ((MAIL, b"250 ok\r\n"), (RCPT, b"250 ok\r\n"), (Bdat(b"x"), b"552 too big\r\n")),
    State.CLOSED: ((Quit(), b"221 bye\r\n"),),
}


def after(state: State, name: str, digit: int) -> State:
    """Return where an answer leads from ``state``."""
    if state is State.HELLO and name == "RSET":
        return state  # there is no transaction to abandon, and RSET is no introduction
    return NEXT.get(name, {}).get(digit, state)


def tongue(name: str, protocol: Protocol = SMTP) -> Protocol:
    """Return the protocol that has the command, or ``protocol`` if both have it."""
    return {"EHLO": SMTP, "HELO": SMTP, "LHLO": LMTP}.get(name, protocol)


def hello(protocol: Protocol) -> Command:
    """Return the introduction that the protocol has."""
    return COMMANDS["EHLO" if protocol is SMTP else "LHLO"]


def offer(*keywords: str) -> bytes:
    """Return an answer to EHLO or LHLO."""
    lines = ["mx.example", *keywords]
    return b"".join(f"250{' ' if line is lines[-1] else '-'}{line}\r\n".encode() for line in lines)


def events(conn: Connection) -> list[Event]:
    """Return all that has happened."""
    found: list[Event] = []
    while (event := conn.next_event()) is not NEED_DATA:
        found.append(event)
    return found


def hear(conn: Connection, *wires: bytes) -> list[Event]:
    """Return all that happens when the server has sent ``wires``, each in a segment of its own."""
    found: list[Event] = []
    for wire in wires:
        conn.receive_data(wire)
        found += events(conn)
    return found


def violation(conn: Connection) -> RemoteProtocolError:
    """Return why a server is not believed any more, which is said again whenever it is asked."""
    with pytest.raises(RemoteProtocolError) as caught:
        conn.next_event()
    with pytest.raises(RemoteProtocolError) as again:
        conn.next_event()
    assert str(again.value) == str(caught.value)
    assert again.value.reply == caught.value.reply
    assert conn.closed
    return caught.value


def say(conn: Connection, *commands: Command) -> bytes:
    """Send ``commands`` in one flight."""
    return b"".join([conn.send(command) for command in commands])


def reach(
    state: State,
    protocol: Protocol = SMTP,
    *,
    keywords: Iterable[str] = KEYWORDS,
    limits: Limits | None = None,
    encrypted: bool = False,
) -> Connection:
    """Return a connection that a real dialogue has led into ``state``, with nothing outstanding but the greeting."""
    conn = Connection(protocol, limits=limits, encrypted=encrypted)
    if state is State.GREETING:
        return conn
    hear(conn, GREETING)
    if state is not State.HELLO:
        conn.send(hello(protocol))
        hear(conn, offer(*keywords))
        for command, answer in _FROM_READY[state]:
            conn.send(command)
            hear(conn, answer)
    assert conn.state is state
    return conn
