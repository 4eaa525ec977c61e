"""What is measured, and what is to be reached."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

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


@dataclass(frozen=True, slots=True)
class Goal:
    """How many times as fast one of our adapters should be as somebody else."""

    ours: str
    theirs: str
    factor: float
    of: Literal["seconds", "cpu"] = "seconds"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Clients that do the same work against the same sink."""

    title: str
    work: Work
    sinks: dict[str, tuple[str, ...]]  #: for each client: what its sink is told
    goals: tuple[Goal, ...]
    pinned: bool = True
    least: int = 20  #: messages of a quick run at least
    repeat: int = 5  #: rounds

    def quick(self) -> Row:
        """Return the same with less to do."""
        messages = min(self.work.messages, max(self.work.messages // QUICK, self.least))
        return replace(self, work=replace(self.work, messages=messages), repeat=3)


def against(*clients: str, sink: tuple[str, ...] = ()) -> dict[str, tuple[str, ...]]:
    """Return the same sink for all clients."""
    return dict.fromkeys(clients, sink)


ROWS = (
    Row(
        title="1 KiB to one recipient, one message after the other",
        work=Work(messages=3000),
        sinks=against(*PEERS, *OURS),
        goals=(
            Goal("blocking", "smtplib", 1.5),
            Goal("blocking", "smtp-source", 1.2),
            Goal("asyncio", "aiosmtplib", 3),
            Goal("trio", "smtpproto trio", 4),
            Goal("anyio asyncio", "smtpproto asyncio", 3),
            Goal("anyio trio", "smtpproto trio", 3),
        ),
        least=300,
    ),
    Row(
        title="the same, queued",
        work=Work(messages=3000, queued=True),
        sinks=against("smtplib", "aiosmtplib", "slimta", *OURS),
        goals=(
            Goal("blocking", "smtplib", 2.5),
            Goal("blocking", "slimta", 1.3),
            Goal("asyncio", "aiosmtplib", 5),
        ),
        least=300,
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
        sinks=against("smtplib", "aiosmtplib", "slimta", "smtp-source", *OURS),
        goals=(
            Goal("blocking", "smtplib", 6),
            Goal("blocking", "slimta", 1.5),
            Goal("asyncio", "aiosmtplib", 12),
        ),
        least=30,
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
        work=Work(messages=1, recipients=10_000),
        sinks=against("smtplib", "smtp-source", *OURS),
        goals=(Goal("blocking", "smtplib", 8),),
    ),
    Row(
        title="one message of 200 MiB from a file, by DATA",
        work=Work(messages=1, path="large"),
        sinks=against("smtplib", "smtp-source", *OURS),
        goals=(Goal("blocking", "smtplib", 2), Goal("blocking", "smtp-source", 1)),
        pinned=False,
        repeat=3,
    ),
    Row(
        title="the same by BDAT",
        work=Work(messages=1, path="large"),
        sinks={"smtplib": ("chunking",), "bare sendall": ("chunking",), **against(*OURS, sink=("chunking",))},
        goals=(Goal("blocking", "smtplib", 3),),
        pinned=False,
        repeat=3,
    ),
    Row(
        title="the same by BDAT, as binary",
        work=Work(messages=1, path="large", binary=True),
        sinks={"bare sendall": ("chunking",), **against(*OURS, sink=("chunking",))},
        goals=(Goal("blocking", "bare sendall", 0.6),),
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
        sinks=against("aiosmtplib", "smtpproto trio", "asyncio", "trio"),
        goals=(Goal("asyncio", "aiosmtplib", 2.4, "cpu"), Goal("trio", "smtpproto trio", 2.5, "cpu")),
        repeat=3,
    ),
    Row(
        title="1 KiB to one recipient, with a trace",
        work=Work(messages=1000, debug=True),
        sinks=against("blocking", "asyncio"),
        goals=(),
        least=100,
    ),
)
