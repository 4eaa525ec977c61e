"""What a target is under every adapter."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from contextlib import closing
from secrets import token_urlsafe
from ssl import SSLContext
from types import TracebackType
from typing import TYPE_CHECKING, Self

from smtpstate._auth import Credentials
from smtpstate._config import TargetConfig
from smtpstate._courier import forwarding
from smtpstate._delivery import Delivery
from smtpstate._dialogue import Dialogue
from smtpstate._envelope import Envelope
from smtpstate._message import Message
from smtpstate._tls import TlsClient
from smtpstate._trace import Trace
from smtpstate_io._async import AsyncWire, drive
from smtpstate_io._contexts import Contexts

if TYPE_CHECKING:
    from smtpstate._message import Readable


class TargetBase:
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
        self._trace = trace
        self._contexts = Contexts()
        if config.tls_client != TlsClient():
            self._contexts.get(config.tls_client)  # a file that cannot be read is to be known now

    def __repr__(self) -> str:
        return f"<Target {' '.join(map(str, self._config.endpoints))}>"

    def _context_for(self, tls: TlsClient) -> SSLContext:
        return self._contexts.get(tls)

    def _forwarding(self, delivery: Delivery) -> Dialogue[None]:
        return forwarding(delivery, self._config, nonce=token_urlsafe, trace=self._trace)


class AsyncTarget(TargetBase):
    """Hands messages to the endpoints of a ``TargetConfig``; leave it by ``async with``.

    Args:
        config: where mail is handed to, and how.
        trace: takes each trace event as it happens.

    Raises:
        ConfigError: a file that ``config`` names cannot be read, or this TLS
            library lacks what it asks for.
    """

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is open between two deliveries."""

    async def deliver(
        self,
        envelope: Envelope,
        message: Message | Readable | Callable[[], Readable],
        *,
        credentials: Credentials | None = None,
    ) -> Delivery:
        """Hand a message over, and return what became of each recipient.

        What servers and the network do is said in the outcomes, never by an
        exception.

        Args:
            envelope: who sends, and who is to receive.
            message: read once, in constant memory; again where another endpoint
                must be tried and it can be had from its start.
            credentials: for targets that forward those of their callers.

        Raises:
            LocalProtocolError: the envelope or the message is not as it must be;
                if the message turns out so while it is sent, it is not delivered.
            Exception: unchanged, whatever the message's own source raises.
        """
        delivery = Delivery(envelope, message, credentials=credentials)
        await self.run(delivery)
        return delivery

    async def run(self, delivery: Delivery) -> None:
        """Do the same for a delivery that the caller made, and can read after a cancellation too."""
        with closing(self._wire()) as wire:
            await drive(self._forwarding(delivery), wire)

    @abstractmethod
    def _wire(self) -> AsyncWire:
        """Return something to connect with."""
