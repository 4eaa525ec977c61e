"""smtpstate under anyio."""

from smtpstate_anyio._target import Target
from smtpstate_anyio._wire import Wire
from smtpstate_io import drive

__all__ = ["Target", "Wire", "drive"]
