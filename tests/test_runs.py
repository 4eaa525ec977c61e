"""A run of recipients is what sending each of them is, but in one go."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dialogues import LMTP, MAIL, SMTP, hear, reach, say
from smtpstate import Delivery, Envelope, TargetConfig, forwarding
from smtpstate._capabilities import Capabilities
from smtpstate._commands import Command, Content, Data, EndOfContent, Protocol, Rcpt
from smtpstate._connection import Connection
from smtpstate._errors import LocalProtocolError, RemoteProtocolError
from smtpstate._events import (
    NEED_DATA,
    Event,
    RecipientAnswered,
    RecipientDelivered,
    ServiceClosing,
)
from smtpstate._machine import State
from smtpstate._replies import Reply
from smtpstate._runs import Rcpts, RecipientsAnswered, RecipientsDelivered
from smtpstate.testing import ModelServer, Playground, on
from smtpstate.trace import Received, Sent, TraceEvent
from strategies import splits

ADDRESSES = st.from_regex(r"[a-z]{1,20}@[a-z]{1,10}", fullmatch=True)
NAMES = ("a@y.example", "bb@y.example", "c@y.example", "d@y.example")
SAME = b"250 2.1.5 Ok\r\n"
WORDS = [
    *[SAME] * 6,
    b"250-two\r\n250 2.1.5 Ok\r\n",
    b"250 " + b"x" * 200 + b"\r\n",
    b"250 other\r\n",
    b"550 5.1.1 no\r\n",
    b"550 5.1.1 no\r\n",
    b"452 4.5.3 many\r\n",
    b"354 go\r\n",
    b"421 bye\r\n",
    b"what?\r\n",
]


class Heard:
    """What a connection tells of a stream, an answer to several recipients as one to each."""

    def __init__(self, conn: Connection) -> None:
        self.conn = conn
        self.events: list[Event] = []
        self.fault: str | None = None
        self._answered = 0
        self._accepted: list[Rcpt] = []

    def take(self, data: bytes) -> None:
        """Let the connection hear ``data``."""
        self.conn.receive_data(data)
        try:
            while (event := self.conn.next_event()) is not NEED_DATA:
                self.events += self._apart(event)
        except RemoteProtocolError as error:
            self.fault = str(error)

    def _apart(self, event: Event) -> list[Event]:
        if isinstance(event, RecipientsAnswered):
            assert isinstance(event.command, Rcpts)
            named = event.command.apart(self._answered)[: event.count]
            self._answered += event.count
            if event.reply.digit == 2:
                self._accepted += named
            return [RecipientAnswered(event.reply, rcpt) for rcpt in named]
        if isinstance(event, RecipientsDelivered):
            finals, self._accepted = self._accepted[: event.count], self._accepted[event.count :]
            return [RecipientDelivered(event.reply, event.command, rcpt) for rcpt in finals]
        return [event]

    @property
    def known(self) -> tuple[object, ...]:
        """All that can be asked of the connection but how many commands are outstanding."""
        conn = self.conn
        return (
            self.events,
            self.fault,
            conn.state,
            conn.ahead,
            conn.outstanding_octets,
            bool(conn.outstanding),
            conn.holds_octets,
        )


def spoken(protocol: Protocol, addresses: Iterable[str]) -> tuple[Heard, Heard]:
    """Return connections on which recipients were named together, and one by one."""
    together, apart = reach(State.READY, protocol), reach(State.READY, protocol)
    addresses = tuple(addresses)
    wire = say(together, MAIL, Rcpts(addresses), Data())
    assert wire == say(apart, MAIL, *map(Rcpt, addresses), Data())
    assert (together.state, together.ahead) == (apart.state, apart.ahead)
    assert together.outstanding_octets == apart.outstanding_octets
    return Heard(together), Heard(apart)


def feed(all_heard: tuple[Heard, Heard], wire: bytes, data: st.DataObject | None) -> None:
    """Let both hear the same, cut in the same way."""
    pieces = [wire] if data is None else data.draw(splits(wire))
    for piece in filter(None, pieces):
        for heard in all_heard:
            heard.take(piece)


@given(
    st.sampled_from(list(Protocol)),
    st.lists(ADDRESSES, min_size=1, max_size=8),
    st.lists(st.sampled_from(WORDS), max_size=8),
    st.lists(st.sampled_from(WORDS), max_size=8),
    st.booleans(),
    st.data(),
)
@example(LMTP, [*NAMES], [SAME] * 4, [SAME] * 4, True, None)
@example(LMTP, [*NAMES], [SAME] * 4, [SAME, SAME, b"421 bye\r\n"], True, None)
def test_a_run_of_recipients_is_what_sending_each_of_them_is(
    protocol: Protocol,
    addresses: list[str],
    words: list[bytes],
    finals: list[bytes],
    ends: bool,
    data: st.DataObject | None,
) -> None:
    together, apart = spoken(protocol, addresses)
    envelope = b"".join([SAME, *words[: len(addresses)], b"354 go\r\n"])
    feed((together, apart), envelope, data)
    assert together.known == apart.known
    content: tuple[Command, ...] = (Content(b"x\r\n"), EndOfContent())
    if together.fault is None and together.conn.accepts_content:
        assert say(together.conn, *content) == say(apart.conn, *content)
        feed((together, apart), b"".join(finals), data)
        assert together.known == apart.known
    if ends:
        together.take(b"")
        apart.take(b"")
        assert together.known == apart.known
    assert together.conn.due == apart.conn.due or isinstance(together.conn.due, Rcpts)


def test_answers_with_the_same_words_are_one_event() -> None:
    together, _ = spoken(SMTP, NAMES)
    found = hear(together.conn, SAME * 4 + b"550 5.1.1 no\r\n" + b"354 go\r\n")
    run = Rcpts(NAMES)
    answered = Reply(250, (b"2.1.5 Ok",))
    assert found[1:3] == [
        RecipientsAnswered(answered, run, 3),
        RecipientsAnswered(Reply(550, (b"5.1.1 no",)), run, 1),
    ]


def test_final_replies_with_the_same_words_are_one_event() -> None:
    together, _ = spoken(LMTP, NAMES)
    hear(together.conn, SAME * 5 + b"354 go\r\n")
    say(together.conn, EndOfContent())
    found = hear(together.conn, SAME * 3 + b"250 2.0.0 other\r\n")
    assert [(type(event), getattr(event, "count", 0)) for event in found] == [
        (RecipientsDelivered, 3),
        (RecipientsDelivered, 1),
    ]
    assert (together.conn.state, together.conn.outstanding) == (State.READY, 0)


def test_421_among_lmtps_final_replies_is_of_the_recipient_that_is_next() -> None:
    together, _ = spoken(LMTP, NAMES)
    hear(together.conn, SAME * 5 + b"354 go\r\n")
    say(together.conn, EndOfContent())
    *_, closing = hear(together.conn, SAME * 2 + b"421 bye\r\n")
    assert isinstance(closing, ServiceClosing)
    assert closing.recipient == Rcpt(NAMES[2])


def test_what_is_unanswered_of_a_run_are_the_recipients_that_are_left() -> None:
    together, _ = spoken(SMTP, NAMES)
    *_, closing = hear(together.conn, SAME * 3 + b"421 bye\r\n")
    assert isinstance(closing, ServiceClosing)
    assert closing.unanswered == (Rcpt(NAMES[2]), Rcpt(NAMES[3]), Data())


def test_a_run_is_legal_where_its_recipients_are() -> None:
    conn = reach(State.READY)
    with pytest.raises(LocalProtocolError, match="cannot send RCPT in state READY"):
        conn.send(Rcpts(NAMES))
    say(conn, MAIL)
    conn.capabilities = Capabilities()
    with pytest.raises(LocalProtocolError, match="cannot send RCPT before MAIL is answered"):
        conn.send(Rcpts(NAMES))


@pytest.mark.parametrize(
    "odd", [("a@y>\r\nDATA\r\nRCPT TO:<b@y",), ("bé@y",), ("a@y\n",), ()], ids=["two", "utf8", "end", "none"]
)
def test_a_run_holds_ascii_addresses_alone(odd: tuple[str, ...]) -> None:
    conn = reach(State.MAIL)
    with pytest.raises(LocalProtocolError, match="more than an ASCII address"):
        conn.send(Rcpts(odd))
    assert (conn.ahead, conn.outstanding, conn.outstanding_octets) == (State.MAIL, 0, 0)


@pytest.mark.parametrize(("protocol", "finals"), [("smtp", 1), ("lmtp", 3)])
def test_a_trace_shows_each_recipient_and_each_answer(protocol: str, finals: int) -> None:
    rules = [on("RCPT", occurrence=3).reply(550, "5.1.1 no")]
    server = ModelServer(protocol, ["PIPELINING"], rules)
    shown: list[TraceEvent] = []
    config = TargetConfig(targets=["tcp://mx.example:25"], protocol=protocol)
    delivery = Delivery(Envelope("a@x.example", NAMES), b"Subject: x\r\n\r\nhi\r\n")
    Playground({"tcp://mx.example:25": server}).run(forwarding(delivery, config, trace=shown.append))
    sent = [event.line for event in shown if isinstance(event, Sent)]
    assert [line for line in sent if line.startswith("RCPT")] == [f"RCPT TO:<{name}>" for name in NAMES]
    heard = [event.reply.code for event in shown if isinstance(event, Received)]
    assert heard[-(6 + finals + 1) :] == [250, 250, 250, 550, 250, 354, *[250] * finals, 221]
    assert [outcome.reply.code for outcome in delivery.outcomes] == [250, 250, 550, 250]
