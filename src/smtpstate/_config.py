"""The settings of a target, checked when they are made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from ipaddress import IPv4Address, IPv6Address
from types import MappingProxyType
from typing import Required, Self, TypedDict, Unpack, final

from smtpstate._auth import Auth
from smtpstate._checks import WrongSetting, known_names, shown, suggestion
from smtpstate._commands import Protocol
from smtpstate._directives import DIRECTIVES
from smtpstate._endpoints import Endpoint
from smtpstate._errors import ConfigError
from smtpstate._language import print_target, targets_of
from smtpstate._limits import Limits
from smtpstate._text import visible
from smtpstate._tls import TlsClient

_NO_AUTH = Auth.off()
_DEFAULT_TLS = TlsClient()
_DEFAULT_LIMITS = Limits()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long to wait for the server, in seconds (RFC 5321 §4.5.3.2)."""

    connect: float = 300.0  #: name look-up, all addresses of the name, and the handshake of implicit TLS
    command: float = 300.0  #: each reply anew; each block of the message that makes no progress
    submission: float = 720.0  #: the server may be scanning; giving up early duplicates mail
    transaction: float | None = None  #: over everything that a delivery does; None is no bound


class TargetSettings(TypedDict, total=False):
    """What ``TargetConfig`` takes for each of its fields, which say what they mean.

    A duration is a number of seconds or a text such as ``"1h 5m"``, a boolean
    may be a word of the language (``"yes"``), and where several may stand, any
    iterable is taken and one alone.
    """

    targets: Required[str | Endpoint | Iterable[str | Endpoint]]
    protocol: str | Protocol
    debug: bool | str
    attempt_starttls: bool | str | None
    require_tls: bool | str
    auth: Auth | str | Sequence[str]
    tls_client: TlsClient | Mapping[str, object]
    connect_timeout: float | str
    command_timeout: float | str
    submission_timeout: float | str
    hostname: str | None
    insecure_auth: bool | str
    failover: Iterable[str]
    failed_endpoint_delay: float | str
    max_connections: int | str
    max_messages: int | str
    idle_timeout: float | str
    transaction_timeout: float | str | None
    pipelining: bool | str
    chunking: bool | str
    ignore_keywords: Iterable[str]
    source_address: str | IPv4Address | IPv6Address | None
    limits: Limits


@final
@dataclass(frozen=True, slots=True, kw_only=True, init=False)
class TargetConfig:
    """Where mail is handed to, and how. Times are in seconds.

    Every field is a keyword; see ``TargetSettings`` for what each takes. Its
    ``repr`` does not show secrets.

    Raises:
        ConfigError: a setting is wrong; the message names it, says what is
            wrong and what would be right.
    """

    targets: tuple[Endpoint, ...]  #: tried in this order
    protocol: Protocol = Protocol.SMTP  #: ``"smtp"`` or ``"lmtp"``
    debug: bool = False  #: log the trace of every dialogue
    attempt_starttls: bool = True  #: use STARTTLS where offered; off by default for LMTP
    require_tls: bool = False  #: send messages only where TLS is verified (or unverified with ``verify no``)
    auth: Auth = _NO_AUTH  #: how connections authenticate
    tls_client: TlsClient = _DEFAULT_TLS  #: how TLS connections are made
    connect_timeout: float = 300.0  #: name look-up, all addresses of the name, the handshake of implicit TLS
    command_timeout: float = 300.0  #: each reply anew, and each block of the message
    submission_timeout: float = 720.0  #: from the end of the message until its reply
    hostname: str | None = None  #: the name we give in EHLO; by default our own address as a literal
    insecure_auth: bool = False  #: send credentials over connections that are not encrypted and verified, too
    failover: frozenset[str] = frozenset(
        {"connect"}
    )  #: with ``auth``, ``transient``: after those failures, too
    failed_endpoint_delay: float = 10.0  #: for so long what could not be reached is tried last; 0 is off
    max_connections: int = 10  #: open at once, over all endpoints
    max_messages: int = 100  #: sent over one connection
    idle_timeout: float = 30.0  #: a connection that was idle for longer is not used again
    transaction_timeout: float | None = None  #: over everything that a delivery does
    pipelining: bool = True  #: use PIPELINING where offered
    chunking: bool = True  #: use CHUNKING where offered
    ignore_keywords: frozenset[str] = frozenset()  #: EHLO keywords, in upper case, taken as not offered
    source_address: str | None = None  #: the local IP address to bind
    limits: Limits = _DEFAULT_LIMITS  #: how much is held of what a server sends; no directive of the language

    def __init__(self, **settings: Unpack[TargetSettings]) -> None:
        _fill(self, settings)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, object]) -> Self:
        """Return what a mapping of these names says, as it comes from TOML, JSON or YAML.

        Raises:
            ConfigError: as for the class, or a name is unknown.
        """
        config = object.__new__(cls)
        _fill(config, mapping)
        return config

    @classmethod
    def parse(
        cls,
        text: str,
        *,
        name: str | None = None,
        filename: str = "<text>",
        env: Mapping[str, str] = MappingProxyType({}),
    ) -> Self:
        """Read one target from a text in the directive language. All the others are checked as well.

        Args:
            text: the directives.
            name: which target; by default the one without a name, else the only one.
            filename: what errors call the text.
            env: what ``{env:NAME}`` is replaced from.

        Raises:
            ConfigError: the text is wrong, or has no such target; the message
                says where and why.
        """
        targets = cls.parse_all(text, filename=filename, env=env)
        where = visible(filename)
        if name is None:
            name = next(iter(targets)) if len(targets) == 1 else ""
        if name in targets:
            return targets[name]
        names = [known for known in targets if known]
        if not name:
            raise ConfigError(f"{where}: there are several targets; choose one by name: {' '.join(names)}")
        near = suggestion(name, names) if names else "there is one without a name"
        raise ConfigError(f"{where}: there is no target named {shown(name)}; {near}")

    @classmethod
    def parse_all(
        cls, text: str, *, filename: str = "<text>", env: Mapping[str, str] = MappingProxyType({})
    ) -> dict[str, Self]:
        """Read all targets of a text, by name; the one without a name is under ``""``. See ``parse``."""
        targets: dict[str, Self] = {}
        for name, block in targets_of(text, filename, env).items():
            try:
                targets[name] = cls.from_mapping(block.settings)
            except WrongSetting as error:
                raise block.mistake(error) from None
        return targets

    def to_text(self, name: str = "") -> str:
        """Return these settings in the directive language, secrets included: ``parse`` reads them back.

        Raises:
            ConfigError: they hold a callable or limits, which no text can say,
                or ``name`` can be no target's.
        """
        if self.limits != _DEFAULT_LIMITS:
            raise ConfigError("limits: they cannot be written as text")
        settings = ((setting, getattr(self, setting)) for setting in DIRECTIVES)
        return print_target(settings, self.protocol, name)

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The targets."""
        return self.targets

    @property
    def speaks(self) -> Protocol:
        """The protocol."""
        return self.protocol

    @property
    def timeouts(self) -> Timeouts:
        """All time-outs together."""
        return Timeouts(
            connect=self.connect_timeout,
            command=self.command_timeout,
            submission=self.submission_timeout,
            transaction=self.transaction_timeout,
        )


def _fill(config: TargetConfig, settings: Mapping[str, object]) -> None:
    """Give ``config`` its fields, each one checked, then all together."""
    known = fields(config)
    given = known_names(settings, [setting.name for setting in known])
    protocol = _protocol(given.get("protocol", Protocol.SMTP))
    for setting in known:
        name = setting.name
        value = given.get(name, setting.default)
        if name == "protocol":
            value = protocol
        elif name == "limits":
            value = _limits(value)
        else:
            value = DIRECTIVES[name].check(name, () if value is MISSING else value)
        object.__setattr__(config, name, value)
    if given.get("attempt_starttls") is None:
        # An LMTP server is nearly always on the same machine, or in the same rack.
        object.__setattr__(config, "attempt_starttls", protocol is Protocol.SMTP)
    _check_together(config)


def _protocol(protocol: object) -> Protocol:
    try:
        return Protocol(protocol)
    except ValueError:
        raise WrongSetting("protocol", f"expected smtp or lmtp, got {str(protocol)!r}") from None


def _limits(limits: object) -> Limits:
    if not isinstance(limits, Limits):
        raise WrongSetting("limits", f"expected Limits(...), got {shown(limits)}")
    return limits


def _check_together(config: TargetConfig) -> None:
    tls = config.tls_client
    for endpoint in config.targets:
        if endpoint.is_unix and config.require_tls and tls.server_name is None:
            # A unix socket has no name that a certificate could be for.
            raise WrongSetting(
                "require_tls",
                f"{endpoint} has no name to verify; give tls_client a server_name, or set require_tls no",
            )
        if (
            config.auth.kind == "external"
            and not endpoint.is_unix
            and tls.cert is None
            and not config.insecure_auth
        ):
            raise WrongSetting(
                "auth",
                f"external has nothing to show to {endpoint}; give tls_client a cert and key, "
                "use unix sockets, or set insecure_auth",
            )
