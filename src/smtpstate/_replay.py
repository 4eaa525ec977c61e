"""Play a delivery again from its trace: what was heard then is heard again, without a network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, replace
from typing import final

from smtpstate._auth import Auth
from smtpstate._config import TargetConfig
from smtpstate._courier import forwarding
from smtpstate._delivery import Delivery
from smtpstate._errors import DeadlinePassed, RemoteProtocolError, TlsFailed, TransportError
from smtpstate._mechanisms import Exchange, MechanismFailed
from smtpstate._message import Source
from smtpstate._requests import Connect, Connected, Handshake, Negotiated, Poll, Pull, Receive, Request, Send
from smtpstate._trace import (
    Cause,
    Failed,
    LoggedIn,
    Opened,
    Received,
    Secured,
    Sent,
    Settled,
    TraceEvent,
)
from smtpstate._trace_json import from_json
from smtpstate.testing._pulling import pulled

_HELLO = ("EHLO ", "LHLO ", "HELO ")


class TraceDiffers(Exception):
    """A delivery that is played again does not do what its trace says."""


def replay(trace: Iterable[TraceEvent | str], delivery: Delivery, config: TargetConfig) -> None:
    """Carry ``delivery`` out once more, against the servers and the network that a trace remembers.

    The trace is that of one delivery, from its connection on. No secret is
    needed for it: credentials in ``config`` may be any, since what answers
    challenges is made up. What a server's proof is worth is not tried again.

    Args:
        trace: the events, or the lines that ``as_json`` made of them.
        delivery: of the same envelope and message; afterwards its outcomes are those of then.
        config: the same settings.

    Raises:
        TraceDiffers: it says or does something else than it did; the message says where.
        ValueError: a line is none of a trace.
    """
    recording = _Recording([from_json(each) if isinstance(each, str) else each for each in trace])
    dialogue = forwarding(
        delivery, recording.without_secrets(config), nonce=lambda: "nonce" * 4, trace=recording.compare
    )
    for request in dialogue.requests(recording.clock):
        try:
            answer = recording.answer(request)
        except (TransportError, RemoteProtocolError) as error:
            dialogue.fail(error)
        else:
            dialogue.answer(answer)
    recording.check_finished()


@final
class _Recording:
    """A trace, and how far it has been played."""

    def __init__(self, events: list[TraceEvent]) -> None:
        self._events = events
        self._at = 0
        self._first: TraceDiffers | None = None
        self._sources: dict[Source, Iterator[bytes]] = {}

    def clock(self) -> float:
        """Return the time of what comes next."""
        return self._events[min(self._at, len(self._events) - 1)].time if self._events else 0.0

    def without_secrets(self, config: TargetConfig) -> TargetConfig:
        """Return ``config`` with a mechanism that answers each challenge as if it knew how."""
        begun = {
            event.line for event in self._events if isinstance(event, Sent) and event.line.startswith("AUTH ")
        }
        if len(begun) != 1 or config.auth.kind == "forward":
            return config
        name, initial = f"{begun.pop()[5:]} ".split(" ", 1)
        auth = Auth.own(name, lambda: self._respond(b"made up" if initial else None))
        settings: Mapping[str, object] = {each.name: getattr(config, each.name) for each in fields(config)}
        return TargetConfig.from_mapping({**settings, "auth": auth})

    def _respond(self, response: bytes | None) -> Exchange:
        while True:
            yield response
            response = b"made up"
            match self._next:
                case Failed() as failed:
                    raise MechanismFailed(failed.error)
                case Sent(line="*"):
                    raise MechanismFailed(self._why_given_up())
                case _:
                    pass

    def _why_given_up(self) -> str:
        # Only the outcomes say why.
        settled = (event.outcome for event in self._events[self._at :] if isinstance(event, Settled))
        return next((outcome.reply.text.removeprefix("4.7.0 ") for outcome in settled), "")

    @property
    def _next(self) -> TraceEvent | None:
        return self._events[self._at] if self._at < len(self._events) else None

    def compare(self, event: TraceEvent) -> None:
        """Compare what happens with what happened, but for the time, and go on."""
        then = self._next
        if then is None or _comparable(event) != _comparable(then):
            raise self._difference(str(event))
        self._at += 1

    def check_finished(self) -> None:
        """Check that all of the trace was played."""
        if self._next is not None or self._first is not None:
            raise self._difference("the end")

    def _difference(self, now: str) -> TraceDiffers:
        if self._first is None:  # what follows from it differs too
            there = "its end" if self._next is None else f"event {self._at + 1}: {self._next}"
            self._first = TraceDiffers(f"the trace has {there}; now there is {now}")
        return self._first

    def answer(self, request: Request) -> Connected | Negotiated | bytes | None:
        """Answer a request as it was answered then, or fail it likewise."""
        then = self._next
        match request, then:
            case Pull(deadline=float()), Failed(cause=Cause.DEADLINE):
                raise self._failure(then)
            case Pull(), _:
                if request.source not in self._sources:
                    self._sources[request.source] = pulled(request.source, None)
                return next(self._sources[request.source], b"")
            case Connect(), Opened():
                return self._connected(request, then)
            case Handshake(), Secured():
                return then.tls
            case ((Receive() | Poll()), Received()):
                return self._heard()
            case Poll(), Failed() if then.cause in (Cause.NETWORK, Cause.TLS, Cause.PROTOCOL):
                raise self._failure(then)
            case Poll(), _:
                return None
            case Send(), Failed() if self._in_the_middle_of_content:
                raise self._failure(then)
            case Send(), _:
                return None
            case _, Failed():
                raise self._failure(then)
            case _:
                raise self._difference(repr(request))

    def _connected(self, request: Connect, opened: Opened) -> Connected:
        if request.endpoint.is_unix:
            return Connected(None, None)
        # Our own address is known from the name that we gave, unless the settings give another.
        sent = (each.line for each in self._events[self._at :] if isinstance(each, Sent))
        name = next((line.partition(" ")[2] for line in sent if line.startswith(_HELLO)), "")
        local = name[1:-1].removeprefix("IPv6:") if name.startswith("[") else None
        return Connected(local, opened.remote)

    def _heard(self) -> bytes:
        """Return the replies that came before anything else happened."""
        replies: list[bytes] = []
        for event in self._events[self._at :]:
            if not isinstance(event, Received):
                break
            replies.append(bytes(event.reply))
        return b"".join(replies)

    @property
    def _in_the_middle_of_content(self) -> bool:
        before = self._events[self._at - 1] if self._at else None
        return isinstance(before, Sent) and before.line.endswith("octets)") and " LAST " not in before.line

    def _failure(self, failed: Failed) -> TransportError | RemoteProtocolError | TraceDiffers:
        error = failed.error
        match failed.cause:
            case Cause.NETWORK:
                return TransportError(error)
            case Cause.NAME:
                return TransportError(error, name_unknown=True)
            case Cause.DEADLINE:
                return DeadlinePassed(error)
            case Cause.CERTIFICATE | Cause.TLS:
                return TlsFailed(error, certificate=failed.cause is Cause.CERTIFICATE)
            case Cause.PROTOCOL:
                return RemoteProtocolError(error, failed.reply)
            case _:
                return self._difference(
                    "no such failure, which only the message or its source can bring about"
                )


def _comparable(event: TraceEvent) -> object:
    """Return what must be the same again: neither the time, nor what a trace does not say in full."""
    if isinstance(event, LoggedIn):
        return LoggedIn
    if isinstance(event, Settled):
        outcome = event.outcome
        return outcome.recipient, outcome.status, outcome.reply, outcome.phase, outcome.endpoint
    if isinstance(event, Secured):
        return event.tls.version, event.tls.cipher, event.tls.verified
    return replace(event, time=0.0)
