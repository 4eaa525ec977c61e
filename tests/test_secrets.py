"""The watch over the whole run finds what it should, and knows the passwords that tests use."""

from __future__ import annotations

import logging
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest

from leaks import SECRETS, Watch, forms, watching
from smtpstate import (
    Auth,
    ConfigError,
    Delivery,
    Envelope,
    RemoteProtocolError,
    Status,
    TargetConfig,
    forwarding,
)
from smtpstate.testing import ModelServer, Playground

SHOWN = "shown.on.purpose"
TESTS = Path(__file__).parent


def deliver(recipient: str = "b@y.example", user: str = "me", password: str = SHOWN) -> Delivery:
    """Deliver with a password."""
    server = ModelServer(extensions=["AUTH PLAIN"], users={user: password})
    delivery = Delivery(Envelope("a@x.example", [recipient]), b"hello\r\n")
    config = TargetConfig(targets="tcp://mx.example:25", auth=Auth.plain(user, password), insecure_auth=True)
    Playground({"tcp://mx.example:25": server}).run(forwarding(delivery, config))
    assert delivery.outcomes[0].status is Status.DELIVERED
    return delivery


def log() -> None:
    logging.getLogger("anything").debug("it is %s", SHOWN)


def log_an_error() -> None:
    try:
        raise KeyError(SHOWN)
    except KeyError:
        logging.getLogger("anything").exception("what now")


@pytest.mark.parametrize(
    ("leak", "kind"),
    [
        (log, "log"),
        (log_an_error, "log"),
        (lambda: RemoteProtocolError(f"it says {SHOWN}"), "error"),
        (lambda: ConfigError(SHOWN), "error"),
        (lambda: deliver(f"{SHOWN}@y.example", password="x"), "trace"),
        (lambda: deliver(f"{b64encode(b'me' + SHOWN.encode()).decode()}@y.example", password="x"), "trace"),
        (lambda: deliver(f"{SHOWN}@y.example", password="x"), "outcome"),
        (lambda: deliver(user=SHOWN, password="x"), "repr"),
    ],
    ids=range(8),
)
def test_what_is_shown_is_found(leak: Callable[[], object], kind: str) -> None:
    watch = Watch([SHOWN])
    with watching(watch):
        leak()
    assert [found for found in watch.found if found.startswith(f"{kind} in tests/test_secrets.py::")] != []


def test_what_is_not_shown_is_not_found() -> None:
    watch = Watch([SHOWN])
    with watching(watch):
        deliver()
        logging.getLogger("anything").debug("nothing")
    assert watch.found == []


def test_nothing_is_watched_any_more_at_the_end() -> None:
    watch = Watch([SHOWN])
    level = logging.getLogger().level
    with watching(watch):
        pass
    log()
    RemoteProtocolError(SHOWN)
    deliver(f"{SHOWN}@y.example")
    assert watch.found == []
    assert logging.getLogger().level == level


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("before", [b"", b"a", b"ab", b"\0me\0", b"user=me\x01auth=Bearer "])
@pytest.mark.parametrize("after", [b"", b"a", b"ab", b"\x01\x01"])
def test_a_secret_is_found_in_base64_wherever_it_stands(secret: str, before: bytes, after: bytes) -> None:
    encoded = b64encode(before + secret.encode() + after).decode()
    assert any(form in encoded for form in forms(secret))
    assert all(len(form) >= 4 for form in forms(secret))


@pytest.mark.parametrize("secret", SECRETS)
def test_every_password_of_the_list_is_used(secret: str) -> None:
    tests = [path for path in TESTS.rglob("test_*.py") if path.name != "test_secrets.py"]
    assert any(secret in path.read_text("utf-8") for path in [*tests, *(TESTS / "interop").glob("*.py")])
