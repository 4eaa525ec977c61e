"""The directives of a target: how each is written, and what makes its value valid."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_address
from typing import final

from smtpstate._auth import auth
from smtpstate._checks import (
    WrongSetting,
    boolean,
    is_iterable,
    positive,
    seconds,
    seconds_or_off,
    seconds_or_zero,
    shown,
    suggestion,
    texts,
)
from smtpstate._domains import to_a_labels
from smtpstate._endpoints import Endpoint
from smtpstate._errors import ConfigError, LocalProtocolError
from smtpstate._tls import tls_client

#: What may move recipients on to the next endpoint.
FAILOVER = ("connect", "auth", "transient")

_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?")
_KEYWORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")  # RFC 5321 §4.1.1.1, and what servers really offer


@final
class Shape(Enum):
    """What follows a directive's name in the language."""

    FLAG = "yes or no"  #: nothing is yes
    WORD = "one word"
    DURATION = "a duration such as 5m"  #: one or more words: their sum
    WORDS = "one word or more"
    BLOCK = "a block"


@final
@dataclass(frozen=True, slots=True)
class Directive:
    """One directive.

    ``check`` takes its name and its value as Python, a mapping or the language
    gave it, and returns the value as it is kept, or raises ``WrongSetting``.
    """

    shape: Shape
    check: Callable[[str, object], object]


def endpoints(name: str, value: object) -> tuple[Endpoint, ...]:
    """Return the endpoints of a target; one alone counts as several."""
    if isinstance(value, (str, Endpoint)):
        value = (value,)
    if not is_iterable(value):
        raise WrongSetting(name, f"expected endpoints such as tcp://mx.example:25, got {shown(value)}")
    targets = tuple(_endpoint(name, target) for target in value)
    if not targets:
        raise WrongSetting(name, "expected at least one endpoint such as tcp://mx.example:25")
    return targets


def hostname(name: str, value: object) -> str | None:
    """Return the name we give in EHLO, in A-labels, or an address literal (RFC 5321 §4.1.3)."""
    if value is None:
        return None
    expected = "expected a name or an address literal such as [192.0.2.1]"
    if not isinstance(value, str):
        raise WrongSetting(name, f"{expected}, got {shown(value)}")
    if value.startswith("["):
        if not _is_literal(value):
            raise WrongSetting(name, f"{expected}, got {shown(value)}")
        return value
    try:
        ours = to_a_labels(value)
    except LocalProtocolError as error:
        raise WrongSetting(name, str(error)) from None
    if _is_address(ours):
        literal = f"[IPv6:{ours}]" if ":" in ours else f"[{ours}]"
        raise WrongSetting(name, f"an address is written as a literal: {literal}")
    if not _NAME.fullmatch(ours) or len(ours) > 255:
        raise WrongSetting(name, f"{expected}, got {shown(value)}")
    return ours


def source_address(name: str, value: object) -> str | None:
    """Return an IP address of ours."""
    if value is None:
        return None
    if isinstance(value, (IPv4Address, IPv6Address)):
        return str(value)
    if not isinstance(value, str) or not _is_address(value):  # an int would be taken for an address
        raise WrongSetting(name, f"expected an IP address, got {shown(value)}")
    return value


def failover(name: str, value: object) -> frozenset[str]:
    """Return what moves recipients on; ``connect`` always does, whether it is named or not."""
    words = texts(name, value, f"any of {' '.join(FAILOVER)}")
    for word in words:
        if word not in FAILOVER:
            raise WrongSetting(name, f"{shown(word)} is unknown; {suggestion(word, FAILOVER)}")
    return frozenset((*words, "connect"))


def ignore_keywords(name: str, value: object) -> frozenset[str]:
    """Return EHLO keywords, in upper case."""
    expected = "EHLO keywords such as CHUNKING"
    words = texts(name, value, expected)
    for word in words:
        if not _KEYWORD.fullmatch(word):
            raise WrongSetting(name, f"expected {expected}, got {shown(word)}")
    return frozenset(map(str.upper, words))


def attempt_starttls(name: str, value: object) -> bool | None:
    """Return whether to try STARTTLS; None leaves it to the protocol."""
    return None if value is None else boolean(name, value)


#: Every directive of a target, in the order in which they are printed.
DIRECTIVES: Mapping[str, Directive] = {
    "targets": Directive(Shape.WORDS, endpoints),
    "debug": Directive(Shape.FLAG, boolean),
    "attempt_starttls": Directive(Shape.FLAG, attempt_starttls),
    "require_tls": Directive(Shape.FLAG, boolean),
    "auth": Directive(Shape.WORDS, auth),
    "tls_client": Directive(Shape.BLOCK, tls_client),
    "connect_timeout": Directive(Shape.DURATION, seconds),
    "command_timeout": Directive(Shape.DURATION, seconds),
    "submission_timeout": Directive(Shape.DURATION, seconds),
    "hostname": Directive(Shape.WORD, hostname),
    "insecure_auth": Directive(Shape.FLAG, boolean),
    "failover": Directive(Shape.WORDS, failover),
    "failed_endpoint_delay": Directive(Shape.DURATION, seconds_or_zero),
    "max_connections": Directive(Shape.WORD, positive),
    "max_messages": Directive(Shape.WORD, positive),
    "idle_timeout": Directive(Shape.DURATION, seconds),
    "transaction_timeout": Directive(Shape.DURATION, seconds_or_off),
    "pipelining": Directive(Shape.FLAG, boolean),
    "chunking": Directive(Shape.FLAG, boolean),
    "ignore_keywords": Directive(Shape.WORDS, ignore_keywords),
    "source_address": Directive(Shape.WORD, source_address),
}

#: What may stand in the block of ``tls_client``; ``TlsClient`` checks the values.
TLS_OPTIONS: Mapping[str, Shape] = {
    "protocols": Shape.WORDS,
    "ciphers": Shape.WORDS,
    "curves": Shape.WORDS,
    "root_ca": Shape.WORDS,
    "cert": Shape.WORD,
    "key": Shape.WORD,
    "server_name": Shape.WORD,
    "verify": Shape.FLAG,
}


def _endpoint(name: str, target: object) -> Endpoint:
    if isinstance(target, Endpoint):
        return target
    if not isinstance(target, str):
        raise WrongSetting(name, f"expected an endpoint, got {type(target).__name__}")
    try:
        return Endpoint.parse(target)
    except ConfigError as error:
        raise WrongSetting(name, str(error)) from None


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_literal(text: str) -> bool:
    address = text.removeprefix("[").removesuffix("]")
    try:
        if address.lower().startswith("ipv6:"):
            parsed: IPv4Address | IPv6Address = IPv6Address(address[5:])
        else:
            parsed = IPv4Address(address)
    except AddressValueError:
        return False
    return text.endswith("]") and "%" not in str(parsed)
