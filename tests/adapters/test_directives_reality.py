"""Servers whose TLS is not as it should be, and what becomes of a message that was to go there."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

import pytest
import trustme

from adapters.directives import (
    CA,
    MESSAGE,
    OTHER_CA,
    WAITING,
    D,
    F,
    deliver,
    only_outcome,
    server_context,
    statuses,
)
from adapters.runtimes import Runtime, peer, swallow
from smtpstate import DeadlinePassed, Delivery, TlsFailed
from smtpstate.testing import ModelServer
from smtpstate_testing import serve

pytestmark = pytest.mark.usefixtures("nothing_left")

YESTERDAY = datetime.now(UTC) - timedelta(days=1)
TOMORROW = datetime.now(UTC) + timedelta(days=1)


def self_signed() -> ssl.SSLContext:
    """Return a context whose certificate nobody else has signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with OTHER_CA.private_key_pem.tempfile() as key, OTHER_CA.cert_pem.tempfile() as certificate:
        context.load_cert_chain(certificate, key)
    return context


BAD_CERTIFICATES: dict[str, tuple[ssl.SSLContext, str]] = {
    "expired": (server_context(CA.issue_cert("127.0.0.1", not_after=YESTERDAY)), "has expired"),
    "not yet valid": (server_context(CA.issue_cert("127.0.0.1", not_before=TOMORROW)), "not yet valid"),
    "wrong name": (server_context(CA.issue_cert("mx.example")), "address mismatch"),
    "wrong address": (server_context(CA.issue_cert("127.0.0.2")), "address mismatch"),
    "self-signed": (self_signed(), "self-signed certificate"),
    "unknown CA": (server_context(OTHER_CA.issue_cert("127.0.0.1")), "local issuer certificate"),
}


@pytest.fixture(scope="session")
def trusting() -> Iterator[str]:
    """The directives for a client that trusts our servers."""
    with CA.cert_pem.tempfile() as path:
        yield f"tls_client {{\nroot_ca {path}\n}}"


@pytest.fixture(params=BAD_CERTIFICATES)
def bad(request: pytest.FixtureRequest) -> tuple[ssl.SSLContext, str]:
    """What a server with a bad certificate shakes hands with, and what is to be said of it."""
    return BAD_CERTIFICATES[request.param]


def deliver_to_bad(
    runtime: Runtime, context: ssl.SSLContext, directives: str, *, implicit: bool = False
) -> tuple[Delivery, ModelServer]:
    offered = ["PIPELINING", "AUTH PLAIN"]
    server = ModelServer(
        extensions=offered if implicit else ["STARTTLS"],
        tls_extensions=offered,
        implicit_tls=implicit,
        users={"alice": "pass-word"},
    )
    with serve(server, tls=context) as served:
        delivery = deliver(runtime, served.endpoint, directives)
    assert server.violations == []
    return delivery, server


def check_refused(delivery: Delivery, server: ModelServer, why: str) -> None:
    """The certificate ended the only attempt, and nothing of the message was sent."""
    outcome = only_outcome(delivery)
    assert (outcome.status, outcome.phase.value, str(outcome.reply.enhanced)) == (F, "tls", "4.7.5")
    assert isinstance(outcome.error, TlsFailed)
    assert outcome.error.certificate
    assert why in str(outcome.error)
    assert len(server.connections) == len(delivery.attempts) == 1
    assert server.commands[2:] == []  # EHLO and STARTTLS, if anything


def test_a_bad_certificate_is_settled_for_on_a_new_connection(
    runtime: Runtime, trusting: str, bad: tuple[ssl.SSLContext, str]
) -> None:
    context, why = bad
    delivery, server = deliver_to_bad(runtime, context, trusting)
    assert statuses(delivery) == [D, D]
    assert [(message.tls, message.connection) for message in server.messages] == [(True, 2)]
    first, second = delivery.attempts
    assert why in str(first.error)
    assert first.tls is None
    assert second.tls is not None
    assert not second.tls.verified


def test_a_bad_certificate_ends_the_endpoint_where_tls_is_required(
    runtime: Runtime, trusting: str, bad: tuple[ssl.SSLContext, str]
) -> None:
    context, why = bad
    delivery, server = deliver_to_bad(runtime, context, f"require_tls yes\n{trusting}")
    check_refused(delivery, server, why)


def test_a_bad_certificate_ends_an_endpoint_of_implicit_tls(
    runtime: Runtime, trusting: str, bad: tuple[ssl.SSLContext, str]
) -> None:
    context, why = bad
    delivery, server = deliver_to_bad(runtime, context, trusting, implicit=True)
    check_refused(delivery, server, why)


def test_a_bad_certificate_gets_no_credentials(
    runtime: Runtime, trusting: str, bad: tuple[ssl.SSLContext, str]
) -> None:
    context, why = bad
    delivery, server = deliver_to_bad(runtime, context, f"auth plain alice pass-word\n{trusting}")
    outcome = only_outcome(delivery)
    assert outcome.status is F
    assert why in str(outcome.error)
    assert len(server.connections) == 1
    assert not any(command.startswith("AUTH") for command in server.commands)


@pytest.mark.parametrize(
    "certificate",
    [
        CA.issue_cert("127.0.0.1"),
        CA.issue_cert("mx.example", "127.0.0.1", "::1"),
        CA.issue_cert("127.0.0.1", common_name="mx.example"),
    ],
    ids=["alone", "among others", "beside a common name"],
)
def test_an_address_in_the_certificate_is_verified(
    runtime: Runtime, trusting: str, certificate: trustme.LeafCert
) -> None:
    delivery, server = deliver_to_bad(runtime, server_context(certificate), f"require_tls yes\n{trusting}")
    assert statuses(delivery) == [D, D]
    assert len(server.connections) == 1


def test_an_address_as_common_name_alone_is_not_verified(runtime: Runtime, trusting: str) -> None:
    context = server_context(CA.issue_cert("mx.example", common_name="127.0.0.1"))
    delivery, server = deliver_to_bad(runtime, context, f"require_tls yes\n{trusting}")
    check_refused(delivery, server, "address mismatch")


def test_a_server_of_tls_1_2_only_is_good_enough(runtime: Runtime, trusting: str) -> None:
    context = server_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    delivery, _ = deliver_to_bad(runtime, context, f"require_tls yes\n{trusting}")
    assert statuses(delivery) == [D, D]
    [attempt] = delivery.attempts
    assert attempt.tls is not None
    assert (attempt.tls.version, attempt.tls.verified) == ("TLSv1.2", True)


# Handshakes that come to nothing.


def babble(sock: socket.socket) -> None:
    sock.recv(1)
    with suppress(OSError):
        sock.sendall(b"250 go on\r\n" * 9)
        swallow(sock)


def close(sock: socket.socket) -> None:
    sock.recv(65536)


def close_in_the_middle(sock: socket.socket) -> None:
    sock.recv(65536)
    sock.sendall(b"\x16\x03\x03")


def reset(sock: socket.socket) -> None:
    sock.recv(1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def no_common_suite(sock: socket.socket) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # which has no certificate at all
    with suppress(OSError):
        context.wrap_socket(sock, server_side=True)


def answer(line: bytes) -> bytes:
    """Return what a simple server that offers STARTTLS says."""
    verb = line[:4].upper()
    if verb == b"EHLO":
        return b"250-mx.example\r\n250 STARTTLS\r\n"
    return {b"STAR": b"220 go ahead\r\n", b"DATA": b"354 go ahead\r\n"}.get(verb, b"250 fine\r\n")


@contextmanager
def breaking(misbehave: Callable[[socket.socket], None]) -> Generator[tuple[str, list[bytes]], None, None]:
    """Serve mail, but for the handshakes; yield where, and the list of lines that come."""
    lines: list[bytes] = []

    def converse(sock: socket.socket) -> None:
        sock.sendall(b"220 mx.example\r\n")
        in_message = False
        with sock.makefile("rb", buffering=0) as stream:
            for line in stream:
                lines.append(line)
                if in_message and line != b".\r\n":
                    continue
                in_message = line == b"DATA\r\n"
                sock.sendall(answer(line))
                if line == b"STARTTLS\r\n":
                    misbehave(sock)
                    return

    with peer(converse) as endpoint:
        yield str(endpoint), lines


BREAKS = [babble, close, close_in_the_middle, reset, no_common_suite]


@pytest.mark.parametrize("misbehave", BREAKS)
def test_a_broken_handshake_means_a_new_connection_in_clear(
    runtime: Runtime, misbehave: Callable[[socket.socket], None]
) -> None:
    with breaking(misbehave) as (endpoint, lines):
        delivery = deliver(runtime, endpoint, "pipelining no")
    assert statuses(delivery) == [D, D]
    first, second = delivery.attempts
    assert isinstance(first.error, TlsFailed)
    assert not first.error.certificate
    assert second.tls is None
    assert lines.count(b"STARTTLS\r\n") == 1
    assert b"".join(lines).count(MESSAGE.partition(b"\r\n")[0]) == 1


@pytest.mark.parametrize("misbehave", BREAKS)
def test_a_broken_handshake_ends_the_endpoint_where_tls_is_required(
    runtime: Runtime, misbehave: Callable[[socket.socket], None]
) -> None:
    with breaking(misbehave) as (endpoint, lines):
        delivery = deliver(runtime, endpoint, "require_tls yes")
    outcome = only_outcome(delivery)
    assert (outcome.status, outcome.phase.value, str(outcome.reply.enhanced)) == (F, "tls", "4.7.5")
    assert len(delivery.attempts) == 1
    assert lines[1:] == [b"STARTTLS\r\n"]


@pytest.mark.parametrize("misbehave", BREAKS)
def test_a_broken_handshake_ends_an_endpoint_of_implicit_tls(
    runtime: Runtime, misbehave: Callable[[socket.socket], None]
) -> None:
    with peer(misbehave, scheme="tls") as endpoint:
        delivery = deliver(runtime, str(endpoint))
    outcome = only_outcome(delivery)
    assert (outcome.status, outcome.phase.value, str(outcome.reply.enhanced)) == (F, "tls", "4.7.5")
    assert len(delivery.attempts) == 1


@pytest.mark.parametrize("runtime", WAITING, ids=repr)
def test_a_stalled_handshake_means_a_new_connection_in_clear(runtime: Runtime) -> None:
    with breaking(swallow) as (endpoint, lines):
        delivery = deliver(runtime, endpoint, "command_timeout 500ms")
    assert statuses(delivery) == [D, D]
    first, second = delivery.attempts
    assert isinstance(first.error, DeadlinePassed)
    assert second.tls is None
    assert lines.count(b"STARTTLS\r\n") == 1
