"""Scripts: transcripts that are played, compared, and recorded again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpstate import DeadlinePassed, Endpoint, TlsFailed, TransportError
from smtpstate._requests import Clock, Connect, Handshake, Receive, Send, Steps
from smtpstate._tls import TlsClient
from smtpstate.testing import ModelServer, Playground, Script, Transcript, octet_by_octet
from test_testing_playground import ask, connect

HELLO = """
# The client says hello and leaves.
! connect mx.example:25
S: 220 mx.example
C: EHLO client.example
S: 250-mx.example
S: 250 PIPELINING
C: QUIT
S: 221 bye
! close
"""


def talk(*lines: bytes) -> Steps[list[bytes]]:
    """Connect, and after each piece from the server say one line."""
    yield from connect()
    heard = [(yield from Receive(10.0))]
    for line in lines:
        heard += [(yield from ask(line, 10.0))]
    return heard


def play(text: str, *lines: bytes) -> list[bytes]:
    script = Script.parse(text)
    heard = Playground(script).run(lambda clock: talk(*lines))
    script.check_finished()
    return heard


def test_a_script_is_played() -> None:
    assert play(HELLO, b"EHLO client.example", b"QUIT") == [
        b"220 mx.example\r\n",
        b"250-mx.example\r\n250 PIPELINING\r\n",
        b"221 bye\r\n",
    ]


def test_a_difference_is_shown_in_its_place() -> None:
    with pytest.raises(AssertionError) as caught:
        play(HELLO, b"EHLO client.example", b"RSET")
    assert str(caught.value).splitlines() == [
        "the client leaves the script at line 8 of the script:",
        "    ! connect mx.example:25",
        "    S: 220 mx.example",
        "    C: EHLO client.example",
        "    S: 250-mx.example",
        "    S: 250 PIPELINING",
        "  - C: QUIT",
        "  + C: RSET",
    ]


def test_a_client_that_speaks_out_of_turn_leaves_the_script() -> None:
    with pytest.raises(AssertionError) as caught:
        play(HELLO, b"EHLO client.example\r\nQUIT")
    assert str(caught.value).splitlines()[-2:] == ["  - S: 250-mx.example", "  + C: QUIT"]


def test_a_client_that_says_more_than_the_script_leaves_it() -> None:
    with pytest.raises(AssertionError) as caught:
        play("! connect mx.example:25\nS: 220 x", b"QUIT\xff")
    assert str(caught.value).splitlines() == [
        "the client leaves the script at the end of the script:",
        "    ! connect mx.example:25",
        "    S: 220 x",
        r"  + C: QUIT\xff",
    ]


def test_a_part_of_a_line_is_enough_to_see_the_difference() -> None:
    def steps(clock: Clock) -> Steps[None]:
        yield from connect()
        yield from Send(b"EHLO cl", 1.0)
        yield from Send(b"own", 1.0)

    with pytest.raises(AssertionError) as caught:
        Playground(Script.parse("! connect mx.example:25\nC: EHLO client")).run(steps)
    assert str(caught.value).splitlines()[-2:] == ["  - C: EHLO client", "  + C: EHLO clown\\"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([b"EHLO client.example"], "the client did not come to line 8: C: QUIT"),
        ([b"EHLO client.example", b"QUIT"], "the client did not come to line 11: ! connect mx2.example:25"),
    ],
)
def test_a_script_must_be_played_to_its_end(lines: list[bytes], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        play(f"{HELLO}! connect mx2.example:25", *lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "! connect mx2.example:25",
            r"connects to tcp://mx.example:25, where there is line 1: ! connect mx2",
        ),
        ("", "connects to tcp://mx.example:25, where there is the end of the script"),
    ],
)
def test_a_client_connects_where_the_script_has_it(text: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        play(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("S: 220 x", "line 1: a script begins with ! connect"),
        ("! connect mx.example:25\n\nX: 220 x", "line 3: not a line of a script: 'X: 220 x'"),
        ("! connect mx.example:25\n! frobnicate", "line 2: not a line of a script: '! frobnicate'"),
    ],
)
def test_what_is_no_script_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Script.parse(text)


def test_octets_can_be_written() -> None:
    text = r"""
! connect mx.example:25
S: 220 a\x00\r\n\\\t\x
S: 220-cut\
S:
"""
    assert play(text) == [b"220 a\0\r\n\\\t\\x\r\n220-cut\r\n"]


def test_every_kind_of_endpoint_and_failure_can_be_written() -> None:
    text = """
! refuse mx.example:25 connection refused
! refuse tls://mx.example:465
! connect unix:///run/lmtp
! connect unix:@lmtp
! delay 2
S: 220 x
! silence
"""

    def steps(clock: Clock) -> Steps[tuple[bytes, float]]:
        with pytest.raises(TransportError, match="connection refused"):
            yield from Connect(Endpoint.parse("tcp://mx.example:25"), None, 5.0)
        with pytest.raises(DeadlinePassed):
            yield from Connect(Endpoint.parse("tls://mx.example:465"), None, 5.0)
        yield from Connect(Endpoint.parse("unix:///run/lmtp"), None, 5.0)
        yield from Connect(Endpoint.parse("unix:@lmtp"), None, 5.0)
        heard = yield from Receive(10.0)
        return heard, clock()

    script = Script.parse(text)
    assert Playground(script).run(steps) == (b"220 x\r\n", 7.0)
    script.check_finished()


@pytest.mark.parametrize("directive", ["close", "reset", "stop-reading"])
def test_a_connection_can_end_as_written(directive: str) -> None:
    def steps(clock: Clock) -> Steps[bytes]:
        yield from connect()
        yield from Send(b"x" * 65536, 5.0)  # nobody reads it
        return (yield from Receive(5.0))

    playground = Playground(Script.parse(f"! connect mx.example:25\n! {directive}"))
    if directive == "close":
        assert playground.run(steps) == b""
    else:
        with pytest.raises(TransportError):
            playground.run(steps)


def shake(clock: Clock) -> Steps[bytes]:
    yield from talk(b"STARTTLS")
    yield from Handshake("mx.example", TlsClient(), 9.0)
    return (yield from ask(b"EHLO a"))


STARTTLS = "! connect mx.example:25\nS: 220 x\nC: STARTTLS\nS: 220 go\n"


@pytest.mark.parametrize("name", ["", " mx.example"])
def test_a_handshake_can_be_written(name: str) -> None:
    script = Script.parse(f"{STARTTLS}! tls{name}\nC: EHLO a\nS: 250 x")
    assert Playground(script).run(shake) == b"250 x\r\n"
    script.check_finished()


@pytest.mark.parametrize(
    ("line", "message", "certificate"),
    [
        ("! tls-failed no shared cipher", "no shared cipher", False),
        ("! certificate-failed expired", "expired", True),
        ("! tls other.example", "does not verify", True),
    ],
)
def test_a_handshake_can_fail_as_written(line: str, message: str, certificate: bool) -> None:
    with pytest.raises(TlsFailed, match=message) as caught:
        Playground(Script.parse(STARTTLS + line)).run(shake)
    assert caught.value.certificate is certificate


def everything(clock: Clock) -> Steps[None]:
    """A dialogue with two connections and content of all kinds."""
    try:
        yield from connect()
    except TransportError:
        yield from Connect(Endpoint.parse("tcp://mx2.example:25"), None, 10.0)
    yield from Receive(10.0)
    for line in (b"EHLO a", b"STARTTLS"):
        yield from ask(line)
    yield from Handshake("mx2.example", TlsClient(), 10.0)
    for line in (b"EHLO a", b"MAIL FROM:<a@x>", b"RCPT TO:<b@y>", b"DATA", b"\\x\0\xff\r\n.", b"QUIT"):
        yield from ask(line)
    yield from Receive(10.0)


def test_what_was_recorded_can_be_played_again() -> None:
    server = ModelServer(extensions=("STARTTLS",), tls_extensions=())
    first = Playground(
        {"tcp://mx.example:25": TransportError("connection refused"), "tcp://mx2.example:25": server}
    )
    first.run(everything)
    script = Script.parse("\n".join(first.transcript))
    again = Playground(script)
    again.run(everything)
    script.check_finished()
    assert again.transcript == first.transcript
    assert r"C: \\x\x00\xff" in first.transcript


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=20))))
def test_any_octets_can_be_recorded_and_written(said: list[tuple[bool, bytes]]) -> None:
    transcript = Transcript()
    for by_client, octets in said:
        if by_client:
            transcript.client(octets)
        elif octets:
            transcript.server(octets)
    script = Script.parse("\n".join(["! connect mx.example:25", *transcript.lines]))

    def steps(clock: Clock) -> Steps[None]:
        yield from connect()
        for by_client, octets in said:
            if by_client:
                yield from Send(octets, 1.0)
            elif octets:
                heard = b""
                while heard != octets:
                    heard += yield from Receive(1.0)

    Playground(script, split=octet_by_octet).run(steps)
    script.check_finished()


def test_a_transcript_does_not_depend_on_pieces() -> None:
    transcript = Transcript()
    transcript.server(b"220 ")
    transcript.server(b"x\r")
    transcript.server(b"\n220")
    transcript.client(b"")
    transcript.client(b"QU")
    transcript.client(b"IT\r\n")
    transcript.note("anything")
    transcript.server(b"")
    assert transcript.lines == ["S: 220 x", "S: 220\\", "C: QUIT", "! anything", "! close"]
