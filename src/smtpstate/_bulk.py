"""Many messages over one connection, each begun before the one before it is answered."""

from __future__ import annotations

from collections import deque
from email.message import Message as MimeMessage
from typing import TYPE_CHECKING, final

from smtpstate._carry import Ending, lacking, note_lacks, present, settle_waiting
from smtpstate._commands import Protocol
from smtpstate._delivery import Delivery
from smtpstate._errors import DeadlinePassed, LocalProtocolError, RemoteProtocolError, TransportError
from smtpstate._exchange import begin
from smtpstate._link import Closing, Link
from smtpstate._plan import NO_EIGHT_BIT, Plan, plan_for
from smtpstate._reader import NotSevenBit, cause_of
from smtpstate._requests import Clock, Give, Queue, Steps, Take
from smtpstate._running import Running
from smtpstate._split import next_batch
from smtpstate._transaction import Spoiled, Transaction

if TYPE_CHECKING:
    from smtpstate._courier import Courier


# Of a message in another form nobody knows for how long its source lets us wait.
_AT_HAND = (bytearray, memoryview, list, tuple, MimeMessage)


def forward_many(courier: Courier, ahead: int, clock: Clock) -> Steps[None]:
    """Deliver all that the caller has to give, up to ``ahead`` of them at a time.

    Raises:
        LocalProtocolError: somebody else runs one of them at the same time.
        Exception: whatever the caller's source of deliveries or of a message
            raises, a token that is a callable, or whoever watches. No more are
            taken then; those under way are settled and given back before, but
            the one that is at fault.
    """
    bulk = _Bulk(courier, clock)
    try:
        yield from bulk.run(max(ahead, 1))
    finally:
        bulk.release()


@final
class _Bulk:
    """Deliveries in their order, the oldest first."""

    def __init__(self, courier: Courier, clock: Clock) -> None:
        self._courier = courier
        self._clock = clock
        self._is_lmtp = courier.config.speaks is Protocol.LMTP
        self._running: deque[Running] = deque()
        self._twice: Delivery | None = None  # taken, and still under way since it was taken before
        self._latest: Transaction | None = None  # the one that was begun last
        self._link_lost = False  # so that some may have to be begun anew
        self._ended = False  # no more are to be taken
        self._failure: Exception | None = None  # of the caller's own

    def run(self, ahead: int) -> Steps[None]:
        """Take, begin, hear and give back, until there is nothing more."""
        while True:
            yield from self.give_back()
            again = self.next_anew() if self._link_lost else None
            if again is not None:
                yield from self.try_to_start(again)
            elif self._twice is not None and not self.runs(self._twice):
                twice, self._twice = self._twice, None
                yield from self.begin(twice)
            elif not self._ended and self._twice is None and len(self._running) < ahead:
                yield from self.take()
            elif self._running:
                yield from self.advance()
            else:
                yield from self.drain()  # what is still to come changes nothing, but the connection is kept
                break
        if self._failure is not None:
            raise self._failure

    def next_anew(self) -> Running | None:
        """Return the oldest delivery that is to be begun anew, if there is one."""
        again = next((running for running in self._running if running.again), None)
        self._link_lost = again is not None
        return again

    def take(self) -> Steps[None]:
        """Take one more delivery and begin it; hear what is due if there is none at hand."""
        try:
            taken = yield from Take(wait=not self._running)
        except Exception as error:
            self.stop(error)
            return
        if isinstance(taken, Delivery):
            yield from self.begin(taken)
        elif taken is Queue.END:
            self._ended = True
        else:
            yield from self.advance()

    def begin(self, taken: Delivery) -> Steps[None]:
        """Begin a delivery, or keep it until it is done where it was taken before."""
        if taken.claimed and self.runs(taken):
            self._twice = taken
            return
        try:
            taken.claim()
        except LocalProtocolError as error:
            self.stop(error)
            return
        ends = self._courier.end_of_delivery(self._clock)
        running = Running(taken, ends, self._clock())
        self._running.append(running)
        yield from self.try_to_start(running)

    def runs(self, delivery: Delivery) -> bool:
        """Return whether a delivery is under way here."""
        return any(running.delivery is delivery for running in self._running)

    def release(self) -> None:
        """Leave everything as it is: others may run these deliveries again."""
        for running in self._running:
            running.delivery.release()

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
                    # It is at fault itself, unless nothing was to be done for it any more.
                    running.spoilt = bool(running.delivery.remaining(self._courier.failover))
                    self.stop(error)
            self._running.popleft()
            running.delivery.release()
            if not running.spoilt:
                yield from Give(running.delivery)

    def finish(self, running: Running) -> Steps[None]:
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
            if waiting and running.ending.bad:
                settle_waiting(delivery, waiting, link, running.ending)
                waiting = []
            if waiting or delivery.remaining(self._courier.failover):
                yield from self.drain()
            while waiting:
                waiting = yield from self._courier.deliver(
                    link.endpoint, delivery, waiting, self._clock, running.ends
                )
        yield from self._courier.forward(delivery, self._clock, running.ends)

    def try_to_start(self, running: Running) -> Steps[None]:
        """Begin a delivery; what fails of the caller's own is told once the others are given back."""
        try:
            yield from self.start(running)
        except Exception as error:  # such as a token that cannot be had
            running.spoilt = True
            running.again = False
            self.stop(error)
            link = self._courier.link
            if link is not None:
                self.link_failed(link, error)

    def start(self, running: Running) -> Steps[None]:
        """Begin a delivery on the connection, or on a new one."""
        delivery, courier = running.delivery, self._courier
        running.again = False
        if courier.refuses(delivery):
            return
        if self._is_lmtp and self.could_shift():
            yield from self.drain()
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
        if link.busy and reader.whole is None and not isinstance(delivery.message.open, _AT_HAND):
            yield from self.flush(link)
            if link.broken:
                running.again = True
                return
        if delivery.envelope.client:
            presented = yield from present(delivery, batch, link, running.ending, courier.config)
            if not presented:
                if link.stale:
                    self._link_lost = True
                    running.begin_anew()
                return
        reader.ends = running.ends
        try:
            plan = yield from plan_for(link, delivery.envelope, reader, batch)
        except DeadlinePassed as failure:  # nothing of it was said: the connection is the others'
            running.ending.take(failure)
            settle_waiting(delivery, batch, link, running.ending)
            return
        except Exception as error:
            running.spoilt = True
            self.stop(error)
            return
        if plan.refused or plan.notes:
            note_lacks(delivery, link, plan)
        if plan.recipients:
            yield from self.speak(running, link, plan)

    def speak(self, running: Running, link: Link, plan: Plan) -> Steps[None]:
        """Say envelope and message; answers may be due when this is done."""
        running.was_used = link.reused or link.transactions > 0
        link.transactions += 1
        transaction = running.transaction = self._latest = Transaction(link, running.delivery, plan)
        transaction.ends = running.ends
        running.delivery.under_way(transaction.if_stopped_now)
        self.bound(link)
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

    def could_shift(self) -> bool:
        """Return whether a wrong number of final replies would be made up for by the next message's.

        LMTP has as many as there are recipients, and all of them look alike. Where
        one recipient is followed by DATA, 354 comes in the wrong place then.
        """
        link, latest = self._courier.link, self._latest
        several = latest is not None and latest.awaits_several
        return link is not None and link.busy and (link.chunks or several)

    def may_follow(self, link: Link, delivery: Delivery) -> bool:
        """Return whether a delivery may be begun on the connection while others are not answered."""
        return (
            link.takes_more
            and self._share(link)
            and not delivery.envelope.client  # XCLIENT and XFORWARD wait for their answers
            and self._courier.may_share(link, delivery)
        )

    def find_session(self, running: Running) -> Steps[Link | None]:
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
        awaited = self.bound(link)
        try:
            yield from link.flush()
            yield from link.hear(None if awaited else link.patience)
        except (Closing, Spoiled, TransportError, RemoteProtocolError) as failure:
            self.link_failed(link, failure)
        except Exception as error:  # of whoever watches
            self.stop(error)
            self.link_failed(link, error)

    def flush(self, link: Link) -> Steps[None]:
        """Send what waits."""
        self.bound(link)
        try:
            yield from link.flush()
        except (Closing, Spoiled, TransportError, RemoteProtocolError) as failure:
            self.link_failed(link, failure)

    def bound(self, link: Link) -> bool:
        """Let no deadline be later than the oldest delivery's; return whether one is under way at all."""
        for running in self._running:
            if not running.done:
                link.ends = running.ends
                return True
        if self._running:
            link.ends = self._running[-1].ends
        return False

    def drain(self) -> Steps[None]:
        """Wait until everything on the connection is answered."""
        link = self._courier.link
        while link is not None and not link.broken and link.busy:
            yield from self.advance()

    def link_failed(self, link: Link, failure: Exception) -> None:
        """Settle what was under way; what nothing has come of begins anew, once."""
        self._link_lost = True
        at_fault = failure
        if not isinstance(failure, (Closing, TransportError, RemoteProtocolError)):
            at_fault = TransportError("the connection was given up with another message on it")
        for running in self._running:
            transaction = running.transaction
            if transaction is None or running.link is not link:
                continue
            if transaction.complete:
                if isinstance(failure, Spoiled) and transaction.was_stopped:
                    running.ending.take(failure)
            elif (
                running.was_used
                and not running.retried
                and transaction.untouched
                and not (isinstance(failure, DeadlinePassed) and self.is_late(running, link))
            ):
                running.begin_anew()
            else:
                running.ending.take(at_fault)
                transaction.ended(at_fault)
        try:
            link.failed(failure)
        except Exception as error:  # of whoever watches
            self.stop(error)

    def is_late(self, running: Running, link: Link) -> bool:
        """Return whether a deadline that passed was a delivery's own, not that of one before it."""
        return not link.overdue or running.ends is None or running.ends <= self._clock()

    def _share(self, link: Link) -> bool:
        """Return whether deliveries are under way, all of them on this connection."""
        links = [running.link for running in self._running if running.link is not None]
        return bool(links) and links.count(link) == len(links)
