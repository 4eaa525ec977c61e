"""How the program ends: its exit codes, which follow sysexits.h."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import final

from smtpstate import Outcome, Status


@final
class Exit(IntEnum):
    """What the exit code says."""

    DELIVERED = 0  #: every recipient was delivered, or all that was checked is right
    USAGE = 64  #: EX_USAGE
    DATA = 65  #: EX_DATAERR: the message cannot be sent as it is, or could not be read to its end
    NO_INPUT = 66  #: EX_NOINPUT: a file cannot be opened
    REJECTED = 69  #: EX_UNAVAILABLE
    INTERNAL = 70  #: EX_SOFTWARE
    UNCERTAIN = 74  #: EX_IOERR
    DEFERRED = 75  #: EX_TEMPFAIL
    CONFIG = 78  #: EX_CONFIG: the settings in a file are wrong
    INTERRUPTED = 130  #: what shells give a program that SIGINT ended


class Failure(Exception):
    """Ends the program with one line on standard error."""

    def __init__(self, code: Exit, message: str) -> None:
        super().__init__(message)
        self.code = code


#: From what asks for the most care to what asks for the least: sending again
#: after an uncertain outcome may duplicate mail, after a deferred one it is of use.
_BY_WEIGHT = (
    (Status.UNCERTAIN, Exit.UNCERTAIN),
    (Status.DEFERRED, Exit.DEFERRED),
    (Status.REJECTED, Exit.REJECTED),
)


def exit_for(outcomes: Iterable[Outcome]) -> Exit:
    """Return the exit code for a delivery that has come to its end."""
    seen = {outcome.status for outcome in outcomes}
    return next((code for status, code in _BY_WEIGHT if status in seen), Exit.DELIVERED)
