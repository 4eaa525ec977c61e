"""``debug``: the trace of every dialogue, on the logger ``smtpstate``."""

from __future__ import annotations

import logging

from smtpstate._config import TargetConfig
from smtpstate._text import visible
from smtpstate._trace import Trace, TraceEvent

logger = logging.getLogger("smtpstate")


def traced(config: TargetConfig, trace: Trace | None) -> Trace | None:
    """Return what is to see the trace events of a target: ``trace``, and with ``debug`` the log too."""
    if not config.debug:
        return trace
    if trace is None:
        return log

    def both(event: TraceEvent) -> None:
        log(event)
        trace(event)

    return both


def log(event: TraceEvent) -> None:
    """Log an event at DEBUG, one record for each of its lines."""
    if logger.isEnabledFor(logging.DEBUG):
        text = str(event)
        # Nearly always it is one line, and nothing in it needs an escape.
        for line in (text,) if text.isprintable() else map(visible, text.split("\n")):
            # ``logger.debug`` would search the stack for who calls, each time anew, and find this.
            logger.handle(
                logger.makeRecord(_NAME, logging.DEBUG, __file__, _LINE, "%s", (line,), None, "log")
            )


_NAME = logger.name
_LINE = log.__code__.co_firstlineno
