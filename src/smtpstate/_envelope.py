"""The envelope: who sends, and who is to receive."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

from smtpstate._addresses import checked_address
from smtpstate._errors import LocalProtocolError


@final
@dataclass(frozen=True, slots=True)
class Recipient:
    """One recipient and what is asked for it.

    Raises:
        LocalProtocolError: the address cannot be sent.
    """

    address: str  #: as it goes out, without angle brackets

    def __post_init__(self) -> None:
        checked_address(self.address, "the recipient")

    def __str__(self) -> str:
        return self.address


@final
@dataclass(frozen=True, slots=True, init=False)
class Envelope:
    """Who sends a message, and who is to receive it (RFC 5321 §2.3.1).

    Recipients keep the order given, and duplicates are kept. ``""`` or None
    as sender is the null reverse-path, which bounces have.

    Raises:
        LocalProtocolError: an address cannot be sent.
    """

    sender: str  #: the reverse-path; empty is the null reverse-path
    recipients: tuple[Recipient, ...]

    def __init__(self, sender: str | None, recipients: Iterable[str | Recipient] = ()) -> None:
        if isinstance(recipients, str):
            raise LocalProtocolError("recipients are a list of addresses, not one str")
        object.__setattr__(self, "sender", _sender(sender))
        object.__setattr__(
            self,
            "recipients",
            tuple(r if isinstance(r, Recipient) else Recipient(r) for r in recipients),
        )


def _sender(sender: str | None) -> str:
    return "" if sender is None or sender == "" else checked_address(sender, "the sender")
