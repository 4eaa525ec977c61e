"""One connection as a client sees it: commands become octets, octets become events."""

from __future__ import annotations

from collections import deque
from typing import TypeAlias, final

from smtpstate._about_client import Xclient
from smtpstate._answers import COMMON, EVENTS, POSITIVE, check_answer
from smtpstate._capabilities import Capabilities
from smtpstate._commands import (
    AuthAbort,
    AuthBegin,
    AuthResponse,
    Bdat,
    Command,
    Content,
    Ehlo,
    EndOfContent,
    Helo,
    LastBdat,
    Lhlo,
    Opening,
    Protocol,
    Rcpt,
    StartTls,
    TlsStarted,
    rcpt_of,
)
from smtpstate._content import DataEncoder
from smtpstate._errors import LocalProtocolError, RemoteProtocolError
from smtpstate._events import (
    NEED_DATA,
    ConnectionEnded,
    Event,
    HelloAnswered,
    MessageAnswered,
    NeedData,
    RecipientDelivered,
    ServiceClosing,
)
from smtpstate._limits import Limits
from smtpstate._machine import Machine, Row, State
from smtpstate._replies import Reply
from smtpstate._reply_parser import ReplyParser
from smtpstate._runs import Rcpts, RecipientsAnswered, RecipientsDelivered

_HELLOS = frozenset({Ehlo, Helo, Lhlo})
_FINAL = frozenset({EndOfContent, LastBdat})
_ENCODED = frozenset({Content, EndOfContent})
_NEVER_SENT = frozenset({Opening, TlsStarted})
_OF_OTHER_KIND = frozenset({Bdat, Rcpts})  # as the command itself knows
# Named once: a member of an enumeration is slow to come by, and these are asked for all the time.
_CLOSED = State.CLOSED
_IN_TRANSACTION = (State.MAIL, State.RCPT, State.CHUNKS, State.SPOILED)

# What a reply of one kind of command needs beyond its place in the table.
_WATCHED = _HELLOS | {StartTls, AuthBegin, AuthResponse, AuthAbort, Xclient}


# A command that awaits its reply, its column and row of the table, its octets in the window
# (RFC 2920 §3.1), and how many had been received when it was sent.
_Sent: TypeAlias = tuple[Command, type[Command], Row, int, int]

# A recipient that LMTP owes a final reply; or a run, and which of its recipients these are.
_Accepted: TypeAlias = Rcpt | tuple[Rcpts, int, int]


@final
class Connection:
    """The client's side of one SMTP or LMTP connection, without any I/O.

    Give it what the server sends (``receive_data``), take from it what has
    happened (``next_event``, until ``NEED_DATA``), and ask it for the octets of
    each command (``send``). It says what is legal and never chooses.
    """

    __slots__ = (
        "_accepted",
        "_answered",
        "_begins",
        "_capabilities",
        "_challenges",
        "_each_answered",
        "_encoder",
        "_ended",
        "_failure",
        "_limits",
        "_machine",
        "_parser",
        "_pending",
        "chunking",
        "limited",
        "outstanding",
        "outstanding_octets",
        "pipelining",
    )

    def __init__(
        self, protocol: Protocol = Protocol.SMTP, *, limits: Limits | None = None, encrypted: bool = False
    ) -> None:
        self._each_answered = protocol is Protocol.LMTP  # each accepted recipient has a final reply
        self._limits = limits or Limits()
        self._machine = Machine(protocol, encrypted=encrypted)
        self._parser = ReplyParser(self._limits)
        self._pending: deque[_Sent] = deque()
        self._accepted: deque[_Accepted] = deque()  # in LMTP, of the transaction whose replies are under way
        self._encoder = DataEncoder()
        self._answered = 0  # recipients of the run that is answered next
        self._begins = 0  # how many of them came before the reply that is next
        self._challenges = 0  # of the SASL exchange under way
        self._ended = False  # the stream has
        self._failure: RemoteProtocolError | None = None
        self._capabilities = Capabilities()
        self.pipelining: bool = False  #: the server offers PIPELINING (RFC 2920)
        self.chunking: bool = False  #: it offers CHUNKING (RFC 3030)
        self.limited: bool = False  #: it tells its limits (RFC 9422)
        self.outstanding: int = 0  #: how many commands await a reply; the greeting counts as one
        self.outstanding_octets: int = 0  #: of commands that are not yet answered
        self._pend(Opening(), Opening, self._machine.send(Opening), 0)

    # What is known.

    @property
    def state(self) -> State:
        """Where the connection stands, by the replies that have come."""
        return self._machine.state

    @property
    def ahead(self) -> State:
        """Where it will stand if everything that is outstanding succeeds."""
        return self._machine.ahead

    @property
    def capabilities(self) -> Capabilities:
        """What the server offers, since its last answer to EHLO or LHLO; may be set to less."""
        return self._capabilities

    @capabilities.setter
    def capabilities(self, capabilities: Capabilities) -> None:
        self._capabilities = capabilities
        self.pipelining = "PIPELINING" in capabilities
        self.chunking = "CHUNKING" in capabilities
        self.limited = "LIMITS" in capabilities

    @property
    def accepts_content(self) -> bool:
        """Whether the server takes all that comes for the message, until its end."""
        return self._machine.state is State.DATA and not self._pending

    @property
    def due(self) -> Command | None:
        """The command whose reply comes next."""
        return self._pending[0][0] if self._pending else None

    @property
    def may_pipeline(self) -> bool:
        """Whether a command may follow those that are not answered yet."""
        return not self._pending or (self.pipelining and self._pending[-1][1].pipelines)

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction will stand open that a new one must first abandon (RSET)."""
        return self._machine.ahead in _IN_TRANSACTION

    @property
    def closed(self) -> bool:
        """Whether nothing more can be sent."""
        return self._machine.state is State.CLOSED

    @property
    def holds_octets(self) -> bool:
        """Whether octets have come that no event has told of yet."""
        return self._parser.holds_octets

    @property
    def silent(self) -> bool:
        """Whether nothing has come since ``next_event`` last had nothing to tell."""
        return self._parser.idle and not self._ended and self._failure is None

    @property
    def at_rest(self) -> bool:
        """Whether it is open, and nothing is under way in either direction."""
        return not (self._pending or self._parser.holds_octets or self._machine.state is _CLOSED)

    # What is sent.

    def send(self, command: Command) -> bytes:
        """Return the octets of ``command``, and remember that it awaits its reply.

        Raises:
            LocalProtocolError: the command is illegal here, must wait for a
                reply, or needs something that the server does not offer. Nothing
                has changed then.
        """
        kind = type(command)
        if kind in _OF_OTHER_KIND:
            kind = command.kind
        elif kind in _NEVER_SENT:
            raise LocalProtocolError(f"{command.verb} is nothing that can be sent")
        pending = self._pending
        if pending and not (self.pipelining and pending[-1][1].pipelines):
            raise self._too_early(command)
        if kind in _ENCODED:
            return self._encode(command, self._machine.send(kind))
        if command.needs:
            self._machine.row_for(kind)
            for keyword in command.needs:
                if keyword not in self._capabilities:
                    raise LocalProtocolError(f"cannot send {command}: the server does not offer {keyword}")
        wire = bytes(command)
        octets = len(wire)
        pending.append((command, kind, self._machine.send(kind), octets, self._parser.received))
        self.outstanding += 1
        self.outstanding_octets += octets
        return wire

    def tls_started(self) -> None:
        """Begin anew after the handshake; all that was learned before is forgotten (RFC 3207 §4.2).

        Raises:
            LocalProtocolError: no handshake was due.
            RemoteProtocolError: octets came before the handshake.
        """
        if self._pending:
            raise LocalProtocolError(f"cannot begin TLS before {self._pending[-1][1].verb} is answered")
        row = self._machine.send(TlsStarted)
        if self._parser.holds_octets:
            raise self._failed(_injected())
        self._machine.answered(TlsStarted, row, 2, 0)
        self.capabilities = Capabilities()

    def _too_early(self, command: Command) -> LocalProtocolError:
        last = self._pending[-1][1]
        refusal = f"cannot send {command.verb} before {last.verb} is answered"
        if not last.pipelines:
            return LocalProtocolError(refusal)
        return LocalProtocolError(f"{refusal}: the server does not offer PIPELINING")

    def _encode(self, command: Command, row: Row) -> bytes:
        """Write the message, or its end, as DATA wants it."""
        if isinstance(command, Content):
            return self._encoder.encode(command.chunk)
        wire = self._encoder.finish()
        if self._each_answered and not self._accepted:
            # RFC 2033 §4.2: one reply for each accepted recipient, and there is none
            self._machine.answered(EndOfContent, row, 2, 0)
        else:
            self._pend(command, EndOfContent, row, 3)
        return wire

    def _pend(self, command: Command, kind: type[Command], row: Row, octets: int) -> None:
        self._pending.append((command, kind, row, octets, self._parser.received))
        self.outstanding += 1
        self.outstanding_octets += octets

    # What is received.

    def receive_data(self, data: bytes) -> None:
        """Take in what the server sent; ``b""`` means that the stream has ended.

        An empty read is how every socket reports the end of its stream, so it
        can be passed on as it is.

        Raises:
            LocalProtocolError: much was given before that ``next_event`` has not told of.
        """
        if not data:
            self._ended = True
        elif self._machine.state is not _CLOSED:
            self._parser.feed(data)

    def next_event(self) -> Event | NeedData:
        """Return the next thing that has fully happened, matched to its command.

        A reply is matched by counting, never by its code or text (RFC 2920 §3.1).
        After ``ServiceClosing`` or an early ``MessageAnswered`` nothing more is heard.

        Raises:
            RemoteProtocolError: the octets are no reply, exceed the limits, or
                are a reply that the command cannot have or that nobody had asked for.
                It is raised again by every further call.
        """
        parser = self._parser
        if parser.idle or self._machine.state is _CLOSED:
            if self._failure is not None:
                raise RemoteProtocolError(str(self._failure), self._failure.reply)
            return self._end_of_stream() if self._ended else NEED_DATA
        try:
            reply = parser.next()
            if reply is None:
                return self._end_of_stream() if self._ended else NEED_DATA
            began, self._begins = self._begins, parser.taken
            code, pending = reply.code, self._pending
            if code == 421:
                return self._closing(reply)
            if not pending:
                return self._unasked(reply)
            command, kind, row, octets, received = pending[0]
            if began < received:
                return self._unasked(reply)
            digit = code // 100
            if digit == 3 or (digit == 2 and kind in POSITIVE):
                check_answer(kind, reply)
            if self._accepted and kind in _FINAL:
                return self._delivered(command, reply)
            if type(command) is Rcpts:
                return self._run_answered(command, row, reply)
            pending.popleft()
            self.outstanding -= 1
            self.outstanding_octets -= octets
            self._machine.answered(kind, row, digit, self.outstanding)
            if kind in _WATCHED:
                if kind in _HELLOS:
                    return self._introduced(command, reply)
                self._watch(kind, reply)
            elif self._each_answered:
                # LMTP has a final reply for each of them; SMTP has one for all (RFC 2033 §4.2)
                if isinstance(command, Rcpt):
                    if digit == 2:
                        self._accepted.append(command)
                elif self._accepted and self._machine.state in (State.READY, State.MAIL):
                    self._accepted.clear()
            return EVENTS.get(kind, COMMON)[digit](reply, command)
        except RemoteProtocolError as failure:
            self._failed(failure)
            raise

    def _failed(self, failure: RemoteProtocolError) -> RemoteProtocolError:
        self._failure = failure
        self._machine.close()
        return failure

    def _end_of_stream(self) -> Event | NeedData:
        unanswered = self._unanswered()
        self._ended = False  # said once
        self._over()
        return ConnectionEnded(unanswered)

    def _over(self) -> None:
        self._machine.close()
        self._pending.clear()
        self._accepted.clear()
        self._answered = 0
        self.outstanding = self.outstanding_octets = 0

    def _watch(self, kind: type[Command], reply: Reply) -> None:
        """Follow what else a reply changes."""
        if kind is Xclient:
            if reply.digit == 2:
                self.capabilities = Capabilities()
        elif kind is StartTls:
            if reply.digit == 2 and self._parser.holds_octets:
                raise _injected()
        else:
            self._count_challenges(kind, reply)

    def _pop(self, reply: Reply) -> None:
        """Take the oldest command as answered."""
        _, kind, row, octets, _ = self._pending.popleft()
        self.outstanding -= 1
        self.outstanding_octets -= octets
        self._machine.answered(kind, row, reply.digit, self.outstanding)

    def _introduced(self, command: Command, reply: Reply) -> Event:
        if reply.digit != 2:
            return HelloAnswered(reply, command, Capabilities())
        self._accepted.clear()
        offered = Capabilities() if isinstance(command, Helo) else Capabilities.of(reply)
        self.capabilities = offered
        return HelloAnswered(reply, command, offered)

    def _run_answered(self, run: Rcpts, row: Row, reply: Reply) -> Event:
        """Answer the next recipients of a run: as many as the server has said the same of."""
        start, named = self._answered, len(run.recipients)
        count = 1 + self._parser.skip_same(reply, named - start - 1)
        stop = start + count
        self._begins = self._parser.taken
        self.outstanding_octets -= run.octets(slice(start, stop))
        self._answered = stop
        if stop == named:
            self._answered = 0
            self._pending.popleft()
            self.outstanding -= 1
        self._machine.answered(Rcpt, row, reply.code // 100, self.outstanding)
        if self._each_answered and reply.code // 100 == 2:
            self._accepted.append((run, start, stop))
        return RecipientsAnswered(reply, run, count)

    def _delivered(self, command: Command, reply: Reply) -> Event:
        accepted = self._accepted.popleft()
        event: Event
        if isinstance(accepted, Rcpt):
            event = RecipientDelivered(reply, command, accepted)
        else:
            run, start, stop = accepted
            count = 1 + self._parser.skip_same(reply, stop - start - 1)
            self._begins = self._parser.taken
            if start + count < stop:
                self._accepted.appendleft((run, start + count, stop))
            event = RecipientsDelivered(reply, command, count)
        if not self._accepted:
            self._pop(reply)
        return event

    def _unanswered(self) -> tuple[Command, ...]:
        """Return the commands that await a reply, a run as what it is made of."""
        unanswered: list[Command] = []
        answered = self._answered  # of the first, if it is a run
        for command, *_ in self._pending:
            if isinstance(command, Rcpts):
                unanswered += command.apart(answered)
            else:
                unanswered.append(command)
            answered = 0
        return tuple(unanswered)

    def _closing(self, reply: Reply) -> Event:
        # RFC 5321 §3.8: 421 may be the answer to any command, and may come unasked
        unanswered = self._unanswered()
        recipient = None
        if self._accepted and self._pending and self._pending[0][1] in _FINAL:
            accepted = self._accepted[0]
            recipient = (
                accepted if isinstance(accepted, Rcpt) else rcpt_of(accepted[0].recipients[accepted[1]])
            )
        self._over()
        return ServiceClosing(reply, unanswered, recipient)

    def _count_challenges(self, kind: type[Command], reply: Reply) -> None:
        self._challenges = (0 if kind is AuthBegin else self._challenges) + (reply.digit == 3)
        if self._challenges > self._limits.challenges:
            raise RemoteProtocolError(f"AUTH has more than {self._limits.challenges} challenges", reply)

    def _unasked(self, reply: Reply) -> Event:
        if self._machine.state is not State.DATA or reply.digit not in (4, 5):
            raise RemoteProtocolError("a reply came that nobody had asked for", reply)
        # The server refuses the message while it is being sent.
        if not self._pending:
            self._over()
            return MessageAnswered(reply, EndOfContent(), early=True)
        # Its end left meanwhile, and nobody knows whether that will be answered too.
        self._pop(reply)
        self._failed(RemoteProtocolError("the message was refused before its end"))
        return MessageAnswered(reply, EndOfContent())


def _injected() -> RemoteProtocolError:
    # RFC 3207 §6: what came in clear must not pass for something said inside TLS
    return RemoteProtocolError("octets followed the answer to STARTTLS in clear")
