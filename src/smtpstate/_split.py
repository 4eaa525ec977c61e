"""Split recipients into as many transactions as a server's limits ask for (RFC 9422)."""

from __future__ import annotations

from smtpstate._addresses import domain_of
from smtpstate._capabilities import Capabilities
from smtpstate._envelope import Envelope


def next_batch(
    envelope: Envelope, waiting: list[int], capabilities: Capabilities
) -> tuple[list[int], list[int]]:
    """Return the recipients of the next transaction, and those who wait for a later one.

    RCPTMAX bounds how many there are, RCPTDOMAINMAX how many domains they have.
    """
    most = capabilities.limit("RCPTMAX")
    most_domains = capabilities.limit("RCPTDOMAINMAX")
    if (most is None or len(waiting) <= most) and most_domains is None:
        return waiting, []
    batch: list[int] = []
    later: list[int] = []
    domains: set[str] = set()
    for index in waiting:
        domain = domain_of(envelope.recipients[index].address).lower()
        full = most is not None and len(batch) >= most
        if full or (most_domains is not None and domain not in domains and len(domains) >= most_domains):
            later.append(index)
        else:
            batch.append(index)
            domains.add(domain)
    return batch, later
