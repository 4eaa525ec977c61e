"""Anything that a server says and a program asks for, in any order: the rules hold, and nothing else is raised."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from dialogues import COMMANDS, KEYWORDS, LEGAL, LMTP, offer, reach
from smtpstate._about_client import Xclient
from smtpstate._capabilities import Capabilities
from smtpstate._commands import (
    Command,
    Content,
    Data,
    EndOfContent,
    Mail,
    Opening,
    Protocol,
    Rcpt,
    StartTls,
)
from smtpstate._connection import Connection
from smtpstate._errors import LocalProtocolError, RemoteProtocolError
from smtpstate._events import (
    NEED_DATA,
    Answered,
    ConnectionEnded,
    Event,
    HelloAnswered,
    MessageAnswered,
    RecipientDelivered,
    ServiceClosing,
    TlsReady,
)
from smtpstate._limits import Limits
from smtpstate._machine import State
from strategies import commands, replies, reply_octets, splits

SMALL = Limits(reply_line=60, challenge_line=90, reply_lines=9, reply=200, challenges=2)

#: Commands that the grid knows come as often as all others together.
likely_commands = st.sampled_from(list(COMMANDS.values())) | commands

wires = (
    st.lists(replies.map(bytes), max_size=8).map(b"".join)
    | reply_octets
    | st.binary(max_size=60)
    | st.builds(bytes.__add__, st.lists(replies.map(bytes), max_size=3).map(b"".join), reply_octets)
)


# What a server may say.


@dataclass(frozen=True)
class Scene:
    """A connection in some state with commands outstanding, to be made as often as it is needed."""

    protocol: Protocol
    state: State
    limits: Limits
    flight: tuple[Command, ...]

    def begin(self) -> Connection:
        """Return it, with all of the flight sent that is legal."""
        conn = reach(self.state, self.protocol, limits=self.limits)
        for command in self.flight:
            try:
                conn.send(command)
            except LocalProtocolError:
                continue
        return conn


scenes = st.builds(
    Scene,
    st.sampled_from(Protocol),
    st.sampled_from(State),
    st.sampled_from([Limits(), SMALL]),
    st.lists(likely_commands, max_size=8).map(tuple),
)


def outcome(conn: Connection, parts: list[bytes]) -> tuple[list[Event], bool]:
    """Return what happens, and whether it ends with a violation; no other exception is caught."""
    found: list[Event] = []
    for part in parts:
        conn.receive_data(part)
        try:
            while (event := conn.next_event()) is not NEED_DATA:
                found.append(event)
        except RemoteProtocolError:
            return found, True
    return found, False


@settings(max_examples=200)
@given(scenes, wires, st.booleans(), st.data())
def test_whatever_a_server_says_is_an_event_or_a_violation_however_it_is_cut(
    scene: Scene, wire: bytes, ends: bool, data: st.DataObject
) -> None:
    end = [b""] if ends else []
    conn = scene.begin()
    asks_for_tls = any(isinstance(command, StartTls) for command in scene.flight)
    whole, violated = outcome(conn, [wire, *end] if wire else end)
    parts = outcome(scene.begin(), [*data.draw(splits(wire)), *end])
    octet_by_octet = outcome(scene.begin(), [*(bytes([octet]) for octet in wire), *end])
    # What follows the answer to STARTTLS is a violation, whether it comes with it or after it.
    told = [event for event in parts[0] if not (violated and asks_for_tls and isinstance(event, TlsReady))]
    assert (told, parts[1]) == (whole, violated)
    assert (parts[0], parts[1]) == octet_by_octet or asks_for_tls
    if ends and not violated:
        assert isinstance(whole[-1], ConnectionEnded)


# What a program may ask for.

#: Names of commands that make sense one after the other.
FLIGHTS = (
    "MAIL RCPT RCPT DATA",
    "MAIL RCPT BDAT BDAT-LAST",
    "MAIL RCPT RCPT BDAT-LAST MAIL RCPT BDAT-LAST",
    "RCPT DATA",
    "content content end MAIL RCPT",
    "end",
    "RSET",
    "EHLO",
    "LHLO",
    "AUTH",
    "response",
    "STARTTLS",
    "XCLIENT",
)

MOODS = st.sampled_from(["yes", "yes", "yes", "no"])

#: What is answered with something else than 250 if all goes well.
YES = {
    "greeting": b"220 mx.example\r\n",
    "STARTTLS": b"220 go ahead\r\n",
    "AUTH": b"334 \r\n",
    "response": b"235 welcome\r\n",
    "DATA": b"354 go ahead\r\n",
}


class Conversation(RuleBasedStateMachine):
    """A program that asks for anything and a server that says anything, watched by a bookkeeper.

    The bookkeeper knows what was sent, what was offered and who was accepted,
    and nothing of the table but the grid of what is legal where.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conn = Connection()
        self.sent: deque[tuple[Command, int]] = deque([(Opening(), 0)])
        self.accepted: deque[Command] = deque()
        self.offered = Capabilities()
        self.over = False
        self.protocol = Protocol.SMTP

    @initialize(protocol=st.sampled_from(Protocol))
    def connect(self, protocol: Protocol) -> None:
        self.protocol = protocol
        self.conn = Connection(protocol, limits=SMALL)
        self.sent = deque([(Opening(), 0)])
        self.accepted.clear()
        self.offered = Capabilities()
        self.over = False

    @rule(
        names=st.lists(st.sampled_from(FLIGHTS), min_size=1, max_size=6), moods=st.lists(MOODS, max_size=12)
    )
    def converse(self, names: list[str], moods: list[str]) -> None:
        """Send what makes sense, if it is legal, and have some of it answered; first of all, be introduced."""
        if self.over:
            self.connect(self.protocol)
        if self.conn.state in (State.GREETING, State.HELLO):
            self.answer("yes")
            self.ask(COMMANDS["LHLO" if self.protocol is LMTP else "EHLO"])
            self.answer("yes")
        for name in " ".join(names).split():
            self.ask(COMMANDS[name])
        for mood in moods:
            self.answer(mood)

    # The program.

    @rule(command=likely_commands)
    def ask(self, command: Command) -> None:
        """Send something, legal or not."""
        conn = self.conn
        ahead, before = conn.ahead, self.seen()
        try:
            wire = conn.send(command)
        except LocalProtocolError as error:
            assert self.seen() == before
            assert str(error).startswith("cannot send ")
            return
        assert not self.over
        assert (ahead, command.kind) in {
            (state, COMMANDS[name].kind) for (state, name), legal in LEGAL.items() if legal
        }
        assert all(keyword in self.offered for keyword in command.needs)
        if self.sent:
            assert self.sent[-1][0].pipelines
            assert "PIPELINING" in self.offered
        if isinstance(command, Content):
            return
        if isinstance(command, EndOfContent):
            assert wire.endswith(b".\r\n")
            if self.protocol is LMTP and not self.accepted:
                return
            wire = wire[-3:]
        self.sent.append((command, len(wire)))

    @rule()
    def begin_tls(self) -> None:
        before = self.seen()
        try:
            self.conn.tls_started()
        except LocalProtocolError:
            assert self.seen() == before
            assert self.over or self.conn.state is not State.TLS
        except RemoteProtocolError:
            self.over = True
        else:
            assert not self.sent
            assert not self.over
            self.offered = Capabilities()

    # The server.

    def answer(self, mood: str) -> None:
        """Answer what is due as a server could."""
        if not self.sent or self.over:
            return
        due = self.sent[0][0]
        name = next((name for name, command in COMMANDS.items() if command.kind is due.kind), "greeting")
        if name in ("EHLO", "LHLO"):
            self.hear(offer(*KEYWORDS) if mood == "yes" else offer("PIPELINING", "AUTH"))
        elif mood == "yes":
            self.hear(YES.get(name, b"250 ok\r\n"))
        else:
            self.hear(b"452 no\r\n" if name == "greeting" else b"550 no\r\n")

    # What is likely to be the end of everything is tried rarely, so that other things happen before it.

    @rule(dice=st.integers(1, 9), wire=wires, data=st.data())
    def say_anything(self, dice: int, wire: bytes, data: st.DataObject) -> None:
        if dice == 5:  # not at an edge, where numbers are drawn more often
            for part in data.draw(splits(wire)):
                self.hear(part)

    @rule(dice=st.integers(1, 9))
    def end(self, dice: int) -> None:
        if dice == 5:
            self.hear(b"")

    def hear(self, wire: bytes) -> None:
        self.conn.receive_data(wire)
        try:
            while (event := self.conn.next_event()) is not NEED_DATA:
                self.enter(event)
        except RemoteProtocolError:
            self.over = True

    # The books.

    def enter(self, event: Event) -> None:
        """Check that an event is the one that is due."""
        if isinstance(event, (ServiceClosing, ConnectionEnded)):
            assert event.unanswered == tuple(command for command, _ in self.sent)
            assert not self.over or isinstance(event, ConnectionEnded)
            self.close()
            return
        assert isinstance(event, Answered)
        assert not self.over
        if isinstance(event, MessageAnswered) and event.early:
            self.close()
            return
        command, _ = self.sent[0]
        assert event.command == command
        if isinstance(event, RecipientDelivered):
            assert event.recipient is self.accepted.popleft()
            if self.accepted:
                return
        else:
            last = command.kind is COMMANDS["BDAT-LAST"].kind or isinstance(command, EndOfContent)
            # One answer for everybody is one that began before the end, and nothing comes after it.
            assert not (last and self.protocol is LMTP and self.accepted) or self.conn.closed
        self.sent.popleft()
        self.note(command, event)

    def note(self, command: Command, event: Answered) -> None:
        """Note who stands and what is offered after an answer."""
        success = event.reply.digit == 2
        if isinstance(command, Rcpt) and success:
            self.accepted.append(command)
        elif self.conn.state is State.READY or (isinstance(command, Mail) and success):
            self.accepted.clear()
        if isinstance(event, HelloAnswered) and success:
            self.offered = event.capabilities
        elif isinstance(command, Xclient) and success:
            self.offered = Capabilities()
        self.over = self.conn.closed
        assert self.conn.accepts_content is (isinstance(command, Data) and event.reply.code == 354)

    def close(self) -> None:
        self.over = True
        self.sent.clear()
        self.accepted.clear()

    def seen(self) -> tuple[object, ...]:
        conn = self.conn
        return conn.state, conn.ahead, conn.outstanding, conn.outstanding_octets, conn.due, conn.capabilities

    @invariant()
    def what_is_outstanding_is_what_was_sent_and_not_answered(self) -> None:
        if not self.over or not self.sent:
            assert self.conn.outstanding == len(self.sent)
            assert self.conn.outstanding_octets == sum(octets for _, octets in self.sent)
            assert self.conn.due == (self.sent[0][0] if self.sent else None)

    @invariant()
    def the_cursors_meet_when_nothing_is_outstanding(self) -> None:
        assert self.conn.state is self.conn.ahead or self.conn.outstanding

    @invariant()
    def what_is_offered_is_what_was_said_last(self) -> None:
        assert self.conn.capabilities == self.offered or self.over

    @invariant()
    def what_is_over_is_closed(self) -> None:
        assert self.conn.closed is self.over


TestConversation = Conversation.TestCase
TestConversation.settings = settings(max_examples=100, stateful_step_count=25)
