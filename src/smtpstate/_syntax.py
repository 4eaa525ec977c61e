"""How settings are written as text: words, quotes, comments, blocks, variables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, final

from smtpstate._errors import ConfigError
from smtpstate._text import visible

# A quote ends at the first " without a backslash before it, so a backslash cannot come last within one.
_TOKEN = re.compile(
    r"""
    (?P<nothing> [ \t\r]+ | \#[^\n]* | \\[ \t\r]*\n )   # blanks, a comment, the end of a line that goes on
  | (?P<end> \n )
  | "(?P<quoted> .*? )(?<!\\)"
  | (?P<bare> [^ \t\r\n"]+ )
    """,
    re.VERBOSE | re.DOTALL,
)
# A default holds no braces, but may begin with one: no text takes longer than it is long, and "{" can be written.
_VARIABLE = re.compile(r"\{env:([^{}:]*)(:-\{?[^{}]*)?\}")
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PLAIN_WORD = re.compile(r"[A-Za-z0-9_./:@%+,=~\[\]-]+")
_DEEPEST = 8  # blocks within blocks; nothing needs more than two


@final
@dataclass(frozen=True, slots=True)
class Statement:
    """A directive with what follows it."""

    line: int  #: where its name stands, from 1
    name: str
    words: tuple[str, ...] = field(repr=False)  #: may hold a secret
    block: tuple[Statement, ...] | None = None


@final
@dataclass(frozen=True, slots=True)
class _Word:
    line: int
    text: str
    quoted: bool


@final
@dataclass(frozen=True, slots=True)
class _Line:
    """One of the line ends and braces that shape a text."""

    line: int
    mark: str


_Token: TypeAlias = _Word | _Line


@final
class Text:
    """A text with settings, its name for errors, and the variables that it may use."""

    __slots__ = ("_env", "_filename")

    def __init__(self, filename: str, env: Mapping[str, str]) -> None:
        self._filename = visible(str(filename))
        self._env = env

    def mistake(self, line: int, *parts: str) -> ConfigError:
        """Return the error that says where, in which directive, and what."""
        return ConfigError(visible(": ".join((self._filename, f"line {line}", *parts))))

    def statements(self, text: object) -> tuple[Statement, ...]:
        """Return what ``text`` says, variables replaced.

        Raises:
            ConfigError: it is not written as it must be. No word is repeated in
                the message: any could be a secret.
        """
        if not isinstance(text, str):
            raise ConfigError(f"{self._filename}: expected text, got {type(text).__name__}")
        # Each list holds the finished statements of a block that is still open, the last one's innermost.
        blocks: list[list[Statement]] = [[]]
        openings: list[tuple[list[_Word], int]] = []
        words: list[_Word] = []
        closed = False  # a block has ended on this line
        for token in self._tokens(text):
            if isinstance(token, _Word):
                if closed:
                    raise self.mistake(token.line, "begin a new line after }")
                words.append(token)
                continue
            if token.mark == "{":
                if not words:
                    raise self.mistake(token.line, "{ belongs at the end of the line of its directive")
                if len(openings) == _DEEPEST:
                    raise self.mistake(token.line, "blocks within blocks, too deep")
                openings.append((words, token.line))
                blocks.append([])
                words = []
                continue
            if words:
                blocks[-1].append(self._statement(words))
                words = []
            closed = token.mark == "}"
            if closed:
                if not openings:
                    raise self.mistake(token.line, "} without the { that it would end")
                inner = tuple(blocks.pop())
                blocks[-1].append(self._statement(openings.pop()[0], inner))
        if openings:
            raise self.mistake(
                openings[-1][1], f"{openings[-1][0][0].text}: the block is never closed; add }}"
            )
        return tuple(blocks[0])

    def _tokens(self, text: str) -> list[_Token]:
        tokens: list[_Token] = []
        line = 1
        position = 1 if text.startswith("\ufeff") else 0  # some editors put a byte order mark first
        while position < len(text):
            found = _TOKEN.match(text, position)
            if found is None:
                raise self.mistake(line, 'the quote that begins here is never closed; a " within one is \\"')
            position = found.end()
            if found["end"] is not None:
                tokens.append(_Line(line, "\n"))
            elif found["quoted"] is not None:
                if position < len(text) and text[position] not in " \t\r\n":
                    raise self.mistake(line, 'put a blank after the closing quote; a " within quotes is \\"')
                tokens.append(_Word(line, found["quoted"].replace('\\"', '"'), quoted=True))
            elif (bare := found["bare"]) is not None:
                if text.startswith('"', position):
                    raise self.mistake(
                        line, 'a quote within a word; quote the whole word and write \\" for it'
                    )
                tokens.append(self._bare(line, bare))
            line += found[0].count("\n")
        return [*tokens, _Line(line, "\n")]

    def _bare(self, line: int, bare: str) -> _Token:
        if bare in ("{", "}"):
            return _Line(line, bare)
        if bare == "\\":
            raise self.mistake(line, "a lone \\ continues a line, and must be the last on it")
        if not bare.isprintable():
            raise self.mistake(line, "an invisible character within a word; remove it, or quote the word")
        if "{" in (rest := _VARIABLE.sub("", bare)) or "}" in rest:
            raise self.mistake(line, "a brace within a word; put blanks around it, or quote the word")
        return _Word(line, bare, quoted=False)

    def _statement(self, words: list[_Word], block: tuple[Statement, ...] | None = None) -> Statement:
        first, *others = words
        if first.quoted:
            raise self.mistake(first.line, "expected the name of a directive, got a quoted word")
        arguments = tuple(self._replaced(first, word) for word in others)
        return Statement(first.line, first.text, arguments, block)

    def _replaced(self, directive: _Word, word: _Word) -> str:
        """Return the text of ``word`` with its variables replaced; their values are never looked into."""

        def value(found: re.Match[str]) -> str:
            name, default = found.groups()
            if default is not None and not name:
                return default[2:]
            if not _VARIABLE_NAME.fullmatch(name):
                raise self.mistake(
                    word.line, directive.text, "a variable is written {env:NAME} or {env:NAME:-default}"
                )
            set_to = self._env.get(name)
            if default is not None:
                return set_to or default[2:]
            if set_to is None:
                raise self.mistake(
                    word.line,
                    directive.text,
                    f"the environment has no {name}; set it, or give a default as in {{env:{name}:-default}}",
                )
            return set_to

        if "{env:" in _VARIABLE.sub("\0", word.text):
            raise self.mistake(
                word.line,
                directive.text,
                "{env: is not closed as in {env:NAME}; for itself write {env::-{}env:",
            )
        return _VARIABLE.sub(value, word.text)


def written(word: str) -> str:
    """Return ``word`` as it is written in a text, quoted where it must be.

    ``{env::-x}`` is the variable without a name, which is always ``x``: by that,
    what looks like a variable is kept from being one, and a backslash from the
    quote after it.
    """
    if _PLAIN_WORD.fullmatch(word):
        return word
    word = word.replace("{env:", "{env::-{}env:")
    if word.endswith("\\"):
        word = word[:-1] + "{env::-\\}"
    return '"' + word.replace('"', '\\"') + '"'
