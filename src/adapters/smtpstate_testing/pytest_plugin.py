"""Fixtures for pytest: model servers that run as long as the test."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, final

import pytest

if TYPE_CHECKING:
    import os
    import ssl

    from smtpstate.testing import ModelServer, Rule
    from smtpstate_testing import Served

# What is imported here is imported into every run of pytest in the environment: no more than this.


@final
class ServerFactory:
    """Starts model servers, which stop when the test is over."""

    def __init__(self, protocol: str, running: ExitStack) -> None:
        self._protocol = protocol
        self._running = running

    def __call__(
        self,
        server: ModelServer | None = None,
        *,
        extensions: Iterable[str] = ("PIPELINING", "8BITMIME", "SIZE 10485760", "ENHANCEDSTATUSCODES"),
        rules: Iterable[Rule] = (),
        users: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        unix_path: str | os.PathLike[str] | None = None,
    ) -> Served:
        """Start a server.

        Args:
            server: the model; by default one is made of the next three.
            extensions: the lines of its answer to EHLO or LHLO.
            rules: where it departs from its usual answers; see ``smtpstate.testing.on``.
            users: who may log in, with which password.
            tls: certificate and settings, for a server that offers STARTTLS.
            unix_path: serve there instead of by TCP.
        """
        from smtpstate.testing import ModelServer
        from smtpstate_testing import serve

        if server is None:
            server = ModelServer(self._protocol, extensions, rules, users=users)
        return self._running.enter_context(serve(server, tls=tls, unix_path=unix_path))


@pytest.fixture
def smtp_server() -> Iterator[ServerFactory]:
    """Start model SMTP servers: ``smtp_server(rules=[...]).endpoint``."""
    with ExitStack() as running:
        yield ServerFactory("smtp", running)


@pytest.fixture
def lmtp_server() -> Iterator[ServerFactory]:
    """Start model LMTP servers: ``lmtp_server(rules=[...]).endpoint``."""
    with ExitStack() as running:
        yield ServerFactory("lmtp", running)
