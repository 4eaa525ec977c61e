"""Many messages over one connection, each begun before the one before it is answered."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, final

from smtpstate._carry import Ending, lacking, note_lacks, present
from smtpstate._delivery import Delivery
from smtpstate._errors import DeadlinePassed, RemoteProtocolError, TransportError
from smtpstate._exchange import begin
from smtpstate._link import Closing, Link
from smtpstate._plan import NO_EIGHT_BIT, plan_for
from smtpstate._reader import NotSevenBit
from smtpstate._requests import Clock, Give, Queue, Steps, Take
from smtpstate._split import next_batch
from smtpstate._transaction import Spoiled, Transaction

if TYPE_CHECKING:
    from smtpstate._courier import Courier


@final
class _Running:
    """A delivery under way, and how it fares on the present connection."""

    __slots__ = ("begun", "delivery", "ending", "ends", "later", "link", "retried", "transaction", "was_used")

    def __init__(self, delivery: Delivery, ends: float | None, begun: float) -> None:
        self.delivery = delivery
        self.ends = ends
        self.begun = begun
        self.ending = Ending()
        self.link: Link | None = None
        self.transaction: Transaction | None = None
        self.later: list[int] = []  # recipients for a further transaction
        self.was_used = False  # the connection carried another message before
        self.retried = False

    @property
    def done(self) -> bool:
        return self.transaction is None or self.transaction.complete


def forward_many(courier: Courier, ahead: int, clock: Clock) -> Steps[None]:
    """Deliver all that the caller has to give, up to ``ahead`` of them at a time."""
    yield from _Bulk(courier, clock).run(max(ahead, 1))


@final
class _Bulk:
    """Deliveries in their order, the oldest first."""

    def __init__(self, courier: Courier, clock: Clock) -> None:
        self._courier = courier
        self._clock = clock
        self._running: deque[_Running] = deque()
        self._last: Transaction | None = None  # that was begun last
        self._again: deque[_Running] = deque()  # to be begun anew on a new connection

    def run(self, ahead: int) -> Steps[None]:
        """Take, begin, hear and give back, until there is nothing more."""
        ended = False
        while True:
            yield from self.give_back()
            if self._again:
                yield from self.start(self._again.popleft())
            elif not ended and len(self._running) < ahead:
                taken = yield from Take(wait=not self._running)
                if isinstance(taken, Delivery):
                    now = self._clock()
                    yield from self.start(_Running(taken, self._courier.end_of_delivery(self._clock), now))
                elif taken is Queue.END:
                    ended = True
                else:
                    yield from self.advance()
            elif self._running:
                yield from self.advance()
            else:
                return

    def give_back(self) -> Steps[None]:
        """Give back the oldest deliveries, as far as they are settled."""
        while self._running and self._running[0].done:
            running = self._running[0]
            if running.transaction is not None and running.transaction.misplaced:
                self._running.popleft()
                running.transaction = running.link = None
                self._again.append(running)
                yield from self.drain()
                return
            yield from self.finish(running)
            self._running.popleft()
            yield from Give(running.delivery)

    def finish(self, running: _Running) -> Steps[None]:
        """Do what remains for a delivery: further transactions, other endpoints."""
        delivery, link = running.delivery, running.link
        delivery.under_way(None)
        waiting = running.later + (running.transaction.too_many if running.transaction else [])
        running.transaction = None
        if link is not None:
            delivery.tried(running.ending.attempt(link, self._clock() - running.begun))
            if waiting or delivery.remaining(self._courier.failover):
                yield from self.drain()
            while waiting:
                waiting = yield from self._courier.deliver(
                    link.endpoint, delivery, waiting, self._clock, running.ends
                )
        yield from self._courier.forward(delivery, self._clock)

    def start(self, running: _Running) -> Steps[None]:
        """Begin a delivery on the connection, or on a new one."""
        self._running.append(running)
        delivery = running.delivery
        recipients = delivery.remaining(self._courier.failover)
        link = self._courier.link
        batch: list[int] = []
        courier = self._courier
        if courier.refuses(delivery):
            return
        if (
            link is not None
            and link.takes_more
            and link is self._shared()
            and courier.may_share(link, delivery)
        ):
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
            self.link_failed(link, TransportError("the connection was lost"))
            return
        plan = yield from plan_for(link, delivery.envelope, reader, batch)
        note_lacks(delivery, link, plan)
        if not plan.recipients:
            return
        running.was_used = link.transactions > 0
        link.transactions += 1
        transaction = running.transaction = Transaction(link, delivery, plan, after=self._last)
        self._last = transaction
        delivery.under_way(transaction.if_stopped_now)
        link.ends_at(self._running[0].ends)
        try:
            yield from begin(link, transaction, plan)
        except NotSevenBit as error:
            transaction.settle_rest(lacking(link, NO_EIGHT_BIT))
            self.link_failed(link, error)
        except (Closing, Spoiled, TransportError, RemoteProtocolError) as failure:
            self.link_failed(link, failure)
        except Exception as error:  # the caller's own, such as a source that failed
            transaction.lost(error)
            self.link_failed(link, error)
            raise

    def find_session(self, running: _Running) -> Steps[Link | None]:
        """Go through the endpoints until one can be had; those that cannot are noted."""
        courier, delivery, clock = self._courier, running.delivery, self._clock
        for endpoint in courier.untried(delivery, clock):
            recipients = delivery.remaining(courier.failover)
            ending = Ending()
            link = yield from courier.session_at(endpoint, delivery, recipients, ending, clock, running.ends)
            if link is not None:
                return link
            if courier.link is not None:
                delivery.tried(ending.attempt(courier.link, clock() - running.begun))
        return None

    def advance(self) -> Steps[None]:
        """Send what waits, and hear what comes next."""
        link = self._courier.link
        if link is None or link.broken:
            return
        link.ends_at(self._running[0].ends)
        try:
            yield from link.flush()
            if link.conn.outstanding:
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
        survivors: deque[_Running] = deque()
        for running in self._running:
            transaction = running.transaction
            if transaction is None or running.link is not link or transaction.complete:
                survivors.append(running)
            elif (
                running.was_used
                and not running.retried
                and transaction.untouched
                and not isinstance(failure, DeadlinePassed)
            ):
                running.retried = True
                running.transaction = running.link = None
                running.delivery.under_way(None)
                self._again.append(running)
            else:
                running.ending.take(failure)
                transaction.ended(failure)
                survivors.append(running)
        self._running = survivors

    def _shared(self) -> Link | None:
        """Return the connection on which deliveries are under way, if they all share one."""
        links = {running.link for running in self._running if running.link is not None}
        return links.pop() if len(links) == 1 else None
