"""Deliver to a target: endpoint after endpoint, until every recipient has its outcome."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import final

from smtpstate._auth import Credentials
from smtpstate._bulk import forward_many
from smtpstate._carry import Ending, carry, note_detail
from smtpstate._config import TargetConfig
from smtpstate._delivery import Delivery, Fate, tells_more
from smtpstate._dialogue import Dialogue
from smtpstate._endpoints import Endpoint
from smtpstate._envelope import Envelope
from smtpstate._errors import DeadlinePassed, LocalProtocolError, RemoteProtocolError, TransportError
from smtpstate._fates import FAILURES, NO_CREDENTIALS, fate_of_failure, unfinished
from smtpstate._ladder import Ladder
from smtpstate._link import Closing, Link
from smtpstate._login import Login, LoginFailed
from smtpstate._memory import Memory
from smtpstate._message import Message
from smtpstate._replies import Reply
from smtpstate._requests import Clock, Steps
from smtpstate._secure import NoTls, TlsBroke
from smtpstate._session import Refused, open_session, say_goodbye
from smtpstate._stepwise import Stepwise
from smtpstate._trace import Settled, Trace

_READ_ONCE = "no other endpoint was tried: the message could be read only once"


@final
class Courier:
    """Carries deliveries to a target, one after the other, and keeps the connection between them.

    It has at most one connection, which belongs to one wire of an adapter: all
    its dialogues must be driven on that wire, one at a time.

    Args:
        config: where mail is handed to, and how.
        nonce: gives at least 16 random characters of printable ASCII without commas, anew at
            each call; without it there is no SCRAM.
        memory: which endpoints failed lately; shared by the couriers of a target.
        trace: takes each trace event as it happens.
    """

    __slots__ = ("_config", "_link", "_memory", "_nonce", "_trace")

    def __init__(
        self,
        config: TargetConfig,
        *,
        nonce: Callable[[], str] | None = None,
        memory: Memory | None = None,
        trace: Trace | None = None,
    ) -> None:
        self._config = config
        self._nonce = nonce
        self._memory = memory or Memory(0)
        self._trace = trace
        self._link: Link | None = None

    def delivering(self, delivery: Delivery, ends: float | None = None) -> Dialogue[None]:
        """Return the dialogue that settles every recipient of ``delivery``.

        ``ends`` is the deadline over all of it, on the adapter's clock, where it has
        begun before: somebody may have waited for this courier.

        Its requests fail for the network's reasons, and the delivery says so in its
        outcomes; only what is the caller's fault comes out as an exception. Among
        that is a delivery that is under way already, of which nothing more is sent.
        """
        return Dialogue(partial(self.run, delivery, ends=ends))

    def delivering_many(self, ahead: int = 32) -> Dialogue[None]:
        """Return the dialogue that takes deliveries from the caller until there are no more.

        Up to ``ahead`` of them are under way at a time, and each is given back as
        soon as all before it are settled; errors are as for ``delivering``.
        """
        return Dialogue(lambda clock: forward_many(self, ahead, clock))

    def transaction(
        self, delivery: Delivery, declared: Message | None = None, ends: float | None = None
    ) -> Stepwise:
        """Return a transaction that is taken step by step, by ``ends`` as above; see there."""
        return Stepwise(self, delivery, declared or Message(b""), ends)

    def authenticating(self, credentials: Credentials, ends: float | None = None) -> Dialogue[Reply]:
        """Return the dialogue that tries the sender's own credentials on a new connection, by ``ends`` as above.

        Its result is the server's reply, or a local one if none can be asked.

        Raises:
            LocalProtocolError: the target does not forward credentials.
        """
        if self._config.auth.kind != "forward":
            raise LocalProtocolError("the target has credentials of its own, or needs none")
        return Dialogue(partial(self._authenticate, credentials, ends=ends))

    def _authenticate(self, credentials: Credentials, clock: Clock, ends: float | None) -> Steps[Reply]:
        delivery = Delivery.stepwise(Envelope(None), credentials)
        if ends is None:
            ends = self.end_of_delivery(clock)
        yield from self.leave()  # what an older connection was let in with may not be good any more
        worst: Fate | None = None
        for endpoint in self.untried(delivery, clock):
            session = yield from self.session_at(endpoint, delivery, [], Ending(), clock, ends)
            if isinstance(session, Link):
                session.idle_since = clock()
                assert session.welcome is not None
                return session.welcome
            worst = session if worst is None or tells_more(session, worst) else worst
            if session.moves not in self.failover:
                break
        assert worst is not None
        return worst.reply

    def leaving(self) -> Dialogue[None]:
        """Return the dialogue that ends the connection, if there is one, by QUIT."""
        return Dialogue(lambda _: self.leave())

    def run(
        self, delivery: Delivery, clock: Clock, ends: float | None = None, *, claimed: bool = False
    ) -> Steps[None]:
        """Try each endpoint in turn, for the recipients that may still be tried.

        ``ends`` is the deadline over all of it, where it has begun before. With
        ``claimed`` the caller runs the delivery already.

        Raises:
            LocalProtocolError: somebody else runs the delivery.
        """
        if not claimed:
            delivery.claim()
        try:
            if ends is None:
                ends = self.end_of_delivery(clock)
            if self.refuses(delivery):
                return
            waiting = delivery.remaining(self._config.failover)
            for endpoint in self.untried(delivery, clock) if waiting else ():
                if delivery.reader() is None:
                    delivery.note(dict.fromkeys(waiting, (_READ_ONCE,)))
                    break
                while waiting:
                    waiting = yield from self.deliver(endpoint, delivery, waiting, clock, ends)
                waiting = delivery.remaining(self._config.failover)
                if not waiting:
                    break
            if self._link is not None:
                self._link.idle_since = clock()
            self.show(delivery, clock)
        finally:
            if not claimed:
                delivery.release()

    def forward(self, delivery: Delivery, clock: Clock, ends: float | None) -> Steps[None]:
        """Run a delivery that the caller has claimed; see ``run``."""
        return self.run(delivery, clock, ends, claimed=True)

    def end_of_delivery(self, clock: Clock) -> float | None:
        """Return the deadline over everything that a delivery does which begins now."""
        timeout = self._config.transaction_timeout
        return None if timeout is None else clock() + timeout

    def untried(self, delivery: Delivery, clock: Clock) -> Sequence[Endpoint]:
        """Return the endpoints at which a delivery has not been, in the order in which to try them."""
        endpoints = self._config.targets
        if delivery.attempts:
            been_at = {attempt.endpoint for attempt in delivery.attempts}
            endpoints = tuple(endpoint for endpoint in endpoints if endpoint not in been_at)
        return self._memory.order(endpoints, clock)

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
            session = yield from self.session_at(endpoint, delivery, recipients, ending, clock, ends)
            if isinstance(session, Fate):
                delivery.settle_all(recipients, session)
                return []
            return (yield from carry(delivery, recipients, session, ending, self._config))
        finally:
            if self._link is not None and not self._link.stale:  # or nothing has been tried
                delivery.tried(ending.attempt(self._link, clock() - begun))

    def session_at(
        self,
        endpoint: Endpoint,
        delivery: Delivery,
        recipients: list[int],
        ending: Ending,
        clock: Clock,
        ends: float | None,
    ) -> Steps[Link | Fate]:
        """Return a session at an endpoint, or what it means that none is to be had.

        It is on the connection of the delivery before, if that leads there, may be
        shared, and is alive; else on a new one.
        """
        link = self._link
        if (
            link is not None
            and (link.endpoint is endpoint or link.endpoint == endpoint)
            and self.suits(delivery, clock())
        ):
            try:
                spoken = yield from link.glance()
            except (TransportError, RemoteProtocolError, Closing) as failure:
                link.failed(failure)
            else:
                if not spoken:  # or it was something that nobody asked for, or the beginning of it
                    link.reuse(ends)
                    delivery.on_the_way(unfinished(link, recipients))
                    return link
        login = self.login_for(delivery)
        ladder = Ladder(self._config, endpoint)
        rung = ladder.top
        while True:
            begun = clock()
            yield from self.leave(ends)
            link = self._link = self._new_link(endpoint, clock, ends)
            delivery.on_the_way(unfinished(link, recipients))
            late = link.overdue
            try:
                if late:  # and nobody knows whether the endpoint could be reached
                    raise DeadlinePassed("the deadline passed")
                yield from open_session(link, self._config, rung, login)
            except FAILURES as failure:
                fate = self.give_up(link, failure)
                note_detail(delivery, failure)
                ending.take_fate(fate)
                below = ladder.below(rung, failure.cause) if isinstance(failure, TlsBroke) else None
                if below is None:
                    if fate.moves == "connect" and not late:
                        self._memory.failed(endpoint, clock())
                    return fate
                delivery.tried(ending.attempt(link, clock() - begun))
                rung = below
            else:
                ending.clear()
                link.ready = True
                self._memory.reached(endpoint)
                return link

    def give_up(self, link: Link, failure: Exception) -> Fate:
        """Close a connection without a session, unless it is in step for a goodbye; return what that means."""
        if not isinstance(failure, (Refused, NoTls, LoginFailed)):
            link.failed(failure)
        return fate_of_failure(link, failure)

    def login_for(self, delivery: Delivery) -> Login | None:
        """Return who we are to be for a delivery."""
        auth = self._config.auth
        if auth.kind == "off":
            return None
        credentials = delivery.credentials if auth.kind == "forward" else None
        return Login(auth, credentials, self._nonce)

    def refuses(self, delivery: Delivery) -> bool:
        """Settle a delivery that cannot even be tried, and return whether it is one."""
        if self._config.auth.kind != "forward" or delivery.credentials is not None:
            return False
        for index in delivery.remaining(self.failover):
            delivery.settle(index, NO_CREDENTIALS)
        return True

    @property
    def config(self) -> TargetConfig:
        """The settings of the target."""
        return self._config

    @property
    def failover(self) -> frozenset[str]:
        """What moves recipients on to the next endpoint."""
        return self._config.failover

    @property
    def link(self) -> Link | None:
        """The connection, dead or alive; None before the first and after a goodbye."""
        return self._link

    @property
    def keeps_connection(self) -> bool:
        """Whether there is a connection that another delivery could use."""
        link = self._link
        return link is not None and link.ready and link.usable and not link.spent

    def idle_for(self, now: float) -> float:
        """Return for how many seconds the connection has been idle."""
        since = self._link.idle_since if self._link is not None else None
        return 0.0 if since is None else now - since

    def suits(self, delivery: Delivery, now: float) -> bool:
        """Return whether the connection can carry a delivery, if it is still alive."""
        link = self._link
        return (
            link is not None
            and link.ready
            and link.usable
            and self.may_share(link, delivery)
            and self.idle_for(now) < self._config.idle_timeout
        )

    def may_share(self, link: Link, delivery: Delivery) -> bool:
        """Return whether a connection may carry this delivery as well as those before."""
        login = self.login_for(delivery)
        same_login = link.login is None if login is None else login.same_as(link.login)
        same_client = not link.client or link.client == delivery.envelope.client
        return same_login and same_client and not link.spent

    def leave(self, ends: float | None = None) -> Steps[None]:
        """Say goodbye, if the connection is in step, by ``ends`` at the latest."""
        link, self._link = self._link, None
        if link is not None:
            link.ends = ends  # the deadline of the delivery before is no longer of account
            yield from say_goodbye(link, self._config)

    def _new_link(self, endpoint: Endpoint, clock: Clock, ends: float | None) -> Link:
        return Link(
            endpoint,
            self._config.protocol,
            clock=clock,
            timeouts=self._config.timeouts,
            limits=self._config.limits,
            trace=self._trace,
            ends=ends,
            pipelining=self._config.pipelining,
            chunking=self._config.chunking,
            most_messages=self._config.max_messages,
        )


def forwarding(
    delivery: Delivery,
    config: TargetConfig,
    *,
    nonce: Callable[[], str] | None = None,
    trace: Trace | None = None,
) -> Dialogue[None]:
    """Return the dialogue that delivers a message over connections of its own, and QUITs them.

    See ``Courier.delivering``.
    """
    courier = Courier(config, nonce=nonce, trace=trace)

    def forward(clock: Clock) -> Steps[None]:
        yield from courier.run(delivery, clock)
        yield from courier.leave()

    return Dialogue(forward)
