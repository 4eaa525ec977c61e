"""Messages to servers that misbehave on purpose: Postfix's own test server, one fault at a time."""

from __future__ import annotations

import pytest

from adapters.directives import (
    ENVELOPE,
    MESSAGE,
    D,
    F,
    R,
    U,
    config_of,
    deliver,
    deliver_in_turn,
    only_outcome,
    statuses,
)
from adapters.runtimes import Runtime
from interop.postfix import sink
from smtpstate import Status

FAULTS: list[tuple[list[str], Status, str]] = [
    ([], D, "final"),
    (["-e"], D, "final"),  # no ESMTP
    (["-p"], D, "final"),  # no PIPELINING
    (["-P"], D, "final"),  # a firewall that meddles with the greeting
    (["-f", "CONNECT"], F, "greeting"),
    (["-f", "EHLO"], D, "final"),
    (["-f", "MAIL"], R, "mail"),
    (["-r", "MAIL"], F, "mail"),
    (["-f", "RCPT"], R, "rcpt"),
    (["-r", "RCPT"], F, "rcpt"),
    (["-f", "DATA"], R, "data"),
    (["-r", "DATA"], F, "data"),
    (["-f", "."], R, "final"),
    (["-r", "."], F, "final"),
    (["-Q", "CONNECT"], F, "greeting"),
    (["-Q", "RCPT"], F, "rcpt"),
    (["-Q", "."], F, "final"),
    (["-q", "EHLO"], F, "hello"),
    (["-q", "MAIL"], F, "mail"),
    (["-q", "DATA"], F, "data"),
    (["-q", "."], U, "final"),
    (["-q", "QUIT"], D, "final"),
    (["-w", "1"], D, "final"),  # slow to answer DATA
    (["-H", "1"], D, "final"),  # slow to read the message
]


@pytest.mark.parametrize(("options", "status", "phase"), FAULTS, ids=lambda value: str(value))
def test_a_server_that_misbehaves_has_its_outcome(
    runtime: Runtime, options: list[str], status: Status, phase: str
) -> None:
    with sink(*options) as endpoint:
        outcome = only_outcome(deliver(runtime, endpoint, envelope=ENVELOPE, message=MESSAGE))
    assert (outcome.status, outcome.phase.value) == (status, phase), outcome


@pytest.mark.parametrize(
    ("options", "status"), [([], D), (["-f", "."], R), (["-r", "."], F), (["-q", "."], U)], ids=repr
)
def test_lmtp_is_spoken_too(runtime: Runtime, options: list[str], status: Status) -> None:
    with sink("-L", *options) as endpoint:
        delivery = deliver(runtime, endpoint, protocol="lmtp", envelope=ENVELOPE, message=MESSAGE)
    assert [outcome.status for outcome in delivery.outcomes] == [status] * 2


@pytest.mark.parametrize("protocol", ["smtp", "lmtp"])
def test_a_connection_carries_one_message_after_the_other(runtime: Runtime, protocol: str) -> None:
    with sink(*(["-L"] if protocol == "lmtp" else [])) as endpoint:
        deliveries = deliver_in_turn(runtime, config_of(endpoint, protocol=protocol), 10)
    assert [statuses(delivery) for delivery in deliveries] == [[D, D]] * 10
