"""Deliver to a target: endpoint after endpoint, until every recipient has its outcome."""

from __future__ import annotations

from typing import final

from smtpstate._bulk import forward_many
from smtpstate._carry import Ending, carry
from smtpstate._config import TargetConfig
from smtpstate._delivery import Delivery, Fate
from smtpstate._dialogue import Dialogue
from smtpstate._endpoints import Endpoint
from smtpstate._errors import RemoteProtocolError, TransportError
from smtpstate._link import Closing, Link
from smtpstate._memory import Memory
from smtpstate._outcomes import Phase, Status
from smtpstate._replies import Reply
from smtpstate._requests import Clock, Steps
from smtpstate._session import Refused, open_session, say_goodbye
from smtpstate._trace import Settled, Trace

#: The words of ``failover`` that a target can know so far.
FAILOVER = frozenset({"connect"})

_READ_ONCE = "no other endpoint was tried: the message could be read only once"


@final
class Courier:
    """Carries deliveries to a target, one after the other, and keeps the connection between them.

    It has at most one connection, which belongs to one wire of an adapter: all
    its dialogues must be driven on that wire, one at a time.

    Args:
        config: where mail is handed to, and how.
        memory: which endpoints failed lately; shared by the couriers of a target.
        trace: takes each trace event as it happens.
    """

    __slots__ = ("_config", "_link", "_memory", "_trace")

    def __init__(
        self, config: TargetConfig, *, memory: Memory | None = None, trace: Trace | None = None
    ) -> None:
        self._config = config
        self._memory = memory or Memory(0)
        self._trace = trace
        self._link: Link | None = None

    def delivering(self, delivery: Delivery) -> Dialogue[None]:
        """Return the dialogue that settles every recipient of ``delivery``.

        Its requests fail for the network's reasons, and the delivery says so in its
        outcomes; only what is the caller's fault comes out as an exception.
        """
        return Dialogue(lambda clock: self.forward(delivery, clock))

    def delivering_many(self, ahead: int = 32) -> Dialogue[None]:
        """Return the dialogue that takes deliveries from the caller until there are no more.

        Up to ``ahead`` of them are under way at a time, and each is given back as
        soon as all before it are settled; errors are as for ``delivering``.
        """
        return Dialogue(lambda clock: forward_many(self, ahead, clock))

    def leaving(self) -> Dialogue[None]:
        """Return the dialogue that ends the connection, if there is one, by QUIT."""
        return Dialogue(lambda _: self.leave())

    def forward(self, delivery: Delivery, clock: Clock) -> Steps[None]:
        """Try each endpoint in turn, for the recipients that may still be tried."""
        ends = self.end_of_delivery(clock)
        for endpoint in self.untried(delivery, clock):
            waiting = delivery.remaining(self.failover)
            if waiting and delivery.reader() is None:
                delivery.note(dict.fromkeys(waiting, (_READ_ONCE,)))
                break
            while waiting:
                waiting = yield from self.deliver(endpoint, delivery, waiting, clock, ends)
        self.show(delivery, clock)

    def end_of_delivery(self, clock: Clock) -> float | None:
        """Return the deadline over everything that a delivery does which begins now."""
        timeout = self._config.transaction_timeout
        return None if timeout is None else clock() + timeout

    def untried(self, delivery: Delivery, clock: Clock) -> list[Endpoint]:
        """Return the endpoints at which a delivery has not been, in the order in which to try them."""
        been_at = {attempt.endpoint for attempt in delivery.attempts}
        endpoints = [endpoint for endpoint in self._config.endpoints if endpoint not in been_at]
        return self._memory.order(endpoints, clock())

    def show(self, delivery: Delivery, clock: Clock) -> None:
        """Show the outcomes to whoever watches."""
        if self._trace is not None:
            for outcome in delivery.outcomes:
                self._trace(Settled(clock(), outcome.phase, outcome))

    def deliver(
        self, endpoint: Endpoint, delivery: Delivery, recipients: list[int], clock: Clock, ends: float | None
    ) -> Steps[list[int]]:
        """Carry a message over one session; return those for whom another is needed."""
        begun = clock()
        ending = Ending()
        try:
            link = yield from self.session_at(endpoint, delivery, recipients, ending, clock, ends)
            if link is None:
                return []
            return (yield from carry(delivery, recipients, link, ending))
        finally:
            if self._link is not None:
                delivery.tried(ending.attempt(self._link, clock() - begun))

    def session_at(
        self,
        endpoint: Endpoint,
        delivery: Delivery,
        recipients: list[int],
        ending: Ending,
        clock: Clock,
        ends: float | None,
    ) -> Steps[Link | None]:
        """Return a session at an endpoint, idle before or new; None if there is none to be had."""
        link = yield from self.take_idle(endpoint, ends)
        if link is not None:
            return link
        yield from self.leave()
        link = self._link = self._new_link(endpoint, clock, ends)
        opened = yield from self.reach(link, delivery, recipients, ending)
        if not opened:
            self._memory.failed(endpoint, clock())
            return None
        self._memory.reached(endpoint)
        return link

    def reach(
        self, link: Link, delivery: Delivery, recipients: list[int], ending: Ending
    ) -> Steps[bool]:
        """Open a session and return whether that succeeded; if not, it is everyone's fate here."""
        try:
            yield from open_session(link, self._config)
        except (TransportError, RemoteProtocolError, Refused, Closing) as failure:
            ending.take(failure)
            if not isinstance(failure, Refused):
                link.failed(failure)
            fate = _unreachable(link, failure)
            for index in recipients:
                delivery.settle(index, fate)
            return False
        return True

    @property
    def failover(self) -> frozenset[str]:
        """What moves recipients on to the next endpoint."""
        return FAILOVER

    @property
    def link(self) -> Link | None:
        """The connection, dead or alive; None before the first and after a goodbye."""
        return self._link

    def take_idle(self, endpoint: Endpoint, ends: float | None) -> Steps[Link | None]:
        """Return the connection of the delivery before, if it leads there and is alive."""
        link = self._link
        if link is None or link.endpoint != endpoint or not link.usable or link.spent:
            return None
        try:
            yield from link.glance()
        except (TransportError, RemoteProtocolError, Closing) as failure:
            link.failed(failure)
        if not link.usable:  # the server has said something, or the beginning of it
            return None
        link.reuse(ends)
        return link

    def leave(self) -> Steps[None]:
        """Say goodbye, if the connection is in step."""
        link, self._link = self._link, None
        if link is not None:
            yield from say_goodbye(link, self._config)

    def _new_link(self, endpoint: Endpoint, clock: Clock, ends: float | None) -> Link:
        return Link(
            endpoint,
            self._config.speaks,
            clock=clock,
            timeouts=self._config.timeouts,
            limits=self._config.limits,
            trace=self._trace,
            ends=ends,
        )


def forwarding(delivery: Delivery, config: TargetConfig, *, trace: Trace | None = None) -> Dialogue[None]:
    """Return the dialogue that delivers a message over connections of its own, and QUITs them.

    See ``Courier.delivering``.
    """
    courier = Courier(config, trace=trace)

    def forward(clock: Clock) -> Steps[None]:
        yield from courier.forward(delivery, clock)
        yield from courier.leave()

    return Dialogue(forward)


def _unreachable(link: Link, failure: Exception) -> Fate:
    """Return what an endpoint means for everybody that has failed before any mail was spoken of."""
    error: Exception | None = None
    if isinstance(failure, Refused):
        reply = failure.reply
    elif isinstance(failure, Closing):
        reply = failure.event.reply
    elif isinstance(failure, RemoteProtocolError):
        error = failure
        reply = failure.reply or Reply.made_here(451, f"4.5.0 {failure}")
    else:
        error = failure
        reply = Reply.made_here(421, f"{_network_code(link, failure)} {failure}")
    return Fate(
        status=Status.DEFERRED,
        reply=reply,
        phase=link.phase,
        endpoint=link.endpoint,
        error=error,
        moves="connect",
    )


def _network_code(link: Link, failure: Exception) -> str:
    # RFC 3463 §3.5: 4.4 unable to route, 4.1 no answer from host, 4.2 bad connection
    if isinstance(failure, TransportError) and failure.name_unknown:
        return "4.4.4"
    return "4.4.1" if link.phase is Phase.CONNECT else "4.4.2"
