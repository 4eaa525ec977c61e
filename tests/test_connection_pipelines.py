"""Many commands in one flight: answers are matched by counting, and each lands where its command was sent."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialogues import COMMANDS, KEYWORDS, LMTP, MAIL, RCPT, SMTP, after, hear, offer, reach, say
from smtpstate._commands import Bdat, Command, Content, Data, EndOfContent, Mail, Protocol, Rcpt, Rset
from smtpstate._connection import Connection
from smtpstate._errors import RemoteProtocolError
from smtpstate._events import (
    Answered,
    ChunkAnswered,
    CommandAnswered,
    ContentWanted,
    MessageAnswered,
    RecipientAnswered,
    RecipientDelivered,
    SenderAnswered,
)
from smtpstate._machine import State
from smtpstate._replies import Reply
from strategies import splits

OTHER = Rcpt("c@y.example")
LAST = Bdat(b"x", last=True)


def answers(codes: str) -> bytes:
    return b"".join(f"{code} {number}\r\n".encode() for number, code in enumerate(codes.split()))


def said(conn: Connection, codes: str) -> list[tuple[type[object], int]]:
    """Let the server answer, and return the kind and code of each event."""
    found: list[tuple[type[object], int]] = []
    for event in hear(conn, answers(codes)):
        assert isinstance(event, Answered)
        found.append((type(event), event.reply.code))
    return found


# The two cursors.


@pytest.mark.parametrize(
    ("codes", "state"),
    [
        ("250 250 354", State.DATA),
        ("250 550 354", State.DATA),
        ("550 550 354", State.DATA),
        ("250 550 554", State.MAIL),
        ("550 503 503", State.READY),
        ("250 250 451", State.RCPT),
        ("550 250 503", State.RCPT),
    ],
)
@pytest.mark.parametrize("protocol", Protocol, ids=str)
def test_an_envelope_in_one_flight_lands_where_its_last_answer_leads(
    protocol: Protocol, codes: str, state: State
) -> None:
    conn = reach(State.READY, protocol)
    say(conn, MAIL, RCPT, Data())
    assert (conn.state, conn.ahead) == (State.READY, State.DATA)
    said(conn, codes)
    assert conn.state is conn.ahead is state


def test_a_lone_end_of_data_is_answered_in_smtp() -> None:
    conn = reach(State.READY)
    say(conn, MAIL, RCPT, Data())
    said(conn, "250 550 354")
    assert say(conn, EndOfContent()) == b".\r\n"
    assert conn.outstanding == 1
    assert said(conn, "554") == [(MessageAnswered, 554)]
    assert conn.state is State.READY


def test_a_lone_end_of_data_is_not_answered_in_lmtp() -> None:
    conn = reach(State.READY, LMTP)
    say(conn, MAIL, RCPT, Data())
    said(conn, "250 550 354")
    assert say(conn, EndOfContent()) == b".\r\n"
    assert (conn.outstanding, conn.outstanding_octets) == (0, 0)
    assert conn.state is conn.ahead is State.READY
    with pytest.raises(RemoteProtocolError, match="^a reply came that nobody had asked for$"):
        said(conn, "554")


@pytest.mark.parametrize("protocol", Protocol, ids=str)
def test_the_next_envelope_may_leave_with_the_end_of_data(protocol: Protocol) -> None:
    conn = reach(State.DATA, protocol)
    wire = say(conn, Content(b"one"), EndOfContent(), MAIL, OTHER, Data())
    assert wire == b"one\r\n.\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<c@y.example>\r\nDATA\r\n"
    assert (conn.state, conn.ahead, conn.outstanding) == (State.DATA, State.DATA, 4)
    assert not conn.accepts_content
    final = RecipientDelivered if protocol is LMTP else MessageAnswered
    found = said(conn, "250 250 250 354")
    assert [kind for kind, _ in found] == [final, SenderAnswered, RecipientAnswered, ContentWanted]
    assert conn.accepts_content
    say(conn, EndOfContent())
    [event] = hear(conn, b"250 ok\r\n")
    assert not isinstance(event, RecipientDelivered) or event.recipient == OTHER


@pytest.mark.parametrize("protocol", Protocol, ids=str)
def test_whole_messages_may_follow_each_other_by_bdat(protocol: Protocol) -> None:
    conn = reach(State.READY, protocol)
    say(conn, MAIL, RCPT, LAST, MAIL, RCPT, LAST)
    final = RecipientDelivered if protocol is LMTP else MessageAnswered
    assert said(conn, "250 250 552 250 250 250") == [
        (SenderAnswered, 250),
        (RecipientAnswered, 250),
        (final, 552),
        (SenderAnswered, 250),
        (RecipientAnswered, 250),
        (final, 250),
    ]
    assert conn.state is conn.ahead is State.READY


def test_a_refused_chunk_spoils_the_message_until_it_is_reset() -> None:
    conn = reach(State.RCPT)
    say(conn, Bdat(b"a"), Bdat(b"b"), LAST)
    assert said(conn, "250 452 503") == [(ChunkAnswered, 250), (ChunkAnswered, 452), (MessageAnswered, 503)]
    assert (conn.state, conn.ahead) == (State.SPOILED, State.SPOILED)
    say(conn, Rset(), MAIL)
    said(conn, "250 250")
    assert (conn.state, conn.ahead) == (State.MAIL, State.MAIL)


def test_an_introduction_may_end_a_flight_and_clears_the_transaction() -> None:
    conn = reach(State.READY)
    say(conn, MAIL, RCPT, COMMANDS["EHLO"])
    said(conn, "250 250 250")
    assert conn.state is State.READY


# One reply for each accepted recipient.


@pytest.mark.parametrize("by_chunks", [False, True])
def test_lmtp_answers_once_for_each_accepted_recipient_in_their_order(by_chunks: bool) -> None:
    conn = reach(State.READY, LMTP)
    flight = (MAIL, RCPT, OTHER, RCPT, Rcpt("d@y.example"))
    say(conn, *flight)
    said(conn, "250 250 550 250 251")
    if by_chunks:
        say(conn, Bdat(b"x"))
        said(conn, "250")
        end: Command = LAST
    else:
        say(conn, Data())
        said(conn, "354")
        end = EndOfContent()
    say(conn, end, Mail("next@x.example"))
    found = hear(conn, answers("250 452 550"))
    assert found == [
        RecipientDelivered(Reply(250, (b"0",)), end, RCPT),
        RecipientDelivered(Reply(452, (b"1",)), end, RCPT),
        RecipientDelivered(Reply(550, (b"2",)), end, Rcpt("d@y.example")),
    ]
    assert conn.due == Mail("next@x.example")
    assert said(conn, "250") == [(SenderAnswered, 250)]
    assert conn.state is State.MAIL


def test_between_the_final_replies_the_end_of_the_message_is_still_due() -> None:
    conn = reach(State.RCPT, LMTP)
    say(conn, OTHER, Data())
    said(conn, "250 354")
    say(conn, EndOfContent())
    assert said(conn, "250") == [(RecipientDelivered, 250)]
    assert (conn.outstanding, conn.outstanding_octets, conn.due) == (1, 3, EndOfContent())
    assert (conn.state, conn.accepts_content) == (State.DATA, False)
    assert said(conn, "250") == [(RecipientDelivered, 250)]
    assert (conn.outstanding, conn.outstanding_octets, conn.due) == (0, 0, None)
    assert (conn.state, conn.accepts_content) == (State.READY, False)


def test_a_final_reply_too_many_is_a_violation() -> None:
    conn = reach(State.DATA, LMTP)
    say(conn, EndOfContent())
    said(conn, "250")
    with pytest.raises(RemoteProtocolError, match="^a reply came that nobody had asked for$"):
        said(conn, "250")


def test_a_final_reply_is_never_positive_intermediate() -> None:
    conn = reach(State.RCPT, LMTP)
    say(conn, OTHER, Data())
    said(conn, "250 354")
    say(conn, EndOfContent())
    said(conn, "250")
    with pytest.raises(RemoteProtocolError, match="^the end of the message cannot be answered with 354$"):
        said(conn, "354")


@pytest.mark.parametrize("code", ["250", "503"])
def test_a_last_chunk_for_nobody_is_answered_once(code: str) -> None:
    conn = reach(State.READY, LMTP)
    say(conn, MAIL, RCPT, LAST)
    assert said(conn, f"250 550 {code}")[-1] == (MessageAnswered, int(code))
    assert conn.outstanding == 0


@pytest.mark.parametrize(
    ("flight", "wire"),
    [
        ((Rset(), MAIL), answers("250 250")),
        (
            (Rset(), MAIL),
            answers("550 250"),
        ),  # a server that opens a transaction has abandoned the one before
        ((COMMANDS["LHLO"],), offer(*KEYWORDS)),
        ((Data(),), answers("354")),
    ],
    ids=str,
)
def test_recipients_stand_for_one_message_only(flight: tuple[Command, ...], wire: bytes) -> None:
    conn = reach(State.RCPT, LMTP)
    say(conn, *flight)
    hear(conn, wire)
    if conn.state is State.DATA:
        say(conn, EndOfContent())
        said(conn, "250")
    if conn.state is State.READY:
        say(conn, MAIL)
        said(conn, "250")
    say(conn, OTHER)
    said(conn, "250")
    say(conn, LAST)
    [event] = hear(conn, b"250 ok\r\n")
    assert isinstance(event, RecipientDelivered)
    assert event.recipient == OTHER
    assert conn.outstanding == 0


@pytest.mark.parametrize(
    ("flight", "codes"), [((Rset(),), "550"), ((COMMANDS["NOOP"],), "250"), ((Data(),), "451")], ids=str
)
def test_what_abandons_nothing_forgets_nobody(flight: tuple[Command, ...], codes: str) -> None:
    conn = reach(State.RCPT, LMTP)
    say(conn, *flight)
    said(conn, codes)
    say(conn, OTHER, LAST)
    said(conn, "250 250")
    assert conn.outstanding == 1
    [event] = hear(conn, b"250 ok\r\n")
    assert isinstance(event, RecipientDelivered)
    assert event.recipient == OTHER


# Any pipeline, any answers.


@dataclass
class Flight:
    """A pipeline, its answers, and what becomes of them by the simplest possible reckoning."""

    commands: list[Command]
    codes: list[int]
    expected: list[tuple[type[object], Command, int, Rcpt | None]]
    state: State


KINDS: dict[str, type[object]] = {
    "MAIL": SenderAnswered,
    "RCPT": RecipientAnswered,
    "BDAT": ChunkAnswered,
    "BDAT-LAST": MessageAnswered,
    "RSET": CommandAnswered,
}


@st.composite
def flights(draw: st.DrawFn, protocol: Protocol) -> Flight:
    """Draw transactions that are sent without waiting for anything, and an answer to each of their commands."""
    flight = Flight([], [], [], State.READY)
    accepted: list[Rcpt] = []
    for _ in range(draw(st.integers(1, 4))):
        names = ["MAIL", *["RCPT"] * draw(st.integers(1, 4)), *["BDAT"] * draw(st.integers(0, 2))]
        # A message that was refused midway leaves the transaction open, so what follows begins with RSET.
        names += draw(st.sampled_from([["BDAT-LAST"], ["BDAT-LAST", "RSET"], ["RSET"]]))
        for name in names:
            number = len(flight.commands)
            command = {"MAIL": Mail(f"{number}@x.example"), "RCPT": Rcpt(f"{number}@y.example")}.get(
                name, COMMANDS[name]
            )
            flight.commands.append(command)
            waiting: list[Rcpt | None] = [None]
            if protocol is LMTP and name == "BDAT-LAST" and accepted:
                waiting = [*accepted]
            code = 0
            for recipient in waiting:
                code = draw(st.sampled_from([250, 251, 452, 550]))
                flight.codes.append(code)
                kind = RecipientDelivered if recipient else KINDS[name]
                flight.expected.append((kind, command, code, recipient))
            flight.state = after(flight.state, name, code // 100)
            if isinstance(command, Rcpt) and code < 300:
                accepted.append(command)
            elif (name in ("MAIL", "RSET") and code < 300) or name == "BDAT-LAST":
                accepted.clear()  # while RSET and MAIL that are refused leave everybody standing
    return flight


@pytest.mark.parametrize("protocol", Protocol, ids=str)
@given(data=st.data())
def test_any_pipeline_with_any_answers_is_matched_in_order(protocol: Protocol, data: st.DataObject) -> None:
    flight = data.draw(flights(protocol))
    conn = reach(State.READY, protocol)
    say(conn, *flight.commands)
    wire = answers(" ".join(map(str, flight.codes)))
    found: list[tuple[type[object], Command, int, Rcpt | None]] = []
    for event in hear(conn, *data.draw(splits(wire))):
        assert isinstance(event, Answered)
        recipient = event.recipient if isinstance(event, RecipientDelivered) else None
        found.append((type(event), event.command, event.reply.code, recipient))
    assert found == flight.expected
    assert (conn.outstanding, conn.outstanding_octets) == (0, 0)
    assert conn.state is conn.ahead is flight.state


def test_a_thousand_recipients_are_matched_one_by_one() -> None:
    conn = reach(State.READY, SMTP)
    recipients = [Rcpt(f"{number}@y.example") for number in range(1000)]
    say(conn, MAIL, *recipients, Data())
    codes = [250 if number % 3 else 550 for number in range(1000)]
    wire = b"250 ok\r\n" + b"".join(b"%d ok\r\n" % code for code in codes) + b"354 go\r\n"
    found = [event for event in hear(conn, wire) if isinstance(event, RecipientAnswered)]
    assert [(event.command, event.reply.code) for event in found] == list(zip(recipients, codes, strict=True))
    assert conn.accepts_content
