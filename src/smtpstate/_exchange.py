"""The order in which a message is spoken: envelope, message, and the answers to both."""

from __future__ import annotations

from smtpstate._commands import Bdat, Command, Content, Data, EndOfContent
from smtpstate._content import LineEnds
from smtpstate._events import Answered
from smtpstate._link import Link
from smtpstate._outcomes import Phase
from smtpstate._plan import Plan
from smtpstate._reader import CHUNK, Reader
from smtpstate._requests import Steps
from smtpstate._transaction import Transaction

_DATA = Data()
_END = EndOfContent()


def exchange(link: Link, transaction: Transaction, plan: Plan) -> Steps[None]:
    """Carry one message over the link, up to the last reply that is due.

    Raises:
        TransportError, RemoteProtocolError, Closing: as ``Link.hear``.
        Spoiled: the message was refused before its end.
        NotSevenBit: the message turned out to be what the server cannot take.
        Exception: whatever the caller's source raises.
    """
    yield from name_recipients(link, transaction)
    yield from send_message(link, transaction, plan)
    yield from conclude(link, transaction)


def begin(link: Link, transaction: Transaction, plan: Plan) -> Steps[None]:
    """Say envelope and message; the end of it may still be waiting for the flight to leave."""
    yield from name_recipients(link, transaction)
    yield from send_message(link, transaction, plan)


def conclude(link: Link, transaction: Transaction) -> Steps[None]:
    """Send what is left, and hear all that is due."""
    yield from link.flush()
    while link.conn.outstanding:
        # Nobody's fate hangs on what comes once all are settled.
        yield from link.hear(link.patience if transaction.complete else None)
    transaction.tell_progress()


def send_message(link: Link, transaction: Transaction, plan: Plan) -> Steps[None]:
    """Send the message in the way that takes the fewest turns."""
    if link.chunks:
        if link.pipelines:
            chunk = small_chunk(link, plan)
            if chunk is not None:
                return send_at_once(link, transaction, plan.reader, chunk)
        if plan.binary or not link.pipelines:
            return send_chunks(link, transaction, plan)
    return send_data(link, transaction, plan.reader)


def name_recipients(link: Link, transaction: Transaction) -> Steps[None]:
    """Say MAIL and RCPT, through a window of unanswered octets (RFC 2920 §3.1)."""
    link.phase = Phase.MAIL
    for command, listener in transaction.opening():
        if command.may_be_long or not link.has_room():
            yield from make_room_for(link, command)
        link.submit(command, listener)
    link.phase = Phase.RCPT
    while True:
        # Room first: what to say next depends on the answers heard until then.
        if not link.has_room():
            yield from link.make_room()
        if transaction.all_named:
            return
        run = transaction.next_recipients(link.room)
        if run is not None:
            link.submit(*run)
        else:
            rcpt = transaction.next_recipient()
            yield from make_room_for(link, rcpt)
            link.submit(rcpt, transaction.hear_recipient)


def make_room_for(link: Link, command: Command) -> Steps[None]:
    """Wait until there is room for a command."""
    if not link.has_room():
        yield from link.make_room()
    if command.may_be_long:
        yield from link.make_room(len(bytes(command)))


def settle(link: Link) -> Steps[None]:
    """Send what is waiting, and hear all that is due."""
    yield from link.flush()
    while link.conn.outstanding:
        yield from link.hear()


# By BDAT (RFC 3030).


def small_chunk(link: Link, plan: Plan) -> Bdat | None:
    """Return the whole message as one chunk, where sending it behind the envelope saves a round trip."""
    whole = plan.reader.whole
    if whole is None or not link.fits_window(len(whole)):
        return None
    if not plan.binary:
        lines = LineEnds()
        whole = lines.encode(whole) + lines.finish()
    return Bdat(whole, last=True) if link.fits_window(len(whole)) else None


def send_at_once(link: Link, transaction: Transaction, reader: Reader, chunk: Bdat) -> Steps[None]:
    """Send the message behind an envelope that is not answered yet."""
    if link.reused:
        # The server may have closed this connection while it was idle. That is harmless
        # as long as nothing of the message has left.
        while not transaction.sender_answered:
            yield from link.flush()
            yield from link.hear()
    yield from link.make_room(len(bytes(chunk)))
    if transaction.hopeless:
        return
    link.phase = Phase.CONTENT
    reader.take_whole()
    transaction.content_follows()
    link.submit(chunk, transaction.hear_final)
    transaction.end_submitted()
    link.phase = Phase.FINAL


def send_chunks(link: Link, transaction: Transaction, plan: Plan) -> Steps[None]:
    """Send the message as chunks, a few of them unanswered; the last one stays in the flight."""
    yield from settle(link)
    if not transaction.has_recipients:
        return
    link.phase = Phase.CONTENT
    transaction.content_follows()
    lines = None if plan.binary else LineEnds()
    transaction.go_ahead = True
    while True:
        block = yield from plan.reader.read(CHUNK)
        last = plan.reader.ended
        chunk = block if lines is None else lines.encode(block)
        if last and lines is not None:
            chunk += lines.finish()
        while not link.may_send_chunk:
            yield from link.hear()
        if last:
            break
        link.submit(Bdat(chunk), transaction.hear_chunk)
        yield from link.flush()
        transaction.tell_progress()
        yield from link.glance()
    link.submit(Bdat(chunk, last=True), transaction.hear_final)
    transaction.end_submitted()
    link.phase = Phase.FINAL


# By DATA (RFC 5321 §4.1.1.4).


def send_data(link: Link, transaction: Transaction, reader: Reader) -> Steps[None]:
    """Say DATA behind the envelope, and send the message if the server wants it."""
    link.listen_early = transaction.hear_early  # a refusal may come as soon as 354 is said
    if not transaction.hopeless:
        link.submit(_DATA, transaction.hear_data)
    yield from settle(link)
    if transaction.go_ahead:
        if transaction.has_recipients:
            yield from send_content(link, transaction, reader)
        else:
            yield from send_nothing(link)


def send_content(link: Link, transaction: Transaction, reader: Reader) -> Steps[None]:
    """Send the message after DATA; its end stays in the flight, for more to follow."""
    link.phase = Phase.CONTENT
    transaction.content_follows()
    while not reader.ended:
        block = yield from reader.read()
        if block:
            link.submit(Content(block))
        if not reader.ended:
            yield from link.flush(heed=True)
            transaction.tell_progress()
            yield from link.glance()  # a server may refuse long before the end
    link.submit(_END, transaction.hear_final)
    transaction.end_submitted()
    link.phase = Phase.FINAL


def send_nothing(link: Link) -> Steps[None]:
    """End a message that nobody stands for: the server awaits it although it refused everybody.

    In SMTP it answers; LMTP answers once for each accepted recipient, so not at all.
    """
    link.phase = Phase.FINAL
    link.submit(_END, _ignore)
    yield from link.flush()
    while link.conn.outstanding:
        yield from link.hear(link.patience)
    link.broken = True


def _ignore(event: Answered) -> None:
    """Hear an answer that changes nothing."""
