"""Play a dialogue in memory, against model servers, on a virtual clock."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar, final

from smtpstate._delivery import Delivery
from smtpstate._dialogue import Dialogue
from smtpstate._endpoints import Endpoint
from smtpstate._errors import DeadlinePassed, TransportError
from smtpstate._message import Source
from smtpstate._requests import (
    Clock,
    Connect,
    Connected,
    Give,
    Handshake,
    Poll,
    Pull,
    Queue,
    Receive,
    Request,
    Send,
    Steps,
    Take,
)
from smtpstate.testing._actions import Action
from smtpstate.testing._connection import MemoryConnection, ServerSide, VirtualClock
from smtpstate.testing._pulling import pulled
from smtpstate.testing._server import ModelServer
from smtpstate.testing._splitting import Split, whole
from smtpstate.testing._transcript import Transcript

T = TypeVar("T")


@final
class Abandoned(Exception):
    """The dialogue was left where a ``Fault`` says, as by a cancellation."""


@final
@dataclass(frozen=True, slots=True)
class Fault:
    """One request that goes wrong, whatever the server does."""

    at: int  #: which request, counted from 0
    error: Exception | None  #: what it fails with; None abandons the dialogue there
    kind: type[Request] | None = None  #: count only requests of this type
    delivered: int = 0  #: if it is a ``Send``: how many of its octets reach the server nevertheless


class Network(Protocol):
    """Where connections lead to."""

    @abstractmethod
    def open(self, endpoint: Endpoint) -> ServerSide:
        """Connect to ``endpoint``.

        Raises:
            TransportError: that fails.
        """


@final
class _Servers:
    """A network of model servers and of endpoints that cannot be reached."""

    def __init__(self, servers: Mapping[str, ModelServer | Exception]) -> None:
        self._servers = servers

    def open(self, endpoint: Endpoint) -> ServerSide:
        """See ``Network.open``."""
        server = self._servers.get(str(endpoint))
        if server is None:
            raise TransportError(f"{endpoint.host or endpoint.path} is not known", name_unknown=True)
        if isinstance(server, Exception):
            raise server
        return server.connect()


@final
class Playground:
    """An adapter in memory: it answers requests by model servers, and time passes only by waiting.

    Like a real adapter it holds one connection. It outlives a dialogue that
    comes to its end, so that another may go on with it, and is dropped with
    one that fails; ``close`` drops it too.

    Attributes:
        clock: the virtual clock; call it for the time in seconds.
        requests: all requests so far.
        given: the deliveries that a dialogue which delivers many has given back.
        transcript: what was said, as lines: ``! connect HOST:PORT``, ``C: ...``, ``S: ...``.
    """

    def __init__(
        self,
        network: Mapping[str, ModelServer | Exception] | Network,
        *,
        split: Split = whole,
        faults: Sequence[Fault] = (),
        latency: float = 0.0,
        server_buffer: int = 65536,
        client_buffer: int = 1 << 60,
        local_address: str | None = "192.0.2.1",
        read_path: Callable[[str | bytes], bytes] | None = None,
        most_requests: int = 1_000_000,
        deliveries: Iterable[Delivery | Literal[Queue.LATER]] = (),
    ) -> None:
        """Make a playground.

        Args:
            network: what is at each endpoint, by its text (``"tcp://mx.example:25"``):
                a server, or the error with which connecting to it fails
                (``DeadlinePassed``: once its deadline has passed). An endpoint
                without an entry has an unknown name.
            split: how what servers say is cut into pieces.
            faults: requests that go wrong.
            latency: seconds between what the client sends and the answer to it.
            server_buffer: octets that a server's system takes when the server does not read.
            client_buffer: octets that may lie unread at the client before the
                server waits for it, and reads nothing more meanwhile.
            local_address: what the client's own address is, but on unix sockets.
            read_path: gives the content of a file, for messages that are paths.
            most_requests: how many requests are no runaway dialogue.
            deliveries: what a dialogue that delivers many is to take, one after
                the other; ``Queue.LATER`` where there is none at hand for once.
        """
        self.clock: VirtualClock = VirtualClock()
        self.requests: list[Request] = []
        self._network = _Servers(network) if isinstance(network, Mapping) else network
        self._split = split
        self._faults = tuple(faults)
        self._latency = latency
        self._server_buffer = server_buffer
        self._client_buffer = client_buffer
        self._local_address = local_address
        self._read_path = read_path
        self._most_requests = most_requests
        self._deliveries = iter(deliveries)
        self.given: list[Delivery] = []
        self._counts: dict[type[Request], int] = {}
        self._connection: MemoryConnection | None = None
        self._past_turns = 0
        self._sources: dict[Source, Iterator[bytes]] = {}
        self._transcript = Transcript()

    def run(self, dialogue: Dialogue[T] | Callable[[Clock], Steps[T]]) -> T:
        """Play ``dialogue`` to its end and return its result.

        Raises:
            Abandoned: a fault says so.
            AssertionError: it does what no dialogue may do, such as to wait
                for ever, or what a script does not have.
            Exception: what the dialogue raised.
        """
        if not isinstance(dialogue, Dialogue):
            dialogue = Dialogue(dialogue)
        try:
            for request in dialogue.requests(self.clock):
                try:
                    answer = self._perform(request)
                except (Abandoned, AssertionError):
                    raise
                except Exception as error:
                    if not self._is_foreseen(error, request):
                        raise
                    dialogue.fail(error)
                else:
                    dialogue.answer(answer)
        except BaseException:
            self.close()
            raise
        return dialogue.result

    @property
    def turns(self) -> int:
        """How often the client said something and then had to wait."""
        return self._past_turns + (self._connection.turns if self._connection else 0)

    @property
    def transcript(self) -> list[str]:
        """What was said, line by line."""
        return self._transcript.lines

    def server_does(self, *actions: Action) -> None:
        """Let the server do something of its own accord, such as to close an idle connection."""
        self._connected.perform(actions)

    def close(self) -> None:
        """Drop the connection, if there is one."""
        if self._connection is not None:
            self._past_turns += self._connection.turns
            self._connection.close()
            self._connection = None

    @property
    def _connected(self) -> MemoryConnection:
        assert self._connection is not None, "there is no connection"
        return self._connection

    def _perform(self, request: Request) -> object:
        n = len(self.requests)
        self.requests.append(request)
        if n >= self._most_requests:
            raise AssertionError(f"the dialogue has made more than {self._most_requests} requests")
        of_kind = self._counts.get(type(request), 0)
        self._counts[type(request)] = of_kind + 1
        for fault in self._faults:
            if fault.at == (n if fault.kind is None else of_kind if type(request) is fault.kind else None):
                self._go_wrong(fault, request)
        return self._answer(request)

    def _is_foreseen(self, error: Exception, request: Request) -> bool:
        """Whether an error is one of those that requests fail with, and no mistake in the model itself."""
        by_test = isinstance(request, (Connect, Pull, Take)) or any(error is f.error for f in self._faults)
        return by_test or isinstance(error, TransportError)

    def _go_wrong(self, fault: Fault, request: Request) -> None:
        if isinstance(request, Send) and fault.delivered:
            self._send(request.data[: fault.delivered], request.deadline)
        if fault.error is None:
            raise Abandoned(f"at request {fault.at}")
        raise fault.error

    def _answer(self, request: Request) -> object:
        match request:
            case Connect():
                return self._connect(request)
            case Handshake():
                negotiated = self._connected.shake_hands(request)
                self._transcript.note(f"tls {request.server_name}")
                return negotiated
            case Send():
                self._send(request.data, request.deadline, heed=request.heed)
                return None
            case Receive():
                return self._heard(self._connected.receive(request.deadline))
            case Poll():
                return self._heard(self._connected.poll())
            case Pull():
                return self._pull(request)
            case Take():
                at_hand = (each for each in self._deliveries if not (request.wait and each is Queue.LATER))
                return next(at_hand, Queue.END)
            case Give():
                self.given.append(request.delivery)
                return None
            case _:
                raise AssertionError(f"not a request: {request!r}")

    def _connect(self, request: Connect) -> Connected:
        self.close()
        endpoint = request.endpoint
        where = str(endpoint).removeprefix("tcp://")
        try:
            peer = self._network.open(endpoint)
        except DeadlinePassed:
            self._transcript.note(f"refuse {where}")
            self.clock.wait_until(request.deadline)
            raise
        except Exception as error:
            self._transcript.note(f"refuse {where} {error}")
            raise
        self._transcript.note(f"connect {where}")
        self._connection = MemoryConnection(
            peer,
            self.clock,
            split=self._split,
            latency=self._latency,
            server_buffer=self._server_buffer,
            client_buffer=self._client_buffer,
        )
        if endpoint.is_unix:
            return Connected(None, None)
        return Connected(request.source_address or self._local_address, "192.0.2.25")

    def _send(self, data: bytes, deadline: float, *, heed: bool = False) -> None:
        connection = self._connected
        self._transcript.client(data)
        connection.send(data, deadline, heed=heed)

    def _heard(self, data: bytes | None) -> bytes | None:
        if data is not None:
            self._transcript.server(data)
        return data

    def _pull(self, request: Pull) -> bytes:
        source, deadline = request.source, request.deadline
        if deadline is not None and self.clock() >= deadline:
            raise DeadlinePassed("the deadline passed")
        if source not in self._sources:
            self._sources[source] = pulled(source, self._read_path)
        return next(self._sources[source], b"")
