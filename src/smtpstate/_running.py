"""One delivery of many under way, and how it fares on the present connection."""

from __future__ import annotations

from typing import final

from smtpstate._carry import Ending
from smtpstate._delivery import Delivery
from smtpstate._link import Link
from smtpstate._transaction import Transaction


@final
class Running:
    """A delivery under way, and how it fares on the present connection."""

    __slots__ = (
        "again",
        "begun",
        "delivery",
        "ending",
        "ends",
        "later",
        "link",
        "retried",
        "spoilt",
        "transaction",
        "was_used",
    )

    def __init__(self, delivery: Delivery, ends: float | None, begun: float) -> None:
        self.delivery: Delivery = delivery
        self.ends: float | None = ends  #: the deadline over all of it, on the adapter's clock
        self.begun: float = begun  #: on the same clock
        self.ending: Ending = Ending()
        self.link: Link | None = None
        self.transaction: Transaction | None = None
        self.later: list[int] = []  #: recipients for a further transaction
        self.was_used: bool = False  #: the connection carried another message before, or was idle
        self.again: bool = False  #: it is to be begun anew on a new connection
        self.retried: bool = False  #: that has been done once
        self.spoilt: bool = False  #: the caller's own source failed

    @property
    def done(self) -> bool:
        """Whether nothing is to come of it on this connection."""
        return not self.again and (self.transaction is None or self.transaction.complete)

    def begin_anew(self) -> None:
        """Forget the connection, of which nothing has come."""
        self.again = self.retried = True
        self.transaction = self.link = None
        self.ending = Ending()
        self.delivery.under_way(None)
