"""What people and programs get to see of a delivery: its outcomes, and its dialogue."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from smtpstate import Attempt, Endpoint, Outcome, Status, TraceEvent
from smtpstate._text import visible
from smtpstate._trace import Settled
from smtpstate_cli._screen import Screen

_COLOURS = {
    Status.DELIVERED: "green",
    Status.DEFERRED: "yellow",
    Status.REJECTED: "red",
    Status.UNCERTAIN: "bold magenta",
}
_TRACE_COLOURS = {">": "cyan", "<": "", "*": "dim"}


def show_outcomes(screen: Screen, outcomes: Sequence[Outcome]) -> None:
    """Print outcomes: a table on a terminal, else one line for each recipient."""
    if screen.is_terminal:
        show_table(screen, outcomes)
    else:
        screen.write("".join(f"{line}\n" for line in outcome_lines(outcomes)))


def show_table(screen: Screen, outcomes: Sequence[Outcome]) -> None:
    """Print outcomes as a table; an endpoint that is the same for all of them stands above it."""
    endpoints = {outcome.endpoint for outcome in outcomes}
    several = len(endpoints) > 1
    if not several:
        screen.show_lines(Text(_endpoint(next(iter(endpoints), None)), "bold"))
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("recipient", overflow="fold")
    table.add_column("status", no_wrap=True)
    table.add_column("phase", no_wrap=True)
    if several:
        table.add_column("endpoint", overflow="fold")
    table.add_column("server's reply", overflow="fold")
    for outcome in outcomes:
        table.add_row(
            Text(visible(outcome.recipient)),
            Text(outcome.status.value, _COLOURS[outcome.status]),
            Text(outcome.phase.value),
            *([Text(_endpoint(outcome.endpoint))] if several else []),
            Text(_reply(outcome)),
        )
    screen.show(table)


def outcome_lines(outcomes: Sequence[Outcome]) -> list[str]:
    """Return outcomes as lines of columns, the reply last since it may be long; blanks are in no other."""
    rows = [("STATUS", "RECIPIENT", "PHASE", "ENDPOINT", "REPLY")]
    rows += [
        (
            outcome.status.value,
            visible(outcome.recipient),
            outcome.phase.value,
            _endpoint(outcome.endpoint),
            _reply(outcome),
        )
        for outcome in outcomes
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def outcome_json(outcomes: Sequence[Outcome]) -> str:
    """Return outcomes as JSON, one object on each line, in ASCII."""
    return "".join(json.dumps(_as_object(outcome)) + "\n" for outcome in outcomes)


def _as_object(outcome: Outcome) -> dict[str, object]:
    reply = outcome.reply
    return {
        "recipient": outcome.recipient,
        "status": outcome.status.value,
        "may_retry": outcome.may_retry,
        "code": reply.code,
        "enhanced": str(reply.enhanced) if reply.enhanced else None,
        "reply": str(reply),
        "local": reply.local,
        "phase": outcome.phase.value,
        "endpoint": str(outcome.endpoint) if outcome.endpoint else None,
        "notes": list(outcome.notes),
    }


def dialogue_lines(event: TraceEvent) -> list[Text]:
    """Return a trace event as lines; outcomes are none of the dialogue's."""
    if isinstance(event, Settled):
        return []
    return [Text(visible(line), _TRACE_COLOURS.get(line[:1], "")) for line in str(event).split("\n")]


def failure_lines(attempts: Sequence[Attempt]) -> list[str]:
    """Return what went wrong at each endpoint that failed, from the first one on."""
    lines: list[str] = []
    for attempt in attempts:
        endpoint, why = str(attempt.endpoint), attempt.error or attempt.reply
        if why is not None:
            lines.append(str(why) if endpoint in str(why) else f"{endpoint}: {attempt.phase.value}: {why}")
    return lines


def _reply(outcome: Outcome) -> str:
    return f"{outcome.reply} (local)" if outcome.reply.local else str(outcome.reply)


def _endpoint(endpoint: Endpoint | None) -> str:
    return str(endpoint) if endpoint else "-"
