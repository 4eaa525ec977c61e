"""Messages arrive octet for octet, with CRLF line ends, by every way that a message can go."""

from __future__ import annotations

import random
from collections.abc import Callable
from email.message import EmailMessage
from functools import cache
from pathlib import Path

import pytest

from adapters.runtimes import Runtime
from smtpstate import Envelope, Message, Status, TargetConfig
from smtpstate.testing import ModelServer
from smtpstate_testing import serve

OFFERS = {
    "data": ("8BITMIME", "PIPELINING"),
    "data, one by one": ("8BITMIME",),
    "bdat": ("8BITMIME", "PIPELINING", "CHUNKING"),
    "bdat, one by one": ("8BITMIME", "CHUNKING"),
}


@cache
def multipart() -> bytes:
    """A real message of more than 5 MB, with attachments that compress badly."""
    message = EmailMessage()
    message["From"] = "Anna <anna@client.example>"
    message["To"] = "Bob <bob@y.example>"
    message["Subject"] = "Grüße mit Anhängen"
    message.set_content("Guten Tag,\n\n.hier ein Punkt\n..und zwei\n.\n\nAnna\n")
    chance = random.Random(5321)
    for name in ("first.bin", "second.bin"):
        attached = chance.randbytes(1_900_000)
        message.add_attachment(attached, maintype="application", subtype="octet-stream", filename=name)
    return message.as_bytes()


MESSAGES: dict[str, Callable[[], bytes]] = {
    "multipart of 5 MB": multipart,
    "LF line ends": lambda: b"Subject: x\n\nline\n.dot\n\n..\nend\n",
    "dots only": lambda: b".\r\n..\r\n...\r\n.",
    "one dot": lambda: b".",
    "empty": lambda: b"",
    "no final newline": lambda: b"Subject: x\r\n\r\nno newline",
    "every octet value": lambda: bytes(range(256)) * 3,
    "bare CR and LF": lambda: b"a\rb\nc\r\r\n\n\r.\n.\r.\r\n",
    "longer than a block": lambda: (b"x" * 65534 + b"\r\n.") * 3,
    "CRLF across blocks": lambda: b"y" * 65535 + b"\r\n." + b"z" * 65533 + b"\n.",
}


def with_crlf(message: bytes) -> bytes:
    """Return the message as it must arrive: octet by octet, slowly and plainly."""
    arrived = bytearray()
    before = 0
    for octet in message:
        if octet == 0x0A:
            if before != 0x0D:
                arrived += b"\r\n"
        elif octet == 0x0D:
            arrived += b"\r\n"
        else:
            arrived.append(octet)
        before = octet
    if arrived and not arrived.endswith(b"\r\n"):
        arrived += b"\r\n"
    return bytes(arrived)


@pytest.mark.parametrize("offers", OFFERS)
@pytest.mark.parametrize("protocol", ["smtp", "lmtp"])
@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_arrives_octet_for_octet(
    runtime: Runtime, name: str, protocol: str, offers: str, tmp_path: Path
) -> None:
    message = MESSAGES[name]()
    path = tmp_path / "message.eml"
    path.write_bytes(message)
    server = ModelServer(protocol, OFFERS[offers])
    unix = str(tmp_path / "socket") if protocol == "lmtp" else None
    with serve(server, unix_path=unix) as served:
        config = TargetConfig(targets=served.endpoint, protocol=protocol)
        for form in (message, path, Message([message[:1], message[1:70000], message[70000:]], utf8=False)):
            delivery = runtime.deliver(config, Envelope("a@x.example", ["b@y.example"]), form)
            assert [outcome.status for outcome in delivery.outcomes] == [Status.DELIVERED], delivery.outcomes
    expected = with_crlf(message)
    assert [stored.content == expected for stored in server.messages] == [True] * 3
    assert server.violations == []
