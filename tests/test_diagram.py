"""The state diagram, printed from a table."""

from __future__ import annotations

from smtpstate._commands import Bdat, Command, LastBdat, Quit, TlsStarted
from smtpstate._diagram import diagram
from smtpstate._machine import TRANSITIONS, Row, State
from smtpstate._questions import Help


def test_each_edge_names_its_commands_and_what_they_are_answered_with() -> None:
    table: dict[State, dict[type[Command], Row]] = {
        State.RCPT: {
            Bdat: {2: State.CHUNKS, 5: State.SPOILED},
            LastBdat: {4: State.SPOILED, 5: State.SPOILED},
            Help: {},
            Quit: {2: State.RCPT},
        },
        State.TLS: {TlsStarted: {2: State.HELLO}},
    }
    assert diagram(table).splitlines() == [
        "stateDiagram-v2",
        "    [*] --> RCPT",
        "    RCPT --> CHUNKS: BDAT 2xx",
        "    RCPT --> SPOILED: BDAT 5xx, BDAT LAST 4xx 5xx",
        "    TLS --> HELLO: the TLS handshake",
    ]


def test_every_state_of_the_machine_is_in_the_diagram() -> None:
    drawn = diagram()
    assert [state for state in TRANSITIONS if f" {state.name}" not in drawn] == []
