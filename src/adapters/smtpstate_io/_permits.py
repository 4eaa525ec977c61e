"""Who may have a connection of a target, and how many wait for one."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import final


@final
class Permits:
    """A semaphore that tells how many wait at it.

    Args:
        semaphore: the framework's own, which serves in the order of arrival.

    Attributes:
        waiting: how many wait.
    """

    def __init__(self, semaphore: AbstractAsyncContextManager[object]) -> None:
        self._semaphore = semaphore
        self.waiting: int = 0

    async def __aenter__(self) -> None:
        self.waiting += 1
        try:
            await self._semaphore.__aenter__()
        finally:
            self.waiting -= 1

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._semaphore.__aexit__(kind, error, trace)
