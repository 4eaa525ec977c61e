"""A thousand deliveries that fail, and a thousand that are cancelled, leave nothing behind under any runtime."""

from __future__ import annotations

import gc
import socket
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass
from itertools import cycle, islice, repeat
from typing import TypeAlias

import pytest

import smtpstate_blocking
from adapters.cancelling import ENVELOPE, MAINS, Requests, ca_file, delivery, played
from adapters.directives import config_of, server_context
from adapters.leftovers import counts, counts_in_loop, settled, settled_in_loop
from adapters.raw_servers import Serve, resetting, shaking_hands, talking
from adapters.runtimes import LONG, Asynchronous, full_backlog, peer, swallow
from smtpstate import Delivery, LocalProtocolError, Message, Phase, Status, TargetConfig
from smtpstate_io import AsyncTarget
from smtpstate_testing import Served, serve

pytestmark = pytest.mark.usefixtures("nothing_left", "nothing_collected")

THOUSAND = 1000
SHORT = b"Subject: x\r\n\r\nhello\r\n"
BLOCK = (b"x" * 76 + b"\r\n") * 1000  # more than is read at once

F, R, U = Status.DEFERRED, Status.REJECTED, Status.UNCERTAIN

#: Yields the address of a server as long as it is there.
Where: TypeAlias = Callable[[], AbstractContextManager[str]]


#: A connection that was left open keeps the next from being served, for no longer than this.
PATIENT = f"command_timeout {LONG}s"


class OwnError(Exception):
    """An error of the caller's."""


class Interrupted(BaseException):
    """What comes from outside at any place, as ``KeyboardInterrupt`` does."""


def failing_source() -> Iterator[bytes]:
    yield BLOCK
    raise OwnError


def by(serve: Serve, scheme: str = "tcp") -> Where:
    """Return where connections are served like that, one after the other."""

    @contextmanager
    def where() -> Generator[str, None, None]:
        with peer(serve, scheme=scheme) as endpoint:
            yield str(endpoint)

    return where


def said(ends: str = "", /, **answers: bytes) -> Where:
    """Return where that is said; see ``talking``."""
    return by(talking(ends, **answers))


@contextmanager
def nobody() -> Generator[str, None, None]:
    """Yield an address that is taken, and where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield f"tcp://127.0.0.1:{sock.getsockname()[1]}"


@contextmanager
def no_answer() -> Generator[str, None, None]:
    """Yield an address that can be connected to, and never is."""
    with full_backlog() as port:
        yield f"tcp://127.0.0.1:{port}"


@dataclass(frozen=True, slots=True)
class Failure:
    """One way in which deliveries fail, and what comes of it."""

    server: Where
    result: tuple[Status, Phase] | type[Exception]
    directives: str = PATIENT
    message: Callable[[], Message] = lambda: Message(SHORT)

    def check(self, failed: Delivery, error: Exception | None) -> None:
        """Check that it failed in that way."""
        if isinstance(self.result, type):
            assert type(error) is self.result
        else:
            assert error is None
            assert [(each.status, each.phase) for each in failed.outcomes] == [self.result] * 3, (
                failed.outcomes
            )


OFFER_TLS = {"EHLO": b"250-mx.example\r\n250 STARTTLS\r\n", "STAR": b"220 go ahead\r\n"}
CONTEXT = server_context()
REQUIRED = f"{PATIENT}\nrequire_tls yes"

FAILURES: Mapping[str, Failure] = {
    "nobody there": Failure(nobody, (F, Phase.CONNECT)),
    "no answer": Failure(no_answer, (F, Phase.CONNECT), "connect_timeout 1ms"),
    "no greeting": Failure(said(GREETING=b""), (F, Phase.GREETING)),
    "no SMTP": Failure(said(GREETING=b"hello\r\n"), (F, Phase.GREETING)),
    "refused by 554": Failure(said(GREETING=b"554 no\r\n"), (F, Phase.GREETING)),
    "refused by 421": Failure(said(GREETING=b"421 no\r\n"), (F, Phase.GREETING)),
    "silence": Failure(by(swallow), (F, Phase.GREETING), "command_timeout 1ms"),
    "cut within a reply": Failure(said("EHLO", EHLO=b"250-mx.example\r\n250-SI"), (F, Phase.HELLO)),
    "closed after STARTTLS": Failure(said("STAR", **OFFER_TLS), (F, Phase.TLS), REQUIRED),
    "octets before TLS": Failure(
        said(**{**OFFER_TLS, "STAR": b"220 go ahead\r\n220 or not\r\n"}), (F, Phase.TLS), REQUIRED
    ),
    "not trusted": Failure(by(shaking_hands(CONTEXT, talking()), "tls"), (F, Phase.TLS)),
    "421 at MAIL": Failure(said("MAIL", MAIL=b"421 bye\r\n"), (F, Phase.MAIL)),
    "reset at RCPT": Failure(by(resetting(talking(RCPT=b""))), (F, Phase.RCPT)),
    "refused at RCPT": Failure(said(RCPT=b"550 no\r\n"), (R, Phase.RCPT)),
    "closed within the message": Failure(
        said("DATA"), (F, Phase.CONTENT), message=lambda: Message(repeat(BLOCK))
    ),
    "no answer to the message": Failure(said(END=b""), (U, Phase.FINAL)),
    "a source that fails": Failure(said(), OwnError, message=lambda: Message(failing_source())),
    "a source that is short": Failure(
        said(), LocalProtocolError, message=lambda: Message(iter([BLOCK]), size=len(BLOCK) + 1)
    ),
    "a source that is 8bit": Failure(
        said(), (R, Phase.MAIL), message=lambda: Message(iter([BLOCK, b"\xe4"]), utf8=False)
    ),
    "line ends that are refused": Failure(
        said(), LocalProtocolError, message=lambda: Message(iter([BLOCK, b"\n"]), line_ends="strict")
    ),
}


@pytest.fixture
def nothing_collected() -> Iterator[None]:
    """Let nothing be closed by the collector only."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(scope="module")
def failing() -> Iterator[dict[str, TargetConfig]]:
    """The settings of targets whose deliveries fail, each in its way."""
    with ExitStack() as stack:
        configs: dict[str, TargetConfig] = {}
        for name, failure in FAILURES.items():
            configs[name] = config_of(stack.enter_context(failure.server()), failure.directives)
        yield configs


@pytest.fixture(scope="module")
def mains(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, TargetConfig]]:
    """The settings of targets for the main dialogues."""
    ca = ca_file(tmp_path_factory.mktemp("ca"))
    with ExitStack() as stack:
        configs: dict[str, TargetConfig] = {}
        for name, main in MAINS.items():
            served = stack.enter_context(serve(main.server(), tls=CONTEXT))
            wait_for(served)
            configs[name] = main.config(served.endpoint, ca)
        yield configs


def wait_for(served: Served) -> None:
    """Wait until a server has opened all that it keeps open."""
    with socket.create_connection(("127.0.0.1", served.port)) as sock:
        assert sock.recv(1000)
    with served._lock:
        threads = list(served._threads)
    for thread in threads:
        thread.join()


def test_a_thousand_failures_leave_nothing(
    asynchronous: Asynchronous, failing: dict[str, TargetConfig]
) -> None:
    async def main() -> None:
        before = counts_in_loop()
        async with AsyncExitStack() as stack:
            targets = {
                name: await stack.enter_async_context(asynchronous.target(config))
                for name, config in failing.items()
            }
            for name in islice(cycle(FAILURES), THOUSAND):
                failed, caught = Delivery(ENVELOPE, FAILURES[name].message()), None
                try:
                    await targets[name].run(failed)
                except (OwnError, LocalProtocolError) as error:
                    caught = error
                FAILURES[name].check(failed, caught)
        assert await settled_in_loop(before) == before

    asynchronous.loop(main)


def test_a_thousand_failures_leave_nothing_of_a_blocking_target(failing: dict[str, TargetConfig]) -> None:
    before = counts()
    with ExitStack() as stack:
        targets = {
            name: stack.enter_context(smtpstate_blocking.Target(config)) for name, config in failing.items()
        }
        for name in islice(cycle(FAILURES), THOUSAND):
            failed, caught = Delivery(ENVELOPE, FAILURES[name].message()), None
            try:
                targets[name].run(failed)
            except (OwnError, LocalProtocolError) as error:
                caught = error
            FAILURES[name].check(failed, caught)
    assert settled(before) == before


def test_a_thousand_cancellations_leave_nothing(
    asynchronous: Asynchronous, mains: dict[str, TargetConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = Requests(monkeypatch)
    points = [(name, n) for name, main in MAINS.items() for n in range(len(played(main)[0]))]

    async def main() -> None:
        before = counts_in_loop()
        async with AsyncExitStack() as stack:
            targets = {
                name: await stack.enter_async_context(asynchronous.target(config))
                for name, config in mains.items()
            }
            for name, n in islice(cycle(points), THOUSAND):
                target = targets[name]
                requests.begin()
                for _ in range(MAINS[name].before):
                    await target.run(delivery())

                async def stopped(
                    cancel: Callable[[], object], target: AsyncTarget = target, n: int = n
                ) -> None:
                    requests.begin(n, cancel)
                    await target.run(delivery())

                error = await asynchronous.cancelled(stopped)
                assert type(error) is asynchronous.cancellation
                assert target._pool.count == 0
            assert await settled_in_loop(before) == before

    asynchronous.loop(main)


class Alarm:
    """Interrupts the program at one of the places at which the program of the caller runs."""

    def __init__(self) -> None:
        self.rings_at = 0
        self.called = 0

    def __call__(self, *about: object) -> None:
        self.called += 1
        if self.called == self.rings_at:
            raise Interrupted

    def delivery(self) -> Delivery:
        """Return one whose source and progress come by here."""

        def content() -> Iterator[bytes]:
            for chunk in (SHORT, BLOCK, SHORT):
                self()
                yield chunk

        return Delivery(ENVELOPE, Message(content, utf8=False, eight_bit=False), progress=self)


def test_a_thousand_interruptions_leave_nothing_of_a_blocking_target(mains: dict[str, TargetConfig]) -> None:
    before = counts()
    alarm = Alarm()
    points: list[tuple[str, int]] = []
    for name, config in mains.items():
        with smtpstate_blocking.Target(config, trace=alarm) as target:
            for _ in range(MAINS[name].before + 1):
                alarm.called = 0
                target.run(alarm.delivery())
            points += [(name, n) for n in range(1, alarm.called + 1)]
    with ExitStack() as stack:
        targets = {
            name: stack.enter_context(smtpstate_blocking.Target(config, trace=alarm))
            for name, config in mains.items()
        }
        for name, n in islice(cycle(points), THOUSAND):
            alarm.rings_at = 0
            for _ in range(MAINS[name].before):
                targets[name].run(alarm.delivery())
            alarm.called, alarm.rings_at = 0, n
            with pytest.raises(Interrupted):
                targets[name].run(alarm.delivery())
            assert targets[name]._pool.count == 0
        assert settled(before) == before
