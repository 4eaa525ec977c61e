"""Tasks that end before the block does in which they were started."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self, final


@final
class Crew:
    """Like ``asyncio.TaskGroup``, but what the block raises comes out as it is, in no group.

    The tasks must raise nothing.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def cancel_scope(self) -> Self:
        """What cancels all of them."""
        return self

    def start_soon(self, work: Callable[[], Coroutine[Any, Any, None]], /) -> None:
        """Start a task."""
        task = asyncio.get_running_loop().create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def cancel(self) -> None:
        """Cancel all of them."""
        for task in self._tasks:
            task.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        cancelled: asyncio.CancelledError | None = None
        while self._tasks:
            try:
                await asyncio.wait(self._tasks)
            except asyncio.CancelledError as again:
                cancelled = again
                self.cancel()
        if cancelled is not None:
            raise cancelled
