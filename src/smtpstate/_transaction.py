"""One message over one connection: what is said, and what each answer means for whom."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, takewhile
from typing import final

from smtpstate._commands import Command, Mail, Rcpt, Rset, rcpt_of
from smtpstate._delivery import Delivery, Fate
from smtpstate._errors import RemoteProtocolError
from smtpstate._events import Answered, ContentWanted, RecipientDelivered
from smtpstate._link import Closing, Link, Listener
from smtpstate._outcomes import Phase, Status
from smtpstate._plan import Plan
from smtpstate._replies import Reply
from smtpstate._runs import RCPT_FRAME, Rcpts, RecipientsAnswered, RecipientsDelivered

#: What ``failover`` calls a temporary refusal, and a connection that was lost.
TRANSIENT = "transient"


_SAID = {2: Status.DELIVERED, 4: Status.DEFERRED}


class Spoiled(Exception):
    """The message was refused before its end, and the connection with it; never leaves the core."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


@final
class Transaction:
    """What is known of one message on one connection.

    It listens to the answers and settles recipients as soon as their fate is
    certain. What it does not know yet reads as if the connection were lost now.
    """

    __slots__ = (
        "_accepted",
        "_answered",
        "_asked",
        "_content_at",
        "_decided",
        "_delivery",
        "_end_at",
        "_finals",
        "_indexes",
        "_link",
        "_mail",
        "_plan",
        "_positions",
        "_shared",
        "_undecided",
        "ends",
        "go_ahead",
        "refused",
        "too_many",
        "verdict",
    )

    def __init__(self, link: Link, delivery: Delivery, plan: Plan) -> None:
        self._link = link
        self._delivery = delivery
        self._plan = plan
        self._indexes = indexes = [index for index, _, _ in plan.recipients]
        self._positions: dict[int, int] = {}  # of the recipients; made when somebody asks
        self._decided = bytearray(len(indexes))
        self._undecided = len(indexes)
        self._mail: Reply | None = None
        self.refused: bool = False  #: MAIL was refused
        self.ends: float | None = None  #: its own deadline, where other messages are under way beside it
        self._shared: Fate | None = None  # the fate that was met last: many have the same
        self._asked = 0  # recipients named so far
        self._answered = 0  # of them, how many are answered
        self._accepted: list[int] = []  # positions
        self._finals = 0  # how many of these have had LMTP's final reply
        self._content_at: int | None = None  # what had been submitted when the message began
        self._end_at: int | None = None  # what had been submitted when the end of the message was
        self.go_ahead: bool | None = None  #: DATA's answer: whether the server awaits the message
        self.too_many: list[int] = []  #: recipients for whom a further transaction is worth trying
        self.verdict: Fate | None = None  #: what became of all who were not settled by then

    # What is said.

    def opening(self) -> list[tuple[Command, Listener]]:
        """Return what comes before the recipients: MAIL, and RSET where something was left unfinished."""
        conn = self._link.conn
        # A BDAT that fails leaves a transaction behind (RFC 3030 §2). Where the one before is not
        # answered yet, RSET must go ahead of the answer: some server could take these recipients
        # for the message before, and its sender for theirs.
        unfinished = conn.in_transaction or (self._link.chunks and conn.outstanding)
        mail = (Mail(self._plan.sender, self._plan.parameters), self.hear_sender)
        return [(Rset(), _hear_reset), mail] if unfinished else [mail]

    def next_recipient(self) -> Rcpt:
        """Return what names the next recipient."""
        _, address, parameters = self._plan.recipients[self._asked]
        self._asked += 1
        return Rcpt(address, parameters)

    def next_recipients(self, room: int) -> tuple[Command, Listener] | None:
        """Return what names the next recipients by their addresses alone, as far as so many octets reach.

        There is none where anything else is to be said of a recipient.
        """
        if not self._plan.plain:
            return None
        first = self._asked
        run = [address for _, address, _ in self._plan.recipients[first : first + room // RCPT_FRAME]]
        if RCPT_FRAME * len(run) + sum(map(len, run)) > room:
            lengths = accumulate(RCPT_FRAME + len(address) for address in run)
            del run[sum(1 for _ in takewhile(room.__ge__, lengths)) :]
        if not run:
            return None
        self._asked += len(run)
        if len(run) == 1:
            return rcpt_of(run[0]), self.hear_recipient
        return Rcpts(tuple(run)), self.hear_recipients

    @property
    def all_named(self) -> bool:
        """Whether no further recipient is to be named."""
        return self.refused or self._asked == len(self._plan.recipients)

    def join(self) -> Command:
        """Let the recipient that was planned last join, and return what names it."""
        index, address, parameters = self._plan.recipients[-1]
        command = Rcpt(address, parameters)
        self._indexes.append(index)
        self._positions.clear()
        self._decided.append(False)
        self._undecided += 1
        self._asked += 1
        return command

    def content_follows(self) -> None:
        """Note that what is submitted next is of the message."""
        self._content_at = self._link.submitted

    def end_submitted(self) -> None:
        """Note that the end of the message stands in the next flight."""
        self._end_at = self._link.submitted

    def tell_progress(self) -> None:
        """Tell the caller how much of the message has been sent."""
        tell = self._delivery.progress
        if tell is not None and self._content_at is not None and self._link.requested > self._content_at:
            tell(self._plan.reader.seen, self._plan.reader.total)

    # What is known.

    @property
    def sender_answered(self) -> bool:
        """Whether MAIL is answered."""
        return self._mail is not None

    @property
    def sender_reply(self) -> Reply | None:
        """The answer to MAIL, if it has come."""
        return self._mail

    @property
    def envelope_answered(self) -> bool:
        """Whether MAIL and every RCPT are answered."""
        return self._mail is not None and self._answered == self._asked

    @property
    def has_recipients(self) -> bool:
        """Whether the message has somebody to go to."""
        return bool(self._accepted) and not self.refused

    @property
    def hopeless(self) -> bool:
        """Whether it is certain that the message has nobody to go to."""
        return self.refused or (self.envelope_answered and not self._accepted)

    @property
    def end_sent(self) -> bool:
        """Whether the sending of the message's last octet has been requested, even if it failed."""
        return self._end_at is not None and self._link.requested >= self._end_at

    @property
    def untouched(self) -> bool:
        """Whether nothing has come of it: no answer to it, and nothing of the message has left."""
        left = self._content_at is not None and self._link.requested > self._content_at
        return self._mail is None and not left

    @property
    def awaits_several(self) -> bool:
        """Whether LMTP owes it more than one final reply, or may."""
        return len(self._indexes) > 1 and not self.complete

    @property
    def was_stopped(self) -> bool:
        """Whether the message was refused before its end."""
        return self.verdict is not None and self.verdict.phase is Phase.CONTENT

    @property
    def complete(self) -> bool:
        """Whether every recipient is settled."""
        return not self._undecided

    @property
    def phase(self) -> Phase:
        """How far the answers have come."""
        if self._mail is None:
            return Phase.MAIL
        if self._answered < len(self._indexes):
            return Phase.RCPT
        if self.end_sent:
            return Phase.FINAL
        return Phase.CONTENT if self.go_ahead else Phase.DATA

    # What is heard.

    def hear_sender(self, event: Answered) -> None:
        """Take MAIL's answer."""
        reply = self._mail = event.reply
        if self.ends is not None:
            self._link.ends = self.ends  # all before it are answered
        self.refused = reply.code // 100 != 2
        if self.refused:
            self._settle_all(_said(reply), reply, Phase.MAIL)

    def hear_recipient(self, event: Answered) -> None:
        """Take an RCPT's answer; they come in the order of the recipients."""
        position, reply = self._answered, event.reply
        self._answered += 1
        if self.refused:
            return
        if reply.code // 100 == 2:
            self._accepted.append(position)
            return
        status = _said(reply)
        if _means_too_many(reply):
            # RFC 5321 §4.5.3.1.10: old servers say 552 for "too many recipients"; take it as
            # 452, or each of them would bounce
            status = Status.DEFERRED
            if self._accepted:
                self.too_many.append(self._indexes[position])
        self._settle([position], status, reply, Phase.RCPT)

    def hear_recipients(self, event: Answered) -> None:
        """Take the answer to several recipients of a run."""
        assert isinstance(event, RecipientsAnswered)
        if event.reply.code // 100 != 2:
            for _ in range(event.count):
                self.hear_recipient(event)
            return
        first = self._answered
        self._answered += event.count
        if not self.refused:
            self._accepted += range(first, self._answered)

    def hear_data(self, event: Answered) -> None:
        """Take DATA's answer."""
        self.go_ahead = isinstance(event, ContentWanted)
        if not self.go_ahead:
            self._settle_all(_said(event.reply), event.reply, Phase.DATA)

    def hear_chunk(self, event: Answered) -> None:
        """Take the answer to a chunk that was not the last; a refusal ends the message.

        Raises:
            Spoiled: it is one.
        """
        if event.reply.digit != 2:
            self.hear_early(event)

    def hear_final(self, event: Answered) -> None:
        """Take the final reply: everyone's in SMTP, in LMTP the next recipient's."""
        reply = event.reply
        if isinstance(event, (RecipientDelivered, RecipientsDelivered)):
            first = self._finals
            self._finals += event.count if isinstance(event, RecipientsDelivered) else 1
            self._settle(self._accepted[first : self._finals], _said(reply), reply, Phase.FINAL)
        else:
            self._settle_all(_said(reply), reply, Phase.FINAL)

    def hear_early(self, event: Answered) -> None:
        """Take a refusal that came while the message was being sent: it is everyone's.

        Raises:
            Spoiled: always.
        """
        self._settle_all(_said(event.reply), event.reply, Phase.CONTENT)
        raise Spoiled(event.reply)

    # When it ends otherwise.

    def ended(self, failure: Exception) -> None:
        """Take whatever ended the connection."""
        if isinstance(failure, Closing):
            self.closed(failure)
        else:
            self.lost(failure)

    def closed(self, closing: Closing) -> None:
        """Take 421: it answers everything that is unanswered, but only one recipient of LMTP's last."""
        reply, recipient = closing.event.reply, closing.event.recipient
        if recipient is not None and self._finals < len(self._accepted) and self.end_sent:
            position = self._accepted[self._finals]
            self._finals += 1
            self._settle([position], _said(reply), reply, Phase.FINAL)
            self.lost(closing)
        else:
            self._settle_all(_said(reply), reply, self.phase)

    def lost(self, error: Exception) -> None:
        """Settle whoever is not settled: the connection is gone, or not to be believed any more."""
        self.settle_rest(self._fate_if_lost(error))

    def settle_rest(self, fate: Fate) -> None:
        """Settle whoever is not settled yet."""
        self.verdict = fate
        indexes, decided = self._indexes, self._decided
        if self._undecided < len(indexes):
            indexes = [index for index, known in zip(indexes, decided, strict=True) if not known]
        self._delivery.settle_all(indexes, fate)
        self._decided = bytearray(b"\1") * len(decided)
        self._undecided = 0

    def if_stopped_now(self, index: int) -> Fate | None:
        """Return what an unsettled recipient would become if everything stopped here."""
        if not self._positions:
            self._positions = {index: position for position, index in enumerate(self._indexes)}
        position = self._positions.get(index)
        if position is None or self._decided[position]:
            return None
        return self._fate_if_lost(None)

    def _fate_if_lost(self, error: Exception | None) -> Fate:
        why = str(error) if error is not None else "the delivery was not finished"
        if isinstance(error, Closing):
            error = None  # which is nobody else's business
        code = "4.5.0" if isinstance(error, RemoteProtocolError) else "4.4.2"
        return Fate(
            # RFC 1047: the server may have taken responsibility, and we cannot know
            status=Status.UNCERTAIN if self.end_sent else Status.DEFERRED,
            reply=Reply.made_here(451 if code == "4.5.0" else 421, f"{code} {why}"),
            phase=Phase.FINAL if self.end_sent else self.phase,
            endpoint=self._link.endpoint,
            error=error,
            moves=None if self.end_sent else TRANSIENT,
        )

    def _settle(self, positions: Sequence[int], status: Status, reply: Reply, phase: Phase) -> None:
        for position in positions:
            self._decided[position] = True
        self._undecided -= len(positions)
        indexes = [self._indexes[position] for position in positions]
        self._delivery.settle_all(indexes, self._fate(status, reply, phase))

    def _settle_all(self, status: Status, reply: Reply, phase: Phase) -> None:
        self.settle_rest(self._fate(status, reply, phase))

    def _fate(self, status: Status, reply: Reply, phase: Phase) -> Fate:
        shared = self._shared
        if (
            shared is None
            or shared.reply is not reply  # equal replies are the same object as a rule
            or shared.phase is not phase
            or shared.status is not status
        ):
            moves = TRANSIENT if status is Status.DEFERRED else None
            shared = Fate(status=status, reply=reply, phase=phase, endpoint=self._link.endpoint, moves=moves)
            self._shared = shared
        return shared


def _said(reply: Reply) -> Status:
    """Return what a server's reply says of those it is about."""
    return _SAID.get(reply.code // 100, Status.REJECTED)


def _means_too_many(reply: Reply) -> bool:
    enhanced = reply.enhanced
    return reply.code in (452, 552) and (enhanced is None or (enhanced.subject, enhanced.detail) == (5, 3))


def _hear_reset(event: Answered) -> None:
    if event.reply.digit != 2:
        raise RemoteProtocolError("RSET was refused", event.reply)
