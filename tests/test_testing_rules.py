"""Rules of the model server: where they apply, what they do, and what becomes of the command."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from smtpstate import TransportError
from smtpstate.testing import (
    Action,
    Close,
    Cut,
    Delay,
    ModelServer,
    Peer,
    Reset,
    Rule,
    Say,
    Silence,
    StartTls,
    StopReading,
    on,
)
from test_testing import greeted, said, tell


def peer_with(*rules: Rule, extensions: tuple[str, ...] = ("PIPELINING", "CHUNKING", "STARTTLS")) -> Peer:
    return greeted(ModelServer(extensions=extensions, rules=rules))


MAIL = ["MAIL FROM:<a@x>", "RCPT TO:<b@y>"]
REFUSED = "550 5.1.1 no such user"
TAKEN = "250 2.1.5 recipient ok"


@pytest.mark.parametrize(
    ("rule", "answers"),
    [
        (on("RCPT").reply(550, "5.1.1 no such user"), [REFUSED] * 5),
        (on("rcpt").reply(550, "5.1.1 no such user"), [REFUSED] * 5),
        (on("RCPT", "c@y").reply(550, "5.1.1 no such user"), [TAKEN, REFUSED, TAKEN, REFUSED, TAKEN]),
        (on("RCPT", "C@y").reply(550, "5.1.1 no such user"), [TAKEN, TAKEN, TAKEN, TAKEN, REFUSED]),
        (on("RCPT", occurrence=3).reply(550, "5.1.1 no such user"), [TAKEN, TAKEN, REFUSED, TAKEN, TAKEN]),
        (on("RCPT", occurrence=range(2, 5)).reply(550, "5.1.1 no such user"), [TAKEN, *[REFUSED] * 3, TAKEN]),
        (on("RCPT", "c@y", occurrence=2).reply(550, "5.1.1 no such user"), [TAKEN] * 3 + [REFUSED, TAKEN]),
        (on("RCPT", connection=2).reply(550, "5.1.1 no such user"), [TAKEN] * 5),
        (on("*", occurrence=5).reply(550, "5.1.1 no such user"), [TAKEN, REFUSED, TAKEN, TAKEN, TAKEN]),
    ],
    ids=repr,
)
def test_a_rule_applies_where_it_says(rule: Rule, answers: list[str]) -> None:
    peer = peer_with(rule)
    tell(peer, "MAIL FROM:<a@x>")
    assert tell(peer, *(f"RCPT TO:<{name}@y>" for name in "bcdcC")) == answers


def test_a_rule_can_count_over_all_connections() -> None:
    server = ModelServer(
        rules=[on("NOOP", occurrence=2, across_connections=True).reply(421, "enough").close()]
    )
    assert tell(greeted(server), "NOOP") == ["250 2.0.0 ok"]
    assert tell(greeted(server), "NOOP") == ["421 enough", "Close"]
    assert tell(greeted(server), "NOOP") == ["250 2.0.0 ok"]


def test_a_rule_can_be_for_one_connection() -> None:
    server = ModelServer(rules=[on("NOOP", connection=2).reply(450)])
    assert [tell(greeted(server), "NOOP") for _ in range(3)] == [["250 2.0.0 ok"], ["450 "], ["250 2.0.0 ok"]]


def test_the_first_rule_that_fires_acts() -> None:
    peer = peer_with(on("NOOP", occurrence=2).reply(450, "first"), on("NOOP").reply(451, "second"))
    assert tell(peer, "NOOP", "NOOP", "NOOP") == ["451 second", "450 first", "451 second"]


@pytest.mark.parametrize(
    ("step", "argument", "line"),
    [
        ("MAIL", "a@x", "MAIL FROM:<a@x> X"),
        ("MAIL", "", "MAIL FROM:<>"),
        ("EHLO", "b.example", "EHLO b.example"),
        ("AUTH", "PLAIN", "AUTH PLAIN AGEAYg=="),
        ("VRFY", "someone", "VRFY someone"),
        ("BDAT", "LAST", "BDAT 0 LAST"),
        ("BDAT", "0", "BDAT 0 LAST"),
        ("BDAT", "x", "BDAT x"),
        ("FROB", "x y", "FROB x y"),
    ],
)
def test_an_argument_is_what_a_command_is_about(step: str, argument: str, line: str) -> None:
    peer = peer_with(on(step, argument).reply(299, "found"), on(step, argument + "?").reply(299, "not found"))
    assert tell(peer, line) == ["299 found"]


def test_a_refusing_rule_undoes_the_command() -> None:
    server = ModelServer(rules=[on("RCPT", "b@y").reply(550, "no"), on("EHLO").reply(502, "no EHLO")])
    peer = server.connect()
    peer.greet()
    assert tell(peer, "EHLO a", "MAIL FROM:<a@x>") == ["502 no EHLO", "503 5.5.1 no introduction before MAIL"]
    assert tell(peer, "HELO a", *MAIL, "DATA")[-2:] == ["550 no", "503 5.5.1 no valid recipients"]


def test_an_accepting_rule_carries_the_command_out() -> None:
    server = ModelServer(extensions=("SIZE 10",), rules=[on("RCPT").reply(251, "2.1.5 will forward")])
    tell(greeted(server), *MAIL, "DATA", "hello", ".")
    assert server.messages[0].recipients == ("b@y",)


def test_raw_octets_stand_for_the_usual_answer() -> None:
    peer = peer_with(on("EHLO").say(b"250 odd\n"), on("FROB").say(b"whatever"))
    assert tell(peer, "EHLO a") == ["250 odd"]
    assert tell(peer, "MAIL FROM:<a@x>") == ["250 2.1.0 sender ok"]
    assert tell(peer, "FROB") == ["whatever"]


def test_an_answer_can_be_left_out() -> None:
    peer = peer_with(on("MAIL").say(b""))
    assert tell(peer, *MAIL) == [TAKEN]


def test_more_can_be_said_than_asked_for() -> None:
    peer = peer_with(on("NOOP").answer().reply(250, "and", "more").say(b"250 octets\r\n"))
    assert tell(peer, "NOOP") == ["250 2.0.0 ok", "250-and", "250 more", "250 octets"]


def test_the_first_reply_of_several_decides() -> None:
    server = ModelServer(rules=[on("message").reply(451, "no").reply(250, "yes")])
    assert tell(greeted(server), *MAIL, "DATA", ".")[-2:] == ["451 no", "250 yes"]
    assert server.messages == []


def test_a_server_can_take_its_time() -> None:
    peer = peer_with(on("NOOP").delay(5), on("HELP").delay(1).delay(2).reply(214, "late").delay(3).close())
    assert peer.receive(b"NOOP\r\n") == [Delay(5), Say(b"250 2.0.0 ok\r\n")]
    assert peer.receive(b"HELP\r\n") == [Delay(1), Delay(2), Say(b"214 late\r\n"), Delay(3), Close()]


def test_a_server_can_drip() -> None:
    peer = peer_with(on("NOOP").drip(b"2\r\n", every=60))
    assert peer.receive(b"NOOP\r\n") == [Delay(60), Say(b"2"), Delay(60), Say(b"\r"), Delay(60), Say(b"\n")]


@pytest.mark.parametrize(("rule", "action"), [(on("NOOP").close(), Close()), (on("NOOP").reset(), Reset())])
def test_a_server_can_end_the_connection(rule: Rule, action: Close | Reset) -> None:
    peer = peer_with(rule.say(b"never"))
    assert peer.receive(b"NOOP\r\nNOOP\r\n") == [action]
    assert peer.closed
    assert peer.receive(b"NOOP\r\n") == []


@pytest.mark.parametrize("rule", [on("NOOP").silence(), on("NOOP").stop_reading()])
def test_a_server_can_cease_to_answer(rule: Rule) -> None:
    peer = peer_with(rule)
    assert peer.receive(b"NOOP\r\nNOOP\r\n") in ([Silence()], [StopReading()])
    assert peer.receive(b"QUIT\r\n") == []
    assert not peer.closed


def test_after_silence_a_rule_says_nothing_more() -> None:
    peer = peer_with(on("NOOP").silence().reply(250, "unheard").close())
    assert peer.receive(b"NOOP\r\n") == [Silence(), Close()]


def test_the_greeting_can_refuse() -> None:
    server = ModelServer(rules=[on("greeting").reply(554, "no service")])
    peer = server.connect()
    assert said(peer.greet()) == ["554 no service"]
    assert tell(peer, "EHLO a") == ["503 5.5.1 no service"]
    assert tell(peer, "QUIT") == ["221 2.0.0 goodbye", "Close"]


def test_a_connection_can_be_refused() -> None:
    server = ModelServer(
        rules=[
            on("connect", occurrence=2).refuse(),
            on("connect", occurrence=3).refuse(TransportError("gone")),
        ]
    )
    server.connect()
    with pytest.raises(TransportError, match="connection refused"):
        server.connect()
    with pytest.raises(TransportError, match="gone"):
        server.connect()
    assert server.connect().number == 2


def test_a_connection_can_begin_badly() -> None:
    server = ModelServer(
        rules=[
            on("connect", occurrence=1).delay(7),
            on("connect", occurrence=2).close(),
            on("connect", occurrence=3).silence(),
        ]
    )
    assert server.connect().greet() == [Delay(7), Say(b"220 mx.example SMTP ready\r\n")]
    assert server.connect().greet() == [Close()]
    assert server.connect().greet() == [Silence()]


def test_a_response_to_a_challenge_has_rules_too() -> None:
    peer = peer_with(on("response").reply(454, "4.7.0 later"), extensions=("AUTH PLAIN",))
    assert tell(peer, "AUTH PLAIN", "AGEAYg==", "NOOP") == ["334 ", "454 4.7.0 later", "250 2.0.0 ok"]


@pytest.mark.parametrize(
    ("rule", "actions"),
    [
        (on("tls").close(), ["Close"]),
        (on("tls").reset(), ["Reset"]),
        (on("tls").silence(), ["Silence"]),
        (on("tls").refuse(), ["Refuse"]),
        (on("tls").delay(3), ["Delay", "StartTls"]),
        (on("tls").say(b"?\r\n"), ["?", "StartTls"]),
    ],
    ids=repr,
)
def test_a_handshake_can_fail(rule: Rule, actions: list[str]) -> None:
    peer = peer_with(rule)
    assert tell(peer, "STARTTLS") == ["220 2.0.0 ready for TLS", *actions]
    implicit = ModelServer(implicit_tls=True, rules=[rule]).connect()
    assert said(implicit.greet()) == actions
    assert implicit.receive(b"\x16\x03\x01\n") == ([Close()] if "StartTls" in actions else [])


def test_a_refused_starttls_leaves_the_connection_as_it_is() -> None:
    peer = peer_with(on("STARTTLS").reply(454, "4.7.0 not now"))
    assert tell(peer, "STARTTLS", "NOOP") == ["454 4.7.0 not now", "250 2.0.0 ok"]


@pytest.mark.parametrize(
    ("protocol", "hello", "final"),
    [("smtp", "EHLO a", ["554 5.5.1 no valid recipients"]), ("lmtp", "LHLO a", [])],
)
def test_data_can_be_answered_354_without_recipients(protocol: str, hello: str, final: list[str]) -> None:
    peer = greeted(ModelServer(protocol, rules=[on("DATA").reply(354, "go")]), hello)
    assert tell(peer, "DATA", ".") == ["354 go", *final]
    assert tell(peer, "MAIL FROM:<a@x>", "DATA", "text", ".")[1:] == ["354 go", *final]
    assert tell(peer, "NOOP") == ["250 2.0.0 ok"]


def test_a_wrong_class_of_reply_to_data_starts_no_message() -> None:
    peer = peer_with(on("DATA").reply(250, "sure"))
    assert tell(peer, *MAIL, "DATA", "NOOP")[-2:] == ["250 sure", "250 2.0.0 ok"]


def test_what_a_rule_says_need_not_be_read_before_the_next_command() -> None:
    server = ModelServer(extensions=("PIPELINING",), rules=[on("NOOP").say(b"")])
    peer = greeted(server)
    peer.receive(b"NOOP\r\n")
    peer.receive(b"NOOP\r\n", unread=True)
    assert server.violations == []


GREETING = b"220 mx.example SMTP ready\r\n"


CUTS: list[tuple[Callable[[int], Cut], Action]] = [
    (lambda octets: Cut(octets, "close"), Close()),
    (lambda octets: Cut(octets, "reset"), Reset()),
    (lambda octets: Cut(octets, "silence"), Silence()),
]


@pytest.mark.parametrize("octets", range(len(GREETING) + 8))
@pytest.mark.parametrize(("cut", "end"), CUTS)
def test_a_connection_can_be_cut_after_any_octet(octets: int, cut: Callable[[int], Cut], end: Action) -> None:
    peer = ModelServer(cut=cut(octets)).connect()
    actions = peer.greet() + peer.receive(b"NOOP\r\n" * 3)
    assert actions[-1] == end
    assert actions.count(end) == 1
    heard = b"".join(action.data for action in actions if isinstance(action, Say))
    assert heard == (GREETING + b"250 2.0.0 ok\r\n")[:octets]
    assert len(heard) == octets


def test_a_cut_is_a_close_unless_it_says_otherwise() -> None:
    assert ModelServer(cut=0).connect().greet() == [Close()]


def test_a_cut_can_be_for_one_connection() -> None:
    server = ModelServer(cut=Cut(3, connection=2))
    assert server.connect().greet() == [Say(GREETING)]
    assert server.connect().greet() == [Say(b"220"), Close()]


@pytest.mark.parametrize(("lost", "kept"), [(1, 1), (30, 0)])
def test_a_message_is_kept_though_its_reply_is_cut(lost: int, kept: int) -> None:
    def send(cut: int | None) -> tuple[ModelServer, int]:
        server = ModelServer(cut=cut)
        peer = server.connect()
        actions = peer.greet()
        for line in ("EHLO a", *MAIL, "DATA", "."):
            actions += peer.receive(line.encode() + b"\r\n")
        return server, sum(len(action.data) for action in actions if isinstance(action, Say))

    _, octets = send(cut=None)
    server, heard = send(cut=octets - lost)
    assert heard == octets - lost
    assert len(server.messages) == kept  # a server that is gone before the reply begins has kept nothing


def test_octets_inside_tls_count_like_all_others() -> None:
    peer = ModelServer(implicit_tls=True, cut=1).connect()
    assert peer.greet() == [StartTls()]
    assert peer.tls_started() == [Say(b"2"), Close()]
    assert ModelServer(implicit_tls=True, cut=0).connect().greet() == [Close()]


@pytest.mark.parametrize(("cut", "end"), CUTS)
@pytest.mark.parametrize("command", [b"STARTTLS", b"QUIT"])
def test_a_cut_within_a_reply_leaves_undone_what_comes_after_it(
    command: bytes, cut: Callable[[int], Cut], end: Action
) -> None:
    greeting = len(GREETING + b"250-mx.example greets a.example\r\n250 STARTTLS\r\n")
    peer = greeted(ModelServer(extensions=("STARTTLS",), cut=cut(greeting + 3)))
    assert peer.receive(command + b"\r\n") == [Say(b"22" + (b"0" if command == b"STARTTLS" else b"1")), end]
