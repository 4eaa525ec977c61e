"""A target of mail under plain blocking sockets."""

from __future__ import annotations

import socket
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, contextmanager
from math import inf
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, final

from smtpstate._auth import Credentials
from smtpstate._config import TargetConfig
from smtpstate._delivery import Delivery
from smtpstate._endpoints import Endpoint
from smtpstate._envelope import Envelope
from smtpstate._errors import DeliveryFailed, LocalProtocolError
from smtpstate._message import Message
from smtpstate._trace import Trace
from smtpstate_blocking._gate import Gate
from smtpstate_blocking._many import Deliveries
from smtpstate_blocking._slots import Slots
from smtpstate_blocking._transactions import Transaction
from smtpstate_blocking._wire import Wire, drive, steps_of
from smtpstate_io import Backlog, Lane, Slot, TargetBase, Wait

if TYPE_CHECKING:
    from smtpstate._message import Readable
    from smtpstate._replies import Reply
    from smtpstate_io._backlog import Item


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
        connect: connects in the caller's own way, as through a proxy: given an endpoint
            it returns a connected socket. It must mind the time by itself: what it
            returns after ``connect_timeout`` is closed. TLS comes after it.

    Raises:
        ConfigError: a file that ``config`` names cannot be read, or this TLS
            library lacks what it asks for.
    """

    def __init__(
        self,
        config: TargetConfig,
        *,
        trace: Trace | None = None,
        connect: Callable[[Endpoint], socket.socket] | None = None,
    ) -> None:
        super().__init__(config, trace=trace)
        self._connect = connect
        self._permit = Gate(config.max_connections)
        self._slots = Slots(self._pool)
        self._over = False

    def __enter__(self) -> Self:
        self._check_open()
        self._entered = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left = True
        if error is not None:
            self._slots.close()
            return
        with ExitStack() as stack:
            stack.callback(self._slots.close)
            for _ in range(self._config.max_connections):  # whoever is still at work is waited for
                stack.enter_context(self._permit)
            self._over = True  # for threads that come late, and must not wait for ever
            while (slot := self._slots.take_any()) is not None:
                self._leave(slot)

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
        with _Lent(self, delivery) as lent:
            drive(lent.slot.courier.delivering(delivery, lent.ends), lent.slot.wire)

    def deliver_many(self, deliveries: Iterable[Item], *, ahead: int = 32) -> Deliveries:
        """Hand many messages over, each begun before the ones before it are answered.

        Use it by ``with``, and iterate over what that gives. Another connection
        is opened where deliveries wait, up to ``max_connections``; each gives its
        deliveries back in the order in which they were begun. All of it happens in
        the caller's thread, while the caller waits for the next delivery. Whoever else
        waits for a connection has its turn in between.

        Args:
            deliveries: ``Delivery`` objects, or pairs of an envelope and a message. While
                it makes the caller wait, nothing is delivered; it must not wait for
                other deliveries of the target's.
            ahead: how many may be under way on one connection, at least 1.

        Raises:
            LocalProtocolError: the target is closed, or ``ahead`` is less than 1.
        """
        self._check_open()
        backlog = Backlog(
            iter(deliveries),
            depth=ahead,
            most=self._config.max_connections,
            waiting=lambda: inf if self._left else self._permit.waiting,
        )
        return Deliveries(backlog, self._permit, lend=self._lend, slots=self._slots, work=self._work)

    @contextmanager
    def transaction(
        self,
        envelope: Envelope,
        *,
        credentials: Credentials | None = None,
        size: int | None = None,
        eight_bit: bool | Literal["refuse", "send"] = "refuse",
        utf8: bool | None = None,
        binary: bool = False,
    ) -> Generator[Transaction, None, None]:
        """Take a transaction step by step: its reply to MAIL, each recipient's, then the message.

        Recipients of the envelope are named at once. Leaving the block before
        ``content`` delivers nothing. What is known of the message is declared here,
        since MAIL says it; recipients are not moved to other endpoints later.

        Args:
            envelope: the sender, and recipients that are known already.
            credentials: the sender's own, for targets that forward them.
            size: octets that the message will have, where that is known.
            eight_bit: whether it has octets beyond ASCII, as in ``Message``.
            utf8: whether its header holds UTF-8 (RFC 6532 §3.2), where that is known.
            binary: it is sent as it is, line ends included (RFC 3030 §3).

        Raises:
            DeliveryFailed: there is no endpoint to be had, or MAIL was refused.
            LocalProtocolError: the target is closed, or a value makes no sense.
        """
        self._check_open()
        declared = Message.declared(size=size, eight_bit=eight_bit, utf8=utf8, binary=binary)
        delivery = Delivery.stepwise(envelope, credentials)
        failure: Exception | None = None  # that leaves the connection as it is
        with _Lent(self, delivery) as lent:
            slot = lent.slot
            steps = slot.courier.transaction(delivery, declared, lent.ends)
            try:
                drive(steps.beginning(), slot.wire)
            except DeliveryFailed as error:
                failure = error
            else:
                taken = Transaction(steps, slot.wire)
                try:
                    yield taken
                except Exception as error:
                    failure = error
                finally:
                    if not taken.leave():
                        slot.wire = self._wire()
        if failure is not None:
            raise failure

    def authenticate(self, credentials: Credentials) -> Reply:
        """Try the sender's own credentials alone, and return the server's reply (RFC 4954 §6).

        It is a local reply where no server can be asked. The connection is kept
        for a delivery with the same credentials.

        Raises:
            LocalProtocolError: the target does not forward credentials, or is closed.
        """
        self._check_open()
        delivery = Delivery.stepwise(Envelope(None), credentials)
        with _Lent(self, delivery) as lent:
            return drive(lent.slot.courier.authenticating(credentials, lent.ends), lent.slot.wire)

    # The connections, for whoever has a permit.

    def _take(self, delivery: Delivery) -> Slot[Wire]:
        if self._over:
            raise LocalProtocolError("the target is closed")
        return self._slots.take(delivery)

    def _return(self, slot: Slot[Wire]) -> None:
        """Take back a slot whose delivery went its way, and leave those that have been idle for too long."""
        kept = self._entered and slot.courier.keeps_connection
        if not kept:
            try:
                drive(slot.courier.leaving(), slot.wire)
            except BaseException:
                self._slots.drop(slot)
                raise
        expired = self._slots.exchange(slot, kept=kept)
        while expired is not None:
            self._leave(expired)
            expired = self._slots.take_expired()

    def _lend(self, delivery: Delivery) -> Slot[Wire]:
        self._check_open()
        return self._slots.take(delivery)

    def _work(self, slot: Slot[Wire], lane: Lane) -> Generator[tuple[Wait, float], None, None]:
        yield from steps_of(slot.courier.delivering_many(lane.depth), slot.wire, lane)
        if not (self._entered and slot.courier.keeps_connection):
            yield from steps_of(slot.courier.leaving(), slot.wire, lane)

    def _leave(self, slot: Slot[Wire]) -> None:
        try:
            drive(slot.courier.leaving(), slot.wire)
        finally:
            self._slots.drop(slot)

    def _wire(self) -> Wire:
        return Wire(self._context_for, connect=self._connect)


@final
class _Lent:
    """A permit and a slot for the time of one block; or a slot alone, if its time is over before.

    Attributes:
        slot: the slot; without a permit, nothing can be connected on its wire any more.
        ends: the deadline over everything, which has begun with this.
    """

    __slots__ = ("_delivery", "_permitted", "_target", "ends", "slot")

    def __init__(self, target: Target, delivery: Delivery) -> None:
        self._target = target
        self._delivery = delivery
        timeout = target._config.transaction_timeout
        self.ends: float | None = None if timeout is None else monotonic() + timeout

    def __enter__(self) -> Self:
        target, ends = self._target, self.ends
        self._permitted = target._permit.enter(inf if ends is None else ends)
        if not self._permitted:
            self.slot = target._slots.spare()
            return self
        try:
            self.slot = target._take(self._delivery)
        except BaseException:
            target._permit.leave()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        target, slot = self._target, self.slot
        if not self._permitted:
            slot.wire.close()
            return
        try:
            if error is None:
                target._return(slot)
            else:
                target._slots.drop(slot)
        finally:
            target._permit.leave()
