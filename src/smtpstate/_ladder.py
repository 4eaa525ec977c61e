"""How far down a connection may go when TLS fails: verified, unverified, plain."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from typing import final

from smtpstate._config import TargetConfig
from smtpstate._endpoints import Endpoint
from smtpstate._errors import TlsFailed
from smtpstate._tls import TlsClient


@final
class Rung(Enum):
    """What is asked of a connection's TLS."""

    VERIFIED = "verified"  #: TLS as the settings say, with the certificate verified
    UNVERIFIED = "unverified"  #: TLS with whatever certificate: better than none, and no credential is sent
    PLAIN = "plain"  #: no STARTTLS


@final
class Ladder:
    """The rungs of one endpoint under the settings of a target."""

    __slots__ = ("_config", "_endpoint")

    def __init__(self, config: TargetConfig, endpoint: Endpoint) -> None:
        self._config = config
        self._endpoint = endpoint

    @property
    def top(self) -> Rung:
        """The rung to begin with."""
        config, endpoint = self._config, self._endpoint
        if endpoint.implicit_tls:
            return Rung.VERIFIED
        if endpoint.is_unix and config.tls_client.server_name is None:
            return Rung.PLAIN  # there is no name that a certificate could be checked against
        return Rung.VERIFIED if config.require_tls or config.attempt_starttls else Rung.PLAIN

    def below(self, rung: Rung, failure: Exception | None) -> Rung | None:
        """Return the rung to try on a new connection after TLS has failed, or None.

        Args:
            rung: where it failed.
            failure: of the handshake; None if there was no handshake, since the
                server did not answer STARTTLS at all.
        """
        config = self._config
        if self._endpoint.implicit_tls or config.require_tls:
            return None
        if config.auth.kind != "off" and not (config.insecure_auth or self._endpoint.is_unix):
            return None  # without verified TLS no credential may leave, so a retry would be useless
        certificate = isinstance(failure, TlsFailed) and failure.certificate
        if rung is Rung.VERIFIED and certificate and config.tls_client.verify:
            return Rung.UNVERIFIED
        return None if rung is Rung.PLAIN else Rung.PLAIN

    def client(self, rung: Rung) -> TlsClient:
        """Return what is asked of the TLS client on a rung."""
        client = self._config.tls_client
        return replace(client, verify=False) if rung is Rung.UNVERIFIED else client

    @property
    def server_name(self) -> str:
        """Whom the server's certificate must name."""
        return self._config.tls_client.server_name or self._endpoint.host.removesuffix(".")
