"""What each answer means for whom: a transaction hears answers, and settles recipients."""

from __future__ import annotations

import pytest

from playing import MESSAGE, D, F, R, U
from smtpstate import (
    DeadlinePassed,
    Delivery,
    DeliveryFailed,
    Envelope,
    Limits,
    RemoteProtocolError,
    Reply,
    Status,
    TargetConfig,
    TransportError,
)
from smtpstate._commands import Bdat, Command, Data, Ehlo, EndOfContent, Mail, Protocol, Rcpt, Rset
from smtpstate._endpoints import Endpoint
from smtpstate._events import (
    ChunkAnswered,
    CommandAnswered,
    ContentWanted,
    MessageAnswered,
    RecipientAnswered,
    RecipientDelivered,
    SenderAnswered,
    ServiceClosing,
)
from smtpstate._link import Closing, Link
from smtpstate._outcomes import Phase
from smtpstate._plan import Plan
from smtpstate._reader import Reader
from smtpstate._runs import Rcpts
from smtpstate._transaction import Spoiled, Transaction

NAMES = ("b@y.example", "c@y.example", "d@y.example")


class Told:
    """A transaction of three recipients, of which so many are named, and what it is told."""

    def __init__(self, named: int = 3) -> None:
        config = TargetConfig(targets=["tcp://mx.example:25"])
        self.link = Link(
            Endpoint("tcp", "mx.example", 25),
            Protocol.SMTP,
            clock=lambda: 0.0,
            timeouts=config.timeouts,
            limits=Limits(),
        )
        self.delivery = Delivery(Envelope("a@x.example", NAMES), MESSAGE)
        recipients = [(n, name, ()) for n, name in enumerate(NAMES)]
        plan = Plan(Reader(self.delivery.message))
        plan.sender = "a@x.example"
        plan.recipients = list(recipients)
        self.transaction = Transaction(self.link, self.delivery, plan)
        self.delivery.under_way(self.transaction.if_stopped_now)
        opening = [command for command, _ in self.transaction.opening()]
        self.commands: list[Command] = [*opening, *(self.transaction.next_recipient() for _ in range(named))]

    def next_run(self, room: int) -> Command:
        """Return what names the next recipients, as far as so many octets reach."""
        run = self.transaction.next_recipients(room)
        assert run is not None
        return run[0]

    def envelope(self, *codes: int, text: str = "") -> Told:
        """Let MAIL and then each recipient be answered."""
        mail, *recipients = codes
        self.transaction.hear_sender(SenderAnswered(reply(mail), self.commands[0]))
        for n, code in enumerate(recipients):
            self.transaction.hear_recipient(RecipientAnswered(reply(code, text), self.commands[n + 1]))
        return self

    def content_sent(self) -> Told:
        """Let the message, and its end, have been sent."""
        self.transaction.hear_data(ContentWanted(reply(354), Data()))
        self.transaction.content_follows()
        self.link.submitted += 100
        self.transaction.end_submitted()
        self.link.requested = self.link.submitted
        return self

    def final(self, code: int, recipient: int | None = None) -> Told:
        """Let a final reply come: LMTP's where it is for one recipient."""
        if recipient is None:
            self.transaction.hear_final(MessageAnswered(reply(code), EndOfContent()))
        else:
            event = RecipientDelivered(reply(code), EndOfContent(), Rcpt(NAMES[recipient]))
            self.transaction.hear_final(event)
        return self

    @property
    def statuses(self) -> list[Status]:
        return [outcome.status for outcome in self.delivery.outcomes]

    @property
    def phases(self) -> list[Phase]:
        return [outcome.phase for outcome in self.delivery.outcomes]


def reply(code: int, text: str = "") -> Reply:
    return Reply(code, (text.encode(),))


def closing(code: int = 421, recipient: int | None = None) -> Closing:
    named = None if recipient is None else Rcpt(NAMES[recipient])
    return Closing(ServiceClosing(reply(code), (), named))


def test_the_envelope_is_mail_and_each_recipient() -> None:
    assert Told().commands == [Mail("a@x.example"), *map(Rcpt, NAMES)]


def test_no_further_recipient_is_named_once_the_sender_is_refused() -> None:
    told = Told(named=1)
    assert not told.transaction.all_named
    told.envelope(550)
    assert told.transaction.all_named


def test_recipients_are_named_as_far_as_there_is_room() -> None:
    told = Told(named=0)
    line = len(bytes(Rcpt(NAMES[0])))
    assert told.transaction.next_recipients(line - 1) is None
    assert told.next_run(2 * line - 1) == Rcpt(NAMES[0])
    assert told.next_run(2 * line) == Rcpts(tuple(NAMES[1:]))


def test_a_transaction_left_open_is_abandoned_first_and_rset_cannot_be_refused() -> None:
    told = Told()
    told.link.conn.receive_data(b"220 mx\r\n")
    told.link.conn.next_event()
    for said in (Ehlo("c.example"), told.commands[0]):
        told.link.conn.send(said)
        told.link.conn.receive_data(b"250 ok\r\n")
        told.link.conn.next_event()
    (command, listener), _ = told.transaction.opening()
    assert command == Rset()
    listener(CommandAnswered(reply(250), Rset()))
    with pytest.raises(RemoteProtocolError, match="RSET"):
        listener(CommandAnswered(reply(500), Rset()))


@pytest.mark.parametrize(("code", "status"), [(450, F), (550, R)])
def test_a_refused_sender_is_everyones_fate_whatever_is_said_to_recipients(code: int, status: Status) -> None:
    told = Told().envelope(code, 250, 503, 250)
    assert told.statuses == [status] * 3
    assert told.transaction.complete
    assert told.transaction.hopeless
    assert not told.transaction.has_recipients


def test_a_refused_recipient_is_settled_alone() -> None:
    told = Told().envelope(250, 250, 550, 450)
    assert told.statuses == [F, R, F]
    assert told.phases == [Phase.DATA, Phase.RCPT, Phase.RCPT]
    assert told.transaction.has_recipients
    assert told.transaction.envelope_answered


@pytest.mark.parametrize(
    ("code", "text", "first", "later"),
    [
        (452, "", False, True),
        (452, "4.5.3 too many", False, True),
        (552, "", False, True),
        (552, "5.5.3 too many", False, True),
        (552, "5.2.2 full", False, False),
        (451, "4.5.3 too many", False, False),
    ],
)
def test_too_many_recipients_wait_only_behind_one_that_was_accepted(
    code: int, text: str, first: bool, later: bool
) -> None:
    alone = Told().envelope(250, code, text=text)
    assert (alone.transaction.too_many == [0]) is first
    behind = Told().envelope(250, 250)
    behind.transaction.hear_recipient(RecipientAnswered(reply(code, text), behind.commands[2]))
    assert (behind.transaction.too_many == [1]) is later


@pytest.mark.parametrize(("code", "status"), [(250, D), (451, F), (554, R)])
def test_the_final_reply_is_of_all_who_were_accepted(code: int, status: Status) -> None:
    told = Told().envelope(250, 250, 550, 250).content_sent().final(code)
    assert told.statuses == [status, R, status]
    assert told.transaction.complete


def test_final_replies_of_lmtp_are_of_those_who_were_accepted_in_their_order() -> None:
    told = Told().envelope(250, 250, 550, 250).content_sent().final(452, 0).final(250, 2)
    assert told.statuses == [F, R, D]


@pytest.mark.parametrize(("code", "status"), [(451, F), (554, R)])
def test_data_refused_is_of_all_who_were_accepted(code: int, status: Status) -> None:
    told = Told().envelope(250, 250, 250, 250)
    told.transaction.hear_data(MessageAnswered(reply(code), Data()))
    assert told.statuses == [status] * 3
    assert set(told.phases) == {Phase.DATA}
    assert told.transaction.go_ahead is False


def test_a_chunk_taken_changes_nothing_and_a_chunk_refused_spoils_the_message() -> None:
    told = Told().envelope(250, 250, 250, 250)
    told.transaction.hear_chunk(ChunkAnswered(reply(250), Bdat(b"x")))
    assert not told.transaction.complete
    with pytest.raises(Spoiled) as caught:
        told.transaction.hear_chunk(ChunkAnswered(reply(552), Bdat(b"x")))
    assert caught.value.reply.code == 552
    assert told.statuses == [R] * 3


# The end of a connection.

ERRORS = [
    (TransportError("reset"), 421, "4.4.2"),
    (DeadlinePassed("late"), 421, "4.4.2"),
    (RemoteProtocolError("junk"), 451, "4.5.0"),
]


@pytest.mark.parametrize(("error", "code", "enhanced"), ERRORS)
def test_a_connection_lost_before_the_end_of_the_message_defers(
    error: Exception, code: int, enhanced: str
) -> None:
    told = Told().envelope(250, 250, 550, 250)
    told.transaction.ended(error)
    assert told.statuses == [F, R, F]
    first = told.delivery.outcomes[0]
    assert (first.reply.code, str(first.reply.enhanced), first.error) == (code, enhanced, error)


@pytest.mark.parametrize(("error", "code", "enhanced"), ERRORS)
def test_a_connection_lost_after_it_leaves_everyone_uncertain_but_those_who_were_answered(
    error: Exception, code: int, enhanced: str
) -> None:
    told = Told().envelope(250, 250, 250, 550).content_sent().final(250, 0)
    told.transaction.ended(error)
    assert told.statuses == [D, U, R]
    assert str(told.delivery.outcomes[1].reply.enhanced) == enhanced


def test_421_before_the_end_of_the_message_is_everyones_reply() -> None:
    for told in (Told(), Told().envelope(250), Told().envelope(250, 250, 250)):
        told.transaction.ended(closing())
        assert told.statuses == [F] * 3
        assert {outcome.reply.code for outcome in told.delivery.outcomes} == {421}
        assert told.transaction.complete


def test_421_after_it_is_everyones_reply_too() -> None:
    told = Told().envelope(250, 250, 250, 250).content_sent()
    told.transaction.ended(closing())
    assert told.statuses == [F] * 3


def test_421_among_final_replies_of_lmtp_is_of_one_and_the_rest_are_uncertain() -> None:
    told = Told().envelope(250, 250, 250, 250).content_sent().final(250, 0)
    told.transaction.ended(closing(recipient=1))
    assert told.statuses == [D, F, U]


def test_what_is_not_settled_reads_as_if_the_connection_were_lost_now() -> None:
    told = Told()
    assert (told.statuses, told.phases) == ([F] * 3, [Phase.MAIL] * 3)
    assert told.transaction.untouched
    told.envelope(250)
    assert told.phases == [Phase.RCPT] * 3
    assert not told.transaction.untouched
    told = Told().envelope(250, 250, 250, 550).content_sent()
    assert told.statuses == [U, U, R]
    assert told.phases == [Phase.FINAL, Phase.FINAL, Phase.RCPT]
    assert told.transaction.if_stopped_now(99) is None


def test_a_message_of_which_something_has_left_is_not_untouched() -> None:
    told = Told()
    told.transaction.content_follows()
    assert told.transaction.untouched
    told.link.submitted += 10
    assert told.transaction.untouched
    told.link.requested = told.link.submitted
    assert not told.transaction.untouched


def test_who_did_not_get_the_message_is_said_by_an_exception_to_those_who_like_exceptions() -> None:
    told = Told().envelope(250, 250, 550, 250).content_sent().final(250)
    with pytest.raises(DeliveryFailed) as caught:
        told.delivery.raise_for_status()
    assert caught.value.delivery is told.delivery
    assert "c@y.example" in str(caught.value)
    assert "b@y.example" not in str(caught.value)
    Told().envelope(250, 250, 250, 250).content_sent().final(250).delivery.raise_for_status()


def test_progress_is_told_once_something_of_the_message_has_left() -> None:
    told, heard = Told(), list[tuple[int, int | None]]()

    def tell(sent: int, total: int | None) -> None:
        heard.append((sent, total))

    told.transaction.tell_progress()
    told.delivery.progress = tell
    told.transaction.tell_progress()
    assert heard == []
    told.content_sent().transaction.tell_progress()
    assert heard == [(0, 51)]


# Beside other messages.


def test_its_own_deadline_holds_once_its_sender_is_answered() -> None:
    told = Told()
    told.link.ends = -1.0
    told.transaction.ends = 5.0
    assert told.link.overdue
    told.envelope(250)
    assert not told.link.overdue
    assert told.link.deadline(10) == 5.0


def test_lmtp_may_owe_several_replies_until_all_recipients_are_settled() -> None:
    told = Told()
    assert told.transaction.awaits_several
    told.envelope(250, 250, 550, 250).content_sent().final(250, 0)
    assert told.transaction.awaits_several
    told.final(250, 2)
    assert not told.transaction.awaits_several


def test_that_a_message_was_stopped_is_told_from_all_other_ends() -> None:
    told = Told().envelope(250, 250, 250, 250)
    assert not told.transaction.was_stopped
    with pytest.raises(Spoiled):
        told.transaction.hear_early(MessageAnswered(reply(552), EndOfContent()))
    assert told.transaction.was_stopped
    refused = Told().envelope(550)
    assert not refused.transaction.was_stopped


def test_421_amid_the_final_replies_is_no_exception_of_anybodys() -> None:
    told = Told().envelope(250, 250, 250, 250).content_sent()
    told.transaction.ended(closing(recipient=0))
    assert told.statuses == [F, U, U]
    assert [outcome.error for outcome in told.delivery.outcomes] == [None] * 3
