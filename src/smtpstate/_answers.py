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
    ContentWanted,
    Greeted,
    MessageAnswered,
    RecipientAnswered,
    SenderAnswered,
    TlsReady,
)
from smtpstate._replies import Reply

#: command -> first digit of the reply -> event; CommandAnswered where there is no entry.
EVENTS: Mapping[type[Command], Mapping[int, type[Answered]]] = {
    Opening: {2: Greeted, 4: Greeted, 5: Greeted},
    StartTls: {2: TlsReady},
    AuthBegin: {2: Authenticated, 3: Challenged},
    AuthResponse: {2: Authenticated, 3: Challenged},
    Mail: {2: SenderAnswered, 4: SenderAnswered, 5: SenderAnswered},
    Rcpt: {2: RecipientAnswered, 4: RecipientAnswered, 5: RecipientAnswered},
    Data: {3: ContentWanted},
    Bdat: {2: ChunkAnswered, 4: ChunkAnswered, 5: ChunkAnswered},
    LastBdat: {2: MessageAnswered, 4: MessageAnswered, 5: MessageAnswered},
    EndOfContent: {2: MessageAnswered, 4: MessageAnswered, 5: MessageAnswered},
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

#: for a command without an entry
NO_EVENTS: Mapping[int, type[Answered]] = {}


def check_answer(kind: type[Command], reply: Reply) -> None:
    """Refuse a 2xx or 3xx reply that a command cannot have.

    Raises:
        RemoteProtocolError: it is one.
    """
    possible = POSITIVE.get(kind)
    if reply.code not in possible if possible is not None else reply.digit == 3:
        raise RemoteProtocolError(f"{kind.verb} cannot be answered with {reply.code}", reply)
