"""What a model server does next: values that a driver carries out in their order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final


@dataclass(frozen=True, slots=True)
class Action:
    """Something that a driver does on the server's side of a connection."""


@final
@dataclass(frozen=True, slots=True)
class Say(Action):
    """Send ``data`` to the client."""

    data: bytes


@final
@dataclass(frozen=True, slots=True)
class Delay(Action):
    """Wait before doing anything further."""

    seconds: float


@final
@dataclass(frozen=True, slots=True)
class Close(Action):
    """End the connection in an orderly way, after all that was said."""


@final
@dataclass(frozen=True, slots=True)
class Reset(Action):
    """Break the connection: the client's system reports a reset."""


@final
@dataclass(frozen=True, slots=True)
class Silence(Action):
    """Say nothing from now on, but keep reading and keep the connection open."""


@final
@dataclass(frozen=True, slots=True)
class StopReading(Action):
    """Leave everything that the client sends from now on in the system's buffers."""


@final
@dataclass(frozen=True, slots=True)
class StartTls(Action):
    """Begin a TLS handshake now, and call the peer's ``tls_started`` when it is done."""


@final
@dataclass(frozen=True, slots=True)
class Refuse(Action):
    """Fail the client's connecting or handshake; in memory with just this error, else by a reset."""

    error: Exception = field(compare=False)
