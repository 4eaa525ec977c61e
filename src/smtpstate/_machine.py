"""The client's whole state machine: one table, two cursors.

Theory of operation. The table says, for each state, which commands may be
sent, and for each of them where the first digit of its reply leads. Two
cursors walk it: ``state`` follows the replies, ``ahead`` follows the commands
as if each succeeds. A command keeps the row it was sent under, so that
250, 550, 354 after MAIL, RCPT, DATA lands in DATA although DATA was sent
before anybody knew of the 550 (RFC 2920 §3.1). When nothing is outstanding
both cursors are equal.

Two rules: everything that moves a state is in this file, and this file never
looks at more of a command than its kind, nor at more of a reply than its
first digit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import TypeAlias, final

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
)
from smtpstate._errors import LocalProtocolError
from smtpstate._questions import Expn, Help, Vrfy


@final
class State(Enum):
    """Where a connection stands."""

    GREETING = "greeting"  #: nothing may be sent before the server has greeted (RFC 5321 §4.3.1)
    HELLO = "hello"  #: the client must introduce itself
    READY = "ready"  #: between transactions
    TLS = "tls"  #: the server awaits a handshake
    CHALLENGED = "challenged"  #: within a SASL exchange
    MAIL = "mail"  #: a transaction without an accepted recipient
    RCPT = "rcpt"  #: a transaction with one at least
    DATA = "data"  #: the server takes everything for the message
    CHUNKS = "chunks"  #: some of the message has been taken by BDAT
    SPOILED = "spoiled"  #: the message was refused midway; the transaction must be abandoned
    CLOSED = "closed"  #: nothing more can be sent

    _rows: Mapping[type[Command], Row]  # of the table: the look-up by a member is slow, and made all the time


Row: TypeAlias = Mapping[int, State]

_ALWAYS: Mapping[type[Command], Row] = {Noop: {}, Help: {}, Vrfy: {}, Expn: {}, Rset: {2: State.READY}}
_HELLO: Mapping[type[Command], Row] = {
    Ehlo: {2: State.READY},  # RFC 5321 §4.1.4: legal at any time, and clears the transaction
    Helo: {2: State.READY},
    Lhlo: {2: State.READY},
}
_QUIT: Mapping[type[Command], Row] = {Quit: {2: State.CLOSED, 4: State.CLOSED, 5: State.CLOSED}}

# state -> command -> first digit of the reply -> next state.  A command without a row is illegal
# there; a digit without an entry changes nothing; the first entry is what pipelining counts on.
TRANSITIONS: Mapping[State, Mapping[type[Command], Row]] = {
    State.GREETING: {
        Opening: {2: State.HELLO, 4: State.CLOSED, 5: State.CLOSED},
    },
    State.HELLO: {
        **_HELLO,
        **_ALWAYS,
        Rset: {},  # changes nothing before the introduction
        **_QUIT,
    },
    State.READY: {
        Mail: {2: State.MAIL},
        StartTls: {2: State.TLS},
        AuthBegin: {2: State.READY, 3: State.CHALLENGED},
        Xforward: {},
        Xclient: {2: State.HELLO},
        **_HELLO,
        **_ALWAYS,
        **_QUIT,
    },
    State.TLS: {
        TlsStarted: {2: State.HELLO},  # RFC 3207 §4.2: the client must forget what it knew
    },
    State.CHALLENGED: {
        AuthResponse: {2: State.READY, 3: State.CHALLENGED, 4: State.READY, 5: State.READY},
        AuthAbort: {2: State.READY, 4: State.READY, 5: State.READY},
    },
    State.MAIL: {
        Rcpt: {2: State.RCPT},
        **_HELLO,
        **_ALWAYS,
        **_QUIT,
    },
    State.RCPT: {
        Rcpt: {2: State.RCPT},
        Data: {3: State.DATA},
        Bdat: {2: State.CHUNKS, 4: State.SPOILED, 5: State.SPOILED},
        LastBdat: {2: State.READY, 4: State.SPOILED, 5: State.SPOILED},
        **_HELLO,
        **_ALWAYS,
        **_QUIT,
    },
    State.DATA: {
        Content: {},
        EndOfContent: {2: State.READY, 4: State.READY, 5: State.READY},
    },
    State.CHUNKS: {
        Bdat: {2: State.CHUNKS, 4: State.SPOILED, 5: State.SPOILED},
        LastBdat: {2: State.READY, 4: State.SPOILED, 5: State.SPOILED},
        Rset: {2: State.READY},
        Noop: {},
        **_QUIT,
    },
    State.SPOILED: {
        **_HELLO,
        **_ALWAYS,
        **_QUIT,
    },
    State.CLOSED: {},
}
for _state, _its_rows in TRANSITIONS.items():
    _state._rows = _its_rows

# What the success of a command changes in what cannot be repeated (RFC 3207 §4.2, RFC 4954 §4).
_EFFECTS: Mapping[type[Command], Callable[[set[type[Command]]], None]] = {
    StartTls: lambda spent: spent.add(StartTls),
    AuthBegin: lambda spent: spent.add(AuthBegin),
    AuthResponse: lambda spent: spent.add(AuthBegin),
    # Another client, or RFC 3207 §4.2: the server must forget what it knew.
    Xclient: lambda spent: spent.discard(AuthBegin),
    TlsStarted: lambda spent: spent.discard(AuthBegin),
}
# The table alone does not say whether these are legal.
_RESTRICTED = frozenset({Ehlo, Helo, Lhlo, StartTls, AuthBegin})


@final
class Machine:
    """Two cursors on the table, for one connection."""

    __slots__ = ("_protocol", "_spent", "ahead", "state")

    def __init__(self, protocol: Protocol, *, encrypted: bool = False) -> None:
        self._protocol = protocol
        self._spent: set[type[Command]] = {StartTls} if encrypted else set()
        self.state = State.GREETING
        self.ahead = State.GREETING

    def send(self, kind: type[Command]) -> Row:
        """Advance ``ahead`` and return the row under which a command is sent; raises as ``row_for``."""
        row = self.ahead._rows.get(kind)
        if row is None or kind in _RESTRICTED:
            row = self.row_for(kind)
        for state in row.values():
            self.ahead = state
            break
        return row

    def row_for(self, kind: type[Command]) -> Row:
        """Return the row under which a command would be sent now.

        Raises:
            LocalProtocolError: the command is illegal here.
        """
        row = self.ahead._rows.get(kind)
        if row is None:
            raise LocalProtocolError(f"cannot send {kind.verb} in state {self.ahead.name}")
        if kind not in _RESTRICTED:
            return row
        if kind.protocol is not None and kind.protocol is not self._protocol:
            raise LocalProtocolError(f"cannot send {kind.verb} in {self._protocol.name}")
        if kind in self._spent:
            raise LocalProtocolError(f"cannot send {kind.verb} a second time")
        return row

    def answered(self, kind: type[Command], row: Row, digit: int, outstanding: int) -> None:
        """Advance ``state`` by the reply to a command that was sent under ``row``; so many are to come yet."""
        state = self.state = row.get(digit, self.state)
        if digit == 2 and kind in _EFFECTS:
            _EFFECTS[kind](self._spent)
        if not outstanding:
            self.ahead = state

    def close(self) -> None:
        """Follow the one universal rule: after 421 or the end of the stream nothing is legal."""
        self.state = self.ahead = State.CLOSED
