"""Tasks under asyncio that end before their block does, whatever happens."""

from __future__ import annotations

import asyncio

import pytest

from adapters.runtimes import Asyncio, Uvloop
from smtpstate_asyncio._crew import Crew

pytestmark = pytest.mark.usefixtures("nothing_left")


@pytest.fixture(params=[Asyncio(), Uvloop()], ids=repr)
def loop(request: pytest.FixtureRequest) -> Asyncio:
    assert isinstance(request.param, Asyncio)
    return request.param


class Work:
    """Tasks that note what becomes of them."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.begun = asyncio.Event()
        self.go = asyncio.Event()

    async def wait(self) -> None:
        self.notes.append("begun")
        self.begun.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.notes.append("cancelled")
            raise
        self.notes.append("done")

    async def linger(self) -> None:
        """Take a while to end once cancelled."""
        try:
            await self.wait()
        finally:
            await asyncio.sleep(0)
            self.notes.append("gone")


def test_the_block_waits_for_its_tasks(loop: Asyncio) -> None:
    async def main() -> list[str]:
        work = Work()
        async with Crew() as crew:
            crew.start_soon(work.wait)
            crew.start_soon(work.wait)
            await asyncio.sleep(0)
            asyncio.get_running_loop().call_soon(work.go.set)
            work.notes.append("left")
        return work.notes

    assert loop.loop(main) == ["begun", "begun", "left", "done", "done"]


def test_tasks_may_start_others_while_they_are_waited_for(loop: Asyncio) -> None:
    async def main() -> list[str]:
        work = Work()
        work.go.set()
        async with Crew() as crew:

            async def start_another() -> None:
                await asyncio.sleep(0)
                crew.start_soon(work.wait)

            crew.start_soon(start_another)
        assert len(asyncio.all_tasks()) == 1
        return work.notes

    assert loop.loop(main) == ["begun", "done"]


def test_all_can_be_cancelled_at_once(loop: Asyncio) -> None:
    async def main() -> list[str]:
        work = Work()
        async with Crew() as crew:
            crew.start_soon(work.linger)
            await asyncio.sleep(0)
            crew.start_soon(work.linger)  # it has not even begun
            crew.cancel_scope.cancel()
        return work.notes

    assert loop.loop(main) == ["begun", "cancelled", "gone"]


def test_what_the_block_raises_comes_out_as_it_is(loop: Asyncio) -> None:
    error = KeyError("mine")

    async def main() -> list[str]:
        work = Work()

        async def fail() -> None:
            async with Crew() as crew:
                crew.start_soon(work.linger)
                await asyncio.sleep(0)
                crew.cancel()
                raise error

        with pytest.raises(KeyError) as caught:
            await fail()
        assert caught.value is error
        return work.notes

    assert loop.loop(main) == ["begun", "cancelled", "gone"]


def test_who_is_cancelled_while_waiting_cancels_them_and_waits_on(loop: Asyncio) -> None:
    async def main() -> list[str]:
        work = Work()

        async def cancelled() -> None:
            async with Crew() as crew:
                crew.start_soon(work.linger)

        task = asyncio.create_task(cancelled())
        await work.begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelling() == 1
        assert len(asyncio.all_tasks()) == 1
        return work.notes

    assert loop.loop(main) == ["begun", "cancelled", "gone"]


def test_a_time_limit_around_it_holds(loop: Asyncio) -> None:
    async def main() -> list[str]:
        work = Work()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01), Crew() as crew:
                crew.start_soon(work.linger)
        return work.notes

    assert loop.loop(main) == ["begun", "cancelled", "gone"]


def test_a_time_limit_within_the_block_of_a_queue_does_not_reach_its_tasks(loop: Asyncio) -> None:
    async def main() -> list[str]:
        work = Work()
        async with Crew() as crew:
            crew.start_soon(work.wait)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await asyncio.sleep(30)
            work.go.set()
        return work.notes

    assert loop.loop(main) == ["begun", "done"]
