"""The servers, started once for all tests of this folder, and the adapters that talk to them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from adapters.runtimes import ASYNCHRONOUS, BLOCKING, Runtime
from interop.daemons import folder, free_ports
from interop.dovecot import Dovecot, serving_dovecot
from interop.identities import Identities, make_identities
from interop.postfix import Postfix, serving_postfix


@pytest.fixture(params=[BLOCKING, ASYNCHRONOUS[0]], ids=repr)
def runtime(request: pytest.FixtureRequest) -> Runtime:
    """The blocking and the asyncio adapter."""
    assert isinstance(request.param, Runtime)
    return request.param


@pytest.fixture(scope="session")
def identities() -> Iterator[Identities]:
    """Certificates for all servers."""
    with folder("certificates") as path:
        yield make_identities(path)


@pytest.fixture(scope="session")
def servers(identities: Identities) -> Iterator[tuple[Postfix, Dovecot]]:
    """Postfix, which asks Dovecot about logins, and Dovecot, which passes on to Postfix."""
    [mx] = free_ports(1)
    with (
        serving_dovecot(identities, mx) as dovecot,
        serving_postfix(identities, mx, dovecot.auth_socket) as postfix,
    ):
        yield postfix, dovecot


@pytest.fixture(scope="session")
def postfix(servers: tuple[Postfix, Dovecot]) -> Postfix:
    """Postfix."""
    return servers[0]


@pytest.fixture(scope="session")
def dovecot(servers: tuple[Postfix, Dovecot]) -> Dovecot:
    """Dovecot."""
    return servers[1]


@pytest.fixture(scope="session")
def trusting(identities: Identities) -> str:
    """The directives for a client that trusts the servers."""
    return f"tls_client {{\nroot_ca {identities.root_ca}\n}}"
