"""Who may have a connection of a target, in the order of arrival."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import final

from smtpstate_io._many import Event


@final
class Permits:
    """A semaphore that costs next to nothing where nobody has to wait, and tells how many do.

    A permit that is given back goes straight to whoever waits longest: nobody
    who comes later can be served in between.

    Args:
        permits: how many may have one at a time.
        event: makes an event of the framework's own.

    Attributes:
        waiting: how many wait.
    """

    def __init__(self, permits: int, event: Callable[[], Event]) -> None:
        self._permits = permits
        self._free = permits  # none are while anybody waits
        self._queue: deque[Event] = deque()
        self._make_event = event
        self.waiting: int = 0

    def take(self) -> bool:
        """Take a permit if that takes no waiting, and return whether that is so."""
        free = self._free > 0
        self._free -= free
        return free

    async def __aenter__(self) -> None:
        if not self.take():
            await self.wait()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.give_back()

    async def take_all(self) -> None:
        """Wait until nobody else has a permit, and leave none to anybody."""
        others, self._free = self._permits - self._free, 0
        for _ in range(others):
            await self.__aenter__()

    async def wait(self) -> None:
        """Wait for a permit, of which none is free."""
        turn = self._make_event()
        self._queue.append(turn)
        self.waiting += 1
        try:
            await turn.wait()
        except BaseException:
            if turn in self._queue:
                self._queue.remove(turn)
            else:  # it was this one's turn already, and is the next one's now
                self.give_back()
            raise
        finally:
            self.waiting -= 1

    def give_back(self) -> None:
        """Give a permit back."""
        if self._queue:
            self._queue.popleft().set()
        else:
            self._free += 1
