"""How a target authenticates: the setting ``auth``, and credentials that come with a message."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, final

from smtpstate._checks import WrongSetting, is_iterable, is_mapping
from smtpstate._errors import LocalProtocolError
from smtpstate._mechanisms import Exchange, checked_password, checked_token, checked_user

#: The kinds of ``auth``: the directive's first word, or ``own``.
AuthKind: TypeAlias = Literal[
    "off", "plain", "login", "forward", "external", "scram", "xoauth2", "oauthbearer", "auto", "own"
]

#: A bearer token, or what gives one anew for each connection.
Token: TypeAlias = str | Callable[[], str]

#: What starts a run of a caller's own mechanism: a generator that is sent challenges and yields responses.
Mechanism: TypeAlias = Callable[[], Exchange]

_PASSWORD = ("user", "password")
_TOKEN = ("user", "token")

#: What each kind needs, in the order of the directive's words.
_PARTS: dict[str, tuple[str, ...]] = {
    "off": (),
    "plain": _PASSWORD,
    "login": _PASSWORD,
    "forward": (),
    "external": (),
    "scram": _PASSWORD,
    "xoauth2": _TOKEN,
    "oauthbearer": _TOKEN,
    "auto": _PASSWORD,
    "own": ("name", "mechanism"),
}
_USAGE = {kind: " ".join((kind, *map(str.upper, parts))) for kind, parts in _PARTS.items() if kind != "own"}
_EXPECTED = "expected one of " + ", ".join(_USAGE.values())
_NAME = re.compile(r"[A-Z0-9_-]{1,20}")  # RFC 4422 §3.1


@final
@dataclass(frozen=True, slots=True)
class Credentials:
    """Who somebody is, and the password that proves it. Its ``repr`` does not show the password.

    Raises:
        LocalProtocolError: one of them is no text, or no mechanism could carry it.
    """

    user: str
    password: str = field(repr=False)

    def __post_init__(self) -> None:
        checked_user(_str(self.user, "user name"))
        checked_password(_str(self.password, "password"))


@final
@dataclass(frozen=True, slots=True, repr=False)
class Auth:
    """How connections of a target authenticate; made by the methods named like the directive's words.

    Its ``repr`` does not show secrets, and neither do errors about it.

    Raises:
        ConfigError: a part is missing, too many, or cannot be used.
    """

    kind: AuthKind = "off"
    user: str = ""
    password: str = ""
    token: Token = ""
    name: str = ""  #: of an own mechanism, as servers offer it
    mechanism: Mechanism | None = None  #: called once for each authentication
    #: bind SCRAM to the server's certificate, where that is known (RFC 5929 §4); wrong where somebody
    #: else ends TLS for the server
    end_point: bool = False

    def __post_init__(self) -> None:
        needed = _parts(self.kind)
        for part in ("user", "password", "token", "name", "mechanism"):
            if part not in needed and getattr(self, part):
                raise WrongSetting("auth", f"{self.kind} takes no {part}")
        try:
            if "password" in needed:
                Credentials(self.user, self.password)
            elif "token" in needed:
                checked_user(_str(self.user, "user name"))
                if not callable(self.token):
                    self.ask_token()
        except LocalProtocolError as error:
            raise WrongSetting("auth", str(error)) from None
        if self.kind == "own":
            if not _is_name(self.name):
                raise WrongSetting(
                    "auth", "the name of a mechanism is 1 to 20 of A to Z, digits, hyphen and underscore"
                )
            if not callable(self.mechanism):
                raise WrongSetting("auth", "a mechanism is a callable that returns a generator")

    @classmethod
    def off(cls) -> Auth:
        """Do not authenticate."""
        return cls()

    @classmethod
    def plain(cls, user: str, password: str) -> Auth:
        """Authenticate by PLAIN (RFC 4616)."""
        return cls("plain", user, password)

    @classmethod
    def login(cls, user: str, password: str) -> Auth:
        """Authenticate by LOGIN, for servers that know nothing better."""
        return cls("login", user, password)

    @classmethod
    def forward(cls) -> Auth:
        """Authenticate with the credentials that come with each message, by PLAIN, else LOGIN."""
        return cls("forward")

    @classmethod
    def external(cls) -> Auth:
        """Be who the client certificate or the unix socket says (RFC 4422 appendix A)."""
        return cls("external")

    @classmethod
    def scram(cls, user: str, password: str, *, end_point: bool = False) -> Auth:
        """Authenticate by the strongest SCRAM that is offered (RFC 5802, RFC 7677).

        With ``end_point`` it is bound to the server's certificate (RFC 5929 §4),
        which needs the package cryptography; no word of the directive says so.
        """
        return cls("scram", user, password, end_point=end_point)

    @classmethod
    def xoauth2(cls, user: str, token: Token) -> Auth:
        """Authenticate by XOAUTH2. A callable is asked for a token for each connection."""
        return cls("xoauth2", user, token=token)

    @classmethod
    def oauthbearer(cls, user: str, token: Token) -> Auth:
        """Authenticate by OAUTHBEARER (RFC 7628). A callable is asked for a token for each connection."""
        return cls("oauthbearer", user, token=token)

    @classmethod
    def auto(cls, user: str, password: str) -> Auth:
        """Authenticate by the best mechanism for passwords that is offered."""
        return cls("auto", user, password)

    @classmethod
    def own(cls, name: str, mechanism: Mechanism) -> Auth:
        """Authenticate by a mechanism of the caller's own."""
        return cls("own", name=name, mechanism=mechanism)

    @classmethod
    def from_words(cls, words: Sequence[str]) -> Auth:
        """Return what the directive's words say: ``["plain", "me", "secret"]``.

        Raises:
            ConfigError: they are no words of the directive. No word is repeated
                in the message, since any could be a secret in the wrong place.
        """
        match words:
            case ["off"]:
                return cls.off()
            case ["plain", user, password]:
                return cls.plain(user, password)
            case ["login", user, password]:
                return cls.login(user, password)
            case ["forward"]:
                return cls.forward()
            case ["external"]:
                return cls.external()
            case ["scram", user, password]:
                return cls.scram(user, password)
            case ["xoauth2", user, token]:
                return cls.xoauth2(user, token)
            case ["oauthbearer", user, token]:
                return cls.oauthbearer(user, token)
            case ["auto", user, password]:
                return cls.auto(user, password)
            case [str(kind), *rest] if kind in _USAGE:
                raise WrongSetting(
                    "auth",
                    f"expected {_USAGE[kind]}; words given after {kind}: {len(rest)} "
                    "(in the language, quote one that holds blanks)",
                )
            case _:
                raise WrongSetting("auth", _EXPECTED)

    def words(self) -> tuple[str, ...]:
        """Return the directive's words, secrets included.

        Raises:
            ConfigError: a callable or ``end_point`` is part of it, which no words can say.
        """
        parts = [getattr(self, part) for part in _PARTS[self.kind]]
        if not all(isinstance(part, str) for part in parts):
            raise WrongSetting("auth", "a callable cannot be written as text")
        if self.end_point:
            raise WrongSetting("auth", "end_point cannot be written as text")
        return (self.kind, *parts)

    @property
    def is_on(self) -> bool:
        """Whether connections authenticate at all."""
        return self.kind != "off"

    def ask_token(self) -> str:
        """Return the token, asking for it anew where it is a callable.

        Raises:
            LocalProtocolError: it can be no bearer token.
            Exception: unchanged, whatever the callable raises.
        """
        return checked_token(_str(self.token() if callable(self.token) else self.token, "token"))

    def __repr__(self) -> str:
        shown = {"user": repr(self.user), "name": repr(self.name), "mechanism": "..."}
        return f"Auth.{self.kind}({', '.join(shown.get(part, '****') for part in _PARTS[self.kind])})"


def auth(path: str, value: object) -> Auth:
    """Return the setting ``auth``, given as such or as the directive's words.

    A word alone counts as several. False is what YAML makes of ``off``.

    Raises:
        WrongSetting: it is neither.
    """
    if isinstance(value, Auth):
        return value
    if value is False:
        return Auth.off()
    if isinstance(value, str):
        value = (value,)
    words = tuple(value) if is_iterable(value) and not is_mapping(value) else (None,)
    texts = [word for word in words if isinstance(word, str)]
    if len(texts) < len(words):
        raise WrongSetting(path, f"{_EXPECTED}, as a list of words")
    return Auth.from_words(texts)


def _parts(kind: object) -> tuple[str, ...]:
    parts = _PARTS.get(kind) if isinstance(kind, str) else None
    if parts is None:
        raise WrongSetting("auth", _EXPECTED)
    return parts


def _is_name(name: object) -> bool:
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def _str(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise LocalProtocolError(f"the {what} is a str, not {type(value).__name__}")
    return value
