"""Carry one message over one open session, in as many transactions as the server wants."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import final

from smtpstate._config import TargetConfig
from smtpstate._delivery import Attempt, Delivery, Fate
from smtpstate._envelope import Envelope
from smtpstate._errors import DeadlinePassed, RemoteProtocolError, TransportError
from smtpstate._exchange import exchange
from smtpstate._fates import fate_of_failure
from smtpstate._link import Closing, Link
from smtpstate._login import LoginFailed
from smtpstate._outcomes import Phase, Status
from smtpstate._plan import NO_EIGHT_BIT, Plan, plan_for
from smtpstate._reader import NotSevenBit, Reader, SourceFailed, cause_of
from smtpstate._replies import Reply
from smtpstate._requests import Steps
from smtpstate._session import Refused, present_client
from smtpstate._split import next_batch
from smtpstate._transaction import TRANSIENT, Spoiled, Transaction

_UNREADABLE = Reply.made_here(
    451, "4.3.0 the message could be read only once, and the server takes it in parts"
)


@final
class Ending:
    """How an attempt ended, where it ended badly."""

    __slots__ = ("error", "reply")

    def __init__(self) -> None:
        self.reply: Reply | None = None  #: the server's word that ended it
        self.error: Exception | None = None  #: what ended it otherwise

    def take(self, failure: Exception) -> None:
        """Take a failure of the message apart."""
        if isinstance(failure, (Spoiled, Refused)):
            self.reply = failure.reply
        elif isinstance(failure, Closing):
            self.reply = failure.event.reply
        else:
            self.error = failure

    def take_fate(self, fate: Fate) -> None:
        """Take the fate of everybody, where no session could be had."""
        self.reply = fate.reply
        self.error = fate.error

    @property
    def bad(self) -> bool:
        """Whether anything ended it before its time."""
        return self.reply is not None or self.error is not None

    def clear(self) -> None:
        """Forget what failed on the way to a session that was had in the end."""
        self.reply = self.error = None

    def attempt(self, link: Link, seconds: float) -> Callable[[], Attempt]:
        """Return what makes it an entry of the delivery's attempts, for when somebody looks."""
        return partial(
            Attempt,
            endpoint=link.endpoint,
            phase=link.phase,
            remote=link.connected.remote if link.connected else None,
            tls=link.tls,
            user=link.login.user if link.login else None,
            reply=self.reply,
            error=self.error,
            seconds=seconds,
        )


def carry(
    delivery: Delivery, recipients: list[int], link: Link, ending: Ending, config: TargetConfig
) -> Steps[list[int]]:
    """Carry the message to ``recipients`` over an open session.

    Returns those who wait for another session: since the server limits how
    much one carries, or since a connection that had been idle was dead.
    """
    envelope = delivery.envelope
    waiting = recipients
    while True:
        reader = delivery.reader()
        if reader is None:
            _settle(delivery, waiting, link, _UNREADABLE)
            return []
        batch, later = next_batch(link, envelope, waiting)
        if not batch:
            return waiting
        again: list[int] = []  # those for whom a further transaction makes sense
        plan = yield from prepare(delivery, envelope, batch, reader, link, ending, config)
        if plan is not None:
            link.transactions += 1
            transaction = Transaction(link, delivery, plan)
            delivery.under_way(transaction.if_stopped_now)
            try:
                yield from exchange(link, transaction, plan)
            except Exception as failure:
                if not absorbed(failure, link, transaction, ending):
                    raise cause_of(failure) from None
            delivery.under_way(None)
            again = transaction.too_many
            if not link.stale:
                link.reused = False
        if link.stale:
            return batch + later
        waiting = again + later
        if not waiting:
            return waiting
        if not link.usable and ending.bad:
            settle_waiting(delivery, waiting, link, ending)
            return []
        if link.spent or not link.usable:  # such as after a message that nobody stood for
            return waiting


def settle_waiting(delivery: Delivery, waiting: list[int], link: Link, ending: Ending) -> None:
    """Settle those whose transaction had not begun when the connection came to its end, or their time did."""
    reply = ending.reply or Reply.made_here(421, f"4.4.2 {ending.error}")
    _settle(delivery, waiting, link, reply, ending.error)


def prepare(
    delivery: Delivery,
    envelope: Envelope,
    batch: list[int],
    reader: Reader,
    link: Link,
    ending: Ending,
    config: TargetConfig,
) -> Steps[Plan | None]:
    """Return how the message goes to some recipients, or None if it goes to none of them."""
    link.phase = Phase.MAIL
    if envelope.client:
        presented = yield from present(delivery, batch, link, ending, config)
        if not presented:
            return None
    reader.ends = link.ends
    try:
        plan = yield from plan_for(link, envelope, reader, batch)
    except SourceFailed as failed:
        raise failed.cause from None
    except DeadlinePassed as failure:
        link.failed(failure)
        ending.take(failure)
        settle_waiting(delivery, batch, link, ending)
        return None
    if plan.refused or plan.notes:
        note_lacks(delivery, link, plan)
    return plan if plan.recipients else None


def attempt(steps: Steps[None], link: Link, transaction: Transaction, ending: Ending) -> Steps[None]:
    """Take steps of a transaction; where they fail, settle everybody who is not settled.

    Raises:
        Exception: whatever the caller's own source raised.
    """
    try:
        yield from steps
    except Exception as failure:
        if not absorbed(failure, link, transaction, ending):
            raise cause_of(failure) from None


def absorbed(failure: Exception, link: Link, transaction: Transaction, ending: Ending) -> bool:
    """Settle everybody who is not settled when a transaction fails, and return whether that is all.

    It is not where the caller's own source failed: that is for the caller to see. A
    connection that had been idle and was dead is marked as stale instead.
    """
    if isinstance(failure, (Closing, TransportError, RemoteProtocolError)):
        link.failed(failure)
        if not found_dead(link, transaction, failure):
            ending.take(failure)
            transaction.ended(failure)
    elif isinstance(failure, Spoiled):
        ending.take(failure)
        link.broken = True
    elif isinstance(failure, NotSevenBit):
        transaction.settle_rest(lacking(link, NO_EIGHT_BIT))
        link.failed(failure)
    else:
        transaction.lost(cause_of(failure))
        link.failed(cause_of(failure))
        return False
    return True


def present(
    delivery: Delivery, batch: list[int], link: Link, ending: Ending, config: TargetConfig
) -> Steps[bool]:
    """Name the client for whom we relay, and return whether the connection is still of use."""
    try:
        note = yield from present_client(link, config, delivery.envelope.client)
    except LoginFailed as failure:
        link.broken = True
        fate = fate_of_failure(link, failure)
        note_detail(delivery, failure)
        ending.take_fate(fate)
        for index in batch:
            delivery.settle(index, fate)
        return False
    except (Closing, Refused, TransportError, RemoteProtocolError) as failure:
        link.failed(failure)
        ending.take(failure)
        link.stale = link.reused and not isinstance(failure, DeadlinePassed)
        if not link.stale:
            settle_waiting(delivery, batch, link, ending)
        return False
    if note is not None:
        delivery.note({None: [note]})
    return True


def note_detail(delivery: Delivery, failure: Exception) -> None:
    """Note what a server that did not let us in gave as its reason, beside its reply."""
    if isinstance(failure, LoginFailed) and failure.detail:
        delivery.note({None: [f"the server gave as its reason: {failure.detail}"]})


def found_dead(link: Link, transaction: Transaction, failure: Exception) -> bool:
    """Return whether a connection that had been idle ended before anything came of this message."""
    if not (link.reused and transaction.untouched) or isinstance(failure, DeadlinePassed):
        return False
    link.stale = True
    return True


def note_lacks(delivery: Delivery, link: Link, plan: Plan) -> None:
    """Settle those whom this server cannot serve, and note what was left out for the others."""
    delivery.note(plan.notes)
    for index, reply in plan.refused.items():
        delivery.settle(index, lacking(link, reply))


def lacking(link: Link, reply: Reply) -> Fate:
    """Return what it means that the server lacks what a message needs."""
    return Fate(
        status=Status.REJECTED,
        reply=reply,
        phase=Phase.MAIL,
        endpoint=link.endpoint,
        moves="connect",
        lacking=True,
    )


def _settle(
    delivery: Delivery, recipients: list[int], link: Link, reply: Reply, error: Exception | None = None
) -> None:
    """Settle those whose turn did not come."""
    fate = Fate(
        status=Status.DEFERRED,
        reply=reply,
        phase=Phase.MAIL,
        endpoint=link.endpoint,
        error=error,
        moves=TRANSIENT,
    )
    for index in recipients:
        delivery.settle(index, fate)
