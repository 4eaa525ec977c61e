"""A trace as a sequence diagram: one page of HTML that needs nothing beside itself."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from smtpstate._text import visible
from smtpstate._trace import Connecting, Failed, Received, Sent, Settled, TraceEvent

_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --line: #8888; --sent: #06c; --failed: #c22; --good: #182; }}
body {{ font: 14px/1.4 system-ui, sans-serif; margin: 1.5em auto; max-width: 64em; padding: 0 1em; }}
table {{ border-collapse: collapse; width: 100%; table-layout: fixed; }}
col.time {{ width: 6.5em; }} col.phase {{ width: 5.5em; }}
th {{ text-align: left; padding-top: 1.2em; }}
td {{ padding: 1px .5em; vertical-align: top; }}
td.time, td.phase {{ color: GrayText; font-variant-numeric: tabular-nums; white-space: nowrap; }}
td.wire {{ border-left: 2px solid var(--line); border-right: 2px solid var(--line); }}
pre {{ font: 13px/1.3 ui-monospace, monospace; margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }}
.sent pre {{ color: var(--sent); margin-right: 25%; }}
.sent pre::after {{ content: " \\2192"; }}
.received pre {{ margin-left: 25%; }}
.received pre::before {{ content: "\\2190 "; }}
.note pre {{ text-align: center; font-style: italic; }}
.failed pre {{ text-align: center; color: var(--failed); font-weight: bold; }}
.delivered pre {{ color: var(--good); }} .deferred pre, .rejected pre, .uncertain pre {{ color: var(--failed); }}
</style>
</head>
<body>
<h1>{title}</h1>
<table>
<col class="time"><col class="phase"><col>
"""
_TAIL = "</table>\n</body>\n</html>\n"


def as_html(trace: Iterable[TraceEvent], title: str = "What was said") -> str:
    """Return a page with what the client said on the left, and the server's answers on the right.

    Nothing that a server sent can become markup, and the page loads nothing.

    Args:
        trace: events in their order; times are shown from the first of them on, in seconds.
        title: a line above.
    """
    rows: list[str] = []
    begun: float | None = None
    for event in trace:
        begun = event.time if begun is None else begun
        if isinstance(event, Connecting):
            rows.append(
                f'<tr><td></td><td></td><th scope="rowgroup">{_text(str(event.endpoint))}</th></tr>\n'
            )
        kind, text = _shown(event)
        rows.append(
            f'<tr class="{kind}"><td class="time">{event.time - begun:.3f}</td>'
            f'<td class="phase">{event.phase.value}</td><td class="wire"><pre>{text}</pre></td></tr>\n'
        )
    return _HEAD.format(title=_text(title)) + "".join(rows) + _TAIL


def _shown(event: TraceEvent) -> tuple[str, str]:
    """Return how an event is set, and its text without the mark that says so in plain text."""
    lines = "\n".join(_text(line[2:]) for line in str(event).split("\n"))
    match event:
        case Sent():
            return "sent", lines
        case Received():
            return "received", lines
        case Failed():
            return "failed", lines
        case Settled():
            return event.outcome.status.value, lines
        case _:
            return "note", lines


def _text(text: str) -> str:
    return escape(visible(text))
