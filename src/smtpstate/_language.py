"""The directive language: from a text to the settings of its targets, and back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar, final

from smtpstate._auth import Auth
from smtpstate._checks import WrongSetting, is_iterable, suggestion
from smtpstate._commands import Protocol
from smtpstate._directives import DIRECTIVES, TLS_OPTIONS, Shape
from smtpstate._durations import print_duration
from smtpstate._errors import ConfigError
from smtpstate._syntax import Statement, Text, written
from smtpstate._text import visible
from smtpstate._tls import TlsClient

#: Directives that may stand outside of targets, as defaults for all of them.
_DEFAULTS = {name: DIRECTIVES[name].shape for name in ("debug", "hostname", "tls_client")}
_OPENINGS = ("target.smtp", "target.lmtp", "deliver_to")
_INSIDE = {name: directive.shape for name, directive in DIRECTIVES.items()}
S = TypeVar("S")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")  # of a target; no endpoint looks like it


@final
@dataclass(frozen=True, slots=True)
class Block:
    """What a text says of one target, or of all of them."""

    text: Text
    line: int
    title: tuple[str, ...]  #: the directive that opens it, or nothing
    settings: dict[str, object] = field(
        default_factory=dict[str, object], repr=False
    )  #: each of them checked
    lines: dict[tuple[str, ...], int] = field(
        default_factory=dict[tuple[str, ...], int]
    )  #: where each path stands

    def mistake(self, error: WrongSetting) -> ConfigError:
        """Return ``error`` with the place where it was made."""
        for length in range(len(error.path), 0, -1):
            if error.path[:length] in self.lines:
                return self.text.mistake(self.lines[error.path[:length]], *error.path, error.reason)
        return self.text.mistake(self.line, *self.title, *error.path, error.reason)

    def add(self, statement: Statement, shape: Shape) -> None:
        """Check what ``statement`` says, and keep it."""
        name = statement.name
        value = self._raw(statement, shape, (name,))
        try:
            checked = DIRECTIVES[name].check(name, value)
        except WrongSetting as error:
            raise self.mistake(error) from None
        self.settings[name] = checked

    def take_defaults(self, defaults: Block) -> None:
        """Take over each setting that is not given here; a block is taken as a whole or not at all."""
        missing = defaults.settings.keys() - self.settings.keys()
        self.settings.update((name, defaults.settings[name]) for name in missing)
        self.lines.update((path, line) for path, line in defaults.lines.items() if path[0] in missing)

    def _raw(self, statement: Statement, shape: Shape, path: tuple[str, ...]) -> object:
        """Return the value of ``statement`` as a mapping would give it."""
        line, words = statement.line, statement.words
        if path in self.lines:
            raise self.text.mistake(line, *path, f"given twice, first on line {self.lines[path]}; remove one")
        self.lines[path] = line
        if shape is Shape.BLOCK:
            if statement.block is None or words:
                raise self.text.mistake(line, *path, f"expected a block, as in {path[0]} {{ verify yes }}")
            return {
                inner.name: self._raw(inner, option, (*path, inner.name))
                for inner, option in _known(self.text, statement.block, TLS_OPTIONS)
            }
        if statement.block is not None:
            raise self.text.mistake(line, *path, f"takes no block, but {shape.value}")
        match shape, words:
            case Shape.FLAG, ():
                return True
            case ((Shape.FLAG | Shape.WORD), (word,)):
                return word
            case Shape.DURATION, (_, *_):
                return " ".join(words)
            case Shape.WORDS, (_, *_):
                return list(words)
            case _:
                raise self.text.mistake(line, *path, f"expected {shape.value}, given: {len(words)}")


def targets_of(source: object, filename: str, env: Mapping[str, str]) -> dict[str, Block]:
    """Return the targets of ``source`` by name, the unnamed one under the empty name.

    Raises:
        ConfigError: something is not as it must be; it says where.
    """
    text = Text(filename, env)
    defaults = Block(text, 1, ())
    targets: dict[str, Block] = {}
    for statement, shape in _known(text, text.statements(source), dict.fromkeys(_OPENINGS) | _DEFAULTS):
        if shape is not None:
            defaults.add(statement, shape)
            continue
        name, target = _target(text, statement)
        if name in targets:
            which = f"target named {name}" if name else "target without a name"
            first = targets[name].line
            raise text.mistake(
                statement.line,
                statement.name,
                f"a second {which}, the first is on line {first}; name it otherwise",
            )
        targets[name] = target
    if not targets:
        raise text.mistake(
            1, "there is no target; write one as in target.smtp { targets tcp://mx.example:25 }"
        )
    for target in targets.values():
        target.take_defaults(defaults)
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
    """Return a checked value as words; none where it is said by saying nothing."""
    if value is None:
        return []
    if isinstance(value, bool):
        return ["yes" if value else "no"]
    if isinstance(value, float):
        return [print_duration(value)]
    if isinstance(value, Auth):
        return list(value.words())
    if isinstance(value, str) or not is_iterable(value):
        return [str(value)]
    words = [str(one) for one in value]
    return sorted(words) if isinstance(value, frozenset) else words


def _target(text: Text, statement: Statement) -> tuple[str, Block]:
    """Return the name of the target that ``statement`` describes, and its settings."""
    line, title, words, name = statement.line, statement.name, statement.words, ""
    if title == "deliver_to":
        if words[:1] not in (("smtp",), ("lmtp",)):
            raise text.mistake(
                line, title, "expected smtp or lmtp, then endpoints such as tcp://mx.example:25"
            )
        protocol, words = words[0], words[1:]
    else:
        protocol = title.removeprefix("target.")
        if words and ":" not in words[0]:
            name, words = words[0], words[1:]
            if not _NAME.fullmatch(name):
                raise text.mistake(line, title, "the name of a target is made of letters, digits and . _ -")
    opening = Block(text, line, (title,))
    if words:
        opening.add(Statement(line, "targets", words), Shape.WORDS)
    target = Block(text, line, (title,), {"protocol": protocol})
    for inner, shape in _known(text, statement.block or (), _INSIDE):
        target.add(inner, shape)
    target.settings["targets"] = (*_endpoints(opening), *_endpoints(target))
    return name, target


def _endpoints(block: Block) -> Iterable[object]:
    endpoints = block.settings.get("targets")
    return endpoints if is_iterable(endpoints) else ()


def _known(
    text: Text, statements: Iterable[Statement], known: Mapping[str, S]
) -> Iterator[tuple[Statement, S]]:
    """Yield each statement with what is known of its directive.

    Raises:
        ConfigError: a directive is unknown here.
    """
    previous = ""
    for statement in statements:
        name = statement.name
        if name not in known:
            if previous == "auth":
                # What follows auth on a line of its own may well be the password.
                raise text.mistake(
                    statement.line, "unknown directive after auth, whose words stand on one line"
                )
            raise text.mistake(statement.line, visible(name), f"unknown here; {_remedy(name, known)}")
        yield statement, known[name]
        previous = name


def _remedy(name: str, known: Iterable[str]) -> str:
    if name in TLS_OPTIONS:
        return "it belongs into a block of tls_client"
    if name in _INSIDE:
        return "it belongs into the block of a target"
    if name in _OPENINGS:
        return "it belongs outside of all blocks; is a } missing?"
    return suggestion(name, known)
