"""The order in which a message is spoken, by DATA and by BDAT."""

from __future__ import annotations

import pytest

from playing import MESSAGE, MX, D, R, U, play
from smtpstate import Courier, Delivery, Envelope, Limits, Message, TargetConfig, forwarding
from smtpstate._requests import Poll, Receive, Send
from smtpstate.testing import ModelServer, Playground, on

BOTH = ("PIPELINING", "CHUNKING")
BINARY = (*BOTH, "BINARYMIME")
BLOCK = 262144


def verbs(commands: list[str]) -> list[str]:
    return [line.partition(" ")[0] for line in commands]


def chunks(commands: list[str]) -> list[str]:
    return [line for line in commands if line.startswith("BDAT")]


def test_a_small_binary_message_follows_its_envelope() -> None:
    played = play(message=Message(b"\x00\n", line_ends="binary"), extensions=BINARY)
    assert chunks(played.said) == ["BDAT 2 LAST"]
    assert played.server.messages[0].content == b"\x00\n"
    assert played.playground.turns == 3


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK])
def test_a_message_of_any_size_goes_in_chunks_of_one_block(size: int) -> None:
    binary = Message(b"x" * size, line_ends="binary")
    played = play(message=binary, extensions=BINARY)
    assert played.server.messages[0].content == b"x" * size
    sizes = [int(line.split()[1]) for line in chunks(played.said)]
    assert sum(sizes) == size
    assert max(sizes) <= BLOCK
    assert chunks(played.said)[-1].endswith(" LAST")


@pytest.mark.parametrize("extensions", [(), ("CHUNKING",)])
@pytest.mark.parametrize("place", range(-2, 2))
def test_a_line_end_across_two_blocks_stays_one(place: int, extensions: tuple[str, ...]) -> None:
    content = b"x" * (BLOCK + place) + b"\r\n.\r\n"
    assert play(message=[content], extensions=extensions).server.messages[0].content == content


def test_a_message_as_large_as_the_window_goes_by_data() -> None:
    most = Limits().window - 512
    for size, verb in ((most, "BDAT"), (most + 2, "DATA")):
        played = play(message=b"x" * (size - 2) + b"\r\n", extensions=BOTH)
        assert verb in verbs(played.said)
        assert played.statuses == [D, D]


def test_a_message_that_grows_beyond_the_window_by_its_line_ends_goes_by_data() -> None:
    played = play(message=b"\n" * (Limits().window - 600), extensions=BOTH)
    assert "DATA" in verbs(played.said)


@pytest.mark.parametrize(("offers", "most"), [(BINARY, 4), (BINARY, 3), (("CHUNKING", "BINARYMIME"), 1)])
def test_no_more_than_so_many_chunks_and_no_more_than_a_mebibyte_are_unanswered(
    offers: tuple[str, ...], most: int
) -> None:
    server = ModelServer(extensions=offers)
    playground = Playground({MX: server}, latency=1.0)
    binary = Message(b"x" * (20 * BLOCK), line_ends="binary")
    delivery = Delivery(Envelope("a@x.example", ["b@y.example"]), binary)
    limits = Limits(chunks=3) if most == 3 else Limits()
    playground.run(forwarding(delivery, TargetConfig(targets=[MX], limits=limits)))
    assert delivery.outcomes[0].status is D
    unanswered = largest = 0
    for request in playground.requests:
        if isinstance(request, Send):
            unanswered += request.data.startswith(b"BDAT")
            largest = max(largest, unanswered)
        elif isinstance(request, Receive):  # with a latency like that, all of it is answered by then
            unanswered = 0
    assert largest == most


def test_a_chunk_is_not_sent_for_a_message_that_nobody_gets_any_more() -> None:
    server = ModelServer(extensions=BOTH, rules=[on("MAIL", occurrence=2).reply(550)])
    playground = Playground({MX: server})
    courier = Courier(TargetConfig(targets=[MX]))
    deliveries = [Delivery(Envelope("a@x.example", ["b@y.example"]), MESSAGE) for _ in range(2)]
    for delivery in deliveries:
        playground.run(courier.delivering(delivery))
    playground.close()
    assert [delivery.outcomes[0].status for delivery in deliveries] == [D, R]
    assert len(chunks(server.commands)) == 1


def test_the_message_waits_for_its_sender_on_a_connection_that_was_idle() -> None:
    server = ModelServer(extensions=BOTH, rules=[on("MAIL", occurrence=2).close()])
    playground = Playground({MX: server})
    courier = Courier(TargetConfig(targets=[MX]))
    deliveries = [Delivery(Envelope("a@x.example", ["b@y.example"]), MESSAGE) for _ in range(2)]
    for delivery in deliveries:
        playground.run(courier.delivering(delivery))
    playground.close()
    assert [delivery.outcomes[0].status for delivery in deliveries] == [D, D]
    assert len(server.connections) == 2


def test_on_a_new_connection_the_message_does_not_wait_and_may_be_lost_with_it() -> None:
    assert play([on("MAIL").close()], extensions=BOTH).statuses == [U, U]


@pytest.mark.parametrize("offers", [(), ("PIPELINING",), ("CHUNKING",), BINARY])
def test_a_refusal_amid_the_message_is_looked_for_after_each_block(offers: tuple[str, ...]) -> None:
    large = Message(b"x" * (10 * BLOCK), line_ends="binary" if offers == BINARY else "crlf")
    played = play([on("content", after=BLOCK).reply(552, "5.3.4 too big")], message=large, extensions=offers)
    assert (played.statuses, played.codes) == ([R, R], [552, 552])
    assert played.server.messages == []
    assert sum(isinstance(request, Poll) for request in played.playground.requests) <= 5


def test_a_lone_end_of_data_is_said_where_the_server_insists_on_a_message() -> None:
    played = play([on("RCPT").reply(550), on("DATA").reply(354)], extensions=("PIPELINING",))
    assert played.statuses == [R, R]
    assert played.server.messages == []
    assert not played.quit
