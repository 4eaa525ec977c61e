"""What a server's certificate says of itself, whatever it is made of."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from datetime import datetime
from typing import final

from cryptography import x509

from smtpstate._text import visible


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A certificate, as far as an administrator asks. All text is safe to print."""

    names: tuple[str, ...]  #: of subjectAltName: host names, then IP addresses
    subject: str
    issuer: str
    not_before: datetime
    not_after: datetime

    def days_left(self, now: datetime) -> float:
        """Return the days until it expires; negative where it has."""
        return (self.not_after - now).total_seconds() / 86400


def read_certificate(der: bytes) -> Certificate | None:
    """Return what a certificate says, or None where it cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what an odd certificate does wrong
            certificate = x509.load_der_x509_certificate(der)
            return Certificate(
                names=_names(certificate),
                subject=visible(certificate.subject.rfc4514_string()),
                issuer=visible(certificate.issuer.rfc4514_string()),
                not_before=certificate.not_valid_before_utc,
                not_after=certificate.not_valid_after_utc,
            )
    except (ValueError, TypeError, x509.InvalidVersion, x509.DuplicateExtension):
        return None


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, x509.UnsupportedGeneralNameType, ValueError):
        return ()
    hosts = extension.value.get_values_for_type(x509.DNSName)
    addresses = extension.value.get_values_for_type(x509.IPAddress)
    return tuple(visible(str(name)) for name in (*hosts, *addresses))
