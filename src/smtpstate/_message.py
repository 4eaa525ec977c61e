"""The message as the caller gives it, and how it is read."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Collection, Iterable
from dataclasses import dataclass
from email.message import Message as MimeMessage
from typing import IO, TYPE_CHECKING, Literal, TypeAlias, TypeGuard, final

from smtpstate._errors import LocalProtocolError
from smtpstate._slots import setter

if TYPE_CHECKING:
    from os import PathLike

    #: What a message can be. A path is an ``os.PathLike``, never a ``str``.
    Readable: TypeAlias = (
        bytes
        | bytearray
        | memoryview
        | MimeMessage
        | PathLike[str]
        | PathLike[bytes]
        | IO[bytes]
        | Iterable[bytes]
        | AsyncIterable[bytes]
    )


@final
@dataclass(frozen=True, slots=True, init=False)
class Message:
    """A message, and what is known about it beforehand.

    Raises:
        LocalProtocolError: it is a ``str``, or an option is not one of those listed.
    """

    #: the message, or a callable that returns it anew each time it must be read
    open: Readable | Callable[[], Readable]
    size: int | None  #: octets that it will have; fewer or more is an error to the caller
    #: True or False where it is known; ``"send"`` also to servers that do not offer 8BITMIME
    eight_bit: bool | Literal["refuse", "send"]
    utf8: bool | None  #: its header holds UTF-8 (RFC 6532); None where that is not known
    #: ``"crlf"`` makes every line end CRLF, ``"strict"`` refuses a message with other
    #: line ends, ``"binary"`` leaves all octets as they are (RFC 3030 §3)
    line_ends: Literal["crlf", "strict", "binary"]

    def __init__(
        self,
        open: Readable | Callable[[], Readable],
        size: int | None = None,
        eight_bit: bool | Literal["refuse", "send"] = "refuse",
        utf8: bool | None = None,
        line_ends: Literal["crlf", "strict", "binary"] = "crlf",
    ) -> None:
        _set_open(self, open)
        _set_size(self, size)
        _set_eight_bit(self, eight_bit)
        _set_utf8(self, utf8)
        _set_line_ends(self, line_ends)
        if type(open) is not bytes or (size, eight_bit, utf8, line_ends) != _NO_OPTIONS:
            self._check()

    def _check(self) -> None:
        if isinstance(self.open, str):
            raise LocalProtocolError("a message is bytes or an EmailMessage; for a file give a pathlib.Path")
        if not (_is_readable(self.open) or callable(self.open)):
            raise LocalProtocolError(f"not a message: {type(self.open).__name__}")
        if self.line_ends not in ("crlf", "strict", "binary"):
            raise LocalProtocolError(f"line_ends is crlf, strict or binary, not {self.line_ends!r}")
        if not (isinstance(self.eight_bit, bool) or self.eight_bit in ("refuse", "send")):
            raise LocalProtocolError(f"eight_bit is True, False, refuse or send, not {self.eight_bit!r}")
        if self.size is not None and not _is_count(self.size):
            raise LocalProtocolError(f"the size of a message is a number of octets, not {self.size!r}")

    @classmethod
    def of(cls, message: Message | Readable | Callable[[], Readable]) -> Message:
        """Return ``message`` as a ``Message``."""
        return message if isinstance(message, Message) else cls(message)

    @classmethod
    def declared(
        cls, *, size: int | None, eight_bit: bool | Literal["refuse", "send"], utf8: bool | None, binary: bool
    ) -> Message:
        """Return what is known of a message that is not there yet."""
        line_ends: Literal["crlf", "binary"] = "binary" if binary else "crlf"
        return cls(b"", size=size, eight_bit=eight_bit, utf8=utf8, line_ends=line_ends)

    def opened(self) -> Readable:
        """Return the message, asking the callable for it where it is one.

        Raises:
            LocalProtocolError: the callable returned something else.
            Exception: whatever the callable raises.
        """
        source = self.open
        if not _is_readable(source) and callable(source):
            source = source()
        if not _is_readable(source):
            raise LocalProtocolError(f"not a message: {type(source).__name__}")
        return source

    @property
    def can_be_read_again(self) -> bool:
        """Whether a second attempt can read it from the start.

        An open file or an iterator cannot: it is at its end, or somewhere in
        the middle, after the first attempt. Of other iterables only collections,
        such as a list of chunks, are known to begin anew.
        """
        return _begins_anew(self.open)


_NO_OPTIONS = (None, "refuse", None, "crlf")
_set_open = setter(Message, "open")
_set_size = setter(Message, "size")
_set_eight_bit = setter(Message, "eight_bit")
_set_utf8 = setter(Message, "utf8")
_set_line_ends = setter(Message, "line_ends")


def _begins_anew(source: object) -> bool:
    if hasattr(source, "read"):
        return False
    if isinstance(source, Collection) or hasattr(source, "__fspath__"):
        return True
    return callable(source) and not isinstance(source, (Iterable, AsyncIterable))


def _is_count(size: object) -> bool:
    return isinstance(size, int) and not isinstance(size, bool) and size >= 0


def _is_readable(source: Readable | Callable[[], Readable]) -> TypeGuard[Readable]:
    return not isinstance(source, str) and (
        isinstance(source, (bytes, bytearray, memoryview, MimeMessage, Iterable, AsyncIterable))
        or hasattr(source, "__fspath__")
        or hasattr(source, "read")
    )


@final
class Source:
    """One reading of a message, from its start; each reading has its own."""

    __slots__ = ("message", "owned")

    def __init__(self, message: Message, *, owned: bool = False) -> None:
        self.message: Message = message
        self.owned: bool = owned  #: a callable made it for this reading: who reads it also closes it

    def __repr__(self) -> str:
        return f"<Source of {type(self.message.open).__name__}>"
