"""What a server says and does to a connection: usual answers, rules in their place, and cuts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from smtpstate._replies import Reply
from smtpstate.testing._actions import Action, Close, Reset, Say, Silence, StopReading
from smtpstate.testing._rules import Answer, Counter, Effect
from smtpstate.testing._session import Verdict
from smtpstate.testing._settings import Cut


@final
class Voice:
    """The speaking half of a ``Peer``; it collects actions until ``taken`` is called.

    Attributes:
        ended: the connection is closed or reset.
        deaf: nothing that the client says is understood any more.
    """

    def __init__(self, counter: Counter, connection: int, cut: Cut | None) -> None:
        self.ended = False
        self.deaf = False
        self._counter = counter
        self._connection = connection
        self._cut = cut if cut is not None and cut.connection in (None, connection) else None
        self._mute = False
        self._said = 0
        self._actions: list[Action] = []

    def taken(self) -> list[Action]:
        """Return all actions since the last call."""
        actions, self._actions = self._actions, []
        return actions

    def perform(self, step: str, arguments: Sequence[str], verdict: Verdict) -> bool:
        """Give the usual answer, or do what a rule says instead; return whether there was a rule."""
        if self.ended or self._mute:
            return True
        if self.obey_rule(step, arguments, verdict):
            return True
        self.run((Answer(),), verdict)
        return False

    def obey_rule(self, step: str, arguments: Sequence[str], verdict: Verdict | None) -> bool:
        """Do what a rule says, if there is one for this step; return whether there was."""
        rule = self._counter.rule_for(step, arguments, self._connection)
        if rule is not None:
            self.run(rule.performed, verdict)
        return rule is not None

    def obey_content_rules(self, size: int, fired: set[int]) -> bool:
        """Do what rules say once ``size`` octets of a message have come; return whether a reply was among it."""
        replied = False
        for rule in self._counter.content_rules(self._connection, size, fired):
            replied = replied or any(isinstance(effect, Reply | Say) for effect in rule.effects)
            self.run(rule.effects, None)
        return replied

    def run(self, effects: Sequence[Effect], verdict: Verdict | None) -> None:
        """Do all this; what comes of the command is done after the last that is said."""
        spoken = [n for n, effect in enumerate(effects) if isinstance(effect, Answer | Reply | Say)]
        for n, effect in enumerate(effects):
            if self.ended:
                return
            self._do(effect, verdict)
            if verdict is not None and verdict.then is not None and n in spoken[-1:]:
                # The first reply is the one that the client takes for the answer.
                first = effects[spoken[0]]
                decisive = first if isinstance(first, Reply) else verdict.reply
                if decisive.digit == verdict.success:
                    verdict.then()

    def _do(self, effect: Effect, verdict: Verdict | None) -> None:
        match effect:
            case Answer():
                if verdict is not None and not verdict.unsaid:
                    self.say(bytes(verdict.reply))
            case Reply():
                self.say(bytes(effect))
            case Say():
                self.say(effect.data)
            case Close() | Reset():
                self.end(effect)
            case Silence():
                self._fall_silent()
            case _:
                self.deaf = self.deaf or isinstance(effect, StopReading)
                self.act(effect)

    def say(self, data: bytes) -> None:
        """Say ``data``, as far as the cut allows it."""
        if self.ended or self._mute:
            return
        cut = self._cut
        if cut is not None:
            data = data[: cut.octets - self._said]
        self._said += len(data)
        if data:
            self.act(Say(data))
        if cut is not None and self._said >= cut.octets:
            if cut.how == "silence":
                self._fall_silent()
            else:
                self.end(Close() if cut.how == "close" else Reset())

    def act(self, action: Action) -> None:
        """Do ``action``, unless the connection has ended."""
        if not self.ended:
            self._actions.append(action)

    def end(self, action: Action) -> None:
        """Close or reset the connection."""
        self.act(action)
        self.ended = True

    def _fall_silent(self) -> None:
        self._mute = self.deaf = True
        self.act(Silence())
