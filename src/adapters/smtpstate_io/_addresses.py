"""From an endpoint to the socket addresses to try, and from the system's errors to ours."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import TypeAlias, final

from smtpstate._endpoints import Endpoint
from smtpstate._errors import TransportError

#: One entry of what ``getaddrinfo`` returns.
AddressInfo: TypeAlias = tuple[
    socket.AddressFamily,
    socket.SocketKind,
    int,
    str,
    tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes],
]


@final
@dataclass(frozen=True, slots=True)
class Address:
    """A socket address."""

    family: int
    sockaddr: str | tuple[object, ...]

    @property
    def host(self) -> str | None:
        """The IP address as text; None for a unix socket."""
        return None if isinstance(self.sockaddr, str) else str(self.sockaddr[0])


def known_addresses(endpoint: Endpoint) -> list[Address] | None:
    """Return the addresses of ``endpoint`` if no name needs to be looked up, else None."""
    if endpoint.is_unix:
        # The leading NUL is Linux's sign of an abstract name.
        path = f"\0{endpoint.path[1:]}" if endpoint.path.startswith("@") else endpoint.path
        return [Address(socket.AF_UNIX, path)]
    return _numeric(endpoint.host, endpoint.port)


def looked_up(infos: Iterable[AddressInfo]) -> list[Address]:
    """Return what ``getaddrinfo`` found in the order to try: families take turns (RFC 8305 §4)."""
    found = list(dict.fromkeys(Address(family, tuple(sockaddr)) for family, _, _, _, sockaddr in infos))
    first = [address for address in found if address.family == found[0].family]
    others = [address for address in found if address.family != found[0].family]
    return [address for address in chain.from_iterable(zip_longest(first, others)) if address is not None]


def source_of(addresses: list[Address], source: str | None) -> tuple[list[Address], Address | None]:
    """Return the addresses that can be reached from ``source``, and ``source`` as an address.

    Raises:
        TransportError: none of them can.
    """
    if source is None or addresses[0].family == socket.AF_UNIX:
        return addresses, None
    bound = next(iter(_numeric(source, 0) or ()), None)
    reachable = [address for address in addresses if bound and address.family == bound.family]
    if not reachable:
        raise TransportError(f"the endpoint has no address of the same family as source_address {source}")
    return reachable, bound


def name_unknown(endpoint: Endpoint, error: OSError | UnicodeError) -> TransportError:
    """Return our error for a name look-up that failed."""
    why = reason(error) if isinstance(error, OSError) else "it is no host name"
    return TransportError(f"cannot look up {endpoint.host}: {why}", name_unknown=True)


def reason(error: OSError) -> str:
    """Say in lower case what the system said."""
    if error.errno is not None and not isinstance(error, socket.gaierror):
        text = os.strerror(error.errno)
    else:
        text = error.strerror or str(error) or type(error).__name__
    return text[:1].lower() + text[1:]


def _numeric(host: str, port: int) -> list[Address] | None:
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (socket.gaierror, UnicodeError):
        return None
    return looked_up(infos)
