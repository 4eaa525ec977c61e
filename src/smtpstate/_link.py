"""One network connection as the policy sees it: say something, hear the answers, in time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias, TypeVar, final

from smtpstate._commands import Bdat, Command, EndOfContent, Protocol
from smtpstate._config import Timeouts
from smtpstate._connection import Connection
from smtpstate._endpoints import Endpoint
from smtpstate._errors import DeadlinePassed, RemoteProtocolError, TransportError
from smtpstate._events import (
    NEED_DATA,
    Answered,
    ConnectionEnded,
    Event,
    MessageAnswered,
    NeedData,
    ServiceClosing,
)
from smtpstate._limits import Limits
from smtpstate._masking import masked, masked_event
from smtpstate._outcomes import Phase
from smtpstate._replies import Reply
from smtpstate._requests import (
    Clock,
    Connected,
    Negotiated,
    Poll,
    Receive,
    Send,
    SendInterrupted,
    Steps,
)
from smtpstate._runs import Rcpts, RecipientsAnswered, RecipientsDelivered
from smtpstate._trace import Failed, Received, Sent, Trace, TraceEvent

if TYPE_CHECKING:
    from smtpstate._login import Login

T = TypeVar("T")

_POLL = Poll()

#: Hears the answer to a command; LMTP's end of message hears one for each recipient.
Listener: TypeAlias = Callable[[Answered], None]

# Room that is kept for the next command while a group is put together. The decision to
# send a command must be made last, with all known that has been answered by then.
_RESERVE = 512

# Octets of chunks that may be unanswered: they are kept until then.
_MOST_IN_CHUNKS = 1 << 20


class Closing(Exception):
    """The server said 421; never leaves the core."""

    def __init__(self, event: ServiceClosing) -> None:
        super().__init__(str(event.reply))
        self.event = event


@final
class Link:
    """One connection: its octets, who listens for which answer, and how long we wait.

    Commands are submitted and leave together at the next ``flush``: a flight.
    Each answer is heard by the listener that was submitted with its command.
    """

    __slots__ = (
        "_clock",
        "_greeting",
        "_limits",
        "_listeners",
        "_most_messages",
        "_out",
        "_since",
        "_timeouts",
        "_trace",
        "_window",
        "broken",
        "chunking",
        "client",
        "conn",
        "connected",
        "domains",
        "endpoint",
        "ends",
        "exhausted",
        "heard",
        "idle_since",
        "listen_early",
        "login",
        "phase",
        "pipelining",
        "ready",
        "requested",
        "reused",
        "secrets",
        "stale",
        "submitted",
        "tls",
        "transactions",
        "welcome",
    )

    def __init__(
        self,
        endpoint: Endpoint,
        protocol: Protocol,
        *,
        clock: Clock,
        timeouts: Timeouts,
        limits: Limits,
        trace: Trace | None = None,
        ends: float | None = None,
        most_messages: int | None = None,
        pipelining: bool = True,
        chunking: bool = True,
    ) -> None:
        self.endpoint: Endpoint = endpoint
        self.conn: Connection = Connection(protocol, limits=limits, encrypted=endpoint.implicit_tls)
        self.connected: Connected | None = None
        self.tls: Negotiated | None = None
        self.login: Login | None = None  #: who we are on it
        self.welcome: Reply | None = None  #: the reply that let us in, where we authenticated
        self.secrets: tuple[bytes, ...] = ()  #: what no reply may be shown with
        self.client: tuple[tuple[str, str], ...] = ()  #: whom we speak for since XCLIENT
        self.heard: int = 0  #: whole replies so far
        self.phase: Phase = Phase.CONNECT
        self.pipelining: bool = pipelining  #: the target's off-switch for PIPELINING
        self.chunking: bool = chunking  #: the target's off-switch for CHUNKING
        self.ready: bool = False  #: the session is open: mail may be spoken of
        self.idle_since: float | None = None  #: on the adapter's clock
        self.reused: bool = False  #: it was idle before, and may have been closed by the server meanwhile
        self.stale: bool = False  #: it was found dead when it was to be used again
        self.exhausted: bool = False  #: the server's limits let nobody more on it
        self.transactions: int = 0  #: how many it has carried
        self.domains: set[str] = set()  #: of the recipients named so far, where their number is limited
        self.broken: bool = False  #: out of step, or out of reach: to be closed without a word
        self.submitted: int = 0  #: octets submitted so far
        self.requested: int = 0  #: octets whose sending was requested so far, whether or not it succeeded
        self.ends: float | None = ends  #: no deadline is later, on the adapter's clock
        self.listen_early: Listener | None = None  #: hears a refusal of the message while it is being sent
        self._clock = clock
        self._timeouts = timeouts
        self._limits = limits
        self._most_messages = most_messages
        self._trace = trace
        self._window = limits.unix_window if endpoint.is_unix else limits.window
        self._out: list[bytes] = []
        self._since = 0.0
        self._greeting: list[Answered] = []
        self._listeners: deque[Listener] = deque([self._greeting.append])

    # Time.

    def deadline(self, timeout: float) -> float:
        """Return the deadline of something that begins now and may take ``timeout`` seconds."""
        deadline = self._clock() + timeout
        return deadline if self.ends is None else min(deadline, self.ends)

    def _reply_deadline(self, timeout: float | None) -> float:
        # Each reply anew, from the later of the last octet sent and the last complete reply:
        # a server that drips a reply octet by octet gains nothing.
        if timeout is None:
            due = self.conn.due
            final = isinstance(due, EndOfContent) or (isinstance(due, Bdat) and due.last)
            timeout = self._timeouts.submission if final else self._timeouts.command
        deadline = self._since + timeout
        return deadline if self.ends is None else min(deadline, self.ends)

    def reuse(self, ends: float | None) -> None:
        """Begin another delivery, all of which ends at ``ends``, on a connection that was idle."""
        self.reused = True
        self.idle_since = None
        self.ends = ends

    @property
    def overdue(self) -> bool:
        """Whether the deadline over everything has passed."""
        return self.ends is not None and self._clock() >= self.ends

    # What is known.

    def offers(self, keyword: str) -> bool:
        """Return whether the server offers an extension."""
        return keyword in self.conn.capabilities

    @property
    def pipelines(self) -> bool:
        """Whether commands may leave in groups (RFC 2920)."""
        return self.pipelining and self.conn.pipelining

    @property
    def chunks(self) -> bool:
        """Whether the message may be sent by BDAT (RFC 3030)."""
        return self.chunking and self.conn.chunking

    @property
    def may_send_chunk(self) -> bool:
        """Whether another BDAT may leave now."""
        conn = self.conn
        most = self._limits.chunks if self.pipelines else 1
        return conn.outstanding < most and conn.outstanding_octets < _MOST_IN_CHUNKS

    def fits_window(self, octets: int) -> bool:
        """Return whether so much content can ever follow unanswered commands."""
        return octets + _RESERVE <= self._window

    @property
    def patience(self) -> float:
        """Seconds that we wait for any answer but the final one."""
        return self._timeouts.command

    @property
    def usable(self) -> bool:
        """Whether the connection is in step, with nothing under way: it may carry another message."""
        return not (self.broken or self._out) and self.conn.at_rest

    @property
    def takes_more(self) -> bool:
        """Whether another message could be begun now, although others are not answered yet."""
        return not (self.broken or self.conn.closed) and self.pipelines

    @property
    def spent(self) -> bool:
        """Whether it has carried as many messages as we give to one connection, or the server takes."""
        if self.exhausted or (self._most_messages is not None and self.transactions >= self._most_messages):
            return True
        if not self.conn.limited:
            return False
        most = self.conn.capabilities.limit("MAILMAX")
        return most is not None and self.transactions >= most

    @property
    def busy(self) -> bool:
        """Whether anything waits to be sent or answered."""
        return bool(self.conn.outstanding or self._out)

    def has_room(self, octets: int = _RESERVE) -> bool:
        """Return whether ``octets`` more may leave without waiting for an answer (RFC 2920 §3.1)."""
        conn = self.conn
        if not conn.outstanding:
            return True
        return self.pipelining and conn.outstanding_octets + octets <= self._window and conn.may_pipeline

    @property
    def room(self) -> int:
        """How many octets of commands may leave without waiting for an answer."""
        return self._window - self.conn.outstanding_octets if self.pipelines else 0

    # Speaking and hearing.

    def submit(self, command: Command, listener: Listener | None = None) -> None:
        """Put ``command`` into the next flight; ``listener`` hears its answer."""
        conn = self.conn
        wire = conn.send(command)
        self._out.append(wire)
        self.submitted += len(wire)
        if listener is not None and conn.outstanding > len(self._listeners):
            self._listeners.append(listener)
        if self._trace is not None:  # or the lines would be made for nobody
            self._show_sent(command)

    def make_room(self, octets: int = _RESERVE) -> Steps[None]:
        """Wait until ``octets`` more may leave."""
        if self.has_room(octets):
            return
        # Half a window at least is refilled at once, not a command for each answer that trickles in.
        enough = max(octets, self._window // 2)
        while not self.has_room(enough):
            yield from self.flush()
            yield from self.hear()

    def flush(self, timeout: float | None = None, *, heed: bool = False) -> Steps[None]:
        """Send all that was submitted; with ``heed`` only as long as the server keeps silent.

        Raises:
            TransportError: it could not be sent. What the server had said by then
                has been heard.
            Closing: the server said 421 before that.
        """
        if not self._out:
            return
        cap, deadline = self.ends, self._clock()
        if cap is not None and deadline >= cap:
            # What is not sent yet is certain not to be delivered.
            yield from self._hear_last_words()
            raise DeadlinePassed("the deadline passed")
        deadline += timeout or self._timeouts.command
        data = b"".join(self._out)
        self._out.clear()
        self.requested = self.submitted
        try:
            yield from Send(data, deadline if cap is None else min(deadline, cap), heed)
        except SendInterrupted:
            self._since = self._clock()
            yield from self.hear()  # sending is over, and this says why
            raise
        except TransportError:
            yield from self._hear_last_words()
            raise
        self._since = self._clock()

    def hear(self, timeout: float | None = None) -> Steps[None]:
        """Wait until something more has been heard.

        Raises:
            TransportError: the connection ended, or the time-out passed.
            RemoteProtocolError: the server is not to be believed any more.
            Closing: the server said 421.
        """
        conn = self.conn
        heard = not conn.silent and self._dispatch()
        while not heard:
            data = yield from Receive(self._reply_deadline(timeout))
            conn.receive_data(data)
            heard = self._dispatch()

    def glance(self) -> Steps[bool]:
        """Hear what has arrived already, without waiting; return whether anything has; raises as ``hear``."""
        data = yield from _POLL
        if data is None:
            return False
        self.conn.receive_data(data)
        self._dispatch()
        return True

    def ask(self, command: Command, timeout: float | None = None) -> Steps[Answered]:
        """Send ``command`` alone and return its answer; raises as ``hear`` does."""
        answers: list[Answered] = []
        self.submit(command, answers.append)
        yield from self.flush(timeout)
        while not answers:
            yield from self.hear(timeout)
        return answers[0]

    def greeting(self) -> Steps[Reply]:
        """Return the greeting; raises as ``hear`` does."""
        self._since = self._clock()
        while not self._greeting:
            yield from self.hear()
        return self._greeting[0].reply

    def _hear_last_words(self) -> Steps[None]:
        # The server may have said why before it broke the connection.
        try:
            yield from self.glance()
        except (TransportError, RemoteProtocolError):
            return

    def _dispatch(self) -> bool:
        """Tell the listeners all that has happened, and return whether anything has."""
        conn, listeners = self.conn, self._listeners
        next_event = self._next_masked_event if self.secrets else conn.next_event
        heard = self.heard
        while (event := next_event()) is not NEED_DATA:
            if not isinstance(event, Answered):
                raise self._ended_by(event)
            self.heard += 1
            if self._trace is not None:
                self._show_heard(event)
            if isinstance(event, MessageAnswered) and event.early:
                assert self.listen_early is not None
                self.listen_early(event)
                continue
            listener = listeners[0]
            if conn.outstanding < len(listeners):  # not so between LMTP's final replies
                listeners.popleft()
            listener(event)
        if self.heard == heard:
            return False
        self._since = self._clock()
        return True

    def _show_sent(self, command: Command) -> None:
        for said in command.apart() if isinstance(command, Rcpts) else (command,):
            self.trace(Sent, str(said))

    def _show_heard(self, event: Answered) -> None:
        reply = masked(event.reply, self.secrets) if self.secrets else event.reply
        for _ in range(event.count if isinstance(event, (RecipientsAnswered, RecipientsDelivered)) else 1):
            self.trace(Received, reply)

    def _ended_by(self, event: Event | NeedData) -> Exception:
        if isinstance(event, ServiceClosing):
            self.trace(Received, event.reply)
            return Closing(event)
        assert isinstance(event, ConnectionEnded)
        return TransportError("the server closed the connection")

    def _next_masked_event(self) -> Event | NeedData:
        try:
            event = self.conn.next_event()
        except RemoteProtocolError as error:
            if error.reply is None:
                raise
            raise RemoteProtocolError(str(error), masked(error.reply, self.secrets)) from None
        return masked_event(event, self.secrets)

    def failed(self, error: Exception) -> None:
        """Give the connection up."""
        self.broken = True
        self.trace(Failed.because, error)

    def trace(self, kind: Callable[[float, Phase, T], TraceEvent], detail: T) -> None:
        """Show what happens to whoever watches; where that fails, once, what was heard may be lost."""
        if self._trace is None:
            return
        watcher, self._trace = self._trace, None
        try:
            watcher(kind(self._clock(), self.phase, detail))
        except BaseException:
            self.broken = True
            raise
        self._trace = watcher
