"""Message objects of the standard library, written as octets in the form a server can take."""

from __future__ import annotations

from copy import copy
from email.generator import BytesGenerator
from email.headerregistry import AddressHeader
from email.message import Message as MimeMessage
from email.policy import EmailPolicy
from io import BytesIO


def written(message: MimeMessage, *, utf8: bool = False, seven_bit: bool = False) -> bytes:
    """Return a message as octets with CRLF line ends.

    Bcc and Resent-Bcc are not sent (RFC 5322 §3.6.3).

    Args:
        message: the message; it is not changed.
        utf8: write the header in UTF-8 (RFC 6532), for SMTPUTF8.
        seven_bit: re-encode 8bit parts, for servers without 8BITMIME (RFC 6152 §3).
    """
    message = copy(message)
    del message["Bcc"]
    del message["Resent-Bcc"]
    cte_type = "7bit" if seven_bit else "8bit"
    policy = message.policy.clone(linesep="\r\n", mangle_from_=False, cte_type=cte_type)
    if isinstance(policy, EmailPolicy):
        policy = policy.clone(utf8=utf8, refold_source="none" if is_signed(message) else "long")
    buffer = BytesIO()
    BytesGenerator(buffer, policy=policy).flatten(message)
    return buffer.getvalue()


def needs_utf8(message: MimeMessage) -> bool:
    """Return whether an address in the header can be written in UTF-8 only.

    Everything else in a header has an encoding in ASCII (RFC 2047); the parts
    of an address have none.
    """
    return any(
        not address.addr_spec.isascii()
        for value in message.values()
        if isinstance(value, AddressHeader)
        for address in value.addresses
    )


def can_be_rewritten(message: MimeMessage) -> bool:
    """Return whether parts may be re-encoded without loss.

    Not where a signature covers their octets, nor where the octets of a text
    are not in the encoding that they are said to be in.
    """
    return not is_signed(message) and all(_is_what_it_says(part) for part in message.walk())


def is_signed(message: MimeMessage) -> bool:
    """Return whether a signature covers the octets of the message."""
    return "DKIM-Signature" in message or any(
        part.get_content_type() == "multipart/signed" for part in message.walk()
    )


def _is_what_it_says(part: MimeMessage) -> bool:
    octets = None if part.is_multipart() else part.get_payload(decode=True)
    if not isinstance(octets, bytes) or octets.isascii():
        return True
    try:
        octets.decode(part.get_content_charset() or "ascii")
    except (LookupError, UnicodeError):
        return part.get_content_maintype() != "text"
    return True
