"""``smtpstate demo``: two servers, one message, four recipients, and what all of it means."""

from __future__ import annotations

import tempfile
import textwrap
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import final

from rich.text import Text

from smtpstate import Delivery, Envelope, Protocol, Status, TargetConfig, TraceEvent
from smtpstate.testing import ModelServer, Rule, on
from smtpstate_blocking import Target
from smtpstate_cli._exits import Exit, Failure
from smtpstate_cli._report import dialogue_lines, show_table
from smtpstate_cli._screen import Screen, complain, reason
from smtpstate_testing import serve

_SENDER = "anna@client.example"
_ALICE, _BOB, _CAROL, _DAVE = _RECIPIENTS = tuple(
    f"{name}@example.org" for name in ("alice", "bob", "carol", "dave")
)
_EXPECTED = (Status.DELIVERED, Status.REJECTED, Status.DEFERRED, Status.DELIVERED)

_SECONDS = 10.0  # every time-out: both ends are on this machine

_NO_BOB = on("RCPT", _BOB).reply(550, "5.1.1 no such user here")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One protocol's part of the demo."""

    title: str
    protocol: Protocol
    about: str
    rules: tuple[Rule, ...]
    #: what is explained above the first line that begins so; each after the one before it
    notes: tuple[tuple[str, str], ...]


LMTP = Scene(
    title="By LMTP (RFC 2033), over a unix socket",
    protocol=Protocol.LMTP,
    about=(
        "LMTP hands mail to a store of mailboxes. After the message its server answers once for each "
        "recipient that it has accepted, so that one full mailbox is nobody else's trouble."
    ),
    rules=(_NO_BOB, on("message", _CAROL).reply(452, "4.2.2 mailbox full")),
    notes=(
        ("<", "The server greets. The client says who it is, and hears what the server can do."),
        (
            "> MAIL",
            "PIPELINING was among it: the sender, every recipient and DATA leave together, without "
            "waiting for the answers one by one.",
        ),
        ("<", "The answers, in the same order: bob is unknown here, which does not hold up the others."),
        (
            "> (",
            "Now the message itself. Its line ends become CRLF on the way, which SIZE above has counted; "
            "a lone dot marks its end.",
        ),
        ("<", "One answer each for alice, carol and dave: the mailbox of carol is full."),
        ("> QUIT", "Everybody has an outcome. The rest is politeness."),
    ),
)

SMTP = Scene(
    title="By SMTP (RFC 5321), over TCP",
    protocol=Protocol.SMTP,
    about=(
        "SMTP hands mail from server to server. Its last answer is one for all recipients, so a server "
        "that cannot take the message for carol now has to say so before, when she is named."
    ),
    rules=(_NO_BOB, on("RCPT", _CAROL).reply(450, "4.2.1 mailbox busy, try again later")),
    notes=(
        ("> EHLO", "SMTP says EHLO where LMTP says LHLO. The rest looks alike:"),
        ("> MAIL", "the envelope in one flight,"),
        ("<", "the answers: bob is refused for good, carol for now,"),
        ("> (", "the message,"),
        ("<", "and a single answer, which stands for alice and dave."),
    ),
)


def show_demo() -> Exit:
    """Play both scenes, and return whether everything went as it should.

    Raises:
        Failure: this machine does not let the servers start.
    """
    screen = Screen()
    complaints: list[str] = []
    try:
        with (
            as_file(files("smtpstate_cli") / "demo.eml") as message,
            tempfile.TemporaryDirectory(prefix="smtpstate-") as folder,
        ):
            _tell(
                screen,
                f"One message, a text with a table attached ({message.stat().st_size} octets in a file), goes to "
                "four recipients: first by LMTP, then by SMTP. The servers run inside this program; no mail "
                "leaves this machine. What the client says begins with >, what the server says with <.",
            )
            complaints += _play(LMTP, message, Path(folder, "lmtp"), screen)
            complaints += _play(SMTP, message, None, screen)
    except OSError as error:
        raise Failure(Exit.INTERNAL, f"the demo cannot run here: {reason(error)}") from None
    if complaints:
        complain(f"the demo did not go as it should: {'; '.join(complaints)}")
        return Exit.INTERNAL
    _explain(screen)
    return Exit.DELIVERED


def _play(scene: Scene, message: Path, unix_path: Path | None, screen: Screen) -> list[str]:
    """Play a scene, and return what was not as it should have been."""
    _heading(screen, scene.title)
    _tell(screen, scene.about)
    server = ModelServer(
        scene.protocol,
        ("PIPELINING", "8BITMIME", "SIZE 10485760", "ENHANCEDSTATUSCODES"),
        scene.rules,
        name="mail.example.org",
    )
    delivery = Delivery(Envelope(_SENDER, _RECIPIENTS), message)
    narrator = _Narrator(screen, scene.notes)
    with ExitStack() as running:
        served = running.enter_context(serve(server, unix_path=unix_path))
        config = TargetConfig(
            targets=[served.endpoint],
            protocol=scene.protocol,
            connect_timeout=_SECONDS,
            command_timeout=_SECONDS,
            submission_timeout=_SECONDS,
        )
        running.enter_context(Target(config, trace=narrator)).run(delivery)
    screen.write("\n")
    show_table(screen, delivery.outcomes)

    sent = message.read_bytes().replace(b"\n", b"\r\n")
    held = [(stored.recipients, stored.content) for stored in server.messages]
    return [
        *(f"{scene.protocol.name}: {violation}" for violation in server.violations),
        *(
            f"{outcome.recipient} was {outcome.status.value} by {scene.protocol.name}"
            for outcome, expected in zip(delivery.outcomes, _EXPECTED, strict=True)
            if outcome.status is not expected
        ),
        *(
            [f"what came by {scene.protocol.name} is not what was sent"]
            if held != [((_ALICE, _DAVE), sent)]
            else []
        ),
    ]


def _explain(screen: Screen) -> None:
    _heading(screen, "What to make of it")
    _tell(screen, "Each recipient has exactly one outcome, and it says whether to send again:")
    for status, advice in (
        ("delivered", "no. The server has taken the message for alice and dave."),
        ("rejected", "of no use. The server's words say why, and belong in a report to the sender."),
        (
            "deferred",
            "yes, later, to carol alone. Nothing was accepted for her, so nobody gets it twice.",
        ),
        (
            "uncertain",
            "not seen here. The connection broke after the message and before its answer: "
            "only you can know whether a duplicate is worse than a loss.",
        ),
    ):
        _say(screen, f"{status}: {advice}", first="  - ", indent="    ")
    screen.write("\n")
    _tell(screen, "Both servers hold the message for alice and dave, octet for octet, with CRLF line ends.")
    _tell(screen, "Now with a server and a message of your own: smtpstate send --help")


@final
class _Narrator:
    """Prints the dialogue as it happens, and above some of its lines what they mean."""

    def __init__(self, screen: Screen, notes: Sequence[tuple[str, str]]) -> None:
        self._screen = screen
        self._notes = list(notes)

    def __call__(self, event: TraceEvent) -> None:
        for line in dialogue_lines(event):
            if self._notes and line.plain.startswith(self._notes[0][0]):
                _, note = self._notes.pop(0)
                _say(self._screen, note, indent="  # ", style="italic")
            self._screen.show_lines(Text("    ").append(line))


def _heading(screen: Screen, text: str) -> None:
    screen.show_lines(Text(), Text(text, "bold"), Text("-" * len(text)))


def _tell(screen: Screen, text: str) -> None:
    _say(screen, text)


def _say(screen: Screen, text: str, *, indent: str = "", first: str | None = None, style: str = "") -> None:
    lines = textwrap.wrap(
        text,
        min(screen.width, 80) - 1,
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
    )
    screen.show_lines(*(Text(line, style) for line in lines))
