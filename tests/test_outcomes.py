"""Outcomes: what became of a recipient, and what may be done about it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpstate._outcomes import Outcome, Phase, Status
from smtpstate._replies import Reply
from strategies import hostile_text, replies


def outcome(status: Status, reply: Reply | None = None, recipient: str = "b@y") -> Outcome:
    return Outcome(recipient=recipient, status=status, reply=reply or Reply(250, (b"ok",)), phase=Phase.FINAL)


def test_an_outcome_is_one_of_four() -> None:
    assert [status.name for status in Status] == ["DELIVERED", "DEFERRED", "REJECTED", "UNCERTAIN"]


@pytest.mark.parametrize("status", Status)
def test_retrying_is_safe_and_of_use_exactly_where_the_outcome_is_deferred(status: Status) -> None:
    assert outcome(status).may_retry is (status is Status.DEFERRED)


def test_the_phases_are_in_the_order_in_which_they_come() -> None:
    order = ["connect", "greeting", "hello", "tls", "auth", "mail", "rcpt", "data", "content", "final"]
    assert [phase.value for phase in Phase] == order


def test_an_outcome_reads_as_who_what_and_why() -> None:
    refused = Reply(550, (b"5.1.1 no such", b"user"))
    assert str(outcome(Status.REJECTED, refused)) == "b@y: rejected: 550 5.1.1 no such / user"


@given(replies, st.sampled_from(Status), hostile_text)
def test_an_outcome_can_be_printed_whatever_the_server_said_and_whoever_it_is_of(
    reply: Reply, status: Status, recipient: str
) -> None:
    assert str(outcome(status, reply, recipient)).isprintable()


def test_nothing_was_tried_where_there_is_no_endpoint() -> None:
    local = outcome(Status.REJECTED)
    assert local.endpoint is None
    assert local.error is None
    assert local.notes == ()
