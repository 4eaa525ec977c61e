"""Written dialogues, played whole, octet by octet, and cut in two at every place."""

from __future__ import annotations

from pathlib import Path

import pytest

from smtpstate import Delivery, Envelope, TargetConfig, forwarding
from smtpstate.testing import Playground, Script, Split, octet_by_octet, split_at, whole

FOLDER = Path(__file__).parent / "transcripts"
MESSAGE = b"Subject: hello\n\n.a dot\n"

#: Who the message is for, and what becomes of them: status and code.
OUTCOMES = {
    "delivered": {"b@y.example": "delivered 250"},
    "rcpt-refused": {"b@y.example": "delivered 250", "c@y.example": "rejected 550"},
    "helo": {"b@y.example": "delivered 250"},
    "lmtp": {"b@y.example": "delivered 250", "c@y.example": "deferred 452"},
    "chunks": {"b@y.example": "deferred 450", "c@y.example": "delivered 250"},
    "failover": {"b@y.example": "delivered 250"},
    "closing": {"b@y.example": "rejected 550", "c@y.example": "deferred 421"},
    "uncertain": {"b@y.example": "uncertain 421"},
    "starttls": {"b@y.example": "delivered 250"},
}


def play(name: str, split: Split) -> dict[str, str]:
    """Play a transcript to its end, and return what became of each recipient."""
    script = Script.parse((FOLDER / f"{name}.txt").read_text())
    playground = Playground(script, split=split)
    delivery = Delivery(Envelope("a@x.example", list(OUTCOMES[name])), MESSAGE)
    config = TargetConfig(
        targets=["tcp://mx.example:25", "tcp://mx2.example:25"]
        if name == "failover"
        else "tcp://mx.example:25",
        protocol="lmtp" if name == "lmtp" else "smtp",
        hostname="client.example",
    )
    playground.run(forwarding(delivery, config))
    playground.close()
    script.check_finished()
    return {
        outcome.recipient: f"{outcome.status.value} {outcome.reply.code}" for outcome in delivery.outcomes
    }


def test_every_transcript_is_played() -> None:
    assert {path.stem for path in FOLDER.glob("*.txt")} == set(OUTCOMES)


@pytest.mark.parametrize("name", OUTCOMES)
def test_a_transcript_ends_as_it_says(name: str) -> None:
    assert play(name, whole) == OUTCOMES[name]


@pytest.mark.parametrize("name", OUTCOMES)
def test_a_transcript_octet_by_octet_is_the_same(name: str) -> None:
    assert play(name, octet_by_octet) == OUTCOMES[name]


@pytest.mark.parametrize("name", OUTCOMES)
def test_a_transcript_cut_in_two_at_every_place_is_the_same(name: str) -> None:
    longest = max(len(line) for line in (FOLDER / f"{name}.txt").read_text().splitlines())
    for place in range(1, longest):
        assert play(name, split_at(place)) == OUTCOMES[name]
