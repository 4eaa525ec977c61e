"""Each row of the table of outcomes, by name, in SMTP and in LMTP where both have it."""

from __future__ import annotations

import pytest

from playing import MESSAGE, MX2, D, F, Played, R, U, play
from smtpstate import DeadlinePassed, TransportError
from smtpstate.testing import Rule, on

PIPELINING = ("PIPELINING", "8BITMIME")
CHUNKING = ("PIPELINING", "CHUNKING", "8BITMIME")
OFFERS = pytest.mark.parametrize(
    "extensions", [(), PIPELINING, CHUNKING], ids=["plain", "pipelining", "chunking"]
)
PROTOCOLS = pytest.mark.parametrize("protocol", ["smtp", "lmtp"])


def delivered(played: Played) -> None:
    """Both recipients have the message, byte for byte, once."""
    assert played.statuses == [D, D]
    assert [message.content for message in played.server.messages] == [MESSAGE]
    assert played.quit


@OFFERS
@PROTOCOLS
def test_a_message_that_is_taken_is_delivered(protocol: str, extensions: tuple[str, ...]) -> None:
    delivered(play(protocol=protocol, extensions=extensions))


# Connecting, greeting, introduction.


@pytest.mark.parametrize(
    ("error", "enhanced"),
    [
        (TransportError("connection refused"), "4.4.1"),
        (TransportError("no route to host"), "4.4.1"),
        (DeadlinePassed("the deadline passed"), "4.4.1"),
        (TransportError("no such name", name_unknown=True), "4.4.4"),
    ],
)
def test_an_endpoint_that_cannot_be_reached_defers_and_the_next_is_tried(
    error: TransportError, enhanced: str
) -> None:
    played = play([on("connect").refuse(error)])
    assert played.statuses == [F, F]
    assert played.enhanced == [enhanced] * 2
    assert played.phases == ["connect"] * 2
    assert all(outcome.may_retry and outcome.reply.local for outcome in played.delivery.outcomes)
    assert played.delivery.attempts[0].error is error
    played = play([on("connect").refuse(error)], second_rules=())
    assert played.statuses == [D, D]
    assert [str(attempt.endpoint) for attempt in played.delivery.attempts][1] == MX2


@pytest.mark.parametrize(
    ("rule", "code", "phase"),
    [
        (on("greeting").reply(554, "5.3.2 no service"), 554, "greeting"),
        (on("greeting").reply(421, "4.3.2 later"), 421, "greeting"),
        (on("greeting").reply(250, "not the way to greet"), 250, "greeting"),
        (on("greeting").say(b"SSH-2.0-OpenSSH_9.6\r\n"), 451, "greeting"),
        (on("greeting").silence(), 421, "greeting"),
        (on("greeting").close(), 421, "greeting"),
        (on("greeting").say(b"220 mx.exam").close(), 421, "greeting"),
        (on("EHLO").reply(421, "4.3.2 later"), 421, "hello"),
        (on("EHLO").reply(450, "4.3.2 later"), 450, "hello"),
        (on("EHLO").say(b"hello\r\n"), 451, "hello"),
        (on("EHLO").silence(), 421, "hello"),
        (on("EHLO").close(), 421, "hello"),
        (on("EHLO").reset(), 421, "hello"),
    ],
    ids=lambda value: None if isinstance(value, (int, str)) else "rule",
)
def test_a_server_that_does_not_receive_us_defers_with_its_reply_and_the_next_is_tried(
    rule: Rule, code: int, phase: str
) -> None:
    played = play([rule])
    assert played.statuses == [F, F]
    assert played.codes == [code] * 2
    assert played.phases == [phase] * 2
    assert played.server.messages == []
    assert play([rule], second_rules=()).statuses == [D, D]


def test_ehlo_and_helo_refused_defer_with_the_reply() -> None:
    rules = [on("EHLO").reply(502, "5.5.1 what"), on("HELO").reply(550, "5.7.1 you again")]
    played = play(rules)
    assert (played.statuses, played.codes) == ([F, F], [550, 550])
    assert played.said[-3:] == ["EHLO [192.0.2.1]", "HELO [192.0.2.1]", "QUIT"]
    assert play(rules, second_rules=()).statuses == [D, D]


def test_helo_is_said_where_ehlo_is_not_known() -> None:
    played = play([on("EHLO").reply(502, "5.5.1 what")])
    delivered(played)
    assert played.said[:3] == ["EHLO [192.0.2.1]", "HELO [192.0.2.1]", "MAIL FROM:<a@x.example>"]


def test_lmtp_never_falls_back_to_helo() -> None:
    played = play([on("LHLO").reply(502, "5.5.1 what")], protocol="lmtp")
    assert played.statuses == [F, F]
    assert played.said == ["LHLO [192.0.2.1]", "QUIT"]


# The envelope.


@OFFERS
@PROTOCOLS
@pytest.mark.parametrize(("code", "status"), [(450, F), (550, R)])
def test_mail_refused_is_everyones_outcome_and_the_connection_is_kept(
    protocol: str, extensions: tuple[str, ...], code: int, status: object
) -> None:
    played = play([on("MAIL").reply(code, "no")], protocol=protocol, extensions=extensions)
    assert (played.statuses, played.codes, played.phases) == ([status] * 2, [code] * 2, ["mail"] * 2)
    assert played.quit
    assert played.server.messages == []


@OFFERS
@PROTOCOLS
@pytest.mark.parametrize(("code", "status"), [(450, F), (451, F), (550, R), (553, R)])
def test_a_refused_recipient_does_not_hold_up_the_others(
    protocol: str, extensions: tuple[str, ...], code: int, status: object
) -> None:
    played = play([on("RCPT", "b@y.example").reply(code, "no")], protocol=protocol, extensions=extensions)
    assert (played.statuses, played.phases) == ([status, D], ["rcpt", "final"])
    assert played.server.messages[0].recipients == ("c@y.example",)
    assert played.quit


@OFFERS
@PROTOCOLS
def test_when_every_recipient_is_refused_each_keeps_its_own_reply(
    protocol: str, extensions: tuple[str, ...]
) -> None:
    rules = [on("RCPT", "b@y.example").reply(550, "no"), on("RCPT", "c@y.example").reply(450, "later")]
    played = play(rules, protocol=protocol, extensions=extensions)
    assert (played.statuses, played.codes) == ([R, F], [550, 450])
    assert played.server.messages == []
    assert played.quit


@pytest.mark.parametrize("text", ["too many recipients", "5.5.3 too many recipients"])
def test_552_without_a_code_for_something_else_counts_as_452(text: str) -> None:
    played = play([on("RCPT", "b@y.example").reply(552, text)])
    assert (played.statuses, played.codes) == ([F, D], [552, 250])


def test_552_for_a_full_mailbox_is_a_rejection() -> None:
    assert play([on("RCPT", "b@y.example").reply(552, "5.2.2 mailbox full")]).statuses == [R, D]


@OFFERS
@PROTOCOLS
@pytest.mark.parametrize("refusal", [(452, "too many"), (452, "4.5.3 too many"), (552, "too many")])
def test_too_many_recipients_go_on_in_further_transactions_of_the_same_connection(
    protocol: str, extensions: tuple[str, ...], refusal: tuple[int, str]
) -> None:
    recipients = [f"r{n}@y.example" for n in range(5)]
    third = {3, 4, 5, 8}  # after two accepted ones, and again after two more
    rules = [on("RCPT", occurrence=third).reply(*refusal)]
    played = play(rules, recipients, protocol=protocol, extensions=extensions)
    assert played.statuses == [D] * 5
    assert [message.recipients for message in played.server.messages] == [
        ("r0@y.example", "r1@y.example"),
        ("r2@y.example", "r3@y.example"),
        ("r4@y.example",),
    ]
    assert len(played.server.connections) == 1


@OFFERS
def test_too_many_is_believed_only_as_long_as_somebody_is_accepted(extensions: tuple[str, ...]) -> None:
    rules = [on("RCPT", occurrence=range(2, 100)).reply(452, "4.5.3 too many")]
    played = play(rules, extensions=extensions)
    assert (played.statuses, played.codes) == ([D, F], [250, 452])
    assert len(played.server.messages) == 1


def test_452_about_a_mailbox_is_no_reason_for_a_further_transaction() -> None:
    played = play([on("RCPT", "c@y.example").reply(452, "4.2.2 mailbox full")])
    assert played.statuses == [D, F]
    assert sum(line.startswith("MAIL") for line in played.said) == 1


@PROTOCOLS
@pytest.mark.parametrize("extensions", [(), PIPELINING], ids=["plain", "pipelining"])
@pytest.mark.parametrize(("code", "status"), [(451, F), (554, R)])
def test_data_refused_is_the_outcome_of_those_accepted(
    protocol: str, extensions: tuple[str, ...], code: int, status: object
) -> None:
    rules = [on("RCPT", "b@y.example").reply(550, "no"), on("DATA").reply(code, "no")]
    played = play(rules, protocol=protocol, extensions=extensions)
    assert (played.statuses, played.codes, played.phases) == ([R, status], [550, code], ["rcpt", "data"])
    assert played.quit


@PROTOCOLS
@pytest.mark.parametrize("refused", ["MAIL", "RCPT"])
def test_354_although_nobody_stands_is_ended_by_a_lone_dot(protocol: str, refused: str) -> None:
    rules = [on(refused).reply(550, "no"), on("DATA").reply(354, "go ahead")]
    if refused == "MAIL":
        rules.append(on("RCPT").reply(503, "MAIL first"))
    if protocol == "smtp":
        rules.append(on("message").reply(554, "no valid recipients"))
    played = play(rules, protocol=protocol, extensions=PIPELINING, correct=False)
    assert (played.statuses, played.codes) == ([R, R], [550, 550])
    assert not played.quit
    assert "C: ." in played.playground.transcript


@PROTOCOLS
def test_after_a_lone_dot_those_who_wait_for_their_turn_have_it_on_a_new_connection(protocol: str) -> None:
    rules = [on("RCPT", "b@y.example").reply(550, "no"), on("DATA", connection=1).reply(354, "go ahead")]
    if protocol == "smtp":
        rules.append(on("message", connection=1).reply(554, "no valid recipients"))
    offers = ("PIPELINING", "LIMITS RCPTMAX=1")
    recipients = ["b@y.example", "c@y.example", "d@y.example"]
    played = play(rules, recipients, protocol=protocol, extensions=offers, correct=False)
    assert (played.statuses, played.codes) == ([R, D, D], [550, 250, 250])
    assert len(played.server.connections) == 2
    assert played.quit


def test_a_lone_dot_is_waited_for_no_longer_than_command_timeout() -> None:
    rules = [on("RCPT").reply(550, "no"), on("DATA").reply(354, "go ahead"), on("message").silence()]
    played = play(rules, extensions=PIPELINING, correct=False, command_timeout=7, submission_timeout=99)
    assert (played.statuses, played.codes) == ([R, R], [550, 550])
    assert played.playground.clock() == 7


@pytest.mark.parametrize("recipients", [["b@y.example"], ["b@y.example", "c@y.example"]])
def test_lmtp_that_takes_recipients_and_a_chunk_after_refusing_mail_delivers_to_nobody(
    recipients: list[str],
) -> None:
    rules = [
        on("MAIL").reply(550, "no"),
        on("RCPT").reply(250, "ok"),
        on("BDAT").say(b"250 ok\r\n" * len(recipients)),
    ]
    played = play(rules, recipients, protocol="lmtp", extensions=CHUNKING, correct=False)
    assert (set(played.statuses), set(played.codes), set(played.phases)) == ({R}, {550}, {"mail"})


# The message.

BIG = b"Subject: big\r\n\r\n" + (b"x" * 76 + b"\r\n") * 4000


@PROTOCOLS
@pytest.mark.parametrize(("code", "status"), [(451, F), (421, F), (552, R)])
def test_a_refusal_while_the_message_is_sent_stops_it_and_is_everyones(
    protocol: str, code: int, status: object
) -> None:
    rules = [on("content", after=1000).reply(code, "stop").stop_reading()]
    played = play(rules, message=BIG, protocol=protocol)
    assert (played.statuses, played.codes, played.phases) == ([status] * 2, [code] * 2, ["content"] * 2)
    assert not played.quit
    assert played.server.messages == []
    assert sum(line.startswith("C: x") for line in played.playground.transcript) < 2000


@PROTOCOLS
@pytest.mark.parametrize(("code", "status"), [(451, F), (552, R)])
def test_a_refused_chunk_ends_the_message_and_is_everyones(protocol: str, code: int, status: object) -> None:
    rules = [on("BDAT", occurrence=2).reply(code, "stop")]
    played = play(rules, message=BIG * 3, protocol=protocol, extensions=("CHUNKING",))
    assert (played.statuses, played.codes) == ([status] * 2, [code] * 2)
    assert not played.quit
    assert sum(line.startswith("BDAT") for line in played.said) == 2


@PROTOCOLS
@pytest.mark.parametrize("how", ["close", "reset", "silence"])
@pytest.mark.parametrize("step", ["MAIL", "RCPT", "DATA"])
def test_a_connection_lost_before_the_end_of_the_message_defers(protocol: str, how: str, step: str) -> None:
    rule: Rule = getattr(on(step), how)()
    played = play([rule], protocol=protocol)
    assert (played.statuses, played.enhanced) == ([F, F], ["4.4.2", "4.4.2"])
    assert played.phases[1] == step.lower()
    assert not played.quit


@PROTOCOLS
def test_a_connection_lost_while_the_message_is_sent_defers(protocol: str) -> None:
    played = play([on("content", after=1000).reset()], message=BIG, protocol=protocol)
    assert (played.statuses, played.enhanced, played.phases) == ([F] * 2, ["4.4.2"] * 2, ["content"] * 2)


def test_a_connection_lost_keeps_what_was_said_before() -> None:
    played = play([on("RCPT", "b@y.example").reply(550, "no"), on("DATA").close()])
    assert (played.statuses, played.codes) == ([R, F], [550, 421])


# After the end of the message.


@OFFERS
@pytest.mark.parametrize(("code", "status"), [(250, D), (451, F), (421, F), (554, R)])
def test_the_final_reply_says_what_became_of_everyone(
    extensions: tuple[str, ...], code: int, status: object
) -> None:
    played = play([on("message").reply(code, "so be it")], extensions=extensions)
    assert (played.statuses, played.codes, played.phases) == ([status] * 2, [code] * 2, ["final"] * 2)


@OFFERS
@pytest.mark.parametrize("how", ["close", "reset", "silence"])
@PROTOCOLS
def test_a_connection_lost_after_the_end_of_the_message_is_uncertain(
    protocol: str, extensions: tuple[str, ...], how: str
) -> None:
    rule: Rule = getattr(on("message"), how)()
    played = play([rule], protocol=protocol, extensions=extensions, second_rules=())
    assert (played.statuses, played.phases) == ([U, U], ["final", "final"])
    assert not any(outcome.may_retry for outcome in played.delivery.outcomes)
    assert played.second.connections == []  # perhaps delivered: never sent again
    assert not played.quit


@OFFERS
@PROTOCOLS
@pytest.mark.parametrize("junk", [b"junk\r\n", b"999 what\r\n", b"334 \r\n", b"250-a\r\n251 b\r\n"])
def test_junk_after_the_end_of_the_message_is_uncertain(
    protocol: str, extensions: tuple[str, ...], junk: bytes
) -> None:
    played = play([on("message").say(junk)], protocol=protocol, extensions=extensions, second_rules=())
    assert played.statuses == [U, U]
    assert played.second.connections == []
    assert not played.quit


@OFFERS
def test_lmtp_gives_each_recipient_its_own_final_reply(extensions: tuple[str, ...]) -> None:
    rules = [
        on("message", "b@y.example").reply(552, "5.2.2 full"),
        on("message", "d@y.example").reply(451, "4.3.0 later"),
        on("RCPT", "e@y.example").reply(550, "5.1.1 no"),
    ]
    recipients = ["b@y.example", "c@y.example", "e@y.example", "d@y.example", "c@y.example"]
    played = play(rules, recipients, protocol="lmtp", extensions=extensions)
    assert played.statuses == [R, D, R, F, D]
    assert played.codes == [552, 250, 550, 451, 250]
    assert played.quit


@OFFERS
@pytest.mark.parametrize("how", ["close", "silence"])
def test_lmtp_lost_after_some_answers_keeps_them_and_the_rest_is_uncertain(
    extensions: tuple[str, ...], how: str
) -> None:
    rule: Rule = getattr(on("message", occurrence=2), how)()
    recipients = ["b@y.example", "c@y.example", "d@y.example"]
    played = play([rule], recipients, protocol="lmtp", extensions=extensions, second_rules=())
    assert played.statuses == [D, U, U]
    assert played.second.connections == []


@OFFERS
def test_lmtp_421_among_the_answers_is_of_its_recipient_and_the_rest_is_uncertain(
    extensions: tuple[str, ...],
) -> None:
    rules = [on("message", occurrence=2).reply(421, "4.3.2 bye").close()]
    recipients = ["b@y.example", "c@y.example", "d@y.example"]
    played = play(rules, recipients, protocol="lmtp", extensions=extensions)
    assert (played.statuses, played.codes[:2]) == ([D, F, U], [250, 421])


@OFFERS
def test_a_final_reply_too_many_changes_nothing_and_the_connection_is_closed(
    extensions: tuple[str, ...],
) -> None:
    rules = [on("message", "c@y.example").answer().say(b"250 and one for nobody\r\n")]
    played = play(rules, protocol="lmtp", extensions=extensions)
    assert played.statuses == [D, D]
    assert not played.quit


@PROTOCOLS
@pytest.mark.parametrize(
    "rule",
    [
        on("QUIT").reply(221, "bye"),
        on("QUIT").reply(421, "bye"),
        on("QUIT").reply(500, "what"),
        on("QUIT").close(),
        on("QUIT").reset(),
        on("QUIT").silence(),
        on("QUIT").say(b"junk\r\n"),
    ],
    ids=["221", "421", "500", "close", "reset", "silence", "junk"],
)
def test_what_happens_at_quit_changes_nothing(protocol: str, rule: Rule) -> None:
    played = play([rule], protocol=protocol)
    assert played.statuses == [D, D]
    assert played.delivery.attempts[0].error is None
    assert played.playground.clock() <= 5


def test_quit_is_waited_for_no_longer_than_the_smaller_of_5_s_and_command_timeout() -> None:
    assert play([on("QUIT").silence()]).playground.clock() == 5
    assert play([on("QUIT").silence()], command_timeout=2).playground.clock() == 2


# 421 and replies that are out of place.


@OFFERS
@PROTOCOLS
@pytest.mark.parametrize("step", ["MAIL", "RCPT", "DATA"])
def test_421_is_the_reply_of_everything_unanswered(
    protocol: str, extensions: tuple[str, ...], step: str
) -> None:
    if step == "DATA" and "CHUNKING" in extensions:
        step = "BDAT"
    played = play([on(step).reply(421, "4.3.2 bye").close()], protocol=protocol, extensions=extensions)
    if step == "BDAT" and protocol == "lmtp":  # its recipient's; the next one's never comes
        assert (played.statuses, played.codes[0]) == ([F, U], 421)
    else:
        assert (played.statuses, played.codes) == ([F, F], [421, 421])
    assert not played.quit


@pytest.mark.parametrize("code", [220, 235, 250, 354, 334, 550])
@pytest.mark.parametrize("step", ["MAIL", "RCPT", "DATA"])
def test_a_reply_that_nobody_asked_for_ends_the_connection_without_quit(step: str, code: int) -> None:
    rule = on(step, occurrence=1).answer().say(b"%d surplus\r\n" % code)
    played = play([rule], correct=False)
    if step == "DATA" and code == 550:  # a refusal of the message, as good as any
        assert (played.statuses, played.codes) == ([R, R], [550, 550])
    else:
        assert (played.statuses, played.enhanced) == ([F, F], ["4.5.0"] * 2)
    assert not played.quit
    assert played.server.messages == []


@pytest.mark.parametrize(
    ("step", "code"), [("MAIL", 354), ("RCPT", 334), ("DATA", 250), ("DATA", 350), ("MAIL", 220 + 130)]
)
def test_a_reply_class_that_the_command_cannot_have_defers(step: str, code: int) -> None:
    played = play([on(step).reply(code, "odd")], correct=False)
    assert (played.statuses, played.enhanced) == ([F, F], ["4.5.0"] * 2)
    assert not played.quit
