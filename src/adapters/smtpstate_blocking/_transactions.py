"""A transaction step by step, with blocking sockets."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, final

from smtpstate._delivery import Delivery
from smtpstate._dialogue import Dialogue
from smtpstate._envelope import Recipient
from smtpstate._errors import LocalProtocolError
from smtpstate._message import Message
from smtpstate._stepwise import Stepwise
from smtpstate_blocking._wire import Wire, drive

if TYPE_CHECKING:
    from smtpstate._message import Readable
    from smtpstate._replies import Reply

T = TypeVar("T")


@final
class Transaction:
    """A transaction that has begun: MAIL is accepted. One step at a time.

    Attributes:
        delivery: what is known of each recipient so far.
        reply: the server's reply to MAIL.
    """

    def __init__(self, steps: Stepwise, wire: Wire) -> None:
        self._steps = steps
        self._wire = wire
        self._busy = False
        self._left = False
        self.delivery: Delivery = steps.delivery
        self.reply: Reply = steps.reply

    def recipient(self, recipient: str | Recipient) -> Reply:
        """Name a recipient, and return the server's reply (RFC 5321 §4.1.1.3).

        Where the server cannot be asked the reply is a local one: 421 4.4.2 where
        the connection is lost, 452 4.5.3 where the server has said that it takes
        no more.

        Raises:
            LocalProtocolError: the address or a parameter cannot be sent, or the
                transaction is over.
        """
        self._check_idle()
        return self._step(self._steps.naming(recipient))

    def content(
        self,
        message: Message | Readable | Callable[[], Readable],
        *,
        progress: Callable[[int, int | None], object] | None = None,
    ) -> Delivery:
        """Send the message to all who were accepted, and return what became of everybody.

        What servers and the network do is said in the outcomes, never by an
        exception. It ends the transaction.

        Args:
            message: the message, in any of its forms.
            progress: called with the octets of the message that have been sent, and
                how many there are in all where that is known.

        Raises:
            LocalProtocolError: the message is not as it must be or was declared, or
                the transaction is over.
            Exception: unchanged, whatever the message's own source raises.
        """
        self._check_idle()
        self._step(self._steps.sending(message, progress))
        return self.delivery

    def leave(self) -> bool:
        """End it, as leaving the block does, and return whether its wire can be used again.

        Somebody may still be at a step: then the connection ends under it, and it
        closes the wire itself.
        """
        self._left = True
        if self._busy:
            self._steps.interrupt()
            self._wire.hang_up()
        self._steps.leave(self._wire.clock)
        return not self._busy

    def _check_idle(self) -> None:
        if self._busy:
            raise LocalProtocolError("another step of the transaction is under way")

    def _step(self, dialogue: Dialogue[T]) -> T:
        self._busy = True
        try:
            return drive(dialogue, self._wire)
        except Exception:
            raise
        except BaseException:  # interrupted: an answer may still be due, which must not be taken for the next
            self._steps.interrupt()
            self._wire.close()
            raise
        finally:
            self._busy = False
            if self._left:
                self._wire.close()
