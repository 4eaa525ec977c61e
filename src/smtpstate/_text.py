"""How foreign text is shown to people and kept out of the wire."""

from __future__ import annotations

import re

from smtpstate._errors import LocalProtocolError

#: What can end a line, hide in one, or reach a terminal: C0, DEL, C1, and the two Unicode line ends.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def visible(text: str) -> str:
    """Return ``text`` with everything unprintable escaped, so that it cannot steer a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def checked_line(text: object, what: str) -> str:
    """Return ``text`` if it can stand within one command line.

    Raises:
        LocalProtocolError: ``text`` is no str, holds a control character, or
            cannot be written in UTF-8.
    """
    if not isinstance(text, str):
        raise LocalProtocolError(f"{what} is a str, not {type(text).__name__}")
    if text.isprintable():
        return text
    if _CONTROLS.search(text):
        raise LocalProtocolError(f"{what} holds a control character: {text!r}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise LocalProtocolError(f"{what} is not valid Unicode: {text!r}") from None
    return text
