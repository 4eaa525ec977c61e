"""What a connection hears: each answer becomes the event of its command, or a violation, and never anything else."""

from __future__ import annotations

import pytest

from dialogues import (
    COMMANDS,
    GREETING,
    LEGAL,
    LMTP,
    MAIL,
    RCPT,
    after,
    events,
    hear,
    offer,
    reach,
    say,
    tongue,
    violation,
)
from smtpstate._capabilities import Capabilities
from smtpstate._commands import (
    Content,
    Data,
    EndOfContent,
    Helo,
    Noop,
    Opening,
    Protocol,
    Rset,
)
from smtpstate._connection import Connection
from smtpstate._events import (
    NEED_DATA,
    Answered,
    Authenticated,
    Challenged,
    ChunkAnswered,
    CommandAnswered,
    ContentWanted,
    Greeted,
    HelloAnswered,
    MessageAnswered,
    RecipientAnswered,
    RecipientDelivered,
    SenderAnswered,
    TlsReady,
)
from smtpstate._machine import State
from smtpstate._replies import Reply

CODES = (
    200,
    220,
    221,
    235,
    250,
    251,
    252,
    299,
    300,
    334,
    354,
    399,
    400,
    420,
    422,
    450,
    452,
    500,
    535,
    550,
    552,
    599,
)

#: The event of each command; one for each digit where they differ, and a CommandAnswered for the others.
EVENTS: dict[str, type[Answered] | dict[int, type[Answered]]] = {
    "EHLO": HelloAnswered,
    "HELO": HelloAnswered,
    "LHLO": HelloAnswered,
    "STARTTLS": {2: TlsReady},
    "AUTH": {2: Authenticated, 3: Challenged},
    "response": {2: Authenticated, 3: Challenged},
    "MAIL": SenderAnswered,
    "RCPT": RecipientAnswered,
    "DATA": {3: ContentWanted},
    "BDAT": ChunkAnswered,
    "BDAT-LAST": MessageAnswered,
    "end": MessageAnswered,
}
#: The only codes of success, where not every 2xx is one.
SUCCESS = {"STARTTLS": {220}, "AUTH": {235, 334}, "response": {235, 334}, "*": {235, 334}, "DATA": {354}}

ANSWERABLE = [where for where, legal in LEGAL.items() if legal and where[1] != "content"]


def wire(code: int) -> bytes:
    return b"%d-first\r\n%d last\r\n" % (code, code)


# Each command, each answer.


@pytest.mark.parametrize(("state", "name"), ANSWERABLE, ids=str)
@pytest.mark.parametrize("protocol", Protocol, ids=str)
@pytest.mark.parametrize("code", CODES)
def test_each_answer_is_the_event_of_its_command_or_a_violation(
    code: int, protocol: Protocol, state: State, name: str
) -> None:
    conn = reach(state, tongue(name, protocol))
    command = COMMANDS[name]
    reply = Reply(code, (b"first", b"last"))
    conn.send(command)
    conn.receive_data(wire(code))
    possible = SUCCESS[name] if name in SUCCESS else set(range(200, 300))
    if code not in possible and code < 400:
        error = violation(conn)
        assert str(error) == f"{command.verb} cannot be answered with {code}"
        assert error.reply == reply
        return
    event = conn.next_event()
    kinds = EVENTS.get(name, CommandAnswered)
    kind = kinds.get(code // 100, CommandAnswered) if isinstance(kinds, dict) else kinds
    if protocol is LMTP and kind is MessageAnswered:
        assert event == RecipientDelivered(reply, command, RCPT)
    elif kind is HelloAnswered:
        assert isinstance(event, HelloAnswered)
        assert (event.reply, event.command) == (reply, command)
    else:
        assert event == kind(reply, command)
    assert conn.next_event() is NEED_DATA
    assert conn.state is conn.ahead is after(state, name, code // 100)
    assert conn.outstanding == 0


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("protocol", Protocol, ids=str)
def test_a_greeting_is_220_or_a_refusal(protocol: Protocol, code: int) -> None:
    conn = Connection(protocol)
    conn.receive_data(wire(code))
    if code < 400 and code != 220:
        assert str(violation(conn)) == f"the greeting cannot be answered with {code}"
    else:
        assert conn.next_event() == Greeted(Reply(code, (b"first", b"last")), Opening())
        assert conn.state is conn.ahead is (State.HELLO if code == 220 else State.CLOSED)


def test_an_answer_without_text_is_fine() -> None:
    conn = reach(State.READY)
    conn.send(Noop())
    assert hear(conn, b"250\n") == [CommandAnswered(Reply(250), Noop())]


# What a server offers.


def test_ehlo_is_answered_with_what_is_offered() -> None:
    conn = reach(State.HELLO)
    conn.send(COMMANDS["EHLO"])
    [event] = hear(conn, offer("size 1000", "AUTH=PLAIN LOGIN", "auth CRAM-MD5"))
    assert isinstance(event, HelloAnswered)
    assert event.capabilities is conn.capabilities
    assert dict(conn.capabilities) == {"SIZE": ("1000",), "AUTH": ("PLAIN", "LOGIN", "CRAM-MD5")}


@pytest.mark.parametrize("answer", [b"250-x\r\n250 SIZE\r\n", b"550-x\r\n550 SIZE\r\n"])
def test_helo_offers_nothing(answer: bytes) -> None:
    conn = reach(State.HELLO)
    conn.send(Helo("c.example"))
    [event] = hear(conn, answer)
    assert isinstance(event, HelloAnswered)
    assert event.capabilities == conn.capabilities == Capabilities()


def test_a_refused_ehlo_offers_nothing_even_if_it_says_so() -> None:
    conn = reach(State.HELLO)
    conn.send(COMMANDS["EHLO"])
    [event] = hear(conn, b"502-x\r\n502 STARTTLS\r\n")
    assert isinstance(event, HelloAnswered)
    assert event.capabilities == conn.capabilities == Capabilities()
    assert conn.state is State.HELLO


# Answers that nobody had asked for.


@pytest.mark.parametrize(
    "state", [state for state in State if state not in (State.GREETING, State.CLOSED)], ids=str
)
@pytest.mark.parametrize("code", [220, 250, 354, 450, 550])
@pytest.mark.parametrize("protocol", Protocol, ids=str)
def test_an_unasked_answer_is_a_violation_unless_it_refuses_the_message(
    protocol: Protocol, code: int, state: State
) -> None:
    conn = reach(state, protocol)
    conn.receive_data(wire(code))
    if state is State.DATA and code >= 400:
        assert events(conn) == [MessageAnswered(Reply(code, (b"first", b"last")), EndOfContent(), early=True)]
        assert conn.closed
    else:
        error = violation(conn)
        assert str(error) == "a reply came that nobody had asked for"
        assert error.reply == Reply(code, (b"first", b"last"))


@pytest.mark.parametrize(("state", "name"), ANSWERABLE, ids=str)
@pytest.mark.parametrize("early", [b"250 ok\r\n", b"550 no\r\n", b"2", b"550", b"550-x\r\n"])
def test_an_answer_that_began_before_its_command_is_not_its_answer(
    early: bytes, state: State, name: str
) -> None:
    conn = reach(state, tongue(name))
    conn.receive_data(early)
    conn.send(COMMANDS[name])
    rest = {b"2": b"50 ok\r\n", b"550": b" no\r\n", b"550-x\r\n": b"550 no\r\n"}
    conn.receive_data(rest.get(early, b"250 ok\r\n"))
    if state is State.DATA and early.startswith(b"5") and name == "end":
        assert isinstance(conn.next_event(), MessageAnswered)
        assert str(violation(conn)) == "the message was refused before its end"
    else:
        assert str(violation(conn)) == "a reply came that nobody had asked for"


def test_an_answer_that_came_before_its_command_is_found_among_others_that_did_not() -> None:
    conn = reach(State.READY)
    say(conn, MAIL, RCPT)
    conn.receive_data(b"250 ok\r\n250 ok\r\n250 too early\r\n")
    assert isinstance(conn.next_event(), SenderAnswered)
    conn.send(RCPT)
    assert isinstance(conn.next_event(), RecipientAnswered)
    assert str(violation(conn)) == "a reply came that nobody had asked for"


def test_answers_that_are_waiting_do_not_make_later_ones_early() -> None:
    conn = reach(State.READY)
    say(conn, MAIL, RCPT)
    conn.receive_data(b"250 ok\r\n250")
    say(conn, RCPT)
    conn.receive_data(b" ok\r\n250 ok\r\n")
    say(conn, Data())
    conn.receive_data(b"354 go\r\n")
    assert [type(event) for event in events(conn)] == [
        SenderAnswered,
        RecipientAnswered,
        RecipientAnswered,
        ContentWanted,
    ]


def test_an_answer_too_many_is_a_violation() -> None:
    conn = reach(State.READY)
    conn.send(Noop())
    conn.receive_data(b"250 ok\r\n250 ok\r\n")
    assert isinstance(conn.next_event(), CommandAnswered)
    assert str(violation(conn)) == "a reply came that nobody had asked for"


def test_a_second_greeting_is_no_answer_to_ehlo() -> None:
    conn = Connection()
    conn.receive_data(GREETING * 2)
    assert isinstance(conn.next_event(), Greeted)
    conn.send(COMMANDS["EHLO"])
    assert str(violation(conn)) == "a reply came that nobody had asked for"


# Refusals of a message that is still being sent.


@pytest.mark.parametrize("protocol", Protocol, ids=str)
def test_a_message_can_be_refused_while_it_is_sent(protocol: Protocol) -> None:
    conn = reach(State.DATA, protocol)
    conn.send(Content(b"much"))
    [event] = hear(conn, b"552 5.3.4 too much\r\n")
    assert event == MessageAnswered(Reply(552, (b"5.3.4 too much",)), EndOfContent(), early=True)
    assert conn.state is conn.ahead is State.CLOSED
    assert hear(conn, b"250 but then\r\n", b"junk") == []


@pytest.mark.parametrize("protocol", Protocol, ids=str)
@pytest.mark.parametrize(("came", "comes"), [(b"552 too much\r\n", b""), (b"552", b" too much\r\n")])
def test_after_an_early_refusal_the_answer_to_the_end_is_not_taken_for_that_to_the_next_command(
    protocol: Protocol, came: bytes, comes: bytes
) -> None:
    conn = reach(State.RCPT, protocol)
    say(conn, RCPT, Data())
    hear(conn, b"250 ok\r\n354 go\r\n")
    conn.receive_data(came)
    say(conn, Content(b"much"), EndOfContent(), MAIL)
    conn.receive_data(comes + b"250 final\r\n250 sender ok\r\n")
    assert conn.next_event() == MessageAnswered(Reply(552, (b"too much",)), EndOfContent())
    assert (conn.due, conn.outstanding) == (MAIL, 1)
    assert str(violation(conn)) == "the message was refused before its end"


def test_the_refusal_of_a_message_is_no_early_one_if_it_comes_after_its_end() -> None:
    conn = reach(State.DATA)
    say(conn, Content(b"much"), EndOfContent())
    assert hear(conn, b"552 too much\r\n") == [MessageAnswered(Reply(552, (b"too much",)), EndOfContent())]
    assert conn.state is State.READY


@pytest.mark.parametrize("code", [220, 250, 334, 354])
def test_a_message_is_not_accepted_before_its_end(code: int) -> None:
    conn = reach(State.DATA)
    conn.send(Content(b"x"))
    conn.receive_data(wire(code))
    conn.send(EndOfContent())
    assert str(violation(conn)) == "a reply came that nobody had asked for"


def test_after_a_refusal_the_transaction_stays_open_where_the_server_leaves_it_open() -> None:
    conn = reach(State.RCPT)
    conn.send(Data())
    hear(conn, b"452 later\r\n")
    assert conn.in_transaction
    conn.send(Rset())
    hear(conn, b"250 ok\r\n")
    assert not conn.in_transaction
