"""smtpstate under plain blocking sockets."""

from smtpstate_blocking._target import Target
from smtpstate_blocking._wire import Wire, drive

__all__ = ["Target", "Wire", "drive"]
