"""A target of mail under trio."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import final

import trio

from smtpstate_io import AsyncTarget, Crew, Event
from smtpstate_trio._wire import Wire


@final
class Target(AsyncTarget):
    __doc__ = AsyncTarget.__doc__

    def _wire(self) -> Wire:
        return Wire(self._context_for, connect=self._connect)

    def _home(self) -> object:
        return trio.lowlevel.current_root_task()

    def _crew(self) -> AbstractAsyncContextManager[Crew]:
        return trio.open_nursery()

    def _event(self) -> Event:
        return trio.Event()
