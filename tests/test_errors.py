"""Exceptions: whose fault each is, and what it carries."""

from __future__ import annotations

import copy
import pickle

import pytest

from smtpstate import _errors
from smtpstate._delivery import Delivery
from smtpstate._envelope import Envelope
from smtpstate._errors import (
    ConfigError,
    DeadlinePassed,
    DeliveryFailed,
    LocalProtocolError,
    RemoteProtocolError,
    SmtpStateError,
    TlsFailed,
    TransportError,
)
from smtpstate._replies import Reply


def test_one_clause_catches_all() -> None:
    errors = [value for value in vars(_errors).values() if isinstance(value, type)]
    assert len(errors) == 8
    assert all(issubclass(error, SmtpStateError) for error in errors)


def test_a_passed_deadline_and_failed_tls_are_failures_of_the_network() -> None:
    assert issubclass(DeadlinePassed, TransportError)
    assert issubclass(TlsFailed, TransportError)
    for error in (LocalProtocolError, RemoteProtocolError, ConfigError, DeliveryFailed):
        assert not issubclass(error, TransportError)


def test_what_each_carries_is_nothing_unless_it_is_given() -> None:
    assert RemoteProtocolError("a").reply is None
    assert RemoteProtocolError("a", Reply(250)).reply == Reply(250)
    assert TransportError("a").name_unknown is False
    assert TransportError("a", name_unknown=True).name_unknown is True
    assert TlsFailed("a").certificate is False
    assert TlsFailed("a", certificate=True).certificate is True
    assert TlsFailed("a").name_unknown is False


@pytest.mark.parametrize(
    ("error", "carried"),
    [
        (LocalProtocolError("a"), {}),
        (ConfigError("a"), {}),
        (RemoteProtocolError("a", Reply(250, (b"ok",))), {"reply": Reply(250, (b"ok",))}),
        (TransportError("a", name_unknown=True), {"name_unknown": True}),
        (DeadlinePassed("a"), {"name_unknown": False}),
        (TlsFailed("a", certificate=True), {"certificate": True}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_copy_in_another_process_says_the_same(error: SmtpStateError, carried: dict[str, object]) -> None:
    for again in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(again) is type(error)
        assert str(again) == "a"
        for name, value in carried.items():
            assert getattr(again, name) == value


def test_a_failed_delivery_is_carried_by_its_exception_and_by_copies_of_it() -> None:
    delivery = Delivery(Envelope("a@x", ["b@y"]), b"")
    error = DeliveryFailed("nothing was delivered", delivery)
    assert error.delivery is delivery
    again = copy.copy(error)
    assert again.delivery is delivery
    assert str(again) == str(error) == "nothing was delivered"


def test_a_transaction_that_could_not_be_begun_says_what_the_server_said() -> None:
    delivery = Delivery(Envelope("a@x", ["b@y"]), b"")
    assert DeliveryFailed("no", delivery).reply is None
    error = DeliveryFailed("no", delivery, Reply(550, (b"5.7.1 no",)))
    for failed in (error, copy.copy(error)):
        assert failed.reply == Reply(550, (b"5.7.1 no",))
        assert failed.delivery is delivery
