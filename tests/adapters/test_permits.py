"""Who is served when there are fewer permits than people, whatever the framework."""

from __future__ import annotations

import asyncio
from functools import partial

import anyio
import pytest
from anyio.lowlevel import checkpoint

from adapters.alike import until
from adapters.runtimes import LONG, Asynchronous, Asyncio
from smtpstate_io._permits import Permits

pytestmark = pytest.mark.usefixtures("nothing_left")


def waits(permits: Permits, many: int) -> bool:
    return permits.waiting == many


def test_who_waits_longest_is_served_before_who_comes_later(asynchronous: Asynchronous) -> None:
    served: list[int] = []

    async def main() -> None:
        permits = Permits(1, anyio.Event)

        async def wait(number: int) -> None:
            async with permits:
                served.append(number)
                await checkpoint()

        async with anyio.create_task_group() as group:
            async with permits:
                for number in range(3):
                    group.start_soon(wait, number)
                    await until(partial(waits, permits, number + 1))
            await wait(3)  # it comes while the permit is on its way to the first

    asynchronous.loop(main)
    assert served == [0, 1, 2, 3]


def test_a_permit_that_comes_to_who_is_cancelled_goes_to_the_next() -> None:
    """The cancellation comes between being served and going on, as only asyncio has it."""
    served: list[str] = []

    async def main() -> None:
        permits = Permits(1, asyncio.Event)

        async def use(name: str) -> None:
            async with permits:
                served.append(name)

        async with permits:
            first = asyncio.create_task(use("first"))
            await until(partial(waits, permits, 1))
            second = asyncio.create_task(use("second"))
            await until(partial(waits, permits, 2))
        first.cancel()
        done, _ = await asyncio.wait({first, second}, timeout=LONG)
        assert done == {first, second}
        assert first.cancelled()
        assert (permits._free, permits.waiting) == (1, 0)

    Asyncio().loop(main)
    assert served == ["second"]


def test_who_gives_up_leaves_the_queue(asynchronous: Asynchronous) -> None:
    async def main() -> None:
        permits = Permits(1, anyio.Event)
        async with permits:
            with anyio.move_on_after(0):
                await permits.__aenter__()
            assert permits.waiting == 0
        await permits.__aenter__()
        assert permits.waiting == 0

    asynchronous.loop(main)


def test_all_permits_are_had_when_everybody_has_given_theirs_back(asynchronous: Asynchronous) -> None:
    notes: list[str] = []

    async def main() -> None:
        permits = Permits(3, anyio.Event)

        async def work() -> None:
            async with permits:
                await until(lambda: permits.waiting == 1)
                notes.append("worked")

        async with anyio.create_task_group() as group:
            group.start_soon(work)
            group.start_soon(work)
            await until(lambda: permits._free == 1)
            await permits.take_all()
            notes.append("all")
            with anyio.move_on_after(0):
                await permits.__aenter__()
                notes.append("one more")

    asynchronous.loop(main)
    assert notes == ["worked", "worked", "all"]
