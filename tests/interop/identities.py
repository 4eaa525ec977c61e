"""The certificates of the servers, and of a client."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import trustme

from interop.daemons import HOST


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A certificate with its chain, and its private key: two files."""

    cert: Path
    key: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Identities:
    """All certificates of a test run, as files."""

    root_ca: Path
    server: Identity
    other: Identity  #: of the same authority, for another name
    client: Identity  #: of alice
    stranger: Identity  #: also alice's, if one asks an authority that nobody trusts


def make_identities(path: Path) -> Identities:
    """Write new certificates into a folder."""
    authority, another = trustme.CA(), trustme.CA()

    def write(name: str, certificate: trustme.LeafCert) -> Identity:
        identity = Identity(cert=path / f"{name}.pem", key=path / f"{name}.key")
        for blob in certificate.cert_chain_pems:
            blob.write_to_path(str(identity.cert), append=True)
        certificate.private_key_pem.write_to_path(str(identity.key))
        return identity

    root_ca = path / "ca.pem"
    authority.cert_pem.write_to_path(str(root_ca))
    return Identities(
        root_ca=root_ca,
        server=write("server", authority.issue_cert(HOST, "localhost", "127.0.0.1", "::1")),
        other=write("other", authority.issue_cert("other.example")),
        client=write("client", authority.issue_cert("alice.example", common_name="alice")),
        stranger=write("stranger", another.issue_cert("alice.example", common_name="alice")),
    )
