"""Requests: each is yielded as it is, and its answer is what the expression becomes."""

from __future__ import annotations

from typing import TypeAlias

import pytest

from smtpstate._delivery import Delivery
from smtpstate._endpoints import Endpoint
from smtpstate._envelope import Envelope
from smtpstate._errors import DeadlinePassed
from smtpstate._message import Message, Source
from smtpstate._requests import (
    Connect,
    Connected,
    Give,
    Handshake,
    Negotiated,
    Poll,
    Pull,
    Queue,
    Receive,
    Request,
    Send,
    Steps,
    Take,
)
from smtpstate._tls import TlsClient

MX = Endpoint("tcp", "mx.example", 25)
SECRET = b"AHVzZXIAaHVudGVyMg=="
NEGOTIATED = Negotiated("TLSv1.3", "TLS_AES_256_GCM_SHA384", True)

Asking: TypeAlias = Connect | Handshake | Send | Receive | Poll | Pull | Take | Give

DELIVERY = Delivery(Envelope("a@x", ["b@y"]), b"")

#: Each request, and an answer to it.
REQUESTS: list[tuple[Asking, object]] = [
    (Connect(MX, None, 5.0), Connected("192.0.2.1", "192.0.2.2")),
    (Connect(MX, "192.0.2.1", 5.0), Connected(None, None)),
    (Handshake("mx.example", TlsClient(), 5.0), NEGOTIATED),
    (Receive(5.0), b"220 hello\r\n"),
    (Receive(5.0), b""),
    (Poll(), b"421 bye\r\n"),
    (Poll(), b""),
    (Poll(), None),
    (Pull(Source(Message(b""))), b"Subject: a\r\n"),
    (Take(wait=True), DELIVERY),
    (Take(wait=True), Queue.END),
    (Take(wait=False), Queue.LATER),
]


def steps(request: Asking) -> Steps[object]:
    asked: Steps[object] = request.__iter__()
    return (yield from asked)


@pytest.mark.parametrize(("request_", "answer"), REQUESTS, ids=str)
def test_a_request_is_yielded_once_and_becomes_its_answer(request_: Asking, answer: object) -> None:
    run = steps(request_)
    assert next(run) is request_
    with pytest.raises(StopIteration) as end:
        run.send(answer)
    assert end.value.value is answer


@pytest.mark.parametrize("request_", [Send(b"QUIT\r\n", 5.0), Give(DELIVERY)], ids=str)
def test_what_is_handed_over_has_no_answer(request_: Asking) -> None:
    run = steps(request_)
    assert next(run) is request_
    with pytest.raises(StopIteration) as end:
        run.send("whatever")
    assert end.value.value is None


@pytest.mark.parametrize("request_", [*(request for request, _ in REQUESTS), Send(b"", 5.0)], ids=str)
def test_a_failed_request_raises_where_it_was_asked(request_: Asking) -> None:
    run = steps(request_)
    next(run)
    error = DeadlinePassed("nothing came")
    with pytest.raises(DeadlinePassed) as caught:
        run.throw(error)
    assert caught.value is error


@pytest.mark.parametrize(("request_", "answer"), REQUESTS, ids=str)
def test_requests_are_values(request_: Asking, answer: object) -> None:
    assert isinstance(request_, Request)
    assert request_ == request_
    assert request_ != Send(b"", 5.0)


def test_what_may_be_secret_is_not_shown() -> None:
    negotiated = Negotiated("TLSv1.2", "x", True, certificate=SECRET, bindings={"tls-unique": SECRET})
    for shown in (repr(Send(SECRET, 5.0)), repr(negotiated)):
        assert repr(SECRET)[2:-1] not in shown
    assert repr(Send(SECRET, 5.0)) == "Send(deadline=5.0)"


def test_a_connection_has_no_channel_bindings_unless_they_are_told() -> None:
    assert dict(NEGOTIATED.bindings) == {}
    assert NEGOTIATED.certificate is None
