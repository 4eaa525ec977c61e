"""Messages that are told apart, and the maildirs where they must turn up exactly once."""

from __future__ import annotations

import itertools
from pathlib import Path

_numbers = itertools.count(1)

#: What servers must not touch: dots, a line that looks like a header of mbox, blanks, octets
#: above 127 that are no UTF-8, the longest line allowed, and empty lines at the end.
BODY = (
    b".\r\n..\r\n.dot\r\nFrom someone\r\ntrailing blanks  \r\n\ttab\r\n"
    b"caf\xc3\xa9 \xff\xfe\r\n" + b"x" * 998 + b"\r\n\r\n.\r\nend\r\n\r\n\r\n"
)


def new_message(body: bytes = BODY, *headers: str) -> bytes:
    """Return a message like no other of this run."""
    lines = [
        "From: Sender <sender@client.example>",
        f"Message-ID: <{next(_numbers)}@client.example>",
        "Date: Mon, 02 Nov 2026 10:00:00 +0000",
        "Subject: interoperability",
        *headers,
    ]
    return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + body


def stored(mailbox: Path, message: bytes) -> list[bytes]:
    """Return what a maildir holds of a message: each copy in full, with CRLF."""
    identity = next(line for line in message.split(b"\r\n") if line.startswith(b"Message-ID: "))
    copies = [path.read_bytes() for folder in ("new", "cur") for path in (mailbox / folder).glob("*")]
    return [copy.replace(b"\n", b"\r\n") for copy in copies if b"\n" + identity + b"\n" in copy]


def check_stored_once(mailbox: Path, message: bytes) -> None:
    """The maildir holds the message once, and it ends in exactly what was sent."""
    [copy] = stored(mailbox, message)
    assert copy.endswith(message)
