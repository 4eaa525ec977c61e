"""Split recipients into as many transactions as a server's limits ask for (RFC 9422)."""

from __future__ import annotations

from smtpstate._addresses import domain_of
from smtpstate._envelope import Envelope
from smtpstate._link import Link


def next_batch(link: Link, envelope: Envelope, waiting: list[int]) -> tuple[list[int], list[int]]:
    """Return the recipients of the next transaction, and those who wait for a later one.

    RCPTMAX bounds the recipients of a transaction, RCPTDOMAINMAX the domains of a
    session (RFC 9422 §4): where it has room for nobody any more, it is marked as
    exhausted, and everybody waits.
    """
    if not link.conn.limited:
        return waiting, []
    limit = link.conn.capabilities.limit
    most, most_domains = limit("RCPTMAX"), limit("RCPTDOMAINMAX")
    if (most is None or len(waiting) <= most) and most_domains is None:
        return waiting, []
    batch: list[int] = []
    later: list[int] = []
    for index in waiting:
        admitted = admits(link, envelope.addresses[index], beside=len(batch))
        (batch if admitted else later).append(index)
    link.exhausted = not batch
    return batch, later


def admits(link: Link, address: str, *, beside: int) -> bool:
    """Return whether a recipient may join so many others in a transaction; its domain counts from then on."""
    limit = link.conn.capabilities.limit
    most, most_domains = limit("RCPTMAX"), limit("RCPTDOMAINMAX")
    if most is not None and beside >= most:
        return False
    if most_domains is not None:
        domain = domain_of(address).lower()
        if domain not in link.domains and len(link.domains) >= most_domains:
            return False
        link.domains.add(domain)
    return True
