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

# Deliveries under way in a lane beyond which it is not counted upon to take another soon:
# the second may have to wait until the server has answered the first.
_SOON = 2


def delivery_of(item: Item) -> Delivery:
    """Return what the caller gave as a delivery.

    Raises:
        LocalProtocolError: it cannot be made of that.
    """
    match item:
        case Delivery():
            return item
        case (Envelope() as envelope, message):
            return Delivery(envelope, message)
        case _:
            what = type(item).__name__
            raise LocalProtocolError(f"give deliveries, or pairs of an envelope and a message, not {what}")


def nobody() -> int:
    """Return how many others wait for a connection, where there are no others."""
    return 0


@final
class Backlog:
    """Keeps the books between a caller and the lanes in which its deliveries go.

    Whoever runs the lanes asks ``wants_lane`` after each change, and starts one
    more where it is true. A lane that finds nothing at hand comes to its end,
    so that its connection can be of use to others; and so does one that has had
    its turn while others wait for a connection.

    Args:
        items: what the caller gives, where it can be had without waiting.
        depth: how many deliveries may be under way in each lane, and how many
            done ones may wait for the caller.
        most: how many lanes there may be.
        waiting: tells how many wait for a connection of the target, lanes included;
            infinitely many once that is closed.

    Raises:
        LocalProtocolError: ``depth`` is less than 1.
    """

    def __init__(
        self,
        items: Iterator[Item] | None,
        *,
        depth: int,
        most: int,
        waiting: Callable[[], float] = nobody,
    ) -> None:
        if depth < 1:
            raise LocalProtocolError(f"ahead is at least 1, not {depth}")
        self._items = items
        self._at_hand: deque[Delivery] = deque()
        self._most = most
        self._waiting = waiting
        self.depth: int = depth
        self.lanes: list[Lane] = []
        self.done: deque[Delivery] = deque()  #: settled, and not yet seen by the caller
        self.ended: bool = False  #: the caller has no more, or wants no more to be begun
        self.failure: BaseException | None = None  #: of the caller's own

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

    @property
    def is_in_the_way(self) -> bool:
        """Whether somebody else waits for a connection for whom no lane is about to end yet."""
        others = self._waiting()
        if not others:
            return False
        own = sum(not lane.begun for lane in self.lanes)
        return others - own > sum(lane.makes_way for lane in self.lanes)

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
                self.end(error)
        return self._at_hand[0] if self._at_hand else None

    def take(self) -> Delivery | None:
        """Return the delivery that is to be begun now, if there is one."""
        return self._at_hand.popleft() if self.peek() is not None else None

    def end(self, error: BaseException | None = None) -> None:
        """Expect no more from the caller, who is told of ``error`` when all else is done."""
        self.failure = self.failure or error
        self.ended = True

    def fail(self, error: BaseException) -> None:
        """Begin no more, since something of the caller's own failed."""
        self.end(error)
        self.stop()

    def stop(self) -> None:
        """Begin no more."""
        self.ended = True
        self._at_hand.clear()


@final
class Lane:
    """Answers the requests of one dialogue that delivers many.

    Attributes:
        depth: how many deliveries may be under way in it.
        begun: it has a connection to deliver on.
        makes_way: it takes no more, so that somebody else can have its connection.
    """

    __slots__ = (
        "_backlog",
        "_changed",
        "_soon",
        "_taken",
        "_under_way",
        "_waits",
        "begun",
        "depth",
        "makes_way",
    )

    def __init__(self, backlog: Backlog, changed: Callable[[], object]) -> None:
        self._backlog = backlog
        self._changed = changed
        self._taken = 0
        self._under_way = 0
        self.depth: int = backlog.depth
        self._soon = min(self.depth, _SOON)
        self._waits = False  # it was given nothing when it asked, and hears answers meanwhile
        self.begun: bool = False
        self.makes_way: bool = False

    @property
    def has_room(self) -> bool:
        """Whether it will take another delivery by itself before long."""
        return not self._waits and self._under_way < self._soon

    def answer(self, request: Take | Give) -> Delivery | Queue | None:
        """Answer a request; what failed on the caller's side stays in the backlog."""
        if isinstance(request, Give):
            self._under_way -= 1
            self._backlog.done.append(request.delivery)
            self._changed()
            return None
        self.begun = True
        if self._taken >= self.depth and not self.makes_way:
            self.makes_way = self._backlog.is_in_the_way
        delivery = None if self.makes_way else self._backlog.take()
        self._waits = delivery is None
        if delivery is None:
            return Queue.END if request.wait or self._backlog.ended else Queue.LATER
        self._taken += 1
        self._under_way += 1
        if self._under_way == self._soon:
            self._changed()
        return delivery
