"""Recipients are split as a server's limits ask for, and in no other way."""

from __future__ import annotations

import pytest

from smtpstate import Envelope, Limits, TargetConfig
from smtpstate._capabilities import Capabilities
from smtpstate._commands import Protocol
from smtpstate._endpoints import Endpoint
from smtpstate._link import Link
from smtpstate._split import admits, next_batch

RECIPIENTS = ["b@y.example", "c@Y.example", "d@z.example", "postmaster", "e@w.example", "b@y.example"]
ENVELOPE = Envelope("a@x.example", RECIPIENTS)
EVERYONE = list(range(len(RECIPIENTS)))


def link(*limits: str) -> Link:
    timeouts = TargetConfig(targets=["tcp://mx.example:25"]).timeouts
    made = Link(
        Endpoint("tcp", "mx.example", 25),
        Protocol.SMTP,
        clock=lambda: 0.0,
        timeouts=timeouts,
        limits=Limits(),
    )
    made.conn.capabilities = Capabilities({"LIMITS": limits} if limits else {})
    return made


@pytest.mark.parametrize("limits", [(), ("MAILMAX=1",), ("RCPTMAX=6",), ("RCPTMAX=0",), ("RCPTMAX=many",)])
def test_without_a_limit_in_the_way_everyone_goes_at_once(limits: tuple[str, ...]) -> None:
    made = link(*limits)
    assert next_batch(made, ENVELOPE, EVERYONE) == (EVERYONE, [])
    assert not made.exhausted


def test_a_transaction_has_no_more_recipients_than_rcptmax() -> None:
    made = link("RCPTMAX=4")
    assert next_batch(made, ENVELOPE, EVERYONE) == ([0, 1, 2, 3], [4, 5])
    assert next_batch(made, ENVELOPE, [4, 5]) == ([4, 5], [])


def test_a_session_has_no_more_domains_than_rcptdomainmax() -> None:
    made = link("RCPTDOMAINMAX=2")
    assert next_batch(made, ENVELOPE, EVERYONE) == ([0, 1, 2, 5], [3, 4])
    assert not made.exhausted
    assert next_batch(made, ENVELOPE, [3, 4]) == ([], [3, 4])
    assert made.exhausted
    assert made.spent


def test_domains_of_earlier_transactions_count() -> None:
    made = link("RCPTDOMAINMAX=1")
    assert next_batch(made, ENVELOPE, [2]) == ([2], [])
    assert next_batch(made, ENVELOPE, EVERYONE) == ([2], [0, 1, 3, 4, 5])


def test_both_limits_hold_together() -> None:
    made = link("RCPTMAX=2", "RCPTDOMAINMAX=2")
    assert next_batch(made, ENVELOPE, EVERYONE) == ([0, 1], [2, 3, 4, 5])
    assert next_batch(made, ENVELOPE, [2, 3, 4, 5]) == ([2, 5], [3, 4])
    assert next_batch(made, ENVELOPE, [3, 4]) == ([], [3, 4])


def test_nobody_is_lost_by_splitting() -> None:
    waiting, seen = EVERYONE, list[int]()
    sessions = 0
    while waiting:
        made, sessions = link("RCPTMAX=2", "RCPTDOMAINMAX=1"), sessions + 1
        while waiting and not made.exhausted:
            batch, waiting = next_batch(made, ENVELOPE, waiting)
            seen += batch
    assert sorted(seen) == EVERYONE
    assert sessions == 4


def test_one_at_a_time_a_recipient_joins_as_long_as_there_is_room() -> None:
    made = link("RCPTMAX=2")
    assert admits(made, "b@y.example", beside=0)
    assert admits(made, "c@y.example", beside=1)
    assert not admits(made, "d@y.example", beside=2)
    assert admits(link(), "b@y.example", beside=99999)


def test_the_domain_of_who_joins_counts_from_then_on_and_of_who_does_not_never() -> None:
    made = link("RCPTMAX=2", "RCPTDOMAINMAX=2")
    assert not admits(made, "b@w.example", beside=2)
    assert admits(made, "b@y.example", beside=0)
    assert admits(made, "b@Y.EXAMPLE", beside=1)
    assert admits(made, "postmaster", beside=1)
    assert not admits(made, "b@z.example", beside=0)
    assert made.domains == {"y.example", ""}
    assert not made.exhausted
