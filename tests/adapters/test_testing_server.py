"""Model servers on real sockets, seen through plain sockets."""

from __future__ import annotations

import os
import socket
import ssl
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import trustme

from smtpstate import TransportError
from smtpstate.testing import Accounts, Exchange, ModelServer, octet_by_octet, on
from smtpstate_testing import Served, serve

GREETING = b"220 mx.example SMTP ready\r\n"
SOURCE = Path(__file__).parent.parent.parent / "src"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    with authority.issue_cert("mx.example").private_key_and_cert_chain_pem.tempfile() as path:
        context.load_cert_chain(path)
    return context


@pytest.fixture(scope="module")
def client_context(authority: trustme.CA) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def dial(served: Served) -> socket.socket:
    """Connect to a server."""
    if served.endpoint.startswith("unix"):
        sock = socket.socket(socket.AF_UNIX)
        path = served.endpoint.removeprefix("unix://").removeprefix("unix:")
        sock.settimeout(20)
        sock.connect(f"\0{path[1:]}" if path.startswith("@") else path)
        return sock
    host = served.endpoint.partition("://")[2].rpartition(":")[0].strip("[]")
    return socket.create_connection((host, served.port), timeout=20)


def hear(sock: socket.socket, octets: bytes) -> None:
    """Check that ``octets`` come, however they are cut."""
    heard = b""
    while len(heard) < len(octets) and (part := sock.recv(len(octets) - len(heard))):
        heard += part
    assert heard == octets


def tell(sock: socket.socket, line: bytes, answer: bytes) -> None:
    sock.sendall(line + b"\r\n")
    hear(sock, answer + b"\r\n")


def deliver(sock: socket.socket) -> None:
    hear(sock, GREETING)
    tell(sock, b"EHLO a.example", b"250 mx.example greets a.example")
    tell(sock, b"MAIL FROM:<a@x>", b"250 2.1.0 sender ok")
    tell(sock, b"RCPT TO:<b@y>", b"250 2.1.5 recipient ok")
    tell(sock, b"DATA", b"354 end with a lone dot")
    tell(sock, b"hello\r\n.", b"250 2.0.0 message accepted")
    tell(sock, b"QUIT", b"221 2.0.0 goodbye")
    assert sock.recv(1) == b""


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_server_is_reached_by_tcp(host: str) -> None:
    server = ModelServer()
    with serve(server, host=host) as served, dial(served) as sock:
        assert served.endpoint == f"tcp://{'[::1]' if ':' in host else host}:{served.port}"
        deliver(sock)
    assert server.messages[0].content == b"hello\r\n"
    assert server.violations == []


def test_a_server_is_reached_by_a_unix_socket(tmp_path: Path) -> None:
    server = ModelServer()
    with serve(server, unix_path=tmp_path / "mx") as served, dial(served) as sock:
        assert (served.endpoint, served.port) == (f"unix://{tmp_path}/mx", 0)
        deliver(sock)
    assert len(server.messages) == 1
    assert not (tmp_path / "mx").exists()


def test_a_server_is_reached_in_the_abstract_namespace() -> None:
    server = ModelServer()
    name = f"@smtpstate-{os.getpid()}"
    with serve(server, unix_path=name) as served, dial(served) as sock:
        assert served.endpoint == f"unix:{name}"
        deliver(sock)


def test_a_server_that_cannot_listen_leaves_nothing_open(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), serve(ModelServer(), unix_path=tmp_path / "missing" / "mx"):
        pass


def test_starttls(server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    server = ModelServer(extensions=("STARTTLS",))
    with serve(server, tls=server_context) as served, dial(served) as plain:
        hear(plain, GREETING)
        tell(plain, b"EHLO a", b"250-mx.example greets a\r\n250 STARTTLS")
        tell(plain, b"STARTTLS", b"220 2.0.0 ready for TLS")
        with client_context.wrap_socket(plain, server_hostname="mx.example") as sock:
            tell(sock, b"EHLO a", b"250 mx.example greets a")
            tell(sock, b"QUIT", b"221 2.0.0 goodbye")
            assert sock.recv(1) == b""  # and not an error: the server said goodbye to TLS too
    assert server.connections[0].session.tls
    assert server.violations == []


def test_implicit_tls(server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    server = ModelServer(implicit_tls=True)
    with serve(server, tls=server_context) as served, dial(served) as plain:
        assert served.endpoint == f"tls://127.0.0.1:{served.port}"
        with client_context.wrap_socket(plain, server_hostname="mx.example") as sock:
            deliver(sock)
    assert server.messages[0].tls


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_model_knows_the_channel_binding(
    version: ssl.TLSVersion, server_context: ssl.SSLContext, authority: trustme.CA
) -> None:
    context = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
    context.minimum_version = context.maximum_version = version
    server = ModelServer(implicit_tls=True)
    with (
        serve(server, tls=server_context) as served,
        dial(served) as plain,
        context.wrap_socket(plain, server_hostname="mx.example") as sock,
    ):
        hear(sock, GREETING)
        unique = sock.get_channel_binding("tls-unique")
    expected = {"tls-unique": unique} if version is ssl.TLSVersion.TLSv1_2 else {}
    assert server.connections[0].session.bindings == expected


def test_much_goes_through_tls_both_ways(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    server = ModelServer(implicit_tls=True, rules=[on("HELP").say(b"x" * 1_000_000)])
    with (
        serve(server, tls=server_context) as served,
        dial(served) as plain,
        client_context.wrap_socket(plain, server_hostname="mx.example") as sock,
    ):
        hear(sock, GREETING)
        tell(sock, b"EHLO a", b"250 mx.example greets a")
        tell(sock, b"MAIL FROM:<a@x>", b"250 2.1.0 sender ok")
        tell(sock, b"RCPT TO:<b@y>", b"250 2.1.5 recipient ok")
        tell(sock, b"DATA", b"354 end with a lone dot")
        tell(sock, b"y" * 1_000_000 + b"\r\n.", b"250 2.0.0 message accepted")
        sock.sendall(b"HELP\r\n")
        hear(sock, b"x" * 1_000_000)
    assert server.messages[0].size == 1_000_002


def test_a_client_that_does_not_trust_the_server_harms_nobody(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    with serve(ModelServer(implicit_tls=True), tls=server_context) as served:
        with dial(served) as plain, pytest.raises(ssl.SSLCertVerificationError):
            client_context.wrap_socket(plain, server_hostname="other.example")
        with dial(served) as plain:
            plain.sendall(b"EHLO in.clear\r\n")
            assert plain.recv(100)[:1] in (b"\x15", b"")  # an alert, or nothing
        with dial(served) as plain, client_context.wrap_socket(plain, server_hostname="mx.example") as sock:
            deliver(sock)


def test_tls_needs_a_context() -> None:
    def converse() -> None:
        with serve(ModelServer(extensions=("STARTTLS",))) as served, dial(served) as sock:
            hear(sock, GREETING)
            tell(sock, b"EHLO a", b"250-mx.example greets a\r\n250 STARTTLS")
            tell(sock, b"STARTTLS", b"220 2.0.0 ready for TLS")
            assert sock.recv(1) == b""

    with pytest.raises(ValueError, match="serve it with tls="):
        converse()


def test_what_goes_wrong_in_a_mechanism_comes_out_of_serve() -> None:
    def broken(accounts: Accounts) -> Exchange:
        raise ZeroDivisionError

    server = ModelServer(extensions=("AUTH BROKEN",), mechanisms={"BROKEN": broken})

    def converse() -> None:
        with serve(server) as served, dial(served) as sock:
            hear(sock, GREETING)
            tell(sock, b"EHLO a", b"250-mx.example greets a\r\n250 AUTH BROKEN")
            sock.sendall(b"AUTH BROKEN\r\n")
            assert sock.recv(1) == b""

    with pytest.raises(ZeroDivisionError):
        converse()


def test_a_reset_is_a_reset() -> None:
    with serve(ModelServer(rules=[on("NOOP").reply(250).reset()])) as served, dial(served) as sock:
        hear(sock, GREETING)
        tell(sock, b"NOOP", b"250 ")
        with pytest.raises(ConnectionResetError):
            sock.recv(1)


def wait_for_a_reset(served: Served) -> None:
    """Connect; the reset comes meanwhile or after it, as the system likes."""
    with dial(served) as sock:
        sock.recv(1)


def test_a_refused_connection_is_reset() -> None:
    with serve(ModelServer(rules=[on("connect", occurrence=1).refuse(TransportError("no"))])) as served:
        with pytest.raises(ConnectionResetError):
            wait_for_a_reset(served)
        with dial(served) as sock:
            deliver(sock)


def test_a_refused_handshake_is_a_reset(server_context: ssl.SSLContext) -> None:
    server = ModelServer(implicit_tls=True, rules=[on("tls").refuse()])
    with serve(server, tls=server_context) as served, pytest.raises(ConnectionResetError):
        wait_for_a_reset(served)


def test_a_reset_within_tls(server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    server = ModelServer(implicit_tls=True, rules=[on("NOOP").reset()])
    with (
        serve(server, tls=server_context) as served,
        dial(served) as plain,
        client_context.wrap_socket(plain, server_hostname="mx.example") as sock,
    ):
        hear(sock, GREETING)
        sock.sendall(b"NOOP\r\n")
        # The ssl module may show a reset as an end of stream, so look below it.
        with socket.socket(fileno=os.dup(sock.fileno())) as below:
            below.settimeout(20)
            with pytest.raises(ConnectionResetError):
                below.recv(1)


def test_a_silent_server_reads_on_and_keeps_the_connection() -> None:
    with serve(ModelServer(rules=[on("NOOP").silence()])) as served, dial(served) as sock:
        hear(sock, GREETING)
        sock.sendall(b"NOOP\r\n" + b"x" * 10_000_000)  # more than any buffer holds
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recv(1)


def send_for_ever(sock: socket.socket) -> None:
    while True:
        sock.send(b"x" * 65536)


def test_a_server_that_stops_reading_lets_the_buffers_fill() -> None:
    with serve(ModelServer(rules=[on("NOOP").stop_reading()]), buffers=4096) as served, dial(served) as sock:
        hear(sock, GREETING)
        sock.sendall(b"NOOP\r\n")
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            send_for_ever(sock)


def test_a_server_can_take_its_time_and_be_stopped_meanwhile() -> None:
    rules = [on("NOOP").delay(0.01), on("HELP").delay(3600)]
    with serve(ModelServer(rules=rules)) as served, dial(served) as sock:
        hear(sock, GREETING)
        tell(sock, b"NOOP", b"250 2.0.0 ok")
        sock.sendall(b"HELP\r\n")
    assert served.failures == []


def test_what_is_said_can_be_cut_into_octets() -> None:
    with serve(ModelServer(), split=octet_by_octet) as served, dial(served) as sock:
        deliver(sock)


def test_a_client_that_resets_harms_nobody() -> None:
    server = ModelServer()
    with serve(server) as served:
        with dial(served) as sock:
            hear(sock, GREETING)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with dial(served) as sock:
            deliver(sock)
    assert len(server.messages) == 1


def test_many_connections_are_served_at_once() -> None:
    server = ModelServer()
    with serve(server) as served:
        socks = [dial(served) for _ in range(50)]
        for sock in reversed(socks):
            with closing(sock):
                deliver(sock)
    assert len(server.messages) == 50
    assert server.violations == []


def test_leaving_the_block_ends_connections_that_are_open() -> None:
    with serve(ModelServer()) as served:
        sock = dial(served)
        hear(sock, GREETING)
    with sock:
        assert sock.recv(1) == b""
        with pytest.raises(OSError, match="refused"):
            dial(served)


USER_TEST = """
import socket

from smtpstate.testing import ModelServer, on

def talk(endpoint):
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=20) as sock, sock.makefile("rwb") as file:
        greeting = file.readline()
        file.write(b"QUIT\\r\\n")
        file.flush()
        return greeting, file.read()

def test_smtp(smtp_server):
    served = smtp_server(rules=[on("QUIT").reply(221, "see you").close()])
    assert talk(served.endpoint) == (b"220 mx.example SMTP ready\\r\\n", b"221 see you\\r\\n")
    assert served.server.commands == ["QUIT"]

def test_lmtp_and_more_than_one(lmtp_server, tmp_path):
    first = lmtp_server(users={"user": "password"})
    second = lmtp_server(ModelServer(name="other.example"))
    third = lmtp_server(unix_path=tmp_path / "lmtp")
    assert talk(first.endpoint)[0] == b"220 mx.example LMTP ready\\r\\n"
    assert talk(second.endpoint)[0] == b"220 other.example SMTP ready\\r\\n"
    assert third.endpoint == f"unix://{tmp_path}/lmtp"
"""


def test_the_fixtures_serve_as_long_as_the_test(tmp_path: Path) -> None:
    (tmp_path / "test_user.py").write_text(USER_TEST)
    paths = os.pathsep.join([str(SOURCE), str(SOURCE / "adapters")])
    command = [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "smtpstate_testing.pytest_plugin"]
    run = subprocess.run(
        [*command, "-p", "no:cacheprovider", "test_user.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "2 passed" in run.stdout, run.stdout + run.stderr
