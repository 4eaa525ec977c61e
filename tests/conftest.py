"""Gates for the whole run: nothing is skipped, and nothing is left behind."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Generator, Iterator

import pytest
from hypothesis import HealthCheck, settings

from leaks import Watch, watching

if "CI" not in os.environ:  # there the profile of this name is loaded, which does the same and is not random
    # How long it takes to think of examples, or to try one, says nothing of what is tested.
    settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("untimed")


@pytest.fixture(autouse=True, scope="session")
def _nothing_is_left_behind() -> Iterator[None]:
    """Fail the run if a thread outlives it; what is collected late warns, and a warning is an error."""
    before = set(threading.enumerate())
    yield
    gc.collect()
    left = [thread.name for thread in threading.enumerate() if thread not in before]
    assert left == []


@pytest.fixture(autouse=True, scope="session")
def _no_secret_is_shown() -> Iterator[None]:
    """Fail the run if a log, a trace, a repr or an error has shown a password that was used in it."""
    watch = Watch()
    with watching(watch):
        yield
    assert watch.found == []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Count a skipped test as failed: a test that does not run says nothing."""
    report = yield
    if report.skipped:
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid} was skipped"
    return report
