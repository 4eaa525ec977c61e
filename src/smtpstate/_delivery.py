"""One message on its way to its recipients, and what has become of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, final

from smtpstate._auth import Credentials
from smtpstate._endpoints import Endpoint
from smtpstate._envelope import Envelope, Recipient
from smtpstate._errors import DeliveryFailed, LocalProtocolError
from smtpstate._message import Message
from smtpstate._outcomes import Outcome, Phase, Status
from smtpstate._reader import Reader
from smtpstate._replies import Reply
from smtpstate._requests import Negotiated

if TYPE_CHECKING:
    from smtpstate._message import Readable

_NOT_BEGUN = Reply.made_here(451, "4.4.1 the delivery has not begun")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What happened at one endpoint."""

    endpoint: Endpoint
    phase: Phase  #: how far it came
    remote: str | None = None  #: the server's IP address
    tls: Negotiated | None = None  #: what was negotiated; None where nothing was encrypted
    user: str | None = None  #: who we were; None where we did not authenticate
    reply: Reply | None = None  #: the server's word that ended it, where one did
    error: Exception | None = None  #: what went wrong otherwise; None where all went as it should
    seconds: float = 0.0  #: how long it took, QUIT left out


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What became of recipients at one endpoint; many share one."""

    status: Status
    reply: Reply
    phase: Phase
    endpoint: Endpoint | None = None
    error: Exception | None = None
    #: what has to be among a target's ``failover`` words for the next endpoint to be tried
    moves: str | None = None
    #: the server lacks what the message needs: any other word, of any other server, tells more
    lacking: bool = False

    def outcome(self, recipient: str, notes: tuple[str, ...]) -> Outcome:
        """Return this as the outcome of ``recipient``."""
        return Outcome(
            recipient=recipient,
            status=self.status,
            reply=self.reply,
            phase=self.phase,
            endpoint=self.endpoint,
            error=self.error,
            notes=notes,
        )


_PHASES = tuple(Phase)
_NOTHING = Fate(status=Status.DEFERRED, reply=_NOT_BEGUN, phase=Phase.CONNECT)


def tells_more(fate: Fate, before: Fate) -> bool:
    """Return whether ``fate`` is to be kept in place of ``before``."""
    if fate.lacking or before.lacking:
        return before.lacking
    if fate.status is not Status.DEFERRED:
        return True
    return _PHASES.index(fate.phase) >= _PHASES.index(before.phase)


@final
class Delivery:
    """One message for the recipients of one envelope.

    It is filled while replies arrive and can be read at any time, after a
    cancellation too: what is not settled then reads as if the connection had
    been lost at that point.

    One at a time may run it. It may be run again afterwards, also where it was
    cancelled: then it goes to endpoints where it has not been, and only to
    recipients whose outcome lets it, never to one who may have the message.

    Raises:
        LocalProtocolError: there is no recipient.
    """

    __slots__ = (
        "_attempts",
        "_claimed",
        "_connected",
        "_envelope",
        "_fates",
        "_notes",
        "_pending",
        "_reader",
        "_recipients",
        "credentials",
        "message",
        "progress",
    )

    def __init__(
        self,
        envelope: Envelope,
        message: Message | Readable | Callable[[], Readable],
        *,
        credentials: Credentials | None = None,
        progress: Callable[[int, int | None], object] | None = None,
    ) -> None:
        if not envelope.recipients:
            raise LocalProtocolError("the envelope has no recipient")
        self._begin(envelope, Message.of(message), credentials, progress)

    @classmethod
    def stepwise(cls, envelope: Envelope, credentials: Credentials | None = None) -> Delivery:
        """Return a delivery whose further recipients and message come later (``name``, ``give_message``)."""
        delivery = cls.__new__(cls)
        delivery._begin(envelope, Message(b""), credentials, None)
        return delivery

    def _begin(
        self,
        envelope: Envelope,
        message: Message,
        credentials: Credentials | None,
        progress: Callable[[int, int | None], object] | None,
    ) -> None:
        self._envelope = envelope
        self._recipients = list(envelope.recipients)
        self._fates: list[Fate | None] = [None] * len(envelope.recipients)
        self._attempts: list[Attempt] = []
        self._claimed = False
        self._notes: dict[int | None, list[str]] = {}
        # What the undecided recipients of a transaction under way would become if it were lost now.
        self._pending: Callable[[int], Fate | None] | None = None
        # The same for those who are not part of a transaction yet.
        self._connected: Callable[[int], Fate | None] | None = None
        self.credentials: Credentials | None = credentials  #: for targets that forward them
        self.give_message(message, progress)

    @property
    def envelope(self) -> Envelope:
        """Sender and recipients."""
        if len(self._recipients) != len(self._envelope.recipients):
            self._envelope = replace(self._envelope, recipients=tuple(self._recipients))
        return self._envelope

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """What became of each recipient, in the order of the envelope, duplicates kept."""
        return tuple(
            self._fate(index).outcome(recipient.address, self._notes_of(index))
            for index, recipient in enumerate(self._recipients)
        )

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Every endpoint that was tried, in that order."""
        return tuple(self._attempts)

    def raise_for_status(self) -> None:
        """Do nothing if every recipient was delivered.

        Raises:
            DeliveryFailed: one was not; the exception carries this delivery.
        """
        failed = [outcome for outcome in self.outcomes if outcome.status is not Status.DELIVERED]
        if failed:
            raise DeliveryFailed("; ".join(map(str, failed[:10])), self)

    # For the core.

    @property
    def claimed(self) -> bool:
        """Whether somebody runs it."""
        return self._claimed

    def claim(self) -> None:
        """Begin to run it.

        Raises:
            LocalProtocolError: somebody else does already.
        """
        if self._claimed:
            raise LocalProtocolError("the delivery is under way already")
        self._claimed = True

    def release(self) -> None:
        """Run it no longer; whoever may have the message is certain never to be tried again."""
        self._claimed = False
        pending = self._pending
        if pending is not None:
            for index in range(len(self._fates)):
                fate = pending(index)
                if fate is not None and fate.status is Status.UNCERTAIN:
                    self.settle(index, fate)

    def name(self, recipient: Recipient) -> int:
        """Add a recipient, and return its index."""
        self._recipients.append(recipient)
        self._fates.append(None)
        return len(self._fates) - 1

    def give_message(self, message: Message, progress: Callable[[int, int | None], object] | None) -> None:
        """Say what the message is."""
        self.message: Message = message
        #: called with the octets of the message that have been sent, and how many there are, if that is known
        self.progress: Callable[[int, int | None], object] | None = progress
        self._reader = Reader(message)

    def remaining(self, failover: Iterable[str]) -> list[int]:
        """Return the recipients that another endpoint may still be tried for."""
        return [
            index
            for index, fate in enumerate(self._fates)
            if fate is None or (fate.moves is not None and fate.moves in failover)
        ]

    def settle(self, index: int, fate: Fate) -> None:
        """Record what became of a recipient; of several failures the most telling is kept."""
        before = self._fates[index]
        if before is None or tells_more(fate, before):
            self._fates[index] = fate

    def settle_all(self, indexes: Iterable[int], fate: Fate) -> None:
        """Record what became of several recipients."""
        for index in indexes:
            self.settle(index, fate)

    def note(self, notes: Mapping[int | None, Iterable[str]]) -> None:
        """Add notes on what could not be passed on: of one recipient, or under None of all."""
        for index, texts in notes.items():
            known = self._notes.setdefault(index, [])
            known += [text for text in texts if text not in known]

    def tried(self, attempt: Attempt) -> None:
        """Record that an endpoint was tried."""
        self._attempts.append(attempt)

    def under_way(self, pending: Callable[[int], Fate | None] | None) -> None:
        """Name who knows what recipients would become if everything stopped now; None if nobody."""
        self._pending = pending

    def on_the_way(self, connected: Callable[[int], Fate | None] | None) -> None:
        """Name who knows the same of recipients that no transaction is under way for."""
        self._connected = connected

    def reader(self) -> Reader | None:
        """Return a reading of the message from its start, or None if it can be had no more."""
        if self._reader.begun:
            if not self.message.can_be_read_again:
                return None
            self._reader = Reader(self.message)
        return self._reader

    def _notes_of(self, index: int) -> tuple[str, ...]:
        if not self._notes:
            return ()
        return (*self._notes.get(None, ()), *self._notes.get(index, ()))

    def _fate(self, index: int) -> Fate:
        # Of those that are settled, the pending know nothing.
        pending = self._pending(index) if self._pending else None
        connected = self._connected(index) if self._connected else None
        return pending or self._fates[index] or connected or _NOTHING

    def is_settled(self, index: int) -> bool:
        """Return whether anything is known of a recipient yet."""
        return self._fates[index] is not None

    def __repr__(self) -> str:
        return f"<Delivery from <{self.envelope.sender}> to {len(self._fates)} recipients>"
