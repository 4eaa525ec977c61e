"""How often the client speaks and then has to wait."""

from __future__ import annotations

import pytest

from playing import MX, D, play
from smtpstate import Courier, Delivery, Envelope, TargetConfig
from smtpstate.testing import ModelServer, Playground

PIPELINING = ("PIPELINING", "8BITMIME", "SIZE 10000000")
CHUNKING = (*PIPELINING, "CHUNKING")
KIBIBYTE = b"Subject: a queued message\r\n\r\n" + (b"y" * 74 + b"\r\n") * 13
BOTH = pytest.mark.parametrize("protocol", ["smtp", "lmtp"])


@BOTH
@pytest.mark.parametrize("recipients", [1, 10, 100])
def test_one_message_takes_four_turns_with_pipelining_and_three_with_chunking(
    protocol: str, recipients: int
) -> None:
    names = [f"r{n}@y.example" for n in range(recipients)]
    for extensions, turns in ((PIPELINING, 4), (CHUNKING, 3)):
        played = play((), names, KIBIBYTE, protocol=protocol, extensions=extensions)
        assert played.statuses == [D] * recipients
        assert played.server.messages[0].content == KIBIBYTE
        assert played.playground.turns == turns


@BOTH
@pytest.mark.parametrize("recipients", [1, 10])
def test_without_pipelining_there_is_one_turn_a_command(protocol: str, recipients: int) -> None:
    names = [f"r{n}@y.example" for n in range(recipients)]
    for extensions, turns in (((), recipients + 5), (("CHUNKING",), recipients + 4)):
        played = play((), names, KIBIBYTE, protocol=protocol, extensions=extensions)
        assert played.playground.turns == turns
        assert played.statuses == [D] * recipients


@BOTH
def test_ten_thousand_recipients_take_at_most_thirty_turns(protocol: str) -> None:
    names = [f"recipient-{n:08}@y.example" for n in range(10_000)]
    assert len(f"RCPT TO:<{names[0]}>\r\n") == 40
    played = play((), names, KIBIBYTE, protocol=protocol, extensions=PIPELINING)
    assert played.playground.turns <= 30
    assert set(played.statuses) == {D}
    assert len(played.statuses) == 10_000


@BOTH
@pytest.mark.parametrize(
    ("extensions", "most"), [(PIPELINING, 23), (CHUNKING, 4), ((), 20 * 5 + 2)], ids=["data", "bdat", "plain"]
)
def test_twenty_queued_messages_share_flights_and_a_connection(
    protocol: str, extensions: tuple[str, ...], most: int
) -> None:
    deliveries = [Delivery(Envelope("a@x.example", [f"r{n}@y.example"]), KIBIBYTE) for n in range(20)]
    server = ModelServer(protocol, extensions)
    playground = Playground({MX: server}, deliveries=deliveries)
    courier = Courier(TargetConfig(targets=[MX], protocol=protocol))
    playground.run(courier.delivering_many())
    playground.run(courier.leaving())
    if protocol == "lmtp" and "CHUNKING" in extensions:
        most = 20 + 2  # nothing would show that the server's final replies are too many or too few
    assert playground.turns <= most
    assert playground.given == deliveries
    assert [d.outcomes[0].status for d in deliveries] == [D] * 20
    assert [m.recipients for m in server.messages] == [(f"r{n}@y.example",) for n in range(20)]
    assert len(server.connections) == 1
    assert server.violations == []
