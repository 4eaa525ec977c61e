"""Many deliveries with blocking sockets: several connections, all in the caller's own thread."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Generator
from types import TracebackType
from typing import Self, final

from smtpstate._delivery import Delivery
from smtpstate._errors import DeadlinePassed, LocalProtocolError
from smtpstate_blocking._gate import Gate
from smtpstate_blocking._slots import Slots
from smtpstate_blocking._wire import Wire
from smtpstate_io import Backlog, Lane, Slot, Wait

_DAY = 86400.0  # seconds; the longest time that is slept at once, since the system counts in few bits


@final
class _Moving:
    """A lane at work, and what it waits for."""

    def __init__(
        self, slot: Slot[Wire], lane: Lane, steps: Generator[tuple[Wait, float], None, None]
    ) -> None:
        self.slot: Slot[Wire] = slot
        self.lane: Lane = lane
        self._steps = steps
        self._begun = False
        self._deadline = 0.0
        self.wait: Wait = Wait(())
        self.wakes: float = 0.0  # when it is to be looked after, whatever happens

    def move(self) -> bool:
        """Go on until it must wait again, and return whether it is still at work."""
        late = self._begun and time.monotonic() >= self._deadline
        before = self._deadline
        self._begun = True
        try:
            self.wait, self._deadline = next(self._steps)
            if late and self._deadline == before:  # it has had its last look
                self.wait, self._deadline = self._steps.throw(DeadlinePassed("the deadline passed"))
        except StopIteration:
            return False
        self.wakes = self._deadline
        if self.wait.seconds is not None:
            self.wakes = min(self.wakes, time.monotonic() + self.wait.seconds)
        return True

    def close(self) -> None:
        """Stop where it is."""
        self._steps.close()


@final
class Deliveries:
    """The deliveries of many as they are settled: iterate over it within its ``with`` block.

    Each connection gives its deliveries back in the order in which they were
    begun. Leaving the block early begins no more, and settles what was begun;
    leaving it by an exception stops everything at once. Nothing goes on while
    the caller is busy with a delivery, but the servers; unless the caller waits
    for another delivery of the same target.
    """

    def __init__(
        self,
        backlog: Backlog,
        permit: Gate,
        *,
        lend: Callable[[Delivery], Slot[Wire]],
        slots: Slots,
        work: Callable[[Slot[Wire], Lane], Generator[tuple[Wait, float], None, None]],
    ) -> None:
        self._backlog = backlog
        self._permit = permit
        self._lend = lend
        self._slots = slots
        self._work = work
        self._moving: list[_Moving] = []
        self._entered = False
        self._busy = False  # it is being iterated over at this moment
        self._over = False  # the block has been left
        self._told = False  # the caller has seen what failed

    def __enter__(self) -> Self:
        if self._entered:
            raise RuntimeError("its with block can be entered only once")
        self._entered = True
        self._permit.works_on(self._go_on)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._backlog.stop()
        self._told = self._told or error is not None
        try:
            while self._moving and error is None:
                self._move()
        finally:
            self._over = True
            self._permit.works_no_more_on(self._go_on)
            while self._moving:
                moving = self._moving.pop()
                moving.close()
                self._slots.drop(moving.slot)
                self._permit.leave()
        if error is None:
            self._tell()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Delivery:
        """Return the next delivery that is settled.

        Raises:
            Exception: unchanged, whatever the caller's own source of deliveries
                or of a message raised; after all others have been returned.
        """
        if not self._entered:
            raise RuntimeError("iterate over it within its with block")
        while not self._backlog.done:
            if not self._over:
                self._start()
            if self._over or self._backlog.finished:
                self._tell()
                raise StopIteration
            self._move()
        return self._backlog.done.popleft()

    def _tell(self) -> None:
        if self._backlog.failure is not None and not self._told:
            self._told = True
            raise self._backlog.failure

    def _start(self) -> None:
        """Start lanes where they are of use; wait for a permit only if there is nothing else to do."""
        self._busy = True
        try:
            while self._backlog.wants_lane:
                if not self._permit.enter_if_free():
                    if self._moving:
                        return
                    self._permit.__enter__()
                self._start_lane()
        finally:
            self._busy = False

    def _start_lane(self) -> None:
        first = self._backlog.peek()
        assert first is not None
        try:
            slot = self._lend(first)
        except Exception as error:
            self._backlog.fail(error)
            self._permit.leave()
            return
        lane = Lane(self._backlog, _nothing)
        self._backlog.lanes.append(lane)
        self._moving.append(_Moving(slot, lane, self._work(slot, lane)))

    def _go_on(self) -> bool:
        """Go on while the thread waits for a connection, and return whether there was anything to be done.

        Raises:
            LocalProtocolError: it is in the middle of something, and that is what waits.
        """
        if not self._moving:
            return False
        if self._busy:
            raise LocalProtocolError(
                "what deliver_many reads cannot wait for a connection of the same target"
            )
        self._move()
        return True

    def _move(self) -> None:
        """Wait until something happens, and go on where it does."""
        self._busy = True
        try:
            if len(self._moving) == 1:
                self._move_alone(self._moving[0])
                return
            poll = select.poll()
            for moving in self._moving:
                for sock in moving.wait.sockets:
                    poll.register(sock, select.POLLOUT if moving.wait.to_write else select.POLLIN)
            wakes = min(moving.wakes for moving in self._moving)
            ready = {fd for fd, _ in poll.poll(min(max(wakes - time.monotonic(), 0), _DAY) * 1000)}
            now = time.monotonic()
            for moving in list(self._moving):
                if now >= moving.wakes or any(sock.fileno() in ready for sock in moving.wait.sockets):
                    self._advance(moving)
        finally:
            self._busy = False

    def _move_alone(self, moving: _Moving) -> None:
        # Its wire knows already how to wait for its one socket.
        moving.slot.wire.until(moving.wait, max(moving.wakes - time.monotonic(), 0))
        self._advance(moving)

    def _advance(self, moving: _Moving) -> None:
        try:
            if moving.move():
                return
        except Exception as error:
            self._backlog.fail(error)
            self._slots.drop(moving.slot)
        else:
            self._slots.give(moving.slot)
        self._moving.remove(moving)
        self._backlog.lanes.remove(moving.lane)
        self._permit.leave()


def _nothing() -> None:
    """Be told of a change that the next turn of the loop sees anyway."""
