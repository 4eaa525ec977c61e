"""Trace events: as text, as lines of JSON and back, on the log, and what they never show."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

import smtpstate_asyncio
import smtpstate_blocking
from smtpstate import (
    DeadlinePassed,
    Delivery,
    Endpoint,
    Envelope,
    LocalProtocolError,
    Negotiated,
    Outcome,
    Phase,
    RemoteProtocolError,
    Reply,
    Status,
    TargetConfig,
    TlsFailed,
    TransportError,
    forwarding,
)
from smtpstate._events import ServiceClosing
from smtpstate._link import Closing
from smtpstate._secure import TlsBroke
from smtpstate.testing import ModelServer, Playground, on
from smtpstate.trace import (
    Cause,
    Connecting,
    Failed,
    LoggedIn,
    Opened,
    Received,
    Secured,
    Sent,
    Settled,
    TraceEvent,
    as_html,
    as_json,
    from_json,
)
from smtpstate_testing import serve

MX = Endpoint.parse("tcp://mx.example:25")
NO = Reply(550, (b"5.1.1 no \x1b[31m\\ \xc3\xa9 \xff", b"such user"))
OUTCOME = Outcome(
    recipient="ü@y.example",
    status=Status.REJECTED,
    reply=NO,
    phase=Phase.RCPT,
    endpoint=MX,
    notes=("a note",),
)

#: Each kind of event, as text and as JSON without what all have.
EVENTS: list[tuple[TraceEvent, str, dict[str, object]]] = [
    (
        Connecting(1.5, Phase.CONNECT, MX),
        "* connecting to tcp://mx.example:25",
        {"event": "connecting", "endpoint": "tcp://mx.example:25"},
    ),
    (
        Opened(1.5, Phase.CONNECT, "192.0.2.25"),
        "* connected to 192.0.2.25",
        {"event": "opened", "remote": "192.0.2.25"},
    ),
    (
        Secured(1.5, Phase.TLS, Negotiated("TLSv1.3", "TLS_AES", True)),
        "* TLSv1.3, TLS_AES, verified",
        {"event": "secured", "version": "TLSv1.3", "cipher": "TLS_AES", "verified": True},
    ),
    (
        Secured(1.5, Phase.TLS, Negotiated("TLSv1.2", "X", False)),
        "* TLSv1.2, X, not verified",
        {"event": "secured", "version": "TLSv1.2", "cipher": "X", "verified": False},
    ),
    (
        LoggedIn(1.5, Phase.AUTH, "me by PLAIN"),
        "* authenticated: me by PLAIN",
        {"event": "logged_in", "who": "me by PLAIN"},
    ),
    (
        Sent(1.5, Phase.MAIL, "MAIL FROM:<ü@x>"),
        "> MAIL FROM:<ü@x>",
        {"event": "sent", "line": "MAIL FROM:<ü@x>"},
    ),
    (
        Received(1.5, Phase.RCPT, NO),
        "< 550-5.1.1 no \\x1b[31m\\ é \ufffd\n< 550 such user",
        {
            "event": "received",
            "reply": {
                "code": 550,
                "lines": ["5.1.1 no \\x1b[31m\\\\ \\xc3\\xa9 \\xff", "such user"],
                "local": False,
            },
        },
    ),
    (
        Failed(1.5, Phase.FINAL, "too late", Cause.DEADLINE),
        "* failed: too late",
        {"event": "failed", "error": "too late", "cause": "deadline", "reply": None},
    ),
    (
        Failed(1.5, Phase.FINAL, "odd", Cause.PROTOCOL, Reply(354)),
        "* failed: odd",
        {
            "event": "failed",
            "error": "odd",
            "cause": "protocol",
            "reply": {"code": 354, "lines": [""], "local": False},
        },
    ),
    (
        Settled(1.5, Phase.RCPT, OUTCOME),
        "= ü@y.example: rejected: 550 5.1.1 no \\x1b[31m\\ é \ufffd / such user",
        {
            "event": "settled",
            "recipient": "ü@y.example",
            "status": "rejected",
            "endpoint": "tcp://mx.example:25",
            "reply": {
                "code": 550,
                "lines": ["5.1.1 no \\x1b[31m\\\\ \\xc3\\xa9 \\xff", "such user"],
                "local": False,
            },
            "notes": ["a note"],
        },
    ),
    (
        Settled(
            1.5,
            Phase.AUTH,
            replace(OUTCOME, phase=Phase.AUTH, endpoint=None, notes=(), reply=Reply(530, local=True)),
        ),
        "= ü@y.example: rejected: 530",
        {
            "event": "settled",
            "recipient": "ü@y.example",
            "status": "rejected",
            "endpoint": None,
            "reply": {"code": 530, "lines": [""], "local": True},
            "notes": [],
        },
    ),
]


@pytest.mark.parametrize(("event", "text", "members"), EVENTS)
def test_an_event_is_text_for_people_and_json_for_programs(
    event: TraceEvent, text: str, members: dict[str, object]
) -> None:
    assert str(event) == text
    line = as_json(event)
    assert json.loads(line) == {"time": 1.5, "phase": event.phase.value, **members}
    assert line.isascii()
    assert line.isprintable()
    assert from_json(line) == event


def test_there_is_an_example_of_every_kind() -> None:
    examples = {type(event).__name__ for event, _, _ in EVENTS}
    assert examples == {kind.__name__ for kind in TraceEvent.__subclasses__()}


def test_an_event_of_another_kind_has_no_json() -> None:
    with pytest.raises(TypeError, match="not an event of a trace: TraceEvent"):
        as_json(TraceEvent(0.0, Phase.MAIL))


@given(
    st.integers(200, 599),
    st.lists(st.binary().filter(lambda line: b"\n" not in line), min_size=1),
    st.booleans(),
)
def test_a_reply_of_any_octets_is_read_back(code: int, lines: list[bytes], local: bool) -> None:
    event = Received(0.25, Phase.DATA, Reply(code, tuple(lines), local=local))
    assert from_json(as_json(event)) == event


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.data(), st.sampled_from(EVENTS))
def test_a_line_that_was_meddled_with_is_read_or_refused(
    data: st.DataObject, example: tuple[TraceEvent, str, dict[str, object]]
) -> None:
    members = json.loads(as_json(example[0]))
    changed = data.draw(st.dictionaries(st.sampled_from(sorted(members)), _JSON, min_size=1))
    try:
        event = from_json(json.dumps(members | changed))
    except ValueError as error:
        assert str(error).startswith("not a line of a trace: ")
    else:
        assert type(event) is type(example[0]) or "event" in changed


@pytest.mark.parametrize(
    "line",
    [
        "",
        "x",
        "[]",
        "null",
        "{}",
        "[" * 100000,
        '{"time": true, "phase": "mail", "event": "sent", "line": "x"}',
        '{"time": 1, "phase": "lunch", "event": "sent", "line": "x"}',
        '{"time": 1, "phase": "mail", "event": "said", "line": "x"}',
        '{"time": 1, "phase": "mail", "event": "sent"}',
        '{"time": 1, "phase": "connect", "event": "connecting", "endpoint": "mx.example"}',
        '{"time": 1, "phase": "tls", "event": "secured", "version": "x", "cipher": "y", "verified": 1}',
        '{"time": 1, "phase": "mail", "event": "received", "reply": {"code": 600, "lines": ["x"], "local": false}}',
        '{"time": 1, "phase": "mail", "event": "received", "reply": {"code": 250, "lines": [], "local": false}}',
        '{"time": 1, "phase": "mail", "event": "received", "reply": {"code": 250, "lines": "x", "local": false}}',
        '{"time": 1, "phase": "mail", "event": "received", "reply": {"code": 250, "lines": ["\\\\n"], "local": false}}',
        '{"time": 1, "phase": "mail", "event": "received", "reply": {"code": 250, "lines": ["\\\\x"], "local": false}}',
        '{"time": 1, "phase": "mail", "event": "received", "reply": {"code": 250, "lines": ["ü"], "local": false}}',
    ],
    ids=range(18),
)
def test_a_line_of_no_trace_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="not a line of a trace"):
        from_json(line)


# Failures.


class Foreign(Exception):
    """Of somebody else, with a text that may hold anything."""


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "text", "cause"),
    [
        (TransportError("broken"), "broken", Cause.NETWORK),
        (TransportError("who?", name_unknown=True), "who?", Cause.NAME),
        (DeadlinePassed("late"), "late", Cause.DEADLINE),
        (TlsFailed("no"), "no", Cause.TLS),
        (TlsFailed("expired", certificate=True), "expired", Cause.CERTIFICATE),
        (RemoteProtocolError("junk"), "junk", Cause.PROTOCOL),
        (LocalProtocolError("yours"), "yours", Cause.OTHER),
        (Foreign("hush"), "Foreign", Cause.OTHER),
        (caused(Foreign("hush"), TlsFailed("no")), "no", Cause.TLS),
        (caused(TlsBroke(DeadlinePassed("late")), DeadlinePassed("late")), "late", Cause.DEADLINE),
        (Closing(ServiceClosing(Reply(421, (b"4.3.2 bye",)), ())), "421 4.3.2 bye", Cause.OTHER),
    ],
    ids=str,
)
def test_a_failure_says_what_was_at_fault(error: Exception, text: str, cause: Cause) -> None:
    event = Failed.because(1.0, Phase.TLS, error)
    assert (event.time, event.phase, event.error, event.cause, event.reply) == (
        1.0,
        Phase.TLS,
        text,
        cause,
        None,
    )


def test_a_reply_out_of_place_is_part_of_the_failure() -> None:
    assert Failed.because(1.0, Phase.DATA, RemoteProtocolError("odd", NO)).reply is NO


def test_events_are_in_order_and_say_how_far_the_connection_has_come() -> None:
    server = ModelServer(extensions=["PIPELINING", "STARTTLS", "AUTH PLAIN"], users={"me": "open sesame"})
    events: list[TraceEvent] = []
    delivery = Delivery(Envelope("a@x.example", ["b@y.example"]), b"hello\r\n")
    config = TargetConfig(targets=[MX], auth=["plain", "me", "open sesame"])
    playground = Playground({str(MX): server}, latency=0.5)
    playground.run(forwarding(delivery, config, trace=events.append))
    assert [event.time for event in events] == sorted(event.time for event in events)
    assert events[-1].time > 3
    seen = [(event.phase.value, type(event).__name__) for event in events]
    assert list(dict.fromkeys(seen)) == [
        ("connect", "Connecting"),
        ("connect", "Opened"),
        ("greeting", "Received"),
        ("hello", "Sent"),
        ("hello", "Received"),
        ("tls", "Sent"),
        ("tls", "Received"),
        ("tls", "Secured"),
        ("auth", "Sent"),
        ("auth", "Received"),
        ("auth", "LoggedIn"),
        ("mail", "Sent"),
        ("rcpt", "Sent"),
        ("rcpt", "Received"),
        ("content", "Sent"),
        ("final", "Received"),
        ("final", "Settled"),
        ("final", "Sent"),
    ]


# The log.


@pytest.mark.parametrize("adapter", ["blocking", "asyncio"])
@pytest.mark.parametrize("debug", [True, False])
def test_debug_logs_the_dialogue(adapter: str, debug: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "smtpstate")
    seen: list[TraceEvent] = []
    envelope = Envelope("a@x.example", ["b@y.example"])
    refusal = on("RCPT").reply(550, "5.1.1 no \x1b[31m", "here")
    server = ModelServer(extensions=["AUTH PLAIN"], rules=[refusal], users={"me": "open sesame"})
    with serve(server) as served:
        config = TargetConfig(
            targets=[served.endpoint], debug=debug, auth=["plain", "me", "open sesame"], insecure_auth=True
        )
        if adapter == "blocking":
            with smtpstate_blocking.Target(config, trace=seen.append) as target:
                target.deliver(envelope, b"hello\r\n")
        else:

            async def main() -> None:
                async with smtpstate_asyncio.Target(config, trace=seen.append) as target:
                    await target.deliver(envelope, b"hello\r\n")

            asyncio.run(main())
    logged = [record.getMessage() for record in caplog.records if record.name == "smtpstate"]
    assert {record.levelno for record in caplog.records if record.name == "smtpstate"} <= {logging.DEBUG}
    assert [str(event) for event in seen][:1] == [f"* connecting to {served.endpoint}"]
    if not debug:
        assert logged == []
        return
    assert logged == [line for event in seen for line in str(event).split("\n")]
    assert "> AUTH PLAIN ****" in logged
    assert logged[logged.index("< 550-5.1.1 no \\x1b[31m") + 1] == "< 550 here"
    assert [line for line in logged if "sesame" in line] == []


def test_a_record_of_the_log_says_what_made_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "smtpstate")
    with serve(ModelServer()) as served:
        config = TargetConfig(targets=[served.endpoint], debug=True)
        with smtpstate_blocking.Target(config) as target:
            target.deliver(Envelope("a@x.example", ["b@y.example"]), b"hello\r\n")
    records = [record for record in caplog.records if record.name == "smtpstate"]
    assert {(record.filename, record.funcName, record.msg) for record in records} == {
        ("_logging.py", "log", "%s")
    }


def test_debug_costs_nothing_where_nobody_listens(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "smtpstate")
    with serve(ModelServer()) as served:
        config = TargetConfig(targets=[served.endpoint], debug=True)
        with smtpstate_blocking.Target(config) as target:
            target.deliver(Envelope("a@x.example", ["b@y.example"]), b"hello\r\n")
    assert [record for record in caplog.records if record.name == "smtpstate"] == []


# As a page.


class Page(HTMLParser):
    """Which elements a page has, and the text of each row."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[tuple[str, list[str]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append((dict(attrs).get("class") or "", []))

    def handle_data(self, data: str) -> None:
        if self.rows and data.strip():
            self.rows[-1][1].append(data)


def test_a_page_shows_each_event_in_its_place() -> None:
    page = Page(as_html((event for event, _, _ in EVENTS), "to <mx>"))
    at = str(MX)
    assert page.rows == [
        ("", [at]),
        ("note", ["0.000", "connect", f"connecting to {at}"]),
        ("note", ["0.000", "connect", "connected to 192.0.2.25"]),
        ("note", ["0.000", "tls", "TLSv1.3, TLS_AES, verified"]),
        ("note", ["0.000", "tls", "TLSv1.2, X, not verified"]),
        ("note", ["0.000", "auth", "authenticated: me by PLAIN"]),
        ("sent", ["0.000", "mail", "MAIL FROM:<ü@x>"]),
        ("received", ["0.000", "rcpt", "550-5.1.1 no \\x1b[31m\\ é \ufffd\n550 such user"]),
        ("failed", ["0.000", "final", "failed: too late"]),
        ("failed", ["0.000", "final", "failed: odd"]),
        (
            "rejected",
            ["0.000", "rcpt", "ü@y.example: rejected: 550 5.1.1 no \\x1b[31m\\ é \ufffd / such user"],
        ),
        ("rejected", ["0.000", "auth", "ü@y.example: rejected: 530"]),
    ]


def test_times_are_counted_from_the_first_event() -> None:
    page = Page(as_html([Sent(7.25, Phase.MAIL, "a"), Sent(8.5, Phase.MAIL, "b")]))
    assert [cells[0] for _, cells in page.rows] == ["0.000", "1.250"]


def test_a_page_without_events_is_a_page() -> None:
    assert Page(as_html([])).rows == []


@given(st.lists(st.binary().filter(lambda line: b"\n" not in line), min_size=1), st.text())
def test_nothing_that_was_said_becomes_markup(lines: list[bytes], words: str) -> None:
    hostile = (b"</pre><script>alert(1)</script>", b"<img src=x onerror=y>", *lines)
    plain = [(tag, attrs) for tag, attrs in Page(as_html([Received(0, Phase.MAIL, Reply(250))])).tags]
    shown = Page(as_html([Received(0, Phase.MAIL, Reply(250, hostile))], words))
    assert shown.tags == plain
    assert {tag for tag, _ in plain} & {"script", "link", "img", "iframe", "object", "a", "form"} == set()
    assert not [attrs for _, attrs in plain if "src" in attrs or "href" in attrs]


@given(st.integers(200, 599).filter(lambda code: code != 334), st.binary())
def test_a_reply_of_one_line_is_shown_as_it_shows_itself(code: int, line: bytes) -> None:
    reply = Reply(code, (line,))
    assert str(Received(0.0, Phase.MAIL, reply)) == f"< {reply}"


def test_a_challenge_is_not_shown_since_a_password_could_be_guessed_from_it() -> None:
    assert str(Received(0.0, Phase.AUTH, Reply(334, (b"cj1hYmMscz1zYWx0LGk9NDA5Ng==",)))) == "< 334 ****"
