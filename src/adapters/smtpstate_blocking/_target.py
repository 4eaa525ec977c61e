"""A target of mail under plain blocking sockets."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Self, final

from smtpstate._auth import Credentials
from smtpstate._config import TargetConfig
from smtpstate._delivery import Delivery
from smtpstate._envelope import Envelope
from smtpstate._message import Message
from smtpstate._trace import Trace
from smtpstate_blocking._gate import Gate
from smtpstate_blocking._wire import Wire, drive
from smtpstate_io import Slot, TargetBase

if TYPE_CHECKING:
    from smtpstate._message import Readable


@final
class Target(TargetBase[Wire]):
    """Hands messages to the endpoints of a ``TargetConfig``, over connections that it keeps.

    Leave it by ``with``: that waits for deliveries under way, and says goodbye
    on all connections. Any number of threads may use it together; at most
    ``max_connections`` of them are served at a time, in the order in which they
    came. A target that was never entered keeps no connection.

    Args:
        config: where mail is handed to, and how.
        trace: takes each trace event as it happens; in the thread that delivers.

    Raises:
        ConfigError: a file that ``config`` names cannot be read, or this TLS
            library lacks what it asks for.
    """

    def __init__(self, config: TargetConfig, *, trace: Trace | None = None) -> None:
        super().__init__(config, trace=trace)
        self._permit = Gate(config.max_connections)
        self._books = Lock()  # held while the pool is asked or told

    def __enter__(self) -> Self:
        self._check_open()
        self._entered = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left = True
        if error is not None:
            self._close()
            return
        try:
            for _ in range(self._config.max_connections):  # whoever is still at work is waited for
                self._permit.__enter__()
            while (slot := self._take_any()) is not None:
                self._leave(slot)
        finally:
            self._close()

    def deliver(
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
        self.run(delivery)
        return delivery

    def run(self, delivery: Delivery) -> None:
        """Do the same for a delivery that the caller made, and can read after an interruption too."""
        self._check_open()
        with self._permit:
            with self._books:
                slot = self._pool.take(delivery)
            try:
                drive(slot.courier.delivering(delivery), slot.wire)
                if not (self._entered and slot.courier.keeps_connection):
                    drive(slot.courier.leaving(), slot.wire)
            except BaseException:
                self._drop(slot)
                raise
            with self._books:
                self._pool.give(slot)
            while (expired := self._take_expired()) is not None:
                self._leave(expired)

    def _leave(self, slot: Slot[Wire]) -> None:
        try:
            drive(slot.courier.leaving(), slot.wire)
        finally:
            self._drop(slot)

    def _take_expired(self) -> Slot[Wire] | None:
        with self._books:
            return self._pool.take_expired()

    def _take_any(self) -> Slot[Wire] | None:
        with self._books:
            return self._pool.take_any()

    def _drop(self, slot: Slot[Wire]) -> None:
        with self._books:
            self._pool.drop(slot)

    def _close(self) -> None:
        with self._books:
            self._pool.close()

    def _wire(self) -> Wire:
        return Wire(self._context_for)
