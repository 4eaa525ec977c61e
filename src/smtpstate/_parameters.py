"""The parameters of commands: what may stand in them, how it is written, what must be offered for it."""

from __future__ import annotations

import re
from typing import TypeAlias

from smtpstate._errors import LocalProtocolError
from smtpstate._text import checked_line

#: ESMTP parameters in the order in which they are sent: keyword and value (RFC 5321 §4.1.2).
Parameters: TypeAlias = tuple[tuple[str, str | None], ...]

# RFC 5321 §4.1.2: esmtp-keyword = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-")
_KEYWORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")

#: MAIL and RCPT parameters, and the EHLO keyword that must have been offered for each.
OFFERED_BY = {
    "SIZE": "SIZE",
    "BODY": "8BITMIME",
    "SMTPUTF8": "SMTPUTF8",
    "RET": "DSN",
    "ENVID": "DSN",
    "NOTIFY": "DSN",
    "ORCPT": "DSN",
    "AUTH": "AUTH",
    "REQUIRETLS": "REQUIRETLS",
    "BY": "DELIVERBY",
    "HOLDFOR": "FUTURERELEASE",
    "HOLDUNTIL": "FUTURERELEASE",
    "MT-PRIORITY": "MT-PRIORITY",
    "RRVS": "RRVS",
}


def check_parameters(parameters: Parameters) -> None:
    """Check that parameters can stand on a command line.

    Raises:
        LocalProtocolError: a keyword or a value holds what it cannot, or a value is empty.
    """
    for keyword, value in parameters:
        if not _KEYWORD.fullmatch(keyword):
            raise LocalProtocolError(f"not a parameter keyword: {keyword!r}")
        # RFC 5321 §4.1.2: esmtp-value = 1*(%d33-60 / %d62-126); RFC 6531 §3.3 adds UTF-8,
        # and "=" is common within values.
        if value is not None and (not value or " " in checked_line(value, f"the value of {keyword}")):
            raise LocalProtocolError(f"not a value for {keyword}: {value!r}")


def with_parameters(line: str, parameters: Parameters) -> str:
    """Return a command line with its parameters behind it."""
    for keyword, value in parameters:
        line += f" {keyword}" if value is None else f" {keyword}={value}"
    return line


def offers_needed(parameters: Parameters) -> tuple[str, ...]:
    """Return the EHLO keywords that must have been offered for ``parameters``."""
    needs: list[str] = []
    for keyword, value in parameters:
        name = keyword.upper()
        binary = name == "BODY" and value is not None and value.upper() == "BINARYMIME"
        needs.append("BINARYMIME" if binary else OFFERED_BY.get(name, name))
    return tuple(needs)


def xtext(text: str) -> str:
    """Encode ``text`` as xtext: ``+``, ``=`` and all but printable ASCII in hexadecimal (RFC 3461 §4).

    Octets that a reply or a file name smuggled in as lone surrogates come out as they were.

    Raises:
        LocalProtocolError: ``text`` cannot be written in UTF-8.
    """
    try:
        octets = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise LocalProtocolError(f"not valid Unicode: {text!r}") from None
    return "".join(
        chr(octet) if 0x21 <= octet <= 0x7E and octet not in b"+=" else f"+{octet:02X}" for octet in octets
    )
