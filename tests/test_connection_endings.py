"""How a connection ends: 421, the end of the stream, a violation, QUIT; and that nothing comes after."""

from __future__ import annotations

import pytest

from dialogues import COMMANDS, LEGAL, LMTP, MAIL, RCPT, events, hear, reach, say, tongue
from smtpstate._commands import Content, Data, EndOfContent, Noop, Opening, Protocol, Quit, Rcpt
from smtpstate._connection import Connection
from smtpstate._errors import LocalProtocolError, RemoteProtocolError
from smtpstate._events import (
    NEED_DATA,
    CommandAnswered,
    ConnectionEnded,
    RecipientDelivered,
    SenderAnswered,
    ServiceClosing,
)
from smtpstate._machine import State
from smtpstate._replies import Reply

ANSWERABLE = [where for where, legal in LEGAL.items() if legal and where[1] != "content"]
OPEN = [state for state in State if state is not State.CLOSED]

CLOSING = b"421 4.3.2 shutting down\r\n"
CLOSED = Reply(421, (b"4.3.2 shutting down",))


def nothing_can_be_sent(conn: Connection) -> bool:
    for command in COMMANDS.values():
        with pytest.raises(LocalProtocolError):
            conn.send(command)
    with pytest.raises(LocalProtocolError):
        conn.tls_started()
    return conn.closed


# 421.


@pytest.mark.parametrize(("state", "name"), ANSWERABLE, ids=str)
@pytest.mark.parametrize("protocol", Protocol, ids=str)
def test_421_is_the_answer_to_any_command(protocol: Protocol, state: State, name: str) -> None:
    conn = reach(state, tongue(name, protocol))
    command = COMMANDS[name]
    conn.send(command)
    recipient = RCPT if protocol is LMTP and name in ("end", "BDAT-LAST") else None
    assert hear(conn, CLOSING) == [ServiceClosing(CLOSED, (command,), recipient)]
    assert (conn.outstanding, conn.outstanding_octets, conn.due) == (0, 0, None)
    assert nothing_can_be_sent(conn)


@pytest.mark.parametrize("state", OPEN, ids=str)
@pytest.mark.parametrize("protocol", Protocol, ids=str)
def test_421_may_come_unasked_in_any_state(protocol: Protocol, state: State) -> None:
    conn = reach(state, protocol)
    unanswered = (Opening(),) if state is State.GREETING else ()
    assert hear(conn, CLOSING) == [ServiceClosing(CLOSED, unanswered)]
    assert nothing_can_be_sent(conn)


@pytest.mark.parametrize("protocol", Protocol, ids=str)
def test_421_is_the_answer_to_all_that_is_unanswered(protocol: Protocol) -> None:
    conn = reach(State.READY, protocol)
    flight = (MAIL, RCPT, Data())
    say(conn, *flight)
    first, second = hear(conn, b"250 ok\r\n" + CLOSING)
    assert isinstance(first, SenderAnswered)
    assert second == ServiceClosing(CLOSED, flight[1:])


def test_421_that_came_before_a_command_is_believed_all_the_same() -> None:
    conn = reach(State.READY)
    conn.receive_data(CLOSING)
    conn.send(Noop())
    assert events(conn) == [ServiceClosing(CLOSED, (Noop(),))]


@pytest.mark.parametrize("state", OPEN, ids=str)
@pytest.mark.parametrize("more", [b"250 ok\r\n", CLOSING, b"junk\r\n", b"2"])
def test_after_421_nothing_is_heard(more: bytes, state: State) -> None:
    conn = reach(state)
    assert len(hear(conn, CLOSING + more)) == 1
    assert hear(conn, more) == []


# The end of the stream.


@pytest.mark.parametrize("state", State, ids=str)
@pytest.mark.parametrize("protocol", Protocol, ids=str)
@pytest.mark.parametrize("part", [b"", b"2", b"250", b"250-first\r\n", b"250 almost\r"])
def test_the_stream_may_end_in_any_state(part: bytes, protocol: Protocol, state: State) -> None:
    conn = reach(state, protocol)
    if part:
        assert hear(conn, part) == []
    unanswered = (Opening(),) if state is State.GREETING else ()
    assert hear(conn, b"") == [ConnectionEnded(unanswered)]
    assert nothing_can_be_sent(conn)


@pytest.mark.parametrize(("state", "name"), ANSWERABLE, ids=str)
@pytest.mark.parametrize("protocol", Protocol, ids=str)
def test_the_end_of_the_stream_says_what_was_not_answered(
    protocol: Protocol, state: State, name: str
) -> None:
    conn = reach(state, tongue(name, protocol))
    conn.send(COMMANDS[name])
    assert hear(conn, b"") == [ConnectionEnded((COMMANDS[name],))]
    assert (conn.outstanding, conn.outstanding_octets, conn.due) == (0, 0, None)


def test_what_came_before_the_end_of_the_stream_is_heard_before_it() -> None:
    conn = reach(State.READY)
    say(conn, MAIL, RCPT)
    conn.receive_data(b"250 ok\r\n25")
    conn.receive_data(b"")
    assert isinstance(conn.next_event(), SenderAnswered)
    assert conn.next_event() == ConnectionEnded((RCPT,))
    assert conn.next_event() is NEED_DATA


def test_each_empty_read_is_told_of_so_that_nobody_reads_for_ever() -> None:
    conn = reach(State.READY)
    assert hear(conn, b"") == [ConnectionEnded(())]
    assert hear(conn, b"") == [ConnectionEnded(())]
    assert hear(conn, b"250 from the dead\r\n") == []


def test_after_421_the_stream_ends_too() -> None:
    assert hear(reach(State.READY), CLOSING, b"") == [ServiceClosing(CLOSED, ()), ConnectionEnded(())]


# A violation.

VIOLATIONS = [b"junk\r\n", b"299 what?\r\n", b"299-two\r\n298 codes\r\n", b"250 endless" + b"x" * 5000]


@pytest.mark.parametrize("octets", VIOLATIONS)
@pytest.mark.parametrize("state", OPEN, ids=str)
def test_after_a_violation_nothing_is_believed(state: State, octets: bytes) -> None:
    conn = reach(state)
    conn.receive_data(octets)
    with pytest.raises(RemoteProtocolError) as caught:
        conn.next_event()
    assert nothing_can_be_sent(conn)
    for more in (b"220 hello\r\n", b"250 ok\r\n", CLOSING, b""):
        conn.receive_data(more)
        with pytest.raises(RemoteProtocolError) as again:
            conn.next_event()
        assert str(again.value) == str(caught.value)


def test_what_came_before_a_violation_is_believed() -> None:
    conn = reach(State.READY)
    say(conn, MAIL, RCPT)
    conn.receive_data(b"250 ok\r\njunk\r\n")
    assert isinstance(conn.next_event(), SenderAnswered)
    with pytest.raises(RemoteProtocolError):
        conn.next_event()


@pytest.mark.parametrize("state", [state for state in OPEN if state is not State.GREETING], ids=str)
@pytest.mark.parametrize("part", [b"2", b"250-x\r\n250"])
def test_a_part_of_a_reply_changes_nothing(part: bytes, state: State) -> None:
    conn = reach(state)
    assert hear(conn, part) == []
    assert conn.state is conn.ahead is state


# QUIT.


@pytest.mark.parametrize("code", [221, 250, 452, 500])
def test_quit_ends_the_connection_whatever_it_is_answered_with(code: int) -> None:
    conn = reach(State.READY)
    conn.send(Quit())
    assert hear(conn, b"%d bye\r\n" % code) == [CommandAnswered(Reply(code, (b"bye",)), Quit())]
    assert nothing_can_be_sent(conn)
    assert hear(conn, b"250 one more\r\n", b"") == [ConnectionEnded(())]


# Among the final replies of LMTP.


def test_421_is_said_of_the_recipient_whose_turn_it_is() -> None:
    conn = reach(State.RCPT, LMTP)
    others = (Rcpt("c@y.example"), Rcpt("d@y.example"))
    say(conn, *others, Data())
    hear(conn, b"250 ok\r\n250 ok\r\n354 go\r\n")
    say(conn, Content(b"x"), EndOfContent(), MAIL)
    found = hear(conn, b"250 delivered\r\n" + CLOSING)
    assert found == [
        RecipientDelivered(Reply(250, (b"delivered",)), EndOfContent(), RCPT),
        ServiceClosing(CLOSED, (EndOfContent(), MAIL), others[0]),
    ]


def test_the_stream_may_end_among_the_final_replies() -> None:
    conn = reach(State.RCPT, LMTP)
    say(conn, Rcpt("c@y.example"), Data())
    hear(conn, b"250 ok\r\n354 go\r\n")
    conn.send(EndOfContent())
    found = hear(conn, b"250 delivered\r\n", b"")
    assert found == [
        RecipientDelivered(Reply(250, (b"delivered",)), EndOfContent(), RCPT),
        ConnectionEnded((EndOfContent(),)),
    ]
    assert conn.outstanding == 0
