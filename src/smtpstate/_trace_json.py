r"""Trace events as lines of JSON, and back.

What a server said is written as printable ASCII; every other octet, and the
backslash, as an escape: ``\xNN``, ``\t``, ``\\``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import final

from smtpstate._checks import is_iterable, is_mapping
from smtpstate._endpoints import Endpoint
from smtpstate._errors import ConfigError
from smtpstate._outcomes import Outcome, Phase, Status
from smtpstate._replies import Reply
from smtpstate._requests import Negotiated
from smtpstate._text import visible
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
    TraceEvent,
)


def as_json(event: TraceEvent) -> str:
    """Return an event as a JSON object on one line, in ASCII, without secrets.

    Each has ``time`` (seconds on the adapter's clock), ``phase`` and ``event``.

    Raises:
        TypeError: it is of no known kind.
    """
    name, details = _details(event)
    return json.dumps({"time": event.time, "phase": event.phase.value, "event": name, **details})


def from_json(line: str) -> TraceEvent:
    """Return the event that ``as_json`` wrote.

    Certificates, channel bindings and the exceptions of outcomes are not
    written, and so not read.

    Raises:
        ValueError: the line is none of a trace.
    """
    try:
        return _event(_Fields(json.loads(line)))
    except (ConfigError, ValueError, RecursionError) as error:
        raise ValueError(f"not a line of a trace: {visible(line[:80])!r}: {visible(str(error))}") from None


def _details(event: TraceEvent) -> tuple[str, Mapping[str, object]]:
    match event:
        case Connecting():
            return "connecting", {"endpoint": str(event.endpoint)}
        case Opened():
            return "opened", {"remote": event.remote}
        case Secured():
            tls = event.tls
            return "secured", {"version": tls.version, "cipher": tls.cipher, "verified": tls.verified}
        case LoggedIn():
            return "logged_in", {"who": event.who}
        case Sent():
            return "sent", {"line": event.line}
        case Received():
            return "received", {"reply": reply_fields(event.reply)}
        case Failed():
            reply = reply_fields(event.reply) if event.reply else None
            return "failed", {"error": event.error, "cause": event.cause.value, "reply": reply}
        case Settled():
            outcome = event.outcome
            return "settled", {
                "recipient": outcome.recipient,
                "status": outcome.status.value,
                "endpoint": str(outcome.endpoint) if outcome.endpoint else None,
                "reply": reply_fields(outcome.reply),
                "notes": list(outcome.notes),
            }
        case _:
            raise TypeError(f"not an event of a trace: {type(event).__name__}")


def _event(fields: _Fields) -> TraceEvent:
    time, phase = fields.number("time"), Phase(fields.text("phase"))
    match fields.text("event"):
        case "connecting":
            return Connecting(time, phase, Endpoint.parse(fields.text("endpoint")))
        case "opened":
            return Opened(time, phase, fields.text("remote"))
        case "secured":
            tls = Negotiated(fields.text("version"), fields.text("cipher"), fields.flag("verified"))
            return Secured(time, phase, tls)
        case "logged_in":
            return LoggedIn(time, phase, fields.text("who"))
        case "sent":
            return Sent(time, phase, fields.text("line"))
        case "received":
            return Received(time, phase, fields.reply())
        case "failed":
            reply = None if fields.has_none("reply") else fields.reply()
            return Failed(time, phase, fields.text("error"), Cause(fields.text("cause")), reply)
        case "settled":
            outcome = Outcome(
                recipient=fields.text("recipient"),
                status=Status(fields.text("status")),
                reply=fields.reply(),
                phase=phase,
                endpoint=None if fields.has_none("endpoint") else Endpoint.parse(fields.text("endpoint")),
                notes=fields.texts("notes"),
            )
            return Settled(time, phase, outcome)
        case name:
            raise ValueError(f"no such event: {name}")


def reply_fields(reply: Reply) -> dict[str, object]:
    """Return a reply as an object of JSON."""
    lines = [line.decode("latin-1").encode("unicode_escape").decode() for line in reply.lines]
    return {"code": reply.code, "lines": lines, "local": reply.local}


@final
class _Fields:
    """A JSON object whose members are checked as they are read; ``ValueError`` where they are wrong."""

    def __init__(self, value: object) -> None:
        if not is_mapping(value):
            raise ValueError("not an object")
        self._members = value

    def _wrong(self, name: str) -> ValueError:
        return ValueError(f"{name} is missing or wrong")

    def has_none(self, name: str) -> bool:
        return name in self._members and self._members[name] is None

    def text(self, name: str) -> str:
        value = self._members.get(name)
        if not isinstance(value, str):
            raise self._wrong(name)
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        values = self._members.get(name)
        words = tuple(values) if is_iterable(values) and not isinstance(values, str) else (None,)
        texts = tuple(word for word in words if isinstance(word, str))
        if len(texts) < len(words):
            raise self._wrong(name)
        return texts

    def number(self, name: str) -> float:
        value = self._members.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self._wrong(name)
        return value

    def flag(self, name: str) -> bool:
        value = self._members.get(name)
        if not isinstance(value, bool):
            raise self._wrong(name)
        return value

    def reply(self) -> Reply:
        inner = _Fields(self._members.get("reply"))
        code, local = inner.number("code"), inner.flag("local")
        if code not in range(200, 600):
            raise self._wrong("code")
        lines = tuple(_octets(line) for line in inner.texts("lines"))
        if not lines:
            raise self._wrong("lines")
        return Reply(int(code), lines, local=local)


def _octets(text: str) -> bytes:
    line = text.encode("ascii").decode("unicode_escape").encode("latin-1")
    if b"\n" in line:
        raise ValueError("a line holds the end of a line")
    return line
