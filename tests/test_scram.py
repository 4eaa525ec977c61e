"""SCRAM: the RFCs' own exchanges, a real server's side, and servers that are not to be believed."""

from __future__ import annotations

import re
import sys
from base64 import b64decode, b64encode
from itertools import product

import pytest
import scramp
from hypothesis import given
from hypothesis import strategies as st

from sasl import everything_of, responses, said
from smtpstate._errors import LocalProtocolError
from smtpstate._mechanisms import MechanismFailed
from smtpstate._scram import FEWEST_ITERATIONS, MOST_ITERATIONS, Binding, is_supported, scram

SHA_256 = "SCRAM-SHA-256"
# RFC 7677 §3
NONCE = "rOprNGfwEbeRWgbNEkqO"
BOTH = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
SALT = "W22ZaJ0SNY7soEsUEjb6gQ=="
FIRST = f"r={BOTH},s={SALT},i=4096"
PROOF = "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
UNIQUE: Binding = ("tls-unique", b"finished")
END_POINT: Binding = ("tls-server-end-point", b"a hash of the certificate")


# The exchanges of the RFCs.


def test_sha_1_is_as_its_rfc_shows_it() -> None:
    # RFC 5802 §5
    steps = scram("SCRAM-SHA-1", "user", "pencil", "fyko+d2lbbFgONRv9qkxdawL")
    answers = responses(
        steps,
        b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
        b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
    )
    assert [answer.data for answer in answers] == [
        b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
        b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
        b"",
    ]


def test_sha_256_is_as_its_rfc_shows_it() -> None:
    answers = said(scram(SHA_256, "user", "pencil", NONCE), FIRST.encode(), f"v={PROOF}".encode())
    assert answers == [
        b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
        f"c=biws,r={BOTH},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=".encode(),
        b"",
    ]


def test_no_success_is_believed_before_the_server_has_proved_itself() -> None:
    answers = responses(scram(SHA_256, "user", "pencil", NONCE), FIRST.encode(), f"v={PROOF}".encode())
    assert [answer.proven for answer in answers] == [False, False, True]


# The other side.


def served(name: str, user: str, password: str, ours: Binding | None, theirs: Binding | None) -> str:
    """Run an exchange with a server that knows ``pencil``; return the client's first message."""
    mechanism = scramp.ScramMechanism(name)
    known = mechanism.make_auth_info("pencil", salt=b"a salt of some length")

    def look_up(asked: str) -> tuple[bytes, bytes, bytes, int]:
        assert asked == user
        return known

    server = mechanism.make_server(look_up, channel_binding=theirs, s_nonce="theirs")
    client = scram(name, user, password, NONCE, ours)
    [first] = said(client)
    assert first is not None
    server.set_client_first(first.decode())
    [final] = [client.send(server.get_server_first().encode())]
    assert not isinstance(final, bytes)
    assert final is not None
    assert final.data is not None
    server.set_client_final(final.data.decode())
    assert client.send(server.get_server_final().encode()) == b""
    return first.decode()


@pytest.mark.parametrize("name", ["SCRAM-SHA-1", SHA_256])
@pytest.mark.parametrize("user", ["user", "a=b,c", "j\N{LATIN SMALL LETTER U WITH DIAERESIS}rgen@x.example"])
def test_a_server_takes_it(name: str, user: str) -> None:
    assert served(name, user, "pencil", None, None).startswith("n,,n=")


@pytest.mark.parametrize(
    ("name", "binding"), list(product(["SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS"], [UNIQUE, END_POINT]))
)
def test_a_server_takes_it_bound_to_the_channel(name: str, binding: Binding) -> None:
    assert served(name, "user", "pencil", binding, binding).startswith(f"p={binding[0]},,n=user,r=")


def test_a_server_with_another_channel_does_not_take_it() -> None:
    with pytest.raises(scramp.ScramException, match="channel bindings don't match"):
        served("SCRAM-SHA-256-PLUS", "user", "pencil", UNIQUE, ("tls-unique", b"of somebody in between"))


def test_a_server_learns_that_its_offer_to_bind_was_taken_away() -> None:
    assert served(SHA_256, "user", "pencil", UNIQUE, None).startswith("y,,n=user")
    with pytest.raises(scramp.ScramException, match="but in fact it does"):
        served(SHA_256, "user", "pencil", UNIQUE, UNIQUE)


def test_a_wrong_password_is_refused_by_the_server() -> None:
    with pytest.raises(scramp.ScramException, match="client keys don't match"):
        served(SHA_256, "user", "crayon", None, None)


def test_a_password_is_prepared() -> None:
    assert served(SHA_256, "user", "p\N{SOFT HYPHEN}encil", None, None)


# Servers that are not to be believed.


def refusal(*challenges: bytes, name: str = SHA_256) -> str:
    """Return why the last of ``challenges`` is not accepted."""
    steps = scram(name, "user", "pencil", NONCE)
    said(steps, *challenges[:-1])
    with pytest.raises(MechanismFailed) as caught:
        steps.send(challenges[-1])
    assert "pencil" not in everything_of(caught.value)
    with pytest.raises(StopIteration):
        steps.send(b"")
    assert str(caught.value).startswith(f"{name}: ")
    return str(caught.value).removeprefix(f"{name}: ")


@pytest.mark.parametrize(
    ("nonce", "reason"),
    [
        ("something-else-altogether", "Client nonce doesn't match"),
        (NONCE[:-1] + "P" + BOTH[20:], "Client nonce doesn't match"),
        (BOTH[1:], "Client nonce doesn't match"),
        (NONCE.lower() + BOTH[20:], "Client nonce doesn't match"),
        (NONCE, "The nonce must be longer than the client nonce"),
        (NONCE[:-1], "Client nonce doesn't match"),
    ],
)
def test_the_servers_nonce_must_begin_with_ours_and_go_on(nonce: str, reason: str) -> None:
    assert refusal(f"r={nonce},s={SALT},i=4096".encode()) == reason


@pytest.mark.parametrize(
    "count",
    [
        "0",
        "1",
        "4095",
        "600001",
        "10000000",
        "1" + "0" * 5000,
        "-4096",
        "04096",
        "4096.0",
        "4e3",
        " 4096",
        "",
        "٤٠٩٦",
        "\x1b[2J",
    ],
)
def test_iterations_out_of_bounds_are_not_computed(count: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("hashlib.pbkdf2_hmac")
    reason = refusal(f"r={BOTH},s={SALT},i={count}".encode())
    assert reason.startswith(f"expected {FEWEST_ITERATIONS} to {MOST_ITERATIONS} iterations, got ")
    assert reason.isprintable()


def test_a_second_count_does_not_hide_behind_the_first() -> None:
    assert refusal(f"r={BOTH},s={SALT},i=4096,i=10000000".encode()).endswith("got 10000000")


@pytest.mark.parametrize("count", [FEWEST_ITERATIONS, MOST_ITERATIONS])
def test_iterations_within_bounds_are_computed(count: int) -> None:
    steps = scram(SHA_256, "user", "pencil", NONCE)
    _, final = said(steps, f"r={BOTH},s={SALT},i={count}".encode())
    assert final is not None
    assert final.startswith(f"c=biws,r={BOTH},p=".encode())


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"?",
        b"r=",
        b"r=%s" % BOTH.encode(),
        b"r=%s,s=W22ZaJ0SNY7soEsUEjb6gQ==" % BOTH.encode(),
        b"s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        b"i=4096,s=W22ZaJ0SNY7soEsUEjb6gQ==,r=%s" % BOTH.encode(),
        b"r=%s,s=,i=4096" % BOTH.encode(),
        b"r=%s,s=***,i=4096" % BOTH.encode(),
        b"r=%s,s=\xc3\xa4,i=4096" % BOTH.encode(),
        b"r=%s,s=AA==,i=4096" % BOTH.encode(),
        b"m=must,r=%s,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096" % BOTH.encode(),
        b"r=%s\xff,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096" % BOTH.encode(),
        f"v={PROOF}".encode(),
    ],
)
def test_a_first_message_that_is_none_is_not_answered(message: bytes) -> None:
    assert refusal(message).isprintable()


@given(st.binary(max_size=80) | st.text(max_size=80).map(lambda text: text.encode(errors="replace")))
def test_whatever_comes_first_is_answered_or_not_believed(message: bytes) -> None:
    for challenge in (
        message,
        f"r={NONCE}".encode() + message,
        f"r={BOTH},s={SALT},i=4096".encode() + message,
    ):
        steps = scram(SHA_256, "user", "pencil", NONCE)
        try:
            said(steps, challenge)
        except MechanismFailed as error:
            assert str(error).isprintable()


@given(st.binary(max_size=80) | st.text(max_size=80).map(lambda text: text.encode(errors="replace")))
def test_whatever_comes_last_is_no_proof(message: bytes) -> None:
    for challenge in (message, b"v=" + message, b"v=" + b64encode(message)):
        steps = scram(SHA_256, "user", "pencil", NONCE)
        said(steps, FIRST.encode())
        with pytest.raises(MechanismFailed):
            steps.send(challenge)


@pytest.mark.parametrize("octet", range(32))
def test_a_signature_with_one_wrong_bit_is_no_proof(octet: int) -> None:
    wrong = bytearray(b64decode(PROOF))
    wrong[octet] ^= 1
    assert refusal(FIRST.encode(), b"v=" + b64encode(wrong)) == "The server signature doesn't match"


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"v=",
        b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl9",
        b"v=\xff",
        f"x=1,v={PROOF}".encode(),
        f"v={PROOF},v={PROOF}".encode(),
        f"V={PROOF}".encode(),
        f"v={PROOF}\0".encode(),
        FIRST.encode(),
        b"c=biws,r=%s,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        % BOTH.encode(),  # what we said ourselves
    ],
)
def test_a_last_message_that_is_none_is_no_proof(message: bytes) -> None:
    assert refusal(FIRST.encode(), message).isprintable()


def test_a_signature_of_another_exchange_is_no_proof() -> None:
    steps = scram(SHA_256, "user", "pencil", NONCE[::-1])
    said(steps, f"r={NONCE[::-1]}{BOTH[20:]},s={SALT},i=4096".encode())
    with pytest.raises(MechanismFailed, match="signature doesn't match"):
        steps.send(f"v={PROOF}".encode())


@pytest.mark.parametrize("before", [(), (FIRST.encode(),)])
@pytest.mark.parametrize("said", ["invalid-proof", "unknown-user", "made-up", "\x1b[2J"])
def test_an_error_of_the_server_is_told(before: tuple[bytes, ...], said: str) -> None:
    shown = said.replace("\x1b", "\\x1b")
    assert refusal(*before, f"e={said}".encode()) == f"the server gave up: {shown}"


# What cannot be said.


@pytest.mark.parametrize(
    "nonce", ["", "short", "fifteen-letters", "a comma, then no more", "a blank then no", "ü" * 20]
)
def test_a_nonce_must_be_long_and_plain(nonce: str) -> None:
    with pytest.raises(
        LocalProtocolError, match=r"^a nonce is at least 16 characters of printable ASCII, without commas$"
    ):
        next(scram(SHA_256, "user", "pencil", nonce))


def test_a_nonce_of_16_characters_will_do() -> None:
    assert said(scram(SHA_256, "user", "pencil", "sixteen-letters!")) == [b"n,,n=user,r=sixteen-letters!"]


@pytest.mark.parametrize(
    ("user", "password", "reason"),
    [
        ("", "hunter2", "the user name is empty"),
        ("user", "", "the password is empty"),
        ("user", "hunter2\0", "the password holds a NUL, or is not valid Unicode"),
        ("\N{SOFT HYPHEN}", "hunter2", "cannot be prepared for SCRAM-SHA-256: The username cannot be empty"),
        ("user", "hunter2\t", "cannot be prepared for SCRAM-SHA-256: control characters forbidden"),
        ("user", "hunter2\N{KEY}", "cannot be prepared for SCRAM-SHA-256: unassigned code points forbidden"),
    ],
)
def test_names_and_passwords_that_cannot_be_prepared_are_refused(
    user: str, password: str, reason: str
) -> None:
    with pytest.raises(LocalProtocolError, match=re.escape(reason) + "$") as caught:
        next(scram(SHA_256, user, password, NONCE))
    assert "hunter2" not in everything_of(caught.value)


# The package.


def test_it_is_there_with_the_package_and_without_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_supported()
    monkeypatch.setitem(sys.modules, "scramp", None)
    assert not is_supported()
    assert not is_supported(UNIQUE)


def test_bindings_of_some_types_are_there() -> None:
    assert is_supported(UNIQUE)
    assert is_supported(END_POINT)
    assert not is_supported(("tls-made-up", b"data"))
    assert not is_supported(("tls-unique", b""))
