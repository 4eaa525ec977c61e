"""What the asynchronous adapters have in common: all but the waiting."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from inspect import isawaitable
from ssl import SSLContext
from typing import TypeVar

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
from smtpstate_io._addresses import Address, known_addresses, looked_up, name_unknown
from smtpstate_io._backlog import Lane
from smtpstate_io._channel import Channel
from smtpstate_io._handed import hook_failed
from smtpstate_io._sources import AsyncSources
from smtpstate_io._waits import Wait, Waiter

T = TypeVar("T")

_MUCH = 32768  # octets; whoever sends so many without having to wait lets others have their turn


class AsyncWire:
    """One connection at a time, under a framework that a subclass knows.

    Args:
        context_for: gives the context for each ``Handshake``.
        make_waiter: makes what waits for the connection, given what to call when
            octets have arrived and nobody has asked for them yet.
        connect: connects in the caller's own way: given an endpoint it returns a
            connected socket, or an awaitable of one, or a stream of the framework's.
    """

    def __init__(
        self,
        context_for: Callable[[TlsClient], SSLContext],
        make_waiter: Callable[[Callable[[], None]], Waiter],
        connect: Callable[[Endpoint], object] | None = None,
    ) -> None:
        self._channel = Channel(context_for)
        self._waiter = make_waiter(self._channel.receive_early)
        self._connect = connect
        self.clock: Clock = self._waiter.clock

    async def perform(self, request: Request) -> Connected | Negotiated | bytes | None:
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
                in_time = self.clock() < request.deadline
                if in_time:
                    await self._waiter.until(request.deadline, channel.readable)
                data = channel.look()
                if data is None and not in_time:
                    raise DeadlinePassed("the deadline passed")
            return data
        if isinstance(request, Send):
            rest = channel.send(request)
            if rest is not None:
                await self._finish(rest, request.deadline)
            elif len(request.data) >= _MUCH:
                await self._waiter.checkpoint()
            return None
        if isinstance(request, Poll):
            return channel.poll()
        if isinstance(request, Handshake):
            await self._finish(channel.perform(request), request.deadline)
        elif not isinstance(request, Connect):
            raise TypeError(f"not a request for a connection: {request!r}")
        elif self._connect is not None:
            await self._use_hook(self._connect, request)
        else:
            self.close()
            addresses = await self._addresses(request.endpoint, request.deadline)
            await self._finish(channel.connect(request, addresses), request.deadline)
        return channel.answer

    async def within(self, deadline: float, doing: Awaitable[T]) -> T:
        """Return what ``doing`` gives, and cancel it at ``deadline``.

        Raises:
            DeadlinePassed: it was not done by then.
        """
        return await self._waiter.within(deadline, doing)

    def sources(self) -> AsyncSources:
        """Return what reads messages for a dialogue on this wire; close it with the dialogue."""
        return AsyncSources(self._waiter)

    def close(self) -> None:
        """Close the connection at once."""
        self._waiter.forget()
        self._channel.close()

    def hang_up(self) -> None:
        """End the connection under somebody who still uses it, and is to close it."""
        self._channel.hang_up()

    async def _finish(self, waits: Iterator[Wait], deadline: float) -> None:
        for wait in waits:  # each comes after a look that has found nothing to be done
            now = self.clock()
            if now >= deadline:
                raise DeadlinePassed("the deadline passed")
            ends = deadline if wait.seconds is None else min(deadline, now + wait.seconds)
            await self._waiter.until(ends, wait)

    async def _use_hook(self, connect: Callable[[Endpoint], object], request: Connect) -> None:
        self.close()
        try:
            made = connect(request.endpoint)
            if isawaitable(made):
                made = await self._waiter.within(request.deadline, made)
            self._channel.adopt(*await self._waiter.socket_of(made))
        except self._waiter.failures as error:
            raise hook_failed(request.endpoint, error) from error
        if self.clock() >= request.deadline:
            self.close()
            raise DeadlinePassed("the deadline passed")

    async def _addresses(self, endpoint: Endpoint, deadline: float) -> list[Address]:
        known = known_addresses(endpoint)
        if known is not None:
            return known
        try:
            # A look-up that is given up leaves a thread of the framework's behind, until
            # the system's resolver answers: nothing can interrupt it.
            return looked_up(
                await self._waiter.within(deadline, self._waiter.look_up(endpoint.host, endpoint.port))
            )
        except DeadlinePassed:
            raise DeadlinePassed(f"the look-up of {endpoint.host} took too long") from None
        except (OSError, UnicodeError) as error:
            raise name_unknown(endpoint, error) from error


async def drive(dialogue: Dialogue[T], wire: AsyncWire, lane: Lane | None = None) -> T:
    """Perform all requests of ``dialogue``, and return its result.

    Args:
        dialogue: what to drive.
        wire: its connection.
        lane: where its deliveries come from and go to, if it delivers many.

    Raises:
        SmtpStateError: what the dialogue raised, and unchanged whatever the
            caller's own source raised.
    """
    sources: AsyncSources | None = None
    steps = dialogue.begin(wire.clock)
    said: object = None
    failure: Exception | None = None
    try:
        while True:
            if failure is None:
                request = steps.send(said)
            else:
                request = steps.throw(failure)
                failure = None
            kind = type(request)
            try:
                if kind is Receive or kind is Send:
                    said = await wire.perform(request)
                elif isinstance(request, Pull):
                    sources = sources or wire.sources()
                    said = await sources.pull(request)
                elif isinstance(request, (Take, Give)) and lane is not None:
                    said = lane.answer(request)
                else:
                    said = await wire.perform(request)
            except Exception as error:
                failure = error
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        failure = None  # which holds this frame
        steps.close()
        if sources is not None:
            await sources.aclose()
