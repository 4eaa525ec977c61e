"""A pool that several threads may use."""

from __future__ import annotations

from threading import Lock
from typing import final

from smtpstate._delivery import Delivery
from smtpstate_blocking._wire import Wire
from smtpstate_io import Pool, Slot


@final
class Slots:
    """The same books as ``Pool`` keeps, open to one thread at a time."""

    def __init__(self, pool: Pool[Wire]) -> None:
        self._pool = pool
        self._books = Lock()

    def take(self, delivery: Delivery) -> Slot[Wire]:
        """Return a slot for a delivery."""
        with self._books:
            return self._pool.take(delivery)

    def give(self, slot: Slot[Wire]) -> None:
        """Take a slot back."""
        with self._books:
            self._pool.give(slot)

    def exchange(self, slot: Slot[Wire], *, kept: bool) -> Slot[Wire] | None:
        """Take a slot back, its connection kept or left, and return one that has been idle for too long."""
        with self._books:
            self._pool.put(slot, kept=kept)
            return self._pool.take_expired()

    def drop(self, slot: Slot[Wire]) -> None:
        """Close a slot at once."""
        with self._books:
            self._pool.drop(slot)

    def spare(self) -> Slot[Wire]:
        """Return a slot for whoever must not connect; see ``Pool.spare``."""
        return self._pool.spare()

    def take_expired(self) -> Slot[Wire] | None:
        """Return a slot that has been idle for too long, if there is one."""
        with self._books:
            return self._pool.take_expired()

    def take_any(self) -> Slot[Wire] | None:
        """Return any idle slot, if there is one."""
        with self._books:
            return self._pool.take_any()

    def close(self) -> None:
        """Close all that is idle at once, and from now on whatever is given back."""
        with self._books:
            self._pool.close()
