"""STARTTLS and AUTH: nothing said in clear counts inside of TLS, and no exchange goes on for ever."""

from __future__ import annotations

import pytest

from dialogues import COMMANDS, GREETING, hear, offer, reach, say, violation
from smtpstate._commands import AuthAbort, AuthBegin, AuthResponse, StartTls
from smtpstate._connection import Connection
from smtpstate._errors import RemoteProtocolError
from smtpstate._events import Challenged, CommandAnswered
from smtpstate._limits import Limits
from smtpstate._machine import State
from smtpstate._replies import Reply

# STARTTLS.


def test_a_connection_is_taken_for_a_plain_one_unless_something_else_is_said() -> None:
    conn = Connection()
    hear(conn, GREETING)
    conn.send(COMMANDS["EHLO"])
    hear(conn, offer("STARTTLS"))
    assert conn.send(StartTls()) == b"STARTTLS\r\n"


def test_nothing_that_came_in_clear_passes_for_something_said_inside_tls() -> None:
    conn = reach(State.READY)
    conn.send(StartTls())
    conn.receive_data(b"220 go\r\n250 inj")
    error = violation(conn)
    assert str(error) == "octets followed the answer to STARTTLS in clear"
    assert error.reply is None


@pytest.mark.parametrize("injected", [b"2", b"250 ok\r\n", b"421 bye\r\n", b"250-x\r\n"])
def test_nothing_that_came_in_clear_while_the_handshake_went_on_is_believed(injected: bytes) -> None:
    conn = reach(State.TLS)
    conn.receive_data(injected)
    with pytest.raises(RemoteProtocolError, match="^octets followed the answer to STARTTLS in clear$"):
        conn.tls_started()
    assert str(violation(conn)) == "octets followed the answer to STARTTLS in clear"


def test_a_refused_starttls_changes_nothing() -> None:
    conn = reach(State.READY)
    before = conn.capabilities
    conn.send(StartTls())
    assert hear(conn, b"454 not now\r\n") == [CommandAnswered(Reply(454, (b"not now",)), StartTls())]
    assert conn.state is State.READY
    assert conn.capabilities is before


def test_inside_tls_all_begins_anew() -> None:
    conn = reach(State.TLS)
    conn.tls_started()
    assert (conn.outstanding, conn.state, conn.ahead) == (0, State.HELLO, State.HELLO)
    conn.send(COMMANDS["EHLO"])
    hear(conn, offer("AUTH PLAIN"))
    assert conn.state is State.READY


# Challenges.


def test_an_exchange_has_no_more_challenges_than_the_limit_allows() -> None:
    conn = reach(State.READY)
    conn.send(AuthBegin("LOGIN"))
    hear(conn, b"334 \r\n")
    for _ in range(9):
        conn.send(AuthResponse(b"x"))
        [event] = hear(conn, b"334 \r\n")
        assert isinstance(event, Challenged)
    conn.send(AuthResponse(b"x"))
    conn.receive_data(b"334 one more\r\n")
    error = violation(conn)
    assert str(error) == "AUTH has more than 10 challenges"
    assert error.reply == Reply(334, (b"one more",))


def test_each_exchange_has_challenges_of_its_own() -> None:
    conn = reach(State.READY, limits=Limits(challenges=2))
    for last in (b"535 no\r\n", b"454 later\r\n", b"235 ok\r\n"):
        say(conn, AuthBegin("LOGIN"))
        hear(conn, b"334 \r\n")
        say(conn, AuthResponse(b"x"))
        hear(conn, b"334 \r\n")
        say(conn, AuthResponse(b"x"))
        hear(conn, last)
    assert conn.state is State.READY


def test_a_server_cannot_go_on_challenging_one_that_gives_up() -> None:
    conn = reach(State.CHALLENGED, limits=Limits(challenges=2))
    conn.send(AuthAbort())
    assert hear(conn, b"334 \r\n") == [CommandAnswered(Reply(334), AuthAbort())]
    conn.send(AuthAbort())
    conn.receive_data(b"334 \r\n")
    assert str(violation(conn)) == "AUTH has more than 2 challenges"
