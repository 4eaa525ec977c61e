"""A strict reading of command lines, independent of how the client writes them."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import TypeAlias, final

#: ESMTP parameters as received: keyword in upper case, and value.
Received: TypeAlias = Mapping[str, str | None]

# RFC 3461 §4: xtext = *( xchar / hexchar )
_XTEXT = r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})+"
_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:Z|[+-][0-9]{2}:[0-9]{2})"
_KEYWORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
# RFC 5321 §4.1.2: esmtp-value = 1*(%d33-60 / %d62-126); RFC 6531 §3.3 adds UTF-8
_VALUE = re.compile(r"[!-<>-~\u0080-\U0010ffff]+")
# RFC 5321 §4.1.1.1: EHLO is followed by a domain or an address literal
_HELLO = re.compile(r"\[[!-Z^-~]+\]|[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")


@final
@dataclass(frozen=True, slots=True)
class _Parameter:
    needs: str  #: the EHLO keyword that allows it
    value: str | None = None  #: what the value must match; None if there must be none


_PARAMETERS: Mapping[str, Mapping[str, _Parameter]] = {
    "MAIL": {
        "SIZE": _Parameter("SIZE", "[0-9]{1,20}"),
        "BODY": _Parameter("8BITMIME", "7BIT|8BITMIME|BINARYMIME"),
        "SMTPUTF8": _Parameter("SMTPUTF8"),
        "RET": _Parameter("DSN", "FULL|HDRS"),
        "ENVID": _Parameter("DSN", _XTEXT),
        "AUTH": _Parameter("AUTH", f"<>|{_XTEXT}"),
        "REQUIRETLS": _Parameter("REQUIRETLS"),
        "BY": _Parameter("DELIVERBY", "[+-]?[0-9]{1,9};[NR]T?"),
        "HOLDFOR": _Parameter("FUTURERELEASE", "[0-9]{1,9}"),
        "HOLDUNTIL": _Parameter("FUTURERELEASE", _TIME),
        "MT-PRIORITY": _Parameter("MT-PRIORITY", "-?[0-9]"),
    },
    "RCPT": {
        "NOTIFY": _Parameter("DSN", "NEVER|(?:SUCCESS|FAILURE|DELAY)(?:,(?:SUCCESS|FAILURE|DELAY))*"),
        "ORCPT": _Parameter("DSN", r"[!-:<>-~]+;[!-<>-~\u0080-\U0010ffff]+"),
        "RRVS": _Parameter("RRVS", f"{_TIME}(?:;[CR])?"),
    },
}


@final
class SyntaxProblem(Exception):
    """A command line that no strict server takes."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


@final
@dataclass(frozen=True, slots=True)
class Path:
    """The argument of MAIL or RCPT, taken apart."""

    address: str  #: what stands between the angle brackets
    parameters: Received


def read_path(verb: str, argument: str, offered: Container[str]) -> Path:
    """Take the argument of ``verb`` apart (RFC 5321 §4.1.1.2, §4.1.1.3).

    Raises:
        SyntaxProblem: 501 for what the grammar does not allow, 555 for a
            parameter that was not offered (RFC 5321 §4.1.1.11).
    """
    prefix = "FROM:" if verb == "MAIL" else "TO:"
    if argument[: len(prefix)].upper() != prefix:
        raise SyntaxProblem(501, f"5.5.4 {verb} needs {prefix}<address>")
    rest = argument[len(prefix) :]
    if not rest.startswith("<"):
        raise SyntaxProblem(501, f"5.5.4 no angle bracket right after {prefix}")
    end = _end_of_path(rest)
    address, rest = rest[1:end], rest[end + 1 :]
    if not address and verb == "RCPT":
        raise SyntaxProblem(501, "5.1.3 a recipient is needed")
    if rest and not rest.startswith(" "):
        raise SyntaxProblem(501, "5.5.4 no blank behind the address")
    words = rest[1:].split(" ") if rest else []
    return Path(address, _read_parameters(verb, words, offered))


def _end_of_path(text: str) -> int:
    quoted = escaped = False
    for n, c in enumerate(text[1:], 1):
        if escaped:
            escaped = False
        elif quoted and c == "\\":
            escaped = True
        elif c == '"':
            quoted = not quoted
        elif not quoted and c == ">":
            return n
        elif not quoted and c in "< ":
            raise SyntaxProblem(501, f"5.1.3 {c!r} within an address")
    raise SyntaxProblem(501, "5.1.3 the address does not end")


def _read_parameters(verb: str, words: list[str], offered: Container[str]) -> Received:
    parameters: dict[str, str | None] = {}
    for word in words:
        name, equals, value = word.partition("=")
        keyword = name.upper()
        if not _KEYWORD.fullmatch(name) or (equals and not _VALUE.fullmatch(value)):
            raise SyntaxProblem(501, f"5.5.4 not a parameter: {word!r}")
        if keyword in parameters:
            raise SyntaxProblem(501, f"5.5.4 {keyword} is given twice")
        known = _PARAMETERS[verb].get(keyword)
        if not _is_offered(keyword, known, value, offered):
            raise SyntaxProblem(555, f"5.5.4 {word} is not offered")
        if known is not None:
            _check_value(keyword, known, value if equals else None)
        parameters[keyword] = value if equals else None
    return parameters


def _is_offered(keyword: str, known: _Parameter | None, value: str, offered: Container[str]) -> bool:
    if (keyword, value.upper()) == ("BODY", "BINARYMIME"):  # RFC 3030 §3: it needs no 8BITMIME
        return "BINARYMIME" in offered
    return (known.needs if known is not None else keyword) in offered


def _check_value(keyword: str, known: _Parameter, value: str | None) -> None:
    if known.value is None:
        if value is not None:
            raise SyntaxProblem(501, f"5.5.4 {keyword} has no value")
    elif value is None or not re.fullmatch(known.value, value):
        raise SyntaxProblem(501, f"5.5.4 not a value for {keyword}: {value!r}")


def is_hello_name(name: str) -> bool:
    """Whether ``name`` can follow EHLO, HELO or LHLO."""
    return _HELLO.fullmatch(name) is not None
