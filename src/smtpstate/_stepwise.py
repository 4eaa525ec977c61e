"""One transaction step by step: MAIL, each recipient with its reply, then the message or nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, final

from smtpstate._carry import Ending, absorbed, attempt, lacking, note_lacks, present
from smtpstate._delivery import Delivery, Fate, tells_more
from smtpstate._dialogue import Dialogue
from smtpstate._endpoints import Endpoint
from smtpstate._envelope import Recipient
from smtpstate._errors import (
    DeadlinePassed,
    DeliveryFailed,
    LocalProtocolError,
    RemoteProtocolError,
    TransportError,
)
from smtpstate._events import Answered
from smtpstate._exchange import conclude, name_recipients, send_message, settle
from smtpstate._fates import NO_CREDENTIALS
from smtpstate._link import Link
from smtpstate._message import Message
from smtpstate._outcomes import Phase, Status
from smtpstate._plan import Plan, fit, plan_ahead, plan_recipient
from smtpstate._reader import Reader, cause_of
from smtpstate._replies import Reply
from smtpstate._requests import Clock, Steps
from smtpstate._split import admits, next_batch
from smtpstate._transaction import TRANSIENT, Transaction

if TYPE_CHECKING:
    from smtpstate._courier import Courier
    from smtpstate._message import Readable

_LEFT = Reply.made_here(451, "4.5.0 the transaction was left before the message")
_TOO_MANY = Reply.made_here(452, "4.5.3 the server takes no more recipients")


@final
class Stepwise:
    """A transaction whose caller decides after each answer how it goes on.

    Its dialogues are driven one after the other, on the wire of its courier:
    first ``beginning``, then ``naming`` any number of times, then ``sending``.
    ``leave`` ends it at any point before that. Nobody is ever moved to another
    endpoint once it has begun, since the caller knows the answers of this one.

    Args:
        courier: whose connection is used; it must not be used for anything else meanwhile.
        delivery: one that is ``Delivery.stepwise``; recipients of its envelope are named at once.
        declared: what is known of the message: size, whether it is 8bit, binary, or has
            UTF-8 in its header. Its content is not looked at.
        ends: the deadline over all of it, on the adapter's clock, where it has begun before.
    """

    __slots__ = (
        "_begun",
        "_courier",
        "_declared",
        "_ending",
        "_ends",
        "_link",
        "_over",
        "_plan",
        "_stepping",
        "_transaction",
        "delivery",
    )

    def __init__(
        self, courier: Courier, delivery: Delivery, declared: Message, ends: float | None = None
    ) -> None:
        self.delivery: Delivery = delivery  #: what is known so far
        self._courier = courier
        self._declared = declared
        self._ends = ends
        self._link: Link | None = None
        self._plan = Plan(Reader(declared))
        self._transaction: Transaction | None = None
        self._ending = Ending()
        self._begun = 0.0
        self._stepping = False  # a step has begun and not ended
        self._over = False

    @property
    def reply(self) -> Reply:
        """The server's reply to MAIL.

        Raises:
            LocalProtocolError: the transaction has not begun.
        """
        reply = None if self._transaction is None else self._transaction.sender_reply
        if reply is None:
            raise LocalProtocolError("the transaction has not begun")
        return reply

    def beginning(self) -> Dialogue[None]:
        """Return the dialogue that finds an endpoint, says MAIL, and names the envelope's recipients.

        It raises ``DeliveryFailed`` if there is no endpoint or MAIL was refused.
        """
        return Dialogue(self._begin)

    def naming(self, recipient: str | Recipient) -> Dialogue[Reply]:
        """Return the dialogue that names one more recipient, and returns the server's reply.

        The reply is a local one where the server cannot be asked: it takes no
        more, or lacks what the recipient needs, or the connection is lost.

        Raises:
            LocalProtocolError: the address or a parameter cannot be sent, or the
                transaction is over.
        """
        self._check_open()
        named = recipient if isinstance(recipient, Recipient) else Recipient(recipient)
        return Dialogue(lambda _: self._name(named))

    def sending(
        self,
        message: Message | Readable | Callable[[], Readable],
        progress: Callable[[int, int | None], object] | None = None,
    ) -> Dialogue[None]:
        """Return the dialogue that sends the message to those who were accepted, and settles everybody.

        It raises ``LocalProtocolError`` if the message is not what was declared, and
        unchanged whatever the message's own source raises.

        Raises:
            LocalProtocolError: it is no message, or the transaction is over.
        """
        self._check_open()
        self.delivery.give_message(self._as_declared(Message.of(message)), progress)
        return Dialogue(self._send)

    def leave(self, clock: Clock) -> None:
        """End it: without the message nothing is delivered. The next transaction says RSET.

        Where a step was left in the middle, nothing more is believed on this connection.
        """
        if self._stepping:
            self.interrupt()
        self._end(clock)

    def interrupt(self) -> None:
        """Give it up in the middle of a step: nothing that comes on this connection can be believed."""
        if self._over or self._link is None or self._transaction is None:
            return
        failure = TransportError("the connection was closed in the middle of a step")
        self._link.failed(failure)
        self._ending.take(failure)
        self._transaction.ended(failure)

    # The beginning.

    def _begin(self, clock: Clock) -> Steps[None]:
        self._stepping = True
        courier, delivery = self._courier, self.delivery
        ends = courier.end_of_delivery(clock) if self._ends is None else self._ends
        worst = NO_CREDENTIALS if courier.refuses(delivery) else None
        if worst is None:
            for endpoint in courier.untried(delivery, clock):
                fate = yield from self._begin_at(endpoint, clock, ends)
                if fate is None:
                    self._stepping = False
                    return
                worst = fate if worst is None or tells_more(fate, worst) else worst
                if fate.moves is None or fate.moves not in courier.failover:
                    break
        assert worst is not None
        self._over, self._stepping = True, False
        courier.show(delivery, clock)
        raise DeliveryFailed(f"{worst.status.value}: {worst.reply}", delivery, worst.reply)

    def _begin_at(self, endpoint: Endpoint, clock: Clock, ends: float | None) -> Steps[Fate | None]:
        """Return what it means that the transaction cannot be had there, None if it is begun."""
        courier, delivery = self._courier, self.delivery
        waiting = delivery.remaining(courier.failover)
        while True:
            begun = self._begun = clock()
            ending = self._ending = Ending()
            session = yield from courier.session_at(endpoint, delivery, waiting, ending, clock, ends)
            if isinstance(session, Fate):
                fate: Fate | None = session
                delivery.settle_all(waiting, session)
            elif session.reused and not _has_room(session):
                session.exhausted = True
                continue  # nobody knows yet whom this one is to be for
            else:
                fate = yield from self._say_mail(session, waiting)
                if session.stale:
                    continue  # it had been idle, and was dead; the next one is new
            if fate is not None:
                assert courier.link is not None
                courier.link.idle_since = clock()
                delivery.tried(ending.attempt(courier.link, clock() - begun))
            return fate

    def _say_mail(self, link: Link, waiting: list[int]) -> Steps[Fate | None]:
        """Say MAIL, and RCPT for those who are known; return what it means that this failed."""
        delivery, ending = self.delivery, self._ending
        link.phase = Phase.MAIL
        presented = yield from present(delivery, waiting, link, ending, self._courier.config)
        if not presented:
            return self._not_presented(link)
        admitted, others = next_batch(link, delivery.envelope, waiting) if waiting else ([], [])
        plan = self._plan = plan_ahead(link, delivery.envelope, Reader(self._declared), admitted)
        note_lacks(delivery, link, plan)
        if plan.lacking is not None:
            fate = lacking(link, plan.lacking)
            delivery.settle_all(others, fate)
            return fate
        link.transactions += 1
        self._link = link
        transaction = self._transaction = Transaction(link, delivery, plan)
        delivery.under_way(transaction.if_stopped_now)
        yield from attempt(_say(link, transaction), link, transaction, ending)
        verdict = transaction.verdict
        if link.stale or verdict is not None:
            delivery.under_way(None)
        if not link.stale:
            delivery.settle_all(others, verdict or _fate(link, _TOO_MANY))
        return verdict

    def _not_presented(self, link: Link) -> Fate:
        """Return what it means that the server did not want to hear for whom we speak."""
        ending = self._ending
        fate = _fate(link, ending.reply or Reply.made_here(421, f"4.4.2 {ending.error}"))
        if link.phase is not Phase.AUTH or ending.error is not None:
            return fate
        final = self.delivery.credentials is not None and fate.reply.digit == 5
        return replace(fate, status=Status.REJECTED if final else Status.DEFERRED, moves="auth")

    # The recipients.

    def _name(self, recipient: Recipient) -> Steps[Reply]:
        self._stepping = True
        link, transaction = self._under_way()
        index = self.delivery.name(recipient)
        if transaction.verdict is None:
            yield from attempt(_look(link), link, transaction, self._ending)
        fate = transaction.verdict or self._planned(link, index, recipient)
        if fate is not None:
            if fate.status is Status.UNCERTAIN:  # not so of one who had not been named when the message left
                fate = _fate(link, fate.reply)
            self.delivery.settle(index, fate)
            self._stepping = False
            return fate.reply
        answers: list[Reply] = []

        def hear(event: Answered) -> None:
            answers.append(event.reply)
            transaction.hear_recipient(event)

        link.phase = Phase.RCPT
        link.submit(transaction.join(), hear)
        yield from attempt(settle(link), link, transaction, self._ending)
        self._stepping = False
        if answers:
            return answers[0]
        assert transaction.verdict is not None
        return transaction.verdict.reply

    def _planned(self, link: Link, index: int, recipient: Recipient) -> Fate | None:
        """Plan a recipient, and return what it means that it cannot be named."""
        if not admits(link, recipient.address, beside=len(self._plan.recipients)):
            return _fate(link, _TOO_MANY)
        plan_recipient(link, self._plan, index, recipient)
        self.delivery.note({index: self._plan.notes.get(index, ())})
        refusal = self._plan.refused.get(index)
        return None if refusal is None else lacking(link, refusal)

    # The message.

    def _send(self, clock: Clock) -> Steps[None]:
        self._stepping = True
        link, transaction = self._under_way()
        try:
            if transaction.verdict is None and transaction.has_recipients:
                reader = self.delivery.reader()
                assert reader is not None
                reader.ends = link.ends
                refusal = yield from fit(link, self._plan, reader)
                if refusal is None:
                    yield from attempt(
                        _say_message(link, transaction, self._plan), link, transaction, self._ending
                    )
                else:
                    transaction.settle_rest(lacking(link, refusal))
        except DeadlinePassed as failure:  # before anything of the message had left
            absorbed(failure, link, transaction, self._ending)
        except Exception as error:  # the caller's own, such as a source that failed
            self._end(clock)
            raise cause_of(error) from None
        self._end(clock)

    def _as_declared(self, message: Message) -> Message:
        """Return the message with what was declared, where it says nothing else itself.

        Not so the size, which is an estimate where a relay has it from its client (RFC 1870 §6.3).
        """
        declared = self._declared
        if declared.line_ends == "binary" and message.line_ends == "crlf":
            message = replace(message, line_ends="binary")
        if declared.eight_bit is not True and message.eight_bit == "refuse":
            message = replace(message, eight_bit=declared.eight_bit)
        if message.utf8 is None and declared.utf8 is not None:
            message = replace(message, utf8=declared.utf8)
        return message

    # The end.

    def _end(self, clock: Clock) -> None:
        """End it once: whoever leaves it in the middle of a step may be first, or the step itself."""
        over, self._over, self._stepping = self._over, True, False
        if over or self._transaction is None:
            return
        link, transaction = self._under_way()
        transaction.settle_rest(_fate(link, _LEFT))
        link.idle_since = clock()
        self.delivery.under_way(None)
        self.delivery.tried(self._ending.attempt(link, clock() - self._begun))
        self._courier.show(self.delivery, clock)

    def _under_way(self) -> tuple[Link, Transaction]:
        assert self._link is not None
        assert self._transaction is not None
        return self._link, self._transaction

    def _check_open(self) -> None:
        if self._over or self._transaction is None:
            raise LocalProtocolError(
                "the transaction is over" if self._over else "the transaction has not begun"
            )


def _has_room(link: Link) -> bool:
    """Return whether the server would take a recipient of a new domain on this connection."""
    most = link.conn.capabilities.limit("RCPTDOMAINMAX")
    return most is None or len(link.domains) < most


def _look(link: Link) -> Steps[None]:
    """See whether the server has said something since the last step, which may be long ago.

    What it said before it was asked is no answer to what comes next.
    """
    yield from link.glance()
    if link.conn.holds_octets:
        raise RemoteProtocolError("octets came that nobody had asked for")


def _say(link: Link, transaction: Transaction) -> Steps[None]:
    yield from name_recipients(link, transaction)
    yield from settle(link)


def _say_message(link: Link, transaction: Transaction, plan: Plan) -> Steps[None]:
    # If the server has left, the message must not follow it: nobody could tell what became of it.
    yield from _look(link)
    yield from send_message(link, transaction, plan)
    yield from conclude(link, transaction)


def _fate(link: Link, reply: Reply) -> Fate:
    """Return what a reply that is not the server's means."""
    return Fate(
        status=Status.DEFERRED, reply=reply, phase=link.phase, endpoint=link.endpoint, moves=TRANSIENT
    )
