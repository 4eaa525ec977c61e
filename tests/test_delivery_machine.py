"""Whole deliveries in any order to servers that misbehave in any way: every outcome is true, and nothing is doubled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from operator import attrgetter
from typing import Any, Literal

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from playing import MX, MX2
from smtpstate import (
    Courier,
    DeadlinePassed,
    Delivery,
    Envelope,
    Message,
    Status,
    TargetConfig,
    TransportError,
)
from smtpstate._requests import Connect, Poll, Queue, Receive, Send
from smtpstate.testing import (
    Close,
    Fault,
    ModelServer,
    Playground,
    Reset,
    Rule,
    Split,
    octet_by_octet,
    on,
    split_at,
    whole,
)

#: What is offered besides; nothing contradicts anything.
EXTENSIONS = (
    "PIPELINING",
    "CHUNKING",
    "BINARYMIME",
    "8BITMIME",
    "SMTPUTF8",
    "SIZE 150000",
    "DSN",
    "LIMITS RCPTMAX=2",
    "LIMITS MAILMAX=2",
    "LIMITS RCPTDOMAINMAX=1",
)

# How servers misbehave. Nothing here is a lie: no yes without the deed, no deed after a no. What a server
# says after it has lied tells nobody anything, and no client can do better than to believe it.

_NO = (421, 450, 451, 452, 500, 503, 550, 552, 554)
_no = st.sampled_from(_NO)
_occurrences = st.none() | st.integers(1, 4) | st.builds(range, st.integers(1, 3), st.integers(3, 6))
_connections = st.none() | st.integers(1, 3)


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    """Make a rule about one step."""
    step = draw(
        st.sampled_from(
            [
                "connect",
                "greeting",
                "EHLO",
                "LHLO",
                "MAIL",
                "RCPT",
                "DATA",
                "BDAT",
                "RSET",
                "content",
                "message",
                "QUIT",
            ]
        )
    )
    made = on(
        step,
        occurrence=draw(_occurrences),
        connection=draw(_connections),
        across_connections=draw(st.booleans()),
        after=draw(st.sampled_from([0, 10, 70_000])) if step == "content" else 0,
    )
    if step == "connect":
        return made.refuse()
    if draw(st.booleans()):
        made = made.delay(draw(st.sampled_from([1, 200, 1000])))
    match draw(st.sampled_from(["no", "no", "close", "reset", "silence", "junk", "deaf", "last words"])):
        case "no":
            made = made.reply(draw(_no), draw(st.sampled_from(["", "no", "4.5.3 too many", "5.7.1 no"])))
        case "close":
            made = made.close()
        case "reset":
            made = made.reset()
        case "silence":
            made = made.silence()
        case "junk":
            made = made.say(b"junk\r\n").close()
        case "deaf" if step != "message":  # or LMTP's other final replies would come in its place
            made = made.stop_reading()
        case _:
            made = made.reply(draw(_no)).close()
    return made


@st.composite
def faults(draw: st.DrawFn) -> Fault:
    """Make one request fail."""
    error = draw(st.sampled_from([TransportError("connection reset"), DeadlinePassed("the deadline passed")]))
    kind = draw(st.sampled_from([Connect, Send, Send, Receive, Poll]))
    delivered = draw(st.sampled_from([0, 0, 1, 30])) if kind is Send else 0
    return Fault(draw(st.integers(0, 40)), error, kind=kind, delivered=delivered)


# What is delivered.

_LINES = b"Subject: hello\r\n\r\n.a line with a dot\r\n" + b"x" * 76 + b"\r\n"


#: Recipients of one message: a name and a domain each; there may be duplicates.
_names = st.lists(st.sampled_from(["b@y", "c@y", "d@y", "b@z", "b@w"]), min_size=1, max_size=5)


@dataclass(frozen=True)
class Letter:
    """A message, and what has to arrive of it."""

    message: Message
    content: bytes


@st.composite
def letters(draw: st.DrawFn) -> Letter:
    """Make a message of some kind."""
    content = draw(st.sampled_from([b"", _LINES, _LINES * 100, _LINES * 1500]))
    kind = draw(st.sampled_from(["bytes", "chunks", "once", "binary", "8bit"]))
    if kind == "bytes":
        return Letter(Message(content), content)
    if kind == "binary":
        return Letter(Message(content + b"\x00\n", line_ends="binary"), content + b"\x00\n")
    if kind == "8bit":
        content += "grüße\r\n".encode()
        return Letter(Message([content]), content)
    chunks = [content[:100], content[100:]]
    return Letter(Message(iter(chunks) if kind == "once" else chunks), content)


class Handed:
    """What the caller hands over; it may go on after it has ended."""

    def __init__(self) -> None:
        self.rest: list[Delivery | Literal[Queue.LATER]] = []

    def __iter__(self) -> Handed:
        return self

    def __next__(self) -> Delivery | Literal[Queue.LATER]:
        if not self.rest:
            raise StopIteration
        return self.rest.pop(0)


class Deliveries(RuleBasedStateMachine):
    """One courier, two servers, and all that can happen between them."""

    @initialize(
        protocol=st.sampled_from(["smtp", "lmtp"]),
        extensions=st.lists(st.sampled_from(EXTENSIONS), unique=True, max_size=6),
        first=st.lists(rules(), max_size=3),
        second=st.lists(rules(), max_size=2),
        failing=st.lists(faults(), max_size=2),
        split=st.sampled_from([whole, octet_by_octet, split_at(7)]),
        failover=st.sampled_from([{"connect"}, {"connect", "transient"}]),
        switches=st.fixed_dictionaries({"pipelining": st.booleans(), "chunking": st.booleans()}),
        most=st.sampled_from([1, 3, 100]),
        timeout=st.sampled_from([None, None, 500]),
    )
    def begin(
        self,
        protocol: str,
        extensions: list[str],
        first: list[Rule],
        second: list[Rule],
        failing: list[Fault],
        split: Split,
        failover: set[str],
        switches: dict[str, Any],
        most: int,
        timeout: float | None,
    ) -> None:
        self.servers = [
            ModelServer(protocol, extensions, first),
            ModelServer(protocol, extensions, second, name="mx2.example"),
        ]
        self.handed = Handed()
        self.playground = Playground(
            dict(zip((MX, MX2), self.servers, strict=True)),
            split=split,
            faults=failing,
            deliveries=self.handed,
            most_requests=100_000,
        )
        self.courier = Courier(
            TargetConfig(
                targets=[MX, MX2],
                protocol=protocol,
                failover=failover,
                max_messages=most,
                transaction_timeout=timeout,
                **switches,
            )
        )
        self.numbers = count()
        self.deliveries: list[tuple[Delivery, bytes]] = []

    def made(self, letter: Letter, names: Sequence[str]) -> Delivery:
        """Make a delivery whose recipients no other has."""
        n = next(self.numbers)
        recipients = [f"m{n}{name}.example" for name in names]
        delivery = Delivery(Envelope(f"a{n}@x.example", recipients), letter.message)
        self.deliveries.append((delivery, letter.content))
        return delivery

    @rule(letter=letters(), names=_names)
    def deliver(self, letter: Letter, names: list[str]) -> None:
        self.bounded(lambda: self.playground.run(self.courier.delivering(self.made(letter, names))), 1)

    @rule(
        many=st.lists(st.none() | st.tuples(letters(), _names), max_size=5), ahead=st.sampled_from([1, 2, 32])
    )
    def deliver_many(self, many: list[tuple[Letter, list[str]] | None], ahead: int) -> None:
        made = [each and self.made(*each) for each in many]
        self.handed.rest = [each or Queue.LATER for each in made]
        given = len(self.playground.given)
        self.bounded(lambda: self.playground.run(self.courier.delivering_many(ahead)), len(many))
        assert self.playground.given[given:] == [each for each in made if each is not None]

    @rule()
    def leave(self) -> None:
        self.playground.run(self.courier.leaving())

    @rule(seconds=st.sampled_from([1, 60]))
    def wait(self, seconds: float) -> None:
        self.playground.clock.now += seconds

    @rule(how=st.sampled_from([Close(), Reset()]))
    def end_idle_connection(self, how: Close | Reset) -> None:
        if self.courier.keeps_connection:
            self.playground.server_does(how)

    def bounded(self, act: Callable[[], None], deliveries: int) -> None:
        """Act, and count what was asked for: nothing goes round in circles."""
        before = len(self.playground.requests)
        act()
        assert len(self.playground.requests) - before <= 500 + 2000 * deliveries

    @invariant()
    def every_outcome_is_true(self) -> None:
        stored = Counter(
            name for server in self.servers for message in server.messages for name in message.recipients
        )
        for delivery, _ in self.deliveries:
            assert len(delivery.outcomes) == len(delivery.envelope.recipients)
            named = Counter(recipient.address for recipient in delivery.envelope.recipients)
            for address, times in named.items():
                statuses = [o.status for o in delivery.outcomes if o.recipient == address]
                unsure = statuses.count(Status.UNCERTAIN)
                assert stored[address] <= times, "sent twice"
                assert statuses.count(Status.DELIVERED) <= stored[address], "said to be delivered, and is not"
                assert stored[address] <= statuses.count(Status.DELIVERED) + unsure, "a retry would duplicate"

    @invariant()
    def every_message_arrived_whole_and_in_its_own_name(self) -> None:
        for server in self.servers:
            for message in server.messages:
                n = int(message.sender.removeprefix("a").partition("@")[0])
                delivery, content = self.deliveries[n]
                assert message.content == content
                assert set(message.recipients) <= {r.address for r in delivery.envelope.recipients}

    @invariant()
    def nothing_was_done_that_no_client_may_do(self) -> None:
        for server in self.servers:
            assert server.violations == []

    def teardown(self) -> None:
        if hasattr(self, "playground"):
            self.playground.close()


#: Hypothesis leaves open of what type it is.
TestDeliveries: Any = attrgetter("TestCase")(Deliveries)
TestDeliveries.settings = settings(max_examples=150, stateful_step_count=6, deadline=None)
