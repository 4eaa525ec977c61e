"""The sections of each RFC that smtpstate may cite, so that a mistyped number is found."""

from __future__ import annotations

from collections.abc import Mapping


def _sections(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _counted(section: str, last: int) -> str:
    """Return ``section`` and its subsections 1 to ``last``."""
    return " ".join([section, *(f"{section}.{n}" for n in range(1, last + 1))])


#: RFC -> its sections; none where the RFC does not number them.
SECTIONS: Mapping[int, frozenset[str]] = {
    821: _sections(
        f"1 2 {_counted('3', 8)} {_counted('4', 5)} {_counted('4.1', 2)} {_counted('4.5', 3)}"
    ),  # SMTP
    1035: _sections(  # domain names
        f"1 {_counted('2', 3)} {_counted('2.3', 4)} {_counted('3', 8)} {_counted('4', 3)} {_counted('4.1', 4)}"
    ),
    1047: _sections(""),  # Duplicate Messages and SMTP
    1870: _sections("1 2 3 4 5 6 6.1 6.2 6.3 6.4 7 8 9"),  # SIZE
    1928: _sections("1 2 3 4 5 6 7 8 9"),  # SOCKS 5
    2033: _sections(f"1 2 3 {_counted('4', 3)} 5 6 7 8 9"),  # LMTP
    2034: _sections("1 2 3 4 5 6 7 8"),  # ENHANCEDSTATUSCODES
    2045: _sections(
        "1 2 2.1 2.2 2.3 2.4 2.5 2.6 2.7 2.8 2.9 2.10 3 4 5 5.1 5.2 6 6.1 6.2 6.3 6.4 6.5 6.6 6.7 6.8 7 8 9"
    ),  # MIME
    2047: _sections(f"1 2 3 {_counted('4', 2)} 5 {_counted('6', 3)} 7 8 9"),  # encoded words
    2195: _sections("1 2 3 4 5 6"),  # CRAM-MD5
    2852: _sections("1 2 3 4 5 6 7 8 9"),  # DELIVERBY
    2920: _sections(f"1 1.1 2 {_counted('3', 2)} 4 5"),  # PIPELINING
    3030: _sections("1 2 3 4 4.1 4.2 4.3 5"),  # CHUNKING and BINARYMIME
    3207: _sections(f"1 1.1 2 3 {_counted('4', 3)} 5 6"),  # STARTTLS
    3339: _sections(f"1 2 3 {_counted('4', 4)} {_counted('5', 8)} 6 7"),  # timestamps
    3461: _sections(f"1 2 3 {_counted('4', 5)} {_counted('5', 3)} {_counted('6', 3)} 7 8 9 10"),  # DSN
    3463: _sections(f"1 2 {_counted('3', 8)} 4 5"),  # enhanced status codes
    3848: _sections("1 2 3"),  # with-protocol types
    4007: _sections(f"1 2 3 4 5 6 7 8 9 10 {_counted('11', 7)} 12"),  # scopes of IPv6 addresses
    4422: _sections(  # SASL
        f"1 1.1 1.2 1.3 2 {_counted('3', 8)} 3.4.1 4 5 6 {_counted('6.1', 7)} 6.2 6.3 7 7.1 7.2"
    ),
    4616: _sections("1 2 3 4 5 6"),  # PLAIN
    4865: _sections("1 2 3 4 5 6 7 8 9"),  # FUTURERELEASE
    4954: _sections("1 2 3 4 4.1 5 5.1 6 7 8 9 10"),  # AUTH
    5248: _sections("1 2 2.1 2.2 2.3 2.4 3 4 5"),  # registry of enhanced status codes
    5321: _sections(  # SMTP
        f"{_counted('1', 3)} {_counted('2', 4)} {_counted('2.2', 3)} {_counted('2.3', 11)} {_counted('3', 9)} "
        f"{_counted('3.5', 4)} {_counted('3.6', 3)} {_counted('3.7', 5)} {_counted('3.9', 2)} "
        f"{_counted('4', 5)} {_counted('4.1', 5)} {_counted('4.1.1', 11)} {_counted('4.2', 5)} "
        f"{_counted('4.3', 2)} {_counted('4.5', 5)} {_counted('4.5.3', 2)} {_counted('4.5.3.1', 10)} "
        f"{_counted('4.5.3.2', 7)} {_counted('5', 2)} {_counted('6', 4)} {_counted('7', 9)} 8"
    ),
    5322: _sections(  # message format
        f"{_counted('1', 2)} {_counted('1.2', 3)} 2 2.1 2.1.1 2.1.2 2.2 2.2.1 2.2.2 2.2.3 2.3 {_counted('3', 6)} "
        f"{_counted('3.2', 5)} {_counted('3.4', 1)} {_counted('3.6', 8)} {_counted('4', 5)} 5 6"
    ),
    5802: _sections("1 1.1 1.2 2 2.1 2.2 3 4 5 5.1 5.2 6 6.1 7 8 9 10"),  # SCRAM
    5891: _sections(f"1 2 3 {_counted('4', 5)} {_counted('5', 6)} 6 7 8"),  # IDNA 2008
    5929: _sections("1 2 2.1 3 3.1 3.2 4 4.1 4.2 5 5.1 5.2 6 7 8 9"),  # channel bindings
    6066: _sections("1 1.1 1.2 2 3 4 5 6 7 8 9 10 11"),  # TLS extensions
    6152: _sections("1 2 3 4 5 6"),  # 8BITMIME
    6531: _sections(f"{_counted('1', 3)} 2 2.1 2.2 {_counted('3', 7)} {_counted('3.7', 4)} 4 4.1 4.2 4.3 5"),
    6532: _sections(f"1 2 {_counted('3', 7)} 4 5"),  # UTF-8 in headers
    6533: _sections("1 2 3 4 5 6 7"),  # DSN with UTF-8
    6710: _sections("1 2 3 4 4.1 4.2 5 6 7 8 9 10"),  # MT-PRIORITY
    7293: _sections(f"1 2 {_counted('3', 3)} 4 5 6 7 8 9"),  # RRVS
    7504: _sections("1 2 3 4 5"),  # 521 and 556
    7628: _sections(
        f"1 2 {_counted('3', 3)} 3.1.1 {_counted('3.2', 3)} 4 4.1 4.2 4.3 4.4 5 6 7"
    ),  # OAUTHBEARER
    7677: _sections("1 2 3 4 5"),  # SCRAM-SHA-256
    8305: _sections(f"1 1.1 2 3 3.1 4 5 6 {_counted('7', 4)} 8 9 10"),  # happy eyeballs
    8314: _sections(f"1 2 {_counted('3', 4)} {_counted('4', 4)} {_counted('5', 5)} 6 7"),  # TLS for mail
    8446: _sections(  # TLS 1.3
        f"{_counted('1', 4)} {_counted('2', 3)} {_counted('4', 6)} {_counted('4.1', 4)} {_counted('4.2', 11)} "
        f"{_counted('4.3', 2)} {_counted('4.4', 4)} {_counted('4.4.2', 4)} {_counted('4.6', 3)} {_counted('5', 5)} {_counted('6', 2)} "
        f"{_counted('7', 5)} {_counted('8', 3)} {_counted('9', 3)} 10 11"
    ),
    8689: _sections("1 1.1 2 3 4 4.1 4.2 4.2.1 4.3 4.4 5 6 7 8"),  # REQUIRETLS
    8996: _sections("1 1.1 1.2 2 3 4 5 6"),  # TLS 1.0 and 1.1 are out of use
    9266: _sections("1 1.1 2 3 4 5"),  # tls-exporter
    9422: _sections(f"1 2 3 {_counted('4', 3)} 5 6 7"),  # LIMITS
    9525: _sections("1 2 3 4 5 6 7"),  # names in certificates
}
