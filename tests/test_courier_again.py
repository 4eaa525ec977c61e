"""A courier with a delivery that was run before, and with a connection that is no more what it was."""

from __future__ import annotations

import pytest

from playing import MESSAGE, MX, MX2, D, F, R, U, play
from smtpstate import (
    Auth,
    Courier,
    Credentials,
    Delivery,
    DeliveryFailed,
    Envelope,
    LocalProtocolError,
    Status,
    TargetConfig,
    forwarding,
)
from smtpstate._memory import Memory
from smtpstate.testing import Abandoned, Fault, ModelServer, Playground, Rule, on
from test_courier import Kept

# One delivery, more than once.


def test_a_delivery_under_way_is_refused_before_anything_is_sent() -> None:
    kept = Kept()
    delivery = Delivery(Envelope("a@x.example", ["b@y.example"]), MESSAGE)
    first = kept.courier.delivering(delivery).requests(kept.playground.clock)
    next(first)
    config = TargetConfig(targets=[MX])
    for second in (Courier(config).delivering(delivery), forwarding(delivery, config)):
        playground = Playground({MX: kept.server})
        with pytest.raises(LocalProtocolError, match="under way already"):
            playground.run(second)
        assert playground.requests == []
    del first
    playground = Playground({MX: kept.server})
    playground.run(forwarding(delivery, config))
    assert not delivery.claimed


@pytest.mark.parametrize("extensions", [(), ("PIPELINING",), ("PIPELINING", "CHUNKING")])
def test_a_delivery_that_was_cancelled_is_run_again_only_where_that_cannot_duplicate(
    extensions: tuple[str, ...],
) -> None:
    number = len(play((), ["b@y.example"], extensions=extensions).playground.requests)
    seen: set[tuple[Status, Status]] = set()
    for n in range(number):
        first, second = ModelServer(extensions=extensions), ModelServer()
        network = {MX: first, MX2: second}
        delivery = Delivery(Envelope("a@x.example", ["b@y.example"]), MESSAGE)
        config = TargetConfig(targets=[MX, MX2], failover=["connect", "transient"])
        with pytest.raises(Abandoned):
            Playground(network, faults=[Fault(n, None)]).run(forwarding(delivery, config))
        before = delivery.outcomes[0].status
        assert not delivery.claimed
        again = Playground(network)
        again.run(forwarding(delivery, config))
        after = delivery.outcomes[0].status
        assert (before, after) in ((F, D), (U, U), (D, D))
        assert len(first.messages) + len(second.messages) <= 1
        seen.add((before, after))
    assert seen == {(F, D), (U, U), (D, D)}


# What is told of a connection that was found dead, and of one that is left.


@pytest.mark.parametrize(
    "rule", [on("MAIL", occurrence=2, connection=1).close(), None], ids=["mail", "client"]
)
def test_a_connection_that_was_found_dead_is_no_attempt(rule: Rule | None) -> None:
    kept = Kept([rule or on("XFORWARD", connection=1).close()], ("PIPELINING", "XFORWARD NAME"))
    kept.deliver()
    delivery = kept.deliver(client={"NAME": "pc.example"} if rule is None else {})
    assert delivery.outcomes[0].status is D
    [attempt] = delivery.attempts
    assert (attempt.reply, attempt.error) == (None, None)
    assert kept.connections == 2


def test_a_connection_is_left_by_quit_although_the_time_of_its_delivery_has_passed() -> None:
    kept = Kept(transaction_timeout=10)
    assert kept.statuses(1) == [D]
    kept.playground.clock.wait_until(20)
    kept.playground.run(kept.courier.leaving())
    assert kept.server.commands[-1] == "QUIT"


def test_a_connection_is_left_for_another_within_the_time_of_the_delivery_that_needs_it() -> None:
    kept = Kept([on("QUIT").silence()], idle_timeout=1, transaction_timeout=3)
    assert kept.statuses(1) == [D]
    kept.playground.clock.wait_until(20)
    assert kept.statuses(1) == [F]
    assert kept.playground.clock() == 23


# What has begun before there was a courier.


def test_who_comes_too_late_is_deferred_and_connects_to_nobody() -> None:
    memory = Memory(10)
    courier = Courier(TargetConfig(targets=[MX, MX2]), memory=memory)
    playground = Playground({MX: ModelServer(), MX2: ModelServer()})
    playground.clock.wait_until(20)
    delivery = Delivery(Envelope("a@x.example", ["b@y.example"]), MESSAGE)
    playground.run(courier.delivering(delivery, 20))
    [outcome] = delivery.outcomes
    assert (outcome.status, outcome.phase.value, outcome.reply.text) == (
        F,
        "connect",
        "4.4.1 the deadline passed",
    )
    assert playground.requests == []
    assert [str(endpoint) for endpoint in memory.order(courier.config.targets, playground.clock)] == [MX, MX2]


@pytest.mark.parametrize("ends", [19, 20, 21])
def test_what_began_before_there_was_a_courier_ends_when_it_must(ends: float) -> None:
    server = ModelServer(rules=[on("MAIL").silence()], extensions=("AUTH PLAIN",), users={"me": "secret"})
    playground = Playground({MX: server})
    playground.clock.wait_until(20)
    courier = Courier(TargetConfig(targets=[MX], auth=Auth.forward(), insecure_auth=True))
    credentials = Credentials("me", "secret")
    steps = courier.transaction(Delivery.stepwise(Envelope("a@x.example"), credentials), ends=ends)
    with pytest.raises(DeliveryFailed):
        playground.run(steps.beginning())
    assert playground.clock() == max(ends, 20)
    reply = playground.run(courier.authenticating(credentials, ends + 1))
    assert reply.code == (235 if ends >= 20 else 421)


@pytest.mark.parametrize("secret", ["VX", "A", "Q", "5", "e"])
def test_a_short_secret_changes_nothing_but_what_is_shown(secret: str) -> None:
    server = ModelServer(
        extensions=("PIPELINING", "AUTH LOGIN"),
        users={"me": secret},
        rules=[on("RCPT", "c@y.example").reply(552, "5.5.1 mailbox is no good")],
    )
    playground = Playground({MX: server})
    delivery = Delivery(Envelope("a@x.example", ["b@y.example", "c@y.example"]), MESSAGE)
    auth = Auth.login("me", secret)
    playground.run(forwarding(delivery, TargetConfig(targets=[MX], auth=auth, insecure_auth=True)))
    assert [outcome.status for outcome in delivery.outcomes] == [D, R]
    assert len(server.messages) == 1
