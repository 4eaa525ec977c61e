"""Endpoints: where mail is handed to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import final

from smtpstate._domains import to_a_labels
from smtpstate._errors import ConfigError, LocalProtocolError
from smtpstate._text import visible

_FORMS = "tcp://HOST:PORT, tls://HOST:PORT or unix://PATH"
_USER_PART = re.compile(r"//.*@", re.DOTALL)
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_SCOPED = re.compile(r"[^%]+%[A-Za-z0-9_.-]+")


@final
@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address of a target, written ``tcp://HOST:PORT``, ``tls://HOST:PORT`` or ``unix://PATH``.

    Raises:
        ConfigError: its parts make no endpoint; the message says why.
    """

    scheme: str  #: ``tcp``, ``tls`` (TLS from the first octet, RFC 8314 §3.3) or ``unix``
    host: str = ""  #: name in A-labels, IPv4 address, or IPv6 address with its scope; empty for ``unix``
    port: int = 0  #: 1 to 65535; 0 for ``unix``
    path: str = ""  #: of a unix socket; ``@name`` is in Linux's abstract namespace

    def __post_init__(self) -> None:
        text = str(self)
        _check_visible(text)
        if self.scheme == "unix":
            _check_path(text, self.path)
            if self.host or self.port:
                raise _refused(text, "a unix socket has neither host nor port")
            return
        if self.scheme not in ("tcp", "tls"):
            raise _refused(text, f"{self.scheme!r} is no scheme; use {_FORMS}")
        if self.path:
            raise _refused(text, "a path part is not allowed")
        host = _ipv6(text, self.host) if ":" in self.host else _name_or_ipv4(text, self.host)
        object.__setattr__(self, "host", host)
        if not 1 <= self.port <= 65535:
            raise _refused(text, "the port is a number from 1 to 65535")

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """Read an endpoint.

        Raises:
            ConfigError: ``text`` is none; the message says why.
        """
        _check_visible(text)
        if text.startswith("unix:@"):
            return cls("unix", path=text.removeprefix("unix:"))
        scheme, colon, rest = text.partition("://")
        if not colon:
            raise _refused(text, f"an endpoint is {_FORMS}")
        if scheme == "unix":
            return cls("unix", path=rest)
        if scheme not in ("tcp", "tls"):
            raise _refused(text, f"{scheme!r} is no scheme; use {_FORMS}")
        host, port = _authority(text, rest)
        return cls(scheme, host, port)

    @property
    def implicit_tls(self) -> bool:
        """Whether TLS begins with the first octet."""
        return self.scheme == "tls"

    @property
    def is_unix(self) -> bool:
        """Whether this is a unix socket."""
        return self.scheme == "unix"

    def __str__(self) -> str:
        if self.is_unix:
            return f"unix:{self.path}" if self.path.startswith("@") else f"unix://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def _refused(text: str, why: str) -> ConfigError:
    shown = _USER_PART.sub("//****@", text)  # it may hold a password
    return ConfigError(f"not an endpoint: {shown!r}: {visible(why)}")


def _check_visible(text: str) -> None:
    if not text.isprintable() or " " in text:
        raise _refused(text, "blanks and control characters are not allowed")


def _check_path(text: str, path: str) -> None:
    if "?" in path or "#" in path:
        raise _refused(text, "query and fragment parts are not allowed")
    if path.startswith("@") and len(path) > 1:
        return
    if not path.startswith("/") or path.endswith("/"):
        raise _refused(text, "write an absolute path as in unix:///run/lmtp, or unix:@name")


def _authority(text: str, rest: str) -> tuple[str, int]:
    for mark, part in (("@", "user"), ("?", "query"), ("#", "fragment"), ("/", "path")):
        if mark in rest:
            raise _refused(text, f"a {part} part is not allowed")
    if rest.startswith("["):
        literal, _, after = rest[1:].partition("]")
        if not after.startswith(":"):
            raise _refused(text, "a port is required, as in [::1]:25")
        return _ipv6(text, literal), _port(text, after[1:])
    host, colon, port = rest.rpartition(":")
    if not colon:
        raise _refused(text, "a port is required, as in tcp://mx.example:25")
    if ":" in host:
        raise _refused(text, "write an IPv6 address in brackets, as in [::1]:25")
    return host, _port(text, port)


def _port(text: str, port: str) -> int:
    if not (port.isascii() and port.isdigit() and len(port) <= 5):
        raise _refused(text, "the port is a number from 1 to 65535")
    return int(port)


def _ipv6(text: str, literal: str) -> str:
    if "%" in literal and not _SCOPED.fullmatch(literal):
        raise _refused(text, "a scope is the name or number of an interface, as in [fe80::1%eth0]:25")
    try:
        IPv6Address(literal)
    except AddressValueError as error:
        raise _refused(text, f"not an IPv6 address: {error}") from None
    return literal


def _name_or_ipv4(text: str, host: str) -> str:
    try:
        name = to_a_labels(host)
    except LocalProtocolError as error:
        raise _refused(text, str(error)) from None
    labels = name.removesuffix(".").split(".")
    # A last label of digits is no name: resolvers take "127.1" for an address.
    if labels[-1].isdigit() or labels[-1].lower().startswith("0x"):
        try:
            return str(IPv4Address(name))
        except AddressValueError as error:
            raise _refused(text, f"not an IPv4 address: {error}") from None
    # RFC 5321 §4.5.3.1.2: 255 octets; in the DNS two of them are lengths, which leaves 253 characters
    if len(name.removesuffix(".")) > 253 or not all(map(_LABEL.fullmatch, labels)):
        raise _refused(text, f"{name!r} is no host name")
    return name
