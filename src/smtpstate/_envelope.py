"""The envelope: who sends, who is to receive, and what is asked of the servers on the way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeGuard, TypeVar, final

from smtpstate._about_client import ATTRIBUTES
from smtpstate._addresses import all_plain, checked_address
from smtpstate._errors import LocalProtocolError
from smtpstate._text import checked_line

T = TypeVar("T")

_EXTRAS = ("ret", "envid", "by", "holdfor", "holduntil", "mt_priority", "auth")
_NO_EXTRAS = (None,) * len(_EXTRAS)
_DEFAULTS: Mapping[str, object] = {**dict.fromkeys(_EXTRAS), "requiretls": False}
_STR = {str}
_CONDITIONS = ("SUCCESS", "FAILURE", "DELAY")


@final
@dataclass(frozen=True, slots=True)
class Recipient:
    """One recipient and what is asked for it.

    Raises:
        LocalProtocolError: the address or a parameter cannot be sent.
    """

    address: str  #: as it goes out, without angle brackets
    #: when the sender wants to be told: ``NEVER``, or any of ``SUCCESS``, ``FAILURE``, ``DELAY`` (RFC 3461 §4.1)
    notify: tuple[str, ...] = ()
    #: the original recipient as ``rfc822;b@y.example`` or ``utf-8;…``, not encoded (RFC 3461 §4.2, RFC 6533 §3)
    orcpt: str | None = None
    #: deliver only if the mailbox has had the same owner since then; with a time zone (RFC 7293 §3.1)
    rrvs: datetime | None = None

    def __post_init__(self) -> None:
        checked_address(self.address, "the recipient")
        if self.notify or self.orcpt is not None or self.rrvs is not None:
            self._check()

    def _check(self) -> None:
        if self.notify:
            notify = (self.notify,) if isinstance(self.notify, str) else _all(self.notify, "notify")
            object.__setattr__(self, "notify", notify)
            if notify != ("NEVER",) and not all(condition in _CONDITIONS for condition in notify):
                raise LocalProtocolError(f"notify is NEVER or any of {', '.join(_CONDITIONS)}")
        if self.orcpt is not None:
            _must_be(self.orcpt, str, "orcpt")
            kind, semicolon, address = self.orcpt.partition(";")
            if kind.lower() not in ("rfc822", "utf-8") or not semicolon or not address:
                raise LocalProtocolError(
                    f"orcpt is written rfc822;ADDRESS or utf-8;ADDRESS, not {self.orcpt!r}"
                )
            checked_line(address, "orcpt")
            if kind.lower() == "rfc822" and not address.isascii():
                raise LocalProtocolError("orcpt: an address that is not ASCII is written utf-8;ADDRESS")
        if self.rrvs is not None:
            _aware(self.rrvs, "rrvs")

    def __str__(self) -> str:
        return self.address

    @property
    def asks(self) -> bool:
        """Whether anything but the address is to be said at RCPT."""
        return bool(self.notify or self.orcpt or self.rrvs)


@final
@dataclass(frozen=True, slots=True)
class DeliverBy:
    """By when a message should have been delivered (RFC 2852 §4).

    Raises:
        LocalProtocolError: the time is too long, or not above 0 with ``R``.
    """

    seconds: int  #: from now; 0 or less is possible with ``N``
    #: what to do after that time: ``R`` return the message, ``N`` only notify the sender
    mode: Literal["R", "N"]
    trace: bool = False  #: tell the sender of servers that cannot do it

    def __post_init__(self) -> None:
        if self.mode not in ("R", "N"):
            raise LocalProtocolError(f"the mode of by is R or N, not {self.mode!r}")
        _whole(self.seconds, "the time of by")
        if abs(self.seconds) > 999_999_999 or (self.mode == "R" and self.seconds <= 0):
            raise LocalProtocolError(f"by cannot be {self.seconds} seconds with mode {self.mode}")


class _WorkedOut:
    """What is worked out when an envelope is made, for those who need no more."""

    __slots__ = ("addresses", "asks", "plain")

    addresses: tuple[str, ...]  #: each recipient's address, in the order of the recipients
    #: no recipient asks for anything, and all addresses are ASCII, the sender's included
    plain: bool
    asks: bool  #: whether anything is asked of the servers on the way, beside what recipients ask for


@final
@dataclass(frozen=True, slots=True, init=False)
class Envelope(_WorkedOut):
    """Who sends a message, and who is to receive it (RFC 5321 §2.3.1).

    Recipients keep the order given, and duplicates are kept. ``""`` or None
    as sender is the null reverse-path, which bounces have.

    Raises:
        LocalProtocolError: an address or a parameter cannot be sent.
    """

    sender: str  #: the reverse-path; empty is the null reverse-path
    recipients: tuple[Recipient, ...]  #: in the order given
    ret: Literal["FULL", "HDRS"] | None  #: how much a failure report returns (RFC 3461 §4.3)
    envid: str | None  #: what a report calls this message; printable ASCII (RFC 3461 §4.4)
    requiretls: bool  #: never without verified TLS, from here to the mailbox (RFC 8689 §3)
    by: DeliverBy | None  #: by when it should be delivered (RFC 2852 §4)
    holdfor: int | None  #: seconds to hold it before it is sent on (RFC 4865 §5)
    holduntil: datetime | None  #: when to send it on; with a time zone (RFC 4865 §5)
    mt_priority: int | None  #: from -9 to 9 (RFC 6710 §3)
    auth: str | None  #: who submitted it; empty for nobody known (RFC 4954 §5)
    #: for relays: whom the message was had from, by the names of XFORWARD and XCLIENT such as ``ADDR``
    client: tuple[tuple[str, str], ...]

    def __init__(
        self,
        sender: str | None,
        recipients: Iterable[str | Recipient] = (),
        *,
        ret: Literal["FULL", "HDRS"] | None = None,
        envid: str | None = None,
        requiretls: bool = False,
        by: DeliverBy | None = None,
        holdfor: int | None = None,
        holduntil: datetime | None = None,
        mt_priority: int | None = None,
        auth: str | None = None,
        client: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    ) -> None:
        if isinstance(recipients, str):
            raise LocalProtocolError("recipients are a list of addresses, not one str")
        sender = "" if sender is None or sender == "" else checked_address(sender, "the sender")
        fill = object.__setattr__  # of what nobody gave, ``__getattr__`` knows
        fill(self, "sender", sender)
        given = _all(recipients, "recipients")
        if _are_str(given) and all_plain(given):
            fill(self, "addresses", given)
            fill(self, "plain", sender.isascii())
        else:
            named = tuple(r if isinstance(r, Recipient) else Recipient(r) for r in given)
            addresses = tuple(recipient.address for recipient in named)
            ascii_only = sender.isascii() and all(map(str.isascii, addresses))
            fill(self, "recipients", named)
            fill(self, "addresses", addresses)
            fill(self, "plain", ascii_only and not any(recipient.asks for recipient in named))
        extras = (ret, envid, by, holdfor, holduntil, mt_priority, auth)
        asks = requiretls is not False or extras != _NO_EXTRAS
        fill(self, "asks", asks)
        fill(self, "client", _pairs(client) if client != () else ())
        if asks or client != ():
            for name, extra in zip(_EXTRAS, extras, strict=True):
                fill(self, name, extra)
            fill(self, "requiretls", requiretls)
            self._check()

    if TYPE_CHECKING:
        pass  # or every attribute would seem to be there
    else:

        def __getattr__(self, name: str) -> object:
            # One is made for every message, and most of it is looked at in few of them.
            if name == "recipients":
                value = tuple(map(Recipient, self.addresses))
            elif name in _DEFAULTS:
                value = _DEFAULTS[name]
            else:
                raise AttributeError(f"'Envelope' object has no attribute {name!r}")
            object.__setattr__(self, name, value)
            return value

    def __reduce__(self) -> tuple[object, ...]:
        given = {name: getattr(self, name) for name in (*_EXTRAS, "requiretls", "client")}
        return partial(Envelope, **given), (self.sender, self.recipients)

    def _check(self) -> None:
        _must_be(self.requiretls, bool, "requiretls")
        if self.by is not None:
            _must_be(self.by, DeliverBy, "by")
        if self.ret not in (None, "FULL", "HDRS"):
            raise LocalProtocolError(f"ret is FULL or HDRS, not {self.ret!r}")
        if self.envid is not None:
            _must_be(self.envid, str, "envid")
        if self.envid is not None and not (
            0 < len(self.envid) <= 100 and self.envid.isascii() and self.envid.isprintable()
        ):
            raise LocalProtocolError("envid is 1 to 100 printable ASCII characters")
        if self.holdfor is not None and self.holduntil is not None:
            raise LocalProtocolError("holdfor and holduntil exclude each other")
        if self.holdfor is not None:
            _whole(self.holdfor, "holdfor")
            if not 0 < self.holdfor <= 999_999_999:
                raise LocalProtocolError(f"holdfor cannot be {self.holdfor} seconds")
        if self.holduntil is not None:
            _aware(self.holduntil, "holduntil")
        if self.mt_priority is not None:
            _whole(self.mt_priority, "mt_priority")
            if not -9 <= self.mt_priority <= 9:
                raise LocalProtocolError(f"mt_priority is from -9 to 9, not {self.mt_priority}")
        if self.auth is not None and self.auth != "":
            checked_address(self.auth, "auth")
        for name, value in self.client:
            if name not in ATTRIBUTES:
                raise LocalProtocolError(f"client: {name!r} is none of {', '.join(ATTRIBUTES)}")
            checked_line(value, f"client: {name}")


def _must_be(value: object, kind: type, what: str) -> None:
    if not isinstance(value, kind):
        raise LocalProtocolError(f"{what} is a {kind.__name__}, not {type(value).__name__}")


def _are_str(values: tuple[object, ...]) -> TypeGuard[tuple[str, ...]]:
    return set(map(type, values)) == _STR


def _all(values: Iterable[T], what: str) -> tuple[T, ...]:
    try:
        return tuple(values)
    except TypeError:
        raise LocalProtocolError(f"{what} cannot be {values!r}") from None


def _pairs(client: Mapping[str, str] | Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    try:
        return tuple(dict(client).items())
    except (TypeError, ValueError):
        raise LocalProtocolError("client is a mapping of attributes, such as {'ADDR': '192.0.2.1'}") from None


def _aware(moment: datetime, what: str) -> None:
    _must_be(moment, datetime, what)
    if moment.utcoffset() is None:
        raise LocalProtocolError(f"{what} needs a time zone")
    try:
        rfc3339(moment)
    except OverflowError:
        raise LocalProtocolError(f"{what} is beyond the last or before the first moment in UTC") from None


def _whole(number: object, what: str) -> None:
    # A float is easily had from a timedelta, and its point would reach the wire.
    if isinstance(number, bool) or not isinstance(number, int):
        raise LocalProtocolError(f"{what} is a whole number, not {number!r}")


def rfc3339(moment: datetime) -> str:
    """Return a moment as ``2026-01-31T23:59:59Z`` (RFC 3339 §5.6)."""
    return moment.astimezone(UTC).replace(tzinfo=None, microsecond=0).isoformat() + "Z"
