"""Let a number of threads through at a time, in the order in which they came."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf
from threading import Event, Lock, get_ident
from time import monotonic
from typing import final

_DAY = 86400.0  # seconds; nobody sleeps for longer at once, since the system counts in few bits


@final
class Gate:
    """A semaphore that nobody can overtake at.

    A thread that waits here cannot do what else it has to do. Where that holds
    permits, such as deliveries that it has begun, nobody would ever leave: so it
    goes on with these while it waits.

    Args:
        permits: how many threads may be inside.

    Deadlines are read on ``time.monotonic``.
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
        self.enter()

    def enter(self, ends: float = inf) -> bool:
        """Enter as soon as that is possible, and return whether we are in: not so after ``ends``."""
        with self._lock:
            if self._permits:
                self._permits -= 1
                return True
            turn = Event()
            self._waiting.append(turn)
        try:
            for go_on in tuple(self._work.get(get_ident(), ())):
                while not turn.is_set() and monotonic() < ends and go_on():
                    pass
            while not turn.is_set() and (left := ends - monotonic()) > 0:
                turn.wait(min(left, _DAY))
        except BaseException:  # interrupted: perhaps just when it was our turn
            if self._is_ours(turn):
                self.leave()
            raise
        return self._is_ours(turn)

    def _is_ours(self, turn: Event) -> bool:
        """Return whether our turn has come; otherwise we no longer wait for it."""
        with self._lock:
            ours = turn.is_set()
            if not ours:
                self._waiting.remove(turn)
        return ours

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
