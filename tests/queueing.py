"""Play queues of deliveries against model servers in memory, and look at what became of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from playing import MESSAGE, MX, MX2, D, F, R
from smtpstate import Courier, Delivery, Envelope, Message, Status, TargetConfig, Trace
from smtpstate._requests import Queue
from smtpstate.testing import Fault, ModelServer, Playground, Rule, Split, whole

OFFERS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "data": ("PIPELINING",),
    "bdat": ("PIPELINING", "CHUNKING"),
    "chunks": ("PIPELINING", "CHUNKING", "BINARYMIME"),
}
OFFERED = pytest.mark.parametrize("offers", OFFERS)
BOTH = pytest.mark.parametrize("protocol", ["smtp", "lmtp"])
NUMBER = 5

#: What a caller may hand over: deliveries, and pauses.
Handed = Sequence[Delivery | Literal[Queue.LATER]]


@dataclass
class Sent:
    """What happened."""

    deliveries: list[Delivery]
    server: ModelServer
    second: ModelServer
    playground: Playground

    @property
    def statuses(self) -> list[Status]:
        return [outcome.status for delivery in self.deliveries for outcome in delivery.outcomes]

    @property
    def taken(self) -> list[str]:
        """Every recipient for whom a server has a message, once for each message."""
        servers = (self.server, self.second)
        return [name for server in servers for message in server.messages for name in message.recipients]

    @property
    def said(self) -> list[str]:
        return self.server.commands


def mail(n: int, message: Any = MESSAGE, **more: Any) -> Delivery:
    return Delivery(Envelope(f"a{n}@x.example", [f"r{n}@y.example"], **more), message)


def mails(offers: str = "", number: int = NUMBER) -> list[Delivery]:
    """Return messages; for ``chunks`` they are binary and too large for one."""
    if offers == "chunks":
        large = Message(b"x" * 150_000, line_ends="binary")
        return [mail(n, large) for n in range(number)]
    return [mail(n) for n in range(number)]


def send(
    rules: Iterable[Rule] = (),
    offers: str = "bdat",
    handed: Handed | None = None,
    *,
    protocol: str = "smtp",
    second_rules: Iterable[Rule] | Exception | None = None,
    faults: Sequence[Fault] = (),
    ahead: int = 32,
    correct: bool = True,
    more_offers: Sequence[str] = (),
    raises: type[Exception] | None = None,
    one_first: bool = False,
    trace: Trace | None = None,
    split: Split = whole,
    **settings: Any,
) -> Sent:
    """Deliver many, then leave; ``raises`` is what comes out of it."""
    handed = mails(offers) if handed is None else handed
    extensions = (*OFFERS[offers], *more_offers)
    server = ModelServer(protocol, extensions, rules)
    second = ModelServer(
        protocol,
        extensions,
        () if isinstance(second_rules, Exception) else second_rules or (),
        name="mx2.example",
    )
    network: dict[str, ModelServer | Exception] = {MX: server}
    if second_rules is not None:
        network[MX2] = second_rules if isinstance(second_rules, Exception) else second
    playground = Playground(network, faults=faults, split=split, deliveries=handed, most_requests=20_000)
    deliveries = [each for each in handed if isinstance(each, Delivery)]
    courier = Courier(TargetConfig(targets=list(network), protocol=protocol, **settings), trace=trace)
    try:
        if one_first:
            playground.run(courier.delivering(mail(99)))
        if raises is None:
            playground.run(courier.delivering_many(ahead))
            playground.run(courier.leaving())
            assert [id(each) for each in playground.given] == [id(each) for each in deliveries]
        else:
            with pytest.raises(raises):
                playground.run(courier.delivering_many(ahead))
    finally:
        playground.close()
    if correct:
        assert server.violations == []
        assert second.violations == []
    sent = Sent(deliveries, server, second, playground)
    honest(sent)
    return sent


def honest(sent: Sent) -> None:
    """Hold the outcomes against what the servers have."""
    taken = sent.taken
    for delivery in sent.deliveries:
        for outcome in delivery.outcomes:
            name = outcome.recipient
            assert taken.count(name) <= 1, f"{name} has it twice"
            if outcome.status is D:
                assert name in taken
            if outcome.status in (F, R):
                assert name not in taken
    for server in (sent.server, sent.second):
        for message in server.messages:
            n = message.sender.removeprefix("a").partition("@")[0]
            for name in message.recipients:
                assert name.startswith(f"r{n}"), "a message under another's sender"
