"""Take transactions step by step against model servers in memory, as an adapter would."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from playing import MESSAGE, MX, MX2, Played
from smtpstate import (
    Courier,
    Credentials,
    Delivery,
    DeliveryFailed,
    Envelope,
    Message,
    Recipient,
    TargetConfig,
)
from smtpstate._replies import Reply
from smtpstate._stepwise import Stepwise
from smtpstate.testing import Abandoned, ModelServer, Playground, Rule

NOBODY_YET = Envelope("a@x.example")


class Stage:
    """A courier and its server, for any number of transactions one after the other."""

    def __init__(
        self,
        rules: Iterable[Rule] = (),
        extensions: Sequence[str] = ("PIPELINING",),
        *,
        server: ModelServer | None = None,
        second: ModelServer | Exception | None = None,
        protocol: str = "smtp",
        playing: dict[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        self.server = server or ModelServer(protocol, extensions, rules)
        self.second = second
        network: dict[str, ModelServer | Exception] = {MX: self.server}
        if second is not None:
            network[MX2] = second
        self.playground = Playground(network, **(playing or {}))
        self.courier = Courier(
            TargetConfig(targets=list(network), protocol=protocol, **settings), nonce=lambda: "x" * 24
        )

    def begin(
        self,
        envelope: Envelope = NOBODY_YET,
        declared: Message | None = None,
        credentials: Credentials | None = None,
    ) -> Steps:
        """Begin a transaction; raises ``DeliveryFailed`` if there is none."""
        steps = Steps(self, envelope, declared, credentials)
        steps.begin()
        return steps

    def fail(self, envelope: Envelope = NOBODY_YET, **more: Any) -> DeliveryFailed:
        """Begin a transaction that cannot be had, and return why."""
        try:
            self.begin(envelope, **more)
        except DeliveryFailed as failed:
            return failed
        raise AssertionError("it has begun")

    def quit(self) -> None:
        self.playground.run(self.courier.leaving())

    @property
    def said(self) -> list[str]:
        return self.server.commands

    @property
    def verbs(self) -> list[str]:
        return [command.split()[0] for command in self.said]

    @property
    def connections(self) -> int:
        return len(self.server.connections)


class Steps:
    """One transaction on a stage."""

    def __init__(
        self,
        stage: Stage,
        envelope: Envelope = NOBODY_YET,
        declared: Message | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        self.stage = stage
        self.delivery = Delivery.stepwise(envelope, credentials)
        self.steps: Stepwise = stage.courier.transaction(self.delivery, declared)

    def begin(self) -> None:
        self.stage.playground.run(self.steps.beginning())

    def name(self, recipient: str | Recipient) -> Reply:
        return self.stage.playground.run(self.steps.naming(recipient))

    def send(self, message: Any = MESSAGE, progress: Any = None) -> Delivery:
        self.stage.playground.run(self.steps.sending(message, progress))
        return self.delivery

    def leave(self) -> None:
        self.steps.leave(self.stage.playground.clock)

    @property
    def played(self) -> Played:
        second = self.stage.second if isinstance(self.stage.second, ModelServer) else ModelServer()
        return Played(self.delivery, self.stage.server, second, self.stage.playground)


def step_through(
    rules: Iterable[Rule] = (),
    extensions: Sequence[str] = ("PIPELINING",),
    *,
    known: Sequence[str] = ("b@y.example",),
    recipients: Sequence[str] = ("c@y.example",),
    message: Message | bytes | Iterable[bytes] = MESSAGE,
    **more: Any,
) -> Played:
    """Take a transaction through all its steps, as far as it gets; ``known`` are named on entry."""
    stage = Stage(rules, extensions, **more)
    steps = Steps(stage, Envelope("a@x.example", known))
    try:
        with suppress(Abandoned, DeliveryFailed):
            steps.begin()
            for recipient in recipients:
                steps.name(recipient)
            steps.send(message)
        steps.leave()
    finally:
        stage.playground.close()
    return steps.played
