"""Many deliveries of one caller: those at hand, those under way, and those that are done."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeAlias, final

from smtpstate._delivery import Delivery
from smtpstate._envelope import Envelope
from smtpstate._errors import LocalProtocolError
from smtpstate._message import Message
from smtpstate._requests import Give, Queue, Take

if TYPE_CHECKING:
    from smtpstate._message import Readable

    #: What a caller may give for a delivery: one, or what to make it of.
    Item: TypeAlias = Delivery | tuple[Envelope, Message | Readable | Callable[[], Readable]]


def delivery_of(item: Item) -> Delivery:
    """Return what the caller gave as a delivery.

    Raises:
        LocalProtocolError: it cannot be made of that.
    """
    return item if isinstance(item, Delivery) else Delivery(*item)


@final
class Backlog:
    """Keeps the books between a caller and the lanes in which its deliveries go.

    Whoever runs the lanes asks ``wants_lane`` after each change, and starts one
    more where it is true. A lane that finds nothing at hand comes to its end,
    so that its connection can be of use to others.

    Args:
        items: what the caller gives, where it can be had without waiting.
        depth: how many deliveries may be under way in each lane, and how many
            done ones may wait for the caller.
        most: how many lanes there may be.

    Raises:
        LocalProtocolError: ``depth`` is less than 1.
    """

    def __init__(self, items: Iterator[Item] | None, *, depth: int, most: int) -> None:
        if depth < 1:
            raise LocalProtocolError(f"ahead is at least 1, not {depth}")
        self._items = items
        self._at_hand: deque[Delivery] = deque()
        self._most = most
        self.depth: int = depth
        self.lanes: list[Lane] = []
        self.done: deque[Delivery] = deque()  #: settled, and not yet seen by the caller
        self.ended: bool = False  #: the caller has no more, or wants no more to be begun
        self.failure: Exception | None = None  #: of the caller's own

    @property
    def full(self) -> bool:
        """Whether enough is at hand that is not begun."""
        return len(self._at_hand) >= self.depth

    @property
    def finished(self) -> bool:
        """Whether nothing more will be done."""
        return self.ended and not self._at_hand and not self.lanes

    @property
    def wants_lane(self) -> bool:
        """Whether deliveries wait which no lane is about to take."""
        if len(self.lanes) >= self._most or any(lane.has_room for lane in self.lanes):
            return False
        return self.peek() is not None

    def put(self, item: Item) -> None:
        """Have one more at hand."""
        self._at_hand.append(delivery_of(item))

    def peek(self) -> Delivery | None:
        """Return the delivery that is taken next, if one may be begun now."""
        if len(self.done) >= self.depth:
            return None  # the caller is slower than the servers
        if not self._at_hand and self._items is not None and not self.ended:
            try:
                self.put(next(self._items))
            except StopIteration:
                self.ended = True
            except Exception as error:
                self.fail(error)
        return self._at_hand[0] if self._at_hand else None

    def take(self) -> Delivery | None:
        """Return the delivery that is to be begun now, if there is one."""
        return self._at_hand.popleft() if self.peek() is not None else None

    def fail(self, error: Exception) -> None:
        """Begin no more, since something of the caller's own failed."""
        self.failure = self.failure or error
        self.stop()

    def stop(self) -> None:
        """Begin no more."""
        self.ended = True
        self._at_hand.clear()


@final
class Lane:
    """Answers the requests of one dialogue that delivers many."""

    __slots__ = ("_backlog", "_changed", "_under_way", "_waits")

    def __init__(self, backlog: Backlog, changed: Callable[[], object]) -> None:
        self._backlog = backlog
        self._changed = changed
        self._under_way = 0
        self._waits = False  # it has found nothing at hand, and hears answers meanwhile

    @property
    def depth(self) -> int:
        """How many deliveries may be under way in it."""
        return self._backlog.depth

    @property
    def has_room(self) -> bool:
        """Whether it will take another delivery by itself before it waits for any answer."""
        return not self._waits and self._under_way < self.depth

    def answer(self, request: Take | Give) -> Delivery | Queue | None:
        """Answer a request; what failed on the caller's side stays in the backlog."""
        if isinstance(request, Give):
            self._under_way -= 1
            self._backlog.done.append(request.delivery)
            self._changed()
            return None
        delivery = self._backlog.take()
        self._waits = delivery is None
        if delivery is None:
            return Queue.END if request.wait or self._backlog.ended else Queue.LATER
        self._under_way += 1
        if not self.has_room:
            self._changed()
        return delivery
