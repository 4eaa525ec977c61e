"""What each command means to a correct server: its answer, and what happens if that stands."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, final

from smtpstate._addresses import domain_of
from smtpstate._commands import Protocol
from smtpstate._replies import Reply
from smtpstate.testing._sasl import Exchange
from smtpstate.testing._settings import Settings
from smtpstate.testing._stored import Parameters, StoredMessage
from smtpstate.testing._syntax import SyntaxProblem, is_hello_name, read_path


@final
@dataclass(frozen=True, slots=True)
class Verdict:
    """The usual answer to a command, and what is done if its reply, or a rule's, begins with ``success``."""

    reply: Reply
    then: Callable[[], None] | None = None
    success: int = 2
    unsaid: bool = False  #: the reply only stands for going ahead


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """What some commands do to the connection."""

    quit: Callable[[], None]  #: close it
    start_tls: Callable[[], None]  #: begin a TLS handshake
    take_data: Callable[[], None]  #: take all that follows as the message


@final
@dataclass(slots=True)
class Transaction:
    """A message under way."""

    sender: str
    parameters: Parameters
    recipients: list[tuple[str, Parameters]] = field(default_factory=list[tuple[str, Parameters]])
    named: int = 0  #: how many RCPT there were, refused ones too
    content: list[bytes] = field(default_factory=list[bytes])
    size: int = 0  #: octets of the content so far
    high: bool = False  #: the content has octets above 127
    chunked: bool = False  #: BDAT has been used
    settled: bool = False  #: a reply before the end was the final one
    failed: bool = False  #: a chunk was refused
    fired: set[int] = field(default_factory=set[int])  #: the content rules that have acted


def reply(code: int, *lines: str) -> Reply:
    """Return a reply with these lines of text."""
    return Reply(code, tuple(line.encode("utf-8", "surrogateescape") for line in lines))


def _words(line: str) -> list[str]:
    # "AUTH=PLAIN" is an old way to write "AUTH PLAIN", which clients are to understand.
    return re.sub("^AUTH=", "AUTH ", line).split()


class Session:
    """One session from the greeting to QUIT, in commands and answers; it knows no octets.

    ``complain`` is told what the client did that no client may do.
    """

    def __init__(self, settings: Settings, number: int, complain: Callable[[str], None], wire: Wire) -> None:
        self.settings = settings
        self.tls = False  #: inside TLS
        self.bindings: Mapping[str, bytes] = {}  #: channel bindings of TLS, by type (RFC 5929 §3)
        self.greeted = False  #: the greeting was 220
        self.hello: str | None = None  #: how the client introduced itself
        self.extended: bool = False  #: with EHLO or LHLO
        self.offered: dict[str, tuple[str, ...]] = {}  #: the extensions that the client may use now
        self.identity: str | None = None  #: who has logged in
        self.attributes: dict[str, str | None] = {}  #: from XCLIENT and XFORWARD
        self.exchange: Exchange | None = None  #: the SASL exchange under way
        self.transaction: Transaction | None = None
        self.mails: int = 0  #: how many MAIL there were, refused ones too
        self.domains: set[str] = set()  #: of all recipients of the session
        self._number = number
        self._complain = complain
        self._wire = wire
        self._handlers: dict[str, Callable[[str], Verdict]] = {
            "EHLO": self._ehlo,
            "HELO": self._helo,
            "LHLO": self._lhlo,
            "STARTTLS": self._starttls,
            "AUTH": self._auth,
            "MAIL": self._mail,
            "RCPT": self._rcpt,
            "DATA": self._data,
            "RSET": self._rset,
            "NOOP": lambda argument: Verdict(reply(250, "2.0.0 ok")),
            "HELP": lambda argument: Verdict(reply(214, "2.0.0 see RFC 5321")),
            "VRFY": self._vrfy,
            "EXPN": self._vrfy,
            "QUIT": self._quit,
            "XCLIENT": self._xclient,
            "XFORWARD": self._xforward,
        }

    def forget(self) -> None:
        """Know nothing of the client any more (RFC 3207 §4.2)."""
        self.hello, self.extended, self.offered = None, False, {}
        self.identity, self.exchange, self.transaction = None, None, None

    def answer(self, verb: str, argument: str) -> Verdict:
        """Answer one command line."""
        if not self.greeted and verb != "QUIT":
            return Verdict(reply(503, "5.5.1 no service"))  # RFC 5321 §3.1
        handler = self._handlers.get(verb)
        if handler is None:
            return self._fault(500, f"5.5.1 unknown command {verb!r}")
        try:
            return handler(argument)
        except SyntaxProblem as problem:
            return self._fault(problem.code, str(problem))

    def _fault(self, code: int, text: str) -> Verdict:
        text = text[:400]  # RFC 5321 §4.5.3.1.5: what the client said may be long, a reply line not
        self._complain(f"{code} {text}")
        return Verdict(reply(code, text))

    def _no_argument(self, verb: str, argument: str) -> None:
        if argument:
            raise SyntaxProblem(501, f"5.5.4 {verb} has no argument")

    # Introduction

    def _ehlo(self, argument: str) -> Verdict:
        if self.settings.protocol is Protocol.LMTP:
            return self._fault(500, "5.5.1 LMTP has LHLO")  # RFC 2033 §4.1
        return self._introduction("EHLO", argument)

    def _lhlo(self, argument: str) -> Verdict:
        if self.settings.protocol is Protocol.SMTP:
            return self._fault(500, "5.5.1 SMTP has EHLO")
        return self._introduction("LHLO", argument)

    def _helo(self, argument: str) -> Verdict:
        if self.settings.protocol is Protocol.LMTP:
            return self._fault(500, "5.5.1 LMTP has LHLO")
        return self._introduction("HELO", argument)

    def _introduction(self, verb: str, name: str) -> Verdict:
        if not is_hello_name(name):
            raise SyntaxProblem(501, f"5.5.4 not a name for {verb}: {name!r}")
        extended = verb != "HELO"
        lines = (self.settings.tls_extensions if self.tls else self.settings.extensions) if extended else ()

        def introduced() -> None:
            self.hello, self.extended, self.transaction = name, extended, None
            self.offered = {keyword.upper(): tuple(words) for keyword, *words in map(_words, lines)}

        return Verdict(reply(250, f"{self.settings.name} greets {name}", *lines), introduced)

    # TLS and authentication

    def _starttls(self, argument: str) -> Verdict:
        self._no_argument("STARTTLS", argument)
        if self.tls:
            return self._fault(503, "5.5.1 TLS is active already")
        if "STARTTLS" not in self.offered:
            return self._fault(502, "5.5.1 STARTTLS is not offered")
        return Verdict(reply(220, "2.0.0 ready for TLS"), self._wire.start_tls)

    def _auth(self, argument: str) -> Verdict:
        if "AUTH" not in self.offered:
            return self._fault(502, "5.5.1 AUTH is not offered")
        if self.identity is not None or self.transaction is not None:
            return self._fault(503, "5.5.1 AUTH does not belong here")  # RFC 4954 §4
        name, blank, initial = argument.partition(" ")
        offered = tuple(word.upper() for word in self.offered["AUTH"])
        if name.upper() not in offered or name.upper() not in self.settings.mechanisms:
            return self._fault(504, f"5.5.4 mechanism {name!r} is not offered")
        accounts = replace(self.settings.accounts, offered=offered, bindings=self.bindings)
        exchange = self.settings.mechanisms[name.upper()](accounts)
        challenge = next(exchange)
        if not blank:
            return self._challenge(exchange, challenge)
        if challenge:  # RFC 4954 §4: no initial response where the server speaks first
            return self._fault(501, f"5.7.0 {name} takes no initial response")
        return self._respond(exchange, "" if initial == "=" else initial, empty=initial == "=")

    def response(self, line: str) -> Verdict:
        """Answer one SASL response (RFC 4954 §4)."""
        exchange, self.exchange = self.exchange, None
        if exchange is None or line == "*":
            return Verdict(reply(501, "5.7.0 cancelled"))
        return self._respond(exchange, line, empty=not line)

    def _respond(self, exchange: Exchange, line: str, *, empty: bool) -> Verdict:
        try:
            data = b64decode(line.encode("ascii", "replace"), validate=True)
        except binascii.Error:
            return self._fault(501, "5.5.2 not base64")
        if not (data or empty):
            return self._fault(501, "5.5.2 no response of no octets but =")
        try:
            return self._challenge(exchange, exchange.send(data))
        except StopIteration as stop:
            identity: str | None = stop.value
        if identity is None:
            return Verdict(reply(535, "5.7.8 credentials are not valid"))

        def authenticated() -> None:
            self.identity = identity

        return Verdict(reply(235, "2.7.0 welcome"), authenticated)

    def _challenge(self, exchange: Exchange, challenge: bytes) -> Verdict:
        def begun() -> None:
            self.exchange = exchange

        return Verdict(reply(334, b64encode(challenge).decode()), begun, success=3)

    # Transactions

    def _mail(self, argument: str) -> Verdict:
        if self.hello is None:
            return self._fault(503, "5.5.1 no introduction before MAIL")
        path = read_path("MAIL", argument, self.offered)
        if self.transaction is not None:
            return Verdict(reply(503, "5.5.1 a transaction is under way"))
        if self.settings.require_tls and not self.tls:
            return Verdict(reply(530, "5.7.0 STARTTLS comes first"))  # RFC 3207 §4
        if self.settings.require_auth and self.identity is None:
            return Verdict(reply(530, "5.7.0 authentication required"))  # RFC 4954 §6
        if "REQUIRETLS" in path.parameters and not self.tls:
            return self._fault(530, "5.7.10 REQUIRETLS outside TLS")  # RFC 8689 §2
        size = path.parameters.get("SIZE")
        if size is not None and self._exceeds(int(size)):
            return Verdict(reply(552, "5.3.4 message too big"))  # RFC 1870 §6.1
        self.mails += 1
        most = self._limit("MAILMAX")
        if most is not None and self.mails > most:
            return self._fault(452, f"4.5.3 more than {most} transactions")  # RFC 9422 §4
        self._check_ascii(path.address, "SMTPUTF8" in path.parameters)

        def begun() -> None:
            self.transaction = Transaction(path.address, path.parameters)

        return Verdict(reply(250, "2.1.0 sender ok"), begun)

    def _rcpt(self, argument: str) -> Verdict:
        path = read_path("RCPT", argument, self.offered)
        transaction = self.transaction
        if transaction is None or transaction.chunked:
            return Verdict(reply(503, "5.5.1 MAIL comes first"))
        self._check_ascii(path.address, "SMTPUTF8" in transaction.parameters)
        self._check_limits(transaction, path.address)

        def named() -> None:
            transaction.recipients.append((path.address, path.parameters))

        return Verdict(reply(250, "2.1.5 recipient ok"), named)

    def _check_ascii(self, address: str, utf8: bool) -> None:
        if not (utf8 or address.isascii()):
            raise SyntaxProblem(553, "5.6.7 the address needs SMTPUTF8")  # RFC 6531 §3.5

    def _check_limits(self, transaction: Transaction, address: str) -> None:
        # RFC 9422 §4: commands that fail count too, and domains count over the whole session.
        transaction.named += 1
        self.domains.add(domain_of(address).lower())
        most = self._limit("RCPTMAX")
        if most is not None and transaction.named > most:
            raise SyntaxProblem(452, f"4.5.3 more than {most} recipients")
        most = self._limit("RCPTDOMAINMAX")
        if most is not None and len(self.domains) > most:
            raise SyntaxProblem(452, f"4.5.3 more than {most} domains")

    def _limit(self, name: str) -> int | None:
        for word in self.offered.get("LIMITS", ()):
            key, _, value = word.partition("=")
            if key.upper() == name:
                return int(value)
        return None

    def _exceeds(self, size: int) -> bool:
        words = self.offered.get("SIZE", ())
        return bool(words) and 0 < int(words[0]) < size

    def _data(self, argument: str) -> Verdict:
        self._no_argument("DATA", argument)
        transaction = self.transaction
        if transaction is not None:
            binary = transaction.parameters.get("BODY") == "BINARYMIME"
            if transaction.chunked or binary:
                return self._fault(503, "5.5.1 BDAT is in use")  # RFC 3030 §2
        if transaction is None or not transaction.recipients:
            return Verdict(reply(503, "5.5.1 no valid recipients"), self._wire.take_data, success=3)
        return Verdict(reply(354, "end with a lone dot"), self._wire.take_data, success=3)

    def chunk_answer(self, size: int) -> Verdict:
        """Answer a chunk of ``size`` octets that is not the last (RFC 3030 §2)."""
        transaction = self.transaction
        if transaction is None or not transaction.recipients or transaction.failed:
            return Verdict(reply(503, "5.5.1 no message is under way"))
        if self._exceeds(transaction.size):
            return Verdict(reply(552, "5.3.4 message too big"))
        return Verdict(reply(250, f"2.0.0 {size} octets"))

    def message_answer(self, transaction: Transaction, then: Callable[[], None]) -> Verdict:
        """Give the final reply to a whole message, or to one recipient of it."""
        if self._exceeds(transaction.size):
            return Verdict(reply(552, "5.3.4 message too big"))
        return Verdict(reply(250, "2.0.0 message accepted"), then)

    def stored(
        self, transaction: Transaction, by: Literal["DATA", "BDAT"], accepted: list[tuple[str, Parameters]]
    ) -> StoredMessage:
        """Return the message as it is kept, for the recipients it was ``accepted`` for."""
        return StoredMessage(
            sender=transaction.sender,
            recipients=tuple(address for address, _ in accepted),
            content=b"".join(transaction.content),
            size=transaction.size,
            by=by,
            parameters=transaction.parameters,
            recipient_parameters=tuple(parameters for _, parameters in accepted),
            hello=self.hello or "",
            tls=self.tls,
            identity=self.identity,
            connection=self._number,
            attributes=dict(self.attributes),
        )

    # All others

    def _rset(self, argument: str) -> Verdict:
        self._no_argument("RSET", argument)

        def abandoned() -> None:
            self.transaction = None

        return Verdict(reply(250, "2.0.0 forgotten"), abandoned)

    def _vrfy(self, argument: str) -> Verdict:
        if not argument.strip():
            raise SyntaxProblem(501, "5.5.4 an argument is needed")
        return Verdict(reply(252, "2.5.0 cannot tell"))  # RFC 5321 §3.5.3

    def _quit(self, argument: str) -> Verdict:
        self._no_argument("QUIT", argument)
        return Verdict(reply(221, "2.0.0 goodbye"), self._wire.quit)

    def _xclient(self, argument: str) -> Verdict:
        attributes = self._attributes("XCLIENT", argument)

        def replaced() -> None:
            self.forget()
            self.attributes.update(attributes)

        return Verdict(reply(220, f"{self.settings.name} hello again"), replaced)

    def _xforward(self, argument: str) -> Verdict:
        attributes = self._attributes("XFORWARD", argument)
        return Verdict(reply(250, "2.0.0 ok"), lambda: self.attributes.update(attributes))

    def _attributes(self, verb: str, argument: str) -> dict[str, str | None]:
        if verb not in self.offered:
            raise SyntaxProblem(502, f"5.5.1 {verb} is not offered")
        if self.transaction is not None:
            raise SyntaxProblem(503, f"5.5.1 {verb} within a transaction")
        attributes: dict[str, str | None] = {}
        for word in argument.split(" "):
            name, equals, value = word.partition("=")
            if not (equals and value):
                raise SyntaxProblem(501, f"5.5.4 not an attribute: {word!r}")
            if name.upper() not in self.offered[verb]:
                raise SyntaxProblem(501, f"5.5.4 attribute {name!r} is not offered")
            attributes[name.upper()] = value
        return attributes
