"""Handshakes good and bad, and what flows inside TLS, under every runtime."""

from __future__ import annotations

import hashlib
import itertools
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from adapters.runtimes import LONG, Runtime, peer
from smtpstate._endpoints import Endpoint
from smtpstate._errors import DeadlinePassed, TlsFailed, TransportError
from smtpstate._requests import Clock, Connect, Handshake, Negotiated, Poll, Receive, Send, Steps
from smtpstate._tls import TlsClient

pytestmark = pytest.mark.usefixtures("nothing_left")

SHORT = 0.15  # seconds; for deadlines that pass

CA = trustme.CA()
OTHER_CA = trustme.CA()


@pytest.fixture(scope="session")
def root_ca(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file with the certificate that servers are trusted by."""
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    CA.cert_pem.write_to_path(path)
    return str(path)


@pytest.fixture
def trusting(root_ca: str) -> TlsClient:
    return TlsClient(root_ca=(root_ca,))


def server_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with certificate.private_key_and_cert_chain_pem.tempfile() as file:
        context.load_cert_chain(file)
    return context


MX = CA.issue_cert("mx.example")


@contextmanager
def tls_peer(
    serve: Callable[[ssl.SSLSocket], None],
    context: ssl.SSLContext | None = None,
    failures: list[OSError] | None = None,
) -> Generator[Endpoint, None, None]:
    """Serve inside TLS; a handshake that fails there is appended to ``failures``."""
    context = context or server_context(MX)

    def shake(sock: socket.socket) -> None:
        try:
            with context.wrap_socket(sock, server_side=True, suppress_ragged_eofs=False) as encrypted:
                serve(encrypted)
        except OSError as error:
            if failures is None:
                raise
            failures.append(error)

    with peer(shake) as endpoint:
        yield endpoint


def echo(sock: ssl.SSLSocket) -> None:
    while data := sock.recv(65536):
        sock.sendall(data)


def shake(
    endpoint: Endpoint, tls: TlsClient, clock: Clock, name: str = "mx.example", seconds: float = LONG
) -> Steps[Negotiated]:
    """Connect, and begin TLS."""
    yield from Connect(endpoint, None, clock() + LONG)
    return (yield from Handshake(name, tls, clock() + seconds))


def receive_exactly(count: int, clock: Clock) -> Steps[bytes]:
    received = b""
    while len(received) < count:
        data = yield from Receive(clock() + LONG)
        assert data
        received += data
    return received


def send_forever(clock: Clock) -> Steps[None]:
    while True:
        yield from Send(bytes(65536), clock() + LONG)


def test_a_good_handshake_says_what_was_negotiated(runtime: Runtime, trusting: TlsClient) -> None:
    context = server_context(MX)
    with tls_peer(echo, context) as endpoint:
        negotiated = runtime.drive(lambda clock: shake(endpoint, trusting, clock))
    assert negotiated.version == "TLSv1.3"
    assert negotiated.cipher == "TLS_AES_256_GCM_SHA384"
    assert negotiated.verified
    assert negotiated.certificate == ssl.PEM_cert_to_DER_cert(MX.cert_chain_pems[0].bytes().decode())
    assert "tls-unique" not in negotiated.bindings


def test_tls_1_2_has_the_binding_that_the_server_has(runtime: Runtime, trusting: TlsClient) -> None:
    context = server_context(MX)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    bindings: list[bytes | None] = []

    def serve(sock: ssl.SSLSocket) -> None:
        bindings.append(sock.get_channel_binding("tls-unique"))
        echo(sock)

    with tls_peer(serve, context) as endpoint:
        negotiated = runtime.drive(lambda clock: shake(endpoint, trusting, clock))
    assert negotiated.version == "TLSv1.2"
    assert [negotiated.bindings["tls-unique"]] == bindings


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_much_is_sent_and_received_inside_tls(
    runtime: Runtime, trusting: TlsClient, version: ssl.TLSVersion
) -> None:
    context = server_context(MX)
    context.maximum_version = version
    sent = bytes(range(256)) * 8000
    hashes: list[bytes] = []

    def serve(sock: ssl.SSLSocket) -> None:
        received = bytearray()
        while len(received) < len(sent):
            received.extend(sock.recv(65536))
        hashes.append(hashlib.sha256(received).digest())
        sock.sendall(received)

    with tls_peer(serve, context) as endpoint:

        def steps(clock: Clock) -> Steps[bytes]:
            yield from shake(endpoint, trusting, clock)
            for start in range(0, len(sent), 64000):
                yield from Send(sent[start : start + 64000], clock() + LONG)
            received = yield from receive_exactly(len(sent), clock)
            assert (yield from Receive(clock() + LONG)) == b""
            return received

        assert runtime.drive(steps) == sent
    assert hashes == [hashlib.sha256(sent).digest()]


def test_the_name_is_told_to_the_server(runtime: Runtime, trusting: TlsClient) -> None:
    names: list[str | None] = []
    context = server_context(MX)
    context.sni_callback = lambda sock, name, context: names.append(name)
    with tls_peer(echo, context) as endpoint:
        runtime.drive(lambda clock: shake(endpoint, trusting, clock, "mx.example."))
    assert names == ["mx.example"]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "fe80::1%lo"])
def test_an_address_is_checked_and_not_told(runtime: Runtime, trusting: TlsClient, address: str) -> None:
    names: list[str | None] = []
    context = server_context(CA.issue_cert("127.0.0.1", "::1", "fe80::1"))
    context.sni_callback = lambda sock, name, context: names.append(name)
    with tls_peer(echo, context) as endpoint:
        assert runtime.drive(lambda clock: shake(endpoint, trusting, clock, address)).verified
    assert names == [None]


YESTERDAY = datetime.now(UTC) - timedelta(days=1)
TOMORROW = datetime.now(UTC) + timedelta(days=1)

BAD_CERTIFICATES = {
    "unknown CA": (OTHER_CA.issue_cert("mx.example"), "unable to get local issuer certificate"),
    "wrong name": (
        CA.issue_cert("other.example"),
        "hostname mismatch, certificate is not valid for 'mx.example'",
    ),
    "only a common name": (CA.issue_cert("127.0.0.1", common_name="mx.example"), "hostname mismatch"),
    "no name at all": (CA.issue_cert(common_name="mx.example"), "empty Subject Alternative Name extension"),
    "expired": (CA.issue_cert("mx.example", not_after=YESTERDAY), "certificate has expired"),
    "not yet valid": (CA.issue_cert("mx.example", not_before=TOMORROW), "certificate is not yet valid"),
}


@pytest.mark.parametrize("kind", BAD_CERTIFICATES)
def test_a_bad_certificate_is_said_to_be_at_fault(runtime: Runtime, trusting: TlsClient, kind: str) -> None:
    certificate, why = BAD_CERTIFICATES[kind]
    failures: list[OSError] = []
    with tls_peer(echo, server_context(certificate), failures) as endpoint:
        with pytest.raises(TlsFailed, match=f"the server's certificate is refused: {why}") as caught:
            runtime.drive(lambda clock: shake(endpoint, trusting, clock))
        assert caught.value.certificate
    assert "alert" in str(failures)  # the server is told why


@pytest.mark.parametrize("kind", BAD_CERTIFICATES)
def test_any_certificate_is_good_enough_unverified(runtime: Runtime, kind: str) -> None:
    certificate, _ = BAD_CERTIFICATES[kind]
    with tls_peer(echo, server_context(certificate)) as endpoint:
        negotiated = runtime.drive(lambda clock: shake(endpoint, TlsClient(verify=False), clock))
    assert not negotiated.verified
    assert negotiated.certificate == ssl.PEM_cert_to_DER_cert(certificate.cert_chain_pems[0].bytes().decode())


def test_a_self_signed_certificate_is_said_to_be_at_fault(
    runtime: Runtime, trusting: TlsClient, tmp_path: Path
) -> None:
    """The other authority's own certificate, which nobody else has signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with OTHER_CA.private_key_pem.tempfile() as key, OTHER_CA.cert_pem.tempfile() as certificate:
        context.load_cert_chain(certificate, key)
    with (
        tls_peer(echo, context, []) as endpoint,
        pytest.raises(TlsFailed, match="self-signed certificate") as caught,
    ):
        runtime.drive(lambda clock: shake(endpoint, trusting, clock))
    assert caught.value.certificate


def test_versions_that_do_not_meet_are_no_fault_of_the_certificate(runtime: Runtime, root_ca: str) -> None:
    context = server_context(MX)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    tls = TlsClient(root_ca=(root_ca,), protocols=("tls1.3",))
    with (
        tls_peer(echo, context, []) as endpoint,
        pytest.raises(TlsFailed, match="protocol version") as caught,
    ):
        runtime.drive(lambda clock: shake(endpoint, tls, clock))
    assert not caught.value.certificate


def test_the_highest_version_is_obeyed(runtime: Runtime, root_ca: str) -> None:
    tls = TlsClient(root_ca=(root_ca,), protocols=("tls1.2", "tls1.2"))
    with tls_peer(echo) as endpoint:
        assert runtime.drive(lambda clock: shake(endpoint, tls, clock)).version == "TLSv1.2"


@pytest.mark.parametrize(
    "name",
    [
        "ECDHE-ECDSA-AES128-SHA256",
        "ECDHE-ECDSA-WITH-AES128-CBC-SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    ],
)
def test_ciphers_are_chosen_by_either_name(runtime: Runtime, root_ca: str, name: str) -> None:
    tls = TlsClient(root_ca=(root_ca,), protocols=("tls1.2", "tls1.2"), ciphers=(name,))
    context = server_context(MX)
    context.set_ciphers("ALL")
    with tls_peer(echo, context) as endpoint:
        assert runtime.drive(lambda clock: shake(endpoint, tls, clock)).cipher == "ECDHE-ECDSA-AES128-SHA256"


def test_a_curve_that_the_server_does_not_share_fails_the_handshake(runtime: Runtime, root_ca: str) -> None:
    context = server_context(MX)
    context.set_ecdh_curve("secp521r1")
    with tls_peer(echo, context, []) as endpoint:
        tls = TlsClient(root_ca=(root_ca,), curves=("p521",))
        assert runtime.drive(lambda clock: shake(endpoint, tls, clock)).verified
        with pytest.raises(TlsFailed) as caught:
            runtime.drive(
                lambda clock: shake(endpoint, TlsClient(root_ca=(root_ca,), curves=("p256",)), clock)
            )
        assert not caught.value.certificate


def drip(sock: socket.socket) -> None:
    """Send the beginning of a record that never ends."""
    with suppress(OSError):
        for octet in itertools.chain(b"\x16\x03\x03\x40\x00", itertools.repeat(0)):
            if sock.recv(1) == b"":
                return
            sock.sendall(bytes([octet]))
            threading.Event().wait(0.01)


def stall(sock: socket.socket) -> None:
    """Take the client's first words and say nothing."""
    while sock.recv(65536):
        pass


def babble(sock: socket.socket) -> None:
    sock.recv(1)
    with suppress(OSError):
        sock.sendall(b"250 go on\r\n" * 9)
        sock.recv(65536)


def close_in_the_middle(sock: socket.socket) -> None:
    sock.recv(65536)
    sock.sendall(b"\x16\x03\x03")


def reset(sock: socket.socket) -> None:
    sock.recv(1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


BAD_SERVERS: dict[str, tuple[Callable[[socket.socket], None], str]] = {
    "garbage": (babble, "^TLS failed: "),
    "closes at once": (lambda sock: None, "."),
    "closes in the middle": (close_in_the_middle, "^the server closed the connection in the middle of TLS$"),
    "resets": (reset, "^the handshake failed: cannot receive: connection reset by peer$"),
}


@pytest.mark.parametrize("kind", BAD_SERVERS)
def test_a_server_that_does_not_speak_tls_fails_the_handshake(
    runtime: Runtime, trusting: TlsClient, kind: str
) -> None:
    serve, why = BAD_SERVERS[kind]
    with peer(serve) as endpoint, pytest.raises(TlsFailed, match=why) as caught:
        runtime.drive(lambda clock: shake(endpoint, trusting, clock))
    assert not caught.value.certificate


@pytest.mark.parametrize("serve", [stall, drip])
def test_a_handshake_ends_at_its_deadline(
    runtime: Runtime, trusting: TlsClient, serve: Callable[[socket.socket], None]
) -> None:
    with peer(serve) as endpoint, pytest.raises(DeadlinePassed):
        runtime.drive(lambda clock: shake(endpoint, trusting, clock, seconds=SHORT))


def test_octets_before_the_handshake_fail_it(runtime: Runtime, trusting: TlsClient) -> None:
    sent = threading.Event()

    def serve(sock: socket.socket) -> None:
        sock.sendall(b"250 injected\r\n")
        sent.set()
        with suppress(ConnectionResetError):
            sock.recv(65536)

    with peer(serve) as endpoint:

        def steps(clock: Clock) -> Steps[Negotiated]:
            yield from Connect(endpoint, None, clock() + LONG)
            assert sent.wait(LONG)
            return (yield from Handshake("mx.example", trusting, clock() + LONG))

        with pytest.raises(TlsFailed, match=r"^octets arrived before the handshake$"):
            runtime.drive(steps)


def test_a_reset_before_the_handshake_fails_it(runtime: Runtime, trusting: TlsClient) -> None:
    closed = threading.Event()

    def serve(sock: socket.socket) -> None:
        assert sock.recv(1) == b"x"
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
        closed.set()

    with peer(serve) as endpoint:

        def steps(clock: Clock) -> Steps[Negotiated]:
            yield from Connect(endpoint, None, clock() + LONG)
            yield from Send(b"x", clock() + LONG)
            assert closed.wait(LONG)
            return (yield from Handshake("mx.example", trusting, clock() + LONG))

        with pytest.raises(
            TlsFailed, match=r"^the handshake failed: cannot receive: connection reset by peer$"
        ):
            runtime.drive(steps)


def test_a_handshake_can_follow_clear_text(runtime: Runtime, trusting: TlsClient) -> None:
    context = server_context(MX)

    def serve(sock: socket.socket) -> None:
        assert sock.recv(7) == b"begin\r\n"
        sock.sendall(b"ready\r\n")
        with context.wrap_socket(sock, server_side=True) as encrypted:
            echo(encrypted)

    with peer(serve) as endpoint:

        def steps(clock: Clock) -> Steps[bytes]:
            yield from Connect(endpoint, None, clock() + LONG)
            yield from Send(b"begin\r\n", clock() + LONG)
            assert (yield from receive_exactly(7, clock)) == b"ready\r\n"
            yield from Handshake("mx.example", trusting, clock() + LONG)
            yield from Send(b"secret", clock() + LONG)
            return (yield from receive_exactly(6, clock))

        assert runtime.drive(steps) == b"secret"


@pytest.mark.parametrize("name", ["", ".example", "a" * 300, "mx.example\0"])
def test_what_is_no_name_fails_the_handshake(runtime: Runtime, trusting: TlsClient, name: str) -> None:
    with (
        peer(lambda sock: None) as endpoint,
        pytest.raises(TlsFailed, match=r"cannot be the name of a TLS server$"),
    ):
        runtime.drive(lambda clock: shake(endpoint, trusting, clock, name))


@pytest.fixture
def identity(tmp_path: Path) -> tuple[str, str]:
    """Files of a client's certificate and key."""
    certificate = CA.issue_cert("client.example")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes(b"".join(pem.bytes() for pem in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(key)
    return str(cert), str(key)


def demanding() -> ssl.SSLContext:
    context = server_context(MX)
    context.load_verify_locations(cadata=CA.cert_pem.bytes().decode())
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def test_a_client_certificate_is_shown(runtime: Runtime, root_ca: str, identity: tuple[str, str]) -> None:
    tls = TlsClient(root_ca=(root_ca,), cert=identity[0], key=identity[1])

    def serve(sock: ssl.SSLSocket) -> None:
        certificate = sock.getpeercert()
        assert certificate
        sock.sendall(repr(certificate["subjectAltName"]).encode())

    with tls_peer(serve, demanding()) as endpoint:

        def steps(clock: Clock) -> Steps[bytes]:
            yield from shake(endpoint, tls, clock)
            return (yield from Receive(clock() + LONG))

        assert b"client.example" in runtime.drive(steps)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_missing_client_certificate_is_a_failure_of_tls(
    runtime: Runtime, trusting: TlsClient, version: ssl.TLSVersion
) -> None:
    """TLS 1.3 says so only after the client thinks that all is done (RFC 8446 §4.4.2.4)."""
    context = demanding()
    context.maximum_version = version
    with tls_peer(echo, context, []) as endpoint:

        def steps(clock: Clock) -> Steps[bytes]:
            yield from shake(endpoint, trusting, clock)
            return (yield from Receive(clock() + LONG))

        with pytest.raises(TlsFailed, match="alert") as caught:
            runtime.drive(steps)
    assert not caught.value.certificate


def test_poll_does_not_wait_inside_tls(runtime: Runtime, trusting: TlsClient) -> None:
    with tls_peer(echo) as endpoint:

        def steps(clock: Clock) -> Steps[tuple[bytes | None, bytes | None]]:
            yield from shake(endpoint, trusting, clock)
            nothing = yield from Poll()
            yield from Send(b"ping", clock() + LONG)
            ends = clock() + LONG
            while (data := (yield from Poll())) is None:
                assert clock() < ends
            return nothing, data

        assert runtime.drive(steps) == (None, b"ping")


def test_last_words_inside_tls_can_be_polled_after_a_failed_send(
    runtime: Runtime, trusting: TlsClient
) -> None:
    closed = threading.Event()

    def serve(sock: ssl.SSLSocket) -> None:
        sock.recv(2)
        sock.sendall(b"last words")
        sock.close()  # with octets unread, this resets
        closed.set()

    with tls_peer(serve) as endpoint:

        def steps(clock: Clock) -> Steps[bytes | None]:
            yield from shake(endpoint, trusting, clock)
            yield from Send(bytes(40_000), clock() + LONG)
            assert closed.wait(LONG)
            with pytest.raises(
                TransportError, match=r"^cannot send: (broken pipe|connection reset by peer)$"
            ):
                yield from send_forever(clock)
            return (yield from Poll())

        assert runtime.drive(steps) == b"last words"


@pytest.mark.parametrize("polite", [True, False])
def test_the_end_of_tls_is_the_end_of_the_stream(runtime: Runtime, trusting: TlsClient, polite: bool) -> None:
    def serve(sock: ssl.SSLSocket) -> None:
        sock.sendall(b"words")
        if polite:
            sock.unwrap().close()
        else:
            sock.shutdown(socket.SHUT_RDWR)

    with tls_peer(serve, failures=[]) as endpoint:

        def steps(clock: Clock) -> Steps[list[bytes | None]]:
            yield from shake(endpoint, trusting, clock)
            yield from receive_exactly(5, clock)
            return [(yield from Receive(clock() + LONG)), (yield from Poll())]

        assert runtime.drive(steps) == [b"", b""]


def test_what_breaks_tls_later_is_a_failure_of_tls(runtime: Runtime, trusting: TlsClient) -> None:
    def serve(sock: ssl.SSLSocket) -> None:
        sock.recv(1)
        with socket.socket(fileno=sock.detach()) as clear:
            clear.sendall(b"250 in the clear\r\n")
            clear.recv(65536)

    with tls_peer(serve, failures=[]) as endpoint:

        def steps(clock: Clock) -> Steps[None]:
            yield from shake(endpoint, trusting, clock)
            yield from Send(b"x", clock() + LONG)
            with pytest.raises(TlsFailed, match=r"^TLS failed: "):
                yield from Receive(clock() + LONG)
            yield from Send(b"y", clock() + LONG)

        with pytest.raises(TlsFailed):
            runtime.drive(steps)


def test_closing_says_farewell(runtime: Runtime, trusting: TlsClient) -> None:
    ends: list[bytes] = []

    def serve(sock: ssl.SSLSocket) -> None:
        ends.append(sock.recv(1))

    with tls_peer(serve) as endpoint:
        runtime.drive(lambda clock: shake(endpoint, trusting, clock))
    assert ends == [b""]


def test_a_send_that_broke_off_in_the_middle_of_a_record_is_not_followed_by_a_farewell(
    runtime: Runtime, trusting: TlsClient
) -> None:
    ends: list[OSError] = []
    done = threading.Event()

    def serve(sock: ssl.SSLSocket) -> None:
        assert done.wait(LONG)
        while sock.recv(65536):
            pass

    with tls_peer(serve, failures=ends) as endpoint:

        def steps(clock: Clock) -> Steps[None]:
            yield from shake(endpoint, trusting, clock)
            yield from Send(bytes(50_000_000), clock() + SHORT)

        with pytest.raises(DeadlinePassed):
            runtime.drive(steps)
        done.set()
    (end,) = ends  # neither a good end nor a broken record
    assert isinstance(end, (ssl.SSLEOFError, ConnectionResetError))
