"""A target of mail under plain blocking sockets."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from types import TracebackType
from typing import TYPE_CHECKING, Self, final

from smtpstate._auth import Credentials
from smtpstate._delivery import Delivery
from smtpstate._envelope import Envelope
from smtpstate._message import Message
from smtpstate_blocking._wire import Wire, drive
from smtpstate_io import TargetBase

if TYPE_CHECKING:
    from smtpstate._message import Readable


@final
class Target(TargetBase):
    """Hands messages to the endpoints of a ``TargetConfig``; leave it by ``with``.

    Args:
        config: where mail is handed to, and how.
        trace: takes each trace event as it happens.

    Raises:
        ConfigError: a file that ``config`` names cannot be read, or this TLS
            library lacks what it asks for.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is open between two deliveries."""

    def deliver(
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
        self.run(delivery)
        return delivery

    def run(self, delivery: Delivery) -> None:
        """Do the same for a delivery that the caller made, and can read after an interruption too."""
        with closing(Wire(self._context_for)) as wire:
            drive(self._forwarding(delivery), wire)
