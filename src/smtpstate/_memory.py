"""Remember for a while which endpoints could not be reached."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from smtpstate._endpoints import Endpoint
from smtpstate._requests import Clock


@final
class Memory:
    """Endpoints that failed, and when; shared by all couriers of a target.

    Args:
        delay: seconds for which an endpoint that failed is tried last; 0 forgets at once.
    """

    __slots__ = ("_delay", "_failed")

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._failed: dict[Endpoint, float] = {}

    def failed(self, endpoint: Endpoint, now: float) -> None:
        """Note that an endpoint could not be reached."""
        self._failed[endpoint] = now

    def reached(self, endpoint: Endpoint) -> None:
        """Note that it could."""
        self._failed.pop(endpoint, None)

    def order(self, endpoints: Sequence[Endpoint], clock: Clock) -> Sequence[Endpoint]:
        """Return the endpoints in the order in which to try them: those that failed lately come last."""
        if not self._failed:
            return endpoints
        now = clock()
        return sorted(endpoints, key=lambda endpoint: self._failed_lately(endpoint, now))

    def _failed_lately(self, endpoint: Endpoint, now: float) -> bool:
        failed = self._failed.get(endpoint)
        return failed is not None and now - failed < self._delay
