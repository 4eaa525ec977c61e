"""One client in a process of its own: python clients.py NAME PORT WORK-as-JSON.

It prints as JSON the seconds, the processor time and the growth of memory from the first
message to the last, after one message to warm up (where that is asked for).
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import smtplib
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.policy import SMTP as SMTP_POLICY
from importlib import import_module
from pathlib import Path
from typing import Any

from work import SENDER, Work

HOST = "127.0.0.1"


@contextmanager
def measured() -> Iterator[None]:
    """Measure what happens within, and print it."""
    memory = peak()
    processor, begun = time.process_time(), time.perf_counter()
    yield
    seconds = time.perf_counter() - begun
    figures = {"seconds": seconds, "cpu": time.process_time() - processor, "memory": peak() - memory}
    print(json.dumps(figures), flush=True)


def peak() -> int:
    """Return the peak of resident memory so far, in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


# The peers.


def by_smtplib(port: int, work: Work) -> None:
    """The standard library's."""
    client = (smtplib.LMTP if work.lmtp else smtplib.SMTP)(HOST, port)
    message = Path(work.path).read_bytes if work.path else work.message
    with measured():
        for _ in range(work.messages):
            client.sendmail(SENDER, work.names(), message())
    client.quit()


def by_smtplib_connecting(port: int, work: Work) -> None:
    """The same, its connection included."""
    with measured():
        client = smtplib.SMTP(HOST, port)
        for _ in range(work.messages):
            client.sendmail(SENDER, work.names(), work.message())
        client.quit()


def by_aiosmtplib(port: int, work: Work) -> None:
    """An asyncio client."""
    aiosmtplib = import_module("aiosmtplib")

    async def one(count: int) -> None:
        client = aiosmtplib.SMTP(hostname=HOST, port=port, use_tls=False, start_tls=False)
        await client.connect()
        for _ in range(count):
            await client.sendmail(SENDER, work.names(), work.message())
        await client.quit()

    async def main() -> None:
        with measured():
            await asyncio.gather(*(one(work.messages) for _ in range(work.connections)))

    asyncio.run(main())


def by_smtpproto(backend: str) -> Callable[[int, Work], None]:
    """Return a client with a core without I/O, on either back end of anyio."""

    def run(port: int, work: Work) -> None:
        anyio = import_module("anyio")
        client = import_module("smtpproto.client")
        message = message_from_bytes(work.message(), policy=SMTP_POLICY)
        message["To"] = ", ".join(work.names())

        async def one() -> None:
            async with client.AsyncSMTPClient(HOST, port).connect() as session:
                for _ in range(work.messages):
                    await session.send_message(message, sender=SENDER, recipients=work.names())

        async def main() -> None:
            with measured():
                async with anyio.create_task_group() as group:
                    for _ in range(work.connections):
                        group.start_soon(one)

        anyio.run(main, backend=backend)

    return run


def by_slimta(port: int, work: Work) -> None:
    """A client that pipelines."""
    slimta = import_module("slimta.smtp.client")
    client = (slimta.LmtpClient if work.lmtp else slimta.Client)(socket.create_connection((HOST, port)))
    client.get_banner()
    (client.lhlo if work.lmtp else client.ehlo)("client.example")
    with measured():
        for _ in range(work.messages):
            client.mailfrom(SENDER)
            for name in work.names():
                client.rcptto(name)
            client.data()
            client.send_data(work.message())
    client.quit()


def by_sendall(port: int, work: Work) -> None:
    """No client at all: the file by one BDAT, as fast as the socket takes it."""
    sock = socket.create_connection((HOST, port))
    size = Path(work.path).stat().st_size
    with sock, measured():
        sock.sendall(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT %d LAST\r\n" % size)
        with open(work.path, "rb", buffering=0) as file:
            while block := file.read(262144):
                sock.sendall(block)
        heard = b""
        while heard.count(b"\n") < 4:
            heard += sock.recv(65536)


# Ours.


def config(port: int, work: Work) -> Any:
    """Return our settings."""
    smtpstate = import_module("smtpstate")
    return smtpstate.TargetConfig(
        targets=[f"tcp://{HOST}:{port}"],
        protocol="lmtp" if work.lmtp else "smtp",
        max_connections=work.connections,
        max_messages=999_999,
        debug=work.debug,
    )


def letter(work: Work) -> Any:
    """Return the message as we take it."""
    smtpstate = import_module("smtpstate")
    content = Path(work.path) if work.path else work.message()
    return smtpstate.Message(content, line_ends="binary" if work.binary else "crlf")


def pairs(work: Work) -> Iterator[tuple[Any, Any]]:
    """Yield an envelope and a message for each message."""
    smtpstate = import_module("smtpstate")
    for _ in range(work.messages):
        yield smtpstate.Envelope(SENDER, work.names()), letter(work)


def by_blocking(port: int, work: Work) -> None:
    """Blocking sockets."""
    with import_module("smtpstate_blocking").Target(config(port, work)) as target, measured():
        if work.queued:
            with target.deliver_many(pairs(work)) as results:
                for delivery in results:
                    check(delivery)
        else:
            for envelope, message in pairs(work):
                check(target.deliver(envelope, message))


def by_blocking_connecting(port: int, work: Work) -> None:
    """The same, connection and goodbye included."""
    with measured(), import_module("smtpstate_blocking").Target(config(port, work)) as target:
        if work.queued:
            with target.deliver_many(pairs(work)) as results:
                for delivery in results:
                    check(delivery)
        else:
            for envelope, message in pairs(work):
                check(target.deliver(envelope, message))


def asynchronous(
    package: str, run: Callable[[Callable[[], Awaitable[None]]], object]
) -> Callable[[int, Work], None]:
    """Return one of our asynchronous adapters."""

    async def one(target: Any, work: Work) -> None:
        for envelope, message in pairs(work):
            check(await target.deliver(envelope, message))

    def by_this(port: int, work: Work) -> None:
        async def main() -> None:
            async with import_module(package).Target(config(port, work)) as target:
                with measured():
                    if work.queued:
                        async with target.deliver_many(pairs(work)) as results:
                            async for delivery in results:
                                check(delivery)
                    elif work.connections == 1:
                        await one(target, work)
                    else:
                        await many(target, work)

        run(main)

    async def many(target: Any, work: Work) -> None:
        if package == "smtpstate_trio":
            async with import_module("trio").open_nursery() as nursery:
                for _ in range(work.connections):
                    nursery.start_soon(one, target, work)
        else:
            await asyncio.gather(*(one(target, work) for _ in range(work.connections)))

    return by_this


def check(delivery: Any) -> None:
    """Refuse a message that was not delivered."""
    if delivery.outcomes[0].status.name != "DELIVERED":
        raise RuntimeError(str(delivery.outcomes[0]))


CLIENTS: dict[str, Callable[[int, Work], None]] = {
    "smtplib": by_smtplib,
    "smtplib connecting": by_smtplib_connecting,
    "aiosmtplib": by_aiosmtplib,
    "smtpproto asyncio": by_smtpproto("asyncio"),
    "smtpproto trio": by_smtpproto("trio"),
    "slimta": by_slimta,
    "bare sendall": by_sendall,
    "blocking": by_blocking,
    "blocking connecting": by_blocking_connecting,
    "asyncio": asynchronous("smtpstate_asyncio", lambda main: asyncio.run(main())),
    "trio": asynchronous("smtpstate_trio", lambda main: import_module("trio").run(main)),
    "anyio asyncio": asynchronous("smtpstate_anyio", lambda main: import_module("anyio").run(main)),
    "anyio trio": asynchronous(
        "smtpstate_anyio", lambda main: import_module("anyio").run(main, backend="trio")
    ),
}


if __name__ == "__main__":
    if os.environ.get("PIN"):
        os.sched_setaffinity(0, {int(os.environ["PIN"])})
    CLIENTS[sys.argv[1]](int(sys.argv[2]), Work(**json.loads(sys.argv[3])))
