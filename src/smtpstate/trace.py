"""Traces: the events of a dialogue, as text, as lines of JSON, as a page, and played again.

An event is given to the callable ``trace=`` as it happens. ``str`` of it is
text for people, ``as_json`` a line for programs, which ``from_json`` reads
back; ``as_html`` draws them as a sequence diagram; ``replay`` plays a delivery again from its trace.
"""

from smtpstate._replay import TraceDiffers, replay
from smtpstate._trace import (
    Cause,
    Connecting,
    Failed,
    LoggedIn,
    Opened,
    Received,
    Secured,
    Sent,
    Settled,
    Trace,
    TraceEvent,
)
from smtpstate._trace_html import as_html
from smtpstate._trace_json import as_json, from_json

__all__ = [
    "Cause",
    "Connecting",
    "Failed",
    "LoggedIn",
    "Opened",
    "Received",
    "Secured",
    "Sent",
    "Settled",
    "Trace",
    "TraceDiffers",
    "TraceEvent",
    "as_html",
    "as_json",
    "from_json",
    "replay",
]
