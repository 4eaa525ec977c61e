"""What a server offers in its answer to EHLO or LHLO (RFC 5321 §4.1.1.1)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import final

from smtpstate._replies import Reply

# RFC 5321 §4.1.1.1: ehlo-keyword = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-").
# "AUTH=PLAIN" is an old spelling of "AUTH PLAIN" that is still in use. Blanks at the end are
# left to the parameters: matched apart, a line of blanks could be cut in as many ways as it is long.
_LINE = re.compile(rb"[ \t]*([A-Za-z0-9][A-Za-z0-9_.-]*)(?:[ \t=]([\x20-\x7e\t]*))?")


@final
class Capabilities(Mapping[str, tuple[str, ...]]):
    """The keywords that a server offers, in upper case, each with its parameters.

    Compare keywords in any case: ``"pipelining" in capabilities``.
    """

    __slots__ = ("_limits", "_offered", "_size")

    def __init__(self, offered: Mapping[str, tuple[str, ...]] | None = None) -> None:
        self._offered = {k.upper(): tuple(v) for k, v in (offered or {}).items()}
        # Asked for with every message.
        self._size = self._number("SIZE") or None  # "SIZE 0": no fixed maximum is in force
        self._limits = _limits(self._offered.get("LIMITS", ()))

    @classmethod
    def of(cls, reply: Reply) -> Capabilities:
        """Read the answer to EHLO or LHLO.

        Its first line is the server's name, never a keyword. A keyword that
        comes twice adds parameters. A line that is no keyword is passed over.
        """
        offered: dict[str, dict[str, None]] = {}  # the words are in order, and each stands once
        for line in reply.lines[1:]:
            found = _LINE.fullmatch(line)
            if found is None:
                continue
            keyword = found[1].decode().upper()
            words = offered.setdefault(keyword, {})
            words.update(dict.fromkeys((found[2] or b"").decode().split()))
        return cls({keyword: tuple(words) for keyword, words in offered.items()})

    def without(self, keywords: frozenset[str]) -> Capabilities:
        """Return these capabilities less ``keywords`` (in upper case)."""
        return Capabilities({k: v for k, v in self._offered.items() if k not in keywords})

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """The SASL mechanisms offered, in upper case and the server's order (RFC 4954 §3)."""
        return tuple(word.upper() for word in self.get("AUTH", ()))

    @property
    def size(self) -> int | None:
        """The largest message in octets, or None where there is no fixed maximum (RFC 1870 §4)."""
        return self._size

    def limit(self, name: str) -> int | None:
        """Return the value of a limit such as ``RCPTMAX`` (RFC 9422 §3), or None."""
        return self._limits.get(name)

    def _number(self, keyword: str) -> int | None:
        words = self._offered.get(keyword, ())
        if words and words[0].isascii() and words[0].isdigit() and len(words[0]) <= 20:
            return int(words[0])
        return None

    def __getitem__(self, keyword: str) -> tuple[str, ...]:
        return self._offered[keyword.upper()]

    def __contains__(self, keyword: object) -> bool:
        return isinstance(keyword, str) and (keyword in self._offered or keyword.upper() in self._offered)

    def __iter__(self) -> Iterator[str]:
        return iter(self._offered)

    def __len__(self) -> int:
        return len(self._offered)

    def __repr__(self) -> str:
        shown = ", ".join(" ".join((k, *v)) for k, v in self._offered.items())
        return f"<Capabilities {shown or 'none'}>"


def _limits(words: tuple[str, ...]) -> dict[str, int]:
    """Return the limits that are numbers above 0, of each name the first that can be read."""
    limits: dict[str, int] = {}
    for word in words:
        name, _, value = word.partition("=")
        if value.isascii() and value.isdigit() and len(value) <= 6:
            limits.setdefault(name.upper(), int(value))
    return {name: limit for name, limit in limits.items() if limit}
