"""Which mechanism is taken, and one run of it from the first response to the last."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import get_args

import pytest
import scramp
from hypothesis import given
from hypothesis import strategies as st

from sasl import everything_of
from smtpstate._auth import AuthKind
from smtpstate._commands import AuthBegin
from smtpstate._errors import LocalProtocolError, RemoteProtocolError, SmtpStateError
from smtpstate._mechanisms import Exchange, MechanismFailed, Response
from smtpstate._requests import Negotiated
from smtpstate._sasl import METHODS, MechanismMissing, SaslExchange, choose, own

# RFC 7677 §3: what is exchanged with a server that knows "user" and "pencil".
NONCE = "rOprNGfwEbeRWgbNEkqO"
SERVER_FIRST = f"r={NONCE}%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096".encode()
SERVER_FINAL = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
ALL = [
    "CRAM-MD5",
    "EXTERNAL",
    "LOGIN",
    "OAUTHBEARER",
    "PLAIN",
    "SCRAM-SHA-1",
    "SCRAM-SHA-1-PLUS",
    "SCRAM-SHA-256",
    "SCRAM-SHA-256-PLUS",
    "XOAUTH2",
]
UNIQUE = {"tls-unique": b"finished"}
EXPORTER = {"tls-exporter": b"keying material"}
END_POINT = {"tls-server-end-point": b"a hash of the certificate"}


def negotiated(version: str, bindings: dict[str, bytes]) -> Negotiated:
    return Negotiated(version, "TLS_AES_128_GCM_SHA256", verified=True, bindings=bindings)


def run(method: str, user: str = "tim", secret: str = "secret") -> SaslExchange:
    return choose(method, ALL, user=user, secret=secret, nonce=NONCE)


def chosen(method: str, offered: Sequence[str], tls: Negotiated | None = None) -> str:
    return choose(method, offered, user="tim", secret="secret", nonce=NONCE, tls=tls).mechanism


def flag(offered: Sequence[str], tls: Negotiated | None, *, end_point: bool = False) -> str:
    """Return what SCRAM's first message says of channel bindings (RFC 5802 §7)."""
    first = choose(
        "scram", offered, user="tim", secret="secret", nonce=NONCE, tls=tls, end_point=end_point
    ).initial()
    assert first is not None
    return first.decode().partition(",")[0]


# Which one is taken.


@pytest.mark.parametrize(
    ("offered", "taken"),
    [
        (ALL, "SCRAM-SHA-256"),
        (["LOGIN", "PLAIN", "SCRAM-SHA-1", "CRAM-MD5"], "SCRAM-SHA-1"),
        (["CRAM-MD5", "LOGIN", "PLAIN"], "PLAIN"),
        (["CRAM-MD5", "LOGIN"], "LOGIN"),
        (["GSSAPI", "CRAM-MD5"], "CRAM-MD5"),
        (["scram-sha-256"], "SCRAM-SHA-256"),
        (["Plain"], "PLAIN"),
    ],
)
def test_auto_takes_the_first_of_its_order_whatever_the_servers_order(offered: list[str], taken: str) -> None:
    assert chosen("auto", offered) == taken


@pytest.mark.parametrize(
    ("method", "taken"),
    [
        ("auto", "SCRAM-SHA-256"),
        ("scram", "SCRAM-SHA-256"),
        ("forward", "PLAIN"),
        ("plain", "PLAIN"),
        ("login", "LOGIN"),
        ("external", "EXTERNAL"),
        ("xoauth2", "XOAUTH2"),
        ("oauthbearer", "OAUTHBEARER"),
    ],
)
def test_each_method_has_its_mechanism(method: str, taken: str) -> None:
    assert chosen(method, ALL) == taken
    with pytest.raises(MechanismMissing):
        chosen(method, ["GSSAPI", "X-OTHER"])


def test_every_kind_of_auth_is_a_method_but_off_and_own() -> None:
    assert {*METHODS, "off", "own"} == set(get_args(AuthKind))


def test_forward_takes_login_where_there_is_no_plain() -> None:
    assert chosen("forward", ["SCRAM-SHA-256", "LOGIN"]) == "LOGIN"


def test_each_mechanism_gets_what_it_needs() -> None:
    assert {method: run(method).initial() for method in METHODS} == {
        "auto": b"n,,n=tim,r=" + NONCE.encode(),
        "scram": b"n,,n=tim,r=" + NONCE.encode(),
        "forward": b"\0tim\0secret",
        "plain": b"\0tim\0secret",
        "login": None,
        "external": b"tim",
        "xoauth2": b"user=tim\x01auth=Bearer secret\x01\x01",
        "oauthbearer": b"n,a=tim,\x01auth=Bearer secret\x01\x01",
    }
    assert choose("external", ALL).initial() == b""
    cram = choose("auto", ["CRAM-MD5"], user="tim", secret="secret")
    assert cram.initial() is None
    assert cram.respond(b"<1@x>").startswith(b"tim ")


def test_oauthbearer_says_whom_it_speaks_to() -> None:
    exchange = choose("oauthbearer", ALL, user="tim", secret="secret", host="mx.example", port=587)
    assert exchange.initial() == b"n,a=tim,\x01host=mx.example\x01port=587\x01auth=Bearer secret\x01\x01"


@pytest.mark.parametrize(
    ("method", "offered", "why"),
    [
        ("plain", ["LOGIN", "CRAM-MD5"], "auth plain needs PLAIN, and the server offers LOGIN, CRAM-MD5"),
        ("forward", [], "auth forward needs PLAIN or LOGIN, and the server offers none"),
        (
            "scram",
            ["SCRAM-SHA-1-PLUS"],
            "auth scram needs SCRAM-SHA-256 or SCRAM-SHA-1, and the server offers SCRAM-SHA-1-PLUS",
        ),
    ],
)
def test_a_missing_mechanism_is_named(method: str, offered: list[str], why: str) -> None:
    with pytest.raises(MechanismMissing) as caught:
        choose(method, offered, user="tim", secret="hunter2", nonce=NONCE)
    assert str(caught.value) == why
    assert isinstance(caught.value, SmtpStateError)
    assert "hunter2" not in everything_of(caught.value)


# Channel bindings.


def test_on_tls_1_2_the_channel_is_bound_by_its_finished_message() -> None:
    tls = negotiated("TLSv1.2", UNIQUE | END_POINT)
    assert flag(["SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"], tls) == "p=tls-unique"
    assert chosen("auto", ALL, tls) == "SCRAM-SHA-256-PLUS"
    assert chosen("scram", ["SCRAM-SHA-256", "SCRAM-SHA-1-PLUS"], tls) == "SCRAM-SHA-1-PLUS"


@pytest.mark.parametrize("version", ["TLSv1.3", "TLSv1.1"])
def test_that_is_not_done_on_any_other_version(version: str) -> None:
    tls = negotiated(version, UNIQUE | END_POINT)
    assert flag(ALL, tls) == "n"
    assert chosen("auto", ALL, tls) == "SCRAM-SHA-256"


def client_that_takes(*kinds: str) -> type:
    """Return a stand-in for the package's client that can bind to ``kinds``, and only begins."""

    class Client:
        def __init__(
            self,
            mechanisms: list[str],
            username: str,
            password: str,
            channel_binding: tuple[str, bytes] | None = None,
            c_nonce: str | None = None,
        ) -> None:
            if channel_binding is None:
                self.first = "n,,"
            elif channel_binding[0] not in kinds:
                raise scramp.ScramException("the type is not supported")
            else:
                self.first = f"p={channel_binding[0]},," if mechanisms[0].endswith("-PLUS") else "y,,"

        def get_client_first(self) -> str:
            return self.first

    return Client


def test_on_tls_1_3_the_channel_is_bound_by_an_exporter_where_the_package_can(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tls = negotiated("TLSv1.3", EXPORTER)
    monkeypatch.setattr(scramp, "ScramClient", client_that_takes("tls-unique"))
    assert chosen("scram", ALL, tls) == "SCRAM-SHA-256"
    assert flag(ALL, tls) == "n"
    assert flag(["SCRAM-SHA-256"], tls) == "n"
    monkeypatch.setattr(scramp, "ScramClient", client_that_takes("tls-exporter"))
    assert chosen("scram", ALL, tls) == "SCRAM-SHA-256-PLUS"
    assert flag(ALL, tls) == "p=tls-exporter"
    assert flag(["SCRAM-SHA-256"], tls) == "y"


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_the_certificate_is_bound_to_only_on_request(version: str) -> None:
    tls = negotiated(version, END_POINT)
    assert flag(ALL, tls) == "n"
    assert flag(ALL, tls, end_point=True) == "p=tls-server-end-point"
    assert flag(ALL, negotiated(version, {}), end_point=True) == "n"


@pytest.mark.parametrize("tls", [None, negotiated("TLSv1.2", {}), negotiated("TLSv1.2", {"tls-unique": b""})])
def test_where_nothing_can_be_bound_we_say_so(tls: Negotiated | None) -> None:
    assert flag(ALL, tls) == "n"
    assert flag(["SCRAM-SHA-256"], tls) == "n"


def test_where_only_the_server_cannot_bind_we_tell_it_what_we_saw() -> None:
    tls = negotiated("TLSv1.2", UNIQUE)
    assert flag(["SCRAM-SHA-256", "PLAIN"], tls) == "y"
    assert flag(["SCRAM-SHA-256", "GS2-KRB5-PLUS"], tls) == "y"


def test_a_server_that_binds_by_a_hash_we_lack_is_not_told_that_it_cannot() -> None:
    assert flag(["SCRAM-SHA-256", "SCRAM-SHA-512-PLUS"], negotiated("TLSv1.2", UNIQUE)) == "n"


# Without the package.


def test_without_the_package_there_is_no_scram(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scramp", None)
    assert chosen("auto", ALL, negotiated("TLSv1.2", UNIQUE)) == "PLAIN"
    hint = r"; SCRAM needs the package scramp: install smtpstate\[scram\]$"
    with pytest.raises(MechanismMissing, match=hint):
        chosen("scram", ALL)
    with pytest.raises(MechanismMissing, match=hint):
        chosen("auto", ["SCRAM-SHA-256"])
    with pytest.raises(MechanismMissing, match=r"offers none$"):
        chosen("plain", [])


def test_without_a_nonce_there_is_no_scram() -> None:
    assert choose("auto", ALL, user="tim", secret="secret").mechanism == "PLAIN"
    with pytest.raises(MechanismMissing, match=r"; SCRAM needs a nonce, which the adapter did not supply$"):
        choose("scram", ALL, user="tim", secret="secret")


# A run.


def test_a_run_goes_from_the_first_response_to_the_last() -> None:
    exchange = run("login")
    assert not exchange.proven
    assert exchange.initial() is None
    assert not exchange.proven
    assert exchange.respond(b"Username:") == b"tim"
    assert not exchange.proven
    assert exchange.respond(b"Password:") == b"secret"
    assert exchange.proven
    assert exchange.detail is None


@pytest.mark.parametrize(
    ("method", "challenges"),
    [
        ("plain", [b""]),
        ("login", [b"", b"", b""]),
        ("external", [b""]),
        ("xoauth2", [b"{}", b""]),
        ("oauthbearer", [b"{}", b"{}"]),
        ("scram", [SERVER_FIRST, SERVER_FINAL, b""]),
    ],
)
def test_a_challenge_too_many_is_not_answered(method: str, challenges: list[bytes]) -> None:
    exchange = run(method, "user", "pencil")
    exchange.initial()
    for challenge in challenges[:-1]:
        exchange.respond(challenge)
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match=r": there is one challenge too many$") as caught:
            exchange.respond(challenges[-1])
        assert isinstance(caught.value, MechanismFailed)
        assert "pencil" not in everything_of(caught.value)


def test_success_before_the_proof_is_not_believed() -> None:
    exchange = run("scram", "user", "pencil")
    exchange.initial()
    assert not exchange.proven
    exchange.respond(SERVER_FIRST)
    assert not exchange.proven
    with pytest.raises(MechanismFailed, match="signature"):
        exchange.respond(b"v=AAAA")
    assert not exchange.proven
    with pytest.raises(MechanismFailed, match="too many"):
        exchange.respond(SERVER_FINAL)
    assert not exchange.proven


def test_success_after_the_proof_is_believed() -> None:
    exchange = run("scram", "user", "pencil")
    exchange.initial()
    exchange.respond(SERVER_FIRST)
    assert exchange.respond(SERVER_FINAL) == b""
    assert exchange.proven


def test_the_reason_of_a_refused_token_is_kept() -> None:
    exchange = run("xoauth2", secret="hunter2")
    exchange.initial()
    assert exchange.proven
    assert exchange.respond(b'{"status":"401","token":"hunter2"}') == b""
    assert not exchange.proven
    assert exchange.detail == '{"status": "401", "token": "****"}'


@pytest.mark.parametrize("method", ["plain", "xoauth2", "oauthbearer", "scram", "external"])
@pytest.mark.parametrize("longer", [0, 1, 3, 4000])
def test_a_first_response_too_long_for_the_command_waits_for_a_challenge(method: str, longer: int) -> None:
    short = run(method)
    room = (512 - len(f"AUTH {short.mechanism} \r\n")) // 4 * 3 - len(short.initial() or b"")
    user = "tim" + "u" * (room + longer)
    exchange = run(method, user)
    first = exchange.initial()
    assert len(bytes(AuthBegin(exchange.mechanism, first))) <= 512
    assert (first is None) == (longer > 0)
    if first is None:
        assert not exchange.proven
        first = exchange.respond(b"")
    assert user.encode() in first
    assert exchange.proven == (method != "scram")


def test_that_challenge_must_be_empty() -> None:
    exchange = run("xoauth2", secret="hunter2" * 100)
    assert exchange.initial() is None
    with pytest.raises(MechanismFailed, match=r"^XOAUTH2: the first challenge is not empty$") as caught:
        exchange.respond(b"{}")
    assert not exchange.proven
    assert "hunter2" not in everything_of(caught.value)


def test_what_cannot_be_said_is_the_callers_mistake() -> None:
    with pytest.raises(LocalProtocolError, match=r"^a nonce is"):
        choose("scram", ALL, user="tim", secret="secret", nonce="too short").initial()
    with pytest.raises(LocalProtocolError, match=r"^the user name is empty$"):
        choose("forward", ALL).initial()


def test_a_run_shows_no_secret() -> None:
    exchange = run("plain", secret="hunter2")
    exchange.initial()
    assert "hunter2" not in repr(exchange)


# Mechanisms of the caller's.


def reversing() -> Exchange:
    challenge = yield None
    if not challenge:
        yield None
    challenge = yield challenge[::-1]
    yield Response(b"!" + challenge, detail="reversed")


@pytest.mark.parametrize("name", ["X-REVERSE", "SCRAM-SHA-256"])
def test_a_callers_mechanism_is_run_like_any_other(name: str) -> None:
    exchange = own(name, reversing(), ["PLAIN", name.lower()])
    assert exchange.mechanism == name
    assert exchange.initial() is None
    assert exchange.respond(b"abc") == b"cba"
    assert exchange.respond(b"?") == b"!?"
    assert exchange.proven
    assert exchange.detail == "reversed"


def test_a_callers_mechanism_can_disbelieve_the_server() -> None:
    exchange = own("x-reverse", reversing(), ["X-REVERSE"])
    exchange.initial()
    with pytest.raises(MechanismFailed, match=r"^X-REVERSE: the challenge was not accepted$"):
        exchange.respond(b"")


def test_a_callers_mechanism_is_not_run_where_it_is_not_offered() -> None:
    with pytest.raises(
        MechanismMissing, match=r"^auth own needs X-REVERSE, and the server offers PLAIN, LOGIN$"
    ):
        own("x-reverse", reversing(), ["PLAIN", "LOGIN"])


def test_a_callers_mechanism_must_say_something() -> None:
    def silent() -> Exchange:
        yield from ()

    exchange = own("X-SILENT", silent(), ["X-SILENT"])
    with pytest.raises(LocalProtocolError, match=r"^the mechanism X-SILENT has no response$"):
        exchange.initial()


# Any server.


@given(
    st.sampled_from(sorted(METHODS)),
    st.sampled_from(["secret", "secret" * 100]),
    st.lists(st.binary(max_size=30) | st.sampled_from([b"", SERVER_FIRST, SERVER_FINAL])),
)
def test_whatever_a_server_says_is_answered_or_not_believed(
    method: str, secret: str, challenges: list[bytes]
) -> None:
    exchange = run(method, secret=secret)
    exchange.initial()
    try:
        for challenge in challenges:
            exchange.respond(challenge)
    except MechanismFailed as error:
        assert "secret" not in everything_of(error)
    assert exchange.detail is None or "secret" not in exchange.detail
    assert not (method in ("auto", "scram") and exchange.proven)
