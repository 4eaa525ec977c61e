"""A target of mail under anyio."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import final

import anyio

from smtpstate_anyio._wire import Wire, current_home
from smtpstate_io import AsyncTarget, Crew, Event


@final
class Target(AsyncTarget):
    __doc__ = AsyncTarget.__doc__

    def _wire(self) -> Wire:
        return Wire(self._context_for, connect=self._connect)

    def _home(self) -> object:
        return current_home()

    def _crew(self) -> AbstractAsyncContextManager[Crew]:
        return anyio.create_task_group()

    def _event(self) -> Event:
        return anyio.Event()
