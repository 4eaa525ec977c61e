"""A message whose source takes too long is deferred, wherever the delivery has come to by then."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from playing import MX, MX2, D, F, Played, play
from queueing import OFFERED, OFFERS, Sent, mail, send
from smtpstate import DeadlinePassed, Delivery, Envelope, Message, TargetConfig, forwarding
from smtpstate._requests import Pull
from smtpstate.testing import Fault, ModelServer, Playground
from stepping import step_through

#: Small chunks, so that several are asked for before MAIL, and large ones, so that several are after it.
SMALL = [b"Subject: small\r\n\r\n", b".a line with a dot\r\n", b"and another\r\n"]
LARGE = [b"Subject: large\r\n\r\n", *[b"0123456789abcde\r\n" * 8000] * 4]

BOTH = pytest.mark.parametrize("protocol", ["smtp", "lmtp"])
CHUNKS = pytest.mark.parametrize("chunks", [SMALL, LARGE], ids=["small", "large"])


def late(n: int) -> list[Fault]:
    """Return what an adapter says when the n-th piece of the message does not come in time."""
    return [Fault(n, DeadlinePassed("the deadline passed"), Pull)]


def stream(chunks: Sequence[bytes], offers: str) -> Message:
    """Return a message that can be read only once."""
    return Message(iter(chunks), line_ends="binary" if offers == "chunks" else "crlf")


def pulls(requests: Sequence[object]) -> list[Pull]:
    return [request for request in requests if isinstance(request, Pull)]


def check_deferred(played: Played) -> None:
    assert played.statuses == [F, F]
    assert played.enhanced == ["4.4.2", "4.4.2"]
    assert {type(outcome.error) for outcome in played.delivery.outcomes} == {DeadlinePassed}
    assert played.server.messages == played.second.messages == []
    assert not played.quit  # whoever stopped in the middle of a message is out of step
    assert isinstance(played.delivery.attempts[0].error, DeadlinePassed)


@BOTH
@OFFERED
@CHUNKS
def test_a_source_that_takes_longer_than_transaction_timeout_defers_its_message(
    protocol: str, offers: str, chunks: list[bytes]
) -> None:
    def played(faults: Sequence[Fault]) -> Played:
        message = stream(chunks, offers)
        return play(
            message=message,
            protocol=protocol,
            extensions=OFFERS[offers],
            faults=faults,
            transaction_timeout=60,
        )

    whole = played(())
    assert whole.statuses == [D, D]
    asked = pulls(whole.playground.requests)
    assert {pull.deadline for pull in asked} == {60.0}
    for n in range(len(asked)):
        check_deferred(played(late(n)))


@BOTH
@CHUNKS
def test_a_source_that_takes_longer_than_transaction_timeout_ends_a_transaction_of_steps(
    protocol: str, chunks: list[bytes]
) -> None:
    def played(faults: Sequence[Fault]) -> Played:
        playing = {"faults": faults}
        return step_through(message=iter(chunks), protocol=protocol, playing=playing, transaction_timeout=60)

    whole = played(())
    assert whole.statuses == [D, D]
    asked = pulls(whole.playground.requests)
    assert {pull.deadline for pull in asked} == {60.0}
    for n in range(len(asked)):
        check_deferred(played(late(n)))


@BOTH
@OFFERED
@CHUNKS
def test_a_source_that_takes_longer_than_transaction_timeout_leaves_the_rest_of_the_queue_alone(
    protocol: str, offers: str, chunks: list[bytes]
) -> None:
    def sent(faults: Sequence[Fault]) -> Sent:
        handed = [mail(0), mail(1, stream(chunks, offers)), mail(2)]
        return send(offers=offers, handed=handed, protocol=protocol, faults=faults, transaction_timeout=60)

    whole = sent(())
    assert whole.statuses == [D, D, D]
    asked = pulls(whole.playground.requests)
    assert {pull.deadline for pull in asked} == {60.0}
    for n in range(len(asked)):
        stopped = sent(late(n))
        assert stopped.statuses == [D, F, D]
        outcome = stopped.deliveries[1].outcomes[0]
        assert (str(outcome.reply.enhanced), type(outcome.error)) == ("4.4.2", DeadlinePassed)


def test_what_a_late_source_leaves_is_not_sent_as_the_whole_message() -> None:
    failover = ["connect", "transient"]
    for n in range(len(SMALL) + 1):
        again = play(
            message=iter(SMALL), second_rules=(), faults=late(n), failover=failover, transaction_timeout=60
        )
        assert again.statuses == [F, F]
        assert again.server.messages == again.second.messages == []
        assert ["read only once" in note for note in again.delivery.outcomes[0].notes] == [True]


def test_a_late_source_that_can_be_read_anew_is_read_anew_at_the_next_endpoint() -> None:
    message = Message(lambda: iter(SMALL))
    failover = ["connect", "transient"]
    again = play(message=message, second_rules=(), faults=late(2), failover=failover, transaction_timeout=60)
    assert again.statuses == [D, D]
    assert [kept.content for kept in again.second.messages] == [b"".join(SMALL)]


def test_recipients_of_a_later_transaction_are_deferred_with_the_rest() -> None:
    extensions = ("PIPELINING", "LIMITS RCPTMAX=1")
    played = play(message=iter(SMALL), extensions=extensions, faults=late(0), transaction_timeout=60)
    check_deferred(played)


def test_recipients_of_a_later_transaction_of_a_queue_are_deferred_with_the_rest() -> None:
    envelope = Envelope("a1@x.example", ["r1@y.example", "r1b@y.example"])
    handed = [mail(0), Delivery(envelope, iter(SMALL)), mail(2)]
    sent = send(
        offers="data", handed=handed, more_offers=["LIMITS RCPTMAX=1"], faults=late(0), transaction_timeout=60
    )
    assert sent.statuses == [D, F, F, D]


@pytest.mark.parametrize("slow", range(len(LARGE) + 1))
@CHUNKS
def test_no_message_is_sent_whole_after_its_deadline_although_nothing_could_interrupt_its_source(
    slow: int, chunks: list[bytes]
) -> None:
    server = ModelServer(extensions=("PIPELINING",))
    playground = Playground({MX: server})

    def source() -> Iterator[bytes]:
        for n, chunk in enumerate(chunks):
            if n == slow:
                playground.clock.wait_until(1000)
            yield chunk

    delivery = Delivery(Envelope("a@x.example", ["b@y.example"]), source())
    playground.run(forwarding(delivery, TargetConfig(targets=[MX], transaction_timeout=60)))
    late = slow < len(chunks)
    assert [outcome.status for outcome in delivery.outcomes] == [F if late else D]
    assert len(server.messages) == (not late)


def test_without_transaction_timeout_a_source_may_take_forever_and_its_own_failure_is_the_callers() -> None:
    own = DeadlinePassed("of something else")

    def source() -> Iterator[bytes]:
        yield SMALL[0]
        raise own

    with pytest.raises(DeadlinePassed) as raised:
        play(message=source())
    assert raised.value is own
    assert {pull.deadline for pull in pulls(play(message=iter(SMALL)).playground.requests)} == {None}


def test_the_endpoint_of_a_late_source_is_not_taken_for_one_that_cannot_be_reached() -> None:
    server, second = ModelServer(), ModelServer(name="mx2.example")
    playground = Playground({MX: server, MX2: second}, faults=late(0))
    config = TargetConfig(targets=[MX, MX2], transaction_timeout=60)
    for message in (iter(SMALL), iter(SMALL)):
        delivery = Delivery(Envelope("a@x.example", ["b@y.example"]), message)
        playground.run(forwarding(delivery, config))
    assert len(server.connections) == 2
    assert (len(server.messages), second.connections) == (1, [])
