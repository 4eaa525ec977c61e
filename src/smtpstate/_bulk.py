"""Many messages over one connection, each begun before the one before it is answered."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, final

from smtpstate._carry import Ending, lacking, note_lacks, present
from smtpstate._delivery import Delivery
from smtpstate._errors import DeadlinePassed, RemoteProtocolError, TransportError
from smtpstate._exchange import begin
from smtpstate._link import Closing, Link
from smtpstate._plan import NO_EIGHT_BIT, Plan, plan_for
from smtpstate._reader import NotSevenBit, cause_of
from smtpstate._requests import Clock, Give, Queue, Steps, Take
from smtpstate._split import next_batch
from smtpstate._transaction import Spoiled, Transaction

if TYPE_CHECKING:
    from smtpstate._courier import Courier


@final
class _Running:
    """A delivery under way, and how it fares on the present connection."""

    __slots__ = (
        "again",
        "begun",
        "delivery",
        "ending",
        "ends",
        "later",
        "link",
        "retried",
        "spoilt",
        "transaction",
        "was_used",
    )

    def __init__(self, delivery: Delivery, ends: float | None, begun: float) -> None:
        self.delivery = delivery
        self.ends = ends
        self.begun = begun
        self.ending = Ending()
        self.link: Link | None = None
        self.transaction: Transaction | None = None
        self.later: list[int] = []  # recipients for a further transaction
        self.was_used = False  # the connection carried another message before, or was idle
        self.again = False  # it is to be begun anew on a new connection
        self.retried = False  # that has been done once
        self.spoilt = False  # the caller's own source failed

    @property
    def done(self) -> bool:
        return not self.again and (self.transaction is None or self.transaction.complete)

    def begin_anew(self) -> None:
        """Forget the connection, of which nothing has come."""
        self.again = self.retried = True
        self.transaction = self.link = None
        self.delivery.under_way(None)


def forward_many(courier: Courier, ahead: int, clock: Clock) -> Steps[None]:
    """Deliver all that the caller has to give, up to ``ahead`` of them at a time.

    Raises:
        Exception: whatever the caller's source of deliveries or of a message
            raises. No more are taken then; those under way are settled and
            given back before, but the one that is at fault.
    """
    yield from _Bulk(courier, clock).run(max(ahead, 1))


@final
class _Bulk:
    """Deliveries in their order, the oldest first."""

    def __init__(self, courier: Courier, clock: Clock) -> None:
        self._courier = courier
        self._clock = clock
        self._running: deque[_Running] = deque()
        self._ended = False  # no more are to be taken
        self._failure: Exception | None = None  # of the caller's own

    def run(self, ahead: int) -> Steps[None]:
        """Take, begin, hear and give back, until there is nothing more."""
        while True:
            yield from self.give_back()
            again = next((running for running in self._running if running.again), None)
            if again is not None:
                yield from self.start(again)
            elif not self._ended and len(self._running) < ahead:
                yield from self.take()
            elif self._running:
                yield from self.advance()
            else:
                break
        if self._failure is not None:
            raise self._failure

    def take(self) -> Steps[None]:
        """Take one more delivery and begin it; hear what is due if there is none at hand."""
        try:
            taken = yield from Take(wait=not self._running)
        except Exception as error:
            self.stop(error)
            return
        if isinstance(taken, Delivery):
            ends = self._courier.end_of_delivery(self._clock)
            running = _Running(taken, ends, self._clock())
            self._running.append(running)
            yield from self.start(running)
        elif taken is Queue.END:
            self._ended = True
        else:
            yield from self.advance()

    def stop(self, error: Exception) -> None:
        """Take no more, since something of the caller's own failed."""
        self._ended = True
        self._failure = self._failure or cause_of(error)

    def give_back(self) -> Steps[None]:
        """Give back the oldest deliveries, as far as they are settled."""
        while self._running and self._running[0].done:
            running = self._running[0]
            if not running.spoilt:
                try:
                    yield from self.finish(running)
                except Exception as error:
                    running.spoilt = True
                    self.stop(error)
            self._running.popleft()
            if not running.spoilt:
                yield from Give(running.delivery)

    def finish(self, running: _Running) -> Steps[None]:
        """Do what remains for a delivery: further transactions, other endpoints.

        Raises:
            Exception: whatever the caller's source raises.
        """
        delivery, link = running.delivery, running.link
        delivery.under_way(None)
        waiting = running.later
        if running.transaction is not None:
            running.transaction.tell_progress()
            waiting = waiting + running.transaction.too_many
            running.transaction = None
        if link is not None:
            delivery.tried(running.ending.attempt(link, self._clock() - running.begun))
            if waiting or delivery.remaining(self._courier.failover):
                yield from self.drain()
            while waiting:
                waiting = yield from self._courier.deliver(
                    link.endpoint, delivery, waiting, self._clock, running.ends
                )
        yield from self._courier.forward(delivery, self._clock, running.ends)

    def start(self, running: _Running) -> Steps[None]:
        """Begin a delivery on the connection, or on a new one."""
        delivery, courier = running.delivery, self._courier
        running.again = False
        if courier.refuses(delivery):
            return
        recipients = delivery.remaining(courier.failover)
        batch: list[int] = []
        link = courier.link
        if link is not None and self.may_follow(link, delivery):
            batch, running.later = next_batch(link, delivery.envelope, recipients)
        if link is None or not batch:
            yield from self.drain()
            link = yield from self.find_session(running)
            if link is None:
                return
            batch, running.later = next_batch(link, delivery.envelope, recipients)
        running.link = link
        reader = delivery.reader()
        if reader is None:
            return
        presented = yield from present(delivery, batch, link, running.ending, courier.config)
        if not presented:
            if link.stale:
                running.begin_anew()
            return
        try:
            plan = yield from plan_for(link, delivery.envelope, reader, batch)
        except Exception as error:
            running.spoilt = True
            self.stop(error)
            return
        note_lacks(delivery, link, plan)
        if plan.recipients:
            yield from self.speak(running, link, plan)

    def speak(self, running: _Running, link: Link, plan: Plan) -> Steps[None]:
        """Say envelope and message; answers may be due when this is done."""
        running.was_used = link.reused or link.transactions > 0
        link.transactions += 1
        transaction = running.transaction = Transaction(link, running.delivery, plan)
        running.delivery.under_way(transaction.if_stopped_now)
        link.ends_at(self._running[0].ends)
        try:
            yield from begin(link, transaction, plan)
        except NotSevenBit as error:
            transaction.settle_rest(lacking(link, NO_EIGHT_BIT))
            self.link_failed(link, error)
        except (Closing, Spoiled, TransportError, RemoteProtocolError) as failure:
            self.link_failed(link, failure)
        except Exception as error:  # the caller's own, such as a source that failed
            running.spoilt = True
            self.stop(error)
            transaction.lost(cause_of(error))
            self.link_failed(link, error)
        else:
            link.reused = False  # it has answered since

    def may_follow(self, link: Link, delivery: Delivery) -> bool:
        """Return whether a delivery may be begun on the connection while others are not answered."""
        return (
            link.takes_more
            and link is self._shared()
            and not delivery.envelope.client  # XCLIENT and XFORWARD wait for their answers
            and self._courier.may_share(link, delivery)
        )

    def find_session(self, running: _Running) -> Steps[Link | None]:
        """Go through the endpoints until one can be had; those that cannot are noted."""
        courier, delivery, clock = self._courier, running.delivery, self._clock
        for endpoint in courier.untried(delivery, clock):
            recipients = delivery.remaining(courier.failover)
            if not recipients:
                return None
            ending = Ending()
            session = yield from courier.session_at(
                endpoint, delivery, recipients, ending, clock, running.ends
            )
            if isinstance(session, Link):
                return session
            delivery.settle_all(recipients, session)
            assert courier.link is not None
            delivery.tried(ending.attempt(courier.link, clock() - running.begun))
        return None

    def advance(self) -> Steps[None]:
        """Send what waits, and hear what comes next."""
        link = self._courier.link
        assert link is not None
        link.ends_at(self._running[0].ends)
        try:
            yield from link.flush()
            yield from link.hear()
        except (Closing, Spoiled, TransportError, RemoteProtocolError) as failure:
            self.link_failed(link, failure)

    def drain(self) -> Steps[None]:
        """Wait until everything on the connection is answered."""
        link = self._courier.link
        while link is not None and not link.broken and link.busy:
            yield from self.advance()

    def link_failed(self, link: Link, failure: Exception) -> None:
        """Settle what was under way; what nothing has come of begins anew, once."""
        link.failed(failure)
        for running in self._running:
            transaction = running.transaction
            if transaction is None or running.link is not link or transaction.complete:
                continue
            if (
                running.was_used
                and not running.retried
                and transaction.untouched
                and not isinstance(failure, DeadlinePassed)
            ):
                running.begin_anew()
            else:
                running.ending.take(failure)
                transaction.ended(failure)

    def _shared(self) -> Link | None:
        """Return the connection on which deliveries are under way, if they all share one."""
        links = {running.link for running in self._running if running.link is not None}
        return links.pop() if len(links) == 1 else None
