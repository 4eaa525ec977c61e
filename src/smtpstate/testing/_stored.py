"""A message as a model server has taken it in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, TypeAlias, final

Parameters: TypeAlias = Mapping[str, str | None]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMessage:
    """A message that was accepted, for the recipients for whom it was accepted."""

    sender: str  #: empty for the null reverse-path
    recipients: tuple[str, ...]  #: in order, duplicates kept; with LMTP those whose final reply was 2xx
    content: bytes = field(repr=False)  #: dots undone, chunks joined; empty if the server keeps none
    size: int  #: octets of the content
    by: Literal["DATA", "BDAT"]  #: how it came
    parameters: Parameters = field(default_factory=lambda: MappingProxyType({}))  #: those of MAIL
    recipient_parameters: tuple[Parameters, ...] = ()  #: those of RCPT, in the order of ``recipients``
    hello: str = ""  #: how the client introduced itself
    tls: bool = False  #: whether it came inside TLS
    identity: str | None = None  #: who had logged in
    connection: int = 1  #: on which of the server's connections, counted from 1
    attributes: Parameters = field(default_factory=lambda: MappingProxyType({}))  #: from XCLIENT and XFORWARD
