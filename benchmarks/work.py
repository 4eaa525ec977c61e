"""What there is to send, the same for every client."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

SENDER = "alice@client.example"


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One run of one client."""

    messages: int = 1
    recipients: int = 1
    size: int = 1024  #: octets of a message
    queued: bool = False  #: all messages may be begun before the first is answered
    lmtp: bool = False
    binary: bool = False  #: line ends are not looked at
    path: str = ""  #: the message is this file
    connections: int = 1

    def names(self) -> list[str]:
        """The recipients of each message."""
        return [f"user{number}@mx.example" for number in range(self.recipients)]

    def message(self) -> bytes:
        """A message of the size that is asked for, with lines as of base64."""
        head = b"From: <alice@client.example>\r\nSubject: benchmark\r\n\r\n"
        line = b"QmVuY2htYXJrcyBtdXN0IGJlIGFzIGR1bGwgYXMgdGhleSBhcmUgaG9uZXN0LCBhbmQgc28g\r\n"
        body = line * ((self.size - len(head)) // len(line))
        return (head + body).ljust(self.size - 2, b"=") + b"\r\n"

    def octets(self) -> int:
        """Octets of one message."""
        return Path(self.path).stat().st_size if self.path else len(self.message())

    def as_dict(self) -> dict[str, object]:
        """All of it, to be passed to a process."""
        return asdict(self)
