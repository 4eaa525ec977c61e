"""Which event each answer to a command is, and which answers it can have."""

from __future__ import annotations

from collections.abc import Mapping

from smtpstate._commands import (
    AuthAbort,
    AuthBegin,
    AuthResponse,
    Bdat,
    Command,
    Data,
    EndOfContent,
    LastBdat,
    Mail,
    Opening,
    Rcpt,
    StartTls,
)
from smtpstate._errors import RemoteProtocolError
from smtpstate._events import (
    Answered,
    Authenticated,
    Challenged,
    ChunkAnswered,
    CommandAnswered,
    ContentWanted,
    Greeted,
    MessageAnswered,
    RecipientAnswered,
    SenderAnswered,
    TlsReady,
)
from smtpstate._replies import Reply

#: first digit of the reply -> event, for a command that has no events of its own
COMMON: Mapping[int, type[Answered]] = dict.fromkeys((2, 3, 4, 5), CommandAnswered)

#: command -> first digit of the reply -> event
EVENTS: Mapping[type[Command], Mapping[int, type[Answered]]] = {
    Opening: dict.fromkeys(COMMON, Greeted),
    StartTls: {**COMMON, 2: TlsReady},
    AuthBegin: {**COMMON, 2: Authenticated, 3: Challenged},
    AuthResponse: {**COMMON, 2: Authenticated, 3: Challenged},
    Mail: dict.fromkeys(COMMON, SenderAnswered),
    Rcpt: dict.fromkeys(COMMON, RecipientAnswered),
    Data: {**COMMON, 3: ContentWanted},
    Bdat: dict.fromkeys(COMMON, ChunkAnswered),
    LastBdat: dict.fromkeys(COMMON, MessageAnswered),
    EndOfContent: dict.fromkeys(COMMON, MessageAnswered),
}

#: The only 2xx and 3xx codes that these can be answered with; all others take any 2xx and no 3xx.
POSITIVE: Mapping[type[Command], frozenset[int]] = {
    Opening: frozenset({220}),  # RFC 5321 §4.3.2
    StartTls: frozenset({220}),  # RFC 3207 §4
    Data: frozenset({354}),
    AuthBegin: frozenset({235, 334}),  # RFC 4954 §6
    AuthResponse: frozenset({235, 334}),
    AuthAbort: frozenset({235, 334}),
}


def check_answer(kind: type[Command], reply: Reply) -> None:
    """Refuse a 2xx or 3xx reply that a command cannot have.

    Raises:
        RemoteProtocolError: it is one.
    """
    possible = POSITIVE.get(kind)
    if reply.code not in possible if possible is not None else reply.digit == 3:
        raise RemoteProtocolError(f"{kind.verb} cannot be answered with {reply.code}", reply)
