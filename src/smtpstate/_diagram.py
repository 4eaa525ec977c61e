"""The state diagram, printed from the transition table in Mermaid's language."""

from __future__ import annotations

from collections.abc import Mapping

from smtpstate._commands import Command, LastBdat, TlsStarted
from smtpstate._machine import TRANSITIONS, Row, State


def diagram(table: Mapping[State, Mapping[type[Command], Row]] = TRANSITIONS) -> str:
    """Return the lines of a ``stateDiagram-v2``: one edge for each pair of states, with all that leads along it.

    What leaves the state as it is has no edge.
    """
    edges: dict[tuple[State, State], dict[str, str]] = {}
    for state, commands in table.items():
        for command, row in commands.items():
            for digit, after in row.items():
                if after is not state:
                    causes = edges.setdefault((state, after), {})
                    causes[_name(command)] = f"{causes.get(_name(command), '')} {digit}xx"
    lines = ["stateDiagram-v2", f"    [*] --> {next(iter(table)).name}"]
    for (state, after), causes in edges.items():
        label = ", ".join(
            name if name == TlsStarted.verb else name + digits for name, digits in causes.items()
        )
        lines.append(f"    {state.name} --> {after.name}: {label}")
    return "\n".join(lines)


def _name(command: type[Command]) -> str:
    return "BDAT LAST" if command is LastBdat else command.verb
