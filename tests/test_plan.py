"""What a message needs is held against what the server offers, before MAIL."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest

from playing import MESSAGE, MX, MX2, D, F, Played, R, play
from smtpstate import (
    DeliverBy,
    Delivery,
    Envelope,
    LocalProtocolError,
    Message,
    Recipient,
    TargetConfig,
    TransportError,
    forwarding,
)
from smtpstate._capabilities import Capabilities
from smtpstate._commands import Protocol
from smtpstate._endpoints import Endpoint
from smtpstate._limits import Limits
from smtpstate._link import Link
from smtpstate._plan import Plan, fit, plan_ahead
from smtpstate._reader import Reader
from smtpstate._replies import Reply
from smtpstate.testing import ModelServer, Playground

B = "b@y.example"
EIGHT_BIT = "Subject: hello\r\n\r\ngrüße\r\n".encode()
UTF8_HEADER = "Subject: grüße\r\n\r\nhello\r\n".encode()
LATIN_HEADER = "Subject: grüße\r\n\r\nhello\r\n".encode("latin-1")


def mail(played: Played) -> str:
    [line] = [line for line in played.said if line.startswith("MAIL")]
    return line.removeprefix("MAIL FROM:<a@x.example>").strip()


def rcpt(played: Played) -> str:
    [line] = [line for line in played.said if line.startswith("RCPT")]
    return line.removeprefix("RCPT TO:<b@y.example>").strip()


def give(message: Any = MESSAGE, *offers: str, **envelope: Any) -> Played:
    return play((), message=message, extensions=offers, envelope=Envelope("a@x.example", [B], **envelope))


def rejected(played: Played, enhanced: str) -> bool:
    """Whether nobody was served, nothing was sent, and the connection kept."""
    return (
        set(played.statuses) == {R}
        and set(played.enhanced) == {enhanced}
        and not any(line.startswith(("MAIL", "RCPT", "DATA", "BDAT")) for line in played.said)
        and played.quit
        and all(outcome.reply.local for outcome in played.delivery.outcomes)
    )


@pytest.mark.parametrize("protocol", ["smtp", "lmtp"])
def test_a_keyword_that_is_to_be_ignored_counts_as_not_offered(protocol: str) -> None:
    played = play(
        (),
        [B],
        protocol=protocol,
        extensions=("SIZE", "8BITMIME"),
        ignore_keywords=["SIZE"],
        message=EIGHT_BIT,
    )
    assert (played.statuses, mail(played)) == ([D], "BODY=8BITMIME")


# SIZE.


def test_size_is_told_where_it_is_offered_and_known() -> None:
    assert mail(give(MESSAGE, "SIZE")) == f"SIZE={len(MESSAGE)}"
    assert mail(give(MESSAGE)) == ""
    assert mail(give(Message([MESSAGE], size=len(MESSAGE)), "SIZE")) == f"SIZE={len(MESSAGE)}"


@pytest.mark.parametrize(
    ("message", "size"),
    [
        (b"", 0),
        (b"a", 3),
        (b"a\n", 3),
        (b"a\r", 3),
        (b"a\r\n", 3),
        (b"\n\r\n\r", 6),
        (b".\n.", 6),
        (b"a\n\rb", 8),
    ],
)
def test_size_counts_line_ends_as_they_go_out_and_doubled_dots_not(message: bytes, size: int) -> None:
    played = give(message, "SIZE")
    assert mail(played) == f"SIZE={size}"
    assert len(played.server.messages[0].content) == size


def test_a_message_larger_than_size_is_rejected_before_anything_is_sent() -> None:
    assert rejected(give(MESSAGE, f"SIZE {len(MESSAGE) - 1}"), "5.3.4")
    assert give(MESSAGE, f"SIZE {len(MESSAGE)}").statuses == [D]
    assert give(MESSAGE, "SIZE 0").statuses == [D]  # no fixed maximum


# 8bit.


@pytest.mark.parametrize(
    ("message", "asked"),
    [
        (MESSAGE, ""),
        (EIGHT_BIT, "BODY=8BITMIME"),
        (LATIN_HEADER, "BODY=8BITMIME"),
        (Message([MESSAGE], eight_bit=False), ""),
        (Message(MESSAGE, eight_bit=True), "BODY=8BITMIME"),
        ([MESSAGE], ""),  # short enough to be looked through first
        ([MESSAGE * 2000], "BODY=8BITMIME"),  # it may turn out to be
    ],
)
def test_body_8bitmime_is_asked_for_only_when_needed(message: Message | bytes, asked: str) -> None:
    played = give(message, "8BITMIME")
    assert mail(played) == asked
    assert played.statuses == [D]


def test_raw_8bit_is_refused_without_8bitmime_and_goes_out_only_on_demand() -> None:
    assert rejected(give(EIGHT_BIT), "5.6.3")
    played = play((), [B], Message(EIGHT_BIT, eight_bit="send"), correct=False)
    assert played.statuses == [D]
    assert played.server.messages[0].content == EIGHT_BIT


@pytest.mark.parametrize("offers", [(), ("CHUNKING",), ("PIPELINING", "CHUNKING")])
def test_a_stream_that_turns_out_8bit_is_rejected_and_the_connection_dropped(offers: tuple[str, ...]) -> None:
    stream = iter([MESSAGE * 2000, EIGHT_BIT])
    played = play((), [B], Message(stream), extensions=offers)
    assert (played.statuses, played.enhanced) == ([R], ["5.6.3"])
    assert played.server.messages == []
    assert not played.quit


def test_a_message_said_to_be_7bit_that_is_not_is_an_error_to_the_caller() -> None:
    with pytest.raises(LocalProtocolError, match="said to be 7bit"):
        give(Message(EIGHT_BIT, eight_bit=False), "8BITMIME")


# UTF-8.


def test_smtputf8_is_not_asked_for_where_all_is_ascii() -> None:
    asking = Envelope("a@x.example", [Recipient("b@y.example", notify=("NEVER",))])
    played = play((), message=MESSAGE, extensions=("SMTPUTF8", "DSN"), envelope=asking)
    assert (mail(played), rcpt(played)) == ("", "NOTIFY=NEVER")


def test_a_utf8_header_needs_smtputf8() -> None:
    assert mail(give(UTF8_HEADER, "8BITMIME", "SMTPUTF8")) == "SMTPUTF8 BODY=8BITMIME"
    assert rejected(give(UTF8_HEADER, "8BITMIME"), "5.6.7")
    assert mail(give(LATIN_HEADER, "8BITMIME", "SMTPUTF8")) == "BODY=8BITMIME"
    assert mail(give(Message(UTF8_HEADER, utf8=False), "8BITMIME")) == "BODY=8BITMIME"
    assert rejected(give(Message(MESSAGE, utf8=True)), "5.6.7")


def test_smtputf8_is_asked_for_only_when_needed() -> None:
    assert mail(give(MESSAGE, "SMTPUTF8")) == ""
    played = play((), ["δοκιμή@y.example"], extensions=["8BITMIME", "SMTPUTF8"])
    assert played.said[1:3] == ["MAIL FROM:<a@x.example> SMTPUTF8", "RCPT TO:<δοκιμή@y.example>"]


def test_a_recipient_that_needs_smtputf8_is_rejected_alone_where_it_is_not_offered() -> None:
    played = play((), ["δοκιμή@y.example", B])
    assert (played.statuses, played.enhanced[0]) == ([R, D], "5.6.7")
    assert played.delivery.outcomes[0].reply.local
    assert played.said[2] == "RCPT TO:<b@y.example>"


def test_a_sender_that_needs_smtputf8_rejects_everyone_where_it_is_not_offered() -> None:
    assert rejected(play((), envelope=Envelope("δοκιμή@x.example", [B])), "5.6.7")


def test_a_domain_goes_out_in_a_labels_where_smtputf8_is_not_offered() -> None:
    envelope = Envelope("a@bücher.example", ["b@faß.example"])
    played = play((), envelope=envelope)
    assert played.said[1:3] == ["MAIL FROM:<a@xn--bcher-kva.example>", "RCPT TO:<b@xn--fa-hia.example>"]
    assert played.delivery.outcomes[0].recipient == "b@faß.example"
    played = play((), envelope=envelope, extensions=["SMTPUTF8", "8BITMIME"])
    assert played.said[1:3] == ["MAIL FROM:<a@bücher.example> SMTPUTF8", "RCPT TO:<b@faß.example>"]


# Binary.


BINARY = bytes(range(256)) + b"\n.\n\r.\r"


def test_binary_octets_are_sent_untouched_by_bdat() -> None:
    played = give(Message(BINARY, line_ends="binary"), "CHUNKING", "BINARYMIME", "8BITMIME")
    assert mail(played) == "BODY=BINARYMIME"
    assert played.server.messages[0].content == BINARY
    big = BINARY * 2000
    played = give(Message([big], line_ends="binary"), "CHUNKING", "BINARYMIME", "PIPELINING")
    assert played.server.messages[0].content == big


@pytest.mark.parametrize("offers", [(), ("CHUNKING",), ("BINARYMIME",)])
def test_binary_is_rejected_without_chunking_and_binarymime(offers: tuple[str, ...]) -> None:
    assert rejected(give(Message(BINARY, line_ends="binary"), *offers), "5.6.3")


# Message objects.


def written_message(charset: str = "utf-8", **headers: str) -> EmailMessage:
    message = EmailMessage()
    message["From"] = "a@x.example"
    message["Subject"] = "Grüße"
    message["Bcc"] = "secret@y.example"
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    message.set_content("viele grüße\n", cte="8bit", charset=charset)
    return message


def test_a_message_object_is_reencoded_to_7bit_where_8bitmime_is_not_offered() -> None:
    [stored] = give(written_message(), "8BITMIME").server.messages
    assert "grüße".encode() in stored.content
    [stored] = give(written_message()).server.messages
    assert stored.content.isascii()
    assert b"base64" in stored.content or b"quoted-printable" in stored.content


def test_a_signed_message_is_never_reencoded() -> None:
    assert rejected(give(written_message(DKIM_Signature="v=1")), "5.6.3")
    signed = EmailMessage()
    signed.make_mixed()
    signed.set_type("multipart/signed")
    signed.attach(written_message())
    assert rejected(give(signed), "5.6.3")


def test_bcc_is_not_sent_and_the_callers_message_is_not_changed() -> None:
    message = written_message()
    [stored] = give(message, "8BITMIME").server.messages
    assert b"secret@y.example" not in stored.content
    assert message["Bcc"] == "secret@y.example"


def test_an_address_in_a_header_that_is_not_ascii_needs_smtputf8() -> None:
    message = written_message(To="δοκιμή@y.example")
    assert mail(give(message, "8BITMIME", "SMTPUTF8")).startswith("SMTPUTF8")
    assert rejected(give(message, "8BITMIME"), "5.6.7")


# Parameters.


MOMENT = datetime(2031, 5, 6, 7, 8, 9, tzinfo=timezone(timedelta(hours=2)))


@pytest.mark.parametrize(
    ("keyword", "envelope", "asked"),
    [
        ("DSN", {"ret": "HDRS"}, "RET=HDRS"),
        ("DSN", {"envid": "id+1=x y"}, "ENVID=id+2B1+3Dx+20y"),
        ("DELIVERBY", {"by": DeliverBy(-5, "N", trace=True)}, "BY=-5;NT"),
        ("DELIVERBY", {"by": DeliverBy(120, "R")}, "BY=120;R"),
        ("FUTURERELEASE 86400 2031-12-31T00:00:00Z", {"holdfor": 60}, "HOLDFOR=60"),
        ("FUTURERELEASE", {"holduntil": MOMENT}, "HOLDUNTIL=2031-05-06T05:08:09Z"),
        ("MT-PRIORITY MIXER", {"mt_priority": -3}, "MT-PRIORITY=-3"),
        ("AUTH PLAIN", {"auth": "e+x@x.example"}, "AUTH=e+2Bx@x.example"),
        ("AUTH PLAIN", {"auth": ""}, "AUTH=<>"),
    ],
)
def test_parameters_of_mail_are_sent_where_they_are_offered(
    keyword: str, envelope: dict[str, Any], asked: str
) -> None:
    played = give(MESSAGE, keyword, **envelope)
    assert (mail(played), played.statuses) == (asked, [D])
    assert played.delivery.outcomes[0].notes == ()


@pytest.mark.parametrize(
    ("envelope", "name"),
    [
        ({"ret": "FULL"}, "RET"),
        ({"envid": "1"}, "ENVID"),
        ({"mt_priority": 1}, "MT-PRIORITY"),
        ({"auth": ""}, "AUTH"),
        ({"by": DeliverBy(60, "N")}, "BY"),
    ],
)
def test_a_wish_that_changes_nothing_much_is_dropped_and_noted(envelope: dict[str, Any], name: str) -> None:
    played = give(MESSAGE, **envelope)
    assert (mail(played), played.statuses) == ("", [D])
    [note] = played.delivery.outcomes[0].notes
    assert note.startswith(f"{name} was left out")


@pytest.mark.parametrize(
    "envelope", [{"holdfor": 60}, {"holduntil": MOMENT}, {"by": DeliverBy(60, "R")}], ids=str
)
def test_a_demand_that_cannot_be_met_is_rejected(envelope: dict[str, Any]) -> None:
    assert rejected(give(MESSAGE, **envelope), "5.3.3")


def test_requiretls_is_rejected_outside_verified_tls() -> None:
    assert rejected(give(MESSAGE, "REQUIRETLS", requiretls=True), "5.7.30")


def test_parameters_of_recipients_are_sent_where_they_are_offered() -> None:
    recipient = Recipient(B, notify=("SUCCESS", "DELAY"), orcpt="rfc822;o+1@y.example", rrvs=MOMENT)
    played = play((), envelope=Envelope("a@x.example", [recipient]), extensions=["DSN", "RRVS"])
    assert rcpt(played) == ("NOTIFY=SUCCESS,DELAY ORCPT=rfc822;o+2B1@y.example RRVS=2031-05-06T05:08:09Z")


def test_an_original_recipient_in_utf8_is_written_in_ascii() -> None:
    recipient = Recipient(B, orcpt="utf-8;δ+=\\x@y.example")
    played = play((), envelope=Envelope("a@x.example", [recipient]), extensions=["DSN"])
    assert rcpt(played) == "ORCPT=utf-8;\\x{3B4}\\x{2B}\\x{3D}\\x{5C}x@y.example"


def test_what_is_asked_for_one_recipient_concerns_no_other() -> None:
    recipients: list[str | Recipient] = [
        Recipient("b@y.example", notify=("NEVER",)),
        Recipient("c@y.example", rrvs=MOMENT),
        "d@y.example",
    ]
    played = play((), envelope=Envelope("a@x.example", recipients))
    assert (played.statuses, played.enhanced[1]) == ([D, R, D], "5.3.3")
    assert [bool(outcome.notes) for outcome in played.delivery.outcomes] == [True, False, False]


# Another endpoint may have what this one lacks.


def test_what_one_server_lacks_another_may_offer() -> None:
    first, second = ModelServer(), ModelServer(extensions=["8BITMIME"])
    playground = Playground({MX: first, MX2: second})
    delivery = Delivery(Envelope("a@x.example", [B]), EIGHT_BIT)
    playground.run(forwarding(delivery, TargetConfig(targets=[MX, MX2])))
    assert [outcome.status for outcome in delivery.outcomes] == [D]
    assert [attempt.phase.value for attempt in delivery.attempts] == ["mail", "final"]
    assert first.commands == ["EHLO [192.0.2.1]", "QUIT"]


def test_what_a_server_lacks_defers_if_another_endpoint_could_not_be_reached() -> None:
    played = play((), [B], EIGHT_BIT, second_rules=TransportError("connection refused"))
    assert (played.statuses, played.enhanced) == ([F], ["4.4.1"])


# Limits.


def test_limits_are_obeyed_by_splitting_and_reconnecting() -> None:
    recipients = [f"r{n}@d{n % 3}.example" for n in range(7)]
    played = play((), recipients, extensions=["LIMITS RCPTMAX=3 MAILMAX=2", "PIPELINING"])
    assert played.statuses == [D] * 7
    assert [len(message.recipients) for message in played.server.messages] == [3, 3, 1]
    assert len(played.server.connections) == 2
    played = play((), recipients, extensions=["LIMITS RCPTDOMAINMAX=1"])
    assert played.statuses == [D] * 7
    assert [{r.split("@")[1] for r in m.recipients} for m in played.server.messages] == [
        {"d0.example"},
        {"d1.example"},
        {"d2.example"},
    ]


def test_a_message_that_can_be_read_once_cannot_be_split() -> None:
    played = play((), ["b@y.example", "c@y.example"], iter([MESSAGE]), extensions=["LIMITS RCPTMAX=1"])
    assert (played.statuses, played.enhanced[1]) == ([D, F], "4.3.0")


def test_holding_until_a_moment_without_a_time_zone_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="time zone"):
        Envelope("a@x.example", holduntil=MOMENT.replace(tzinfo=None))
    Envelope("a@x.example", holduntil=datetime(2031, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    "message",
    [b"\r\ncaf\xc3\xa9\r\n", b"Subject: x\n\r\ncaf\xc3\xa9\r\n", b"caf\xc3\xa9\r\n", b"S: x\r\rcaf\xc3\xa9"],
)
def test_utf8_in_the_body_alone_needs_no_smtputf8(message: bytes) -> None:
    played = give(message, "8BITMIME")
    assert (mail(played), played.statuses) == ("BODY=8BITMIME", [D])


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\ncaf\xe9\r\n",
        b"Content-Type: text/plain; charset=us-ascii\r\nContent-Transfer-Encoding: 8bit\r\n\r\ncaf\xe9\r\n",
        b"Subject: x\r\n\r\ncaf\xc3\xa9\r\n",
        b"Content-Type: text/plain; charset=nonsense\r\n\r\n\xff\xfe\r\n",
        b"Content-Type: application/x\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xff\xfe\r\n",
    ],
)
def test_a_message_object_is_never_reencoded_where_that_would_lose_something(head: bytes) -> None:
    message = message_from_bytes(b"From: a@x.example\r\n" + head, policy=policy.default)
    assert rejected(give(message), "5.6.3")
    assert give(message, "8BITMIME").statuses == [D]


def test_a_callable_that_returns_a_message_object_is_treated_like_one() -> None:
    assert give(lambda: written_message()).statuses == [D]
    assert rejected(give(lambda: written_message(To="δοκιμή@y.example"), "8BITMIME"), "5.6.7")


def test_a_source_that_fails_at_once_is_the_callers_and_mail_is_not_said() -> None:
    class Broken(Exception):
        pass

    def source() -> Iterator[bytes]:
        raise Broken
        yield b""

    server = ModelServer()
    with pytest.raises(Broken):
        Playground({MX: server}).run(
            forwarding(Delivery(Envelope("a@x.example", [B]), source()), TargetConfig(targets=[MX]))
        )
    assert [command.split()[0] for command in server.commands] == ["EHLO"]


# Before the message is there, and when it is.


def link(*offers: str) -> Link:
    """Return a link to a server that offers these."""
    made = Link(
        Endpoint("tcp", "mx.example", 25),
        Protocol.SMTP,
        clock=lambda: 0.0,
        timeouts=TargetConfig(targets=[MX]).timeouts,
        limits=Limits(),
    )
    words = [offer.split() for offer in offers]
    made.conn.capabilities = Capabilities({keyword: tuple(values) for keyword, *values in words})
    return made


def ahead(made: Link, envelope: Envelope | None = None, **declared: Any) -> Plan:
    known: dict[str, Any] = {"size": None, "eight_bit": "refuse", "utf8": None, "binary": False} | declared
    reader = Reader(Message.declared(**known))
    return plan_ahead(made, envelope or Envelope("a@x.example", [B]), reader, [0])


def fitted(made: Link, plan: Plan, message: Any) -> Reply | None:
    reader = Reader(Message.of(message))
    return Playground({}).run(lambda _: fit(made, plan, reader))


def code_of(reply: Reply | None) -> str | None:
    return None if reply is None else str(reply.enhanced)


def test_of_a_message_that_is_not_there_yet_mail_says_what_was_declared() -> None:
    made = link("SIZE 1000", "8BITMIME", "SMTPUTF8")
    assert ahead(made).parameters == (("BODY", "8BITMIME"),), "since it may turn out to be 8bit"
    assert ahead(made, eight_bit=False).parameters == ()
    assert ahead(made, size=0, eight_bit=False).parameters == (("SIZE", "0"),)
    assert ahead(made, utf8=True, eight_bit=True).parameters == (("SMTPUTF8", None), ("BODY", "8BITMIME"))
    assert ahead(made, Envelope("ä@x.example", [B]), eight_bit=False).parameters == (("SMTPUTF8", None),)
    assert ahead(link()).parameters == ()


@pytest.mark.parametrize(
    ("offers", "declared", "enhanced"),
    [
        (["SIZE 9"], {"size": 10}, "5.3.4"),
        ([], {"eight_bit": True}, "5.6.3"),
        ([], {"eight_bit": "send"}, None),
        ([], {"utf8": True}, "5.6.7"),
        (["BINARYMIME"], {"binary": True}, "5.6.3"),
        (["CHUNKING", "BINARYMIME"], {"binary": True}, None),
    ],
)
def test_what_is_declared_and_not_offered_is_lacking(
    offers: list[str], declared: dict[str, Any], enhanced: str | None
) -> None:
    plan = ahead(link(*offers), **declared)
    assert code_of(plan.lacking) == enhanced
    assert {index: str(reply.enhanced) for index, reply in plan.refused.items()} == (
        {0: enhanced} if enhanced else {}
    )
    assert len(plan.recipients) == (enhanced is None)


@pytest.mark.parametrize(
    ("offers", "message", "enhanced"),
    [
        ([], MESSAGE, None),
        (["SIZE 9"], b"x" * 8, "5.3.4"),  # CRLF is added
        (["SIZE 10"], b"x" * 8, None),
        (["SIZE 9"], Message([MESSAGE * 9999], size=len(MESSAGE) * 9999), "5.3.4"),
        (["SIZE"], MESSAGE, None),
        ([], EIGHT_BIT, "5.6.3"),
        ([], [EIGHT_BIT], "5.6.3"),
        ([], [EIGHT_BIT * 9999], None),  # not known before it is read
        ([], Message([EIGHT_BIT], eight_bit=True), "5.6.3"),
        ([], Message(EIGHT_BIT, eight_bit="send"), None),
        (["8BITMIME"], EIGHT_BIT, None),
        (["8BITMIME"], UTF8_HEADER, "5.6.7"),
        (["8BITMIME"], [UTF8_HEADER], "5.6.7"),
        (["8BITMIME"], Message(UTF8_HEADER, utf8=False), None),
        (["8BITMIME"], LATIN_HEADER, None),
        (["8BITMIME", "SMTPUTF8"], UTF8_HEADER, "5.6.7"),  # MAIL did not ask for it
    ],
)
def test_the_message_is_held_against_what_mail_has_said(
    offers: list[str], message: Any, enhanced: str | None
) -> None:
    made = link(*offers)
    assert code_of(fitted(made, ahead(made), message)) == enhanced


def test_a_message_that_was_declared_to_have_utf8_in_its_header_fits() -> None:
    made = link("8BITMIME", "SMTPUTF8")
    assert fitted(made, ahead(made, utf8=True), UTF8_HEADER) is None


def test_a_message_object_is_written_as_mail_has_said() -> None:
    mail = EmailMessage()
    mail.set_content("grüße", cte="8bit")
    for offers in ((), ("8BITMIME",)):
        made = link(*offers)
        plan = ahead(made)
        assert fitted(made, plan, mail) is None
        assert plan.reader.whole is not None
        assert plan.reader.whole.isascii() is not bool(offers)


def test_that_a_message_is_binary_must_be_declared() -> None:
    made = link("CHUNKING", "BINARYMIME")
    binary = Message(b"a\nb", line_ends="binary")
    assert fitted(made, ahead(made, binary=True), binary) is None
    with pytest.raises(LocalProtocolError, match="^that the message is binary must be declared before MAIL$"):
        fitted(made, ahead(made), binary)
