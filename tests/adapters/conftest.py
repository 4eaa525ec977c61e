"""Runtimes for tests, and the count of what they leave behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

import smtpstate_blocking._wire
import smtpstate_io._async
from adapters.leftovers import counts, kept_by_trio, settled
from adapters.runtimes import ASYNCHRONOUS, RUNTIMES, Asynchronous, Runtime
from smtpstate._endpoints import Endpoint
from smtpstate._errors import TransportError
from smtpstate._requests import Clock, Connect, Steps
from smtpstate_io import Address


@pytest.fixture(params=RUNTIMES, ids=repr)
def runtime(request: pytest.FixtureRequest) -> Runtime:
    """Each runtime in turn."""
    assert isinstance(request.param, Runtime)
    return request.param


@pytest.fixture(params=ASYNCHRONOUS, ids=repr)
def asynchronous(request: pytest.FixtureRequest) -> Asynchronous:
    """Each asynchronous runtime in turn."""
    assert isinstance(request.param, Asynchronous)
    return request.param


@pytest.fixture
def addresses(monkeypatch: pytest.MonkeyPatch) -> list[Address]:
    """The addresses that every endpoint has."""
    found: list[Address] = []

    def known_addresses(endpoint: Endpoint) -> list[Address]:
        return found

    for module in (smtpstate_io._async, smtpstate_blocking._wire):
        monkeypatch.setattr(module, "known_addresses", known_addresses)
    return found


@pytest.fixture(scope="session")
def _warm() -> Iterator[None]:
    """Have each runtime open what it keeps for the whole process, and drop it at the end."""

    def steps(clock: Clock) -> Steps[None]:
        with suppress(TransportError):
            yield from Connect(Endpoint("unix", path="/nonexistent"), None, clock() + 1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trio._core._thread_cache.IDLE_TIMEOUT", 0.1)
        for runtime in RUNTIMES:
            runtime.drive(steps)
        yield
        for thread in filter(kept_by_trio, threading.enumerate()):
            thread.join()


@pytest.fixture
def nothing_left(_warm: None) -> Iterator[None]:
    """Fail a test that leaves a file descriptor or a thread; none may wait for the collector."""
    before = counts()
    yield
    assert settled(before) == before
