"""How what a server says is cut into the pieces that the client receives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

#: Given how many octets came before and how many are there now, how many to receive next: at least one.
Split: TypeAlias = Callable[[int, int], int]


def whole(offset: int, there: int) -> int:
    """All that is there, together."""
    return there


def octet_by_octet(offset: int, there: int) -> int:
    """Every octet alone."""
    return 1


def split_at(*positions: int) -> Split:
    """Return a split that cuts after so many octets of the whole connection."""
    ordered = sorted(positions)

    def split(offset: int, there: int) -> int:
        following = (position - offset for position in ordered if position > offset)
        return min(next(following, there), there)

    return split


def pieces(octets: bytes, split: Split, offset: int = 0) -> Iterator[bytes]:
    """Cut ``octets``, before which ``offset`` others came on the connection."""
    while octets:
        n = split(offset, len(octets))
        yield octets[:n]
        octets, offset = octets[n:], offset + n
