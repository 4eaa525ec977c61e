"""Run clients in turn, each in a fresh process against a fresh sink, and compare them pair by pair."""

from __future__ import annotations

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sinks import serving
from work import Work

HERE = Path(__file__).parent
LIMIT = 300  # seconds that one run may take


class Lost(Exception):
    """A client reports success, and the sink has not had all of it."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of one client took."""

    seconds: float
    cpu: float  #: seconds of processor time
    memory: int = 0  #: KiB that its peak of memory grew by


def checked(counts: dict[str, int], work: Work) -> None:
    """Hold what the sink has counted against what there was to send.

    Raises:
        Lost: they differ.
    """
    messages = work.messages * work.connections
    wanted = {"messages": messages, "recipients": messages * work.recipients}
    # Some clients write headers anew, so that a few octets more are theirs to add.
    least = {"octets": messages * work.octets()}
    if "messages" not in counts:
        raise Lost("the sink did not say what has arrived")
    for what, count in counts.items():
        if count < least.get(what, 0) or count != wanted.get(what, count):
            raise Lost(f"{count} {what} of {wanted.get(what, least.get(what))} have arrived")


def run(client: str, work: Work, words: Sequence[str], *, pinned: bool = True) -> Run:
    """Run one client once, against a sink that is told these words.

    Raises:
        Lost: not everything has arrived.
        RuntimeError: the client failed.
        OSError: there is no such sink.
    """
    pin = str(max(os.sched_getaffinity(0))) if pinned else ""
    with serving(words, pin) as sink:
        figures = command(client, sink.port, work, pin)
    checked(sink.counts, work)
    return figures


def command(client: str, port: str, work: Work, pin: str) -> Run:
    """Run a client against the port, and return its figures."""
    environment = {**os.environ, "PIN": pin, "NODE_PATH": os.environ.get("NODE_PATH", "")}
    if client == "smtp-source":
        return smtp_source(port, work, pin)
    words = json.dumps(work.as_dict())
    program = [sys.executable, str(HERE / "clients.py"), client, port, words]
    if client == "nodemailer":
        program = ["node", str(HERE / "nodemailer.js"), port, words]
        if pin:
            program = ["taskset", "-c", pin, *program]
    done = subprocess.run(
        program, env=environment, capture_output=True, text=True, timeout=LIMIT, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{client}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")
    return Run(**json.loads(done.stdout.splitlines()[-1]))


def smtp_source(port: str, work: Work, pin: str) -> Run:
    """Run Postfix's client; its connection is within the time, which is little among thousands of messages."""
    program = ["smtp-source", "-d", "-s", "1", "-m", str(work.messages), "-r", str(work.recipients)]
    program += ["-F", work.path] if work.path else ["-l", str(work.size)]
    program += ["-f", "alice@client.example", "-t", "user@mx.example", f"127.0.0.1:{port}"]
    if pin:
        program = ["taskset", "-c", pin, *program]
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(program, capture_output=True, timeout=LIMIT, check=True)
    seconds, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Run(seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def have(client: str) -> bool:
    """Return whether a client can be run here."""
    if client == "smtp-source":
        return shutil.which("smtp-source") is not None and shutil.which("taskset") is not None
    if client == "nodemailer":
        return shutil.which("node") is not None and bool(os.environ.get("NODE_PATH"))
    package = {"slimta": "slimta.smtp.client"}.get(client, client.split()[0])
    if package not in ("aiosmtplib", "smtpproto", "slimta.smtp.client"):
        return True
    return (
        subprocess.run(
            [sys.executable, "-c", f"import {package}"], capture_output=True, check=False
        ).returncode
        == 0
    )


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return how many times as long theirs took, as the median of pairs from the same round."""
    return statistics.median(their / our for our, their in zip(ours, theirs, strict=True))


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values)
