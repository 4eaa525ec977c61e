"""Whether and how TLS is used: each directive's effect on the wire."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from adapters.directives import (
    CA,
    ENVELOPE,
    MESSAGE,
    OTHER_CA,
    D,
    F,
    deliver,
    only_outcome,
    server_context,
    statuses,
)
from adapters.runtimes import Runtime
from smtpstate import ConfigError, Delivery, Negotiated, TargetConfig, TlsClient
from smtpstate.testing import ModelServer
from smtpstate_testing import serve

pytestmark = pytest.mark.usefixtures("nothing_left")


@pytest.fixture(scope="session")
def root_ca() -> Iterator[str]:
    """A file with the certificate that servers are trusted by."""
    with CA.cert_pem.tempfile() as path:
        yield path


@pytest.fixture(scope="session")
def identity() -> Iterator[str]:
    """The directives for a client's certificate and key."""
    certificate = CA.issue_cert("client.example")
    with ExitStack() as stack:
        cert = stack.enter_context(certificate.cert_chain_pems[0].tempfile())
        key = stack.enter_context(certificate.private_key_pem.tempfile())
        yield f"cert {cert}\nkey {key}"


def block(*options: str) -> str:
    return "\n".join(("tls_client {", *options, "}"))


def delivered_inside_tls(
    runtime: Runtime, context: ssl.SSLContext, directives: str, endpoint: str = ""
) -> tuple[Delivery, ModelServer]:
    """Deliver to a server that offers STARTTLS."""
    server = ModelServer(extensions=["STARTTLS", "PIPELINING"])
    with serve(server, tls=context) as served:
        return deliver(runtime, endpoint or served.endpoint, directives), server


def negotiated(delivery: Delivery, server: ModelServer) -> Negotiated:
    """Return what TLS of the only connection came to, on which the message must have been delivered."""
    assert statuses(delivery) == [D, D]
    assert [message.tls for message in server.messages] == [True]
    [attempt] = delivery.attempts
    assert attempt.tls is not None
    return attempt.tls


def check_nothing_was_sent(delivery: Delivery, server: ModelServer) -> None:
    outcome = only_outcome(delivery)
    assert (outcome.status, outcome.phase.value, str(outcome.reply.enhanced)) == (F, "tls", "4.7.5")
    assert not any(command.startswith("MAIL") for command in server.commands)


@pytest.mark.parametrize(
    ("directive", "protocol", "encrypted"),
    [
        ("", "smtp", True),
        ("attempt_starttls yes", "smtp", True),
        ("attempt_starttls no", "smtp", False),
        ("", "lmtp", False),
        ("attempt_starttls yes", "lmtp", True),
    ],
)
def test_attempt_starttls_uses_starttls_where_it_is_offered(
    runtime: Runtime, root_ca: str, directive: str, protocol: str, encrypted: bool
) -> None:
    server = ModelServer(protocol, ["STARTTLS"])
    with serve(server, tls=server_context()) as served:
        directives = f"{directive}\n{block(f'root_ca {root_ca}')}"
        delivery = deliver(runtime, served.endpoint, directives, protocol=protocol)
    assert statuses(delivery) == [D, D]
    assert [message.tls for message in server.messages] == [encrypted]
    assert ("STARTTLS" in server.commands) == encrypted


@pytest.mark.parametrize("directive", ["require_tls yes", "require_tls yes\nattempt_starttls no"])
def test_require_tls_sends_inside_verified_tls(runtime: Runtime, root_ca: str, directive: str) -> None:
    directives = f"{directive}\n{block(f'root_ca {root_ca}')}"
    assert negotiated(*delivered_inside_tls(runtime, server_context(), directives)).verified


@pytest.mark.parametrize("offer", [[], ["STARTTLS"]], ids=["not offered", "not trusted"])
def test_require_tls_sends_nothing_without_it(runtime: Runtime, root_ca: str, offer: list[str]) -> None:
    server = ModelServer(extensions=offer)
    with serve(server, tls=server_context(OTHER_CA.issue_cert("127.0.0.1"))) as served:
        delivery = deliver(runtime, served.endpoint, f"require_tls yes\n{block(f'root_ca {root_ca}')}")
    check_nothing_was_sent(delivery, server)


@pytest.mark.parametrize("directive", ["", "require_tls no"])
def test_require_tls_no_goes_on_in_clear_where_tls_is_not_offered(runtime: Runtime, directive: str) -> None:
    server = ModelServer()
    with serve(server) as served:
        delivery = deliver(runtime, served.endpoint, directive)
    assert statuses(delivery) == [D, D]
    assert [message.tls for message in server.messages] == [False]


@pytest.mark.parametrize(
    ("protocols", "version"), [("tls1.2", "TLSv1.3"), ("tls1.2 tls1.2", "TLSv1.2"), ("tls1.3", "TLSv1.3")]
)
def test_tls_client_protocols_bounds_the_version(
    runtime: Runtime, root_ca: str, protocols: str, version: str
) -> None:
    directives = block(f"root_ca {root_ca}", f"protocols {protocols}")
    assert negotiated(*delivered_inside_tls(runtime, server_context(), directives)).version == version


def test_tls_client_protocols_refuses_a_server_of_older_versions(runtime: Runtime, root_ca: str) -> None:
    context = server_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    directives = f"require_tls yes\n{block(f'root_ca {root_ca}', 'protocols tls1.3')}"
    check_nothing_was_sent(*delivered_inside_tls(runtime, context, directives))


@pytest.mark.parametrize(
    "name", ["ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-WITH-AES256-GCM-SHA384"], ids=["OpenSSL", "other"]
)
def test_tls_client_ciphers_chooses_the_suite(runtime: Runtime, root_ca: str, name: str) -> None:
    directives = block(f"root_ca {root_ca}", "protocols tls1.2 tls1.2", f"ciphers {name}")
    tls = negotiated(*delivered_inside_tls(runtime, server_context(), directives))
    assert tls.cipher == "ECDHE-ECDSA-AES256-GCM-SHA384"


@pytest.mark.parametrize(("curve", "agreed"), [("p521", True), ("p256", False)])
def test_tls_client_curves_must_be_shared(runtime: Runtime, root_ca: str, curve: str, agreed: bool) -> None:
    context = server_context()
    context.set_ecdh_curve("secp521r1")
    directives = f"require_tls yes\n{block(f'root_ca {root_ca}', f'curves {curve}')}"
    delivery, server = delivered_inside_tls(runtime, context, directives)
    if agreed:
        assert negotiated(delivery, server).verified
    else:
        check_nothing_was_sent(delivery, server)


def test_tls_client_root_ca_replaces_whom_the_system_trusts(runtime: Runtime, root_ca: str) -> None:
    directives = f"require_tls yes\n{block(f'root_ca {root_ca}')}"
    assert negotiated(*delivered_inside_tls(runtime, server_context(), directives)).verified
    check_nothing_was_sent(*delivered_inside_tls(runtime, server_context(), "require_tls yes"))


def test_tls_client_root_ca_takes_several_files(runtime: Runtime, root_ca: str) -> None:
    context = server_context(OTHER_CA.issue_cert("127.0.0.1"))
    with OTHER_CA.cert_pem.tempfile() as other:
        directives = f"require_tls yes\n{block(f'root_ca {root_ca} {other}')}"
        assert negotiated(*delivered_inside_tls(runtime, context, directives)).verified


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_client_cert_and_key_are_shown_to_the_server(
    runtime: Runtime, root_ca: str, identity: str, version: ssl.TLSVersion
) -> None:
    context = server_context()
    context.maximum_version = version
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(root_ca)
    directives = f"require_tls yes\n{block(f'root_ca {root_ca}', identity)}"
    assert negotiated(*delivered_inside_tls(runtime, context, directives)).verified
    # TLS 1.3 refuses the lack of a certificate only after the handshake.
    without = f"require_tls yes\n{block(f'root_ca {root_ca}')}"
    check_nothing_was_sent(*delivered_inside_tls(runtime, context, without))


def test_tls_client_server_name_is_whom_the_certificate_must_name(runtime: Runtime, root_ca: str) -> None:
    asked: list[str | None] = []
    context = server_context(CA.issue_cert("mx.example"))
    context.sni_callback = lambda sock, name, context: asked.append(name)
    directives = f"require_tls yes\n{block(f'root_ca {root_ca}', 'server_name mx.example')}"
    assert negotiated(*delivered_inside_tls(runtime, context, directives)).verified
    assert asked == ["mx.example"]
    without = f"require_tls yes\n{block(f'root_ca {root_ca}')}"
    check_nothing_was_sent(*delivered_inside_tls(runtime, context, without))


def test_tls_client_server_name_allows_starttls_on_unix_sockets(
    runtime: Runtime, root_ca: str, tmp_path: Path
) -> None:
    server = ModelServer("lmtp", ["STARTTLS"])
    options = block(f"root_ca {root_ca}", "server_name mx.example")
    with serve(
        server, tls=server_context(CA.issue_cert("mx.example")), unix_path=tmp_path / "lmtp"
    ) as served:
        delivery = deliver(runtime, served.endpoint, f"require_tls yes\n{options}", protocol="lmtp")
    assert negotiated(delivery, server).verified


def test_tls_client_verify_no_takes_any_certificate(runtime: Runtime) -> None:
    context = server_context(OTHER_CA.issue_cert("other.example"))
    directives = f"require_tls yes\n{block('verify no')}"
    assert not negotiated(*delivered_inside_tls(runtime, context, directives)).verified


def test_tls_client_names_files_that_are_read_when_the_target_is_made(
    runtime: Runtime, tmp_path: Path
) -> None:
    config = TargetConfig(
        targets="tcp://127.0.0.1:9", tls_client=TlsClient(root_ca=(str(tmp_path / "none"),))
    )
    with pytest.raises(ConfigError, match=r"^tls_client: root_ca: cannot read .*none"):
        runtime.deliver(config, ENVELOPE, MESSAGE)
