"""Many recipients in one breath: a run of RCPTs, and the answers that they share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from smtpstate._commands import Command, Rcpt, rcpt_of
from smtpstate._errors import LocalProtocolError
from smtpstate._events import Answered
from smtpstate._replies import Reply
from smtpstate._slots import setter

#: octets of a RCPT beside the address
RCPT_FRAME = len("RCPT TO:<>\r\n")


@final
@dataclass(frozen=True, slots=True)
class Rcpts(Command):
    """Name several recipients, each by an ASCII address alone that was checked already.

    It is as many RCPTs as there are recipients (RFC 5321 §4.1.1.3), but there may be
    thousands, and what is done for each of them counts.
    """

    recipients: tuple[str, ...]  #: without angle brackets
    verb: ClassVar[str] = "RCPT"
    pipelines: ClassVar[bool] = True

    def __bytes__(self) -> bytes:
        """The octets on the wire.

        Raises:
            LocalProtocolError: an address holds what must not stand in one.
        """
        lines = ">\r\nRCPT TO:<".join(self.recipients)
        wire = f"RCPT TO:<{lines}>\r\n".encode()
        if wire.count(b"\n") != len(self.recipients) or not lines.isascii():
            raise LocalProtocolError("a run of RCPTs holds one that is more than an ASCII address")
        return wire

    @property
    def kind(self) -> type[Command]:
        """See ``Command.kind``."""
        return Rcpt

    def octets(self, which: slice) -> int:
        """Return how many octets some of its lines have."""
        some = self.recipients[which]
        return RCPT_FRAME * len(some) + sum(map(len, some))

    def apart(self, start: int = 0) -> list[Rcpt]:
        """Return the RCPTs from a certain one on."""
        return list(map(rcpt_of, self.recipients[start:]))


@final
@dataclass(frozen=True, slots=True, init=False)
class RecipientsAnswered(Answered):
    """Some of a run's recipients are answered, all with the same words."""

    count: int  #: how many; the next ones of those that were named

    def __init__(self, reply: Reply, command: Command, count: int) -> None:
        _set_reply(self, reply)
        _set_command(self, command)
        _set_count(self, count)


@final
@dataclass(frozen=True, slots=True, init=False)
class RecipientsDelivered(Answered):
    """LMTP's final replies for some of a run's recipients, all with the same words (RFC 2033 §4.2)."""

    count: int  #: how many; the next ones of those that were accepted

    def __init__(self, reply: Reply, command: Command, count: int) -> None:
        _set_reply(self, reply)
        _set_command(self, command)
        _set_delivered(self, count)


_set_reply = setter(Answered, "reply")
_set_command = setter(Answered, "command")
_set_count = setter(RecipientsAnswered, "count")
_set_delivered = setter(RecipientsDelivered, "count")
