"""Which connections of a target are idle, and which of them a delivery may use."""

from __future__ import annotations

from collections.abc import Callable
from secrets import token_urlsafe
from typing import Generic, Protocol, TypeVar, final

from smtpstate._config import TargetConfig
from smtpstate._courier import Courier
from smtpstate._delivery import Delivery
from smtpstate._memory import Memory
from smtpstate._requests import Clock
from smtpstate._trace import Trace


class Closable(Protocol):
    """A wire, as far as a pool knows it."""

    clock: Clock

    def close(self) -> None:
        """Close its connection at once."""


W = TypeVar("W", bound=Closable)


@final
class Slot(Generic[W]):
    """A wire, and the courier whose connection is on it."""

    __slots__ = ("courier", "wire")

    def __init__(self, wire: W, courier: Courier) -> None:
        self.wire: W = wire
        self.courier: Courier = courier


@final
class Pool(Generic[W]):
    """The slots of a target that nobody uses at the moment.

    It only keeps books: whoever takes a slot must hold one of
    ``max_connections`` permits, so that a slot can always be had and there
    are never more connections than that.
    """

    def __init__(self, config: TargetConfig, trace: Trace | None, make_wire: Callable[[], W]) -> None:
        self._config = config
        self._trace = trace
        self._make_wire = make_wire
        self._memory = Memory(config.failed_endpoint_delay)
        self._idle: list[Slot[W]] = []  # the one used last is the last
        self._count = 0  # of all slots, idle or not
        self._closed = False

    @property
    def count(self) -> int:
        """How many slots there are, idle or not."""
        return self._count

    def take(self, delivery: Delivery) -> Slot[W]:
        """Return a slot for a delivery: best one whose connection it can share."""
        for slot in reversed(self._idle):
            if slot.courier.suits(delivery, slot.wire.clock()):
                self._idle.remove(slot)
                return slot
        if self._idle and self._count >= self._config.max_connections:
            return self._idle.pop(0)  # its courier leaves that connection for another
        self._count += 1
        return self.spare()

    def spare(self) -> Slot[W]:
        """Return a slot that is not counted: for whoever must not connect."""
        courier = Courier(self._config, nonce=token_urlsafe, memory=self._memory, trace=self._trace)
        return Slot(self._make_wire(), courier)

    def give(self, slot: Slot[W]) -> None:
        """Take a slot back; without a connection that can be used again it is closed."""
        self.put(slot, kept=slot.courier.keeps_connection)

    def put(self, slot: Slot[W], *, kept: bool) -> None:
        """Take a slot back of which it is known whether its connection can be used again."""
        if kept and not self._closed:
            self._idle.append(slot)
        else:
            self.drop(slot)

    def drop(self, slot: Slot[W]) -> None:
        """Close a slot at once; it must have been taken."""
        self._count -= 1
        slot.wire.close()

    def take_expired(self) -> Slot[W] | None:
        """Return a slot that has been idle for too long, if there is one: it is to be left, and dropped."""
        for slot in self._idle:
            if slot.courier.idle_for(slot.wire.clock()) >= self._config.idle_timeout:
                self._idle.remove(slot)
                return slot
        return None

    def take_any(self) -> Slot[W] | None:
        """Return any idle slot, if there is one."""
        return self._idle.pop() if self._idle else None

    def close(self) -> None:
        """Close all that is idle at once, and from now on whatever is given back."""
        self._closed = True
        while (slot := self.take_any()) is not None:
            self.drop(slot)
