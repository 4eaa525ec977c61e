"""A transaction step by step: what it needs of a server, and which server it goes to."""

from __future__ import annotations

from collections.abc import Iterator
from email.message import EmailMessage
from typing import Any

import pytest

from playing import MESSAGE, MX, MX2, D, F, R
from smtpstate import (
    Auth,
    Credentials,
    DeliveryFailed,
    Envelope,
    LocalProtocolError,
    Message,
    Phase,
    Recipient,
    RemoteProtocolError,
    Status,
    TransportError,
)
from smtpstate._requests import Poll
from smtpstate.testing import (
    ModelServer,
    Rule,
    on,
)
from stepping import NOBODY_YET, Stage, Steps

B, C = "b@y.example", "c@y.example"
BOTH = Envelope("a@x.example", [B, C])
BIG = (b"x" * 76 + b"\r\n") * 2000  # three blocks
EXTENSIONS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "pipelining": ("PIPELINING",),
    "chunking": ("PIPELINING", "CHUNKING"),
    "chunks": ("CHUNKING",),
}
OFFERS = pytest.mark.parametrize("extensions", EXTENSIONS.values(), ids=EXTENSIONS)
PROTOCOLS = pytest.mark.parametrize("protocol", ["smtp", "lmtp"])
EIGHT_BIT = "Subject: hello\r\n\r\ngrüße\r\n".encode()
UTF8_HEADER = "Subject: grüße\r\n\r\nhello\r\n".encode()


def statuses(steps: Steps) -> list[Status]:
    return [outcome.status for outcome in steps.delivery.outcomes]


def is_lost(steps: Steps) -> bool:
    """Return whether the next recipient is answered with what is said here of a lost connection."""
    reply = steps.name("late@y.example")
    return (reply.code, str(reply.enhanced), reply.local) == (421, "4.4.2", True)


# Limits (RFC 9422).


def test_nobody_more_than_rcptmax_is_named() -> None:
    stage = Stage((), ("PIPELINING", "LIMITS RCPTMAX=2"))
    steps = stage.begin(Envelope("a@x.example", [B]))
    assert steps.name(C).code == 250
    reply = steps.name("d@y.example")
    assert (reply.code, str(reply.enhanced), reply.local) == (452, "4.5.3", True)
    steps.send()
    assert statuses(steps) == [D, D, F]
    assert steps.delivery.outcomes[2].reply == reply
    assert stage.verbs.count("RCPT") == 2
    assert stage.server.violations == []


def test_an_answer_that_the_server_was_not_asked_for_leaves_the_connection_as_it_was() -> None:
    stage = Stage((), ("PIPELINING", "LIMITS RCPTMAX=1"))
    steps = stage.begin(Envelope("a@x.example", [B]))
    steps.name(C)
    steps.leave()
    stage.begin(Envelope("a@x.example", [B])).send()
    assert stage.connections == 1


def test_recipients_of_the_envelope_beyond_rcptmax_are_deferred() -> None:
    stage = Stage((), ("PIPELINING", "LIMITS RCPTMAX=2"))
    steps = stage.begin(Envelope("a@x.example", [B, C, "d@y.example"]))
    assert [str(outcome.reply.enhanced) for outcome in steps.delivery.outcomes][2] == "4.5.3"
    assert steps.name("e@y.example").code == 452
    steps.send()
    assert statuses(steps) == [D, D, F, F]
    assert stage.server.messages[0].recipients == (B, C)
    assert stage.server.violations == []


@pytest.mark.parametrize(
    ("rule", "status"), [(on("MAIL").reply(550, "no"), R), (on("MAIL").reply(451, "later"), F)]
)
def test_a_refusal_of_mail_is_also_theirs_who_were_too_many(rule: Rule, status: Status) -> None:
    failed = Stage([rule], ("PIPELINING", "LIMITS RCPTMAX=1")).fail(BOTH)
    assert [(o.status, o.reply) for o in failed.delivery.outcomes] == [(status, failed.reply)] * 2


def test_recipients_beyond_rcptmax_are_named_to_a_server_that_takes_them() -> None:
    second = ModelServer(extensions=["PIPELINING"])
    limited = [on("MAIL").reply(451, "later")]
    stage = Stage(limited, ("LIMITS RCPTMAX=1",), second=second, failover={"connect", "transient"})
    steps = stage.begin(BOTH)
    steps.send()
    assert statuses(steps) == [D, D]
    assert second.messages[0].recipients == (B, C)


def test_the_domains_of_a_session_are_limited_and_another_session_has_room_again() -> None:
    stage = Stage((), ("PIPELINING", "LIMITS RCPTDOMAINMAX=1"))
    steps = stage.begin()
    assert steps.name(B).code == 250
    assert steps.name("b@z.example").code == 452
    assert steps.name(C).code == 250
    steps.send()
    again = stage.begin()
    assert again.name("b@z.example").code == 250
    again.send()
    assert [statuses(steps), statuses(again)] == [[D, F, D], [D]]
    assert stage.connections == 2
    assert stage.server.connections[0].commands[-1] == "QUIT"


def test_a_session_with_room_for_another_domain_is_used_again() -> None:
    stage = Stage((), ("PIPELINING", "LIMITS RCPTDOMAINMAX=2"))
    for name in (B, "b@z.example"):
        steps = stage.begin()
        assert steps.name(name).code == 250
        steps.send()
    assert stage.connections == 1


def test_a_transaction_whose_recipients_come_later_does_not_use_a_session_up() -> None:
    stage = Stage((), ("PIPELINING", "LIMITS RCPTDOMAINMAX=2"))
    stage.begin().leave()
    stage.begin().leave()
    assert stage.connections == 1


def test_no_more_transactions_than_mailmax_use_a_connection() -> None:
    stage = Stage((), ("PIPELINING", "LIMITS MAILMAX=2"))
    for _ in range(3):
        stage.begin(BOTH).send()
    assert [peer.commands.count("QUIT") for peer in stage.server.connections] == [1, 0]
    assert stage.server.violations == []


# What the message needs.


def test_what_is_declared_is_said_at_mail() -> None:
    stage = Stage((), ("PIPELINING", "SIZE 1000", "8BITMIME", "SMTPUTF8"))
    declared = Message.declared(size=100, eight_bit=True, utf8=True, binary=False)
    steps = stage.begin(Envelope("a@x.example", [B]), declared)
    assert stage.said[1].split()[2:] == ["SIZE=100", "SMTPUTF8", "BODY=8BITMIME"]
    assert steps.name("δοκιμή@y.example").code == 250
    steps.send(UTF8_HEADER)
    assert statuses(steps) == [D, D]
    assert stage.server.violations == []


@pytest.mark.parametrize(
    ("offers", "declared", "enhanced"),
    [
        (("SIZE 50",), {"size": 51}, "5.3.4"),
        ((), {"eight_bit": True}, "5.6.3"),
        (("8BITMIME",), {"utf8": True}, "5.6.7"),
        (("CHUNKING",), {"binary": True}, "5.6.3"),
    ],
)
def test_a_server_that_lacks_what_is_declared_is_not_asked(
    offers: tuple[str, ...], declared: dict[str, Any], enhanced: str
) -> None:
    values: dict[str, Any] = {"size": None, "eight_bit": "refuse", "utf8": None, "binary": False} | declared
    stage = Stage((), offers)
    failed = stage.fail(BOTH, declared=Message.declared(**values))
    assert failed.reply is not None
    assert (failed.reply.local, str(failed.reply.enhanced)) == (True, enhanced)
    assert [(o.status, o.reply) for o in failed.delivery.outcomes] == [(R, failed.reply)] * 2
    assert stage.verbs == ["EHLO"]


def test_what_is_lacking_on_a_connection_used_before_is_found_before_mail() -> None:
    stage = Stage()
    stage.begin(BOTH).send()
    failed = stage.fail(BOTH, declared=Message.declared(size=None, eight_bit=True, utf8=None, binary=False))
    assert [attempt.phase for attempt in failed.delivery.attempts] == [Phase.MAIL]


def test_recipients_beyond_a_limit_are_rejected_too_where_the_server_lacks_what_is_declared() -> None:
    declared = Message.declared(size=None, eight_bit=True, utf8=None, binary=False)
    failed = Stage((), ("LIMITS RCPTMAX=1",)).fail(BOTH, declared=declared)
    assert [outcome.status for outcome in failed.delivery.outcomes] == [R, R]


def test_another_server_may_have_what_one_lacks() -> None:
    second = ModelServer(extensions=["8BITMIME"])
    stage = Stage(second=second)
    declared = Message.declared(size=None, eight_bit=True, utf8=None, binary=False)
    steps = stage.begin(BOTH, declared)
    steps.send(EIGHT_BIT)
    assert statuses(steps) == [D, D]
    assert second.messages[0].content == EIGHT_BIT


def test_a_server_that_lacks_it_says_less_than_one_that_cannot_be_reached() -> None:
    declared = Message.declared(size=None, eight_bit=True, utf8=None, binary=False)
    failed = Stage(second=TransportError("connection refused")).fail(BOTH, declared=declared)
    assert failed.reply is not None
    assert str(failed.reply.enhanced) == "4.4.1"
    assert [outcome.status for outcome in failed.delivery.outcomes] == [F, F]
    assert len(failed.delivery.attempts) == 2


def eight_bit_mail() -> EmailMessage:
    mail = EmailMessage()
    mail["Subject"] = "hello"
    mail.set_content("grüße", cte="8bit")
    return mail


def utf8_mail() -> EmailMessage:
    mail = EmailMessage()
    mail["To"] = "δοκιμή@y.example"
    mail.set_content("hello")
    return mail


FITTING: list[tuple[tuple[str, ...], dict[str, Any], Any, Status, str]] = [
    # offers, declared, message, status, what MAIL says of it
    ((), {}, MESSAGE, D, ""),
    (("SIZE 50",), {}, b"x" * 49, R, ""),
    (("SIZE 60",), {"size": 40}, b"x" * 58, D, "SIZE=40"),
    (("SIZE 50",), {}, Message([b"x" * 60], size=60), R, ""),
    ((), {}, EIGHT_BIT, R, ""),
    ((), {}, Message([EIGHT_BIT], eight_bit=True), R, ""),
    ((), {}, Message(EIGHT_BIT, eight_bit="send"), D, ""),
    ((), {"eight_bit": "send"}, EIGHT_BIT, D, ""),
    ((), {}, [MESSAGE], D, ""),
    ((), {}, [MESSAGE * 2000, EIGHT_BIT], R, ""),
    ((), {}, eight_bit_mail(), D, ""),
    (("8BITMIME",), {}, EIGHT_BIT, D, "BODY=8BITMIME"),
    (("8BITMIME",), {}, [MESSAGE * 2000, EIGHT_BIT], D, "BODY=8BITMIME"),
    (("8BITMIME",), {}, eight_bit_mail(), D, "BODY=8BITMIME"),
    (("8BITMIME",), {}, UTF8_HEADER, R, "BODY=8BITMIME"),
    (("8BITMIME",), {"utf8": False}, UTF8_HEADER, D, "BODY=8BITMIME"),
    (("8BITMIME",), {"utf8": False}, Message(UTF8_HEADER, utf8=True), R, "BODY=8BITMIME"),
    (("8BITMIME", "SMTPUTF8"), {}, UTF8_HEADER, R, "BODY=8BITMIME"),
    (("8BITMIME", "SMTPUTF8"), {}, utf8_mail(), R, "BODY=8BITMIME"),
    (("8BITMIME", "SMTPUTF8"), {"utf8": True}, utf8_mail(), D, "SMTPUTF8 BODY=8BITMIME"),
    (("8BITMIME", "SMTPUTF8"), {"utf8": True}, UTF8_HEADER, D, "SMTPUTF8 BODY=8BITMIME"),
    (("8BITMIME",), {"eight_bit": False}, MESSAGE, D, ""),
    (("CHUNKING", "BINARYMIME"), {"binary": True}, b"a\nb\rc", D, "BODY=BINARYMIME"),
    (("CHUNKING", "BINARYMIME"), {"binary": True}, [b"a\nb\r", b"c\xff" * 99999], D, "BODY=BINARYMIME"),
]


@pytest.mark.parametrize(("offers", "declared", "message", "status", "said"), FITTING)
def test_the_message_is_held_against_what_was_said_at_mail(
    offers: tuple[str, ...], declared: dict[str, Any], message: Any, status: Status, said: str
) -> None:
    values: dict[str, Any] = {"size": None, "eight_bit": "refuse", "utf8": None, "binary": False} | declared
    stage = Stage((), offers)
    steps = stage.begin(Envelope("a@x.example", [B]), Message.declared(**values))
    steps.name(C)
    steps.send(message)
    assert statuses(steps) == [status, status]
    assert stage.said[1].removeprefix("MAIL FROM:<a@x.example>").strip() == said
    if status is R:
        assert stage.server.messages == []
        assert all(outcome.reply.local for outcome in steps.delivery.outcomes)
    elif values["binary"]:
        sent = b"".join([message] if isinstance(message, bytes) else message)
        assert stage.server.messages[0].content == sent


@pytest.mark.parametrize(
    ("declared", "message", "why"),
    [
        ({}, Message(b"a\nb", line_ends="binary"), "that the message is binary must be declared before MAIL"),
        ({"eight_bit": False}, EIGHT_BIT, "the message was said to be 7bit and holds 8bit octets"),
        ({}, Message(MESSAGE, size=5), "the message was said to have 5 octets and has more"),
        ({}, Message([MESSAGE], size=5), "the message was said to have 5 octets and has more"),
        ({}, Message([MESSAGE], size=500), "the message was said to have 500 octets and has"),
    ],
)
def test_a_message_that_is_not_as_it_was_said_to_be_is_an_error_of_the_caller(
    declared: dict[str, Any], message: Any, why: str
) -> None:
    values: dict[str, Any] = {"size": None, "eight_bit": "refuse", "utf8": None, "binary": False} | declared
    stage = Stage((), ("8BITMIME", "CHUNKING", "BINARYMIME"))
    steps = stage.begin(BOTH, Message.declared(**values))
    with pytest.raises(LocalProtocolError, match=f"^{why}"):
        steps.send(message)
    assert statuses(steps) == [F, F]
    assert stage.server.messages == []
    assert len(steps.delivery.attempts) == 1
    with pytest.raises(LocalProtocolError, match="^the transaction is over$"):
        steps.name(B)


@pytest.mark.parametrize("before", [b"", MESSAGE * 3000], ids=["at once", "later"])
@OFFERS
def test_a_source_that_fails_is_the_callers_and_delivers_nothing(
    before: bytes, extensions: tuple[str, ...]
) -> None:
    class Broken(Exception):
        pass

    def source() -> Iterator[bytes]:
        yield before
        raise Broken

    stage = Stage((), extensions)
    steps = stage.begin(BOTH)
    with pytest.raises(Broken):
        steps.send(source())
    assert statuses(steps) == [F, F]
    assert stage.server.messages == []
    assert len(steps.delivery.attempts) == 1


def test_what_is_no_message_or_no_address_is_refused_and_the_transaction_goes_on() -> None:
    steps = Stage().begin(Envelope("a@x.example", [B]))
    nothing: Any = 5
    with pytest.raises(LocalProtocolError, match="^not a message: int$"):
        steps.send(nothing)
    with pytest.raises(LocalProtocolError):
        steps.name("c@y.example>\r\nDATA")
    steps.send()
    assert statuses(steps) == [D]


def test_progress_is_told() -> None:
    told: list[tuple[int, int | None]] = []

    def tell(seen: int, total: int | None) -> None:
        told.append((seen, total))

    Stage().begin(BOTH).send(BIG, tell)
    assert told[-1] == (len(BIG), len(BIG))


# What recipients need.


def test_parameters_of_recipients_go_out_where_they_are_offered() -> None:
    asked = Recipient(C, notify=("FAILURE",), orcpt="rfc822;d@z.example")
    stage = Stage((), ("PIPELINING", "DSN"))
    steps = stage.begin(Envelope("a@x.example", [B], ret="HDRS"))
    steps.name(asked)
    steps.send()
    assert stage.said[1:4] == [
        "MAIL FROM:<a@x.example> RET=HDRS",
        f"RCPT TO:<{B}>",
        f"RCPT TO:<{C}> NOTIFY=FAILURE ORCPT=rfc822;d@z.example",
    ]
    assert [outcome.notes for outcome in steps.delivery.outcomes] == [(), ()]


def test_parameters_that_are_not_offered_are_left_out_and_noted() -> None:
    stage = Stage()
    steps = stage.begin(Envelope("a@x.example", [Recipient(B, notify=("NEVER",))], ret="HDRS"))
    steps.name(Recipient(C, notify=("FAILURE",)))
    steps.send()
    assert statuses(steps) == [D, D]
    notify = "NOTIFY was left out: the server does not offer DSN"
    for outcome in steps.delivery.outcomes:
        assert outcome.notes == ("RET was left out: the server does not offer DSN", notify)


def test_a_recipient_whom_the_server_cannot_serve_is_rejected_and_the_others_go_on() -> None:
    stage = Stage()
    utf8 = "δοκιμή@y.example"
    steps = stage.begin(Envelope("a@x.example", [utf8, B]))
    reply = steps.name(utf8)
    assert (reply.local, str(reply.enhanced)) == (True, "5.6.7")
    assert steps.name(C).code == 250
    steps.send()
    assert statuses(steps) == [R, D, R, D]
    assert stage.server.messages[0].recipients == (B, C)


def test_requiretls_is_had_only_inside_of_verified_tls() -> None:
    envelope = Envelope("a@x.example", [B], requiretls=True)
    offers = ("STARTTLS", "REQUIRETLS")
    steps = Stage((), offers).begin(envelope)
    steps.send()
    assert statuses(steps) == [D]
    failed = Stage((), ("REQUIRETLS",)).fail(envelope)
    assert [str(outcome.reply.enhanced) for outcome in failed.delivery.outcomes] == ["5.7.30"]


# Other endpoints.


@pytest.mark.parametrize(
    ("rule", "failover", "tried"),
    [
        (on("connect").refuse(), "connect", 2),
        (on("greeting").reply(554, "no"), "connect", 2),
        (on("MAIL").reply(451, "later"), "connect", 1),
        (on("MAIL").reply(451, "later"), "transient", 2),
        (on("MAIL").reply(550, "no"), "transient", 1),
        (on("MAIL").close(), "connect", 1),
        (on("MAIL").close(), "transient", 2),
    ],
)
def test_another_endpoint_is_tried_where_failover_says_so(rule: Rule, failover: str, tried: int) -> None:
    second = ModelServer()
    stage = Stage([rule], second=second, failover={"connect", failover})
    steps = Steps(stage, BOTH)
    if tried == 1:
        with pytest.raises(DeliveryFailed):
            steps.begin()
    else:
        steps.begin()
        steps.send()
        assert statuses(steps) == [D, D]
        assert [str(attempt.endpoint) for attempt in steps.delivery.attempts] == [MX, MX2]
    assert len(second.messages) == tried - 1
    assert len(steps.delivery.attempts) == tried


def test_who_was_rejected_by_one_endpoint_is_not_named_at_another() -> None:
    second = ModelServer()
    rules = [on("RCPT", B).reply(550, "5.1.1 no"), on("RCPT", C).close()]
    stage = Stage(rules, second=second, failover={"connect", "transient"})
    steps = stage.begin(BOTH)
    steps.send()
    assert statuses(steps) == [R, D]
    assert second.messages[0].recipients == (C,)


def test_nobody_is_moved_once_it_has_begun() -> None:
    second = ModelServer()
    stage = Stage([on("DATA").close()], second=second, failover={"connect", "transient"})
    steps = stage.begin(BOTH)
    steps.send()
    assert statuses(steps) == [F, F]
    assert second.connections == []


def test_the_most_telling_of_the_endpoints_is_told() -> None:
    rules = [on("MAIL").reply(451, "4.3.0 later")]
    failed = Stage(
        rules, second=TransportError("connection refused"), failover={"connect", "transient"}
    ).fail(BOTH)
    assert failed.reply is not None
    assert failed.reply.text == "4.3.0 later"
    assert {outcome.reply.text for outcome in failed.delivery.outcomes} == {"4.3.0 later"}
    assert len(failed.delivery.attempts) == 2


# Credentials.


def forwarding_stage(rules: tuple[Rule, ...] = (), **more: Any) -> Stage:
    server = ModelServer(
        extensions=["PIPELINING", "AUTH PLAIN", *more.pop("offers", ())],
        rules=rules,
        users={"me": "s3cret-word"},
        require_auth=True,
    )
    return Stage(server=server, auth=Auth.forward(), insecure_auth=True, **more)


def test_forwarded_credentials_open_the_session() -> None:
    stage = forwarding_stage()
    steps = stage.begin(BOTH, credentials=Credentials("me", "s3cret-word"))
    steps.send()
    assert statuses(steps) == [D, D]
    assert steps.delivery.attempts[0].user == "me"


@pytest.mark.parametrize("envelope", [NOBODY_YET, BOTH], ids=["nobody", "both"])
def test_without_credentials_nothing_is_connected(envelope: Envelope) -> None:
    stage = forwarding_stage()
    failed = stage.fail(envelope)
    assert failed.reply is not None
    assert (failed.reply.code, str(failed.reply.enhanced), failed.reply.local) == (530, "5.7.0", True)
    assert {outcome.status for outcome in failed.delivery.outcomes} <= {R}
    assert failed.delivery.attempts == ()
    assert stage.connections == 0


def test_credentials_that_are_refused_are_said_so() -> None:
    failed = forwarding_stage().fail(BOTH, credentials=Credentials("me", "wrong-word"))
    assert failed.reply is not None
    assert failed.reply.code == 535
    assert [outcome.status for outcome in failed.delivery.outcomes] == [R, R]


def test_a_connection_is_not_shared_between_credentials() -> None:
    server = ModelServer(
        extensions=["PIPELINING", "AUTH PLAIN"], users={"me": "s3cret-word", "you": "0ther-word"}
    )
    stage = Stage(server=server, auth=Auth.forward(), insecure_auth=True)
    stage.begin(BOTH, credentials=Credentials("me", "s3cret-word")).send()
    stage.begin(BOTH, credentials=Credentials("you", "0ther-word")).send()
    assert len(server.messages) == stage.connections == 2


# Relaying for a client.

CLIENT = (("NAME", "client.example"), ("ADDR", "198.51.100.7"))
FOR_CLIENT = Envelope("a@x.example", [B], client=CLIENT)


@pytest.mark.parametrize("offer", ["XFORWARD NAME ADDR", "XCLIENT NAME ADDR"])
def test_the_client_is_named_before_mail(offer: str) -> None:
    stage = Stage((), ("PIPELINING", offer))
    steps = stage.begin(FOR_CLIENT)
    steps.name(C)
    steps.send()
    assert statuses(steps) == [D, D]
    verb = offer.split()[0]
    assert stage.said[1] == f"{verb} NAME=client.example ADDR=198.51.100.7"
    assert stage.server.violations == []


def test_a_client_that_cannot_be_named_is_noted() -> None:
    steps = Stage().begin(FOR_CLIENT)
    steps.send()
    [outcome] = steps.delivery.outcomes
    assert outcome.status is D
    assert "neither XFORWARD nor XCLIENT" in outcome.notes[0]


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        (on("XFORWARD").close(), 421),
        (on("XFORWARD").reply(421, "4.3.2 bye").close(), 421),
        (on("XFORWARD").say(b"hello\r\n"), 421),
    ],
    ids=["close", "421", "junk"],
)
@pytest.mark.parametrize(
    "envelope", [FOR_CLIENT, Envelope("a@x.example", client=CLIENT)], ids=["b", "nobody"]
)
def test_a_connection_lost_while_the_client_is_named_defers(
    rule: Rule, code: int, envelope: Envelope
) -> None:
    failed = Stage([rule], ("XFORWARD NAME ADDR",)).fail(envelope)
    assert failed.reply is not None
    assert failed.reply.code == code
    assert {outcome.status for outcome in failed.delivery.outcomes} <= {F}
    assert len(failed.delivery.attempts) == 1


def test_an_idle_connection_found_dead_while_the_client_is_named_is_replaced_unseen() -> None:
    stage = Stage([on("XFORWARD", connection=1, occurrence=2).close()], ("XFORWARD NAME ADDR",))
    stage.begin(FOR_CLIENT).send()
    steps = stage.begin(FOR_CLIENT)
    steps.send()
    assert statuses(steps) == [D]
    assert stage.connections == 2


@pytest.mark.parametrize(
    "envelope", [FOR_CLIENT, Envelope("a@x.example", client=CLIENT)], ids=["b", "nobody"]
)
@pytest.mark.parametrize(("code", "status"), [(535, R), (454, F)])
@pytest.mark.parametrize(
    "failover", [{"connect", "transient"}, {"connect", "auth"}], ids=["transient", "auth"]
)
def test_credentials_that_are_refused_after_xclient_are_said_so(
    failover: set[str], code: int, status: Status, envelope: Envelope
) -> None:
    second = TransportError("connection refused")
    again = on("AUTH", occurrence=2).reply(code, "no")
    stage = forwarding_stage((again,), offers=("XCLIENT NAME ADDR",), second=second, failover=failover)
    failed = stage.fail(envelope, credentials=Credentials("me", "s3cret-word"))
    assert failed.reply is not None
    assert (failed.reply.code, str(failed)[: len(status.value)]) == (code, status.value)
    assert {outcome.status for outcome in failed.delivery.outcomes} <= {status}
    assert len(failed.delivery.attempts) == (2 if "auth" in failover else 1)


@pytest.mark.parametrize(("word", "tried"), [("auth", 1), ("transient", 2)])
def test_a_connection_that_is_lost_after_xclient_is_no_refusal_of_credentials(word: str, tried: int) -> None:
    second = TransportError("connection refused")
    again = on("AUTH", occurrence=2).close()
    stage = forwarding_stage(
        (again,), offers=("XCLIENT NAME ADDR",), second=second, failover={"connect", word}
    )
    failed = stage.fail(FOR_CLIENT, credentials=Credentials("me", "s3cret-word"))
    assert len(failed.delivery.attempts) == tried


def test_a_server_that_cannot_be_believed_after_xclient_defers() -> None:
    rule = on("AUTH", occurrence=2).say(b"hello\r\n")
    stage = forwarding_stage((rule,), offers=("XCLIENT NAME ADDR",))
    failed = stage.fail(FOR_CLIENT, credentials=Credentials("me", "s3cret-word"))
    assert [outcome.status for outcome in failed.delivery.outcomes] == [F]
    assert isinstance(failed.delivery.attempts[0].error, RemoteProtocolError)


def test_a_look_between_the_steps_costs_no_turn() -> None:
    stage = Stage((), EXTENSIONS["chunking"])
    steps = stage.begin(Envelope("a@x.example", [B]))
    before = stage.playground.turns
    steps.name(C)
    steps.send()
    assert stage.playground.turns - before == 2
    assert sum(isinstance(request, Poll) for request in stage.playground.requests) == 2
