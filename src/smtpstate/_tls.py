"""What a target asks of TLS; adapters turn it into their library's terms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from smtpstate._errors import ConfigError

#: Protocol versions in use, oldest first (RFC 8996 took the older ones out of use).
VERSIONS = ("tls1.2", "tls1.3")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TlsClient:
    """How TLS connections are made. Files are named here and read by the adapter.

    Raises:
        ConfigError: half a certificate and key pair, or unknown or reversed versions.
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
        for name in ("protocols", "ciphers", "curves", "root_ca"):
            value = getattr(self, name)
            object.__setattr__(self, name, (value,) if isinstance(value, str) else tuple(value))
        if (self.cert is None) != (self.key is None):
            raise ConfigError("tls_client: cert and key are needed together, or neither of them")
        for version in self.protocols:
            if version in ("tls1.0", "tls1.1"):
                raise ConfigError(f"tls_client: protocols: {version} is no longer safe (RFC 8996)")
            if version not in VERSIONS:
                raise ConfigError(f"tls_client: protocols: expected tls1.2 or tls1.3, got {version!r}")
        if len(self.protocols) > 2:
            raise ConfigError("tls_client: protocols: expected a lowest and a highest version")
        if list(self.protocols) != sorted(self.protocols):
            raise ConfigError("tls_client: protocols: the lowest version comes first")
