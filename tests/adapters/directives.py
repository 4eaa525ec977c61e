"""Deliveries over real sockets, by settings in the words of the directive language."""

from __future__ import annotations

import ssl
import time
from collections.abc import Sequence

import trustme

import smtpstate_blocking
from adapters.runtimes import ASYNCHRONOUS, BLOCKING, Asynchronous, Runtime
from smtpstate import Credentials, Delivery, Envelope, Outcome, Status, TargetConfig

CA = trustme.CA()
#: Nobody's trust: what servers with bad certificates have theirs from.
OTHER_CA = trustme.CA()

MESSAGE = b"Subject: hello\r\n\r\n.a line with a dot\r\nand another\r\n"
ENVELOPE = Envelope("a@x.example", ["b@y.example", "c@y.example"])

D, F, R, U = Status.DELIVERED, Status.DEFERRED, Status.REJECTED, Status.UNCERTAIN

#: One of each kind, for tests that have to wait for a time-out.
WAITING: tuple[Runtime, ...] = (BLOCKING, ASYNCHRONOUS[0])


def config_of(endpoints: str | Sequence[str], directives: str = "", protocol: str = "smtp") -> TargetConfig:
    """Return the settings of a target with ``directives``, one on each line."""
    opening = endpoints if isinstance(endpoints, str) else " ".join(endpoints)
    return TargetConfig.parse(f"deliver_to {protocol} {opening} {{\n{directives}\n}}")


def deliver(
    runtime: Runtime,
    endpoints: str | Sequence[str],
    directives: str = "",
    *,
    protocol: str = "smtp",
    envelope: Envelope = ENVELOPE,
    message: bytes = MESSAGE,
    credentials: Credentials | None = None,
) -> Delivery:
    """Deliver a message to a target with ``directives``."""
    config = config_of(endpoints, directives, protocol)
    return runtime.deliver(config, envelope, message, credentials=credentials)


def deliver_in_turn(
    runtime: Runtime,
    config: TargetConfig,
    times: int,
    *,
    envelope: Envelope = ENVELOPE,
    message: bytes = MESSAGE,
    pause: float = 0,
) -> list[Delivery]:
    """Deliver the same message several times, by one target; ``pause`` seconds or more pass after each."""
    deliveries: list[Delivery] = []
    if isinstance(runtime, Asynchronous):
        asynchronous = runtime

        async def main() -> None:
            async with asynchronous.target(config) as target:
                for _ in range(times):
                    deliveries.append(await target.deliver(envelope, message))
                    ends = time.monotonic() + pause
                    while time.monotonic() < ends:
                        await asynchronous.turn()

        asynchronous.loop(main)
        return deliveries
    with smtpstate_blocking.Target(config) as target:
        for _ in range(times):
            deliveries.append(target.deliver(envelope, message))
            time.sleep(pause)
    return deliveries


def statuses(delivery: Delivery) -> list[Status]:
    """Return what became of each recipient."""
    return [outcome.status for outcome in delivery.outcomes]


def only_outcome(delivery: Delivery) -> Outcome:
    """Return the outcome of all recipients, which must have ended alike."""
    first = delivery.outcomes[0]
    for outcome in delivery.outcomes:
        assert (outcome.status, outcome.phase, str(outcome.reply)) == (
            first.status,
            first.phase,
            str(first.reply),
        )
    return first


def server_context(certificate: trustme.LeafCert | None = None) -> ssl.SSLContext:
    """Return what a server shakes hands with; by default its certificate is good for 127.0.0.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    chosen = certificate or CA.issue_cert("127.0.0.1")
    with chosen.private_key_and_cert_chain_pem.tempfile() as file:
        context.load_cert_chain(file)
    return context
