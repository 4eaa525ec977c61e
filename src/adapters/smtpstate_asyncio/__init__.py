"""smtpstate under asyncio."""

from smtpstate_asyncio._target import Target
from smtpstate_asyncio._wire import Wire
from smtpstate_io import drive

__all__ = ["Target", "Wire", "drive"]
