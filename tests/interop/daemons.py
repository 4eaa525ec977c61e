"""Start the programs of a mail server, on free ports and in a folder of their own, and stop them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

DOMAIN = "mail.test"
HOST = "mx.mail.test"
#: Who may log in. All of them have a mailbox.
USERS = {"alice": "a-Secret", "bob": "b-Secret"}
#: Who the mailboxes belong to: nobody, on every Debian.
OWNER = 65534

_PATIENCE = 30.0  # seconds


@contextmanager
def folder(name: str) -> Generator[Path, None, None]:
    """Yield a new folder that every user of the system may enter; servers are several of them."""
    path = Path(tempfile.mkdtemp(prefix=f"{name}-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    """Return TCP ports of the loopback interface that nobody uses."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [sock.getsockname()[1] for sock in sockets]


@contextmanager
def running(command: Sequence[str], log: Path, *, ready: Callable[[], bool]) -> Generator[None, None, None]:
    """Run a program, in a process group of its own, from when it is ready until the block is left."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        wait_until(lambda: process.poll() is not None or ready(), f"{command[0]} is not ready")
        if process.poll() is not None:
            raise RuntimeError(f"{command[0]} ended: {log.read_text(errors='replace')[-2000:]}")
        yield
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):  # some wait long for connections to end
            process.wait(3)
        with suppress(ProcessLookupError):  # what is left of it, and of its children
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(_PATIENCE)


def wait_until(condition: Callable[[], bool], otherwise: str) -> None:
    """Wait for a condition that must come true soon.

    Raises:
        TimeoutError: it does not; ``otherwise`` says so.
    """
    ends = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > ends:
            raise TimeoutError(otherwise)
        time.sleep(0.02)


def listens(*ports: int) -> bool:
    """Return whether somebody listens on all of these ports, without connecting to them."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    listening = {line.split()[1].partition(":")[2] for line in lines if line.split()[3] == "0A"}
    return {f"{port:04X}" for port in ports} <= listening
