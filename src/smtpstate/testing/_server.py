"""The model server: what it offers, how it behaves, and all that it has taken in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import final

from smtpstate._commands import Protocol
from smtpstate.testing._actions import Refuse
from smtpstate.testing._peer import Peer
from smtpstate.testing._rules import Counter, Rule
from smtpstate.testing._sasl import MECHANISMS, Accounts, Mechanism
from smtpstate.testing._scram import SCRAM_MECHANISMS
from smtpstate.testing._settings import Cut, ModelTls, Settings
from smtpstate.testing._stored import StoredMessage


@final
class ModelServer:
    """A strict, correct SMTP or LMTP server in memory, which rules make misbehave.

    Attributes:
        messages: what was accepted, in order.
        connections: the server's side of every connection, in order.
        violations: what clients did that no client may do, one sentence each.
    """

    def __init__(
        self,
        protocol: str | Protocol = Protocol.SMTP,
        extensions: Iterable[str] = (),
        rules: Iterable[Rule] = (),
        *,
        name: str = "mx.example",
        tls_extensions: Iterable[str] | None = None,
        tls: ModelTls | None = None,
        implicit_tls: bool = False,
        users: Mapping[str, str] | None = None,
        external: str | None = None,
        mechanisms: Mapping[str, Mechanism] | None = None,
        require_tls: bool = False,
        require_auth: bool = False,
        cut: int | Cut | None = None,
        line_limit: int = 12288,
        keep_content: bool = True,
    ) -> None:
        """Make a server.

        Args:
            protocol: ``"smtp"`` or ``"lmtp"``.
            extensions: the lines of the answer to EHLO, such as ``"SIZE 1000000"``;
                each extension that is offered is also obeyed.
            rules: where the server departs from its usual answers; see ``on``.
            name: the server's name, in its greeting and answer to EHLO.
            tls_extensions: what is offered inside TLS; by default the same without STARTTLS.
            tls: what a handshake in memory leads to.
            implicit_tls: begin every connection with a handshake.
            users: the password or token of every user who may log in.
            external: who the client is for the mechanism EXTERNAL.
            mechanisms: more SASL mechanisms, or others in place of the known ones.
            require_tls: refuse mail outside TLS.
            require_auth: refuse mail from clients that have not logged in.
            cut: end each connection after exactly so many octets said on it.
            line_limit: octets of the longest command line taken.
            keep_content: keep the octets of messages, not only their number.
        """
        offered = tuple(extensions)
        if tls_extensions is None:
            tls_extensions = (line for line in offered if line.split()[0].upper() != "STARTTLS")
        self.settings: Settings = Settings(
            protocol=Protocol(protocol),
            name=name,
            extensions=offered,
            tls_extensions=tuple(tls_extensions),
            tls=tls or ModelTls(),
            implicit_tls=implicit_tls,
            accounts=Accounts(users=dict(users or {}), external=external),
            mechanisms=MappingProxyType({**MECHANISMS, **SCRAM_MECHANISMS, **(mechanisms or {})}),
            require_tls=require_tls,
            require_auth=require_auth,
            cut=Cut(cut) if isinstance(cut, int) else cut,
            line_limit=line_limit,
            keep_content=keep_content,
        )
        self.messages: list[StoredMessage] = []
        self.connections: list[Peer] = []
        self.violations: list[str] = []
        self._counter = Counter(tuple(rules))

    def connect(self) -> Peer:
        """Take one connection; what is done first comes from the peer's ``greet``.

        Raises:
            TransportError: a rule refuses the connection.
        """
        number = len(self.connections) + 1
        rule = self._counter.rule_for("connect", (), number)
        for effect in rule.effects if rule else ():
            if isinstance(effect, Refuse):
                raise effect.error
        peer = Peer(self.settings, self._counter, self.messages, self.violations, number, rule)
        self.connections.append(peer)
        return peer

    @property
    def commands(self) -> list[str]:
        """All command lines of all connections, one connection after the other."""
        return [command for peer in self.connections for command in peer.commands]

    def __repr__(self) -> str:
        return f"<ModelServer {self.settings.name}: {len(self.connections)} connections>"
