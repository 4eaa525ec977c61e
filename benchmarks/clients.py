"""One client in a process of its own: python clients.py NAME PORT WORK-as-JSON.

It prints as JSON the seconds, the processor time and the growth of memory from the first
message to the last. A client that has one connection has opened it and said EHLO by then, but
those that are called "connecting" open and leave it within the time.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import smtplib
import socket
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.policy import SMTP as SMTP_POLICY
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import smtpstate_blocking
from smtpstate import Delivery, Envelope, Message, Status, TargetConfig, Trace, TraceEvent
from smtpstate_io import AsyncTarget
from work import SENDER, Work

HOST = "127.0.0.1"


@contextmanager
def measured() -> Generator[None]:
    """Measure what happens within, and print it."""
    memory = peak()
    processor, begun = time.process_time(), time.perf_counter()
    yield
    seconds = time.perf_counter() - begun
    figures = {"seconds": seconds, "cpu": time.process_time() - processor, "memory": max(peak() - memory, 0)}
    print(json.dumps(figures), flush=True)


def peak() -> int:
    """Return the peak of resident memory so far, in KiB.

    ``getrusage`` would not do: its peak includes that of the process which began this one.
    """
    status = Path("/proc/self/status").read_text("utf-8")
    return int(status.partition("VmHWM:")[2].split()[0])


# The peers.


def by_smtplib(port: int, work: Work) -> None:
    """The standard library's."""
    client = (smtplib.LMTP if work.lmtp else smtplib.SMTP)(HOST, port)
    client.ehlo_or_helo_if_needed()
    names, message = work.names(), None if work.path else work.message()
    with measured():
        for _ in range(work.messages):
            client.sendmail(SENDER, names, message or Path(work.path).read_bytes())
    client.quit()


def by_smtplib_connecting(port: int, work: Work) -> None:
    """The same, its connection included."""
    names, message = work.names(), work.message()
    with measured():
        client = smtplib.SMTP(HOST, port)
        for _ in range(work.messages):
            client.sendmail(SENDER, names, message)
        client.quit()


def by_aiosmtplib(port: int, work: Work) -> None:
    """An asyncio client."""
    aiosmtplib = import_module("aiosmtplib")

    names, message = work.names(), work.message()

    async def connected() -> Any:
        client = aiosmtplib.SMTP(hostname=HOST, port=port, use_tls=False, start_tls=False)
        await client.connect()
        await client.ehlo()
        return client

    async def send(client: Any) -> None:
        for _ in range(work.messages):
            await client.sendmail(SENDER, names, message)

    async def whole() -> None:
        client = await connected()
        await send(client)
        await client.quit()

    async def main() -> None:
        if work.connections == 1:
            client = await connected()
            with measured():
                await send(client)
            await client.quit()
        else:
            with measured():
                await asyncio.gather(*(whole() for _ in range(work.connections)))

    asyncio.run(main())


def by_smtpproto(backend: str) -> Callable[[int, Work], None]:
    """Return a client with a core without I/O, on either back end of anyio."""

    def run(port: int, work: Work) -> None:
        anyio = import_module("anyio")
        client = import_module("smtpproto.client")
        message = message_from_bytes(work.message(), policy=SMTP_POLICY)
        names = work.names()
        message["To"] = ", ".join(names)

        async def send(session: Any) -> None:
            for _ in range(work.messages):
                await session.send_message(message, sender=SENDER, recipients=names)

        async def whole() -> None:
            async with client.AsyncSMTPClient(HOST, port).connect() as session:
                await send(session)

        async def main() -> None:
            if work.connections == 1:
                async with client.AsyncSMTPClient(HOST, port).connect() as session:
                    with measured():
                        await send(session)
            else:
                with measured():
                    async with anyio.create_task_group() as group:
                        for _ in range(work.connections):
                            group.start_soon(whole)

        anyio.run(main, backend=backend)

    return run


def by_slimta(port: int, work: Work) -> None:
    """A client that pipelines."""
    slimta = import_module("slimta.smtp.client")
    client = (slimta.LmtpClient if work.lmtp else slimta.Client)(socket.create_connection((HOST, port)))
    client.get_banner()
    (client.lhlo if work.lmtp else client.ehlo)("client.example")
    names, message = work.names(), work.message()
    with measured():
        for _ in range(work.messages):
            client.mailfrom(SENDER)
            for name in names:
                client.rcptto(name)
            client.data()
            client.send_data(message)
            if not work.queued:
                # It would hear only with the next message what became of this one; its own relay asks so, too.
                client._flush_pipeline()
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


def by_flights(port: int, work: Work) -> None:
    """No client at all: the octets of each flight, and as many lines heard as it has answers."""
    sock = socket.create_connection((HOST, port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def turn(octets: bytes, answers: int) -> None:
        sock.sendall(octets)
        while answers > 0:
            answers -= sock.recv(65536).count(b"\n")

    lines = [f"MAIL FROM:<{SENDER}>", *(f"RCPT TO:<{name}>" for name in work.names()), "DATA", ""]
    envelope, content = "\r\n".join(lines).encode(), work.message() + b".\r\n"
    answers = work.recipients + 2
    with sock:
        turn(b"", 1)
        turn(b"EHLO client.example\r\n", 4)
        with measured():
            turn(envelope, answers)
            for _ in range(work.messages - 1):
                if work.queued:
                    turn(content + envelope, 1 + answers)
                else:
                    turn(content, 1)
                    turn(envelope, answers)
            turn(content, 1)


# Ours.


class Letters:
    """What is to be sent, in the forms that we take it in."""

    def __init__(self, port: int, work: Work, *, debug: bool = False) -> None:
        self.work = work
        self.content = Path(work.path) if work.path else work.message()
        self.line_ends: Literal["binary", "crlf"] = "binary" if work.binary else "crlf"
        self.names = work.names()
        self.config = TargetConfig(
            targets=[f"tcp://{HOST}:{port}"],
            protocol="lmtp" if work.lmtp else "smtp",
            max_connections=work.connections,
            max_messages=999_999,
            debug=debug,
        )

    def __iter__(self) -> Iterator[tuple[Envelope, Message]]:
        """Yield an envelope and a message for each message; to make them is part of the work."""
        for _ in range(self.work.messages):
            yield Envelope(SENDER, self.names), Message(self.content, line_ends=self.line_ends)


def checked(delivery: Delivery) -> None:
    """Refuse a message that was not delivered."""
    if delivery.outcomes[0].status is not Status.DELIVERED:
        raise RuntimeError(str(delivery.outcomes[0]))


def send_blocking(target: smtpstate_blocking.Target, letters: Letters) -> None:
    """Send all."""
    if letters.work.queued:
        with target.deliver_many(letters) as results:
            for delivery in results:
                checked(delivery)
    else:
        for envelope, message in letters:
            checked(target.deliver(envelope, message))


def by_blocking(port: int, work: Work, *, trace: Trace | None = None, debug: bool = False) -> None:
    """Blocking sockets."""
    letters = Letters(port, work, debug=debug)
    with smtpstate_blocking.Target(letters.config, trace=trace) as target:
        with target.transaction(Envelope(SENDER)):
            pass  # the connection is open now
        with measured():
            send_blocking(target, letters)


def by_blocking_connecting(port: int, work: Work) -> None:
    """The same, connection and goodbye included."""
    letters = Letters(port, work)
    with measured(), smtpstate_blocking.Target(letters.config) as target:
        send_blocking(target, letters)


def by_blocking_traced(port: int, work: Work) -> None:
    """With a callable that takes each event."""
    by_blocking(port, work, trace=deque[TraceEvent](maxlen=1000).append)


def by_blocking_debug(port: int, work: Work) -> None:
    """With ``debug``: each event is a record of the log, which is thrown away."""
    logging.basicConfig(filename=os.devnull, level=logging.DEBUG)
    by_blocking(port, work, debug=True)


def asynchronous(
    package: str, run: Callable[[Callable[[], Coroutine[Any, Any, None]]], object]
) -> Callable[[int, Work], None]:
    """Return one of our asynchronous adapters."""

    async def send(target: AsyncTarget, letters: Letters) -> None:
        if letters.work.queued:
            async with target.deliver_many(letters) as results:
                async for delivery in results:
                    checked(delivery)
        else:
            for envelope, message in letters:
                checked(await target.deliver(envelope, message))

    def by_this(port: int, work: Work) -> None:
        letters = Letters(port, work)

        async def main() -> None:
            target: AsyncTarget = import_module(package).Target(letters.config)
            async with target:
                if work.connections == 1:
                    async with target.transaction(Envelope(SENDER)):
                        pass  # the connection is open now
                    with measured():
                        await send(target, letters)
                else:
                    with measured():
                        await together(send, target, letters)

        run(main)

    async def together(
        send: Callable[[AsyncTarget, Letters], Awaitable[None]], target: AsyncTarget, letters: Letters
    ) -> None:
        if package == "smtpstate_asyncio":
            await asyncio.gather(*(send(target, letters) for _ in range(letters.work.connections)))
            return
        trio = package == "smtpstate_trio"
        group = import_module("trio").open_nursery() if trio else import_module("anyio").create_task_group()
        async with group as tasks:
            for _ in range(letters.work.connections):
                tasks.start_soon(send, target, letters)

    return by_this


CLIENTS: dict[str, Callable[[int, Work], None]] = {
    "smtplib": by_smtplib,
    "smtplib connecting": by_smtplib_connecting,
    "aiosmtplib": by_aiosmtplib,
    "smtpproto asyncio": by_smtpproto("asyncio"),
    "smtpproto trio": by_smtpproto("trio"),
    "slimta": by_slimta,
    "bare sendall": by_sendall,
    "bare flights": by_flights,
    "blocking": by_blocking,
    "blocking connecting": by_blocking_connecting,
    "blocking, trace": by_blocking_traced,
    "blocking, debug": by_blocking_debug,
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
