"""A target of mail under trio."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import final

import trio

from smtpstate_io import AsyncTarget, Crew, Event
from smtpstate_trio._wire import Wire


@final
class Target(AsyncTarget):
    __doc__ = AsyncTarget.__doc__

    def _wire(self) -> Wire:
        return Wire(self._context_for, connect=self._connect)

    def _semaphore(self, permits: int) -> AbstractAsyncContextManager[object]:
        return _Semaphore(permits)

    def _crew(self) -> AbstractAsyncContextManager[Crew]:
        return trio.open_nursery()

    def _event(self) -> Event:
        return trio.Event()


@final
class _Semaphore:
    """Trio's semaphore, but no turn is given up where nobody has to wait: whoever enters waits soon enough."""

    def __init__(self, permits: int) -> None:
        self._semaphore = trio.Semaphore(permits)

    async def __aenter__(self) -> None:
        try:
            self._semaphore.acquire_nowait()
        except trio.WouldBlock:
            await self._semaphore.acquire()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._semaphore.release()
