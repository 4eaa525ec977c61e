"""Rules: at which step a model server departs from what a correct server does, and how."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias, final

from smtpstate._errors import TransportError
from smtpstate._replies import Reply
from smtpstate.testing._actions import Action, Close, Delay, Refuse, Reset, Say, Silence, StopReading

#: Steps that are no command.
PSEUDO_STEPS: Final = frozenset({"connect", "tls", "greeting", "response", "content", "message"})


@final
@dataclass(frozen=True, slots=True)
class Answer:
    """Stands for the answer that the server would have given without the rule."""


Effect: TypeAlias = Action | Answer | Reply


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A step, and what happens there in place of the usual answer. Made by ``on``.

    Each method returns a new rule that does one thing more. What a rule says
    also decides what the server does: with ``reply`` the command succeeds or
    fails as the code says; with ``say`` and ``answer`` it is carried out as
    usual; without any of them nothing is carried out, unless the rule only
    delays.
    """

    step: str  #: a verb in upper case, one of ``PSEUDO_STEPS``, or ``*``
    argument: str | None = None
    occurrence: int | Container[int] | None = None
    connection: int | None = None
    across_connections: bool = False
    after: int = 0
    effects: tuple[Effect, ...] = ()

    def reply(self, code: int, *lines: str) -> Rule:
        """Reply with ``code`` and the given lines of text."""
        return self._and(Reply(code, tuple(line.encode() for line in lines or ("",))))

    def say(self, octets: bytes) -> Rule:
        """Send ``octets`` as they are; none at all leaves the command without any answer."""
        return self._and(Say(octets))

    def drip(self, octets: bytes, every: float) -> Rule:
        """Send ``octets`` one by one, each after waiting ``every`` seconds."""
        drops = [effect for octet in octets for effect in (Delay(every), Say(bytes((octet,))))]
        return self._and(*drops)

    def answer(self) -> Rule:
        """Give the usual answer at this place."""
        return self._and(Answer())

    def delay(self, seconds: float) -> Rule:
        """Wait before what follows; the usual answer, if nothing does."""
        return self._and(Delay(seconds))

    def close(self) -> Rule:
        """Close the connection."""
        return self._and(Close())

    def reset(self) -> Rule:
        """Reset the connection."""
        return self._and(Reset())

    def silence(self) -> Rule:
        """Say nothing from here on."""
        return self._and(Silence())

    def stop_reading(self) -> Rule:
        """Take nothing more from the client."""
        return self._and(StopReading())

    def refuse(self, error: TransportError | None = None) -> Rule:
        """Fail the connecting or the handshake, with ``error`` where client and server share a memory."""
        return self._and(Refuse(error or TransportError("connection refused")))

    def _and(self, *effects: Effect) -> Rule:
        return replace(self, effects=self.effects + effects)

    @property
    def performed(self) -> tuple[Effect, ...]:
        """All effects; a rule that only delays ends with the usual answer."""
        if all(isinstance(effect, Delay) for effect in self.effects):
            return (*self.effects, Answer())
        return self.effects

    def concerns(self, step: str, arguments: Sequence[str], connection: int) -> bool:
        """Whether the rule is about this step at all, whichever occurrence it is."""
        return (
            (self.step == step or (self.step == "*" and step not in ("connect", "tls", "content")))
            and (self.argument is None or self.argument in arguments)
            and self.connection in (None, connection)
        )

    def fires(self, occurrence: int) -> bool:
        """Whether the rule acts at this occurrence, counted from 1."""
        wanted = self.occurrence
        if wanted is None:
            return True
        return occurrence == wanted if isinstance(wanted, int) else occurrence in wanted


def on(
    step: str,
    argument: str | None = None,
    *,
    occurrence: int | Container[int] | None = None,
    connection: int | None = None,
    across_connections: bool = False,
    after: int = 0,
) -> Rule:
    """Begin a rule, as in ``on("RCPT", "bob@y.example").reply(550, "5.1.1 no such user")``.

    Of several rules about the same step the first that fires acts.

    Args:
        step: a command's verb in any case; ``"*"`` for every command, greeting
            and final reply; or one of these: ``"connect"``, ``"tls"`` (a
            handshake), ``"greeting"``, ``"response"`` (a SASL response),
            ``"content"`` (while the message comes in), ``"message"`` (a final
            reply).
        argument: what the step must be about: the address of MAIL, RCPT or,
            with LMTP, of a final reply (an SMTP final reply is about all its
            recipients), the mechanism of AUTH, ``LAST`` of BDAT, else the
            whole argument. Compared exactly.
        occurrence: which match acts, counted from 1: a number, or several as
            in ``range(3, 9)``. All, if not given.
        connection: on which of the server's connections, counted from 1.
        across_connections: count occurrences over all connections together;
            always so for ``"connect"``.
        after: for ``"content"``: the octets of the message that have come.
    """
    return Rule(
        step=step if step in PSEUDO_STEPS else step.upper(),
        argument=argument,
        occurrence=occurrence,
        connection=connection,
        across_connections=across_connections or step == "connect",
        after=after,
    )


class Counter:
    """Counts how often each rule of a server has been concerned."""

    __slots__ = ("_all", "_each", "_rules")

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = tuple(rules)
        self._all = [0] * len(self._rules)
        self._each: dict[int, list[int]] = {}

    def rule_for(self, step: str, arguments: Sequence[str], connection: int) -> Rule | None:
        """Return the rule that acts at this step, if there is one, and count it."""
        acting: Rule | None = None
        each = self._each.setdefault(connection, [0] * len(self._rules))
        for n, rule in enumerate(self._rules):
            if rule.concerns(step, arguments, connection):
                self._all[n] += 1
                each[n] += 1
                count = self._all[n] if rule.across_connections else each[n]
                if acting is None and rule.fires(count):
                    acting = rule
        return acting

    def content_rules(self, connection: int, size: int, done: set[int]) -> list[Rule]:
        """Return the rules that act when ``size`` octets of a message have come, each once; ``done`` keeps score."""
        acting: list[Rule] = []
        each = self._each.setdefault(connection, [0] * len(self._rules))
        for n, rule in enumerate(self._rules):
            if rule.step == "content" and n not in done and size >= rule.after:
                done.add(n)
                if rule.connection in (None, connection):
                    self._all[n] += 1
                    each[n] += 1
                    if rule.fires(self._all[n] if rule.across_connections else each[n]):
                        acting.append(rule)
        return acting
