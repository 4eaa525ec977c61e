"""Mailboxes as they stand between angle brackets: checked, never rewritten."""

from __future__ import annotations

import re
from collections.abc import Collection

from smtpstate._errors import LocalProtocolError
from smtpstate._text import checked_line

# What nearly every address is made of: visible ASCII without quotes, backslashes and angle brackets.
_PLAIN = re.compile(r"[!#-;=?-\[\]-~]+")
# The same of several, one a line.
_ALL_PLAIN = re.compile(r"[!#-;=?-\[\]-~]++(?:\n[!#-;=?-\[\]-~]++)*+")


def checked_address(address: object, what: str) -> str:
    """Return ``address`` if it can stand between angle brackets (RFC 5321 §4.1.2).

    Mailboxes that the grammar does not allow but that exist, such as
    ``a..b@docomo.example``, are taken as they are: the server is to judge.

    Raises:
        LocalProtocolError: it is no str, is empty, holds a control character, a
            blank or an angle bracket outside quotes, or has quotes that do not
            balance or that not everybody would see.
    """
    if isinstance(address, str) and _PLAIN.fullmatch(address):
        return address
    text = checked_line(address, what)
    fault = _fault(text)
    if fault is not None:
        raise LocalProtocolError(f"{what} {fault}: {text!r}")
    return text


def all_plain(addresses: Collection[str]) -> bool:
    """Return whether ``checked_address`` would take them all, at a glance: no answer is a closer look."""
    lines = "\n".join(addresses)
    # Each line end was put between two of them, so none holds one itself.
    return _ALL_PLAIN.fullmatch(lines) is not None and lines.count("\n") == len(addresses) - 1


def domain_of(address: str) -> str:
    """Return what follows the last ``@`` outside quotes, or nothing (``postmaster``)."""
    local, _, domain = address.rpartition("@")
    # A quoted local part may hold "@"; a domain never holds a quote.
    return domain if local and '"' not in domain else ""


def _fault(address: str) -> str | None:
    """Say what keeps ``address`` from staying within its brackets."""
    if not address:
        return "is empty"
    quoted = escaped = False
    for c in address:
        if quoted and escaped:
            escaped = False
            continue
        if not quoted and c.isspace():
            return "holds a blank outside quotes"
        if not quoted and c in "<>":
            return f"holds {c!r} outside quotes"
        if c == '"':
            # RFC 5321 §4.1.2 knows a backslash only within quotes, older servers everywhere. Where the
            # two disagree on what is quoted, a bracket could end the path for one of them.
            if escaped:
                return "holds a quote after a backslash outside quotes"
            quoted = not quoted
        escaped = c == "\\"
    if quoted:
        return "has a quote without its end"
    return "ends in a backslash" if escaped else None
