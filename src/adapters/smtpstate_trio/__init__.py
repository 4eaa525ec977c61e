"""smtpstate under trio."""

from smtpstate_io import drive
from smtpstate_trio._target import Target
from smtpstate_trio._wire import Wire

__all__ = ["Target", "Wire", "drive"]
