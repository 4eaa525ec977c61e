"""What a target is under every adapter."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from math import inf
from ssl import SSLContext
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Literal, Self, TypeVar, final

from smtpstate._auth import Credentials
from smtpstate._config import TargetConfig
from smtpstate._delivery import Delivery
from smtpstate._endpoints import Endpoint
from smtpstate._envelope import Envelope
from smtpstate._errors import DeadlinePassed, DeliveryFailed, LocalProtocolError
from smtpstate._message import Message
from smtpstate._tls import TlsClient
from smtpstate._trace import Trace
from smtpstate_io._async import AsyncWire, drive
from smtpstate_io._backlog import Backlog, Lane
from smtpstate_io._contexts import Contexts
from smtpstate_io._logging import traced
from smtpstate_io._many import AsyncDeliveries, Crew, Event
from smtpstate_io._permits import Permits
from smtpstate_io._pool import Closable, Pool, Slot
from smtpstate_io._transactions import AsyncTransaction

if TYPE_CHECKING:
    from smtpstate._message import Readable
    from smtpstate._replies import Reply
    from smtpstate_io._backlog import Item

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
        connect: connects in the caller's own way, as through a proxy: given an endpoint
            it returns a connected socket or stream of the framework's, or an awaitable
            of one. It is given ``connect_timeout``; TLS comes after it.

    Raises:
        ConfigError: a file that ``config`` names cannot be read, or this TLS
            library lacks what it asks for.
    """

    def __init__(
        self,
        config: TargetConfig,
        *,
        trace: Trace | None = None,
        connect: Callable[[Endpoint], object] | None = None,
    ) -> None:
        super().__init__(config, trace=trace)
        self._connect = connect
        self._permits: Permits | None = None
        self._lives_in: object = None

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
            await self._permit().take_all()  # whoever is still at work is waited for
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
        async with _Lent(self, delivery) as lent:
            await drive(lent.slot.courier.delivering(delivery, lent.ends), lent.slot.wire)

    def deliver_many(
        self, deliveries: Iterable[Item] | AsyncIterable[Item], *, ahead: int = 32
    ) -> AsyncDeliveries:
        """Hand many messages over, each begun before the ones before it are answered.

        Use it by ``async with``, and iterate over what that gives. Another
        connection is opened where deliveries wait, up to ``max_connections``; each gives
        its deliveries back in the order in which they were begun. Whoever else waits
        for a connection has its turn in between.

        Args:
            deliveries: ``Delivery`` objects, or pairs of an envelope and a message; a
                synchronous iterable must not wait for long.
            ahead: how many may be under way on one connection, at least 1.

        Raises:
            LocalProtocolError: the target is closed, or ``ahead`` is less than 1.
        """
        self._check_open()
        items = None if isinstance(deliveries, AsyncIterable) else iter(deliveries)
        return AsyncDeliveries(
            deliveries,
            Backlog(
                items,
                depth=ahead,
                most=self._config.max_connections,
                waiting=lambda: inf if self._left else self._permit().waiting,
            ),
            crew=self._crew,
            event=self._event,
            work=self._work,
        )

    @asynccontextmanager
    async def transaction(
        self,
        envelope: Envelope,
        *,
        credentials: Credentials | None = None,
        size: int | None = None,
        eight_bit: bool | Literal["refuse", "send"] = "refuse",
        utf8: bool | None = None,
        binary: bool = False,
    ) -> AsyncGenerator[AsyncTransaction, None]:
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
        async with _Lent(self, delivery) as lent:
            slot = lent.slot
            steps = slot.courier.transaction(delivery, declared, lent.ends)
            try:
                await drive(steps.beginning(), slot.wire)
            except DeliveryFailed as error:
                failure = error
            else:
                taken = AsyncTransaction(steps, slot.wire)
                try:
                    yield taken
                except Exception as error:
                    failure = error
                finally:
                    if not taken.leave():
                        slot.wire = self._wire()
        if failure is not None:
            raise failure

    async def authenticate(self, credentials: Credentials) -> Reply:
        """Try the sender's own credentials alone, and return the server's reply (RFC 4954 §6).

        It is a local reply where no server can be asked. The connection is kept
        for a delivery with the same credentials.

        Raises:
            LocalProtocolError: the target does not forward credentials, or is closed.
        """
        self._check_open()
        delivery = Delivery.stepwise(Envelope(None), credentials)
        async with _Lent(self, delivery) as lent:
            return await drive(lent.slot.courier.authenticating(credentials, lent.ends), lent.slot.wire)

    async def _work(self, backlog: Backlog, lane: Lane) -> None:
        """Deliver what is at hand, over one connection."""
        self._check_open()
        async with self._permit():
            first = backlog.peek()
            if first is not None:
                slot = self._pool.take(first)
                try:
                    await drive(slot.courier.delivering_many(backlog.depth), slot.wire, lane)
                except BaseException:
                    self._pool.drop(slot)
                    raise
                await self._return(slot)

    async def _return(self, slot: Slot[AsyncWire]) -> None:
        """Take back a slot whose delivery went its way, and leave those that have been idle for too long."""
        kept = self._entered and slot.courier.keeps_connection
        if not kept:
            try:
                await drive(slot.courier.leaving(), slot.wire)
            except BaseException:
                self._pool.drop(slot)
                raise
        self._pool.put(slot, kept=kept)
        while (expired := self._pool.take_expired()) is not None:
            await self._leave(expired)

    async def _leave(self, slot: Slot[AsyncWire]) -> None:
        try:
            await drive(slot.courier.leaving(), slot.wire)
        finally:
            self._pool.drop(slot)

    def _permit(self) -> Permits:
        home = self._home()
        if home is not self._lives_in or self._permits is None:
            # As in the second of several runs: what belongs to the one before is of no more use.
            self._lives_in = home
            self._permits = Permits(self._config.max_connections, self._event)
            while (slot := self._pool.take_any()) is not None:
                self._pool.drop(slot)
        return self._permits

    @abstractmethod
    def _home(self) -> object:
        """Return the event loop, or whatever else is another one in each run of the framework."""

    @abstractmethod
    def _crew(self) -> AbstractAsyncContextManager[Crew]:
        """Return the framework's own way to start tasks and wait for them."""

    @abstractmethod
    def _event(self) -> Event:
        """Return the framework's own event."""


@final
class _Lent:
    """A permit and a slot for the time of one block; or a slot alone, if its time is over before.

    Attributes:
        slot: the slot; without a permit, nothing can be connected on its wire any more.
        ends: the deadline over everything, where it has begun while this was waited for.
    """

    __slots__ = ("_delivery", "_permits", "_target", "ends", "slot")

    def __init__(self, target: AsyncTarget, delivery: Delivery) -> None:
        self._target = target
        self._delivery = delivery
        self._permits: Permits | None = None
        self.ends: float | None = None

    async def __aenter__(self) -> Self:
        target = self._target
        permits = target._permit()
        if not permits.take():
            timeout = target._config.transaction_timeout
            if timeout is None:
                await permits.wait()
            else:
                self.slot = target._pool.spare()
                self.ends = self.slot.wire.clock() + timeout
                try:
                    await self.slot.wire.within(self.ends, permits.wait())
                except DeadlinePassed:
                    # A loop may round what it is told; but the time is over, whatever its clock says.
                    self.ends = min(self.ends, self.slot.wire.clock())
                    return self
        try:
            self.slot = target._pool.take(self._delivery)
        except BaseException:
            permits.give_back()
            raise
        self._permits = permits
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._permits is None:
            self.slot.wire.close()
            return
        try:
            if error is not None:
                self._target._pool.drop(self.slot)
            else:
                await self._target._return(self.slot)
        finally:
            self._permits.give_back()
