"""Queues, transactions step by step, and credentials alone, with Postfix and Dovecot."""

from __future__ import annotations

import pytest

from adapters.alike import run, target_of
from adapters.directives import D, R, config_of, statuses
from adapters.runtimes import Runtime
from interop.daemons import DOMAIN, USERS
from interop.dovecot import Dovecot
from interop.mailboxes import check_stored_once, new_message, stored
from interop.postfix import Postfix
from smtpstate import Credentials, Delivery, Envelope

ALICE, BOB, UNKNOWN = (f"{user}@{DOMAIN}" for user in ("alice", "bob", "nobody-here"))
SENDER = "sender@client.example"
MANY = 40


@pytest.mark.parametrize(
    "directives", ["", "chunking no", "pipelining no", "max_messages 7", "max_connections 1"]
)
def test_each_message_of_a_queue_is_stored_once(
    runtime: Runtime, postfix: Postfix, trusting: str, directives: str
) -> None:
    messages = [new_message() for _ in range(MANY)]
    queue = [Delivery(Envelope(SENDER, [ALICE, UNKNOWN]), message) for message in messages]

    async def main() -> list[Delivery]:
        config = config_of(postfix.mx, f"{directives}\n{trusting}")
        async with target_of(runtime, config) as target, target.deliver_many(queue, ahead=8) as results:
            return [delivery async for delivery in results]

    given = run(runtime, main)
    assert sorted(map(id, given)) == sorted(map(id, queue))
    assert [statuses(delivery) for delivery in queue] == [[D, R]] * MANY
    for message in messages:
        check_stored_once(postfix.mailbox("alice"), message)


def test_a_queue_by_lmtp_is_stored_once(runtime: Runtime, dovecot: Dovecot) -> None:
    messages = [new_message() for _ in range(MANY)]
    queue = [Delivery(Envelope(SENDER, [ALICE, BOB]), message) for message in messages]

    async def main() -> None:
        config = config_of(dovecot.lmtp, protocol="lmtp")
        async with target_of(runtime, config) as target, target.deliver_many(queue) as results:
            async for _ in results:
                pass

    run(runtime, main)
    assert [statuses(delivery) for delivery in queue] == [[D, D]] * MANY
    for message in messages:
        check_stored_once(dovecot.mailbox("alice"), message)
        check_stored_once(dovecot.mailbox("bob"), message)


def test_step_by_step_each_answer_is_the_servers(runtime: Runtime, postfix: Postfix, trusting: str) -> None:
    message, left = new_message(), new_message()

    async def main() -> list[int]:
        async with target_of(runtime, config_of(postfix.mx, trusting)) as target:
            async with target.transaction(Envelope(SENDER)) as steps:
                await steps.recipient(ALICE)  # and left: nothing of it is delivered
            async with target.transaction(Envelope(SENDER), size=len(left)) as steps:
                replies = [await steps.recipient(name) for name in (UNKNOWN, ALICE, BOB)]
                delivery = await steps.content(message)
            assert statuses(delivery) == [R, D, D]
            return [steps.reply.code, *(reply.code for reply in replies)]

    assert run(runtime, main) == [250, 550, 250, 250]
    check_stored_once(postfix.mailbox("alice"), message)
    check_stored_once(postfix.mailbox("bob"), message)
    assert stored(postfix.mailbox("alice"), left) == []


def test_credentials_are_tried_alone(runtime: Runtime, postfix: Postfix, trusting: str) -> None:
    async def main() -> list[int]:
        config = config_of(postfix.submission, f"require_tls yes\nauth forward\n{trusting}")
        async with target_of(runtime, config) as target:
            tried = [Credentials("alice", USERS["alice"]), Credentials("alice", "not-this")]
            return [(await target.authenticate(credentials)).code for credentials in tried]

    assert run(runtime, main) == [235, 535]
