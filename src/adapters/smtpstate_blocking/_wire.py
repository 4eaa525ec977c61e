"""Perform requests with plain sockets; whoever asks is blocked meanwhile."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterable
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
    hook_failed,
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
        connect: connects in the caller's own way: given an endpoint it returns a
            connected socket. Nothing can interrupt it, so that it must mind
            ``connect_timeout`` itself; what it returns later is closed.
    """

    def __init__(
        self,
        context_for: Callable[[TlsClient], SSLContext],
        *,
        connect: Callable[[Endpoint], socket.socket] | None = None,
    ) -> None:
        self.clock: Clock = time.monotonic
        self._channel = Channel(context_for)
        self._connect = connect
        # For reading and for writing: what was waited for last, and how.
        self._polls: list[tuple[Wait | None, select.poll]] = [(None, select.poll()), (None, select.poll())]

    def perform(self, request: Request) -> Connected | Negotiated | bytes | None:
        """Do what is asked for, and return the answer.

        Raises:
            TransportError: it could not be done; ``DeadlinePassed`` if not in time.
            LocalProtocolError: what the caller's own hook gave cannot be used.
            Exception: unchanged, whatever else that hook raises.
        """
        channel = self._channel
        if isinstance(request, Receive):
            data = channel.held()
            while data is None:
                # An answer that came in time is heard even by who was busy until the deadline.
                remaining = request.deadline - self.clock()
                if remaining > 0:
                    self.until(channel.readable, remaining)
                data = channel.look()
                if data is None and remaining <= 0:
                    raise DeadlinePassed("the deadline passed")
            return data
        if isinstance(request, Poll):
            data = channel.held()
            if data is None and self._ready(channel.readable):
                data = channel.look()
            return data
        if isinstance(request, Send):
            rest = channel.send(request)
            if rest is None:
                return None
            waits: Iterable[Wait] = rest
            deadline = request.deadline
        else:
            waits, deadline = self.begin(request)
        for wait in waits:  # each comes after a look that has found nothing to be done
            remaining = deadline - self.clock()
            if remaining <= 0:
                raise DeadlinePassed("the deadline passed")
            self.until(wait, remaining)
        return channel.answer

    def begin(self, request: Request) -> tuple[Iterable[Wait], float]:
        """Do at once what can be; return what to wait for until it is done, and the deadline of that.

        Raises:
            TransportError: it could not be done; ``DeadlinePassed`` if not in time.
            LocalProtocolError: what the caller's own hook gave cannot be used.
            Exception: unchanged, whatever else that hook raises.
        """
        if isinstance(request, Send):
            return self._channel.send(request) or (), request.deadline
        if isinstance(request, (Receive, Handshake)):
            return self._channel.perform(request), request.deadline
        if not isinstance(request, Connect):
            raise TypeError(f"not a request for a connection: {request!r}")
        if self._connect is not None:
            self._use_hook(self._connect, request)
            return (), request.deadline
        addresses = _look_up(request.endpoint, request.deadline)
        return self._channel.connect(request, addresses), request.deadline

    def until(self, wait: Wait, remaining: float) -> None:
        """Wait as ``wait`` says, for ``remaining`` seconds at most."""
        known, poll = self._polls[wait.to_write]
        if known is not wait:
            poll = self._poll_for(wait)
        seconds = wait.seconds
        if seconds is None or seconds > remaining:
            seconds = remaining
        poll.poll(min(seconds, _DAY) * 1000)

    @property
    def answer(self) -> Connected | Negotiated | bytes | None:
        """The answer to the request whose waits have come to their end."""
        return self._channel.answer

    def close(self) -> None:
        """Close the connection at once."""
        self._channel.close()

    def hang_up(self) -> None:
        """End the connection under somebody who still uses it, and is to close it."""
        self._channel.hang_up()

    def _use_hook(self, connect: Callable[[Endpoint], socket.socket], request: Connect) -> None:
        self.close()
        try:
            self._channel.adopt(connect(request.endpoint))
        except (OSError, EOFError) as error:
            raise hook_failed(request.endpoint, error) from error
        if self.clock() >= request.deadline:
            self.close()
            raise DeadlinePassed("the deadline passed")

    def _ready(self, wait: Wait) -> bool:
        """Return whether there is nothing to wait for: asking costs less than to fail at it."""
        known, poll = self._polls[wait.to_write]
        if known is not wait:
            poll = self._poll_for(wait)
        return bool(poll.poll(0))

    def _poll_for(self, wait: Wait) -> select.poll:
        poll = select.poll()
        for sock in wait.sockets:
            poll.register(sock, select.POLLOUT if wait.to_write else select.POLLIN)
        self._polls[wait.to_write] = wait, poll
        return poll


def drive(dialogue: Dialogue[T], wire: Wire) -> T:
    """Perform all requests of ``dialogue``, and return its result.

    Raises:
        SmtpStateError: what the dialogue raised, and unchanged whatever the
            caller's own source raised.
    """
    sources: Sources | None = None
    steps = dialogue.begin(wire.clock)
    answer: object = None
    failure: Exception | None = None
    try:
        while True:
            if failure is None:
                request = steps.send(answer)
            else:
                request = steps.throw(failure)
                failure = None
            try:
                if isinstance(request, Pull):
                    sources = sources or Sources(wire.clock)
                    answer = sources.pull(request)
                else:
                    answer = wire.perform(request)
            except Exception as error:
                failure = error
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        failure = None  # which holds this frame
        steps.close()
        if sources is not None:
            sources.close()


def steps_of(dialogue: Dialogue[T], wire: Wire, lane: Lane) -> Generator[tuple[Wait, float], None, T]:
    """Drive one dialogue of several in the same thread: yield what to wait for, and until when.

    Raises:
        SmtpStateError: what the dialogue raised, and unchanged whatever the
            caller's own source raised.
    """
    sources = Sources(wire.clock)
    try:
        for request in dialogue.requests(wire.clock):
            try:
                answer: object
                if isinstance(request, Pull):
                    answer = sources.pull(request)
                elif isinstance(request, (Take, Give)):
                    answer = lane.answer(request)
                elif isinstance(request, Poll):
                    answer = wire.perform(request)
                else:
                    waits, deadline = wire.begin(request)
                    for wait in waits:
                        yield wait, deadline
                    answer = wire.answer
            except Exception as error:
                dialogue.fail(error)
            else:
                dialogue.answer(answer)
    finally:
        sources.close()
    return dialogue.result


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
