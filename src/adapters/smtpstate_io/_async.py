"""What the asynchronous adapters have in common: all but the waiting."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
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
from smtpstate_io._addresses import Address, AddressInfo, known_addresses, looked_up, name_unknown
from smtpstate_io._backlog import Lane
from smtpstate_io._channel import Channel
from smtpstate_io._sources import AsyncSources
from smtpstate_io._waits import Wait

T = TypeVar("T")

_MUCH = 32768  # octets; whoever sends so many without having to wait lets others have their turn


class AsyncWire(ABC):
    """One connection at a time, under a framework that a subclass knows.

    Args:
        context_for: gives the context for each ``Handshake``.
        clock: the framework's own; deadlines are read on it.
    """

    def __init__(self, context_for: Callable[[TlsClient], SSLContext], clock: Clock) -> None:
        self.clock = clock
        self._channel = Channel(context_for)

    async def perform(self, request: Request) -> Connected | Negotiated | bytes | None:
        """Do what is asked for, and return the answer.

        Raises:
            TransportError: it could not be done; ``DeadlinePassed`` if not in time.
        """
        channel = self._channel
        match request:
            case Poll():
                return channel.poll()
            case Connect():
                self.close()
                waits = channel.connect(request, await self._addresses(request.endpoint, request.deadline))
            case Receive() | Send() | Handshake():
                waits = channel.perform(request)
            case _:
                raise TypeError(f"not a request for a connection: {request!r}")
        waited = False
        for wait in waits:
            now = self.clock()
            if now >= request.deadline:
                raise DeadlinePassed("the deadline passed")
            ends = request.deadline if wait.seconds is None else min(request.deadline, now + wait.seconds)
            await self._until(ends, wait)
            waited = True
        if not waited and isinstance(request, Send) and len(request.data) >= _MUCH:
            await self._checkpoint()
        return channel.answer

    def close(self) -> None:
        """Close the connection at once."""
        self._channel.close()

    async def _addresses(self, endpoint: Endpoint, deadline: float) -> list[Address]:
        known = known_addresses(endpoint)
        if known is not None:
            return known
        try:
            infos = await self._look_up(endpoint.host, endpoint.port, deadline)
        except (OSError, UnicodeError) as error:
            raise name_unknown(endpoint, error) from error
        if infos is None:
            raise DeadlinePassed(f"the look-up of {endpoint.host} took too long")
        return looked_up(infos)

    @abstractmethod
    async def _until(self, ends: float, wait: Wait) -> None:
        """Return at ``ends``, or as soon as one of the sockets is ready; too early does no harm."""

    @abstractmethod
    async def _look_up(self, host: str, port: int, deadline: float) -> Iterable[AddressInfo] | None:
        """Return what ``getaddrinfo`` finds for stream sockets, or None at ``deadline``."""

    @abstractmethod
    async def _checkpoint(self) -> None:
        """Let other tasks have their turn."""


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
    sources = AsyncSources()
    try:
        for request in dialogue.requests(wire.clock):
            try:
                if isinstance(request, Pull):
                    dialogue.answer(await sources.pull(request.source))
                elif isinstance(request, (Take, Give)) and lane is not None:
                    dialogue.answer(lane.answer(request))
                else:
                    dialogue.answer(await wire.perform(request))
            except Exception as error:
                dialogue.fail(error)
    finally:
        await sources.aclose()
    return dialogue.result
