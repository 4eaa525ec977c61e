"""Requests: all that the pure part ever asks of the world, each with a typed answer.

A request is yielded from a generator and answered by an adapter::

    data = yield from Receive(deadline)

An adapter that cannot do what is asked fails the request with a
``TransportError``: ``DeadlinePassed`` where the deadline passed, ``TlsFailed``
where TLS was at fault. Deadlines are absolute, in seconds on the clock that
the adapter lends (``Dialogue.requests``).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, final

from smtpstate._errors import TransportError
from smtpstate._slots import setter

if TYPE_CHECKING:
    from smtpstate._delivery import Delivery
    from smtpstate._endpoints import Endpoint
    from smtpstate._message import Source
    from smtpstate._tls import TlsClient

T = TypeVar("T")

#: Seconds on a clock that never goes back, such as ``time.monotonic``.
Clock: TypeAlias = Callable[[], float]


class SendInterrupted(TransportError):
    """The server said something while a ``Send`` that was to heed it could not go on."""


@dataclass(frozen=True, slots=True)
class Request:
    """Something that only an adapter can do."""


#: A piece of dialogue: it yields requests and, at its end, returns a ``T``.
Steps: TypeAlias = Generator[Request, Any, T]


@final
@dataclass(frozen=True, slots=True)
class Connected:
    """The answer to ``Connect``: the two ends of the new connection."""

    local: str | None  #: our IP address as text (``192.0.2.1``, ``2001:db8::1``); None on a unix socket
    remote: str | None  #: the server's IP address as text; None on a unix socket


@final
@dataclass(frozen=True, slots=True)
class Connect(Request):
    """Open a connection to ``endpoint``, dropping the one before.

    ``deadline`` covers the name look-up and all addresses of the name. TLS is
    never part of it: a ``Handshake`` follows where TLS comes first. Fails with
    ``TransportError(name_unknown=True)`` where the name does not resolve.
    """

    endpoint: Endpoint
    source_address: str | None  #: the local IP address to bind, or None
    deadline: float

    def __iter__(self) -> Steps[Connected]:
        answer: Connected = yield self
        return answer


@final
@dataclass(frozen=True, slots=True)
class Negotiated:
    """The answer to ``Handshake``: what the TLS layer agreed on."""

    version: str  #: ``TLSv1.2`` or ``TLSv1.3``
    cipher: str  #: OpenSSL's name of the cipher suite
    verified: bool  #: the certificate and its name were verified (RFC 9525)
    certificate: bytes | None = field(default=None, repr=False)  #: the server's, in DER
    #: channel bindings that this connection has, by their type, such as ``tls-unique`` (RFC 5929 §3)
    bindings: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}), repr=False)


@final
@dataclass(frozen=True, slots=True)
class Handshake(Request):
    """Encrypt the connection now, as a client: after STARTTLS or from the first octet.

    An adapter that still holds octets received before must fail this with
    ``TlsFailed``: they were sent in clear, and perhaps by somebody else.
    """

    server_name: str  #: whom the certificate must name; sent as SNI unless it is an address (RFC 6066 §3)
    tls: TlsClient
    deadline: float

    def __iter__(self) -> Steps[Negotiated]:
        answer: Negotiated = yield self
        return answer


@final
@dataclass(frozen=True, slots=True, init=False)
class Send(Request):
    """Send ``data``; answered once the kernel has taken all of it.

    With ``heed`` an adapter that must wait meanwhile should look now and then
    for octets from the server: where some have come, or the end of the stream,
    it gives up and fails this with ``SendInterrupted``. The octets stay for the
    next ``Poll`` or ``Receive``.
    """

    data: bytes = field(repr=False)
    deadline: float
    heed: bool = field(repr=False)

    def __init__(self, data: bytes, deadline: float, heed: bool = False) -> None:
        _set_data(self, data)
        _set_deadline(self, deadline)
        _set_heed(self, heed)

    def __iter__(self) -> Steps[None]:
        yield self


_set_data = setter(Send, "data")
_set_deadline = setter(Send, "deadline")
_set_heed = setter(Send, "heed")


@final
@dataclass(frozen=True, slots=True, init=False)
class Receive(Request):
    """Wait for octets: at least one, at most 65536; empty at the end of the stream."""

    deadline: float

    def __init__(self, deadline: float) -> None:
        _set_end(self, deadline)

    def __iter__(self) -> Steps[bytes]:
        answer: bytes = yield self
        return answer


_set_end = setter(Receive, "deadline")


@final
@dataclass(frozen=True, slots=True)
class Poll(Request):
    """Look for octets without waiting: empty at the end of the stream, None if nothing has arrived."""

    def __iter__(self) -> Steps[bytes | None]:
        answer: bytes | None = yield self
        return answer


@final
@dataclass(frozen=True, slots=True)
class Pull(Request):
    """Fetch the next chunk of the caller's message; empty at its end.

    Each ``Source`` is one reading from the start: an adapter that meets a new
    one opens the message anew. An exception of the caller's source fails this
    request unchanged.
    """

    source: Source
    deadline: float | None = None  #: the same for all of one source; None where the caller may take forever

    def __iter__(self) -> Steps[bytes]:
        answer: bytes = yield self
        return answer


@final
class Queue(Enum):
    """The answers to ``Take`` where there is no delivery."""

    LATER = "later"  #: there is none at hand, and more may come
    END = "end"  #: there will be none


@final
@dataclass(frozen=True, slots=True)
class Take(Request):
    """Ask the caller for the next delivery of many."""

    wait: bool  #: wait for it; otherwise the answer is ``Queue.LATER`` where there is none at hand

    def __iter__(self) -> Steps[Delivery | Queue]:
        answer: Delivery | Queue = yield self
        return answer


@final
@dataclass(frozen=True, slots=True)
class Give(Request):
    """Give the caller a delivery of many whose recipients are all settled."""

    delivery: Delivery

    def __iter__(self) -> Steps[None]:
        yield self
