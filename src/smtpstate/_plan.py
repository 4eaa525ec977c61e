"""What a message needs, what a server offers, and what follows: decided before MAIL."""

from __future__ import annotations

import re
from collections.abc import Sequence
from email.message import Message as MimeMessage
from typing import final

from smtpstate._addresses import domain_of
from smtpstate._domains import to_a_labels
from smtpstate._envelope import Envelope, Recipient, rfc3339
from smtpstate._errors import LocalProtocolError
from smtpstate._link import Link
from smtpstate._mime import can_be_rewritten, needs_utf8, written
from smtpstate._parameters import Parameters, xtext
from smtpstate._reader import Reader
from smtpstate._replies import Reply
from smtpstate._requests import Steps

# An empty line, whatever ends lines in this message.
_HEADER_END = re.compile(rb"(?:\A|\r\n|\r(?!\n)|(?<!\r)\n)(?:\r\n|\r|\n)")

_NO_UTF8 = Reply.made_here(553, "5.6.7 the address needs SMTPUTF8, which the server does not offer")
_NO_UTF8_HEADER = Reply.made_here(554, "5.6.7 the header needs SMTPUTF8, which the server does not offer")
NO_EIGHT_BIT = Reply.made_here(554, "5.6.3 the message is 8bit, and the server does not offer 8BITMIME")
_NO_BINARY = Reply.made_here(
    554, "5.6.3 the message is binary, and the server does not offer CHUNKING with BINARYMIME"
)
_NO_REQUIRETLS = Reply.made_here(
    550, "5.7.30 the message asks for REQUIRETLS, which this connection does not have"
)


@final
class Plan:
    """How one message goes to one server."""

    __slots__ = (
        "binary",
        "lacking",
        "notes",
        "parameters",
        "plain",
        "reader",
        "recipients",
        "refused",
        "sender",
    )

    def __init__(self, reader: Reader) -> None:
        self.reader: Reader = reader  #: reads the message in the form that this server can take
        self.sender: str = ""
        self.parameters: Parameters = ()  #: of MAIL
        #: each recipient that is to be named: its index, its address on the wire, its parameters
        self.recipients: list[tuple[int, str, Parameters]] = []
        self.refused: dict[int, Reply] = {}  #: recipients that this server cannot serve
        self.notes: dict[int | None, list[str]] = {}  #: what was left out; None: for everyone
        self.plain: bool = True  #: every recipient that is named is an ASCII address alone
        self.binary: bool = False
        self.lacking: Reply | None = None  #: why nobody can be served

    def asks_for(self, parameter: str) -> bool:
        """Return whether MAIL has a parameter."""
        return bool(self.parameters) and any(name == parameter for name, _ in self.parameters)

    def refuse_all(self, indexes: Sequence[int], reply: Reply) -> Plan:
        """Name nobody: the server lacks what the message needs."""
        self.lacking = reply
        self.recipients = []
        self.refused = dict.fromkeys(indexes, reply)
        return self

    def note(self, text: str, index: int | None = None) -> None:
        """Note what is left out."""
        self.notes.setdefault(index, []).append(text)


def plan_for(link: Link, envelope: Envelope, reader: Reader, indexes: Sequence[int]) -> Steps[Plan]:
    """Hold what the message needs against what the server offers.

    For each need: use the extension; else do without it where nothing is lost;
    else refuse the recipient, or everybody.

    Raises:
        LocalProtocolError: the whole message is at hand, and breaks a promise.
        Exception: whatever the caller's source raises.
    """
    plan = Plan(reader)
    start = whole = reader.checked_whole()
    if whole is None:
        utf8, eight_bit = link.offers("SMTPUTF8"), link.offers("8BITMIME")
        start, whole = yield from _begun(plan, utf8=utf8, eight_bit=eight_bit)
    lacking = _body_parameters(link, plan, start, whole)
    return _envelope(link, envelope, plan, indexes, lacking)


def plan_ahead(link: Link, envelope: Envelope, reader: Reader, indexes: Sequence[int]) -> Plan:
    """Do the same for a message of which no more is known than was declared."""
    plan = Plan(reader)
    return _envelope(link, envelope, plan, indexes, _body_parameters(link, plan, None, None))


def _envelope(
    link: Link, envelope: Envelope, plan: Plan, indexes: Sequence[int], lacking: Reply | None
) -> Plan:
    """Plan MAIL and RCPT, if the server can take the message itself."""
    if lacking is None and envelope.asks:
        lacking = _requiretls(link, plan) if envelope.requiretls else None
        lacking = lacking or _asked_of_mail(link, envelope, plan)
    if lacking is not None:
        return plan.refuse_all(indexes, lacking)
    addresses = envelope.addresses
    if envelope.plain:
        plan.sender = envelope.sender
        plan.recipients += [(index, addresses[index], ()) for index in indexes]
        return plan
    if link.offers("SMTPUTF8") and not plan.asks_for("SMTPUTF8"):
        said = [envelope.sender, *(addresses[index] for index in indexes)]
        if not all(map(str.isascii, said)):
            plan.parameters += (("SMTPUTF8", None),)
    sender = _on_the_wire(envelope.sender, utf8=plan.asks_for("SMTPUTF8"))
    if sender is None:
        return plan.refuse_all(indexes, _NO_UTF8)
    plan.sender = sender
    planned, recipients = plan.recipients, envelope.recipients
    for index in indexes:
        recipient = recipients[index]
        if recipient.asks or not recipient.address.isascii():
            plan_recipient(link, plan, index, recipient)
        else:
            planned.append((index, recipient.address, ()))
    return plan


def plan_recipient(link: Link, plan: Plan, index: int, recipient: Recipient) -> None:
    """Plan one more recipient."""
    plan.plain = False
    address = _on_the_wire(recipient.address, utf8=plan.asks_for("SMTPUTF8"))
    if address is None:
        plan.refused[index] = _NO_UTF8
        return
    parameters: Parameters = ()
    if recipient.notify:
        parameters += _if_offered(link, plan, "DSN", "NOTIFY", ",".join(recipient.notify), index)
    if recipient.orcpt:
        parameters += _if_offered(link, plan, "DSN", "ORCPT", _typed_address(recipient.orcpt), index)
    if recipient.rrvs:
        if not link.offers("RRVS"):
            plan.refused[index] = _not_offered("RRVS", "RRVS")
            return
        parameters += (("RRVS", rfc3339(recipient.rrvs)),)
    plan.recipients.append((index, address, parameters))


def _if_offered(
    link: Link, plan: Plan, keyword: str, name: str, value: str, index: int | None = None
) -> Parameters:
    if link.offers(keyword):
        return ((name, value),)
    plan.note(f"{name} was left out: the server does not offer {keyword}", index)
    return ()


def _not_offered(keyword: str, name: str) -> Reply:
    return Reply.made_here(554, f"5.3.3 {name} was asked for, and the server does not offer {keyword}")


def _requiretls(link: Link, plan: Plan) -> Reply | None:
    # RFC 8689 §4.1: only on a connection whose server is verified
    if not (link.tls and link.tls.verified and link.offers("REQUIRETLS")):
        return _NO_REQUIRETLS
    plan.parameters += (("REQUIRETLS", None),)
    return None


def _asked_of_mail(link: Link, envelope: Envelope, plan: Plan) -> Reply | None:
    if envelope.ret:
        plan.parameters += _if_offered(link, plan, "DSN", "RET", envelope.ret)
    if envelope.envid:
        plan.parameters += _if_offered(link, plan, "DSN", "ENVID", xtext(envelope.envid))
    if (by := envelope.by) is not None:
        value = f"{by.seconds};{by.mode}{'T' if by.trace else ''}"
        if by.mode == "R" and not link.offers("DELIVERBY"):
            return _not_offered("DELIVERBY", "BY")
        plan.parameters += _if_offered(link, plan, "DELIVERBY", "BY", value)
    if envelope.holdfor is not None or envelope.holduntil is not None:
        if not link.offers("FUTURERELEASE"):
            return _not_offered("FUTURERELEASE", "HOLDFOR" if envelope.holdfor else "HOLDUNTIL")
        if envelope.holdfor is not None:
            plan.parameters += (("HOLDFOR", str(envelope.holdfor)),)
        if envelope.holduntil is not None:
            plan.parameters += (("HOLDUNTIL", rfc3339(envelope.holduntil)),)
    if envelope.mt_priority is not None:
        plan.parameters += _if_offered(link, plan, "MT-PRIORITY", "MT-PRIORITY", str(envelope.mt_priority))
    if envelope.auth is not None:
        # RFC 4954 §5: "<>" says that the submitter is not known or not trusted
        value = xtext(envelope.auth) if envelope.auth else "<>"
        plan.parameters += _if_offered(link, plan, "AUTH", "AUTH", value)
    return None


def _begun(plan: Plan, *, utf8: bool, eight_bit: bool) -> Steps[tuple[bytes, bytes | None]]:
    """Return the first block of a message, or more, and the whole of it where it is at hand: checked then.

    A message object is written in the form that asks least of the server, which
    may or may not take UTF-8 in its header and octets beyond ASCII.
    """
    mime = plan.reader.mime
    if mime is not None:
        plan.reader = plan.reader.rewritten(_mime_form(mime, utf8=utf8, eight_bit=eight_bit))
    whole = plan.reader.checked_whole()
    if whole is not None:
        return whole, whole
    first = yield from plan.reader.peek()
    whole = plan.reader.checked_whole()
    return (first if whole is None else whole), whole


def fit(link: Link, plan: Plan, reader: Reader) -> Steps[Reply | None]:
    """Plan the message after MAIL was said: return why the server cannot take it, if so.

    Raises:
        LocalProtocolError: the whole message is at hand, and breaks a promise; or
            it is binary, and that was not declared.
        Exception: whatever the caller's source raises.
    """
    binary = reader.message.line_ends == "binary"
    if binary and not plan.binary:
        raise LocalProtocolError("that the message is binary must be declared before MAIL")
    utf8, eight_bit = plan.asks_for("SMTPUTF8"), plan.asks_for("BODY")
    plan.reader = reader
    start, whole = yield from _begun(plan, utf8=utf8, eight_bit=eight_bit)
    if (reply := _too_large(link, plan.reader.size)) is not None:
        return reply
    if not utf8 and _needs_utf8(plan.reader, start):
        return _NO_UTF8_HEADER
    if eight_bit:
        return None
    return _without_eight_bit(plan, whole)


def _body_parameters(link: Link, plan: Plan, start: bytes | None, whole: bytes | None) -> Reply | None:
    """Plan the parameters of MAIL that are about the message: SIZE, BODY, and SMTPUTF8 for its header.

    ``start`` is what of the message is at hand, None if nothing is; ``whole`` is
    the same where that is all of it.
    """
    reader = plan.reader
    message, all_ascii = reader.message, whole is not None and whole.isascii()
    if link.offers("SIZE"):
        size = message.size if start is None else reader.size
        if (reply := _too_large(link, size)) is not None:
            return reply
        if size is not None:
            plan.parameters += (("SIZE", str(size)),)
    if (message.utf8 or not all_ascii) and _needs_utf8(reader, start):
        if not link.offers("SMTPUTF8"):
            return _NO_UTF8_HEADER
        plan.parameters += (("SMTPUTF8", None),)
    if message.line_ends != "binary":
        if all_ascii and message.eight_bit is not True:
            reader.refuses_eight_bit = False
            return None
        return _eight_bit(link, plan, whole)
    if not (link.chunking and link.offers("CHUNKING") and link.offers("BINARYMIME")):
        return _NO_BINARY
    plan.binary = True
    plan.parameters += (("BODY", "BINARYMIME"),)
    return None


def _too_large(link: Link, size: int | None) -> Reply | None:
    limit = link.conn.capabilities.size if link.offers("SIZE") else None
    if size is None or limit is None or size <= limit:
        return None
    return Reply.made_here(552, f"5.3.4 the message has {size} octets, and the server takes {limit}")


def _needs_utf8(reader: Reader, start: bytes | None) -> bool:
    if reader.message.utf8 is not None:
        return reader.message.utf8
    return start is not None and not start.isascii() and _header_is_utf8(start)


def _eight_bit(link: Link, plan: Plan, whole: bytes | None) -> Reply | None:
    if _is_eight_bit(plan.reader, whole) is not False and link.offers("8BITMIME"):
        # It may turn out to be 8bit, where that is not known yet: then this must have been said.
        plan.parameters += (("BODY", "8BITMIME"),)
        plan.reader.refuses_eight_bit = False
        return None
    return _without_eight_bit(plan, whole)


def _is_eight_bit(reader: Reader, whole: bytes | None) -> bool | None:
    """Return whether a message has octets beyond ASCII; None if that is not known."""
    declared = reader.message.eight_bit
    if isinstance(declared, bool):
        return declared
    return None if whole is None else not whole.isascii()


def _without_eight_bit(plan: Plan, whole: bytes | None) -> Reply | None:
    """Plan a message for a server that was not told of octets beyond ASCII."""
    if plan.reader.message.eight_bit == "send":
        plan.reader.refuses_eight_bit = False
        return None
    needed = _is_eight_bit(plan.reader, whole)
    if needed:
        return NO_EIGHT_BIT
    plan.reader.refuses_eight_bit = needed is None
    return None


def _mime_form(message: MimeMessage, *, utf8: bool, eight_bit: bool) -> bytes:
    """Write a message object in the form that asks least of the server."""
    utf8 = utf8 and (needs_utf8(message) or bool(getattr(message.policy, "utf8", False)))
    octets = written(message, utf8=utf8 or needs_utf8(message))
    if octets.isascii() or eight_bit or not can_be_rewritten(message):
        return octets
    try:
        return written(message, utf8=utf8 or needs_utf8(message), seven_bit=True)
    except (LookupError, UnicodeError):  # an encoding that is none, or not the text's
        return octets


def _header_is_utf8(start: bytes) -> bool:
    """Return whether the header of a message beyond ASCII holds UTF-8 (RFC 6532 §3.2); other octets are merely 8bit."""
    end = _HEADER_END.search(start)
    header = start[: end.start()] if end else start
    if b":" not in (header.splitlines() or [b""])[0]:
        return False  # there is no header at all
    if header.isascii():
        return False
    try:
        header.decode()
    except UnicodeDecodeError as error:
        # cut in the middle of a character at the end of the block is no fault of the header
        return end is None and error.end == len(header) and error.start >= len(header) - 3
    return True


def _on_the_wire(address: str, *, utf8: bool) -> str | None:
    """Return an address as this server can take it, or None if it cannot."""
    if utf8 or address.isascii():
        return address
    domain = domain_of(address)
    local = address[: len(address) - len(domain)]
    if not domain or not local.isascii():
        return None
    try:
        return local + to_a_labels(domain)
    except LocalProtocolError:
        return None


def _typed_address(orcpt: str) -> str:
    kind, _, address = orcpt.partition(";")
    if kind.lower() == "rfc822":
        return f"rfc822;{xtext(address)}"
    # RFC 6533 §3: utf-8-addr-xtext, which is ASCII and goes with and without SMTPUTF8
    return "utf-8;" + "".join(
        c if "\x21" <= c <= "\x7e" and c not in "+=\\" else f"\\x{{{ord(c):02X}}}" for c in address
    )
