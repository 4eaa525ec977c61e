"""Run Twisted's reactors, a fresh one each time, and say what was left in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.selectreactor import SelectReactor
from twisted.python.failure import Failure

from smtpstate import Delivery, Envelope, Message, TargetConfig, forwarding
from twisted_adapter import drive

T = TypeVar("T")

REACTORS: dict[str, Callable[[], Any]] = {"select": SelectReactor, "epoll": EPollReactor}


def never(*_: object) -> Deferred[Any]:
    """Return what does not fire, unless it is cancelled."""
    return Deferred()


class Loop:
    """Runs a reactor of its own for each main, since none can be run twice."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        #: what was left waiting by the last main: for octets, for room, for time
        self.left: list[object] = []

    def run(self, main: Callable[[Any], Deferred[T]]) -> T:
        """Return what comes out of ``main``, which is given the reactor."""
        reactor = self._make()
        own = set(reactor.getReaders())
        ended: list[T | Failure] = []

        def begin() -> None:
            main(reactor).addBoth(end)

        def end(result: T | Failure) -> None:
            ended.append(result)
            readers = [each for each in reactor.getReaders() if each not in own]
            self.left = [*readers, *reactor.getWriters(), *reactor.getDelayedCalls()]
            reactor.stop()

        reactor.callWhenRunning(begin)
        try:
            reactor.run(installSignalHandlers=False)
        finally:
            for each in own:
                reactor.removeReader(each)
                each.connectionLost(None)
            if isinstance(reactor, EPollReactor):
                reactor._poller.close()
        (result,) = ended
        if isinstance(result, Failure):
            result.raiseException()
            raise AssertionError("a failure raises")
        return result

    def deliver(self, config: TargetConfig, envelope: Envelope, message: Message | bytes) -> Delivery:
        """Deliver over connections of its own."""
        made = Delivery(envelope, message)
        self.run(lambda reactor: Deferred.fromCoroutine(drive(forwarding(made, config), reactor)))
        return made
