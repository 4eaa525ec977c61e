"""Read a message in blocks, whatever it was given as."""

from __future__ import annotations

from copy import copy
from email.generator import BytesGenerator
from email.message import Message as MimeMessage
from io import BytesIO
from typing import final

from smtpstate._content import StrictLineEnds
from smtpstate._errors import LocalProtocolError
from smtpstate._message import Message, Source
from smtpstate._requests import Pull, Steps

#: Octets read and sent at a time.
BLOCK = 65536


@final
class Reader:
    """One reading of a message, from its start to its end, in constant memory."""

    __slots__ = ("_at", "_data", "_held", "_opened", "_seen", "_source", "_strict", "begun", "ended", "message")

    def __init__(self, message: Message) -> None:
        self.message = message
        self.begun = False  #: something has been taken that cannot be given back
        self.ended = False  #: the block that was read last is known to be the last
        self._data: bytes | None = None  # the whole message, where it is in memory
        self._at = 0
        self._opened = False
        self._source: Source | None = None
        self._held = bytearray()  # pulled and not yet read
        self._seen = 0
        self._strict = StrictLineEnds() if message.line_ends == "strict" else None

    @property
    def can_restart(self) -> bool:
        """Whether the message can still be had from its start."""
        return not self.begun or self.message.can_be_read_again

    def peek(self) -> Steps[bytes]:
        """Return the first block, at most ``BLOCK`` octets; ``read`` returns it again."""
        yield from self._prepare()
        if self._data is not None:
            return self._data[:BLOCK]
        return bytes(self._held[:BLOCK])

    def read(self) -> Steps[bytes]:
        """Return the next block, at most ``BLOCK`` octets; empty at the end.

        Raises:
            LocalProtocolError: the message breaks a promise: its size, its
                line ends.
            Exception: whatever the caller's source raises.
        """
        yield from self._prepare()
        self.begun = True
        if self._data is not None:
            block = self._data[self._at : self._at + BLOCK]
            self._at += len(block)
            self.ended = self._at >= len(self._data)
        else:
            block = bytes(self._held[:BLOCK])
            del self._held[:BLOCK]
            self.ended = self._source is None and not self._held
        self._check(block)
        return block

    def _prepare(self) -> Steps[None]:
        """Have a whole block at hand, or all that is left."""
        if not self._opened:
            self._opened = True
            self._open()
        while self._source is not None and len(self._held) < BLOCK:
            chunk = yield from Pull(self._source)
            if not chunk:
                self._source = None
            self._held += chunk

    def _open(self) -> None:
        readable = self.message.opened()
        if isinstance(readable, MimeMessage):
            self._data = written(readable)
        elif isinstance(readable, (bytes, bytearray, memoryview)):
            self._data = bytes(readable)
        else:
            self._source = Source(Message(readable))

    def _check(self, block: bytes) -> None:
        if self._strict is not None:
            self._strict.check(block)
            if self.ended:
                self._strict.finish()
        self._seen += len(block)
        size = self.message.size
        if size is not None and (self._seen > size or (self.ended and self._seen < size)):
            raise LocalProtocolError(
                f"the message was said to have {size} octets and has {'more' if self._seen > size else self._seen}"
            )


def written(message: MimeMessage) -> bytes:
    """Return a message as octets; Bcc and Resent-Bcc are not sent (RFC 5322 §3.6.3)."""
    message = copy(message)
    del message["Bcc"]
    del message["Resent-Bcc"]
    buffer = BytesIO()
    policy = message.policy.clone(linesep="\r\n", mangle_from_=False)
    BytesGenerator(buffer, policy=policy).flatten(message)
    return buffer.getvalue()
