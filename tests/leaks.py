"""Watch a whole run for its passwords: in logs, traces, reprs and errors, in clear or in base64."""

from __future__ import annotations

import logging
import os
import re
from base64 import b64encode
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import final

import pytest

from smtpstate import Clock, Delivery, SmtpStateError, TargetConfig, Trace, TraceEvent
from smtpstate._courier import Courier
from smtpstate._memory import Memory
from smtpstate.trace import as_json

#: Passwords and tokens that tests authenticate with, and that stand for nothing else in them.
SECRETS = (
    "Tr0ub4dor.3",
    "s3cret-word",
    "0ther-word",
    "stale-token",
    "open sesame",
    "correct horse 42",
    "correct horse battery",
    "ya29.a-token",
    "hunter2",
    "a-Secret",
    "b-Secret",
    "pass-or-token",
    "pass-word",
    "right-one",
    "not-to-be-seen",
)


def forms(secret: str) -> Iterator[str]:
    """Yield a secret as it may be shown: in clear, and in base64 wherever it begins in what is encoded."""
    yield secret
    octets = secret.encode()
    for before in range(3):
        encoded = b64encode(bytes(before) + octets).decode()
        # The first characters depend on what stands before, the last on what follows.
        whole = (before + len(octets)) // 3 * 4
        yield encoded[0 if before == 0 else 4 : whole]


@final
class Watch:
    """Whoever looks for secrets; ``found`` says where each was shown."""

    def __init__(self, secrets: Iterable[str] = SECRETS) -> None:
        self.found: list[str] = []
        self._pattern = re.compile("|".join(re.escape(form) for secret in secrets for form in forms(secret)))

    def look(self, kind: str, text: str) -> None:
        """Look at something that people may get to see."""
        if self._pattern.search(text):
            self.found.append(f"{kind} in {os.environ.get('PYTEST_CURRENT_TEST')}: {text}")

    def event(self, event: TraceEvent) -> None:
        """Look at a trace event, in each of its forms."""
        self.look("trace", f"{event}\n{event!r}\n{as_json(event)}")

    def delivery(self, delivery: Delivery) -> None:
        """Look at what is known of a delivery."""
        outcomes = delivery.outcomes
        self.look("repr", f"{delivery!r}\n{outcomes!r}\n{delivery.attempts!r}\n{delivery.credentials!r}")
        self.look("outcome", "\n".join(f"{outcome}\n{outcome.notes}" for outcome in outcomes))


class _Handler(logging.Handler):
    def __init__(self, watch: Watch) -> None:
        super().__init__(logging.DEBUG)
        self._watch = watch

    def emit(self, record: logging.LogRecord) -> None:
        """Look at a record as it would be written."""
        self._watch.look("log", self.format(record))


@contextmanager
def watching(watch: Watch) -> Generator[None, None, None]:
    """Look at every log record, at every error of ours, and at all that deliveries with credentials show."""
    handler = _Handler(watch)
    root = logging.getLogger()
    level = root.level
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Courier, "__init__", _watched_init(Courier.__init__, watch))
        patch.setattr(Courier, "show", _watched_show(Courier.show, watch))
        patch.setattr(SmtpStateError, "__init__", _watched_error(SmtpStateError.__init__, watch))
        root.addHandler(handler)
        root.setLevel(logging.DEBUG)
        try:
            yield
        finally:
            root.setLevel(level)
            root.removeHandler(handler)


def _watched_init(init: Callable[..., None], watch: Watch) -> Callable[..., None]:
    def watched(
        self: Courier,
        config: TargetConfig,
        *,
        nonce: Callable[[], str] | None = None,
        memory: Memory | None = None,
        trace: Trace | None = None,
    ) -> None:
        def both(event: TraceEvent) -> None:
            watch.event(event)
            if trace is not None:
                trace(event)

        watch.look("repr", repr(config))
        # Others have no secret to show.
        init(self, config, nonce=nonce, memory=memory, trace=both if config.auth.is_on else trace)

    return watched


def _watched_show(show: Callable[..., None], watch: Watch) -> Callable[..., None]:
    def watched(self: Courier, delivery: Delivery, clock: Clock) -> None:
        if self.config.auth.is_on:
            watch.delivery(delivery)
        show(self, delivery, clock)

    return watched


def _watched_error(init: Callable[..., None], watch: Watch) -> Callable[..., None]:
    def watched(self: SmtpStateError, *args: object) -> None:
        watch.look("error", f"{type(self).__name__}{args!r}")
        init(self, *args)

    return watched
