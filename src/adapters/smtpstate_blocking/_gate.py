"""Let a number of threads through at a time, in the order in which they came."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Event, Lock, get_ident
from typing import final


@final
class Gate:
    """A semaphore that nobody can overtake at.

    A thread that waits here cannot do what else it has to do. Where that holds
    permits, such as deliveries that it has begun, nobody would ever leave: so it
    goes on with these while it waits.

    Args:
        permits: how many threads may be inside.
    """

    def __init__(self, permits: int) -> None:
        self._lock = Lock()
        self._permits = permits
        self._waiting: deque[Event] = deque()
        self._work: dict[int, list[Callable[[], bool]]] = {}  # of each thread

    @property
    def waiting(self) -> int:
        """How many threads wait."""
        return len(self._waiting)

    def works_on(self, go_on: Callable[[], bool]) -> None:
        """Call ``go_on`` in this thread while it waits, as long as that returns that it has done something."""
        self._work.setdefault(get_ident(), []).append(go_on)

    def works_no_more_on(self, go_on: Callable[[], bool]) -> None:
        """Take that back, in whatever thread."""
        for thread, work in list(self._work.items()):
            if go_on in work:
                work.remove(go_on)
                if not work:
                    del self._work[thread]

    def __enter__(self) -> None:
        with self._lock:
            if self._permits:
                self._permits -= 1
                return
            turn = Event()
            self._waiting.append(turn)
        try:
            for go_on in tuple(self._work.get(get_ident(), ())):
                while not turn.is_set() and go_on():
                    pass
            turn.wait()
        except BaseException:  # interrupted: perhaps just when it was our turn
            with self._lock:
                ours = turn.is_set()
                if not ours:
                    self._waiting.remove(turn)
            if ours:
                self.leave()
            raise

    def enter_if_free(self) -> bool:
        """Enter if that takes no waiting, and return whether we are in."""
        with self._lock:
            free = self._permits > 0
            self._permits -= free
        return free

    def leave(self, *ended_by: object) -> None:
        """Let the next one in, however the block ended that was inside."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set()  # the permit goes from hand to hand
            else:
                self._permits += 1

    __exit__ = leave
