"""How a model server is set up, shared by all of its connections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, final

from smtpstate._commands import Protocol
from smtpstate.testing._sasl import Accounts, Mechanism


@final
@dataclass(frozen=True, slots=True)
class Cut:
    """End a connection after exactly ``octets`` octets that the server has said on it."""

    octets: int
    how: Literal["close", "reset", "silence"] = "close"
    connection: int | None = None  #: only on this one of the server's connections, counted from 1


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTls:
    """What a TLS handshake with a model server leads to, where it is played in memory."""

    trusted: bool = True  #: whether the certificate verifies
    names: tuple[str, ...] = ()  #: whom the certificate names; none stands for whoever is asked for
    version: str = "TLSv1.3"
    cipher: str = "TLS_AES_256_GCM_SHA384"
    certificate: bytes = b"a model certificate"  #: in place of DER
    bindings: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}))  #: by type


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """See ``ModelServer``."""

    protocol: Protocol
    name: str
    extensions: tuple[str, ...]
    tls_extensions: tuple[str, ...]
    tls: ModelTls
    implicit_tls: bool
    accounts: Accounts
    mechanisms: Mapping[str, Mechanism]
    require_tls: bool
    require_auth: bool
    cut: Cut | None
    line_limit: int
    keep_content: bool
