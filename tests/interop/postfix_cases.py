"""Messages to Postfix, and what is in the mailboxes afterwards."""

from __future__ import annotations

import itertools

import pytest

from adapters.directives import D, F, R, config_of, deliver, deliver_in_turn, only_outcome, statuses
from adapters.runtimes import Runtime
from interop.daemons import DOMAIN, USERS
from interop.mailboxes import BODY, check_stored_once, new_message, stored
from interop.postfix import Postfix
from smtpstate import Credentials, Envelope

ALICE, BOB = f"alice@{DOMAIN}", f"bob@{DOMAIN}"
UNKNOWN, BUSY = f"nobody-here@{DOMAIN}", f"busy@{DOMAIN}"
SENDER = "sender@client.example"
ALICES = f"alice {USERS['alice']}"


@pytest.mark.parametrize(
    "directives", ["", "pipelining no", "chunking no", "pipelining no\nchunking no", "attempt_starttls no"]
)
def test_a_message_is_stored_once_and_as_it_was(
    runtime: Runtime, postfix: Postfix, trusting: str, directives: str
) -> None:
    message = new_message()
    delivery = deliver(
        runtime,
        postfix.mx,
        f"{directives}\n{trusting}",
        envelope=Envelope(SENDER, [ALICE, BOB]),
        message=message,
    )
    assert statuses(delivery) == [D, D]
    check_stored_once(postfix.mailbox("alice"), message)
    check_stored_once(postfix.mailbox("bob"), message)


@pytest.mark.parametrize(("directive", "chunked"), [("", True), ("chunking no", False)])
def test_chunking_is_used_where_it_is_wanted(
    runtime: Runtime, postfix: Postfix, trusting: str, directive: str, chunked: bool
) -> None:
    envelope = Envelope(SENDER, [ALICE])
    outcome = only_outcome(
        deliver(runtime, postfix.mx, f"{directive}\n{trusting}", envelope=envelope, message=new_message())
    )
    # Of a message that came in chunks, Postfix says how long it was.
    assert ("bytes queued" in str(outcome.reply)) == chunked


def test_recipients_that_are_refused_do_not_hold_up_the_others(
    runtime: Runtime, postfix: Postfix, trusting: str
) -> None:
    message = new_message()
    envelope = Envelope(SENDER, [UNKNOWN, ALICE, BUSY, "someone@elsewhere.example"])
    delivery = deliver(runtime, postfix.mx, trusting, envelope=envelope, message=message)
    assert statuses(delivery) == [R, D, F, R]
    assert [outcome.reply.code for outcome in delivery.outcomes] == [550, 250, 450, 554]
    check_stored_once(postfix.mailbox("alice"), message)


def test_nobody_left_means_that_nothing_is_sent(runtime: Runtime, postfix: Postfix, trusting: str) -> None:
    message = new_message()
    envelope = Envelope(SENDER, [UNKNOWN, BUSY])
    delivery = deliver(runtime, postfix.mx, trusting, envelope=envelope, message=message)
    assert statuses(delivery) == [R, F]
    assert stored(postfix.mailbox("alice"), message) == []


@pytest.mark.parametrize(("how", "code"), [("for good", 550), ("for now", 451)])
def test_a_message_is_refused_after_its_end(
    runtime: Runtime, postfix: Postfix, trusting: str, how: str, code: int
) -> None:
    message = new_message(BODY, f"X-Refuse: {how}")
    envelope = Envelope(SENDER, [ALICE, BOB])
    outcome = only_outcome(deliver(runtime, postfix.mx, trusting, envelope=envelope, message=message))
    assert (outcome.status, outcome.reply.code) == (R if code == 550 else F, code)
    assert stored(postfix.mailbox("alice"), message) == []


@pytest.mark.parametrize("server", ["mx", "smtps"])
def test_tls_is_verified(runtime: Runtime, postfix: Postfix, trusting: str, server: str) -> None:
    message = new_message()
    endpoint: str = getattr(postfix, server)
    envelope = Envelope(SENDER, [ALICE])
    delivery = deliver(runtime, endpoint, f"require_tls yes\n{trusting}", envelope=envelope, message=message)
    assert statuses(delivery) == [D]
    [attempt] = delivery.attempts
    assert attempt.tls is not None
    assert attempt.tls.verified
    check_stored_once(postfix.mailbox("alice"), message)


def test_a_certificate_for_another_name_ends_the_endpoint_where_tls_is_required(
    runtime: Runtime, postfix: Postfix, trusting: str
) -> None:
    message = new_message()
    envelope = Envelope(SENDER, [ALICE])
    delivery = deliver(
        runtime, postfix.other, f"require_tls yes\n{trusting}", envelope=envelope, message=message
    )
    outcome = only_outcome(delivery)
    assert (outcome.status, outcome.phase.value, str(outcome.reply.enhanced)) == (F, "tls", "4.7.5")
    assert stored(postfix.mailbox("alice"), message) == []


def test_a_certificate_for_another_name_is_settled_for_otherwise(
    runtime: Runtime, postfix: Postfix, trusting: str
) -> None:
    message = new_message()
    envelope = Envelope(SENDER, [ALICE])
    delivery = deliver(runtime, postfix.other, trusting, envelope=envelope, message=message)
    assert statuses(delivery) == [D]
    assert [attempt.tls is not None for attempt in delivery.attempts] == [False, True]
    check_stored_once(postfix.mailbox("alice"), message)


@pytest.mark.parametrize(
    ("server", "kind"),
    [
        *itertools.product(["submission", "smtps"], ["plain", "login", "scram", "auto"]),
        ("cram", "auto"),
        ("scram", "auto"),
        ("scram", "scram"),
    ],
)
def test_a_login_is_accepted(
    runtime: Runtime, postfix: Postfix, trusting: str, server: str, kind: str
) -> None:
    message = new_message()
    directives = f"require_tls yes\nauth {kind} {ALICES}\n{trusting}"
    envelope = Envelope(SENDER, [ALICE])
    delivery = deliver(runtime, getattr(postfix, server), directives, envelope=envelope, message=message)
    assert statuses(delivery) == [D]
    assert [attempt.user for attempt in delivery.attempts] == ["alice"]
    check_stored_once(postfix.mailbox("alice"), message)


def test_a_login_in_clear_needs_leave(runtime: Runtime, postfix: Postfix) -> None:
    message = new_message()
    envelope = Envelope(SENDER, [ALICE])
    refused = deliver(runtime, postfix.plain, f"auth auto {ALICES}", envelope=envelope, message=message)
    assert (statuses(refused), refused.outcomes[0].phase.value) == ([F], "auth")
    directives = f"auth auto {ALICES}\ninsecure_auth yes"
    assert statuses(deliver(runtime, postfix.plain, directives, envelope=envelope, message=message)) == [D]
    check_stored_once(postfix.mailbox("alice"), message)


@pytest.mark.parametrize("kind", ["plain", "login", "scram", "auto"])
def test_a_wrong_password_defers(runtime: Runtime, postfix: Postfix, trusting: str, kind: str) -> None:
    directives = f"require_tls yes\nauth {kind} alice not-this\n{trusting}"
    message = new_message()
    envelope = Envelope(SENDER, [ALICE])
    outcome = only_outcome(
        deliver(runtime, postfix.submission, directives, envelope=envelope, message=message)
    )
    assert (outcome.status, outcome.phase.value, outcome.reply.code) == (F, "auth", 535)
    assert stored(postfix.mailbox("alice"), message) == []


def test_a_wrong_password_of_the_senders_own_rejects(
    runtime: Runtime, postfix: Postfix, trusting: str
) -> None:
    outcome = only_outcome(
        deliver(
            runtime,
            postfix.submission,
            f"require_tls yes\nauth forward\n{trusting}",
            envelope=Envelope(SENDER, [ALICE]),
            message=new_message(),
            credentials=Credentials("alice", "not-this"),
        )
    )
    assert (outcome.status, outcome.phase.value, outcome.reply.code) == (R, "auth", 535)


def test_a_server_that_knows_no_ehlo_is_served(runtime: Runtime, postfix: Postfix) -> None:
    message = new_message(b"seven bits\r\n")
    envelope = Envelope(SENDER, [ALICE])
    assert statuses(deliver(runtime, postfix.old, envelope=envelope, message=message)) == [D]
    check_stored_once(postfix.mailbox("alice"), message)


def test_an_address_in_greek_is_reached(runtime: Runtime, postfix: Postfix, trusting: str) -> None:
    message = new_message()
    envelope = Envelope(SENDER, [f"δοκιμή@{DOMAIN}"])
    assert statuses(deliver(runtime, postfix.mx, trusting, envelope=envelope, message=message)) == [D]
    check_stored_once(postfix.mailbox("bob"), message)


@pytest.mark.parametrize("directives", ["", "pipelining no"])
def test_more_recipients_than_a_transaction_may_have_are_split(
    runtime: Runtime, postfix: Postfix, trusting: str, directives: str
) -> None:
    message = new_message()
    recipients = [f"alice+{n}@{DOMAIN}" for n in range(1100)]
    delivery = deliver(
        runtime,
        postfix.mx,
        f"{directives}\n{trusting}",
        envelope=Envelope(SENDER, recipients),
        message=message,
    )
    assert statuses(delivery) == [D] * 1100
    assert len({str(outcome.reply) for outcome in delivery.outcomes}) == 2
    copies = stored(postfix.mailbox("alice"), message)
    assert all(copy.endswith(message) for copy in copies)
    reached = sorted(copy.partition(b"Delivered-To: ")[2].partition(b"\r\n")[0].decode() for copy in copies)
    assert reached == sorted(recipients)


@pytest.mark.parametrize("directives", ["", "chunking no", "pipelining no", "attempt_starttls no"])
def test_a_large_message_arrives(runtime: Runtime, postfix: Postfix, trusting: str, directives: str) -> None:
    message = new_message(BODY * 14_000)  # some 16 MB
    envelope = Envelope(SENDER, [ALICE])
    delivery = deliver(runtime, postfix.mx, f"{directives}\n{trusting}", envelope=envelope, message=message)
    assert statuses(delivery) == [D]
    check_stored_once(postfix.mailbox("alice"), message)


def test_a_message_beyond_the_servers_limit_is_not_begun(
    runtime: Runtime, postfix: Postfix, trusting: str
) -> None:
    message = new_message(b"x" * 998 + b"\r\n" * 21_000_000)
    envelope = Envelope(SENDER, [ALICE])
    outcome = only_outcome(deliver(runtime, postfix.mx, trusting, envelope=envelope, message=message))
    assert (outcome.status, str(outcome.reply.enhanced)) == (R, "5.3.4")
    assert outcome.reply.local


@pytest.mark.parametrize(
    ("server", "pause", "connections"),
    [("mx", 0.0, 1), ("hasty", 2.0, 3)],
    ids=["kept", "ended by the server"],
)
def test_a_connection_is_kept_for_the_next_message(
    runtime: Runtime, postfix: Postfix, trusting: str, server: str, pause: float, connections: int
) -> None:
    """Where the server ends it meanwhile nobody notices, and nothing is sent twice."""
    message = new_message()
    config = config_of(getattr(postfix, server), f"require_tls yes\n{trusting}")
    before = (postfix.path / "log").read_text(errors="replace").count(": connect from")
    deliveries = deliver_in_turn(
        runtime, config, 3, envelope=Envelope(SENDER, [ALICE]), message=message, pause=pause
    )
    assert [statuses(delivery) for delivery in deliveries] == [[D]] * 3
    assert len(stored(postfix.mailbox("alice"), message)) == 3
    after = (postfix.path / "log").read_text(errors="replace").count(": connect from")
    assert after - before == connections
