"""Messages at the model server: dots, chunks, LMTP's replies, early replies, and what it notes about octets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpstate.testing import Action, Close, ModelServer, Peer, Reset, Rule, Say, Silence, StopReading, on
from strategies import splits
from test_testing import greeted, said, tell

ENVELOPE = ["MAIL FROM:<a@x>", "RCPT TO:<b@y>", "RCPT TO:<c@y>", "RCPT TO:<b@y>"]


def ready(server: ModelServer, *, lmtp: bool = False) -> Peer:
    peer = greeted(server, "LHLO a" if lmtp else "EHLO a")
    tell(peer, *ENVELOPE)
    return peer


def violations(server: ModelServer) -> list[str]:
    return [sentence.removeprefix("connection 1: ") for sentence in server.violations]


CONTENTS = {
    b".\r\n": b"",
    b"x\r\n.\r\n": b"x\r\n",
    b"..\r\n.\r\n": b".\r\n",
    b"...\r\n.\r\n": b"..\r\n",
    b"..\r\n..\r\n.\r\n": b".\r\n.\r\n",
    b"\r\n\r\n..a\r\nb.\r\n.\r\n": b"\r\n\r\n.a\r\nb.\r\n",
    b"a.\r\n..b\r\n.\r\n": b"a.\r\n.b\r\n",
}


@given(st.sampled_from(sorted(CONTENTS)), st.data())
def test_dots_are_undone_however_the_octets_are_cut(wire: bytes, data: st.DataObject) -> None:
    server = ModelServer(extensions=("PIPELINING",))
    peer = ready(server)
    tell(peer, "DATA")
    answers = [line for part in data.draw(splits(wire)) for line in said(peer.receive(part))]
    assert answers == ["250 2.0.0 message accepted"]
    assert [message.content for message in server.messages] == [CONTENTS[wire]]
    assert server.violations == []


FAULTY = {
    b"a\nb\r\n.\r\n": "the message holds a bare LF",
    b"a\rb\r\n.\r\n": "the message holds a bare CR",
    b"a\r\r\n.\r\n": "the message holds a bare CR",
    b"\n.\n\r\n.\r\n": "the message holds a bare LF",
    b".a\r\n.\r\n": "a line of the message begins with a dot that was not doubled",
    b"a\r\n.b\r\n.\r\n": "a line of the message begins with a dot that was not doubled",
    b"\xe4\r\n.\r\n": "the message holds octets above 127, which MAIL did not announce",
}


@given(st.sampled_from(sorted(FAULTY)), st.data())
def test_what_no_client_may_send_is_noted(wire: bytes, data: st.DataObject) -> None:
    server = ModelServer()
    peer = ready(server)
    tell(peer, "DATA")
    for part in data.draw(splits(wire)):
        peer.receive(part)
    assert set(violations(server)) == {FAULTY[wire]}
    assert len(server.messages) == 1


@pytest.mark.parametrize("parameter", ["BODY=8BITMIME", "SMTPUTF8"])
def test_octets_above_127_can_be_announced(parameter: str) -> None:
    server = ModelServer(extensions=("8BITMIME", "SMTPUTF8"))
    peer = greeted(server)
    tell(peer, f"MAIL FROM:<a@x> {parameter}", "RCPT TO:<b@y>", "DATA", "ä", ".")
    assert server.messages[0].content == "ä\r\n".encode()
    assert server.violations == []


def test_content_need_not_be_kept() -> None:
    server = ModelServer(keep_content=False)
    tell(ready(server), "DATA", "hello", ".")
    assert (server.messages[0].content, server.messages[0].size) == (b"", 7)


def test_lmtp_answers_for_each_recipient() -> None:
    server = ModelServer("lmtp", rules=[on("message", "c@y").reply(552, "5.2.2 full")])
    assert tell(ready(server, lmtp=True), "DATA", "x", ".")[1:] == [
        "250 2.0.0 message accepted",
        "552 5.2.2 full",
        "250 2.0.0 message accepted",
    ]
    assert server.messages[0].recipients == ("b@y", "b@y")


def test_lmtp_keeps_nothing_that_all_refuse() -> None:
    server = ModelServer("lmtp", rules=[on("message").reply(452)])
    tell(ready(server, lmtp=True), "DATA", "x", ".")
    assert server.messages == []


def test_lmtp_can_end_after_some_answers() -> None:
    server = ModelServer("lmtp", rules=[on("message", occurrence=2).close()])
    assert tell(ready(server, lmtp=True), "DATA", "x", ".")[1:] == ["250 2.0.0 message accepted", "Close"]
    assert server.messages[0].recipients == ("b@y",)


def test_the_final_reply_of_smtp_is_about_all_recipients() -> None:
    server = ModelServer(rules=[on("message", "c@y").reply(451, "4.3.0 later")])
    peer = ready(server)
    assert tell(peer, "DATA", "x", ".")[-1] == "451 4.3.0 later"
    assert tell(peer, "MAIL FROM:<a@x>", "RCPT TO:<b@y>", "DATA", "x", ".")[-1].startswith("250 ")


def test_a_message_can_be_kept_and_its_answer_lost() -> None:
    server = ModelServer(rules=[on("message").say(b"").close()])
    assert tell(ready(server), "DATA", "x", ".")[1:] == ["Close"]
    assert len(server.messages) == 1


def bdat(peer: Peer, *chunks: bytes, last: bool = True) -> list[str]:
    """Send chunks, one after the other."""
    answers: list[str] = []
    for n, chunk in enumerate(chunks, 1):
        end = b" LAST" if last and n == len(chunks) else b""
        answers += said(peer.receive(b"BDAT %d%b\r\n" % (len(chunk), end) + chunk))
    return answers


def chunking(*more: str) -> tuple[str, ...]:
    return ("PIPELINING", "CHUNKING", *more)


def test_chunks_are_joined() -> None:
    server = ModelServer(extensions=chunking())
    peer = ready(server)
    assert bdat(peer, b"one\r", b"\n", b".\r\n") == [
        "250 2.0.0 4 octets",
        "250 2.0.0 1 octets",
        "250 2.0.0 message accepted",
    ]
    (message,) = server.messages
    assert (message.content, message.by) == (b"one\r\n.\r\n", "BDAT")
    assert peer.commands[-3:] == ["BDAT 4", "BDAT 1", "BDAT 3 LAST"]
    assert server.violations == []
    tell(peer, *ENVELOPE)
    assert bdat(peer, b"") == ["250 2.0.0 message accepted"]


def test_lmtp_answers_the_last_chunk_for_each_recipient() -> None:
    server = ModelServer("lmtp", chunking(), [on("message", occurrence=2).reply(450)])
    assert bdat(ready(server, lmtp=True), b"x\r\n", b"") == [
        "250 2.0.0 3 octets",
        "250 2.0.0 message accepted",
        "450 ",
        "250 2.0.0 message accepted",
    ]


def test_binary_octets_need_bdat_and_are_left_alone() -> None:
    server = ModelServer(extensions=chunking("8BITMIME", "BINARYMIME"))
    peer = greeted(server)
    tell(peer, "MAIL FROM:<a@x> BODY=BINARYMIME", "RCPT TO:<b@y>")
    assert tell(peer, "DATA") == ["503 5.5.1 BDAT is in use"]
    bdat(peer, b"\r\x00\n\xff")
    assert server.messages[0].content == b"\r\x00\n\xff"
    assert violations(server) == ["503 5.5.1 BDAT is in use"]


@pytest.mark.parametrize(
    ("chunks", "fault"),
    [
        ([b"a\n"], "the message holds a bare LF"),
        ([b"a\r", b"b"], "the message holds a bare CR"),
        ([b"a\r"], "the message ends in a bare CR"),
        ([b"\xe4\r\n"], "the message holds octets above 127, which MAIL did not announce"),
    ],
)
def test_text_in_chunks_has_the_same_line_ends(chunks: list[bytes], fault: str) -> None:
    server = ModelServer(extensions=chunking())
    bdat(ready(server), *chunks)
    assert violations(server) == [fault]


def test_chunks_and_data_do_not_mix() -> None:
    server = ModelServer(extensions=chunking())
    peer = ready(server)
    bdat(peer, b"x\r\n", last=False)
    assert tell(peer, "DATA", "RCPT TO:<d@y>") == ["503 5.5.1 BDAT is in use", "503 5.5.1 MAIL comes first"]
    assert violations(server) == ["503 5.5.1 BDAT is in use"]


def test_chunks_without_recipients_are_read_and_refused() -> None:
    server = ModelServer(extensions=chunking())
    peer = greeted(server)
    assert bdat(peer, b"NOOP\r\n", b"x") == ["503 5.5.1 no message is under way"] * 2
    tell(peer, "MAIL FROM:<a@x>")
    assert bdat(peer, b"NOOP\r\n") == ["503 5.5.1 no message is under way"]
    assert tell(peer, "MAIL FROM:<a@x>") == ["250 2.1.0 sender ok"]
    assert server.violations == []


def test_after_a_refused_chunk_the_rest_is_refused_too() -> None:
    server = ModelServer(extensions=chunking("SIZE 5"))
    peer = ready(server)
    refused = "503 5.5.1 no message is under way"
    assert bdat(peer, b"12345", b"6", b"7", b"8") == [
        "250 2.0.0 5 octets",
        "552 5.3.4 message too big",
        refused,
        refused,
    ]
    tell(peer, *ENVELOPE)
    assert bdat(peer, b"123456") == ["552 5.3.4 message too big"]
    assert server.messages == []


def test_a_rule_can_refuse_any_chunk() -> None:
    server = ModelServer(
        extensions=chunking(), rules=[on("BDAT", "LAST", occurrence=1).reply(450), on("BDAT", "2").reply(451)]
    )
    peer = ready(server)
    assert bdat(peer, b"\r\n\r\n", b"") == ["250 2.0.0 4 octets", "450 "]
    tell(peer, *ENVELOPE)
    assert bdat(peer, b"\r\n", last=False) == ["451 "]
    assert server.messages == []


def test_bdat_must_be_offered_and_well_formed() -> None:
    server = ModelServer()
    peer = ready(server)
    assert bdat(peer, b"x\r\n") == ["250 2.0.0 message accepted"]
    assert tell(peer, "BDAT", "BDAT x", "BDAT 1 FIRST") == ["501 5.5.4 BDAT size [LAST]"] * 3
    assert violations(server) == [
        "BDAT came though CHUNKING is not offered",
        *(f"501 not a BDAT: {argument!r}" for argument in ("", "x", "1 FIRST")),
    ]


def test_a_group_of_chunks_is_answered_in_order() -> None:
    server = ModelServer(extensions=chunking())
    peer = greeted(server)
    group = b"MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nBDAT 2\r\n\r\nBDAT 2 LAST\r\n\r\nMAIL FROM:<a@x>\r\n"
    assert [line[:3] for line in said(peer.receive(group))] == ["250"] * 5
    assert server.violations == []
    assert len(server.messages) == 1


@pytest.mark.parametrize("by", ["DATA", "BDAT"])
def test_a_reply_can_come_before_the_end_of_the_message(by: str) -> None:
    server = ModelServer(extensions=chunking(), rules=[on("content", after=4).reply(552, "5.3.4 enough")])
    peer = ready(server)
    if by == "DATA":
        assert tell(peer, "DATA", "1", "2", "3", "4", ".") == ["354 end with a lone dot", "552 5.3.4 enough"]
    else:
        assert bdat(peer, b"1\r\n") == ["250 2.0.0 message accepted"]
        tell(peer, *ENVELOPE)
        assert bdat(peer, b"1\r\n\r\n") == ["552 5.3.4 enough"]
        tell(peer, *ENVELOPE)
        refused = "503 5.5.1 no message is under way"
        assert bdat(peer, b"1\r\n", b"\r\n", b"\r\n", b"") == [
            "250 2.0.0 3 octets",
            "552 5.3.4 enough",
            refused,
            refused,
        ]
    assert tell(peer, "MAIL FROM:<a@x>") == ["250 2.1.0 sender ok"]
    assert len(server.messages) == (by == "BDAT")


def test_part_of_a_chunk_can_be_enough() -> None:
    server = ModelServer(extensions=chunking(), rules=[on("content", after=4).reply(552)])
    peer = ready(server)
    assert said(peer.receive(b"BDAT 9 LAST\r\n123")) == []
    assert said(peer.receive(b"456")) == ["552 "]
    assert said(peer.receive(b"7\r\nQUIT\r\n")) == ["221 2.0.0 goodbye", "Close"]


@pytest.mark.parametrize(
    ("rule", "action"),
    [
        (on("content").close(), Close()),
        (on("content").reset(), Reset()),
        (on("content").silence(), Silence()),
        (on("content").stop_reading(), StopReading()),
    ],
)
@pytest.mark.parametrize("wire", [b"DATA\r\n", b"BDAT 9 LAST\r\n"])
def test_a_connection_can_end_within_the_message(rule: Rule, action: Action, wire: bytes) -> None:
    server = ModelServer(extensions=chunking(), rules=[rule])
    peer = ready(server)
    peer.receive(wire)
    assert peer.receive(b"1234567\r\n.\r\nQUIT\r\n") == [action]
    assert peer.receive(b"QUIT\r\n") == []
    assert server.messages == []


def test_content_rules_count_messages_and_act_once_in_each() -> None:
    server = ModelServer(
        rules=[
            on("content", occurrence=2).say(b"250 x\r\n"),
            on("content", after=3, connection=1).delay(9),
            on("content", connection=2).close(),
            on("content", occurrence=3, across_connections=True).close(),
        ]
    )
    peer = ready(server)
    assert tell(peer, "DATA", "1", "2", "3", ".")[1:] == ["Delay", "250 2.0.0 message accepted"]
    tell(peer, *ENVELOPE)
    assert tell(peer, "DATA", "1", "2", "3", ".")[1:] == ["250 x", "Delay"]
    tell(peer, *ENVELOPE)
    assert tell(peer, "DATA", "1")[1:] == ["Close"]


def test_content_after_which_nothing_comes_is_no_content() -> None:
    server = ModelServer(rules=[on("content", after=1).reply(552)])
    assert tell(ready(server), "DATA", ".")[-1] == "250 2.0.0 message accepted"


def test_five_megabytes_in_small_pieces_come_through() -> None:
    server = ModelServer()
    peer = ready(server)
    tell(peer, "DATA")
    wire = (b"x" * 70 + b"\r\n..\r\n") * 70_000
    for start in range(0, len(wire), 1000):
        assert peer.receive(wire[start : start + 1000]) == []
    assert peer.receive(b".\r\n") == [Say(b"250 2.0.0 message accepted\r\n")]
    assert server.messages[0].content == (b"x" * 70 + b"\r\n.\r\n") * 70_000
