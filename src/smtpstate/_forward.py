"""Forward a message to a target: endpoint after endpoint, until every recipient has its outcome."""

from __future__ import annotations

from typing import final

from smtpstate._config import TargetConfig
from smtpstate._delivery import Attempt, Delivery, Fate
from smtpstate._dialogue import Dialogue
from smtpstate._endpoints import Endpoint
from smtpstate._errors import RemoteProtocolError, TransportError
from smtpstate._exchange import exchange
from smtpstate._link import Closing, Link
from smtpstate._outcomes import Phase, Status
from smtpstate._replies import Reply
from smtpstate._requests import Clock, Steps
from smtpstate._session import Refused, open_session, say_goodbye
from smtpstate._trace import Settled, Trace
from smtpstate._transaction import Transaction

#: The words of ``failover`` that a target can know so far.
FAILOVER = frozenset({"connect"})


def forwarding(delivery: Delivery, config: TargetConfig, *, trace: Trace | None = None) -> Dialogue[None]:
    """Return the dialogue that carries ``delivery`` to a target, on a connection of its own.

    Its requests fail for the network's reasons and the delivery says so in its
    outcomes; only what is the caller's fault comes out as an exception.
    """
    return Dialogue(lambda clock: forward(delivery, config, clock, trace))


def forward(delivery: Delivery, config: TargetConfig, clock: Clock, trace: Trace | None) -> Steps[None]:
    """Try each endpoint in turn for the recipients that may still be tried."""
    ends = None if config.transaction_timeout is None else clock() + config.transaction_timeout
    for endpoint in config.endpoints:
        recipients = delivery.remaining(FAILOVER)
        if not recipients:
            break
        link = Link(
            endpoint,
            config.speaks,
            clock=clock,
            timeouts=config.timeouts,
            limits=config.limits,
            trace=trace,
            ends=ends,
        )
        yield from deliver(delivery, recipients, link, config, clock)
    if trace is not None:
        for outcome in delivery.outcomes:
            trace(Settled(clock(), outcome.phase, outcome))


def deliver(
    delivery: Delivery, recipients: list[int], link: Link, config: TargetConfig, clock: Clock
) -> Steps[None]:
    """Open a session at one endpoint, carry the message over it, and say goodbye."""
    begun = clock()
    how = _How()
    try:
        opened = yield from reach(delivery, recipients, link, config, how)
        if opened:
            yield from carry(delivery, recipients, link, how)
    finally:
        delivery.tried(how.attempt(link, clock() - begun))
    yield from say_goodbye(link, config)


def reach(
    delivery: Delivery, recipients: list[int], link: Link, config: TargetConfig, how: _How
) -> Steps[bool]:
    """Open a session and return whether that succeeded; if not, it is everyone's fate here."""
    try:
        yield from open_session(link, config)
    except (TransportError, RemoteProtocolError, Refused, Closing) as failure:
        how.take(failure)
        if not isinstance(failure, Refused):
            link.failed(failure)
        fate = _unreachable(link, failure)
        for index in recipients:
            delivery.settle(index, fate)
        return False
    return True


def carry(delivery: Delivery, recipients: list[int], link: Link, how: _How) -> Steps[None]:
    """Carry the message over an open session, in as many transactions as the server wants."""
    while recipients and link.usable and (reader := delivery.reader()) is not None:
        transaction = Transaction(link, delivery, recipients)
        delivery.under_way(transaction.if_stopped_now)
        try:
            yield from exchange(link, transaction, reader)
        except Closing as closing:
            transaction.closed(closing)
            how.take(closing)
            link.failed(closing)
        except (TransportError, RemoteProtocolError) as error:
            transaction.lost(error)
            how.take(error)
            link.failed(error)
        except Exception as error:  # the caller's own, such as a source that failed
            transaction.lost(error)
            link.failed(error)
            raise
        delivery.under_way(None)
        recipients = transaction.too_many if transaction.accepted_somebody else []


@final
class _How:
    """How an attempt ended, where it ended badly."""

    def __init__(self) -> None:
        self.reply: Reply | None = None
        self.error: Exception | None = None

    def take(self, failure: Exception) -> None:
        """Take a failure apart."""
        if isinstance(failure, Refused):
            self.reply = failure.reply
        elif isinstance(failure, Closing):
            self.reply = failure.event.reply
        else:
            self.error = failure

    def attempt(self, link: Link, seconds: float) -> Attempt:
        """Return it as an entry of the delivery's attempts."""
        return Attempt(
            endpoint=link.endpoint,
            phase=link.phase,
            remote=link.connected.remote if link.connected else None,
            tls=link.tls,
            reply=self.reply,
            error=self.error,
            seconds=seconds,
        )


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
