"""Read a message in blocks, whatever it was given as."""

from __future__ import annotations

from email.message import Message as MimeMessage
from typing import TYPE_CHECKING, final

from smtpstate._content import StrictLineEnds
from smtpstate._errors import DeadlinePassed, LocalProtocolError
from smtpstate._message import Message, Source
from smtpstate._requests import Pull, Steps

if TYPE_CHECKING:
    from smtpstate._message import Readable

#: Octets that are looked at before MAIL, and sent at a time after DATA.
BLOCK = 65536
#: Octets of a chunk, which goes out as it is.
CHUNK = 262144


class SourceFailed(Exception):
    """The caller's source raised ``cause``, which is the caller's to see; never leaves the core."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


def cause_of(error: Exception) -> Exception:
    """Return what the caller is to see of ``error``."""
    return error.cause if isinstance(error, SourceFailed) else error


class NotSevenBit(Exception):
    """The message turned out to be 8bit, which the server cannot take; never leaves the core."""


@final
class Reader:
    """One reading of a message, from its start to its end, in constant memory."""

    __slots__ = (
        "_at",
        "_data",
        "_held",
        "_opened",
        "_promised",
        "_readable",
        "_source",
        "_strict",
        "begun",
        "ended",
        "ends",
        "message",
        "refuses_eight_bit",
        "seen",
    )

    def __init__(self, message: Message) -> None:
        self.message: Message = message
        self.begun: bool = False  #: something has been taken that cannot be given back
        self.ends: float | None = None  #: the deadline for all of it, on the adapter's clock
        self.ended: bool = False  #: the block that was read last is known to be the last
        # the whole message, where it is in memory
        self._data: bytes | None = message.open if isinstance(message.open, bytes) else None
        self._at = 0
        self._opened = self._data is not None
        self._readable: Readable | None = None
        self._source: Source | None = None
        self._held = b""  # pulled, and not yet read from ``_at`` on
        self.seen: int = 0  #: octets that have been read
        self._strict = StrictLineEnds() if message.line_ends == "strict" else None
        # of the size, the line ends, or that it is 7bit
        self._promised = (
            message.size is not None or message.eight_bit is False or message.line_ends == "strict"
        )
        #: whether to stop at the first octet beyond ASCII, since the server cannot take it
        self.refuses_eight_bit: bool = False

    def rewritten(self, octets: bytes) -> Reader:
        """Return a reader of the same message in another form."""
        reader = Reader(self.message)
        reader._data = octets
        reader._opened = True
        return reader

    def abandon(self) -> None:
        """Note that nobody answers for its source any more: where that was opened, the rest cannot be had."""
        self.begun = self.begun or self._source is not None

    @property
    def mime(self) -> MimeMessage | None:
        """The message object, where the message is one, or a callable that returned one."""
        if self._data is not None:
            return None
        readable = self._resolved()
        return readable if isinstance(readable, MimeMessage) else None

    @property
    def total(self) -> int | None:
        """Octets that there are to read, where that is known."""
        if self._data is not None:
            return len(self._data)
        return self.seen if self.ended else self.message.size

    @property
    def whole(self) -> bytes | None:
        """The whole message, where it is all at hand after ``peek``."""
        if self._data is not None:
            return self._data
        return self._held[self._at :] if self._opened and self._source is None else None

    @property
    def size(self) -> int | None:
        """Octets that the server will see, doubled dots left out (RFC 1870 §5); None if not known."""
        whole = self.whole
        if whole is None:
            return self.message.size
        if self.message.line_ends == "binary":
            return len(whole)
        pairs = whole.count(b"\r\n")
        ends = whole.count(b"\n") + whole.count(b"\r")
        unfinished = whole[-1:] not in (b"\n", b"\r", b"")
        return len(whole) + (ends - 2 * pairs) + 2 * unfinished

    def peek(self) -> Steps[bytes]:
        """Return the first block, at most ``BLOCK`` octets; ``read`` returns it again.

        Raises:
            DeadlinePassed: the caller's source took longer than ``ends``.
            SourceFailed: it raised something.
        """
        yield from self._prepare(BLOCK)
        if self._data is not None:
            return self._data[:BLOCK]
        return self._held[self._at : self._at + BLOCK]

    def read(self, most: int = BLOCK) -> Steps[bytes]:
        """Return the next block, of ``most`` octets but the last one; empty at the end.

        Raises:
            LocalProtocolError: the message breaks a promise: its size, its
                line ends, that it is 7bit.
            NotSevenBit: it is 8bit, and the server cannot take that.
            DeadlinePassed: the caller's source took longer than ``ends``.
            SourceFailed: the caller's source raised something.
        """
        if self._data is None:
            yield from self._prepare(most)
        self.begun = True
        octets = self._held if self._data is None else self._data
        block = octets[self._at : self._at + most]
        self._at += len(block)
        self.ended = self._source is None and self._at >= len(octets)
        if self._promised or self.refuses_eight_bit:
            self._check(block, ended=self.ended, seen=self.seen, strict=self._strict)
        self.seen += len(block)
        return block

    def take_whole(self) -> None:
        """Note that all of the message, which must be at hand, is taken."""
        self.begun = self.ended = True
        self.seen = len(self.whole or b"")

    def checked_whole(self) -> bytes | None:
        """Return the whole message where it is all at hand, and checked then; raises as ``read``, takes nothing."""
        whole = self.whole
        if whole is not None and (self._promised or self.refuses_eight_bit):
            strict = StrictLineEnds() if self._strict is not None else None
            self._check(whole, ended=True, seen=0, strict=strict)
        return whole

    def _prepare(self, octets: int) -> Steps[None]:
        """Have so many octets at hand, or all that are left."""
        if not self._opened:
            self._open()
            self._opened = True
        at_hand = len(self._held) - self._at
        if self._source is None or at_hand >= octets:
            return
        parts = [self._held[self._at :]] if at_hand else []
        while self._source is not None and at_hand < octets:
            try:
                chunk = yield from Pull(self._source, self.ends)
            except Exception as error:
                self.begun = True  # nobody knows what it would have given
                if self.ends is not None and isinstance(error, DeadlinePassed):
                    raise
                raise SourceFailed(error) from error
            if chunk:
                parts.append(chunk)
                at_hand += len(chunk)
            else:
                self._source = None
        self._held = parts[0] if len(parts) == 1 else b"".join(parts)
        self._at = 0

    def _open(self) -> None:
        readable = self._resolved()
        if isinstance(readable, (bytes, bytearray, memoryview)):
            self._data = bytes(readable)
        else:
            self._source = Source(Message(readable), owned=readable is not self.message.open)

    def _resolved(self) -> Readable:
        if self._readable is None:
            self._readable = self.message.opened()
        return self._readable

    def _check(self, block: bytes, *, ended: bool, seen: int, strict: StrictLineEnds | None) -> None:
        if strict is not None:
            strict.check(block)
            if ended:
                strict.finish()
        seven_bit = self.message.eight_bit is False
        if (self.refuses_eight_bit or seven_bit) and not block.isascii():
            if self.refuses_eight_bit:
                raise NotSevenBit
            raise LocalProtocolError("the message was said to be 7bit and holds 8bit octets")
        size = self.message.size
        seen += len(block)
        if size is not None and (seen > size or (ended and seen < size)):
            has = "more" if seen > size else str(seen)
            raise LocalProtocolError(f"the message was said to have {size} octets and has {has}")
