"""Let a number of threads through at a time, in the order in which they came."""

from __future__ import annotations

from collections import deque
from threading import Event, Lock
from types import TracebackType
from typing import final


@final
class Gate:
    """A semaphore that nobody can overtake at.

    Args:
        permits: how many threads may be inside.
    """

    def __init__(self, permits: int) -> None:
        self._lock = Lock()
        self._permits = permits
        self._waiting: deque[Event] = deque()

    def __enter__(self) -> None:
        with self._lock:
            if self._permits:
                self._permits -= 1
                return
            turn = Event()
            self._waiting.append(turn)
        try:
            turn.wait()
        except BaseException:  # interrupted: perhaps just when it was our turn
            with self._lock:
                if turn.is_set():
                    self._pass_on()
                else:
                    self._waiting.remove(turn)
            raise

    def enter_if_free(self) -> bool:
        """Enter if that takes no waiting, and return whether we are in."""
        with self._lock:
            free = self._permits > 0
            self._permits -= free
        return free

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()

    def leave(self) -> None:
        """Let the next one in."""
        with self._lock:
            self._pass_on()

    def _pass_on(self) -> None:
        if self._waiting:
            self._waiting.popleft().set()  # the permit goes from hand to hand
        else:
            self._permits += 1
