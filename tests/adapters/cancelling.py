"""Stop a delivery at any one of its requests, and know what the same stop in memory leads to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

import anyio
import pytest

from adapters.directives import CA
from smtpstate import Delivery, Envelope, Message, TargetConfig
from smtpstate._courier import Courier
from smtpstate._requests import Connect, Connected, Negotiated, Poll, Pull, Receive, Request
from smtpstate.testing import Abandoned, Fault, ModelServer, Playground, on, split_at
from smtpstate_io._async import AsyncWire
from smtpstate_io._sources import AsyncSources

T = TypeVar("T")
Answer = Connected | Negotiated | bytes | None
Fates = tuple[tuple[str, str, str, str], ...]

ENVELOPE = Envelope("a@x.example", ["b@y.example", "c@y.example", "d@y.example"])
#: Where in memory a server is, while it does not matter where.
ANYWHERE = "tcp://127.0.0.1:25"


@dataclass(frozen=True, slots=True, kw_only=True)
class Main:
    """One of the main dialogues; of its three recipients the second is refused."""

    protocol: str = "smtp"
    extensions: tuple[str, ...] = ()
    encrypted: bool = False  # by STARTTLS, and with a login inside
    before: int = 0  # deliveries that the connection has carried by then

    def server(self) -> ModelServer:
        """Return a server to hold it with."""
        return ModelServer(
            self.protocol,
            self.extensions,
            [on("RCPT", "c@y.example").reply(550, "5.1.1 no such user")],
            users={"user": "password"},
        )

    def config(self, endpoint: str, ca: str) -> TargetConfig:
        """Return the settings of a target; ``ca`` is the file of whom its server is trusted by."""
        directives = [f"deliver_to {self.protocol} {endpoint} {{", "hostname c.example", "max_connections 1"]
        if self.encrypted:
            directives += ["require_tls yes", "auth login user password", f'tls_client {{ root_ca "{ca}" }}']
        return TargetConfig.parse("\n".join([*directives, "}"]))


MAINS = {
    "smtp": Main(),
    "smtp, pipelined": Main(extensions=("PIPELINING",)),
    "starttls and auth": Main(extensions=("STARTTLS", "AUTH LOGIN"), encrypted=True),
    "lmtp": Main(protocol="lmtp", extensions=("PIPELINING",)),
    "bdat": Main(extensions=("PIPELINING", "CHUNKING")),
    "reused": Main(before=1),
    "reused, bdat": Main(extensions=("PIPELINING", "CHUNKING"), before=1),
}


def delivery() -> Delivery:
    """Return a delivery whose message must be asked for."""
    content = (b"Subject: x\r\n\r\n", b".a line with a dot\r\n", b"and another\r\n")
    return Delivery(ENVELOPE, Message(lambda: iter(content), utf8=False, eight_bit=False))


def fates(delivery: Delivery) -> Fates:
    """Return all that is known of each recipient."""
    return tuple(
        (outcome.recipient, outcome.status.name, str(outcome.reply), outcome.phase.value)
        for outcome in delivery.outcomes
    )


@cache
def played(main: Main, stopped_at: int | None = None) -> tuple[tuple[type[Request], ...], Fates]:
    """Deliver in memory, one line of the server's at a time; return the requests and the outcomes.

    With ``stopped_at`` the delivery, but not those before it, is left at that request.
    """
    begun, whole, _ = _played(main, (), ())
    said = [line[3:] for line in whole.transcript if line.startswith("S: ")]
    ends = tuple(sum(len(line) + 2 for line in said[: n + 1]) for n in range(len(said)))
    if stopped_at is not None:
        begun, _, _ = _played(main, ends, ())
    faults = () if stopped_at is None else (Fault(begun + stopped_at, None),)
    begun, playground, delivered = _played(main, ends, faults)
    return tuple(type(request) for request in playground.requests[begun:]), fates(delivered)


def _played(main: Main, ends: tuple[int, ...], faults: tuple[Fault, ...]) -> tuple[int, Playground, Delivery]:
    playground = Playground({ANYWHERE: main.server()}, split=split_at(*ends), faults=faults)
    courier = Courier(main.config(ANYWHERE, "ca.pem"))
    for _ in range(main.before):
        playground.run(courier.delivering(delivery()))
    begun, delivered = len(playground.requests), delivery()
    with suppress(Abandoned):
        playground.run(courier.delivering(delivered))
    playground.close()
    return begun, playground, delivered


class Requests:
    """What asynchronous adapters are asked for, and the one request at which to stop.

    What a server says is handed on line by line, whatever way it arrives, so that
    the same requests follow in every run.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.kinds: list[type[Request]] = []
        self._stop_at: int | None = None
        self._stop: Callable[[], object] = bool
        self._rest: dict[AsyncWire, bytes] = {}
        perform, pull = AsyncWire.perform, AsyncSources.pull

        async def performed(wire: AsyncWire, request: Request) -> Answer:
            if isinstance(request, Connect):
                self._rest.pop(wire, None)
            if not isinstance(request, (Receive, Poll)):
                return await self._met(request, perform(wire, request))
            return await self._met(request, self._line(wire, request, perform))

        async def pulled(sources: AsyncSources, request: Pull) -> bytes:
            return await self._met(request, pull(sources, request))

        patch.setattr(AsyncWire, "perform", performed)
        patch.setattr(AsyncSources, "pull", pulled)

    def begin(self, stop_at: int | None = None, stop: Callable[[], object] = bool) -> None:
        """Count anew, and call ``stop`` within that request."""
        self.kinds.clear()
        self._stop_at, self._stop = stop_at, stop

    async def _met(self, request: Request, answering: Awaitable[T]) -> T:
        self.kinds.append(type(request))
        if len(self.kinds) - 1 != self._stop_at:
            return await answering
        self._stop()
        await answering  # where that has to wait, the cancellation comes there
        await anyio.sleep_forever()
        raise AssertionError("not cancelled")

    async def _line(
        self,
        wire: AsyncWire,
        request: Receive | Poll,
        perform: Callable[[AsyncWire, Request], Awaitable[Answer]],
    ) -> bytes | None:
        rest = self._rest.get(wire, b"")
        while b"\n" not in rest:
            if isinstance(request, Poll) and rest:
                break
            data = await perform(wire, request)
            assert data is None or isinstance(data, bytes)
            if not data:
                return rest or data
            rest += data
        line, end, self._rest[wire] = rest.partition(b"\n")
        return line + end


def ca_file(folder: Path) -> str:
    """Write whom the servers are trusted by, and return where."""
    path = folder / "ca.pem"
    CA.cert_pem.write_to_path(path)
    return str(path)
