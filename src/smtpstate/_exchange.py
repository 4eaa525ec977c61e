"""The order in which a message is spoken: envelope, message, and the answers to both."""

from __future__ import annotations

from smtpstate._commands import Content, Data, EndOfContent
from smtpstate._events import Answered
from smtpstate._link import Link
from smtpstate._outcomes import Phase
from smtpstate._reader import Reader
from smtpstate._requests import Steps
from smtpstate._transaction import Transaction


def exchange(link: Link, transaction: Transaction, reader: Reader) -> Steps[None]:
    """Carry one message over the link, up to the last reply that is due.

    Raises:
        TransportError, RemoteProtocolError, Closing: as ``Link.hear``.
        Exception: whatever the caller's source raises.
    """
    yield from reader.peek()  # a source that fails at once costs the server nothing
    yield from name_recipients(link, transaction)
    if not transaction.hopeless:
        link.submit(Data(), transaction.hear_data)
    yield from settle(link)
    if transaction.go_ahead:
        if transaction.has_recipients:
            yield from send_content(link, transaction, reader)
            yield from settle(link)
        else:
            yield from send_nothing(link)


def name_recipients(link: Link, transaction: Transaction) -> Steps[None]:
    """Say MAIL and RCPT, through a window of unanswered octets (RFC 2920 §3.1)."""
    link.phase = Phase.MAIL
    envelope = transaction.envelope()
    while True:
        # Room first: what to say next depends on the answers heard until then.
        yield from link.make_room()
        line = next(envelope, None)
        if line is None:
            return
        command, listener = line
        yield from link.make_room(len(bytes(command)))
        link.submit(command, listener)
        link.phase = Phase.RCPT


def settle(link: Link) -> Steps[None]:
    """Send what is waiting, and hear all that is due."""
    yield from link.flush()
    while link.conn.outstanding:
        yield from link.hear()


def send_content(link: Link, transaction: Transaction, reader: Reader) -> Steps[None]:
    """Send the message after DATA; its end stays in the flight, for more to follow."""
    link.phase = Phase.CONTENT
    link.listen_early = transaction.hear_early
    while not reader.ended:
        block = yield from reader.read()
        if block:
            link.submit(Content(block))
        if not reader.ended:
            yield from link.flush()
            yield from link.glance()  # a server may refuse long before the end
            if transaction.spoiled:
                link.broken = True
                return
    link.phase = Phase.FINAL
    link.submit(EndOfContent(), transaction.hear_final)
    transaction.end_submitted()


def send_nothing(link: Link) -> Steps[None]:
    """End a message that nobody stands for: the server awaits it although it refused everybody.

    In SMTP it answers; LMTP answers once for each accepted recipient, so not at all.
    """
    link.phase = Phase.FINAL
    link.submit(EndOfContent(), _ignore)
    yield from link.flush()
    while link.conn.outstanding:
        yield from link.hear(link.patience)
    link.broken = True


def _ignore(event: Answered) -> None:
    """Hear an answer that changes nothing."""
