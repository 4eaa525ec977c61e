"""Domains in other scripts, converted to A-labels (RFC 5891 §5)."""

from __future__ import annotations

from smtpstate._errors import LocalProtocolError
from smtpstate._text import visible


def to_a_labels(domain: str) -> str:
    """Return ``domain`` in ASCII, by IDNA 2008 with the mapping of UTS 46.

    ASCII domains are returned as they are. The standard library's codec is
    never used: it is IDNA 2003 and maps some names to other people's domains.

    Raises:
        LocalProtocolError: ``domain`` cannot be converted, or the package
            idna (extra ``[idna]``) is not installed.
    """
    if domain.isascii():
        return domain
    try:
        import idna
    except ImportError:
        raise LocalProtocolError(
            f"the domain {domain!r} needs the package idna: install smtpstate[idna]"
        ) from None
    try:
        return idna.encode(domain, uts46=True).decode()
    except (idna.IDNAError, UnicodeError) as error:
        raise LocalProtocolError(f"not a domain: {domain!r}: {visible(str(error))}") from None
