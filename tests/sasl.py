"""What the tests of SASL share: a mechanism played by hand, and all that an error shows."""

from __future__ import annotations

from smtpstate._mechanisms import Exchange, Response


def responses(steps: Exchange, *challenges: bytes) -> list[Response]:
    """Return the responses to the start and to each challenge."""
    found: list[Response] = []
    answer = next(steps)
    for challenge in challenges:
        found.append(answer if isinstance(answer, Response) else Response(answer))
        answer = steps.send(challenge)
    return [*found, answer if isinstance(answer, Response) else Response(answer)]


def said(steps: Exchange, *challenges: bytes) -> list[bytes | None]:
    return [response.data for response in responses(steps, *challenges)]


def everything_of(error: BaseException | None) -> str:
    """Return all that can be read off ``error`` and the errors before it."""
    text = ""
    while error is not None:
        text += f"{error} {error!r} {error.args!r} {error.__dict__!r}\n"
        error = error.__context__
    return text
