"""What a message needs, what a server offers, and what follows: decided before MAIL."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.message import Message as MimeMessage
from typing import final

from smtpstate._addresses import domain_of
from smtpstate._commands import Parameters, xtext
from smtpstate._domains import to_a_labels
from smtpstate._envelope import Envelope, Recipient, rfc3339
from smtpstate._errors import LocalProtocolError
from smtpstate._link import Link
from smtpstate._mime import can_be_rewritten, needs_utf8, written
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
@dataclass(slots=True)
class Plan:
    """How one message goes to one server."""

    reader: Reader  #: reads the message in the form that this server can take
    sender: str = ""
    parameters: Parameters = ()  #: of MAIL
    #: each recipient that is to be named: its index, its address on the wire, its parameters
    recipients: list[tuple[int, str, Parameters]] = field(default_factory=list[tuple[int, str, Parameters]])
    refused: dict[int, Reply] = field(
        default_factory=dict[int, Reply]
    )  #: recipients that this server cannot serve
    notes: dict[int | None, list[str]] = field(
        default_factory=dict[int | None, list[str]]
    )  #: what was left out; None: for everyone
    binary: bool = False

    def refuse_all(self, indexes: Sequence[int], reply: Reply) -> Plan:
        """Name nobody: the server lacks what the message needs."""
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
    lacking = yield from _body(link, plan)
    if lacking is None and envelope.requiretls:
        lacking = _requiretls(link, plan)
    if lacking is None:
        lacking = _asked_of_mail(link, envelope, plan)
    if lacking is not None:
        return plan.refuse_all(indexes, lacking)
    utf8 = "SMTPUTF8" in dict(plan.parameters)
    if not utf8 and link.offers("SMTPUTF8"):
        addresses = [envelope.sender, *(envelope.recipients[i].address for i in indexes)]
        if not all(map(str.isascii, addresses)):
            plan.parameters += (("SMTPUTF8", None),)
            utf8 = True
    sender = _on_the_wire(envelope.sender, utf8=utf8)
    if sender is None:
        return plan.refuse_all(indexes, _NO_UTF8)
    plan.sender = sender
    for index in indexes:
        _plan_recipient(link, plan, index, envelope.recipients[index], utf8=utf8)
    return plan


def _plan_recipient(link: Link, plan: Plan, index: int, recipient: Recipient, *, utf8: bool) -> None:
    address = _on_the_wire(recipient.address, utf8=utf8)
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


def _body(link: Link, plan: Plan) -> Steps[Reply | None]:
    """Plan the message itself: SIZE, BODY and SMTPUTF8 for its header."""
    message = plan.reader.message
    mime = plan.reader.mime
    if mime is not None:
        plan.reader = plan.reader.rewritten(_mime_form(link, mime))
    first = yield from plan.reader.peek()
    whole = plan.reader.whole
    if whole is not None:
        plan.reader.check_whole()
    size = plan.reader.size
    limit = link.conn.capabilities.size
    if size is not None and link.offers("SIZE"):
        if limit is not None and size > limit:
            return Reply.made_here(552, f"5.3.4 the message has {size} octets, and the server takes {limit}")
        plan.parameters += (("SIZE", str(size)),)
    if message.utf8 if message.utf8 is not None else _header_is_utf8(first if whole is None else whole):
        if not link.offers("SMTPUTF8"):
            return _NO_UTF8_HEADER
        plan.parameters += (("SMTPUTF8", None),)
    if message.line_ends != "binary":
        return _eight_bit(link, plan, whole)
    if not (link.chunking and link.offers("CHUNKING") and link.offers("BINARYMIME")):
        return _NO_BINARY
    plan.binary = True
    plan.parameters += (("BODY", "BINARYMIME"),)
    return None


def _eight_bit(link: Link, plan: Plan, whole: bytes | None) -> Reply | None:
    declared = plan.reader.message.eight_bit
    plan.reader.refuse_eight_bit(False)
    needed: bool | None = declared if isinstance(declared, bool) else None
    if needed is None and whole is not None:
        needed = not whole.isascii()
    if needed is False:
        return None
    if link.offers("8BITMIME"):
        # It may turn out to be 8bit, where that is not known yet: then this must have been said.
        plan.parameters += (("BODY", "8BITMIME"),)
    elif declared != "send":
        if needed:
            return NO_EIGHT_BIT
        plan.reader.refuse_eight_bit(True)
    return None


def _mime_form(link: Link, message: MimeMessage) -> bytes:
    """Write a message object in the form that asks least of the server."""
    utf8 = link.offers("SMTPUTF8") and (needs_utf8(message) or bool(getattr(message.policy, "utf8", False)))
    octets = written(message, utf8=utf8 or needs_utf8(message))
    if octets.isascii() or link.offers("8BITMIME") or not can_be_rewritten(message):
        return octets
    try:
        return written(message, utf8=utf8 or needs_utf8(message), seven_bit=True)
    except (LookupError, UnicodeError):  # an encoding that is none, or not the text's
        return octets


def _header_is_utf8(start: bytes) -> bool:
    """Return whether the header holds UTF-8 beyond ASCII (RFC 6532 §3.2); other octets are merely 8bit."""
    if start.isascii():
        return False
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
