"""What a server receives, inside TLS too, is the same octet for octet under every runtime, and in memory."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from ssl import SSLContext

import pytest

from adapters.cancelling import ca_file
from adapters.directives import config_of, deliver_in_turn, server_context, statuses
from adapters.runtimes import RUNTIMES
from smtpstate import Delivery, Envelope, Status
from smtpstate._courier import Courier
from smtpstate.testing import ModelServer, Playground, Rule, on
from smtpstate.testing._peer import Peer
from smtpstate_testing import serve

pytestmark = pytest.mark.usefixtures("nothing_left")

D, F, R = Status.DELIVERED, Status.DEFERRED, Status.REJECTED

NONCE = "not-so-random-at-all"
SHORT = b"Subject: x\r\n\r\nhello\r\n"
DOTS = b".\r\n..\n\r\n.x\r.\r\n."
#: Longer than any block, so that line ends and dots lie wherever they can within one.
LONG = b"".join(b"." * (n % 3) + b"x" * (n % 700) + (b"\r\n", b"\n", b"\r")[n % 3] for n in range(2000))
THREE = Envelope("a@x.example", ["b@y.example", "c@y.example", "d@y.example"])
MANY = Envelope("a@x.example", [f"recipient{n}@y.example" for n in range(1000)])
REFUSED = on("RCPT", "c@y.example").reply(550, "5.1.1 no such user")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is delivered to whom, and what shows that it went as its name says."""

    extensions: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    #: of a server that is tried first, where there is one
    first_rules: tuple[Rule, ...] | None = None
    implicit_tls: bool = False
    protocol: str = "smtp"
    directives: str = ""
    envelope: Envelope = THREE
    message: bytes = SHORT
    deliveries: int = 1
    statuses: tuple[Status, ...] = (D, D, D)  # of the last delivery
    shows: tuple[bytes, ...] = ()  # is among the octets

    def servers(self) -> list[ModelServer]:
        """Return the servers, in the order in which they are tried."""
        return [
            ModelServer(
                self.protocol,
                self.extensions,
                rules,
                users={"user": "password"},
                implicit_tls=self.implicit_tls,
            )
            for rules in (self.first_rules, self.rules)
            if rules is not None
        ]


TLS = "require_tls yes\ntls_client {{ root_ca {ca} }}\n"
CLEAR = "insecure_auth yes\nattempt_starttls no\n"

SCENARIOS = {
    "one command after the other": Scenario(shows=(b"DATA\r\nSubject",)),
    "pipelined": Scenario(extensions=("PIPELINING",), shows=(b"<d@y.example>\r\nDATA\r\n",)),
    "chunked": Scenario(extensions=("PIPELINING", "CHUNKING"), shows=(b"BDAT 21 LAST\r\n",)),
    "chunked, one after the other": Scenario(extensions=("CHUNKING",), shows=(b"BDAT 21 LAST\r\n",)),
    "some refused": Scenario(
        extensions=("PIPELINING",), rules=(REFUSED,), statuses=(D, R, D), shows=(b"<c@y.example>",)
    ),
    "all refused": Scenario(
        extensions=("PIPELINING",), rules=(on("RCPT").reply(550, "5.1.1 no"),), statuses=(R, R, R)
    ),
    "too many for one transaction": Scenario(
        extensions=("PIPELINING",),
        rules=(on("RCPT", occurrence=3).reply(452, "4.5.3 too many"),),
        shows=(b".\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<d@y.example>\r\n",),
    ),
    "a thousand recipients": Scenario(
        extensions=("PIPELINING",), envelope=MANY, statuses=(D,) * 1000, shows=(b"<recipient999@y.example>",)
    ),
    "dots": Scenario(
        extensions=("PIPELINING",),
        message=DOTS,
        shows=(b"DATA\r\n..\r\n...\r\n\r\n..x\r\n..\r\n..\r\n.\r\n",),
    ),
    "long": Scenario(extensions=("PIPELINING",), message=LONG, shows=(b"x" * 699,)),
    "long, chunked": Scenario(extensions=("CHUNKING",), message=LONG, shows=(b" LAST\r\n",)),
    "several on a connection": Scenario(
        extensions=("PIPELINING", "CHUNKING"),
        deliveries=3,
        shows=(b"LAST\r\nSubject: x\r\n\r\nhello\r\nMAIL",),
    ),
    "several connections": Scenario(directives="max_messages 1", deliveries=3, shows=(b"QUIT\r\nEHLO",)),
    "lmtp": Scenario(protocol="lmtp", rules=(REFUSED,), statuses=(D, R, D), shows=(b"LHLO c.example\r\n",)),
    "lmtp, pipelined": Scenario(
        protocol="lmtp",
        extensions=("PIPELINING",),
        rules=(on("message", "c@y.example").reply(452, "4.2.2 full"),),
        statuses=(D, F, D),
        shows=(b"<d@y.example>\r\nDATA\r\n",),
    ),
    "lmtp, chunked": Scenario(
        protocol="lmtp", extensions=("PIPELINING", "CHUNKING"), message=LONG[:9000], shows=(b" LAST\r\n",)
    ),
    "starttls": Scenario(
        extensions=("STARTTLS", "PIPELINING"),
        directives=TLS,
        shows=(b"STARTTLS\r\nEHLO c.example\r\n",),
    ),
    "starttls and plain": Scenario(
        extensions=("STARTTLS", "AUTH PLAIN"),
        directives=TLS + "auth plain user password",
        shows=(b"STARTTLS\r\nEHLO", b"AUTH PLAIN AHVzZXIAcGFzc3dvcmQ=\r\n"),
    ),
    "implicit tls, long": Scenario(
        extensions=("PIPELINING", "CHUNKING"),
        implicit_tls=True,
        directives=TLS,
        message=LONG,
        shows=(b"x" * 699,),
    ),
    "scram": Scenario(
        extensions=("AUTH SCRAM-SHA-256",),
        directives=CLEAR + "auth scram user password",
        shows=(b"AUTH SCRAM-SHA-256 ",),
    ),
    "cram-md5": Scenario(
        extensions=("AUTH CRAM-MD5",),
        directives=CLEAR + "auth auto user password",
        shows=(b"AUTH CRAM-MD5\r\n",),
    ),
    "failover": Scenario(first_rules=(on("greeting").reply(421, "4.3.2 busy"),), shows=(b"EHLO",)),
    "failover of some": Scenario(
        directives="failover connect transient",
        first_rules=(on("RCPT", "c@y.example").reply(450, "4.2.1 later"),),
        shows=(b"EHLO c.example\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<c@y.example>\r\nDATA",),
    ),
}


class Tap:
    """All that servers receive, by the connection."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._received: dict[Peer, bytes] = {}
        feed = Peer.feed

        def tapped(peer: Peer, data: bytes, *, unread: bool = False) -> None:
            self._received[peer] = self._received.get(peer, b"") + data
            feed(peer, data, unread=unread)

        patch.setattr(Peer, "feed", tapped)

    def drawn(self, servers: list[ModelServer]) -> list[list[bytes]]:
        """Return what each connection of each server has received."""
        return [[self._received.get(peer, b"") for peer in server.connections] for server in servers]


@pytest.fixture(scope="module")
def context() -> SSLContext:
    return server_context()


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> str:
    return ca_file(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def tap(monkeypatch: pytest.MonkeyPatch) -> Tap:
    monkeypatch.setattr("smtpstate_io._pool.token_urlsafe", lambda: NONCE)
    return Tap(monkeypatch)


def in_memory(scenario: Scenario, directives: str, servers: list[ModelServer]) -> list[Delivery]:
    """Deliver without any runtime."""
    scheme = "tls" if scenario.implicit_tls else "tcp"
    endpoints = [f"{scheme}://127.0.0.1:{port}" for port in range(25, 25 + len(servers))]
    playground = Playground(dict(zip(endpoints, servers, strict=True)))
    courier = Courier(config_of(endpoints, directives, scenario.protocol), nonce=lambda: NONCE)
    deliveries = [Delivery(scenario.envelope, scenario.message) for _ in range(scenario.deliveries)]
    for delivery in deliveries:
        playground.run(courier.delivering(delivery))
        if not courier.keeps_connection:
            playground.run(courier.leaving())
    playground.run(courier.leaving())
    playground.close()
    return deliveries


@pytest.mark.parametrize("name", SCENARIOS)
def test_servers_receive_the_same_octets(name: str, tap: Tap, context: SSLContext, ca: str) -> None:
    scenario = SCENARIOS[name]
    directives = "hostname c.example\n" + scenario.directives.format(ca=ca)
    servers = scenario.servers()
    deliveries = in_memory(scenario, directives, servers)
    expected = tap.drawn(servers)
    assert statuses(deliveries[-1]) == list(scenario.statuses)
    octets = b"".join(expected[-1])
    assert all(sign in octets for sign in scenario.shows), octets
    for runtime in RUNTIMES:
        servers = scenario.servers()
        with ExitStack() as stack:
            served = [stack.enter_context(serve(server, tls=context)) for server in servers]
            endpoints = [each.endpoint for each in served]
            config = config_of(endpoints, directives, scenario.protocol)
            deliveries = deliver_in_turn(
                runtime, config, scenario.deliveries, envelope=scenario.envelope, message=scenario.message
            )
        same = tap.drawn(servers) == expected  # compared here, since they may be too many to be shown
        assert same, runtime
        assert statuses(deliveries[-1]) == list(scenario.statuses)
        assert all(server.violations == [] for server in servers)
