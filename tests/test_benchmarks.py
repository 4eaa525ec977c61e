"""The benchmarks count what arrives, refuse a run that lost any of it, and compare pair by pair."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from measure import Lost, checked, ratio
from sink import Counts, Peer, take
from strategies import splits
from work import Work

HELLO = b"250 sink.test\r\n"
MESSAGE = b"Subject: x\r\n\r\n.\r\nline\r\n"
BY_DATA = b"MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nRCPT TO:<c@y>\r\nDATA\r\n"
STUFFED = MESSAGE.replace(b"\r\n.", b"\r\n..") + b".\r\n"
BY_BDAT = (
    b"MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nBDAT 4\r\nSubjBDAT %d LAST\r\n" % (len(MESSAGE) - 4) + MESSAGE[4:]
)
EMPTY = b"MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nDATA\r\n.\r\nQUIT\r\n"


def swallow(pieces: list[bytes], *, lmtp: bool = False) -> tuple[Counts, list[bytes]]:
    counts, said = Counts(), b""
    with socket.socket() as sock:
        peer = Peer(sock, lmtp=lmtp)
        for piece in pieces:
            said += take(peer, piece, counts, HELLO)
    return counts, [line[:3] for line in said.splitlines()]


@given(st.data())
def test_the_sink_counts_whatever_the_pieces_it_comes_in(data: st.DataObject) -> None:
    wire = b"EHLO me\r\n" + BY_DATA + STUFFED + BY_BDAT + EMPTY
    counts, codes = swallow(data.draw(splits(wire)))
    assert (counts.messages, counts.recipients) == (3, 4)
    assert counts.octets == len(MESSAGE) + 1 + len(MESSAGE)  # a dot is doubled in the first
    assert codes.count(b"354") == 2
    assert len(codes) == 1 + 5 + 4 + 4 + 1


def test_the_sink_answers_for_each_recipient_in_lmtp() -> None:
    assert swallow([BY_DATA + STUFFED], lmtp=True)[1] == [b"250"] * 3 + [b"354"] + [b"250"] * 2


@pytest.mark.parametrize("what", ["messages", "recipients", "octets"])
def test_a_run_that_lost_anything_is_refused(what: str) -> None:
    work = Work(messages=2, recipients=3)
    counts = {"messages": 2, "recipients": 6, "octets": 2 * work.octets()}
    checked(counts, work)
    with pytest.raises(Lost, match=f"{what} of"):
        checked({**counts, what: counts[what] - 1}, work)


def test_a_message_too_many_is_refused_as_well() -> None:
    with pytest.raises(Lost):
        checked({"messages": 2, "recipients": 1, "octets": 4096}, Work())


def test_a_message_has_the_size_that_is_asked_for() -> None:
    assert [len(Work(size=size).message()) for size in (1000, 1024, 65536)] == [1000, 1024, 65536]
    assert Work().message().endswith(b"\r\n")


def test_clients_are_compared_pair_by_pair() -> None:
    # The second round was twice as slow for both: their ratio is the same.
    assert ratio([1.0, 2.0, 1.0], [3.0, 6.0, 3.0]) == 3.0
