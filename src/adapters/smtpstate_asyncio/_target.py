"""A target of mail under asyncio."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import final

from smtpstate_asyncio._crew import Crew
from smtpstate_asyncio._wire import Wire
from smtpstate_io import AsyncTarget, Event
from smtpstate_io._permits import Permits


@final
class Target(AsyncTarget):
    __doc__ = AsyncTarget.__doc__

    _loop: asyncio.AbstractEventLoop | None = None

    def _permit(self) -> Permits:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            # As in the second of several asyncio.run: what belongs to the loop before is of no more use.
            self._loop = loop
            self._permits = None
            while (slot := self._pool.take_any()) is not None:
                self._pool.drop(slot)
        return super()._permit()

    def _wire(self) -> Wire:
        return Wire(self._context_for, connect=self._connect)

    def _semaphore(self, permits: int) -> AbstractAsyncContextManager[object]:
        return asyncio.Semaphore(permits)

    def _crew(self) -> Crew:
        return Crew()

    def _event(self) -> Event:
        return asyncio.Event()
