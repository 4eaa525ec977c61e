"""Play deliveries against model servers in memory, and look at what became of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from smtpstate import Delivery, Envelope, Message, Status, TargetConfig, forwarding
from smtpstate._requests import Request
from smtpstate.testing import Cut, Fault, ModelServer, Playground, Rule, Split, whole

MX = "tcp://mx.example:25"
MX2 = "tcp://mx2.example:25"
MESSAGE = b"Subject: hello\r\n\r\n.a line with a dot\r\nand another\r\n"

D, F, R, U = Status.DELIVERED, Status.DEFERRED, Status.REJECTED, Status.UNCERTAIN


@dataclass
class Played:
    """What happened."""

    delivery: Delivery
    server: ModelServer
    second: ModelServer
    playground: Playground

    @property
    def statuses(self) -> list[Status]:
        return [outcome.status for outcome in self.delivery.outcomes]

    @property
    def codes(self) -> list[int]:
        return [outcome.reply.code for outcome in self.delivery.outcomes]

    @property
    def enhanced(self) -> list[str]:
        return [str(outcome.reply.enhanced) for outcome in self.delivery.outcomes]

    @property
    def phases(self) -> list[str]:
        return [outcome.phase.value for outcome in self.delivery.outcomes]

    @property
    def said(self) -> list[str]:
        return self.server.commands

    @property
    def quit(self) -> bool:
        """Whether the last connection to the first server was left by QUIT."""
        return self.server.connections[-1].commands[-1:] == ["QUIT"]


def play(
    rules: Iterable[Rule] = (),
    recipients: Sequence[str] = ("b@y.example", "c@y.example"),
    message: Message | bytes | Iterable[bytes] = MESSAGE,
    *,
    protocol: str = "smtp",
    extensions: Sequence[str] = (),
    second_rules: Iterable[Rule] | Exception | None = None,
    split: Split = whole,
    faults: Sequence[Fault] = (),
    cut: int | Cut | None = None,
    correct: bool = True,
    envelope: Envelope | None = None,
    **settings: Any,
) -> Played:
    """Deliver a message to a server with ``rules``; ``second_rules`` adds another endpoint behind it.

    ``correct`` asserts that the client did nothing that no client may do.
    """
    server = ModelServer(protocol, extensions, rules, cut=cut)
    network: dict[str, ModelServer | Exception] = {MX: server}
    targets = [MX]
    second = ModelServer(
        protocol,
        extensions,
        () if isinstance(second_rules, Exception) else second_rules or (),
        name="mx2.example",
    )
    if second_rules is not None:
        network[MX2] = second_rules if isinstance(second_rules, Exception) else second
        targets.append(MX2)
    playground = Playground(network, split=split, faults=faults)
    delivery = Delivery(envelope or Envelope("a@x.example", recipients), message)
    config = TargetConfig(targets=targets, protocol=protocol, **settings)
    try:
        playground.run(forwarding(delivery, config))
    finally:
        playground.close()
    if correct:
        assert server.violations == []
        assert second.violations == []
    return Played(delivery, server, second, playground)


def count_requests(kind: type[Request] | None, act: Callable[[], Played]) -> int:
    """Return how many requests (of one type) a play makes."""
    return sum(kind is None or type(request) is kind for request in act().playground.requests)
