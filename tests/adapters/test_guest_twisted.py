"""The adapter for Twisted that the docs show is short, delivers as the others do, and leaves nothing in a reactor."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from ssl import SSLContext
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, gatherResults
from twisted.internet.task import deferLater
from twisted.logger import globalLogPublisher

import twisted_adapter
from adapters.cancelling import MAINS, Requests, ca_file, delivery, fates, played
from adapters.directives import config_of, server_context, statuses
from adapters.reactors import REACTORS, Loop, never
from smtpstate import DeadlinePassed, Delivery, Envelope, Message, Phase, Status, TargetConfig, forwarding
from smtpstate.testing import ModelServer, Rule, on
from smtpstate.testing._peer import Peer
from smtpstate_blocking import Target
from smtpstate_io import Wait
from smtpstate_testing import serve
from twisted_adapter import drive

pytestmark = pytest.mark.usefixtures("nothing_left")

D, F, R = Status.DELIVERED, Status.DEFERRED, Status.REJECTED

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
RECIPIENTS = ["b@y.example", "c@y.example"]
ENVELOPE = Envelope("a@x.example", RECIPIENTS)
SHORT = b"Subject: x\r\n\r\n.a line with a dot\r\nand another\r\n"
#: More than any buffer takes.
LONG = b"".join(b"." * (n % 3) + b"x" * (n % 700) + (b"\r\n", b"\n", b"\r")[n % 3] for n in range(4000))


@pytest.fixture(params=REACTORS)
def loop(request: pytest.FixtureRequest) -> Iterator[Loop]:
    """Each reactor in turn; nothing may be left in it, and nothing in its log."""
    logged: list[object] = []

    def observe(event: dict[str, Any]) -> None:
        if event.get("isError") or event.get("log_failure"):
            logged.append(event)

    log: Any = globalLogPublisher
    log.addObserver(observe)
    made = Loop(REACTORS[request.param])
    yield made
    log.removeObserver(observe)
    assert made.left == []
    assert logged == []


@pytest.fixture(scope="module")
def context() -> SSLContext:
    return server_context()


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> str:
    return ca_file(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> dict[Peer, bytes]:
    """What servers receive, by the connection."""
    octets: dict[Peer, bytes] = {}
    feed = Peer.feed

    def tapped(peer: Peer, data: bytes, *, unread: bool = False) -> None:
        octets[peer] = octets.get(peer, b"") + data
        feed(peer, data, unread=unread)

    monkeypatch.setattr(Peer, "feed", tapped)
    return octets


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is delivered, by what settings, and what becomes of the two recipients."""

    protocol: str = "smtp"
    extensions: tuple[str, ...] = ("PIPELINING",)
    rules: tuple[Rule, ...] = ()
    implicit_tls: bool = False
    directives: str = ""
    message: bytes = SHORT
    unix: bool = False  # there a system holds little of what was not read yet
    first_rules: tuple[Rule, ...] | None = None  # of a server that is tried before, where there is one
    statuses: tuple[Status, Status] = (D, D)

    def servers(self) -> list[ModelServer]:
        """Return the servers, in the order in which they are tried."""
        return [
            ModelServer(self.protocol, self.extensions, rules, implicit_tls=self.implicit_tls)
            for rules in (self.first_rules, self.rules)
            if rules is not None
        ]


TLS = 'require_tls yes\ntls_client {{ root_ca "{ca}" }}'
REFUSED = on("RCPT", "c@y.example").reply(550, "5.1.1 no such user")

SCENARIOS = {
    "smtp": Scenario(),
    "one command after the other": Scenario(extensions=()),
    "lmtp": Scenario(
        protocol="lmtp", rules=(on("message", "c@y.example").reply(452, "4.2.2 full"),), statuses=(D, F)
    ),
    "a refused recipient": Scenario(rules=(REFUSED,), statuses=(D, R)),
    "starttls": Scenario(extensions=("STARTTLS", "PIPELINING"), directives=TLS),
    "implicit tls": Scenario(implicit_tls=True, directives=TLS, message=LONG),
    "failover": Scenario(first_rules=(on("greeting").reply(421, "4.3.2 busy"),)),
    "failover from a reset": Scenario(first_rules=(on("greeting").reset(),)),
    "failover of some": Scenario(
        directives="failover connect transient",
        first_rules=(on("RCPT", "c@y.example").reply(450, "4.2.1 later"),),
    ),
    "a long message, read slowly": Scenario(message=LONG, unix=True),
    "a long message in chunks, read slowly": Scenario(
        extensions=("PIPELINING", "CHUNKING"), message=LONG, unix=True
    ),
    "not trusted": Scenario(extensions=("STARTTLS",), directives="require_tls yes", statuses=(F, F)),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_servers_receive_the_same_octets_as_from_blocking_sockets(
    loop: Loop, name: str, received: dict[Peer, bytes], context: SSLContext, ca: str, tmp_path: Path
) -> None:
    scenario = SCENARIOS[name]
    drawn: list[list[bytes]] = []

    def blocking(config: TargetConfig, envelope: Envelope, message: bytes) -> Delivery:
        with Target(config) as target:
            return target.deliver(envelope, message)

    for deliver in (blocking, loop.deliver):
        servers = scenario.servers()
        with ExitStack() as stack:
            path = tmp_path / f"{len(drawn)}" if scenario.unix else None
            served = [stack.enter_context(serve(server, tls=context, unix_path=path)) for server in servers]
            directives = "hostname c.example\n" + scenario.directives.format(ca=ca)
            config = config_of([each.endpoint for each in served], directives, scenario.protocol)
            done = deliver(config, ENVELOPE, scenario.message)
        assert statuses(done) == list(scenario.statuses), done.outcomes
        assert [server.violations for server in servers] == [[]] * len(servers)
        drawn.append([received.get(peer, b"") for server in servers for peer in server.connections])
    same = drawn[0] == drawn[1]  # compared here, since they may be too long to be shown
    assert same
    assert any(drawn[1])


def test_a_name_is_looked_up(loop: Loop) -> None:
    with serve(ModelServer()) as served:
        config = config_of(f"tcp://localhost:{served.port}")
        done = loop.deliver(config, ENVELOPE, SHORT)
    assert statuses(done) == [D, D]
    assert done.attempts[0].remote == "127.0.0.1"


def test_a_name_that_is_unknown_is_said_to_be(loop: Loop) -> None:
    done = loop.deliver(config_of("tcp://nowhere.invalid:25"), ENVELOPE, SHORT)
    assert [str(outcome.reply).split()[1] for outcome in done.outcomes] == ["4.4.4", "4.4.4"]


def test_a_message_may_wait_for_what_is_called_back(loop: Loop) -> None:
    server = ModelServer()

    def main(reactor: Any) -> Deferred[Delivery]:
        async def pieces() -> AsyncIterator[bytes]:
            for piece in (SHORT[:20], SHORT[20:]):
                later: Deferred[bytes] = Deferred()
                reactor.callLater(0, later.callback, piece)
                yield await later

        async def deliver() -> Delivery:
            made = Delivery(ENVELOPE, Message(pieces, utf8=False, eight_bit=False))
            await drive(forwarding(made, config_of(served.endpoint)), reactor)
            return made

        return Deferred.fromCoroutine(deliver())

    with serve(server) as served:
        assert statuses(loop.run(main)) == [D, D]
    assert [stored.content for stored in server.messages] == [SHORT]


def test_what_the_source_of_a_message_raises_comes_out_unchanged(loop: Loop) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield SHORT
        raise TimeoutError(1.0, "the source's own")

    made = Delivery(ENVELOPE, Message(pieces, utf8=False, eight_bit=False))
    with serve(ModelServer()) as served:
        dialogue = forwarding(made, config_of(served.endpoint))
        with pytest.raises(TimeoutError, match="the source's own"):
            loop.run(lambda reactor: Deferred.fromCoroutine(drive(dialogue, reactor)))
    assert statuses(made) == [F, F]


@pytest.mark.parametrize("step", ["greeting", "EHLO", "MAIL", "RCPT", "DATA"])
def test_a_deadline_passes_where_a_server_is_silent(loop: Loop, step: str) -> None:
    with serve(ModelServer("smtp", [], [on(step).silence()])) as served:
        config = config_of(served.endpoint, "command_timeout 20ms\nconnect_timeout 20ms")
        done = loop.deliver(config, ENVELOPE, SHORT)
    assert {type(outcome.error) for outcome in done.outcomes} == {DeadlinePassed}
    assert statuses(done) == [F, F]


def test_a_deadline_passes_where_a_server_does_not_shake_hands(loop: Loop) -> None:
    with serve(ModelServer("smtp", [], [on("greeting").silence()])) as served:
        config = config_of(f"tls://127.0.0.1:{served.port}", "connect_timeout 500ms")
        done = loop.deliver(config, ENVELOPE, SHORT)
    assert [(outcome.status, outcome.phase) for outcome in done.outcomes] == [(F, Phase.TLS)] * 2


def test_a_deadline_passes_where_a_server_does_not_read(loop: Loop, tmp_path: Path) -> None:
    server = ModelServer("smtp", [], [on("content", after=1).stop_reading()])
    with serve(server, unix_path=tmp_path / "socket") as served:
        done = loop.deliver(config_of(served.endpoint, "command_timeout 500ms"), ENVELOPE, LONG)
    assert {(type(outcome.error), outcome.phase) for outcome in done.outcomes} == {
        (DeadlinePassed, Phase.CONTENT)
    }


def test_who_waits_to_write_hears_that_nobody_reads_any_more(loop: Loop) -> None:
    here, there = socket.socketpair()
    here.setblocking(False)
    with here, there:
        with suppress(BlockingIOError):
            while here.send(bytes(65536)):
                pass

        def main(reactor: Any) -> Deferred[bool]:
            async def wait() -> bool:
                waiter = twisted_adapter._ReactorWaiter(reactor)
                ends = waiter.clock() + 60
                reactor.callLater(0, there.close)
                await waiter.until(ends, Wait((here,), to_write=True))
                return waiter.clock() < ends

            return Deferred.fromCoroutine(wait())

        assert loop.run(main)


def test_a_source_is_closed_before_the_delivery_is_over(loop: Loop) -> None:
    closed: list[str] = []

    def main(reactor: Any) -> Deferred[None]:
        async def pieces() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield SHORT * 1000
            finally:
                await deferLater(reactor, 0)
                closed.append("source")

        async def deliver() -> None:
            made = Delivery(ENVELOPE, Message(pieces, utf8=False, eight_bit=False))
            await drive(forwarding(made, config_of(served.endpoint)), reactor)
            assert statuses(made) == [F, F]
            closed.append("delivery")

        return Deferred.fromCoroutine(deliver())

    with serve(ModelServer("smtp", [], [on("content", after=1).close()])) as served:
        loop.run(main)
    assert closed == ["source", "delivery"]


def test_a_deadline_passes_where_a_name_is_looked_up_for_long(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(twisted_adapter, "deferToThreadPool", never)
    done = loop.deliver(config_of("tcp://mx.example:25", "connect_timeout 20ms"), ENVELOPE, SHORT)
    assert {str(outcome.error) for outcome in done.outcomes} == {"the look-up of mx.example took too long"}


@pytest.mark.parametrize("hides", [False, True])
def test_a_deadline_passes_where_a_source_has_no_more_to_give(loop: Loop, hides: bool) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield SHORT
        with suppress(*[CancelledError] * hides):
            await never()

    server = ModelServer()
    with serve(server) as served:
        config = config_of(served.endpoint, "transaction_timeout 500ms")
        done = loop.deliver(config, ENVELOPE, Message(pieces))
    assert {type(outcome.error) for outcome in done.outcomes} == {DeadlinePassed}
    assert statuses(done) == [F, F]
    assert server.messages == []


def test_a_look_up_can_be_cancelled(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twisted_adapter, "deferToThreadPool", never)
    made = delivery()

    def main(reactor: Any) -> Deferred[None]:
        config = config_of("tcp://mx.example:25")
        driven = Deferred.fromCoroutine(drive(forwarding(made, config), reactor))
        reactor.callLater(0, driven.cancel)
        return driven

    with pytest.raises(CancelledError):
        loop.run(main)
    assert [outcome.phase for outcome in made.outcomes] == [Phase.CONNECT] * 3


@pytest.mark.parametrize(
    ("name", "n"),
    [(name, n) for name, main in MAINS.items() if not main.before for n in range(len(played(main)[0]))],
)
def test_a_delivery_cancelled_at_request_n_keeps_what_it_knows_and_leaves_nothing(
    loop: Loop, name: str, n: int, monkeypatch: pytest.MonkeyPatch, context: SSLContext, ca: str
) -> None:
    requests = Requests(monkeypatch)
    monkeypatch.setattr("anyio.sleep_forever", never)  # where no request is to end
    main, cancelled = MAINS[name], delivery()
    server = main.server()

    def begin(reactor: Any) -> Deferred[None]:
        dialogue = forwarding(cancelled, main.config(served.endpoint, ca))
        requests.begin(n, lambda: reactor.callLater(0, lambda: driven.cancel()))
        driven = Deferred.fromCoroutine(drive(dialogue, reactor))
        return driven

    with serve(server, tls=context) as served:
        with pytest.raises(CancelledError):
            loop.run(begin)
        assert tuple(requests.kinds) == played(main)[0][: n + 1]
    assert fates(cancelled) == played(main, n)[1]
    assert "QUIT" not in server.commands


def test_many_are_driven_side_by_side_in_one_reactor(loop: Loop) -> None:
    server = ModelServer()
    made = [Delivery(ENVELOPE, SHORT) for _ in range(20)]

    def main(reactor: Any) -> Deferred[list[None]]:
        config = config_of(served.endpoint)
        return gatherResults(
            [Deferred.fromCoroutine(drive(forwarding(each, config), reactor)) for each in made]
        )

    with serve(server) as served:
        loop.run(main)
    assert [statuses(each) for each in made] == [[D, D]] * 20
    assert len(server.messages) == 20


def test_the_program_that_is_shown_sends_what_it_is_given() -> None:
    server = ModelServer("smtp", [], [REFUSED])
    with serve(server) as served:
        done = subprocess.run(
            [sys.executable, EXAMPLES / "twisted_send.py", served.endpoint, "a@x.example", *RECIPIENTS],
            input=SHORT,
            env={"PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode().splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["b@y.example:", "delivered:"],
        ["c@y.example:", "rejected:"],
    ]
    assert [stored.content for stored in server.messages] == [SHORT]


def test_the_adapter_that_is_shown_is_short() -> None:
    assert len((EXAMPLES / "twisted_adapter.py").read_text("utf-8").splitlines()) < 80
