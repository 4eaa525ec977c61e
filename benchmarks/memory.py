"""Measure peak memory for messages of growing size: python benchmarks/memory.py.

Each figure is the peak resident memory of a process of its own that delivers one message
over the loopback interface to a server, in another process, that throws it away. The
message is made while it is read, or is a file; it is never in memory as a whole.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

MEBIBYTE = 1 << 20
#: Whole lines, as a mail program writes them.
LINES = (b"x" * 76 + b"\r\n") * (65536 // 78)
#: How the message goes, and what the server offers for that; the last is there to be compared with.
WAYS = {
    "data": ("PIPELINING",),
    "bdat": ("CHUNKING",),
    "binary": ("PIPELINING", "CHUNKING", "BINARYMIME"),
    "held": ("PIPELINING",),  # by DATA, and all of it was in memory to begin with
}


def blocks(mebibytes: int) -> Generator[bytes, None, None]:
    """Yield a message of so many MiB, or a little less."""
    yield b"Subject: large\r\n\r\n"
    for _ in range(mebibytes * MEBIBYTE // len(LINES)):
        yield LINES


async def async_blocks(mebibytes: int) -> AsyncGenerator[bytes, None]:
    """Yield the same for those who wait for it."""
    for block in blocks(mebibytes):
        yield block


def write_file(path: Path, mebibytes: int) -> None:
    """Write the same message to a file."""
    with path.open("wb") as file:
        file.writelines(blocks(mebibytes))


def peak_of(way: str, mebibytes: int, adapter: str = "blocking", source: str = "iterable") -> float:
    """Deliver one message in a process of its own; return its peak of resident memory, in MiB.

    ``source`` is ``iterable``, ``async iterable``, or the path of a file that is the message.
    """
    program = [sys.executable, __file__]
    with subprocess.Popen([*program, "sink", way], stdout=subprocess.PIPE, text=True) as sink:
        assert sink.stdout is not None
        try:
            port = sink.stdout.readline().strip()
            command = [*program, "deliver", way, str(mebibytes), adapter, port, source]
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
            taken = int(sink.stdout.readline())
        finally:
            sink.kill()
    assert taken > mebibytes * MEBIBYTE * 0.99, f"the server had {taken} octets only"
    return int(done.stdout) / 1024


def sink(way: str) -> None:
    """Be a server for one connection: take everything, keep nothing, say how much it was."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        sock, _ = listener.accept()
    with sock, sock.makefile("rb") as lines:
        taken = 0
        sock.sendall(b"220 sink.example\r\n")
        room = memoryview(bytearray(1 << 18))
        while line := lines.readline():
            verb, *words = line.split()
            if verb == b"EHLO":
                sock.sendall(b"".join(b"250-%b\r\n" % k.encode() for k in ("sink.example", *WAYS[way])))
            if verb == b"BDAT":
                left = int(words[0])
                taken += left
                while left:
                    left -= lines.readinto(room[:left])
            elif verb == b"DATA":
                sock.sendall(b"354 go ahead\r\n")
                tail = b""
                while tail != b"\r\n.\r\n":
                    size = lines.readinto1(room)
                    if not size:
                        return
                    taken += size
                    tail = (tail + bytes(room[:size][-5:]))[-5:]
            sock.sendall(b"250 ok\r\n")
    print(taken, flush=True)


def deliver(way: str, mebibytes: int, adapter: str, port: str, source: str) -> None:
    """Deliver one message, and print the peak of this process's resident memory in KiB."""
    import smtpstate_blocking
    from smtpstate import Delivery, Envelope, Message, TargetConfig

    config = TargetConfig(targets=[f"tcp://127.0.0.1:{port}"], hostname="c.example")
    content: Path | Generator[bytes, None, None] | AsyncGenerator[bytes, None] | bytes = Path(source)
    if source == "iterable":
        content = blocks(mebibytes)
    if source == "async iterable":
        content = async_blocks(mebibytes)
    if way == "held":
        content = b"".join(blocks(mebibytes))
    message = Message(content, line_ends="binary" if way == "binary" else "crlf", eight_bit=False)
    delivery = Delivery(Envelope("a@x.example", ["b@y.example"]), message)
    if adapter == "blocking":
        with smtpstate_blocking.Target(config) as target:
            target.run(delivery)
    else:
        import asyncio

        import smtpstate_asyncio

        async def main() -> None:
            async with smtpstate_asyncio.Target(config) as target:
                await target.run(delivery)

        asyncio.run(main())
    delivery.raise_for_status()
    print(peak())


def peak() -> int:
    """Return the peak of this process's resident memory, in KiB.

    ``getrusage`` would not do: its peak includes that of the process which began this one.
    """
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def main() -> None:
    """Print a table of all figures."""
    sizes = (1, 32, 1024)
    print("peak of resident memory in MiB, by the size of the message in MiB")
    print(f"{'way':8} {'adapter':9} {'message':10}" + "".join(f"{size:9}" for size in sizes))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "message")
        for adapter in ("blocking", "asyncio"):
            for way in WAYS:
                for kind in ("memory",) if way == "held" else ("iterable", "file"):
                    figures: list[float] = []
                    for size in sizes:
                        if kind == "file":
                            write_file(file, size)
                        figures.append(
                            peak_of(way, size, adapter, str(file) if kind == "file" else "iterable")
                        )
                    print(
                        f"{way:8} {adapter:9} {kind:10}" + "".join(f"{each:9.1f}" for each in figures),
                        flush=True,
                    )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["sink", way]:
            sink(way)
        case ["deliver", way, size, adapter, port, source]:
            deliver(way, int(size), adapter, port, source)
        case _:
            main()
