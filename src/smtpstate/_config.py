"""The settings of a target, checked when they are made."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from ipaddress import ip_address
from typing import final

from smtpstate._commands import Protocol
from smtpstate._domains import to_a_labels
from smtpstate._endpoints import Endpoint
from smtpstate._errors import ConfigError, LocalProtocolError
from smtpstate._limits import Limits
from smtpstate._tls import TlsClient

_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?|\[[\x21-\x5a\x5e-\x7e]+\]")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long to wait for the server, in seconds (RFC 5321 §4.5.3.2)."""

    connect: float = 300.0  #: name look-up, all addresses of the name, and the handshake of implicit TLS
    command: float = 300.0  #: each reply anew; each block of the message that makes no progress
    submission: float = 720.0  #: the server may be scanning; giving up early duplicates mail
    transaction: float | None = None  #: over everything that a delivery does; None is no bound


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TargetConfig:
    """Where mail is handed to, and how. Times are in seconds.

    Raises:
        ConfigError: a setting is wrong; the message names it, says what is
            wrong and what would be right.
    """

    targets: Iterable[str | Endpoint]  #: tried in this order; see ``endpoints``
    protocol: str | Protocol = Protocol.SMTP  #: ``"smtp"`` or ``"lmtp"``
    hostname: str | None = None  #: the name we give in EHLO; by default our own address as a literal
    connect_timeout: float = 300.0  #: name look-up, all addresses of the name, the handshake of implicit TLS
    command_timeout: float = 300.0  #: each reply anew, and each block of the message
    submission_timeout: float = 720.0  #: from the end of the message until its reply
    transaction_timeout: float | None = None  #: over everything that a delivery does
    source_address: str | None = None  #: the local IP address to bind
    limits: Limits = field(default_factory=Limits)  #: how much is held of what a server sends

    def __post_init__(self) -> None:
        targets = (self.targets,) if isinstance(self.targets, (str, Endpoint)) else tuple(self.targets)
        if not targets:
            raise ConfigError("targets: expected at least one endpoint such as tcp://mx.example:25")
        _set(self, "targets", tuple(_endpoint(target) for target in targets))
        _set(self, "protocol", _protocol(self.protocol))
        if self.hostname is not None:
            _set(self, "hostname", _hostname(self.hostname))
        for name in ("connect_timeout", "command_timeout", "submission_timeout", "transaction_timeout"):
            value = getattr(self, name)
            if value is None and name == "transaction_timeout":
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e9:
                raise ConfigError(f"{name}: expected a number of seconds above 0, got {value!r}")
        if self.source_address is not None:
            try:
                ip_address(str(self.source_address))  # an int would be taken for an address
            except ValueError:
                raise ConfigError(
                    f"source_address: expected an IP address, got {str(self.source_address)!r}"
                ) from None

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The targets, parsed."""
        return tuple(t for t in self.targets if isinstance(t, Endpoint))

    @property
    def speaks(self) -> Protocol:
        """The protocol, as an enum."""
        return Protocol(self.protocol)

    @property
    def timeouts(self) -> Timeouts:
        """All time-outs together."""
        return Timeouts(
            connect=self.connect_timeout,
            command=self.command_timeout,
            submission=self.submission_timeout,
            transaction=self.transaction_timeout,
        )


def _set(config: TargetConfig, name: str, value: object) -> None:
    assert name in {f.name for f in fields(config)}
    object.__setattr__(config, name, value)


def _endpoint(target: object) -> Endpoint:
    if isinstance(target, Endpoint):
        return target
    if not isinstance(target, str):
        raise ConfigError(f"targets: expected an endpoint, got {type(target).__name__}")
    try:
        return Endpoint.parse(target)
    except ConfigError as error:
        raise ConfigError(f"targets: {error}") from None


def _protocol(protocol: str | Protocol) -> Protocol:
    try:
        return Protocol(protocol)
    except ValueError:
        raise ConfigError(f"protocol: expected smtp or lmtp, got {str(protocol)!r}") from None


def _hostname(hostname: str) -> str:
    try:
        name = to_a_labels(hostname)
    except LocalProtocolError as error:
        raise ConfigError(f"hostname: {error}") from None
    if not _NAME.fullmatch(name) or len(name) > 255:
        raise ConfigError(
            f"hostname: expected a name or an address literal such as [192.0.2.1], got {hostname!r}"
        )
    return name
