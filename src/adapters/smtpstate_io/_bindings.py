"""What a SASL exchange can be bound to on a TLS connection."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Iterator, Mapping
from typing import final

_END_POINT = "tls-server-end-point"


@final
class Bindings(Mapping[str, bytes]):
    """The channel bindings of a connection, each made when somebody asks for it."""

    def __init__(self, done: ssl.SSLObject) -> None:
        # tls-unique is defined up to TLS 1.2 only (RFC 9266 §3).
        kinds = [k for k in ssl.CHANNEL_BINDING_TYPES if k != "tls-unique" or done.version() == "TLSv1.2"]
        values = {kind: done.get_channel_binding(kind) for kind in kinds}
        self._known = {kind: value for kind, value in values.items() if value}
        self._certificate = done.getpeercert(binary_form=True)

    def __getitem__(self, kind: str) -> bytes:
        if kind == _END_POINT and kind not in self._known:
            binding = end_point(self._certificate)
            if binding is not None:
                self._known[kind] = binding
        return self._known[kind]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


def end_point(certificate: bytes | None) -> bytes | None:
    """Return the hash of a certificate in DER, by the hash of its own signature (RFC 5929 §4.1).

    None where there is no certificate, its signature has no single hash, or the
    package cryptography, which is needed to know it, is not installed.
    """
    if certificate is None:
        return None
    try:
        from cryptography import x509
        from cryptography.exceptions import UnsupportedAlgorithm
    except ImportError:
        return None
    try:
        algorithm = x509.load_der_x509_certificate(certificate).signature_hash_algorithm
    except (ValueError, UnsupportedAlgorithm):
        return None
    if algorithm is None:
        return None
    name = "sha256" if algorithm.name in ("md5", "sha1") else algorithm.name
    return hashlib.new(name, certificate).digest()
