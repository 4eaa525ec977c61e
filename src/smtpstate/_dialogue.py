"""Drive a generator of requests from any loop, and say where it waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import GeneratorType
from typing import Any, Generic, TypeVar, final

from smtpstate._requests import Clock, Request, Steps

T = TypeVar("T")

_UNSET: Any = object()


@final
class Dialogue(Generic[T]):
    """One run of ``steps``, from its first request to its result.

    An adapter drives it like this, and need not know what the requests are for::

        for request in dialogue.requests(time.monotonic):
            try:
                answer = perform(request)
            except TransportError as error:
                dialogue.fail(error)
            else:
                dialogue.answer(answer)
        return dialogue.result

    ``repr`` names the calls that are suspended, outermost first. Leaving the
    loop early (a cancellation) needs nothing further: what was learned by
    then is in the objects that the steps were given.
    """

    __slots__ = ("_answer", "_begin", "_failure", "_result", "_steps")

    def __init__(self, begin: Callable[[Clock], Steps[T]]) -> None:
        self._begin = begin
        self._steps: Steps[T] | None = None
        self._answer: Any = _UNSET
        self._failure: BaseException | None = None
        self._result: T = _UNSET

    def begin(self, clock: Clock) -> Steps[T]:
        """Return the steps themselves: ``send`` answers a request, ``throw`` fails it, and both give the next.

        It is a generator, which must be closed where it is left early; its result
        is the value of ``StopIteration``. ``requests`` does all that, and costs a little more.
        """
        self._steps = self._begin(clock)
        return self._steps

    def requests(self, clock: Clock) -> Iterator[Request]:
        """Yield each request; ``answer`` or ``fail`` it before asking for the next.

        Raises:
            RuntimeError: a request was neither answered nor failed.
            SmtpStateError: what the steps raised, and whatever a caller's own
                source or callback raised within them.
        """
        steps = self.begin(clock)
        try:
            request = next(steps)
            while True:
                yield request
                failure, self._failure = self._failure, None
                answer, self._answer = self._answer, _UNSET
                if failure is not None:
                    request = steps.throw(failure)
                elif answer is not _UNSET:
                    request = steps.send(answer)
                else:
                    raise RuntimeError(f"the request was not answered: {request!r}")
        except StopIteration as stop:
            self._result = stop.value
        finally:
            steps.close()

    def answer(self, answer: object) -> None:
        """Answer the request that was yielded last."""
        self._answer = answer

    def fail(self, error: BaseException) -> None:
        """Fail the request that was yielded last."""
        self._failure = error

    @property
    def result(self) -> T:
        """What the steps returned.

        Raises:
            RuntimeError: they have not come to their end.
        """
        if self._result is _UNSET:
            raise RuntimeError(f"{self!r} has no result")
        return self._result

    def __repr__(self) -> str:
        names: list[str] = []
        steps: object = self._steps
        while isinstance(steps, GeneratorType) and steps.gi_frame is not None:
            if steps.__name__ != "__iter__":  # a request's own step says nothing
                names.append(steps.__name__)
            steps = steps.gi_yieldfrom
        if names:
            return f"<Dialogue {' > '.join(names)}>"
        return "<Dialogue ended>" if self._steps is not None else "<Dialogue not begun>"
