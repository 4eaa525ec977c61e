"""What is measured, and what is to be reached."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from sinks import POSTFIX
from work import Work

OURS = ("blocking", "asyncio", "trio", "anyio asyncio", "anyio trio")
PEERS = (
    "smtplib",
    "aiosmtplib",
    "smtpproto asyncio",
    "smtpproto trio",
    "slimta",
    "nodemailer",
    "smtp-source",
)
QUICK = 10  # how many times less there is to do
LARGE = 1 << 20  # octets from which on a message is a file


Figure = Literal["seconds", "cpu"]


@dataclass(frozen=True, slots=True)
class Goal:
    """How many times as fast one client should be as another."""

    ours: str
    theirs: str
    factor: float
    of: Figure = "seconds"


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What a client should not need more of."""

    client: str
    what: Literal["MiB", "KiB a connection", "turns"]
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Clients that do the same work against the same sink."""

    title: str
    work: Work
    sinks: dict[str, tuple[str, ...]]  #: for each client: what its sink is told
    goals: tuple[Goal, ...] = ()
    ceilings: tuple[Ceiling, ...] = ()
    pinned: bool = True
    least: int = 20  #: messages of a quick run at least
    repeat: int = 5  #: rounds
    charted: bool = False

    def quick(self) -> Row:
        """Return the same with less to do."""
        messages = min(self.work.messages, max(self.work.messages // QUICK, self.least))
        size = self.work.size if self.work.size < LARGE else self.work.size // QUICK
        return replace(
            self,
            work=replace(self.work, messages=messages, size=size),
            repeat=2 if self.goals or self.ceilings else 1,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """The same client with 100 times as much to do: its processor time is to grow as much, and no more."""

    title: str
    client: str
    small: Work
    large: Work
    sink: tuple[str, ...] = ()

    def quick(self) -> Growth:
        """Return the same with less to do."""
        return replace(self, small=_less(self.small), large=_less(self.large))


def _less(work: Work) -> Work:
    """Divide what there is a lot of."""
    if work.messages > 1:
        return replace(work, messages=work.messages // QUICK)
    if work.recipients > 1:
        return replace(work, recipients=work.recipients // QUICK)
    return replace(work, size=work.size // QUICK)


def against(*clients: str, sink: tuple[str, ...] = ()) -> dict[str, tuple[str, ...]]:
    """Return the same sink for all clients."""
    return dict.fromkeys(clients, sink)


ROWS = (
    Row(
        title="1 KiB to one recipient, one message after the other",
        work=Work(messages=3000),
        sinks=against(*PEERS, "bare flights", *OURS),
        goals=(
            Goal("blocking", "smtplib", 1.5),
            Goal("blocking", "smtp-source", 1.2),
            Goal("asyncio", "aiosmtplib", 3),
            Goal("trio", "smtpproto trio", 4),
            Goal("anyio asyncio", "smtpproto asyncio", 3),
            Goal("anyio trio", "smtpproto trio", 3),
        ),
        least=300,
        charted=True,
    ),
    Row(
        title="the same, against Postfix's smtp-sink",
        work=Work(messages=3000),
        sinks=against(*PEERS, *OURS, sink=(POSTFIX,)),
        least=300,
        repeat=3,
    ),
    Row(
        title="the same, queued",
        work=Work(messages=3000, queued=True),
        sinks=against("smtplib", "aiosmtplib", "slimta", "bare flights", *OURS),
        goals=(
            Goal("blocking", "smtplib", 2.5),
            Goal("blocking", "slimta", 1.3),
            Goal("asyncio", "aiosmtplib", 5),
        ),
        least=300,
        charted=True,
    ),
    Row(
        title="the same, queued, with CHUNKING",
        work=Work(messages=3000, queued=True),
        sinks=against("smtplib", *OURS, sink=("chunking",)),
        goals=(Goal("blocking", "smtplib", 5),),
        least=300,
    ),
    Row(
        title="50 recipients a message",
        work=Work(messages=300, recipients=50),
        sinks=against("smtplib", "aiosmtplib", "slimta", "smtp-source", "bare flights", *OURS),
        goals=(
            Goal("blocking", "smtplib", 6),
            Goal("blocking", "slimta", 1.5),
            Goal("asyncio", "aiosmtplib", 12),
        ),
        least=30,
        charted=True,
    ),
    Row(
        title="LMTP, 50 recipients a message",
        work=Work(messages=300, recipients=50, lmtp=True),
        sinks=against("slimta", *OURS, sink=("lmtp",)),
        goals=(Goal("blocking", "slimta", 2),),
        least=30,
    ),
    Row(
        title="one message, 10,000 recipients",
        work=Work(recipients=10_000),
        sinks=against("smtplib", "smtp-source", *OURS),
        goals=(Goal("blocking", "smtplib", 8),),
    ),
    Row(
        title="one message of 200 MiB from a file, by DATA",
        work=Work(size=200 << 20),
        sinks=against("smtplib", "smtp-source", *OURS),
        goals=(Goal("blocking", "smtplib", 2), Goal("blocking", "smtp-source", 1)),
        ceilings=(Ceiling("blocking", "MiB", 4), Ceiling("asyncio", "MiB", 4)),
        pinned=False,
        repeat=3,
    ),
    Row(
        title="the same by BDAT",
        work=Work(size=200 << 20),
        sinks={"smtplib": ("chunking",), "bare sendall": ("chunking",), **against(*OURS, sink=("chunking",))},
        goals=(Goal("blocking", "smtplib", 3),),
        pinned=False,
        repeat=3,
    ),
    Row(
        title="the same by BDAT, as binary",
        work=Work(size=200 << 20, binary=True),
        sinks={"bare sendall": ("chunking",), **against(*OURS, sink=("chunking",))},
        goals=(Goal("blocking", "bare sendall", 0.6),),
        pinned=False,
        repeat=3,
    ),
    Row(
        title="one message at 50 ms round trip, connection and goodbye included, by DATA",
        work=Work(),
        sinks=against("smtplib connecting", "blocking connecting", sink=("delay=0.05",)),
        ceilings=(Ceiling("blocking connecting", "turns", 4),),
        pinned=False,
        repeat=3,
    ),
    Row(
        title="the same by BDAT",
        work=Work(),
        sinks=against("smtplib connecting", "blocking connecting", sink=("chunking", "delay=0.05")),
        ceilings=(Ceiling("blocking connecting", "turns", 3),),
        pinned=False,
        repeat=3,
    ),
    Row(
        title="20 messages at 50 ms, connection and goodbye included, by DATA",
        work=Work(messages=20, queued=True),
        sinks=against("smtplib connecting", "blocking connecting", sink=("delay=0.05",)),
        goals=(Goal("blocking connecting", "smtplib connecting", 1 / 0.35),),
        pinned=False,
        repeat=3,
    ),
    Row(
        title="20 messages at 50 ms, connection and goodbye included, by BDAT",
        work=Work(messages=20, queued=True),
        sinks=against("smtplib connecting", "blocking connecting", sink=("chunking", "delay=0.05")),
        goals=(Goal("blocking connecting", "smtplib connecting", 1 / 0.08),),
        pinned=False,
        repeat=3,
    ),
    Row(
        title="500 connections of 4 messages in one process",
        work=Work(messages=4, connections=500),
        sinks=against("aiosmtplib", "smtpproto asyncio", "smtpproto trio", *OURS[1:]),
        goals=(Goal("asyncio", "aiosmtplib", 2.4, "cpu"), Goal("trio", "smtpproto trio", 2.5, "cpu")),
        ceilings=(Ceiling("asyncio", "KiB a connection", 40), Ceiling("trio", "KiB a connection", 40)),
        repeat=3,
    ),
    Row(
        title="1 KiB to one recipient, with a trace",
        work=Work(messages=2000),
        sinks=against("blocking", "blocking, trace", "blocking, debug"),
        goals=(Goal("blocking, trace", "blocking", 1 / 1.5), Goal("blocking, debug", "blocking", 1 / 1.5)),
        least=300,
    ),
)

GROWTHS = (
    Growth(
        title="recipients of one message",
        client="blocking",
        small=Work(recipients=1000),
        large=Work(recipients=100_000),
    ),
    Growth(
        title="messages, one after the other",
        client="blocking",
        small=Work(messages=100),
        large=Work(messages=10_000),
    ),
    Growth(
        title="messages, queued",
        client="blocking",
        small=Work(messages=100, queued=True),
        large=Work(messages=10_000, queued=True),
    ),
    Growth(
        title="octets of a message by DATA",
        client="blocking",
        small=Work(size=10 << 20),
        large=Work(size=1 << 30),
    ),
    Growth(
        title="octets of a message by BDAT",
        client="blocking",
        small=Work(size=10 << 20),
        large=Work(size=1 << 30),
        sink=("chunking",),
    ),
)
