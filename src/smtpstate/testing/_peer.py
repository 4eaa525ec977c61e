"""One connection of a model server: octets in, actions out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Literal, final

from smtpstate._commands import Protocol
from smtpstate.testing._actions import Action, Close, StartTls
from smtpstate.testing._content import LineEnds, Undotter
from smtpstate.testing._rules import Counter, Rule
from smtpstate.testing._session import Session, Verdict, Wire, reply
from smtpstate.testing._settings import ModelTls, Settings
from smtpstate.testing._stored import Parameters, StoredMessage
from smtpstate.testing._voice import Voice

# RFC 2920 §3.1: all other commands can only be the last of a group.  RFC 3030 §4.2 allows BDAT.
_MAY_BE_FOLLOWED = frozenset({"MAIL", "RCPT", "RSET", "BDAT", "message", "XFORWARD"})

_BDAT = re.compile(r"([0-9]{1,20})( LAST)?", re.IGNORECASE)


@final
class Peer:
    """The server's side of one connection. It does no I/O: a driver carries out its actions.

    Attributes:
        number: which of the server's connections this is, counted from 1.
        commands: the command lines as received, in order, without their ends;
            of the octets of messages none.
        session: what the server knows of the client.
    """

    def __init__(
        self,
        settings: Settings,
        counter: Counter,
        messages: list[StoredMessage],
        violations: list[str],
        number: int,
        connecting: Rule | None,
    ) -> None:
        self.number = number
        self.commands: list[str] = []
        wire = Wire(quit=self._quit, start_tls=self._shake_hands, take_data=self._take_data)
        self.session: Session = Session(settings, number, self._complain, wire)
        self._settings = settings
        self._messages = messages
        self._violations = violations
        self._connecting = connecting
        self._voice = Voice(counter, number, settings.cut)
        self._buffer = bytearray()
        self._searched = 0
        self._mode: Literal["lines", "content", "chunk", "tls"] = "lines"
        self._overlong = False  # within a line beyond the limit
        self._last = "greeting"  # what was answered last
        self._undotter = Undotter(self._complain)
        self._line_ends = LineEnds(self._complain)
        self._chunk = (0, 0, False)  # of the BDAT under way: its size, the octets still to come, LAST

    @property
    def closed(self) -> bool:
        """Whether the server has ended the connection, or the client has left."""
        return self._voice.ended

    @property
    def tls_model(self) -> ModelTls:
        """What a handshake in memory leads to."""
        return self._settings.tls

    def greet(self) -> list[Action]:
        """Begin: the first thing that a driver calls."""
        self._voice.run(self._connecting.effects if self._connecting else (), None)
        self._voice.say(b"")  # for a cut after no octet at all
        if self._settings.implicit_tls:
            self._shake_hands()
        else:
            self._greet()
        return self._voice.taken()

    def tls_started(self, bindings: Mapping[str, bytes] | None = None) -> list[Action]:
        """Go on inside TLS, now that the handshake is done; all said before is forgotten (RFC 3207 §4.2).

        Args:
            bindings: the channel bindings that the connection really has, by type;
                by default those of the server's ``ModelTls``.
        """
        self._mode = "lines"
        self.session.bindings = self._settings.tls.bindings if bindings is None else bindings
        self._last = ""
        self.session.tls = True
        self.session.forget()
        if not self.session.greeted:
            self._greet()
        return self._voice.taken()

    def receive(self, data: bytes, *, unread: bool = False) -> list[Action]:
        """Take octets from the client and return all that follows from them.

        Args:
            data: the octets.
            unread: the client had not yet read all that was said to it, where
                the driver knows that.
        """
        self.feed(data, unread=unread)
        actions: list[Action] = []
        while (step := self.step()) is not None:
            actions += step
        return actions

    def feed(self, data: bytes, *, unread: bool = False) -> None:
        """Take octets from the client; ``step`` works through them. See ``receive``."""
        if self._voice.deaf or self._voice.ended:
            return
        if self._mode == "tls":
            self._complain("octets came in clear where a TLS handshake was due")
            self._voice.end(Close())
            return
        if unread and not self._buffer:
            self._check_group()
        self._buffer += data

    def step(self) -> list[Action] | None:
        """Work through one command, or what has come of a message; None if more octets are needed."""
        if self._mode == "tls" or self._voice.deaf or self._voice.ended:
            going = False
        elif self._mode == "lines":
            going = self._step_line()
        elif self._mode == "content":
            going = self._step_content()
        else:
            going = self._step_chunk()
        actions = self._voice.taken()
        return actions if going or actions else None

    def disconnected(self) -> None:
        """Learn that the client has left; what it had not finished is forgotten."""
        self._voice.ended = True
        self.session.transaction = None

    # The beginning and the end

    def _greet(self) -> None:
        def greeted() -> None:
            self.session.greeted = True

        text = f"{self._settings.name} {self._settings.protocol.name} ready"
        self._answered("greeting", self._voice.perform("greeting", (), Verdict(reply(220, text), greeted)))

    def _shake_hands(self) -> None:
        def ready() -> None:
            self._mode = "tls"
            self._voice.act(StartTls())

        self._voice.perform("tls", (), Verdict(reply(220), ready, unsaid=True))
        if self._mode != "tls":
            self._voice.deaf = True  # a handshake that does not come about leaves nothing to be understood

    def _quit(self) -> None:
        if not self._voice.deaf:  # by a cut within the reply to QUIT
            self._voice.end(Close())

    def _complain(self, sentence: str) -> None:
        self._violations.append(f"connection {self.number}: {sentence}")

    # Commands

    def _step_line(self) -> bool:
        end = self._buffer.find(b"\n", self._searched)
        limit = self._settings.line_limit
        if end < 0:
            self._searched = len(self._buffer)
            if self._searched > limit:
                self._overlong = True
                self._buffer.clear()
                self._searched = 0
            return False
        line = bytes(self._buffer[: end + 1])
        del self._buffer[: end + 1]
        self._searched = 0
        if self._overlong or len(line) > limit:
            self._overlong = False
            self._complain(f"a command line is longer than {limit} octets")
            self._answered("", self._voice.perform("*", (), Verdict(reply(500, "5.5.2 line too long"))))
            return True
        text = line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8", "surrogateescape")
        if not line.endswith(b"\r\n"):
            self._complain(f"a command ends in a bare LF: {text!r}")
        if "\r" in text:
            self._complain(f"a command holds a bare CR: {text!r}")
        self.commands.append(text)
        if self.session.exchange is not None:
            verdict = self.session.response(text)
            self._answered("response", self._voice.perform("response", (text,), verdict))
        else:
            self._command(text)
        return True

    def _command(self, text: str) -> None:
        name, _, argument = text.partition(" ")
        verb = name.upper()
        if verb == "BDAT":
            self._bdat(argument)
            return
        arguments = [argument]
        if verb in ("MAIL", "RCPT"):
            arguments.append(address_in(argument))
        elif verb == "AUTH":
            arguments.append(argument.partition(" ")[0])
        self._answered(verb, self._voice.perform(verb, arguments, self.session.answer(verb, argument)))

    def _answered(self, what: str, by_rule: bool) -> None:
        """Note that ``what`` has had its answer; whatever has come by now came too early."""
        self._last = what
        if self._buffer and not self._voice.deaf:
            self._check_group()
        if by_rule:  # What a rule says may be no answer at all, or not be read as one.
            self._last = ""
        if self._mode == "tls":
            self._buffer.clear()

    def _check_group(self) -> None:
        what, self._last = self._last, ""
        if what and what not in _MAY_BE_FOLLOWED:
            self._complain(f"octets came before {what} was answered, and nothing may follow it in a group")
        elif what and "PIPELINING" not in self.session.offered:
            self._complain(f"octets came before {what} was answered, though PIPELINING is not offered")

    # The message

    def _take_data(self) -> None:
        self._mode = "content"
        self._undotter = Undotter(self._complain)

    def _step_content(self) -> bool:
        if not self._buffer:
            return False
        data = bytes(self._buffer)
        self._buffer.clear()
        self._last = ""
        part, rest = self._undotter.feed(data)
        self._content_came(part)
        if rest is not None and not (self._voice.deaf or self._voice.ended):
            self._buffer += rest
            self._mode = "lines"
            self._answered("message", self._finish("DATA"))
        return True

    def _content_came(self, part: bytes) -> None:
        transaction = self.session.transaction
        if transaction is None:
            return
        transaction.size += len(part)
        transaction.high = transaction.high or not part.isascii()
        if self._settings.keep_content:
            transaction.content.append(part)
        if self._voice.obey_content_rules(transaction.size, transaction.fired):
            transaction.settled = True

    def _bdat(self, argument: str) -> None:
        found = _BDAT.fullmatch(argument)
        if found is None:
            self._complain(f"501 not a BDAT: {argument!r}")
            verdict = Verdict(reply(501, "5.5.4 BDAT size [LAST]"))
            self._answered("BDAT", self._voice.perform("BDAT", (argument,), verdict))
            return
        if "CHUNKING" not in self.session.offered:
            self._complain("BDAT came though CHUNKING is not offered")
        size = int(found[1])
        self._chunk = (size, size, found[2] is not None)
        self._mode = "chunk"
        transaction = self.session.transaction
        if transaction is not None and not transaction.chunked:
            transaction.chunked = True
            self._line_ends = LineEnds(self._complain)

    def _step_chunk(self) -> bool:
        size, left, last = self._chunk
        if left and not self._buffer:
            return False
        part = bytes(self._buffer[:left])
        del self._buffer[:left]
        self._last = ""
        left -= len(part)
        self._chunk = (size, left, last)
        transaction = self.session.transaction
        if transaction is not None and transaction.parameters.get("BODY") != "BINARYMIME":
            self._line_ends.check(part)
        self._content_came(part)
        if not left and not (self._voice.deaf or self._voice.ended):
            self._mode = "lines"
            self._answered("BDAT", self._end_chunk(size, last))
        return True

    def _end_chunk(self, size: int, last: bool) -> bool:
        """Answer a chunk that is complete; return whether a rule did."""
        transaction = self.session.transaction
        verdict = self.session.chunk_answer(size)
        refused = verdict.reply.digit != 2
        arguments = (str(size), f"{size} LAST", "LAST") if last else (str(size),)
        if transaction is not None and transaction.settled and not last:
            transaction.settled, transaction.failed = False, True  # the reply that it had was this chunk's
            return True
        if last and not refused:
            self._line_ends.end()
            by_rule = self._voice.obey_rule("BDAT", arguments, verdict) or self._finish("BDAT")
        else:
            by_rule = self._voice.perform("BDAT", arguments, verdict)
            if transaction is not None:
                transaction.failed = transaction.failed or refused
        if last:
            self.session.transaction = None
        return by_rule

    def _finish(self, by: Literal["DATA", "BDAT"]) -> bool:
        """Give the final reply, or with LMTP one for each recipient (RFC 2033 §4.2); return whether a rule did."""
        session, transaction = self.session, self.session.transaction
        session.transaction = None
        lmtp = self._settings.protocol is Protocol.LMTP
        if transaction is None or not transaction.recipients:
            # Content without a recipient comes only after a 354 that a rule gave.
            return lmtp or self._voice.perform(
                "message", (), Verdict(reply(554, "5.5.1 no valid recipients"))
            )
        if transaction.settled:
            return True
        self._check_eight_bit(transaction.high, transaction.parameters)
        accepted: list[tuple[str, Parameters]] = []
        by_rule = False
        for group in [[each] for each in transaction.recipients] if lmtp else [transaction.recipients]:
            verdict = session.message_answer(transaction, partial(accepted.extend, group))
            by_rule |= self._voice.perform("message", [address for address, _ in group], verdict)
        if accepted:
            self._messages.append(session.stored(transaction, by, accepted))
        return by_rule

    def _check_eight_bit(self, high: bool, parameters: Parameters) -> None:
        if high and "SMTPUTF8" not in parameters and parameters.get("BODY") not in ("8BITMIME", "BINARYMIME"):
            self._complain("the message holds octets above 127, which MAIL did not announce")


def address_in(argument: str) -> str:
    """Return the address in an argument of MAIL or RCPT, as far as there is one."""
    return argument.partition("<")[2].rpartition(">")[0]
