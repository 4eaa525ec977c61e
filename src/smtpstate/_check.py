"""Look at one endpoint as a delivery would meet it, and send no mail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from itertools import pairwise
from typing import final

from smtpstate._auth import Credentials
from smtpstate._capabilities import Capabilities
from smtpstate._commands import Noop
from smtpstate._config import TargetConfig
from smtpstate._dialogue import Dialogue
from smtpstate._endpoints import Endpoint
from smtpstate._errors import RemoteProtocolError, TlsFailed
from smtpstate._fates import FAILURES, fate_of_failure
from smtpstate._ladder import Ladder, Rung
from smtpstate._link import Link
from smtpstate._login import Login, LoginFailed
from smtpstate._outcomes import Phase
from smtpstate._replies import Reply
from smtpstate._requests import Clock, Negotiated, Steps
from smtpstate._secure import NoTls, TlsBroke
from smtpstate._session import Refused, open_session, say_goodbye
from smtpstate._trace import Opened, Received, Secured, Sent, Trace, TraceEvent

_HELLO = ("EHLO ", "LHLO ", "HELO ")


@final
class Verdict(Enum):
    """Whether a delivery would get as far as its first MAIL."""

    READY = "ready"
    DEFERRED = "deferred"  #: not now: unreachable, without the TLS that it needs, or put off
    REFUSED = "refused"  #: the server has said so, by a 5xx


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was seen of an endpoint, as far as it came. Times are in seconds; None is not seen."""

    endpoint: Endpoint
    verdict: Verdict
    phase: Phase  #: how far it came
    reply: Reply | None = None  #: what it failed with: the server's word, or a local one
    remote: str | None = None  #: the server's IP address, or the path of its unix socket
    greeting: Reply | None = None
    hello: Reply | None = None  #: the last answer to EHLO or LHLO: inside TLS, where there is TLS
    capabilities: Capabilities = field(default_factory=Capabilities)
    tls: Negotiated | None = None  #: None where nothing was encrypted
    tls_failure: str | None = None  #: why TLS failed, or the certificate does not verify
    user: str | None = None  #: who we are to the server
    connect_time: float | None = None
    tls_time: float | None = None  #: the handshake alone
    greeting_time: float | None = None
    hello_time: float | None = None
    noop_time: float | None = None


def checking(
    config: TargetConfig,
    endpoint: Endpoint,
    *,
    credentials: Credentials | None = None,
    nonce: Callable[[], str] | None = None,
    trace: Trace | None = None,
) -> Dialogue[Report]:
    """Return the dialogue that connects to an endpoint, goes as far as NOOP, and leaves by QUIT.

    TLS is asked for as a delivery would ask, with new connections where it
    fails. Where a delivery would give up since the server's certificate is
    refused, one more connection looks at it unverified, and sends no credential.

    Args:
        config: how to connect; its targets are of no matter.
        endpoint: where to.
        credentials: tried where the settings forward those of messages; without any, nothing is.
        nonce: as for ``Courier``.
        trace: takes each trace event as it happens.
    """
    forward = config.auth.kind == "forward"
    login = None
    if config.auth.is_on and not (forward and credentials is None):
        login = Login(config.auth, credentials if forward else None, nonce)
    return Dialogue(lambda clock: _check(config, endpoint, login, trace, clock))


def _check(
    config: TargetConfig, endpoint: Endpoint, login: Login | None, trace: Trace | None, clock: Clock
) -> Steps[Report]:
    """Go down the ladder of TLS as a delivery would, and further for a look at a certificate."""
    ladder = Ladder(config, endpoint)
    rung = ladder.top
    timeout = config.transaction_timeout
    ends = None if timeout is None else clock() + timeout
    why: Exception | None = None  # there was no verified TLS, at first
    result: Report | None = None  # what a delivery would come to
    while True:
        seen: list[TraceEvent] = []
        link = _link(config, endpoint, clock, ends, _both(seen.append, trace))
        failure: Exception | None = None
        try:
            yield from open_session(link, config, rung, login)
            # A server that does not know NOOP is no worse for that.
            yield from link.ask(Noop())
        except FAILURES as error:
            failure = error
            if not isinstance(error, (Refused, NoTls, LoginFailed)):
                link.failed(error)
        report = _report(link, seen, failure)
        yield from say_goodbye(link, config)
        if result is not None:
            result = _with_sight(result, report)
            break
        why = why or _tls_failure(failure)
        below = ladder.below(rung, failure.cause) if isinstance(failure, TlsBroke) else None
        if below is None:
            result = report
            if rung is not Rung.VERIFIED or not isinstance(why, TlsFailed) or not why.certificate:
                break
            below, login = Rung.UNVERIFIED, None
        rung = below
    return replace(result, tls_failure=None if why is None else str(why))


def _link(config: TargetConfig, endpoint: Endpoint, clock: Clock, ends: float | None, trace: Trace) -> Link:
    return Link(
        endpoint,
        config.speaks,
        clock=clock,
        timeouts=config.timeouts,
        limits=config.limits,
        trace=trace,
        ends=ends,
    )


def _both(first: Trace, second: Trace | None) -> Trace:
    def watch(event: TraceEvent) -> None:
        first(event)
        if second is not None:
            second(event)

    return watch


def _with_sight(report: Report, seen: Report) -> Report:
    """Return a report with what was seen unverified, where that came as far as TLS."""
    if seen.tls is None:
        return report
    return replace(seen, verdict=report.verdict, phase=report.phase, reply=report.reply)


def _report(link: Link, seen: list[TraceEvent], failed: Exception | None) -> Report:
    fate = None if failed is None else fate_of_failure(link, failed)
    verdict = Verdict.READY
    if fate is not None:
        refused = fate.reply.digit == 5 and not fate.reply.local
        protocol = isinstance(failed, RemoteProtocolError)  # whose word is not believed
        verdict = Verdict.REFUSED if refused and not protocol else Verdict.DEFERRED
    opened = next((event for event in seen if isinstance(event, Opened)), None)
    answers = list(_answers(seen))
    greeting = next((answer for answer in answers if answer[0] is None), None)
    hello = next((answer for answer in reversed(answers) if (answer[0] or "").startswith(_HELLO)), None)
    noop = next((answer for answer in answers if answer[0] == "NOOP"), None)
    return Report(
        endpoint=link.endpoint,
        verdict=verdict,
        phase=link.phase,
        reply=fate.reply if fate else None,
        remote=opened.remote if opened else None,
        greeting=greeting[1] if greeting else None,
        hello=hello[1] if hello else None,
        capabilities=link.conn.capabilities,
        tls=link.tls,
        user=(link.login.user or None) if link.login else None,
        connect_time=_time_until(seen, Opened),
        tls_time=_time_until(seen, Secured),
        greeting_time=greeting[2] if greeting else None,
        hello_time=hello[2] if hello else None,
        noop_time=noop[2] if noop else None,
    )


def _answers(seen: list[TraceEvent]) -> Iterator[tuple[str | None, Reply, float]]:
    """Yield each reply with the command that it answers, None for the greeting, and the seconds it took."""
    for before, event in pairwise(seen):
        if isinstance(event, Received):
            command = before.line if isinstance(before, Sent) else None
            yield command, event.reply, event.time - before.time


def _time_until(seen: list[TraceEvent], kind: type[TraceEvent]) -> float | None:
    """Return the seconds between the first event of a kind and the one before it."""
    pairs = pairwise(seen)
    return next((event.time - before.time for before, event in pairs if isinstance(event, kind)), None)


def _tls_failure(failure: Exception | None) -> Exception | None:
    """Return why there was no TLS, or none verified."""
    return failure.cause if isinstance(failure, TlsBroke) else failure if isinstance(failure, NoTls) else None
