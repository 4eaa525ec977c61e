"""Commands that ask a server something and change nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from smtpstate._commands import Command
from smtpstate._errors import LocalProtocolError
from smtpstate._text import checked_line


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
