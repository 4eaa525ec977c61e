"""A hundred thousand recipients against a server with tiny buffers and long replies: no deadlock."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from adapters import flood_server
from adapters.runtimes import RUNTIMES, Runtime
from smtpstate import Envelope, Message, Status, TargetConfig

pytestmark = pytest.mark.usefixtures("nothing_left")

RECIPIENTS = [f"r{n}@y.example" for n in range(100_000)]
MEGABYTES = 16
BLOCK = b"x" * 65536
#: Seconds after which a delivery that does not get on is given up, and the test fails.
GENEROUS = 110.0

kinds = pytest.mark.parametrize("kind", ["tcp", "unix"])
#: Each adapter once; what differs below them are only event loops.
adapters = pytest.mark.parametrize(
    "runtime", [r for r in RUNTIMES if r.name in ("blocking", "asyncio", "trio", "anyio-asyncio")], ids=repr
)


@contextmanager
def flooding(
    kind: str, folder: Path, protocol: str, *extensions: str
) -> Generator[tuple[str, IO[str]], None, None]:
    """Run the server, and yield the endpoint and where its report comes out."""
    path = str(folder / "socket") if kind == "unix" else ""
    program = [sys.executable, "-I", flood_server.__file__, protocol, path, *extensions]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            where = server.stdout.readline().strip()
            assert where
            yield f"unix://{where}" if kind == "unix" else f"tcp://127.0.0.1:{where}", server.stdout
        finally:
            server.kill()


def blocks() -> Generator[bytes, None, None]:
    """Yield 16 MiB."""
    for _ in range(MEGABYTES * 16):
        yield BLOCK


@kinds
@adapters
def test_a_hundred_thousand_recipients_and_16_mib_by_bdat_do_not_deadlock(
    runtime: Runtime, kind: str, tmp_path: Path
) -> None:
    extensions = ("PIPELINING", "CHUNKING", "BINARYMIME")
    with flooding(kind, tmp_path, "smtp", *extensions) as (endpoint, report):
        config = TargetConfig(targets=[endpoint], transaction_timeout=GENEROUS, hostname="c.example")
        message = Message(blocks(), line_ends="binary")
        delivery = runtime.deliver(config, Envelope("a@x.example", RECIPIENTS), message)
        came = json.loads(report.readline())
    assert {outcome.status for outcome in delivery.outcomes} == {Status.DELIVERED}
    assert len(delivery.outcomes) == len(RECIPIENTS)
    assert came == {"recipients": len(RECIPIENTS), "octets": MEGABYTES << 20}


@pytest.mark.parametrize(("protocol", "kind", "number"), [("smtp", "unix", 100_000), ("lmtp", "tcp", 10_000)])
def test_as_many_recipients_by_data_and_their_final_replies_do_not_deadlock(
    protocol: str, kind: str, number: int, tmp_path: Path
) -> None:
    with flooding(kind, tmp_path, protocol, "PIPELINING") as (endpoint, report):
        config = TargetConfig(
            targets=[endpoint], protocol=protocol, transaction_timeout=GENEROUS, hostname="c.example"
        )
        envelope = Envelope("a@x.example", RECIPIENTS[:number])
        delivery = RUNTIMES[0].deliver(config, envelope, b"Subject: hello\r\n\r\n")
        came = json.loads(report.readline())
    assert {outcome.status for outcome in delivery.outcomes} == {Status.DELIVERED}
    assert came == {"recipients": number, "octets": 18}
