"""The commands by which a relay tells about the client behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from smtpstate._commands import Command
from smtpstate._errors import LocalProtocolError
from smtpstate._parameters import xtext

# What can be told; the values are xtext (RFC 3461 §4).
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
