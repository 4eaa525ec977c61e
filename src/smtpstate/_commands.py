"""Commands are values; ``bytes()`` of one is what goes over the wire."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar, final

from smtpstate._addresses import checked_address
from smtpstate._errors import LocalProtocolError
from smtpstate._parameters import Parameters, check_parameters, offers_needed, with_parameters
from smtpstate._slots import setter

_WORD = re.compile(r"[\x21-\x7e]+")
_SHORT = 100  # characters of an address, which cannot have more than 400 octets
# RFC 4422 §3.1: sasl-mech = 1*20mech-char
_MECHANISM = re.compile(r"[A-Z0-9_-]{1,20}")


class Protocol(Enum):
    """Which of the two protocols is spoken."""

    SMTP = "smtp"  #: RFC 5321
    LMTP = "lmtp"  #: RFC 2033


@dataclass(frozen=True, slots=True)
class Command:
    """What a client can say. Subclasses are final."""

    pipelines: ClassVar[bool] = False  #: may be followed unanswered (RFC 2920 §3.1)
    protocol: ClassVar[Protocol | None] = None  #: the only protocol that has it
    verb: ClassVar[str] = ""

    def __bytes__(self) -> bytes:
        """The octets on the wire."""
        return f"{self}\r\n".encode()

    def __str__(self) -> str:
        """The command line, without its end; secrets and content are masked."""
        return self.verb

    @property
    def kind(self) -> type[Command]:
        """The column of the transition table in which this command stands."""
        return type(self)

    @property
    def needs(self) -> tuple[str, ...]:
        """The EHLO keywords without which this command is not legal."""
        return ()

    @property
    def may_be_long(self) -> bool:
        """Whether the line may have more than the 512 octets that a server must take (RFC 5321 §4.5.3.1.4)."""
        return False


@dataclass(frozen=True, slots=True)
class _Introduction(Command):
    name: str  #: a domain in A-labels or an address literal (RFC 5321 §4.1.4)

    def __post_init__(self) -> None:
        if not _WORD.fullmatch(self.name):
            raise LocalProtocolError(f"{self.verb} needs a name in ASCII, not {self.name!r}")

    def __str__(self) -> str:
        return f"{self.verb} {self.name}"


@final
@dataclass(frozen=True, slots=True)
class Ehlo(_Introduction):
    """Introduce the client and ask what the server offers (RFC 5321 §4.1.1.1)."""

    verb: ClassVar[str] = "EHLO"
    protocol: ClassVar[Protocol | None] = Protocol.SMTP


@final
@dataclass(frozen=True, slots=True)
class Helo(_Introduction):
    """Introduce the client to a server that knows no EHLO (RFC 5321 §4.1.1.1)."""

    verb: ClassVar[str] = "HELO"
    protocol: ClassVar[Protocol | None] = Protocol.SMTP


@final
@dataclass(frozen=True, slots=True)
class Lhlo(_Introduction):
    """Introduce the client to an LMTP server (RFC 2033 §4.1)."""

    verb: ClassVar[str] = "LHLO"
    protocol: ClassVar[Protocol | None] = Protocol.LMTP


@final
@dataclass(frozen=True, slots=True)
class StartTls(Command):
    """Ask to encrypt the connection (RFC 3207 §4)."""

    verb: ClassVar[str] = "STARTTLS"

    @property
    def needs(self) -> tuple[str, ...]:
        """See ``Command.needs``."""
        return ("STARTTLS",)


@final
@dataclass(frozen=True, slots=True)
class AuthBegin(Command):
    """Begin a SASL exchange (RFC 4954 §4)."""

    mechanism: str
    initial: bytes | None = field(default=None, repr=False)  #: before base64; a secret
    verb: ClassVar[str] = "AUTH"

    def __post_init__(self) -> None:
        if not _MECHANISM.fullmatch(self.mechanism):
            raise LocalProtocolError(f"not a SASL mechanism: {self.mechanism!r}")

    def __bytes__(self) -> bytes:
        start = f"AUTH {self.mechanism}".encode()
        if self.initial is None:
            return start + b"\r\n"
        # RFC 4954 §4: an initial response of no octets is sent as "="
        return start + b" " + (b64encode(self.initial) or b"=") + b"\r\n"

    def __str__(self) -> str:
        return f"AUTH {self.mechanism}" + ("" if self.initial is None else " ****")

    @property
    def needs(self) -> tuple[str, ...]:
        """See ``Command.needs``."""
        return ("AUTH",)


@final
@dataclass(frozen=True, slots=True)
class AuthResponse(Command):
    """Answer a challenge (RFC 4954 §4)."""

    data: bytes = field(repr=False)  #: before base64; a secret
    verb: ClassVar[str] = "the answer to a challenge"

    def __bytes__(self) -> bytes:
        return b64encode(self.data) + b"\r\n"

    def __str__(self) -> str:
        return "****"


@final
@dataclass(frozen=True, slots=True)
class AuthAbort(Command):
    """Give up a SASL exchange (RFC 4954 §4)."""

    verb: ClassVar[str] = "*"


@final
@dataclass(frozen=True, slots=True, init=False)
class Mail(Command):
    """Begin a transaction and name who gets bounces (RFC 5321 §4.1.1.2)."""

    reverse_path: str  #: without angle brackets; empty is the null reverse-path
    parameters: Parameters
    verb: ClassVar[str] = "MAIL"
    pipelines: ClassVar[bool] = True

    def __init__(self, reverse_path: str, parameters: Parameters = ()) -> None:
        if reverse_path:
            checked_address(reverse_path, "the reverse-path")
        if parameters:
            check_parameters(parameters)
        _set_reverse_path(self, reverse_path)
        _set_mail_parameters(self, parameters)

    @property
    def may_be_long(self) -> bool:
        """See ``Command.may_be_long``."""
        return bool(self.parameters) or len(self.reverse_path) > _SHORT

    def __bytes__(self) -> bytes:
        if self.parameters:
            return f"{self.__str__()}\r\n".encode()
        return f"MAIL FROM:<{self.reverse_path}>\r\n".encode()

    def __str__(self) -> str:
        line = f"MAIL FROM:<{self.reverse_path}>"
        return with_parameters(line, self.parameters) if self.parameters else line

    @property
    def needs(self) -> tuple[str, ...]:
        """See ``Command.needs``."""
        return offers_needed(self.parameters) if self.parameters else ()


_set_reverse_path = setter(Mail, "reverse_path")
_set_mail_parameters = setter(Mail, "parameters")


@final
@dataclass(frozen=True, slots=True, init=False)
class Rcpt(Command):
    """Name one recipient (RFC 5321 §4.1.1.3)."""

    recipient: str  #: without angle brackets
    parameters: Parameters
    verb: ClassVar[str] = "RCPT"
    pipelines: ClassVar[bool] = True

    def __init__(self, recipient: str, parameters: Parameters = ()) -> None:
        _set_recipient(self, checked_address(recipient, "the recipient"))
        _set_parameters(self, parameters)
        if parameters:
            check_parameters(parameters)

    @property
    def may_be_long(self) -> bool:
        """See ``Command.may_be_long``."""
        return bool(self.parameters) or len(self.recipient) > _SHORT

    def __bytes__(self) -> bytes:
        if self.parameters:
            return f"{self.__str__()}\r\n".encode()
        return f"RCPT TO:<{self.recipient}>\r\n".encode()  # there may be many thousands

    def __str__(self) -> str:
        line = f"RCPT TO:<{self.recipient}>"
        return with_parameters(line, self.parameters) if self.parameters else line

    @property
    def needs(self) -> tuple[str, ...]:
        """See ``Command.needs``."""
        return offers_needed(self.parameters) if self.parameters else ()


_set_recipient = setter(Rcpt, "recipient")
_set_parameters = setter(Rcpt, "parameters")


def rcpt_of(address: str) -> Rcpt:
    """Return the RCPT of an address that was checked already, as those of an ``Envelope`` are."""
    rcpt = Rcpt.__new__(Rcpt)
    _set_recipient(rcpt, address)
    _set_parameters(rcpt, ())
    return rcpt


@final
@dataclass(frozen=True, slots=True)
class Data(Command):
    """Ask to send the message (RFC 5321 §4.1.1.4)."""

    verb: ClassVar[str] = "DATA"

    def __bytes__(self) -> bytes:
        return b"DATA\r\n"


@final
@dataclass(frozen=True, slots=True)
class Content(Command):
    """A part of the message after DATA, of any length, cut anywhere.

    Unlike any other command it has no reply. Line ends are made CRLF and dots
    doubled by the connection, which knows how the part before it ended.
    """

    chunk: bytes = field(repr=False)
    verb: ClassVar[str] = "the message"
    pipelines: ClassVar[bool] = True

    def __str__(self) -> str:
        return f"({len(self.chunk)} octets)"


@final
@dataclass(frozen=True, slots=True)
class EndOfContent(Command):
    """The end of the message after DATA: a line with a lone dot (RFC 5321 §4.1.1.4)."""

    verb: ClassVar[str] = "the end of the message"
    pipelines: ClassVar[bool] = True  # RFC 2920 §3.1: the next group may follow it at once

    def __str__(self) -> str:
        return "."


@dataclass(frozen=True, slots=True)
class Bdat(Command):
    """A part of the message with its length in front, sent as it is (RFC 3030 §2)."""

    chunk: bytes = field(repr=False)
    last: bool = field(default=False, kw_only=True)  #: the message ends with this chunk
    verb: ClassVar[str] = "BDAT"
    pipelines: ClassVar[bool] = True

    def __bytes__(self) -> bytes:
        return f"{self._line}\r\n".encode() + self.chunk

    def __str__(self) -> str:
        return f"{self._line} ({len(self.chunk)} octets)"

    @property
    def _line(self) -> str:
        return f"BDAT {len(self.chunk)}" + (" LAST" if self.last else "")

    @property
    def kind(self) -> type[Command]:
        """See ``Command.kind``: the last chunk ends the transaction, the others do not."""
        return LastBdat if self.last else Bdat

    @property
    def needs(self) -> tuple[str, ...]:
        """See ``Command.needs``."""
        return ("CHUNKING",)


@final
class LastBdat(Bdat):
    """The column of ``Bdat(..., last=True)`` in the table; never made."""

    __slots__ = ()


@final
@dataclass(frozen=True, slots=True)
class Rset(Command):
    """Abandon the transaction (RFC 5321 §4.1.1.5)."""

    verb: ClassVar[str] = "RSET"
    pipelines: ClassVar[bool] = True


@final
@dataclass(frozen=True, slots=True)
class Noop(Command):
    """Ask for an answer (RFC 5321 §4.1.1.9)."""

    verb: ClassVar[str] = "NOOP"


@final
@dataclass(frozen=True, slots=True)
class Quit(Command):
    """Say goodbye (RFC 5321 §4.1.1.10)."""

    verb: ClassVar[str] = "QUIT"


@final
@dataclass(frozen=True, slots=True)
class Opening(Command):
    """What the greeting answers: the connection itself. Never sent."""

    verb: ClassVar[str] = "the greeting"


@final
@dataclass(frozen=True, slots=True)
class TlsStarted(Command):
    """What makes the connection new after STARTTLS: the handshake. Never sent."""

    verb: ClassVar[str] = "the TLS handshake"


def names(commands: Iterable[type[Command]]) -> str:
    """Return the verbs of ``commands``, for messages."""
    return ", ".join(command.verb for command in commands)
