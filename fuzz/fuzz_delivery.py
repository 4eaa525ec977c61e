r"""Whatever a server says, every recipient has one outcome that the server's octets account for, and nothing is raised.

No exception is allowed at all: what servers and the network do is said in the
outcomes. Besides:

- the dialogue ends, and asks for nothing after the end of the stream but a new connection;
- UNCERTAIN comes only where the end of the message was sent;
- DELIVERED comes only where the end of the message was sent and a reply of class 2 was given;
- a delivery that is abandoned at any request has its outcomes too.

An input is a line of letters, which say how each wait is answered (an octet, a
line, everything, the end, too late), and then all that the server sends.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import chain, repeat

import atheris

with atheris.instrument_imports(include=["smtpstate"]):
    import smtpstate
    from smtpstate import Delivery, Envelope, Status, TargetConfig

RECIPIENTS = ["b@y.example", "c@y.example", "b@y.example"]
CONTENT = b"Subject: dots\n\n.\n..\n.end"
CONFIGS = [
    TargetConfig(
        targets=["tcp://mx.example:25", "unix:///run/mx"], protocol=protocol, hostname="client.example"
    )
    for protocol in ("smtp", "lmtp")
]
MOST_REQUESTS = 5000


class World:
    """Answers requests out of one input; the second endpoint is served with what the first has left."""

    def __init__(self, plan: str, wire: bytes) -> None:
        self.letters: Iterator[str] = chain(plan, repeat("+"))
        self.wire = wire
        self.sent = b""
        self.ended = True  # there is no connection yet
        self.now = 0.0
        self.content = [b"", CONTENT]

    def clock(self) -> float:
        """Return the time, which passes by a little at each look."""
        self.now += 0.001
        return self.now

    def perform(self, request: smtpstate.Request) -> object:
        """Answer ``request`` or raise what it fails with."""
        match request:
            case smtpstate.Connect():
                self.ended = False
                return smtpstate.Connected("192.0.2.1", "192.0.2.2")
            case smtpstate.Send(data):
                assert not self.ended
                self.sent += data
                return None
            case smtpstate.Receive(deadline):
                assert not self.ended
                return self.receive(deadline)
            case smtpstate.Poll():
                letter = next(self.letters)
                return self.take(1) if letter == "1" and self.wire else None
            case smtpstate.Pull(source):
                assert source.message.open == CONTENT
                return self.content.pop() if len(self.content) > 1 else b""
            case _:
                raise AssertionError(request)

    def receive(self, deadline: float) -> bytes:
        """Answer as the next letter says."""
        letter = next(self.letters)
        if letter == "0":
            self.ended = True
            return b""
        if letter == "w":
            self.now = max(self.now, deadline)
            self.ended = True
            raise smtpstate.DeadlinePassed("the deadline passed")
        if letter == "x":
            self.ended = True
            raise smtpstate.TransportError("reset by peer")
        if letter == "1":
            return self.take(1)
        if letter == "-":
            return self.take(self.wire.find(b"\n") + 1 or len(self.wire))
        return self.take(len(self.wire))

    def take(self, size: int) -> bytes:
        """Return the next ``size`` octets; none that are left are the end of the stream."""
        piece, self.wire = self.wire[:size], self.wire[size:]
        self.ended = self.ended or not piece
        return piece


def deliver(config: TargetConfig, plan: str, wire: bytes, most: int) -> int:
    """Deliver with no more than ``most`` requests, check what comes of it, and return how many there were."""
    world = World(plan, wire)
    delivery = Delivery(Envelope("a@x.example", RECIPIENTS), CONTENT)
    dialogue = smtpstate.forwarding(delivery, config)
    count = 0
    for request in dialogue.requests(world.clock):
        count += 1
        if count > most:
            break
        try:
            dialogue.answer(world.perform(request))
        except smtpstate.TransportError as error:
            dialogue.fail(error)
    assert count <= MOST_REQUESTS
    outcomes = delivery.outcomes
    assert [outcome.recipient for outcome in outcomes] == RECIPIENTS
    end_sent = b"\r\n..end\r\n.\r\n" in world.sent
    for outcome in outcomes:
        if outcome.status in (Status.DELIVERED, Status.UNCERTAIN):
            assert end_sent
        if outcome.status is Status.DELIVERED:
            assert not outcome.reply.local
            assert outcome.reply.digit == 2
        assert str(outcome).isprintable()
    return count


def one_input(data: bytes) -> None:
    """Check the invariant for one input, as SMTP and as LMTP, and abandoned halfway."""
    plan, _, wire = data.partition(b"\n")
    for config in CONFIGS:
        count = deliver(config, plan.decode("latin-1"), wire, MOST_REQUESTS)
        deliver(config, plan.decode("latin-1"), wire, count // 2)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
