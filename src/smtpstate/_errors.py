"""Every exception that leaves smtpstate, and whose fault each of them is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smtpstate._delivery import Delivery
    from smtpstate._replies import Reply


class SmtpStateError(Exception):
    """The base of all exceptions that smtpstate raises on purpose."""


class LocalProtocolError(SmtpStateError):
    """You asked for something that SMTP does not allow; nothing of it was sent."""


class ConfigError(SmtpStateError):
    """A setting is wrong; the message says where, why, and what would be right."""


class RemoteProtocolError(SmtpStateError):
    """The server said something that is no SMTP, or not at this point.

    Nothing that it says afterwards is believed.

    Attributes:
        reply: the reply that was out of place, where there was a whole one.
    """

    def __init__(self, message: str, reply: Reply | None = None) -> None:
        super().__init__(message)
        self.reply = reply


class TransportError(SmtpStateError):
    """The network failed: refused, unreachable, reset, broken.

    Attributes:
        name_unknown: the endpoint's host name does not exist or does not resolve.
    """

    def __init__(self, message: str, *, name_unknown: bool = False) -> None:
        super().__init__(message)
        self.name_unknown = name_unknown


class DeadlinePassed(TransportError):
    """The deadline of a request passed before it was done."""


class TlsFailed(TransportError):
    """A TLS handshake failed, or TLS broke later.

    Attributes:
        certificate: the server's certificate was at fault, and nothing else
            (RFC 9525): a handshake that does not verify it would succeed.
    """

    def __init__(self, message: str, *, certificate: bool = False) -> None:
        super().__init__(message)
        self.certificate = certificate


class DeliveryFailed(SmtpStateError):
    """At least one recipient was not delivered.

    Attributes:
        delivery: what became of every recipient.
        reply: the reply that a transaction could not be begun for; a local one where
            no server had a word to say.
    """

    def __init__(self, message: str, delivery: Delivery, reply: Reply | None = None) -> None:
        super().__init__(message)
        self.delivery = delivery
        self.reply = reply

    def __reduce__(self) -> tuple[type[DeliveryFailed], tuple[str, Delivery, Reply | None]]:
        """Let a job queue copy it to another process."""
        return type(self), (str(self), self.delivery, self.reply)
