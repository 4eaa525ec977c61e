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
        policy = policy.clone(utf8=utf8)
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
    """Return whether parts may be re-encoded: not where a signature covers their octets."""
    return "DKIM-Signature" not in message and all(
        part.get_content_type() != "multipart/signed" for part in message.walk()
    )
