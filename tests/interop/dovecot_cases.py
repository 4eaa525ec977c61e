"""Messages to Dovecot, by LMTP and by submission, and what is in the mailboxes afterwards."""

from __future__ import annotations

import pytest

from adapters.directives import D, F, R, deliver, only_outcome, statuses
from adapters.runtimes import Runtime
from interop.daemons import HOST, USERS
from interop.dovecot import ALICE, BOB, BROKEN, FULL, UNKNOWN, Dovecot
from interop.identities import Identities
from interop.mailboxes import BODY, check_stored_once, new_message, stored
from interop.postfix import Postfix
from smtpstate import Envelope

SENDER = "sender@client.example"
ALICES = f"alice {USERS['alice']}"


@pytest.mark.parametrize("directives", ["", "pipelining no", "chunking no", "pipelining no\nchunking no"])
@pytest.mark.parametrize("server", ["lmtp_socket", "lmtp", "lmtps"])
def test_a_message_is_stored_once_and_as_it_was(
    runtime: Runtime, dovecot: Dovecot, trusting: str, server: str, directives: str
) -> None:
    message = new_message()
    delivery = deliver(
        runtime,
        getattr(dovecot, server),
        f"{directives}\n{trusting}",
        protocol="lmtp",
        envelope=Envelope(SENDER, [ALICE, BOB]),
        message=message,
    )
    assert statuses(delivery) == [D, D]
    check_stored_once(dovecot.mailbox("alice"), message)
    check_stored_once(dovecot.mailbox("bob"), message)


@pytest.mark.parametrize("directives", ["", "pipelining no", "chunking no", "pipelining no\nchunking no"])
def test_each_recipient_has_a_reply_of_its_own(runtime: Runtime, dovecot: Dovecot, directives: str) -> None:
    message = new_message()
    delivery = deliver(
        runtime,
        dovecot.lmtp_socket,
        directives,
        protocol="lmtp",
        envelope=Envelope(SENDER, [ALICE, UNKNOWN, FULL, BROKEN, BOB, ALICE]),
        message=message,
    )
    assert statuses(delivery) == [D, R, R, F, D, D]
    assert [outcome.reply.code for outcome in delivery.outcomes] == [250, 550, 552, 451, 250, 250]
    phases = [outcome.phase.value for outcome in delivery.outcomes]
    assert phases == ["final", "rcpt", "final", "final", "final", "final"]
    check_stored_once(dovecot.mailbox("bob"), message)


@pytest.mark.parametrize(("server", "name"), [("lmtp", ""), ("lmtp_socket", HOST)])
def test_starttls_is_verified(
    runtime: Runtime, dovecot: Dovecot, identities: Identities, server: str, name: str
) -> None:
    server_name = f"server_name {name}\n" if name else ""
    directives = f"require_tls yes\ntls_client {{\n{server_name}root_ca {identities.root_ca}\n}}"
    message = new_message()
    delivery = deliver(
        runtime,
        getattr(dovecot, server),
        directives,
        protocol="lmtp",
        envelope=Envelope(SENDER, [ALICE]),
        message=message,
    )
    assert statuses(delivery) == [D]
    [attempt] = delivery.attempts
    assert attempt.tls is not None
    assert attempt.tls.verified
    check_stored_once(dovecot.mailbox("alice"), message)


@pytest.mark.parametrize("directives", ["", "chunking no"])
def test_a_large_message_arrives(runtime: Runtime, dovecot: Dovecot, directives: str) -> None:
    message = new_message(BODY * 14_000)  # some 16 MB
    delivery = deliver(
        runtime,
        dovecot.lmtp_socket,
        directives,
        protocol="lmtp",
        envelope=Envelope(SENDER, [ALICE]),
        message=message,
    )
    assert statuses(delivery) == [D]
    check_stored_once(dovecot.mailbox("alice"), message)


@pytest.mark.parametrize("kind", ["plain", "login", "scram", "auto", "xoauth2", "oauthbearer"])
@pytest.mark.parametrize("server", ["submission", "submissions"])
def test_a_login_is_accepted(
    runtime: Runtime, dovecot: Dovecot, postfix: Postfix, trusting: str, server: str, kind: str
) -> None:
    secret = dovecot.token if "oauth" in kind else USERS["alice"]
    message = new_message()
    delivery = deliver(
        runtime,
        getattr(dovecot, server),
        f"require_tls yes\nauth {kind} alice {secret}\n{trusting}",
        envelope=Envelope(SENDER, [ALICE]),
        message=message,
    )
    assert statuses(delivery) == [D]
    check_stored_once(postfix.mailbox("alice"), message)


@pytest.mark.parametrize("kind", ["plain", "login", "scram", "auto", "xoauth2", "oauthbearer"])
def test_a_wrong_secret_defers(runtime: Runtime, dovecot: Dovecot, trusting: str, kind: str) -> None:
    secret = dovecot.expired_token if "oauth" in kind else "not-this"
    outcome = only_outcome(
        deliver(
            runtime,
            dovecot.submission,
            f"require_tls yes\nauth {kind} alice {secret}\n{trusting}",
            envelope=Envelope(SENDER, [ALICE]),
            message=new_message(),
        )
    )
    assert (outcome.status, outcome.phase.value, outcome.reply.code) == (F, "auth", 535)


@pytest.mark.parametrize("known", [True, False])
def test_a_certificate_is_a_login(
    runtime: Runtime, dovecot: Dovecot, postfix: Postfix, identities: Identities, known: bool
) -> None:
    ours = identities.client if known else identities.stranger
    options = f"root_ca {identities.root_ca}\ncert {ours.cert}\nkey {ours.key}"
    message = new_message()
    delivery = deliver(
        runtime,
        dovecot.submission,
        f"require_tls yes\nauth external\ntls_client {{\n{options}\n}}",
        envelope=Envelope(SENDER, [ALICE]),
        message=message,
    )
    assert statuses(delivery) == ([D] if known else [F])
    assert len(stored(postfix.mailbox("alice"), message)) == known
