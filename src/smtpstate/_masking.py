"""Show nobody what we have sent in secret, though some servers repeat what they did not understand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from smtpstate._events import Answered, Challenged, ServiceClosing
from smtpstate._replies import Reply

E = TypeVar("E")


def masked(reply: Reply, secrets: Sequence[bytes]) -> Reply:
    """Return ``reply`` with ``secrets`` blotted out, but for what decides: its enhanced code."""
    shown = reply.masking(secrets)
    if shown is reply or reply.enhanced is None:
        return shown
    first, *others = reply.lines
    text = first.lstrip(b"0123456789.")
    code = first[: len(first) - len(text)]
    first, *others = Reply(reply.code, (text, *others)).masking(secrets).lines
    return Reply(reply.code, (code + first, *others), reply.local)


def masked_event(event: E, secrets: Sequence[bytes]) -> E:
    """Return ``event`` with its reply masked; not a challenge, of which every octet counts."""
    if not isinstance(event, (Answered, ServiceClosing)) or isinstance(event, Challenged):
        return event
    shown = masked(event.reply, secrets)
    return event if shown is event.reply else replace(event, reply=shown)
