"""The benchmarks count what arrives, refuse a run that lost any of it, and compare pair by pair."""

from __future__ import annotations

import socket
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients import CLIENTS
from measure import Lost, Run, checked, ratio
from micro import grown
from report import chart, heading, judged
from rows import GROWTHS, OURS, PEERS, ROWS, Ceiling, Goal, Row
from sink import Counts, Peer, take
from sinks import serving
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


def test_a_sink_that_does_not_count_proves_nothing() -> None:
    with pytest.raises(Lost, match="did not say"):
        checked({}, Work())


def test_a_sink_that_counts_messages_alone_is_asked_for_no_more() -> None:
    checked({"messages": 2}, Work(messages=2, recipients=3))
    with pytest.raises(Lost, match="1 messages of 2"):
        checked({"messages": 1}, Work(messages=2))


def test_the_sink_takes_mail_over_a_socket_and_says_what_it_has_had() -> None:
    with serving([], "") as sink:
        with socket.create_connection(("127.0.0.1", int(sink.port)), timeout=10) as client:
            client.sendall(b"EHLO me\r\n" + BY_DATA + STUFFED + b"QUIT\r\n")
            heard = b"".join(iter(lambda: client.recv(65536), b""))
        assert sink.counts == {}
    assert heard.startswith(b"220 ")
    assert b"PIPELINING" in heard
    assert heard.endswith(b"221 2.0.0 Bye\r\n")
    assert (sink.counts["messages"], sink.counts["recipients"]) == (1, 2)
    assert sink.counts["octets"] == len(MESSAGE) + 1
    assert (sink.counts["connections"], sink.counts["most_open"]) == (1, 1)


def row(
    work: Work | None = None,
    goals: tuple[Goal, ...] = (),
    ceilings: tuple[Ceiling, ...] = (),
    sink: tuple[str, ...] = (),
) -> Row:
    return Row(
        title="mail", work=work or Work(), sinks={"a": sink, "b": sink}, goals=goals, ceilings=ceilings
    )


def test_a_goal_is_met_from_its_factor_on() -> None:
    found = {"a": [Run(1.0, 1.0)] * 3, "b": [Run(2.0, 3.0)] * 3}
    assert judged(row(goals=(Goal("a", "b", 2.0),)), found) == [
        "| mail | a | times as fast as b | at least 2 | 2.00 | yes | 3.00 |"
    ]
    assert judged(row(goals=(Goal("a", "b", 2.1),)), found)[0].endswith("| no | 3.00 |")
    assert " 3.00 | yes " in judged(row(goals=(Goal("a", "b", 3, "cpu"),)), found)[0]


@pytest.mark.parametrize("left", ["a", "b"])
def test_a_goal_without_one_of_its_clients_is_not_measured(left: str) -> None:
    line = judged(row(goals=(Goal("a", "b", 2.0),)), {left: [Run(1.0, 1.0)]})[0]
    assert "| not measured |  |" in line


@pytest.mark.parametrize(("seconds", "said"), [(0.26, "| 4.0 | yes |"), (0.31, "| 5.0 | no |")])
def test_turns_are_counted_from_the_time_without_the_greeting(seconds: float, said: str) -> None:
    late = row(sink=("chunking", "delay=0.05"), ceilings=(Ceiling("a", "turns", 4),))
    assert said in judged(late, {"a": [Run(seconds, 0.0)] * 3})[0]


def test_memory_is_divided_among_the_connections() -> None:
    found = {"a": [Run(1.0, 1.0, memory=2048)]}
    assert (
        "| 20.5 | no |"
        in judged(row(work=Work(connections=100), ceilings=(Ceiling("a", "KiB a connection", 20),)), found)[0]
    )
    assert "| 2.0 | yes |" in judged(row(ceilings=(Ceiling("a", "MiB", 2),)), found)[0]


def test_an_exponent_of_one_is_linear() -> None:
    assert grown(0.5, 50.0) == pytest.approx(1.0)
    assert grown(0.5, 5000.0) == pytest.approx(2.0)


def test_every_row_names_clients_that_there_are_and_compares_some_that_it_has() -> None:
    known = {*CLIENTS, "nodemailer", "smtp-source"}
    assert known >= {*PEERS, *OURS}
    for each in ROWS:
        assert known >= each.sinks.keys()
        assert each.sinks.keys() >= {name for goal in each.goals for name in (goal.ours, goal.theirs)}
        assert each.sinks.keys() >= {ceiling.client for ceiling in each.ceilings}
    assert known >= {each.client for each in GROWTHS}


def test_what_grows_does_so_a_hundredfold() -> None:
    for each in (*GROWTHS, *(growth.quick() for growth in GROWTHS)):
        small, large = (work.messages * work.recipients * work.size for work in (each.small, each.large))
        assert large == pytest.approx(100 * small, rel=0.03), each.title


def test_the_chart_has_a_bar_for_each_client_the_longest_for_the_fastest() -> None:
    found = {"smtplib": [Run(2.0, 1.0)], "blocking": [Run(0.5, 0.2)]}
    drawn = ElementTree.fromstring(chart([(row(work=Work(messages=1000)), found)]))
    texts = [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == ["Mail: messages a second", "smtpstate, blocking", "2,000", "smtplib", "500"]
    widths = [int(bar.get("width", "0")) for bar in drawn.iter("{http://www.w3.org/2000/svg}rect")][1:]
    assert widths[0] == 4 * widths[1] > 0


def test_the_heading_names_the_version_that_is_measured() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))
    assert f", smtpstate {project['project']['version']}," in heading()[0]
