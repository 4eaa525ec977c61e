"""Written transcripts: a network that says what they say and compares what the client says."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

from smtpstate._endpoints import Endpoint
from smtpstate._errors import DeadlinePassed, TlsFailed, TransportError
from smtpstate.testing._actions import (
    Action,
    Close,
    Delay,
    Refuse,
    Reset,
    Say,
    Silence,
    StartTls,
    StopReading,
)
from smtpstate.testing._connection import ServerSide
from smtpstate.testing._settings import ModelTls
from smtpstate.testing._transcript import escaped

_ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|([\\rnt]))")
_PLAIN = {"\\": "\\", "r": "\r", "n": "\n", "t": "\t"}

#: What a line with an exclamation mark lets the server do.
_DIRECTIVES: Mapping[str, Callable[[str], Action]] = {
    "close": lambda _: Close(),
    "reset": lambda _: Reset(),
    "silence": lambda _: Silence(),
    "stop-reading": lambda _: StopReading(),
    "delay": lambda seconds: Delay(float(seconds)),
    "tls": lambda _: StartTls(),
    "tls-failed": lambda reason: Refuse(TlsFailed(reason)),
    "certificate-failed": lambda reason: Refuse(TlsFailed(reason, certificate=True)),
}


@final
@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    text: str
    octets: bytes = b""  # what the client says
    action: Action | None = None  # or what the server does


@final
@dataclass(frozen=True, slots=True)
class _Opening:
    """One connection, or one that fails, and what happens on it."""

    line: _Line
    endpoint: Endpoint
    lines: list[_Line]
    failure: TransportError | None = None
    certificate: tuple[str, ...] = ()  # whom the server's certificate names


@final
class Script:
    r"""A transcript to be played once; give it to a ``Playground`` as its network.

    Its lines are::

        # a comment
        ! connect mx.example:25         the client connects there (or tls://..., unix:...)
        ! refuse mx.example:25 REASON   it does, and that fails; without a reason, by its deadline
        S: 220 mx.example               the server says this line
        C: EHLO client.example          the client is to say this line
        ! tls NAME                      a handshake, with a certificate for NAME
        ! tls-failed REASON             one that fails, or by ! certificate-failed REASON
        ! delay SECONDS                 the server pauses; also ! close, ! reset, ! silence, ! stop-reading

    CRLF follows each line that is said, unless a backslash stands at its end.
    ``\r``, ``\n``, ``\t``, ``\xNN`` and ``\\`` stand for octets. What a
    ``Playground`` records can be played again.
    """

    def __init__(self, openings: list[_Opening]) -> None:
        self._openings = openings
        self._played = 0
        self._peers: list[_ScriptedPeer] = []

    @classmethod
    def parse(cls, text: str) -> Script:
        """Read a script.

        Raises:
            ValueError: a line is none of those that a script has; the message says which.
        """
        openings: list[_Opening] = []
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            mark, rest = line[:2], line[2:].removeprefix(" ")
            word, _, argument = rest.partition(" ")
            if mark == "! " and word in ("connect", "refuse"):
                openings.append(_opening(_Line(number, line), word, argument))
                continue
            if not openings:
                raise ValueError(f"line {number}: a script begins with ! connect")
            lines = openings[-1].lines
            if mark == "S:":
                lines.append(_Line(number, line, action=Say(_octets(rest))))
            elif mark == "C:":
                lines.append(_Line(number, line, octets=_octets(rest)))
            elif mark == "! " and word in _DIRECTIVES:
                lines.append(_Line(number, line, action=_DIRECTIVES[word](argument)))
            else:
                raise ValueError(f"line {number}: not a line of a script: {line!r}")
        return cls(openings)

    def open(self, endpoint: Endpoint) -> ServerSide:
        """Connect as the script has it next.

        Raises:
            TransportError: the script says so.
            AssertionError: the script has no such connection here.
        """
        opening = self._openings[self._played] if self._played < len(self._openings) else None
        if opening is None or opening.endpoint != endpoint:
            there = f"line {opening.line.number}: {opening.line.text}" if opening else "the end of the script"
            raise AssertionError(f"the client connects to {endpoint}, where there is {there}")
        self._played += 1
        if opening.failure is not None:
            raise opening.failure
        peer = _ScriptedPeer(opening)
        self._peers.append(peer)
        return peer

    def check_finished(self) -> None:
        """Check that all of the script was played.

        Raises:
            AssertionError: something was not; the message says what.
        """
        for peer in self._peers:
            peer.check_finished()
        if self._played < len(self._openings):
            line = self._openings[self._played].line
            raise AssertionError(f"the client did not come to line {line.number}: {line.text}")


def _opening(line: _Line, word: str, argument: str) -> _Opening:
    where, _, reason = argument.partition(" ")
    endpoint = Endpoint.parse(where if "://" in where or where.startswith("unix:") else f"tcp://{where}")
    if word == "connect":
        return _Opening(line, endpoint, [])
    failure = TransportError(reason) if reason else DeadlinePassed("not connected in time")
    return _Opening(line, endpoint, [], failure)


def _octets(text: str) -> bytes:
    goes_on = (len(text) - len(text.rstrip("\\"))) % 2 == 1  # the last backslash escapes nothing
    said = _ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else _PLAIN[found[2]], text)
    return (said[:-1] if goes_on else said + "\r\n").encode("latin-1")


@final
class _ScriptedPeer:
    """The server's side of one connection of a script."""

    def __init__(self, opening: _Opening) -> None:
        names = (line.text.split()[2:3] for line in opening.lines if isinstance(line.action, StartTls))
        self.tls_model = ModelTls(names=tuple(name for words in names for name in words))
        self._lines = [opening.line, *opening.lines]
        self._next = 1
        self._heard = b""
        self._awaits_tls = False

    def greet(self) -> list[Action]:
        """See ``ServerSide.greet``."""
        return self._go_on()

    def tls_started(self) -> list[Action]:
        """See ``ServerSide.tls_started``."""
        self._awaits_tls = False
        return self._go_on()

    def feed(self, data: bytes, *, unread: bool = False) -> None:
        """Compare what the client says.

        Raises:
            AssertionError: the script has something else; the message shows both.
        """
        self._heard += data
        while self._heard:
            line = self._line()
            if line is None or line.action is not None:
                raise AssertionError(self._difference(line))
            expected = line.octets
            if not self._heard.startswith(expected):
                if not expected.startswith(self._heard):
                    raise AssertionError(self._difference(line))
                return  # the rest of the line is still to come
            self._heard = self._heard[len(expected) :]
            self._next += 1

    def step(self) -> list[Action] | None:
        """See ``ServerSide.step``."""
        return None if self._heard else self._go_on() or None

    def disconnected(self) -> None:
        """See ``ServerSide.disconnected``."""

    def check_finished(self) -> None:
        """See ``Script.check_finished``."""
        line = self._line()
        if line is not None:
            raise AssertionError(f"the client did not come to line {line.number}: {line.text}")

    def _line(self) -> _Line | None:
        return self._lines[self._next] if self._next < len(self._lines) else None

    def _go_on(self) -> list[Action]:
        """Return what the server does until it is the client's turn."""
        actions: list[Action] = []
        while not self._awaits_tls and (line := self._line()) is not None and line.action is not None:
            actions.append(line.action)
            self._next += 1
            self._awaits_tls = isinstance(line.action, StartTls)
        return actions

    def _difference(self, line: _Line | None) -> str:
        before = [f"    {each.text}" for each in self._lines[max(0, self._next - 5) : self._next]]
        said, crlf, _ = self._heard.partition(b"\r\n")
        got = f"C: {escaped(said)}" + ("" if crlf else "\\")
        where = f"line {line.number} of the script" if line else "the end of the script"
        wanted = [f"  - {line.text}"] if line else []
        return "\n".join([f"the client leaves the script at {where}:", *before, *wanted, f"  + {got}"])
