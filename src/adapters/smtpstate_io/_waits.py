"""What an adapter waits for: sockets that become ready, or a moment that passes."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True, slots=True)
class Wait:
    """Wait until one of ``sockets`` is ready, or until ``seconds`` have passed.

    Waking up too early is harmless: whoever yielded this looks again.
    """

    sockets: tuple[socket.socket, ...]  #: never closed while they are waited for
    to_write: bool = False  #: ready means writable instead of readable
    seconds: float | None = None  #: None waits for the sockets alone
