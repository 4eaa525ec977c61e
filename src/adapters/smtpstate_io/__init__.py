"""What the I/O adapters share: sockets and TLS without waiting, contexts, sources."""

from smtpstate_io._addresses import Address, AddressInfo, known_addresses, looked_up, name_unknown
from smtpstate_io._async import AsyncWire, drive
from smtpstate_io._backlog import Backlog, Lane
from smtpstate_io._channel import Channel
from smtpstate_io._contexts import Contexts, context_for
from smtpstate_io._handed import duplicate, had_at_once, hook_failed
from smtpstate_io._many import AsyncDeliveries, Crew, Event
from smtpstate_io._pool import Pool, Slot
from smtpstate_io._sources import AsyncSources, Sources
from smtpstate_io._targets import AsyncTarget, TargetBase
from smtpstate_io._tls import Tls
from smtpstate_io._transactions import AsyncTransaction
from smtpstate_io._waits import Wait, Waiter, bounded_by

__all__ = [
    "Address",
    "AddressInfo",
    "AsyncDeliveries",
    "AsyncSources",
    "AsyncTarget",
    "AsyncTransaction",
    "AsyncWire",
    "Backlog",
    "Channel",
    "Contexts",
    "Crew",
    "Event",
    "Lane",
    "Pool",
    "Slot",
    "Sources",
    "TargetBase",
    "Tls",
    "Wait",
    "Waiter",
    "bounded_by",
    "context_for",
    "drive",
    "duplicate",
    "had_at_once",
    "hook_failed",
    "known_addresses",
    "looked_up",
    "name_unknown",
]
