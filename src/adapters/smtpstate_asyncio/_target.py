"""A target of mail under asyncio."""

from __future__ import annotations

import asyncio
from typing import final

from smtpstate_asyncio._crew import Crew
from smtpstate_asyncio._wire import Wire
from smtpstate_io import AsyncTarget, Event


@final
class Target(AsyncTarget):
    __doc__ = AsyncTarget.__doc__

    def _wire(self) -> Wire:
        return Wire(self._context_for, connect=self._connect)

    def _home(self) -> object:
        return asyncio.get_running_loop()

    def _crew(self) -> Crew:
        return Crew()

    def _event(self) -> Event:
        return asyncio.Event()
