"""Hypothesis strategies that speak the grammar: replies, splits of octets, addresses, endpoints, commands."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import strategies as st

from smtpstate._about_client import Xclient, Xforward
from smtpstate._commands import (
    AuthAbort,
    AuthBegin,
    AuthResponse,
    Bdat,
    Command,
    Content,
    Data,
    Ehlo,
    EndOfContent,
    Helo,
    Lhlo,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Rset,
    StartTls,
)
from smtpstate._questions import Expn, Help, Vrfy
from smtpstate._replies import Reply

# Replies

#: Every code that a server may send.
codes = st.integers(200, 599)

#: Codes that make something happen.
telling_codes = st.sampled_from(
    [220, 221, 235, 250, 251, 334, 354, 421, 450, 451, 452, 500, 530, 535, 550, 552, 554]
)

#: Lines of a reply: whatever octets there are but the one that ends them.
octet_lines = st.binary(max_size=40).map(lambda line: line.replace(b"\n", b""))

#: Lines of a reply as servers really write them.
usual_lines = st.sampled_from(
    [
        b"",
        b"ok",
        b"2.1.5 recipient ok",
        b"4.2.2 mailbox full",
        b"5.1.1 no such user",
        b"mx.example at your service",
        b"SIZE 10240000",
        b"PIPELINING",
        b"CHUNKING",
        b"AUTH PLAIN LOGIN",
        "grüße".encode(),
    ]
)

replies = st.builds(
    Reply,
    telling_codes | codes,
    st.lists(usual_lines | octet_lines, min_size=1, max_size=5).map(tuple),
)

#: Octets that look like replies often enough to get somewhere, and are not.
reply_octets = st.lists(
    st.sampled_from(
        [b"250", b"2", b"5", b"354", b"334", b"421", b"-", b" ", b"\r", b"\n", b"\r\n", b"\0", b"x" * 9]
    )
    | st.binary(max_size=12),
    max_size=60,
).map(b"".join)


@st.composite
def splits(draw: st.DrawFn, wire: bytes) -> list[bytes]:
    """Cut ``wire`` into parts, none of them empty, that make it up again."""
    cuts = sorted(draw(st.sets(st.integers(1, len(wire) - 1)))) if len(wire) > 1 else []
    return [wire[start:end] for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True) if end > start]


# Addresses

#: Characters on which parsers of addresses, lines and terminals come to grief, lone surrogates among them.
TROUBLE = '\0\t\n\v\f\r\x1c\x1e\x1f\x7f\x80\x85\x9b\xa0\u2028\u2029\u202e\u3000\ufeff\ud800\udc0a\udc0d\udfff <>"\\@,:;=+*%'

#: Any text at all, with as much trouble as fits in.
hostile_text = st.text(st.sampled_from(TROUBLE) | st.characters() | st.sampled_from("ab.1"), max_size=30)

_ATEXT = "abcxyzABCXYZ0189!#$%&'*+-/=?^_`{|}~"
_labels = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
domains = (
    st.lists(_labels, min_size=1, max_size=3).map(".".join)
    | st.ip_addresses(v=4).map(lambda ip: f"[{ip}]")
    | st.ip_addresses(v=6).map(lambda ip: f"[IPv6:{ip}]")
)
_dot_strings = st.lists(st.text(_ATEXT, min_size=1, max_size=8), min_size=1, max_size=3).map(".".join)
_quoted_strings = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=12).map(
    lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
)
_odd_local_parts = st.sampled_from(["a..b", ".a", "a.", "a@b", "ünï", "=?utf-8?q?a?=", "x" * 70])

#: Mailboxes that can be sent, odd ones among them.
addresses = (
    st.builds("{}@{}".format, _dot_strings | _quoted_strings | _odd_local_parts, domains)
    | st.just("postmaster")
    | st.just("Postmaster")
)

# Endpoints

_ports = st.integers(1, 65535)
_hosts = (
    st.lists(_labels.filter(lambda label: not label[0].isdigit()), min_size=1, max_size=4).map(".".join)
    | st.ip_addresses(v=4).map(str)
    | st.ip_addresses(v=6).map(lambda ip: f"[{ip}]")
    | st.builds("[fe80::{:x}%{}]".format, st.integers(1, 65535), st.sampled_from(["eth0", "2", "wg-0.1"]))
)
_paths = st.text(st.characters(categories=("L", "N")) | st.sampled_from("-_.@:%[]"), min_size=1, max_size=20)

#: Endpoints as they are written.
endpoint_texts = (
    st.builds("{}://{}:{}".format, st.sampled_from(["tcp", "tls"]), _hosts, _ports)
    | _paths.map("unix:///run/{}".format)
    | _paths.map("unix:@{}".format)
)

# Commands

_values = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=12)
parameters = st.lists(
    st.tuples(
        st.sampled_from(["SIZE", "BODY", "RET", "ENVID", "NOTIFY", "ORCPT", "X-OWN"]), st.none() | _values
    ),
    max_size=3,
).map(tuple)
_words = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=20)
_mechanisms = st.sampled_from(["PLAIN", "LOGIN", "SCRAM-SHA-256", "X_OWN"])
_attributes = st.lists(
    st.tuples(st.sampled_from(["NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN"]), _words),
    min_size=1,
    max_size=3,
).map(tuple)

#: For each command that a program can send, the commands of that kind that can be made.
COMMANDS: Mapping[type[Command], st.SearchStrategy[Command]] = {
    Ehlo: st.builds(Ehlo, domains),
    Helo: st.builds(Helo, domains),
    Lhlo: st.builds(Lhlo, domains),
    StartTls: st.just(StartTls()),
    AuthBegin: st.builds(AuthBegin, _mechanisms, st.none() | st.binary(max_size=30)),
    AuthResponse: st.builds(AuthResponse, st.binary(max_size=30)),
    AuthAbort: st.just(AuthAbort()),
    Mail: st.builds(Mail, addresses | st.just(""), parameters),
    Rcpt: st.builds(Rcpt, addresses, parameters),
    Data: st.just(Data()),
    Content: st.builds(Content, st.binary(max_size=60)),
    EndOfContent: st.just(EndOfContent()),
    Bdat: st.builds(Bdat, st.binary(max_size=60), last=st.booleans()),
    Rset: st.just(Rset()),
    Noop: st.just(Noop()),
    Quit: st.just(Quit()),
    Vrfy: st.builds(Vrfy, _words),
    Expn: st.builds(Expn, _words),
    Help: st.builds(Help, st.just("") | _words),
    Xclient: st.builds(Xclient, _attributes),
    Xforward: st.builds(Xforward, _attributes),
}

#: Every command that a program can send.
commands = st.sampled_from(list(COMMANDS)).flatmap(COMMANDS.__getitem__)
