"""Perform requests with plain sockets; whoever asks is blocked meanwhile."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator
from queue import Empty, SimpleQueue
from ssl import SSLContext
from typing import TypeVar, final

from smtpstate._dialogue import Dialogue
from smtpstate._endpoints import Endpoint
from smtpstate._errors import DeadlinePassed
from smtpstate._requests import (
    Clock,
    Connect,
    Connected,
    Give,
    Handshake,
    Negotiated,
    Poll,
    Pull,
    Receive,
    Request,
    Send,
    Take,
)
from smtpstate._tls import TlsClient
from smtpstate_io import (
    Address,
    Channel,
    Lane,
    Sources,
    Wait,
    known_addresses,
    looked_up,
    name_unknown,
)

T = TypeVar("T")

_DAY = 86400.0  # seconds; the longest time that is slept at once, since the system counts in few bits


@final
class Wire:
    """One connection at a time.

    Args:
        context_for: gives the context for each ``Handshake``.
    """

    def __init__(self, context_for: Callable[[TlsClient], SSLContext]) -> None:
        self.clock: Clock = time.monotonic
        self._channel = Channel(context_for)

    def perform(self, request: Request) -> Connected | Negotiated | bytes | None:
        """Do what is asked for, and return the answer.

        Raises:
            TransportError: it could not be done; ``DeadlinePassed`` if not in time.
        """
        if isinstance(request, Poll):
            return self._channel.poll()
        for wait, deadline in self.waits(request):
            _until(wait, deadline)
        return self._channel.answer

    def waits(self, request: Request) -> Iterator[tuple[Wait, float]]:
        """Do what is asked for, but leave the waiting to the caller, each time until its deadline at most.

        Raises:
            TransportError: it could not be done; ``DeadlinePassed`` if not in time.
        """
        channel = self._channel
        match request:
            case Connect():
                waits = channel.connect(request, _look_up(request.endpoint, request.deadline))
            case Receive() | Send() | Handshake():
                waits = channel.perform(request)
            case _:
                raise TypeError(f"not a request for a connection: {request!r}")
        for wait in waits:
            yield wait, request.deadline

    @property
    def answer(self) -> Connected | Negotiated | bytes | None:
        """The answer to the request whose waits have come to their end."""
        return self._channel.answer

    def close(self) -> None:
        """Close the connection at once."""
        self._channel.close()


def drive(dialogue: Dialogue[T], wire: Wire) -> T:
    """Perform all requests of ``dialogue``, and return its result.

    Raises:
        SmtpStateError: what the dialogue raised, and unchanged whatever the
            caller's own source raised.
    """
    sources = Sources()
    try:
        for request in dialogue.requests(time.monotonic):
            try:
                answer = sources.pull(request.source) if isinstance(request, Pull) else wire.perform(request)
            except Exception as error:
                dialogue.fail(error)
            else:
                dialogue.answer(answer)
    finally:
        sources.close()
    return dialogue.result


def steps_of(dialogue: Dialogue[T], wire: Wire, lane: Lane) -> Generator[tuple[Wait, float], None, T]:
    """Drive one dialogue of several in the same thread: yield what to wait for, and until when.

    Raises:
        SmtpStateError: what the dialogue raised, and unchanged whatever the
            caller's own source raised.
    """
    sources = Sources()
    try:
        for request in dialogue.requests(time.monotonic):
            try:
                answer: object
                if isinstance(request, Pull):
                    answer = sources.pull(request.source)
                elif isinstance(request, (Take, Give)):
                    answer = lane.answer(request)
                elif isinstance(request, Poll):
                    answer = wire.perform(request)
                else:
                    yield from wire.waits(request)
                    answer = wire.answer
            except Exception as error:
                dialogue.fail(error)
            else:
                dialogue.answer(answer)
    finally:
        sources.close()
    return dialogue.result


def _until(wait: Wait, deadline: float) -> None:
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise DeadlinePassed("the deadline passed")
    poll = select.poll()
    for sock in wait.sockets:
        poll.register(sock, select.POLLOUT if wait.to_write else select.POLLIN)
    seconds = remaining if wait.seconds is None else min(remaining, wait.seconds)
    poll.poll(min(seconds, _DAY) * 1000)


def _look_up(endpoint: Endpoint, deadline: float) -> list[Address]:
    known = known_addresses(endpoint)
    if known is not None:
        return known
    # Nothing can interrupt a look-up, so that a thread of its own waits for it; where the
    # system's resolver takes longer than the deadline, that thread outlives it.
    answers: SimpleQueue[list[Address] | OSError | UnicodeError] = SimpleQueue()

    def look_up() -> None:
        try:
            answers.put(looked_up(socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)))
        except (OSError, UnicodeError) as error:
            answers.put(error)

    thread = threading.Thread(target=look_up, name=f"look-up of {endpoint.host}", daemon=True)
    thread.start()
    try:
        answer = answers.get(timeout=min(max(deadline - time.monotonic(), 0), _DAY))
    except Empty:
        raise DeadlinePassed(f"the look-up of {endpoint.host} took too long") from None
    thread.join()
    if isinstance(answer, Exception):
        raise name_unknown(endpoint, answer) from answer
    return answer
