"""What a connection sends: legal where the table says, offered by the server, and never too early."""

from __future__ import annotations

from itertools import product

import pytest

from dialogues import (
    COMMANDS,
    GREETING,
    KEYWORDS,
    LEGAL,
    LMTP,
    MAIL,
    RCPT,
    SMTP,
    after,
    hear,
    hello,
    offer,
    reach,
    say,
    tongue,
)
from smtpstate._capabilities import Capabilities
from smtpstate._commands import (
    AuthBegin,
    Bdat,
    Command,
    Content,
    Data,
    EndOfContent,
    Helo,
    Lhlo,
    Mail,
    Noop,
    Opening,
    Protocol,
    Rcpt,
    Rset,
    StartTls,
    TlsStarted,
)
from smtpstate._connection import Connection
from smtpstate._errors import LocalProtocolError
from smtpstate._limits import Limits
from smtpstate._machine import State
from smtpstate._parameters import OFFERED_BY, Parameters

#: All that may be followed unanswered, by RFC 2920 §3.1 and RFC 3030 §4.2.
PIPELINES = {"MAIL", "RCPT", "RSET", "BDAT", "BDAT-LAST", "end"}


def snapshot(conn: Connection) -> tuple[object, ...]:
    """Return all that can be seen of a connection."""
    return (
        conn.state,
        conn.ahead,
        conn.outstanding,
        conn.outstanding_octets,
        conn.due,
        conn.may_pipeline,
        conn.accepts_content,
        conn.in_transaction,
        conn.closed,
        conn.holds_octets,
        conn.capabilities,
    )


def refusal(conn: Connection, command: Command) -> str:
    """Return why a command cannot be sent; nothing has changed by trying."""
    before = snapshot(conn)
    with pytest.raises(LocalProtocolError) as caught:
        conn.send(command)
    assert snapshot(conn) == before
    return str(caught.value)


# What is legal.


@pytest.mark.parametrize(("state", "name"), list(product(State, COMMANDS)), ids=str)
@pytest.mark.parametrize("protocol", Protocol, ids=str)
def test_a_command_is_sent_exactly_where_the_rfcs_allow_it(
    protocol: Protocol, state: State, name: str
) -> None:
    conn = reach(state, protocol)
    command = COMMANDS[name]
    if state is State.GREETING:
        assert refusal(conn, command) == f"cannot send {command.verb} before the greeting is answered"
    elif not LEGAL[state, name]:
        assert refusal(conn, command) == f"cannot send {command.verb} in state {state.name}"
    elif tongue(name, protocol) is not protocol:
        assert refusal(conn, command) == f"cannot send {name} in {protocol.name}"
    else:
        wire = conn.send(command)
        assert wire == {"content": b"x", "end": b".\r\n"}.get(name, bytes(command))
        assert conn.state is state
        assert conn.ahead is after(state, name, 3 if name == "DATA" else 2)
        assert conn.due is (None if name == "content" else command)


@pytest.mark.parametrize("unsendable", [Opening(), TlsStarted()])
@pytest.mark.parametrize("state", State, ids=str)
def test_the_greeting_and_the_handshake_cannot_be_sent(state: State, unsendable: Command) -> None:
    assert refusal(reach(state), unsendable) == f"{unsendable.verb} is nothing that can be sent"


@pytest.mark.parametrize(
    "state", [state for state in State if state not in {State.TLS, State.GREETING}], ids=str
)
def test_no_handshake_begins_where_none_is_due(state: State) -> None:
    conn = reach(state)
    before = snapshot(conn)
    with pytest.raises(LocalProtocolError, match=f"^cannot send the TLS handshake in state {state.name}$"):
        conn.tls_started()
    assert snapshot(conn) == before


def test_no_handshake_begins_before_starttls_is_answered() -> None:
    conn = reach(State.READY)
    conn.send(StartTls())
    before = snapshot(conn)
    with pytest.raises(LocalProtocolError, match="^cannot begin TLS before STARTTLS is answered$"):
        conn.tls_started()
    assert snapshot(conn) == before


def test_no_handshake_begins_before_the_greeting() -> None:
    with pytest.raises(LocalProtocolError, match="^cannot begin TLS before the greeting is answered$"):
        Connection().tls_started()


def test_smtp_is_spoken_unless_something_else_is_asked_for() -> None:
    conn = Connection()
    hear(conn, GREETING)
    assert refusal(conn, Lhlo("c.example")) == "cannot send LHLO in SMTP"


def test_starttls_is_sent_once() -> None:
    conn = reach(State.TLS)
    conn.tls_started()
    say(conn, hello(SMTP))
    hear(conn, offer(*KEYWORDS))
    assert refusal(conn, StartTls()) == "cannot send STARTTLS a second time"


def test_starttls_is_not_sent_inside_of_implicit_tls() -> None:
    assert refusal(reach(State.READY, encrypted=True), StartTls()) == "cannot send STARTTLS a second time"


def test_auth_succeeds_once() -> None:
    conn = reach(State.READY)
    conn.send(AuthBegin("PLAIN", b"\0u\0secret"))
    hear(conn, b"235 ok\r\n")
    assert refusal(conn, AuthBegin("PLAIN", b"\0u\0secret")) == "cannot send AUTH a second time"


# What is offered.


@pytest.mark.parametrize(
    ("name", "keyword"),
    [
        ("STARTTLS", "STARTTLS"),
        ("AUTH", "AUTH"),
        ("XCLIENT", "XCLIENT"),
        ("XFORWARD", "XFORWARD"),
        ("BDAT", "CHUNKING"),
        ("BDAT-LAST", "CHUNKING"),
    ],
)
def test_nothing_is_sent_that_was_not_offered(name: str, keyword: str) -> None:
    others = [offered for offered in KEYWORDS if not offered.startswith(keyword)]
    assert len(others) == len(KEYWORDS) - 1
    conn = reach(State.RCPT if "BDAT" in name else State.READY, keywords=others)
    command = COMMANDS[name]
    assert refusal(conn, command) == f"cannot send {command}: the server does not offer {keyword}"


@pytest.mark.parametrize("parameter", [*OFFERED_BY, "X-OWN"])
@pytest.mark.parametrize("case", [str.upper, str.lower])
@pytest.mark.parametrize("kind", [Mail, Rcpt])
def test_no_parameter_is_sent_that_was_not_offered(
    kind: type[Mail | Rcpt], case: type[str], parameter: str
) -> None:
    keyword = OFFERED_BY.get(parameter, parameter)
    state = State.READY if kind is Mail else State.MAIL
    command = kind("a@x.example", ((case(parameter), "1"),))
    everything = {*OFFERED_BY.values(), "X-OWN"}
    conn = reach(state, keywords=sorted(everything - {keyword}))
    assert refusal(conn, command) == f"cannot send {command}: the server does not offer {keyword}"
    assert reach(state, keywords=[keyword]).send(command) == bytes(command)


@pytest.mark.parametrize("value", ["BINARYMIME", "binarymime"])
def test_a_binary_body_needs_an_extension_of_its_own(value: str) -> None:
    body: Parameters = (("BODY", value),)
    conn = reach(State.READY, keywords=["8BITMIME"])
    assert refusal(conn, Mail("a@x.example", body)).endswith("the server does not offer BINARYMIME")
    assert reach(State.READY, keywords=["BINARYMIME"]).send(Mail("a@x.example", body))


def test_a_refusal_does_not_show_a_credential() -> None:
    conn = reach(State.READY, keywords=[])
    assert refusal(conn, AuthBegin("PLAIN", b"secret")) == (
        "cannot send AUTH PLAIN ****: the server does not offer AUTH"
    )


def test_after_helo_nothing_is_offered() -> None:
    conn = reach(State.READY)
    conn.send(Helo("c.example"))
    hear(conn, offer(*KEYWORDS))
    assert conn.capabilities == Capabilities()


def test_a_new_answer_to_ehlo_replaces_what_was_offered_before() -> None:
    conn = reach(State.READY)
    conn.send(hello(SMTP))
    hear(conn, offer("SIZE"))
    assert list(conn.capabilities) == ["SIZE"]


def test_a_refused_ehlo_takes_nothing_back() -> None:
    conn = reach(State.READY)
    before = conn.capabilities
    conn.send(hello(SMTP))
    hear(conn, b"501-SIZE\r\n501 PIPELINING\r\n")
    assert conn.capabilities is before


def test_inside_tls_nothing_is_known_of_what_was_offered_in_clear() -> None:
    conn = reach(State.TLS)
    conn.tls_started()
    assert conn.state is conn.ahead is State.HELLO
    assert conn.capabilities == Capabilities()


@pytest.mark.parametrize(
    ("answer", "forgotten"), [(b"220 hello\r\n", True), (b"250 ok\r\n", True), (b"550 no\r\n", False)]
)
def test_after_xclient_nothing_is_known_of_what_was_offered_before(answer: bytes, forgotten: bool) -> None:
    conn = reach(State.READY)
    conn.send(COMMANDS["XCLIENT"])
    hear(conn, answer)
    assert (conn.capabilities == Capabilities()) is forgotten
    assert conn.state is (State.HELLO if forgotten else State.READY)


# What may follow unanswered commands.

LEGAL_FIRST = [where for where, legal in LEGAL.items() if legal and where[1] != "content"]


@pytest.mark.parametrize(("state", "first"), LEGAL_FIRST, ids=str)
def test_only_some_commands_may_be_followed_unanswered(state: State, first: str) -> None:
    protocol = tongue(first)
    begun = COMMANDS[first]
    for second, command in COMMANDS.items():
        conn = reach(state, protocol)
        conn.send(begun)
        assert conn.may_pipeline is (first in PIPELINES and "PIPELINING" in conn.capabilities)
        if not conn.may_pipeline:
            why = "" if first not in PIPELINES else ": the server does not offer PIPELINING"
            assert (
                refusal(conn, command) == f"cannot send {command.verb} before {begun.verb} is answered{why}"
            )
        elif not LEGAL[conn.ahead, second]:
            assert refusal(conn, command) == f"cannot send {command.verb} in state {conn.ahead.name}"
        elif tongue(second, protocol) is protocol:
            conn.send(command)
            assert conn.outstanding == (1 if second == "content" else 2)


@pytest.mark.parametrize("first", sorted(PIPELINES))
def test_nothing_follows_unanswered_commands_unless_pipelining_is_offered(first: str) -> None:
    state = next(state for state in State if LEGAL[state, first] and state is not State.HELLO)
    begun = COMMANDS[first]
    conn = reach(state, keywords=["CHUNKING"])
    conn.send(begun)
    for command in COMMANDS.values():
        assert refusal(conn, command) == (
            f"cannot send {command.verb} before {begun.verb} is answered: the server does not offer PIPELINING"
        )
    hear(conn, b"250 ok\r\n")
    conn.send(Noop())


def test_pipelining_is_not_offered_before_the_server_has_said_so() -> None:
    conn = reach(State.HELLO)
    assert conn.may_pipeline
    conn.send(Rset())
    assert not conn.may_pipeline


def test_the_message_waits_for_the_answer_to_data() -> None:
    conn = reach(State.READY)
    say(conn, MAIL, RCPT, Data())
    assert refusal(conn, Content(b"x")) == "cannot send the message before DATA is answered"
    assert refusal(conn, EndOfContent()) == "cannot send the end of the message before DATA is answered"
    hear(conn, b"250 ok\r\n", b"250 ok\r\n")
    assert not conn.accepts_content
    hear(conn, b"354 go\r\n")
    assert conn.accepts_content
    conn.send(EndOfContent())
    assert not conn.accepts_content


# What is counted.


def test_unanswered_octets_are_counted_with_their_chunks() -> None:
    conn = reach(State.READY)
    assert (conn.outstanding, conn.outstanding_octets, conn.due) == (0, 0, None)
    wires = [conn.send(command) for command in (MAIL, RCPT, Bdat(b"x" * 100), Bdat(b"", last=True))]
    assert (conn.outstanding, conn.outstanding_octets) == (4, sum(map(len, wires)))
    for count in (3, 2, 1, 0):
        hear(conn, b"250 ok\r\n")
        assert (conn.outstanding, conn.outstanding_octets) == (count, sum(map(len, wires[4 - count :])))


def test_content_is_not_counted_but_its_end_is() -> None:
    conn = reach(State.DATA)
    say(conn, Content(b"x" * 100), EndOfContent())
    assert (conn.outstanding, conn.outstanding_octets) == (1, 3)


def test_the_greeting_is_awaited_from_the_beginning() -> None:
    conn = Connection()
    assert (conn.outstanding, conn.outstanding_octets, conn.due) == (1, 0, Opening())
    assert not conn.may_pipeline


@pytest.mark.parametrize("state", State, ids=str)
def test_a_transaction_is_open_from_mail_to_its_end(state: State) -> None:
    conn = reach(state)
    assert conn.in_transaction is (state in {State.MAIL, State.RCPT, State.CHUNKS, State.SPOILED})
    assert conn.closed is (state is State.CLOSED)


def test_octets_are_held_until_an_event_has_told_of_them() -> None:
    conn = reach(State.READY)
    conn.send(Noop())
    conn.receive_data(b"250-first\r\n")
    assert hear(conn) == []
    assert conn.holds_octets
    hear(conn, b"250 second\r\n")
    assert not conn.holds_octets


def test_what_is_given_and_not_taken_out_is_bounded() -> None:
    conn = Connection(limits=Limits(unread=100))
    for _ in range(2):
        conn.receive_data(GREETING * 5)
    before = snapshot(conn)
    with pytest.raises(
        LocalProtocolError, match="^call next_event until it returns NEED_DATA before giving more$"
    ):
        conn.receive_data(GREETING)
    assert snapshot(conn) == before


# Messages.


@pytest.mark.parametrize("protocol", Protocol, ids=str)
def test_each_message_begins_at_the_start_of_a_line(protocol: Protocol) -> None:
    conn = reach(State.DATA, protocol)
    assert say(conn, Content(b"a\r"), Content(b"\n.b"), EndOfContent()) == b"a\r\n..b\r\n.\r\n"
    say(conn, MAIL, RCPT, Data())
    hear(conn, b"250 ok\r\n" * 3 + b"354 go\r\n")
    assert say(conn, Content(b"."), EndOfContent()) == b"..\r\n.\r\n"


def test_a_line_end_is_not_put_together_from_two_messages() -> None:
    conn = reach(State.DATA)
    assert say(conn, Content(b"a\r"), EndOfContent(), MAIL, RCPT, Data()).startswith(b"a\r\n.\r\nMAIL")
    hear(conn, b"250 ok\r\n" * 3 + b"354 go\r\n")
    assert say(conn, Content(b"\nb"), EndOfContent()) == b"\r\nb\r\n.\r\n"


def test_an_empty_message_is_its_end() -> None:
    assert say(reach(State.DATA), EndOfContent()) == b".\r\n"


def test_chunks_are_sent_as_they_are() -> None:
    conn = reach(State.RCPT)
    octets = bytes(range(256)) + b"\r\n.\r\n"
    assert say(conn, Bdat(octets), Bdat(b"", last=True)) == b"BDAT 261\r\n" + octets + b"BDAT 0 LAST\r\n"


def test_a_transaction_of_lmtp_is_begun_as_one_of_smtp() -> None:
    conn = reach(State.READY, LMTP)
    assert say(conn, MAIL, RCPT, Data()) == b"MAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\nDATA\r\n"
