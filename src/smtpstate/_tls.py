"""What a target asks of TLS; adapters turn it into their library's terms."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from ipaddress import ip_address
from typing import final

from smtpstate._checks import WrongSetting, boolean, known_names, shown, suggestion, text, texts
from smtpstate._ciphers import CIPHERS, openssl_cipher
from smtpstate._domains import to_a_labels
from smtpstate._errors import LocalProtocolError

#: Protocol versions in use, oldest first (RFC 8996 took the older ones out of use).
VERSIONS = ("tls1.2", "tls1.3")
#: Elliptic curves that can be asked for, in any case.
CURVES = ("p256", "p384", "p521", "X25519")

_OLD = ("ssl2", "ssl3", "tls1", "tls1.0", "tls1.1")
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TlsClient:
    """How TLS connections are made. Files are named here and read by the adapter.

    Where several words may stand, any iterable of them is taken, and one alone.

    Raises:
        ConfigError: half a certificate and key pair, reversed versions, or
            something unknown; the message says what would be right.
    """

    protocols: tuple[str, ...] = ()  #: lowest and, optionally, highest version; empty is the library's choice
    ciphers: tuple[str, ...] = ()  #: TLS 1.2 suites, by OpenSSL's or the standard's name
    curves: tuple[str, ...] = ()  #: p256, p384, p521 or X25519
    root_ca: tuple[str, ...] = ()  #: files of trusted certificates, in place of the system's
    cert: str | None = None  #: file of the client certificate and its chain
    key: str | None = None  #: file of its private key
    server_name: str | None = None  #: whom the certificate must name, in place of the endpoint's host
    verify: bool = True  #: check the certificate and its name (RFC 9525)

    def __post_init__(self) -> None:
        several = {name: texts(_path(name), getattr(self, name), what) for name, what in _SEVERAL.items()}
        for name, words in several.items():
            object.__setattr__(self, name, words)
        for name in ("cert", "key"):
            _check_file(name, getattr(self, name))
        if self.server_name is not None:
            object.__setattr__(self, "server_name", _server_name(self.server_name))
        object.__setattr__(self, "verify", boolean(_path("verify"), self.verify))
        _check_protocols(self.protocols)
        _check_ciphers(self.ciphers)
        for curve in self.curves:
            if curve.lower() not in map(str.lower, CURVES):
                raise _wrong("curves", f"{shown(curve)} is unknown; {suggestion(curve, CURVES)}")
        if (self.cert is None) != (self.key is None):
            missing, there = ("cert", "key") if self.cert is None else ("key", "cert")
            raise _wrong(there, f"cert and key are needed together, and {missing} is missing")

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, object]) -> TlsClient:
        """Return what a mapping of these names says; booleans may be words.

        Raises:
            ConfigError: as for the class, or a name is unknown.
        """
        return _from("tls_client", mapping)


def tls_client(name: str, value: object) -> TlsClient:
    """Return the setting ``name``, given as such or as a mapping.

    Raises:
        WrongSetting: it is neither.
    """
    return value if isinstance(value, TlsClient) else _from(name, value)


def _from(name: str, mapping: object) -> TlsClient:
    given = known_names(mapping, [option.name for option in fields(TlsClient)], (name,))
    tls = object.__new__(TlsClient)
    for option in fields(TlsClient):
        object.__setattr__(tls, option.name, given.get(option.name, option.default))
    tls.__post_init__()
    return tls


_SEVERAL = {
    "protocols": "tls1.2 or tls1.3, or both",
    "ciphers": "names of cipher suites",
    "curves": "names of curves",
    "root_ca": "paths of files",
}


def _path(name: str) -> tuple[str, ...]:
    return ("tls_client", name)


def _wrong(name: str, reason: str) -> WrongSetting:
    return WrongSetting(_path(name), reason)


def _check_file(name: str, path: object) -> None:
    expected = "the path of a file"
    if isinstance(path, str) and "\n" in path:
        raise _wrong(name, f"expected {expected}, got several lines")  # perhaps the key itself, so not shown
    if path is not None:
        text(_path(name), path, expected)


def _check_protocols(protocols: tuple[str, ...]) -> None:
    for version in protocols:
        if version.lower() in _OLD:
            raise _wrong("protocols", f"{version} is no longer safe (RFC 8996); expected tls1.2 or tls1.3")
        if version not in VERSIONS:
            raise _wrong("protocols", f"expected tls1.2 or tls1.3, got {shown(version)}")
    if len(protocols) > 2:
        raise _wrong("protocols", "expected a lowest and a highest version")
    if list(protocols) != sorted(protocols):
        raise _wrong("protocols", "the lowest version comes first, as in tls1.2 tls1.3")


def _check_ciphers(ciphers: tuple[str, ...]) -> None:
    for name in ciphers:
        try:
            openssl_cipher(name)
        except ValueError as error:
            near = suggestion(name, (*CIPHERS, *CIPHERS.values()))
            hint = f"; {near}" if near.startswith("did") else ""
            raise _wrong("ciphers", f"{shown(name)} is none: {error}{hint}") from None


def _server_name(value: object) -> str:
    expected = "a host name or an IP address"
    name = text(_path("server_name"), value, expected)
    try:
        return str(ip_address(name))
    except ValueError:
        pass
    try:
        name = to_a_labels(name)
    except LocalProtocolError as error:
        raise _wrong("server_name", str(error)) from None
    # A wildcard is what certificates hold, never whom we want to reach (RFC 9525).
    labels = name.removesuffix(".").split(".")
    if len(name) > 254 or not all(map(_LABEL.fullmatch, labels)) or labels[-1].isdigit():
        raise _wrong("server_name", f"expected {expected}, got {shown(value)}")
    return name
