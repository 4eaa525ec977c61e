"""Looking at endpoints in memory: what is reported, what it comes to, and that no mail is spoken of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from playing import MX
from smtpstate import (
    Auth,
    Credentials,
    DeadlinePassed,
    Endpoint,
    Phase,
    TargetConfig,
    TlsFailed,
    TraceEvent,
    TransportError,
)
from smtpstate._check import Report, Verdict, checking
from smtpstate._requests import Handshake
from smtpstate.testing import (
    Cut,
    Fault,
    ModelServer,
    ModelTls,
    Playground,
    Rule,
    Split,
    octet_by_octet,
    on,
    whole,
)

READY, DEFERRED, REFUSED = Verdict.READY, Verdict.DEFERRED, Verdict.REFUSED
SECRET = "open sesame"
OFFERED = ("PIPELINING", "SIZE 1000", "STARTTLS", "AUTH PLAIN", "LIMITS RCPTMAX=5")


def look(
    rules: Sequence[Rule] = (),
    *,
    at: str = MX,
    protocol: str = "smtp",
    extensions: Sequence[str] = OFFERED,
    tls: ModelTls | None = None,
    faults: Sequence[Fault] = (),
    cut: Cut | int | None = None,
    split: Split = whole,
    credentials: Credentials | None = None,
    trace: list[TraceEvent] | None = None,
    **settings: Any,
) -> tuple[Report, ModelServer]:
    server = ModelServer(
        protocol,
        extensions,
        rules,
        tls=tls,
        users={"me": SECRET},
        implicit_tls=at.startswith("tls:"),
        cut=cut,
    )
    playground = Playground({at: server}, faults=faults, latency=0.25, split=split)
    config = TargetConfig(targets=[at], protocol=protocol, **settings)
    endpoint = Endpoint.parse(at)
    watch = None if trace is None else trace.append
    report = playground.run(checking(config, endpoint, credentials=credentials, trace=watch))
    playground.close()
    assert server.violations == []
    assert report.endpoint == endpoint
    assert [command for command in server.commands if command[:4] in ("MAIL", "RCPT", "DATA", "BDAT")] == []
    return report, server


def test_all_that_a_server_says_of_itself_is_reported() -> None:
    report, server = look(auth=["plain", "me", SECRET])
    assert report.verdict is READY
    assert report.remote == "192.0.2.25"
    assert str(report.greeting).startswith("220 mx.example")
    assert str(report.hello).startswith("250 mx.example")
    assert sorted(report.capabilities) == ["AUTH", "LIMITS", "PIPELINING", "SIZE"]  # inside TLS
    assert report.tls is not None
    assert (report.tls.version, report.tls.verified) == ("TLSv1.3", True)
    assert (report.tls_failure, report.reply, report.user) == (None, None, "me")
    assert [command.split()[0] for command in server.commands] == [
        *("EHLO", "STARTTLS", "EHLO", "AUTH", "NOOP", "QUIT")
    ]


def test_each_round_trip_is_timed() -> None:
    report, _ = look([on("NOOP").delay(2), on("EHLO", connection=1).delay(1), on("greeting").delay(3)])
    assert (report.connect_time, report.greeting_time, report.hello_time) == (0, 3.25, 1.25)
    assert (report.tls_time, report.noop_time) == (0, 2.25)


def test_lmtp_is_spoken_where_the_settings_say_so() -> None:
    report, server = look(at="unix:///run/lmtp", protocol="lmtp")
    assert (report.verdict, report.remote, report.tls) == (READY, "/run/lmtp", None)
    assert server.commands == ["LHLO localhost", "NOOP", "QUIT"]


def test_a_server_without_extensions_is_ready_too() -> None:
    report, server = look([on("EHLO").reply(502, "5.5.1 unknown"), on("NOOP").reply(502, "5.5.1 unknown")])
    assert (report.verdict, len(report.capabilities)) == (READY, 0)
    assert server.commands == ["EHLO [192.0.2.1]", "HELO [192.0.2.1]", "NOOP", "QUIT"]


# What it comes to.


@pytest.mark.parametrize(
    ("rules", "verdict", "phase"),
    [
        ([on("greeting").reply(554, "5.3.2 no")], REFUSED, Phase.GREETING),
        ([on("greeting").reply(450, "4.3.2 later")], DEFERRED, Phase.GREETING),
        ([on("greeting").reply(421, "4.3.2 busy").close()], DEFERRED, Phase.GREETING),
        ([on("greeting").say(b"SSH-2.0-x\r\n")], DEFERRED, Phase.GREETING),
        ([on("greeting").silence()], DEFERRED, Phase.GREETING),
        ([on("greeting").close()], DEFERRED, Phase.GREETING),
        ([on("EHLO").reply(550, "5.7.1 no"), on("HELO").reply(550, "5.7.1 no")], REFUSED, Phase.HELLO),
        ([on("EHLO").reply(451, "4.3.0 later")], DEFERRED, Phase.HELLO),
        ([on("AUTH").reply(535, "5.7.8 no")], REFUSED, Phase.AUTH),
        ([on("AUTH").reply(454, "4.7.0 later")], DEFERRED, Phase.AUTH),
        ([on("NOOP").reply(421, "4.3.2 bye").close()], DEFERRED, Phase.AUTH),
        ([on("NOOP").reset()], DEFERRED, Phase.AUTH),
        ([on("QUIT").reset()], READY, Phase.AUTH),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_failure_is_reported_with_how_far_it_came(
    rules: list[Rule], verdict: Verdict, phase: Phase
) -> None:
    report, _ = look(rules, auth=["plain", "me", SECRET])
    assert (report.verdict, report.phase) == (verdict, phase)
    assert (report.reply is None) is (verdict is READY)


def test_a_reply_that_is_not_believed_refuses_nothing() -> None:
    report, _ = look([on("AUTH").reply(550, "5.0.0 no"), on("greeting").say(b"550-a\r\n551 b\r\n")])
    assert report.verdict is DEFERRED


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TransportError("refused"), "4.4.1"),
        (TransportError("unknown", name_unknown=True), "4.4.4"),
        (DeadlinePassed("late"), "4.4.1"),
    ],
    ids=str,
)
def test_what_cannot_be_reached_is_reported(error: TransportError, code: str) -> None:
    report, _ = look(faults=[Fault(0, error)])
    assert (report.verdict, report.remote, report.greeting) == (DEFERRED, None, None)
    assert report.reply is not None
    assert str(report.reply.enhanced) == code
    assert report.connect_time is None


# TLS.


@pytest.mark.parametrize("at", [MX, "tls://mx.example:465"])
def test_a_refused_certificate_is_looked_at_unverified_over_a_second_connection(at: str) -> None:
    tls = ModelTls(trusted=False, certificate=b"its certificate")
    report, server = look(at=at, tls=tls, require_tls=True, auth=["plain", "me", SECRET])
    assert (report.verdict, report.phase) == (DEFERRED, Phase.TLS)
    assert str(report.reply).startswith("454 4.7.5 TLS failed: ")
    assert report.tls_failure == "the certificate does not verify"
    assert report.tls is not None
    assert (report.tls.certificate, report.tls.verified) == (b"its certificate", False)
    assert len(report.capabilities) > 0
    assert report.noop_time is not None
    assert report.user is None
    assert [command for command in server.commands if "AUTH" in command] == []


def test_a_certificate_that_does_not_verify_is_no_failure_where_a_delivery_would_go_on() -> None:
    report, server = look(tls=ModelTls(trusted=False))
    assert (report.verdict, report.tls_failure) == (READY, "the certificate does not verify")
    assert report.tls is not None
    assert not report.tls.verified
    assert len(server.connections) == 2


def test_a_second_connection_that_fails_leaves_what_the_first_has_seen() -> None:
    refused = on("connect", connection=2).refuse()
    report, _ = look([refused], tls=ModelTls(trusted=False), require_tls=True)
    assert (report.verdict, report.tls, report.phase) == (DEFERRED, None, Phase.TLS)
    assert report.greeting is not None
    assert report.tls_failure == "the certificate does not verify"


def test_no_second_connection_is_made_where_the_certificate_is_not_at_fault() -> None:
    fault = Fault(0, TlsFailed("broken"), Handshake)
    report, server = look(faults=[fault], require_tls=True)
    assert (report.verdict, report.tls_failure, len(server.connections)) == (DEFERRED, "broken", 1)


def test_plain_text_is_what_a_delivery_would_come_to() -> None:
    report, server = look(faults=[Fault(0, TlsFailed("broken"), Handshake)])
    assert (report.verdict, report.tls, report.tls_failure) == (READY, None, "broken")
    assert len(server.connections) == 2


@pytest.mark.parametrize(
    ("rules", "extensions", "why"),
    [
        ([], (), "TLS is required, and the server does not offer STARTTLS"),
        (
            [on("STARTTLS").reply(554, "5.7.0 no")],
            OFFERED,
            "TLS is required, and the server refused STARTTLS: 554",
        ),
    ],
)
def test_required_tls_that_is_not_to_be_had_is_a_failure(
    rules: list[Rule], extensions: Sequence[str], why: str
) -> None:
    report, _ = look(rules, extensions=extensions, require_tls=True)
    assert report.verdict is DEFERRED
    assert (report.tls_failure or "").startswith(why)


def test_without_verification_there_is_one_connection() -> None:
    report, server = look(tls=ModelTls(trusted=False), require_tls=True, tls_client={"verify": False})
    assert (report.verdict, report.tls_failure, len(server.connections)) == (READY, None, 1)


# Authentication.


def test_forwarded_credentials_are_tried_where_there_are_any() -> None:
    report, _ = look(auth="forward", credentials=Credentials("me", SECRET))
    assert (report.verdict, report.user) == (READY, "me")
    report, server = look(auth="forward")
    assert (report.verdict, report.user) == (READY, None)
    assert "AUTH" not in " ".join(server.commands)


def test_a_mechanism_that_is_missing_is_a_failure_that_may_pass() -> None:
    report, _ = look(auth=Auth.external(), insecure_auth=True)
    assert (report.verdict, report.phase) == (DEFERRED, Phase.AUTH)
    assert "EXTERNAL" in str(report.reply)


# Whatever happens.


@pytest.mark.parametrize("split", [whole, octet_by_octet])
@pytest.mark.parametrize("how", ["close", "reset", "silence"])
def test_a_server_that_ends_after_any_octet_is_reported(how: Any, split: Split) -> None:
    octets = 0
    while True:
        report, _ = look(cut=Cut(octets, how), split=split, auth=["plain", "me", SECRET], require_tls=True)
        assert (report.reply is None) is (report.verdict is READY)
        if report.verdict is READY:  # only the answer to QUIT is missing
            break
        octets += 3
    assert octets > 300


@pytest.mark.parametrize(
    "error", [TransportError("broken"), DeadlinePassed("late"), TlsFailed("x", certificate=True)]
)
def test_every_request_may_fail(error: TransportError) -> None:
    verdicts = [look(faults=[Fault(n, error)], auth=["plain", "me", SECRET])[0].verdict for n in range(20)]
    assert verdicts[0] is DEFERRED
    assert verdicts[-1] is READY


def test_a_deadline_over_everything_ends_it() -> None:
    report, _ = look([on("EHLO").delay(100)], transaction_timeout=10)
    assert (report.verdict, report.phase, report.connect_time) == (DEFERRED, Phase.HELLO, 0)


def test_what_is_said_can_be_watched() -> None:
    trace: list[TraceEvent] = []
    look(trace=trace, auth=["plain", "me", SECRET])
    assert [str(event) for event in trace if str(event).startswith(">")][-3:] == [
        "> AUTH PLAIN ****",
        "> NOOP",
        "> QUIT",
    ]
