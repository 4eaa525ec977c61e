"""One message on its way to its recipients, and what has become of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, final, overload

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
@dataclass(slots=True, kw_only=True, eq=False)
class Fate:
    """What became of recipients at one endpoint; many share one.

    Nobody changes one. It is not frozen since each message makes one, and that would triple the cost.
    """

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
class Outcomes(Sequence[Outcome]):
    """The outcomes of all recipients at one moment, each made when somebody looks at it.

    It compares, hashes and prints as a tuple of them, and a slice of it is one.
    """

    __slots__ = ("_addresses", "_fates", "_notes")

    def __init__(
        self,
        addresses: tuple[str, ...],
        fates: Fate | list[Fate],
        notes: Mapping[int | None, tuple[str, ...]] | None,
    ) -> None:
        self._addresses = addresses
        self._fates = fates  # or one for all
        self._notes = notes

    @overload
    def __getitem__(self, index: int) -> Outcome: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Outcome, ...]: ...
    def __getitem__(self, index: int | slice) -> Outcome | tuple[Outcome, ...]:
        picked = range(len(self._addresses))[index]
        return self._at(picked) if isinstance(picked, int) else tuple(map(self._at, picked))

    def _at(self, index: int) -> Outcome:
        fates, notes = self._fates, self._notes
        fate = fates if isinstance(fates, Fate) else fates[index]
        noted = (*notes.get(None, ()), *notes.get(index, ())) if notes else ()
        return fate.outcome(self._addresses[index], noted)

    def __iter__(self) -> Iterator[Outcome]:
        return map(self._at, range(len(self._addresses)))

    def __len__(self) -> int:
        return len(self._addresses)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Outcomes):
            other = tuple(other)
        return tuple(self) == other if isinstance(other, tuple) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))


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
        "_begun_with",
        "_claimed",
        "_common",
        "_connected",
        "_envelope",
        "_fates",
        "_many",
        "_named",
        "_notes",
        "_pending",
        "_reader",
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
        if not envelope.addresses:
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
        self._many = self._begun_with = len(envelope.addresses)
        self._named: list[Recipient] = []  # since it was begun
        # What is known of each, by index. As long as that is the same of all, it is common instead.
        self._fates: list[Fate | None] | None = None
        self._common: Fate | None = None
        self._attempts: list[Attempt | Callable[[], Attempt]] = []
        self._claimed = False
        self._notes: dict[int | None, list[str]] = {}
        # What the undecided recipients of a transaction under way would become if it were lost now.
        self._pending: Callable[[int], Fate | None] | None = None
        # The same for those who are not part of a transaction yet.
        self._connected: Callable[[int], Fate | None] | None = None
        self.credentials: Credentials | None = credentials  #: for targets that forward them
        self.message: Message = message
        #: called with the octets of the message that have been sent, and how many there are, if that is known
        self.progress: Callable[[int, int | None], object] | None = progress
        self._reader: Reader | None = None

    @property
    def envelope(self) -> Envelope:
        """Sender and recipients."""
        envelope = self._envelope
        if self._named:
            others = self._named[len(envelope.addresses) - self._begun_with :]
            if others:
                envelope = replace(envelope, recipients=(*envelope.recipients, *others))
                self._envelope = envelope
        return envelope

    @property
    def outcomes(self) -> Sequence[Outcome]:
        """What has become of each recipient by now, in the order of the envelope, duplicates kept.

        What was read once stays as it is; what comes later shows when it is read anew.
        """
        envelope = self.envelope
        notes = {index: tuple(texts) for index, texts in self._notes.items()} if self._notes else None
        return Outcomes(envelope.addresses, self._fates_by_now(), notes)

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Every endpoint that was tried, in that order."""
        if not self._attempts:
            return ()
        attempts = tuple(made if isinstance(made, Attempt) else made() for made in self._attempts)
        self._attempts[:] = attempts
        return attempts

    def raise_for_status(self) -> None:
        """Do nothing if every recipient was delivered.

        Raises:
            DeliveryFailed: one was not; the exception carries this delivery.
        """
        common = self._fates_by_now()
        if isinstance(common, Fate) and common.status is Status.DELIVERED:
            return
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
        if self._reader is not None:
            self._reader.abandon()  # another run may be that of another adapter
        pending = self._pending
        if pending is not None:
            for index in range(self._many):
                fate = pending(index)
                if fate is not None and fate.status is Status.UNCERTAIN:
                    self.settle(index, fate)

    def name(self, recipient: Recipient) -> int:
        """Add a recipient, and return its index."""
        self._one_by_one().append(None)
        self._many += 1
        self._named.append(recipient)
        return self._many - 1

    def give_message(self, message: Message, progress: Callable[[int, int | None], object] | None) -> None:
        """Say what the message is."""
        self.message = message
        self.progress = progress
        self._reader = None

    def remaining(self, failover: Iterable[str]) -> list[int]:
        """Return the recipients that another endpoint may still be tried for."""
        fates, common = self._fates, self._common
        if fates is not None:
            return [
                i for i, f in enumerate(fates) if f is None or (f.moves is not None and f.moves in failover)
            ]
        if common is None or (common.moves is not None and common.moves in failover):
            return list(range(self._many))
        return []

    def settle(self, index: int, fate: Fate) -> None:
        """Record what became of a recipient; of several failures the most telling is kept."""
        if self._many == 1 and self._fates is None:
            if self._common is None or tells_more(fate, self._common):
                self._common = fate
            return
        fates = self._fates or self._one_by_one()
        before = fates[index]
        if before is None or tells_more(fate, before):
            fates[index] = fate

    def settle_all(self, indexes: Iterable[int], fate: Fate) -> None:
        """Record what became of several recipients."""
        if self._fates is None:
            indexes = set(indexes)
            if len(indexes) == self._many:  # that is everybody
                if self._common is None or tells_more(fate, self._common):
                    self._common = fate
                return
        fates = self._fates or self._one_by_one()
        for index in indexes:
            before = fates[index]
            if before is None or tells_more(fate, before):
                fates[index] = fate

    def note(self, notes: Mapping[int | None, Iterable[str]]) -> None:
        """Add notes on what could not be passed on: of one recipient, or under None of all."""
        for index, texts in notes.items():
            known = self._notes.setdefault(index, [])
            known += [text for text in texts if text not in known]

    def tried(self, attempt: Attempt | Callable[[], Attempt]) -> None:
        """Record that an endpoint was tried; a callable is asked only if somebody reads of it."""
        self._attempts.append(attempt)

    def under_way(self, pending: Callable[[int], Fate | None] | None) -> None:
        """Name who knows what recipients would become if everything stopped now; None if nobody."""
        self._pending = pending

    def on_the_way(self, connected: Callable[[int], Fate | None] | None) -> None:
        """Name who knows the same of recipients that no transaction is under way for, settled or not."""
        self._connected = connected

    def reader(self) -> Reader | None:
        """Return a reading of the message from its start, or None if it can be had no more."""
        reader = self._reader
        if reader is None or reader.begun:
            if reader is not None and not self.message.can_be_read_again:
                return None
            reader = self._reader = Reader(self.message)
        return reader

    def _one_by_one(self) -> list[Fate | None]:
        """Keep what is known of each recipient apart from now on."""
        if self._fates is None:
            self._fates = [self._common] * self._many
        return self._fates

    def _fates_by_now(self) -> Fate | list[Fate]:
        """Return what each recipient would become if everything stopped now, or what they all would."""
        fates, common = self._fates, self._common
        if self._pending is None and fates is None and common is not None:
            return common
        if self._pending is None and fates is not None:
            known = [fate for fate in fates if fate is not None]
            if len(known) == self._many:
                return known
        return [self._fate(index) for index in range(self._many)]

    def _fate(self, index: int) -> Fate:
        # Of those that are settled, the pending know nothing.
        pending = self._pending(index) if self._pending else None
        settled = self._common if self._fates is None else self._fates[index]
        connected = self._connected(index) if self._connected else None
        return pending or settled or connected or _NOTHING

    def __repr__(self) -> str:
        return f"<Delivery from <{self.envelope.sender}> to {self._many} recipients>"
