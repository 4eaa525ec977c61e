"""Start what takes the mail: our own sink, or Postfix's; and hear what it has counted."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

POSTFIX = "smtp-sink"  #: what to say for Postfix's sink
HERE = Path(__file__).parent


def delay_of(words: Sequence[str]) -> float:
    """Return how long a sink that is told these words waits before each answer, in seconds."""
    return next((float(word.removeprefix("delay=")) for word in words if word.startswith("delay=")), 0.0)


class Sink:
    """A sink that runs."""

    def __init__(self, port: str) -> None:
        self.port = port
        self.counts: dict[str, int] = {}  #: what it has taken, known once it has ended


@contextmanager
def serving(words: Sequence[str], pin: str) -> Generator[Sink]:
    """Run a sink, told so many words, on the processor ``pin`` where there is one."""

    def stay() -> None:
        if pin:
            os.sched_setaffinity(0, {int(pin)})

    if POSTFIX in words:
        with _postfix(stay) as sink:
            yield sink
        return
    with subprocess.Popen(
        [sys.executable, str(HERE / "sink.py"), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=stay,
    ) as process:
        assert process.stdout is not None
        try:
            sink = Sink(process.stdout.readline().strip())
            yield sink
            counts, _ = process.communicate("")
        except BaseException:
            process.kill()
            raise
    sink.counts.update(json.loads(counts))


@contextmanager
def _postfix(stay: Callable[[], None]) -> Generator[Sink]:
    """Run Postfix's; it counts messages only."""
    program = shutil.which(POSTFIX)
    if program is None:
        raise OSError(f"{POSTFIX} is not here")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    user = ["-u", "nobody"] if os.getuid() == 0 else []
    with tempfile.TemporaryFile("w+") as told:
        with subprocess.Popen(
            [program, *user, "-c", f"127.0.0.1:{port}", "1024"], stdout=told, preexec_fn=stay
        ) as process:
            try:
                sink = Sink(str(port))
                _wait_for(port)
                yield sink
            finally:
                process.terminate()
        told.seek(0)
        sink.counts["messages"] = max(
            (int(count) for count in re.findall(r"mesg=(\d+)", told.read())), default=0
        )


def _wait_for(port: int) -> None:
    """Wait until somebody listens."""
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionError:
            time.sleep(0.05)
    raise OSError(f"nothing listens on port {port}")
