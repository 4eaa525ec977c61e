"""The directive language: from a text to the settings of its targets, and back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import final

from smtpstate._auth import Auth
from smtpstate._checks import WrongSetting, suggestion
from smtpstate._commands import Protocol
from smtpstate._directives import DIRECTIVES, FAILOVER, TLS_OPTIONS, Shape
from smtpstate._durations import print_duration
from smtpstate._errors import ConfigError
from smtpstate._syntax import Statement, Text, written
from smtpstate._text import visible
from smtpstate._tls import TlsClient

#: Directives that may stand outside of targets, as defaults for all of them.
_DEFAULTS = ("debug", "hostname", "tls_client")
_OUTSIDE = (*_DEFAULTS, "target.smtp", "target.lmtp", "deliver_to")
_SHAPES = {name: directive.shape for name, directive in DIRECTIVES.items()}
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")  # of a target; no endpoint looks like it


@final
@dataclass(frozen=True, slots=True)
class Block:
    """What a text says of one target, or of all: values still unchecked, and where they stand."""

    text: Text
    line: int
    title: str  #: the directive that opens it; empty for the whole text
    settings: dict[str, object] = field(default_factory=dict, repr=False)
    #: path of a setting -> its line
    lines: dict[tuple[str, ...], int] = field(default_factory=dict)

    def mistake(self, error: WrongSetting) -> ConfigError:
        """Return ``error`` with the place where it was made."""
        for length in range(len(error.path), 0, -1):
            if error.path[:length] in self.lines:
                return self.text.mistake(self.lines[error.path[:length]], *error.path, error.reason)
        return self.text.mistake(self.line, *(part for part in (self.title,) if part), *error.path, error.reason)


def targets_of(source: object, filename: str, env: Mapping[str, str]) -> dict[str, Block]:
    """Return the targets of ``source`` by name, the unnamed one under the empty name.

    Raises:
        ConfigError: something is not as it must be; it says where.
    """
    text = Text(filename, env)
    defaults = Block(text, 1, "")
    targets: dict[str, Block] = {}
    previous = ""
    for statement in text.statements(source):
        if statement.name in _DEFAULTS:
            _add(defaults, statement, _SHAPES, ())
        elif statement.name in _OUTSIDE:
            name, target = _target(text, statement)
            if name in targets:
                first = f"the first is on line {targets[name].line}"
                why = f"a second target named {name}; {first}" if name else f"a second unnamed target; {first}"
                raise text.mistake(statement.line, statement.name, f"{why}; give it a name of its own")
            targets[name] = target
        else:
            raise _unknown(text, statement, _OUTSIDE, previous)
        previous = statement.name
    if not targets:
        raise text.mistake(1, "there is no target; write one as in target.smtp { targets tcp://mx.example:25 }")
    for target in targets.values():
        for setting in [name for name in defaults.settings if name not in target.settings]:
            target.settings[setting] = defaults.settings[setting]
            target.lines.update((path, line) for path, line in defaults.lines.items() if path[0] == setting)
    return targets


def print_target(settings: Iterable[tuple[str, object]], protocol: Protocol, name: str) -> str:
    """Return checked settings as a text, secrets included.

    Raises:
        ConfigError: a callable is part of them, or ``name`` can be no name.
    """
    if name and not _NAME.fullmatch(name):
        raise ConfigError(f"not a name of a target: {visible(repr(name))}; use letters, digits and . _ -")
    lines = [" ".join(part for part in (f"target.{protocol.value}", name, "{") if part)]
    for setting, value in settings:
        if isinstance(value, TlsClient):
            options = [(option, getattr(value, option)) for option in TLS_OPTIONS]
            lines += ["    tls_client {", *(f"        {line}" for line in _printed(options)), "    }"]
        else:
            lines += [f"    {line}" for line in _printed([(setting, value)])]
    return "\n".join((*lines, "}", ""))


def _printed(settings: Iterable[tuple[str, object]]) -> Iterator[str]:
    for name, value in settings:
        words = _words(value)
        if words:
            yield " ".join((name, *map(written, words)))


def _words(value: object) -> list[str]:
    """Return a checked value as words; none where nothing is what says it."""
    match value:
        case None:
            return []
        case bool():
            return ["yes" if value else "no"]
        case float():
            return [print_duration(value)]
        case Auth():
            return list(value.words())
        case frozenset():
            words = sorted(map(str, value))
            return [word for word in FAILOVER if word in words] if "connect" in words else words
        case tuple():
            return [str(one) for one in value]
        case _:
            return [str(value)]


def _target(text: Text, statement: Statement) -> tuple[str, Block]:
    """Return the name of the target that ``statement`` describes, and its settings."""
    opening, protocol = statement.name, statement.name.removeprefix("target.")
    words = list(statement.words)
    name = ""
    if opening == "deliver_to":
        protocol = words.pop(0) if words else ""
        if protocol not in ("smtp", "lmtp"):
            raise text.mistake(statement.line, opening, "expected smtp or lmtp after deliver_to")
        opening = f"deliver_to {protocol}"
    elif words and not any(mark in words[0] for mark in ":/"):
        name = words.pop(0)
        if not _NAME.fullmatch(name):
            raise text.mistake(
                statement.line, opening, "the name of a target is made of letters, digits and . _ -"
            )
    target = Block(text, statement.line, opening)
    target.settings["protocol"] = protocol
    for inner, previous in _with_previous(statement.block or ()):
        _add(target, inner, _SHAPES, (), previous)
    if words:
        further = target.settings.get("targets", [])
        assert isinstance(further, list)
        target.settings["targets"] = [*_checked(target, words), *further]
    return name, target


def _checked(target: Block, words: list[str]) -> list[object]:
    """Return the endpoints of an opening line, checked at once: a mistake is on that line, not in the block."""
    opening = Block(target.text, target.line, target.title)
    checked = _check(opening, "targets", words)
    assert isinstance(checked, tuple)
    return list(checked)


def _check(block: Block, name: str, value: object) -> object:
    try:
        return DIRECTIVES[name].check(name, value)
    except WrongSetting as error:
        raise block.mistake(error) from None


def _add(
    block: Block, statement: Statement, shapes: Mapping[str, Shape], outer: tuple[str, ...], previous: str = ""
) -> None:
    """Put what ``statement`` says into ``block``."""
    raise NotImplementedError
