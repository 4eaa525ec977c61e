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
    most = link.conn.capabilities.limit("RCPTMAX")
    most_domains = link.conn.capabilities.limit("RCPTDOMAINMAX")
    if (most is None or len(waiting) <= most) and most_domains is None:
        return waiting, []
    batch: list[int] = []
    later: list[int] = []
    domains = link.domains
    for index in waiting:
        domain = domain_of(envelope.recipients[index].address).lower()
        full = most is not None and len(batch) >= most
        if full or (most_domains is not None and domain not in domains and len(domains) >= most_domains):
            later.append(index)
        else:
            batch.append(index)
            domains.add(domain)
    link.exhausted = not batch
    return batch, later
