"""The table and its two cursors: what is legal where, where each answer leads, and what cannot be done twice."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialogues import COMMANDS, LEGAL, LMTP, SMTP, after, tongue
from smtpstate._commands import Command, Data, Mail, Noop, Opening, Protocol, Rcpt, TlsStarted
from smtpstate._errors import LocalProtocolError
from smtpstate._machine import TRANSITIONS, Machine, Row, State

#: How a machine comes into each state: what is sent, and the first digit of its answer.
PATHS: Mapping[State, str] = {
    State.GREETING: "",
    State.HELLO: "greeting 2",
    State.READY: "greeting 2 EHLO 2",
    State.TLS: "greeting 2 EHLO 2 STARTTLS 2",
    State.CHALLENGED: "greeting 2 EHLO 2 AUTH 3",
    State.MAIL: "greeting 2 EHLO 2 MAIL 2",
    State.RCPT: "greeting 2 EHLO 2 MAIL 2 RCPT 2",
    State.DATA: "greeting 2 EHLO 2 MAIL 2 RCPT 2 DATA 3",
    State.CHUNKS: "greeting 2 EHLO 2 MAIL 2 RCPT 2 BDAT 2",
    State.SPOILED: "greeting 2 EHLO 2 MAIL 2 RCPT 2 BDAT 5",
    State.CLOSED: "greeting 2 EHLO 2 QUIT 2",
}


def named(name: str, protocol: Protocol) -> Command:
    """Return the command of that name; the greeting and the handshake have names too."""
    unsent: Mapping[str, Command] = {"greeting": Opening(), "handshake": TlsStarted()}
    if name == "EHLO" and protocol is LMTP:
        name = "LHLO"
    return unsent[name] if name in unsent else COMMANDS[name]


def run(machine: Machine, words: str, protocol: Protocol = SMTP) -> None:
    """Send each command, and answer it before the next."""
    names = iter(words.split())
    for name, digit in zip(names, names, strict=True):
        command = named(name, protocol)
        machine.answered(command.kind, machine.send(command.kind), int(digit), outstanding=False)


def reach(state: State, protocol: Protocol = SMTP) -> Machine:
    machine = Machine(protocol)
    run(machine, PATHS[state], protocol)
    assert machine.state is machine.ahead is state
    return machine


def refusal(machine: Machine, name: str) -> str:
    """Return why a command is refused; nothing has changed by it."""
    before = machine.state, machine.ahead
    with pytest.raises(LocalProtocolError) as caught:
        machine.send(COMMANDS[name].kind)
    assert (machine.state, machine.ahead) == before
    return str(caught.value)


# The table.


def test_the_grid_knows_every_state_and_command() -> None:
    assert set(LEGAL) == set(product(State, COMMANDS))
    assert set(PATHS) == set(TRANSITIONS) == set(State)


def test_every_command_of_the_table_is_one_of_those_that_the_tests_send() -> None:
    in_table = {kind for rows in TRANSITIONS.values() for kind in rows}
    assert in_table == {command.kind for command in COMMANDS.values()} | {Opening, TlsStarted}


@pytest.mark.parametrize(("state", "name"), list(product(State, COMMANDS)), ids=str)
@pytest.mark.parametrize("protocol", Protocol, ids=str)
def test_a_command_is_legal_exactly_where_the_rfcs_allow_it(
    protocol: Protocol, state: State, name: str
) -> None:
    machine = reach(state, protocol)
    command = COMMANDS[name]
    assert (command.kind in TRANSITIONS[state]) is LEGAL[state, name]
    if LEGAL[state, name] and tongue(name, protocol) is protocol:
        assert machine.send(command.kind) is TRANSITIONS[state][command.kind]
    elif LEGAL[state, name]:
        assert refusal(machine, name) == f"cannot send {name} in {protocol.name}"
    else:
        assert refusal(machine, name) == f"cannot send {command.verb} in state {state.name}"


LEGAL_ANSWERS = [(*where, digit) for where, legal in LEGAL.items() if legal for digit in (2, 3, 4, 5)]


@pytest.mark.parametrize(("state", "name", "digit"), LEGAL_ANSWERS, ids=str)
def test_an_answer_leads_where_the_table_says_and_takes_both_cursors_along(
    state: State, name: str, digit: int
) -> None:
    machine = reach(state, tongue(name))
    command = COMMANDS[name]
    row = machine.send(command.kind)
    assert machine.state is state
    machine.answered(command.kind, row, digit, outstanding=False)
    assert machine.state is machine.ahead is after(state, name, digit)


@pytest.mark.parametrize(("state", "name"), [where for where, legal in LEGAL.items() if legal], ids=str)
def test_the_second_cursor_counts_on_success(state: State, name: str) -> None:
    machine = reach(state, tongue(name))
    machine.send(COMMANDS[name].kind)
    assert (machine.state, machine.ahead) == (state, after(state, name, 3 if name == "DATA" else 2))


@pytest.mark.parametrize(
    ("digit", "then"), [(2, State.HELLO), (3, State.GREETING), (4, State.CLOSED), (5, State.CLOSED)]
)
def test_only_a_greeting_of_success_lets_the_client_speak(digit: int, then: State) -> None:
    machine = Machine(SMTP)
    run(machine, f"greeting {digit}")
    assert machine.state is machine.ahead is then


def test_after_the_handshake_the_client_introduces_itself_anew() -> None:
    machine = reach(State.TLS)
    run(machine, "handshake 2")
    assert machine.state is machine.ahead is State.HELLO


@pytest.mark.parametrize("state", State, ids=str)
def test_a_closed_machine_stands_still(state: State) -> None:
    machine = reach(state)
    machine.close()
    assert machine.state is machine.ahead is State.CLOSED
    assert {refusal(machine, name) for name in COMMANDS} == {
        f"cannot send {command.verb} in state CLOSED" for command in COMMANDS.values()
    }


# Two cursors.


@pytest.mark.parametrize(
    ("digits", "then"),
    [
        (
            "253",
            State.DATA,
        ),  # RFC 2920 §3.1: nobody was accepted, and the server takes the message all the same
        ("553", State.DATA),
        ("223", State.DATA),
        ("255", State.MAIL),
        ("225", State.RCPT),
        ("555", State.READY),
        ("525", State.RCPT),
    ],
)
def test_a_command_keeps_the_row_under_which_it_was_sent(digits: str, then: State) -> None:
    machine = reach(State.READY)
    flight = [(kind, machine.send(kind)) for kind in (Mail, Rcpt, Data)]
    assert (machine.state, machine.ahead) == (State.READY, State.DATA)
    for number, ((kind, row), digit) in enumerate(zip(flight, digits, strict=True), 1):
        machine.answered(kind, row, int(digit), outstanding=number < len(flight))
    assert machine.state is machine.ahead is then


def test_a_recipient_can_be_the_first_one_accepted_although_another_was_named_before() -> None:
    machine = reach(State.READY)
    flight = [(kind, machine.send(kind)) for kind in (Mail, Rcpt, Rcpt)]
    for (kind, row), digit in zip(flight, (2, 5, 2), strict=True):
        machine.answered(kind, row, digit, outstanding=True)
    assert machine.state is State.RCPT


def test_the_second_cursor_waits_for_the_last_answer() -> None:
    machine = reach(State.READY)
    flight = [(kind, machine.send(kind)) for kind in (Mail, Rcpt)]
    machine.answered(*flight[0], 5, outstanding=True)
    assert (machine.state, machine.ahead) == (State.READY, State.RCPT)
    machine.answered(*flight[1], 5, outstanding=False)
    assert machine.state is machine.ahead is State.READY


@given(st.data())
def test_both_cursors_meet_whenever_nothing_is_outstanding(data: st.DataObject) -> None:
    machine = Machine(SMTP)
    sent: deque[tuple[type[Command], Row]] = deque([(Opening, machine.send(Opening))])
    sendable = st.sampled_from([*(command.kind for command in COMMANDS.values()), TlsStarted])
    for _ in range(data.draw(st.integers(1, 30))):
        answers: bool = data.draw(st.booleans())
        if sent and answers:
            machine.answered(
                *sent.popleft(), data.draw(st.sampled_from([2, 2, 3, 4, 5])), outstanding=bool(sent)
            )
        else:
            kind = data.draw(sendable)
            before = machine.state, machine.ahead
            try:
                sent.append((kind, machine.send(kind)))
            except LocalProtocolError:
                assert (machine.state, machine.ahead) == before
            else:
                assert machine.state is before[0]
        assert sent or machine.state is machine.ahead


# What succeeds once.


def test_starttls_succeeds_once() -> None:
    machine = reach(State.TLS)
    run(machine, "handshake 2 EHLO 2")
    assert refusal(machine, "STARTTLS") == "cannot send STARTTLS a second time"


def test_starttls_is_not_for_connections_that_were_born_encrypted() -> None:
    machine = Machine(SMTP, encrypted=True)
    run(machine, PATHS[State.READY])
    assert refusal(machine, "STARTTLS") == "cannot send STARTTLS a second time"


@pytest.mark.parametrize("way", ["AUTH 2", "AUTH 3 response 2", "AUTH 3 response 3 response 2"])
def test_auth_succeeds_once(way: str) -> None:
    machine = reach(State.READY)
    run(machine, way)
    assert refusal(machine, "AUTH") == "cannot send AUTH a second time"
    run(machine, "EHLO 2")
    assert refusal(machine, "AUTH") == "cannot send AUTH a second time"


@pytest.mark.parametrize(
    "way",
    ["STARTTLS 4", "STARTTLS 5", "AUTH 4", "AUTH 5", "AUTH 3 response 4", "AUTH 3 response 5", "AUTH 3 * 5"],
)
def test_what_was_refused_may_be_tried_again(way: str) -> None:
    machine = reach(State.READY)
    run(machine, way)
    run(machine, way)
    assert machine.state is State.READY


@pytest.mark.parametrize("way", ["XCLIENT 2", "STARTTLS 2 handshake 2"])
def test_a_session_that_begins_anew_can_authenticate_anew(way: str) -> None:
    machine = reach(State.READY)
    run(machine, f"AUTH 2 {way} EHLO 2 AUTH 2")
    assert refusal(machine, "AUTH") == "cannot send AUTH a second time"


def test_a_refused_xclient_does_not_undo_an_authentication() -> None:
    machine = reach(State.READY)
    run(machine, "AUTH 2 XCLIENT 5")
    assert refusal(machine, "AUTH") == "cannot send AUTH a second time"


def test_xclient_does_not_undo_encryption() -> None:
    machine = reach(State.TLS)
    run(machine, "handshake 2 EHLO 2 XCLIENT 2 EHLO 2")
    assert refusal(machine, "STARTTLS") == "cannot send STARTTLS a second time"


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"STARTTLS", "AUTH", "response"}))
def test_everything_else_may_succeed_again(name: str) -> None:
    path = next(state for state in (State.READY, *State) if LEGAL[state, name])
    machine = Machine(tongue(name))
    for _ in range(2):
        machine.state = machine.ahead = path
        run(machine, f"{name} 2", tongue(name))


def test_noop_moves_nothing() -> None:
    machine = reach(State.RCPT)
    assert machine.send(Noop) == {}
    assert machine.ahead is State.RCPT
