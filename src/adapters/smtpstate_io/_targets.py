"""What a target is under every adapter."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from ssl import SSLContext
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from smtpstate._auth import Credentials
from smtpstate._config import TargetConfig
from smtpstate._delivery import Delivery
from smtpstate._envelope import Envelope
from smtpstate._errors import LocalProtocolError
from smtpstate._message import Message
from smtpstate._tls import TlsClient
from smtpstate._trace import Trace
from smtpstate_io._async import AsyncWire, drive
from smtpstate_io._contexts import Contexts
from smtpstate_io._logging import traced
from smtpstate_io._pool import Closable, Pool, Slot

if TYPE_CHECKING:
    from smtpstate._message import Readable

W = TypeVar("W", bound=Closable)


class TargetBase(Generic[W]):
    """The part of a target that needs no I/O.

    Args:
        config: where mail is handed to, and how.
        trace: takes each trace event as it happens.

    Raises:
        ConfigError: a file that ``config`` names cannot be read, or this TLS
            library lacks what it asks for.
    """

    def __init__(self, config: TargetConfig, *, trace: Trace | None = None) -> None:
        self._config = config
        self._contexts = Contexts()
        if config.tls_client != TlsClient():
            self._contexts.get(config.tls_client)  # a file that cannot be read is to be known now
        self._pool = Pool(config, traced(config, trace), self._wire)
        self._entered = False
        self._left = False

    def __repr__(self) -> str:
        return f"<Target {' '.join(map(str, self._config.endpoints))}>"

    def _context_for(self, tls: TlsClient) -> SSLContext:
        return self._contexts.get(tls)

    def _check_open(self) -> None:
        if self._left:
            raise LocalProtocolError("the target is closed")

    @abstractmethod
    def _wire(self) -> W:
        """Return something to connect with."""


class AsyncTarget(TargetBase[AsyncWire]):
    """Hands messages to the endpoints of a ``TargetConfig``, over connections that it keeps.

    Leave it by ``async with``: that waits for deliveries under way, and says
    goodbye on all connections. Any number of tasks may use it together; at most
    ``max_connections`` of them are served at a time, in the order in which they
    came. A target that was never entered keeps no connection.

    Args:
        config: where mail is handed to, and how.
        trace: takes each trace event as it happens.

    Raises:
        ConfigError: a file that ``config`` names cannot be read, or this TLS
            library lacks what it asks for.
    """

    def __init__(self, config: TargetConfig, *, trace: Trace | None = None) -> None:
        super().__init__(config, trace=trace)
        self._permits: AbstractAsyncContextManager[object] | None = None

    async def __aenter__(self) -> Self:
        self._check_open()
        self._entered = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left = True
        if error is not None:
            self._pool.close()
            return
        try:
            for _ in range(self._config.max_connections):  # whoever is still at work is waited for
                await self._permit().__aenter__()
            while (slot := self._pool.take_any()) is not None:
                await self._leave(slot)
        finally:
            self._pool.close()

    async def deliver(
        self,
        envelope: Envelope,
        message: Message | Readable | Callable[[], Readable],
        *,
        credentials: Credentials | None = None,
        progress: Callable[[int, int | None], object] | None = None,
    ) -> Delivery:
        """Hand a message over, and return what became of each recipient.

        What servers and the network do is said in the outcomes, never by an
        exception.

        Args:
            envelope: sender and recipients.
            message: the message, in any of its forms.
            credentials: the sender's own, for targets that forward them.
            progress: called with the octets of the message that have been sent, and
                how many there are in all where that is known.

        Raises:
            LocalProtocolError: the envelope or the message is not as it must be;
                if the message turns out so while it is sent, it is not delivered.
            Exception: unchanged, whatever the message's own source raises.
        """
        delivery = Delivery(envelope, message, credentials=credentials, progress=progress)
        await self.run(delivery)
        return delivery

    async def run(self, delivery: Delivery) -> None:
        """Do the same for a delivery that the caller made, and can read after a cancellation too."""
        self._check_open()
        async with self._permit():
            slot = self._pool.take(delivery)
            try:
                await drive(slot.courier.delivering(delivery), slot.wire)
                if not (self._entered and slot.courier.keeps_connection):
                    await drive(slot.courier.leaving(), slot.wire)
            except BaseException:
                self._pool.drop(slot)
                raise
            self._pool.give(slot)
            while (expired := self._pool.take_expired()) is not None:
                await self._leave(expired)

    async def _leave(self, slot: Slot[AsyncWire]) -> None:
        try:
            await drive(slot.courier.leaving(), slot.wire)
        finally:
            self._pool.drop(slot)

    def _permit(self) -> AbstractAsyncContextManager[object]:
        # Made within the event loop, as some frameworks want it.
        if self._permits is None:
            self._permits = self._semaphore(self._config.max_connections)
        return self._permits

    @abstractmethod
    def _semaphore(self, permits: int) -> AbstractAsyncContextManager[object]:
        """Return the framework's own semaphore, which serves in the order of arrival."""
