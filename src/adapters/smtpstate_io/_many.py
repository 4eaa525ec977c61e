"""Many deliveries under the asynchronous adapters: as many lanes at work as are of use."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, final

from smtpstate._delivery import Delivery
from smtpstate_io._backlog import Backlog, Lane

if TYPE_CHECKING:
    from smtpstate_io._backlog import Item


class Cancellable(Protocol):
    """Whatever can be cancelled."""

    def cancel(self) -> object:
        """Cancel it."""


class Crew(Protocol):
    """Tasks that end before the block does in which they were started; frameworks have their own name for it."""

    @property
    def cancel_scope(self) -> Cancellable:
        """What cancels all of them."""
        ...

    def start_soon(self, work: Callable[[], Coroutine[Any, Any, None]], /) -> object:
        """Start a task."""


class Event(Protocol):
    """Something that happens once."""

    def set(self) -> object:
        """Wake all who wait for it."""

    async def wait(self) -> object:
        """Wait until it has happened."""


@final
class AsyncDeliveries:
    """The deliveries of many as they are settled: iterate over it within its ``async with`` block.

    Each connection gives its deliveries back in the order in which they were
    begun. Leaving the block early begins no more, and settles what was begun;
    leaving it by an exception stops everything at once.
    """

    def __init__(
        self,
        deliveries: Iterable[Item] | AsyncIterable[Item],
        backlog: Backlog,
        *,
        crew: Callable[[], AbstractAsyncContextManager[Crew]],
        event: Callable[[], Event],
        work: Callable[[Backlog, Lane], Coroutine[Any, Any, None]],
    ) -> None:
        self._deliveries = deliveries
        self._backlog = backlog
        self._make_crew = crew
        self._make_event = event
        self._work = work
        self._stack = AsyncExitStack()
        self._crew: Crew | None = None
        self._feeders: Crew | None = None
        self._changed: Event | None = None
        self._told = False  # the caller has seen what failed
        self._rests = False  # enough has been taken from an asynchronous iterable
        self._leaving = False  # the block is being left
        self._over = False  # it has been left

    async def __aenter__(self) -> Self:
        if self._changed is not None:
            raise RuntimeError("its async with block can be entered only once")
        self._changed = self._make_event()
        self._crew = await self._stack.enter_async_context(self._make_crew())
        if isinstance(self._deliveries, AsyncIterable):
            self._feeders = await self._stack.enter_async_context(self._make_crew())
            self._feeders.start_soon(partial(self._feed, self._deliveries))
        try:
            self._notice()
        except BaseException as error:  # no task may outlive the block, nor what is no block yet
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving = True
        self._backlog.stop()
        self._told = self._told or error is not None
        if self._feeders is not None and (error is not None or not self._rests):
            self._feeders.cancel_scope.cancel()
        if self._rests:
            self._notice()
        if error is not None and self._crew is not None:
            self._crew.cancel_scope.cancel()
        try:
            await self._stack.__aexit__(kind, error, trace)
        except BaseExceptionGroup:
            # The caller's own exception goes on by itself; wrapped by the framework it would not be caught.
            if error is None:
                raise
        finally:
            self._over = True
        if error is None:
            self._tell()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delivery:
        """Return the next delivery that is settled.

        Raises:
            Exception: unchanged, whatever the caller's own source of deliveries
                or of a message raised; after all others have been returned.
        """
        if self._changed is None:
            raise RuntimeError("iterate over it within its async with block")
        while True:
            delivery = self._backlog.done.popleft() if self._backlog.done else None
            if not self._over:
                self._notice()
            if delivery is not None:
                return delivery
            if self._over or self._backlog.finished:
                self._tell()
                raise StopAsyncIteration
            await self._changed.wait()

    def _tell(self) -> None:
        if self._backlog.failure is not None and not self._told:
            self._told = True
            raise self._backlog.failure

    def _notice(self) -> None:
        """Start lanes where they are of use, and wake whoever waits for something to happen."""
        assert self._crew is not None
        while self._backlog.wants_lane:
            lane = Lane(self._backlog, self._notice)
            self._backlog.lanes.append(lane)
            self._crew.start_soon(partial(self._run, lane))
        assert self._changed is not None
        changed, self._changed = self._changed, self._make_event()
        changed.set()

    async def _run(self, lane: Lane) -> None:
        try:
            await self._work(self._backlog, lane)
        except Exception as error:
            self._backlog.fail(error)
        except BaseException as error:
            self._stopped(error)
            raise
        finally:
            self._backlog.lanes.remove(lane)
            self._notice()

    def _stopped(self, error: BaseException) -> None:
        """Begin no more, since a task was cancelled; whoever still iterates must not take that for the end."""
        if self._leaving:
            self._backlog.stop()
        else:
            self._backlog.fail(error)

    async def _feed(self, deliveries: AsyncIterable[Item]) -> None:
        items: AsyncIterable[Item] | None = None
        try:
            items = aiter(deliveries)
            async for item in items:
                self._backlog.put(item)
                self._notice()
                self._rests = True
                while self._backlog.full:
                    assert self._changed is not None
                    await self._changed.wait()
                self._rests = False
                if self._leaving:
                    break
        except Exception as error:
            self._backlog.end(error)
        except BaseException as error:
            self._stopped(error)
            raise
        finally:
            self._backlog.end()
            self._notice()
            if isinstance(items, AsyncGenerator):  # left in the middle, it must not wait for the collector
                await items.aclose()
