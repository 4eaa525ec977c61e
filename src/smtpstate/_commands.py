"""Commands are values; ``bytes()`` of one is what goes over the wire."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar, TypeAlias, final

from smtpstate._addresses import checked_address
from smtpstate._errors import LocalProtocolError
from smtpstate._text import checked_line

#: ESMTP parameters in the order in which they are sent: keyword and value (RFC 5321 §4.1.2).
Parameters: TypeAlias = tuple[tuple[str, str | None], ...]

# RFC 5321 §4.1.2: esmtp-keyword = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-")
_KEYWORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
_WORD = re.compile(r"[\x21-\x7e]+")
_SHORT = 100  # characters of an address, which cannot have more than 400 octets
# RFC 4422 §3.1: sasl-mech = 1*20mech-char
_MECHANISM = re.compile(r"[A-Z0-9_-]{1,20}")

#: MAIL and RCPT parameters, and the EHLO keyword that must have been offered for each.
OFFERED_BY = {
    "SIZE": "SIZE",
    "BODY": "8BITMIME",
    "SMTPUTF8": "SMTPUTF8",
    "RET": "DSN",
    "ENVID": "DSN",
    "NOTIFY": "DSN",
    "ORCPT": "DSN",
    "AUTH": "AUTH",
    "REQUIRETLS": "REQUIRETLS",
    "BY": "DELIVERBY",
    "HOLDFOR": "FUTURERELEASE",
    "HOLDUNTIL": "FUTURERELEASE",
    "MT-PRIORITY": "MT-PRIORITY",
    "RRVS": "RRVS",
}


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


def _checked_parameters(parameters: Parameters) -> None:
    for keyword, value in parameters:
        if not _KEYWORD.fullmatch(keyword):
            raise LocalProtocolError(f"not a parameter keyword: {keyword!r}")
        # RFC 5321 §4.1.2: esmtp-value = 1*(%d33-60 / %d62-126); RFC 6531 §3.3 adds UTF-8,
        # and "=" is common within values.
        if value is not None and (not value or " " in checked_line(value, f"the value of {keyword}")):
            raise LocalProtocolError(f"not a value for {keyword}: {value!r}")


def _with_parameters(line: str, parameters: Parameters) -> str:
    for keyword, value in parameters:
        line += f" {keyword}" if value is None else f" {keyword}={value}"
    return line


def _offers_needed(parameters: Parameters) -> tuple[str, ...]:
    needs: list[str] = []
    for keyword, value in parameters:
        name = keyword.upper()
        binary = name == "BODY" and value is not None and value.upper() == "BINARYMIME"
        needs.append("BINARYMIME" if binary else OFFERED_BY.get(name, name))
    return tuple(needs)


@final
@dataclass(frozen=True, slots=True)
class Mail(Command):
    """Begin a transaction and name who gets bounces (RFC 5321 §4.1.1.2)."""

    reverse_path: str  #: without angle brackets; empty is the null reverse-path
    parameters: Parameters = ()
    verb: ClassVar[str] = "MAIL"
    pipelines: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.reverse_path:
            checked_address(self.reverse_path, "the reverse-path")
        if self.parameters:
            _checked_parameters(self.parameters)

    @property
    def may_be_long(self) -> bool:
        """See ``Command.may_be_long``."""
        return bool(self.parameters) or len(self.reverse_path) > _SHORT

    def __str__(self) -> str:
        line = f"MAIL FROM:<{self.reverse_path}>"
        return _with_parameters(line, self.parameters) if self.parameters else line

    @property
    def needs(self) -> tuple[str, ...]:
        """See ``Command.needs``."""
        return _offers_needed(self.parameters) if self.parameters else ()


@final
@dataclass(frozen=True, slots=True)
class Rcpt(Command):
    """Name one recipient (RFC 5321 §4.1.1.3)."""

    recipient: str  #: without angle brackets
    parameters: Parameters = ()
    verb: ClassVar[str] = "RCPT"
    pipelines: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checked_address(self.recipient, "the recipient")
        if self.parameters:
            _checked_parameters(self.parameters)

    @property
    def may_be_long(self) -> bool:
        """See ``Command.may_be_long``."""
        return bool(self.parameters) or len(self.recipient) > _SHORT

    def __str__(self) -> str:
        line = f"RCPT TO:<{self.recipient}>"
        return _with_parameters(line, self.parameters) if self.parameters else line

    @property
    def needs(self) -> tuple[str, ...]:
        """See ``Command.needs``."""
        return _offers_needed(self.parameters) if self.parameters else ()


@final
@dataclass(frozen=True, slots=True)
class Data(Command):
    """Ask to send the message (RFC 5321 §4.1.1.4)."""

    verb: ClassVar[str] = "DATA"


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


@dataclass(frozen=True, slots=True)
class _Question(Command):
    text: str  #: what is asked about

    def __post_init__(self) -> None:
        if not checked_line(self.text, f"the argument of {self.verb}").strip():
            raise LocalProtocolError(f"{self.verb} needs an argument")

    def __str__(self) -> str:
        return f"{self.verb} {self.text}"


@final
@dataclass(frozen=True, slots=True)
class Vrfy(_Question):
    """Ask whether a mailbox exists (RFC 5321 §4.1.1.6)."""

    verb: ClassVar[str] = "VRFY"


@final
@dataclass(frozen=True, slots=True)
class Expn(_Question):
    """Ask for the members of a list (RFC 5321 §4.1.1.7)."""

    verb: ClassVar[str] = "EXPN"


@final
@dataclass(frozen=True, slots=True)
class Help(Command):
    """Ask for help (RFC 5321 §4.1.1.8)."""

    text: str = ""
    verb: ClassVar[str] = "HELP"

    def __post_init__(self) -> None:
        checked_line(self.text, "the argument of HELP")

    def __str__(self) -> str:
        return f"HELP {self.text}".rstrip()


# What relays tell about the client behind them; the values are xtext (RFC 3461 §4).
ATTRIBUTES = ("NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT", "IDENT", "SOURCE")


@dataclass(frozen=True, slots=True)
class _AboutClient(Command):
    attributes: tuple[tuple[str, str], ...]

    def __post_init__(self) -> None:
        if not self.attributes:
            raise LocalProtocolError(f"{self.verb} needs an attribute")
        for name, value in self.attributes:
            if name not in ATTRIBUTES:
                raise LocalProtocolError(f"not an attribute of {self.verb}: {name!r}")
            xtext(value)

    def __str__(self) -> str:
        return " ".join((self.verb, *(f"{name}={xtext(value)}" for name, value in self.attributes)))

    @property
    def needs(self) -> tuple[str, ...]:
        """See ``Command.needs``."""
        return (self.verb,)


@final
@dataclass(frozen=True, slots=True)
class Xclient(_AboutClient):
    """Speak for another client from now on; the session begins anew.

    Attribute names are in upper case, such as ``ADDR``; values are encoded here.
    """

    verb: ClassVar[str] = "XCLIENT"


@final
@dataclass(frozen=True, slots=True)
class Xforward(_AboutClient):
    """Tell, for the server's log, where the next message comes from.

    Attribute names are in upper case, such as ``ADDR``; values are encoded here.
    """

    verb: ClassVar[str] = "XFORWARD"


def xtext(text: str) -> str:
    """Encode ``text`` as xtext: ``+``, ``=`` and all but printable ASCII in hexadecimal (RFC 3461 §4).

    Octets that a reply or a file name smuggled in as lone surrogates come out as they were.

    Raises:
        LocalProtocolError: ``text`` cannot be written in UTF-8.
    """
    try:
        octets = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise LocalProtocolError(f"not valid Unicode: {text!r}") from None
    return "".join(
        chr(octet) if 0x21 <= octet <= 0x7E and octet not in b"+=" else f"+{octet:02X}" for octet in octets
    )


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
