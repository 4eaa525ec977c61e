"""Whatever octets arrive, the parser yields the same replies however they are cut, and each prints as it was read.

The only exception allowed is ``RemoteProtocolError``: octets that cannot become
a reply are the server's fault. Which octets show it first depends on how they
arrive, so its text may differ from cut to cut; that it is raised, and after
which replies, may not.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

import atheris

with atheris.instrument_imports(include=["smtpstate"]):
    from smtpstate._errors import RemoteProtocolError
    from smtpstate._limits import Limits
    from smtpstate._replies import Reply
    from smtpstate._reply_parser import ReplyParser

LIMITS = Limits(reply_line=64, challenge_line=96, reply_lines=4, reply=160)  # near enough to be met


def replies(pieces: Iterable[bytes]) -> tuple[list[Reply], bool]:
    """Return what a parser makes of ``pieces``, and whether it gave up."""
    parser = ReplyParser(LIMITS)
    found: list[Reply] = []
    try:
        for piece in pieces:
            parser.feed(piece)
            while (reply := parser.next()) is not None:
                found.append(reply)
    except RemoteProtocolError:
        return found, True
    return found, False


def one_input(data: bytes) -> None:
    """Check the invariant for one input; its first octet says where to cut."""
    cut, wire = data[:1], data[1:]
    whole = replies([wire])
    size = max(1, cut[0] if cut else 1)
    assert replies(bytes([octet]) for octet in wire) == whole
    assert replies(wire[at : at + size] for at in range(0, len(wire), size)) == whole
    for reply in whole[0]:
        parser = ReplyParser(Limits())
        parser.feed(bytes(reply))
        assert parser.next() == reply
        assert not parser.holds_octets
        assert str(reply).isprintable()


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
