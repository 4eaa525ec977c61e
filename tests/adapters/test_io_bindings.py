"""The channel bindings of real TLS connections."""

from __future__ import annotations

import hashlib
import ssl
import sys
from pathlib import Path

import pytest
import trustme

from adapters.runtimes import Runtime
from smtpstate import Auth, Envelope, Status, TargetConfig
from smtpstate.testing import ModelServer
from smtpstate_io._bindings import end_point
from smtpstate_testing import serve


def test_a_login_is_bound_to_a_real_connection(runtime: Runtime, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.tempfile() as file:
        context.load_cert_chain(file)
    offers = ["STARTTLS", "AUTH PLAIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS"]
    server = ModelServer(extensions=offers, users={"me": "s3cret-word"})
    with serve(server, tls=context) as served:
        config = TargetConfig(
            targets=served.endpoint,
            auth=Auth.scram("me", "s3cret-word"),
            tls_client={"root_ca": str(tmp_path / "ca.pem")},
        )
        delivery = runtime.deliver(config, Envelope("a@x.example", ["b@y.example"]), b"hello\r\n")
    assert [outcome.status for outcome in delivery.outcomes] == [Status.DELIVERED], delivery.outcomes
    assert "SCRAM-SHA-256-PLUS" in " ".join(server.commands)  # by tls-unique
    tls = delivery.attempts[0].tls
    assert tls is not None
    assert tls.certificate is not None
    assert tls.bindings["tls-server-end-point"] == hashlib.sha256(tls.certificate).digest()
    assert set(tls.bindings) == {"tls-unique", "tls-server-end-point"}
    assert len(tls.bindings) == 2


def test_where_there_is_nothing_to_bind_to_there_is_no_binding(monkeypatch: pytest.MonkeyPatch) -> None:
    assert end_point(None) is None
    assert end_point(b"no certificate") is None
    monkeypatch.setitem(sys.modules, "cryptography", None)
    assert end_point(b"whatever") is None
