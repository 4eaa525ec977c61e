"""Authentication on connections: when, how, what is never sent, and what a refusal means."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Generator
from typing import Any

import pytest

from playing import MX, MX2, D, F, R
from smtpstate import (
    Auth,
    ConfigError,
    Credentials,
    Delivery,
    Envelope,
    Status,
    TargetConfig,
    TlsFailed,
    TraceEvent,
    forwarding,
)
from smtpstate._requests import Handshake
from smtpstate.testing import Accounts, Fault, Mechanism, ModelServer, ModelTls, Playground, Rule, on

USERS = {"me": "s3cret-word"}
PLAIN = "AUTH PLAIN " + b64encode(b"\0me\0s3cret-word").decode()


class Result:
    """What came of a delivery that needed authentication."""

    def __init__(
        self, statuses: list[Status], server: ModelServer, delivery: Delivery, second: ModelServer
    ) -> None:
        self.statuses = statuses
        self.server = server
        self.outcome = delivery.outcomes[0]
        self.delivery = delivery
        self.second = second
        self.commands = server.commands

    @property
    def identities(self) -> list[str | None]:
        return [message.identity for message in self.server.messages]

    @property
    def responses(self) -> str:
        """Everything that was said in a SASL exchange, encoded and decoded."""
        words = [word for line in self.commands for word in line.split()]
        return " ".join([*words, *(str(b64decode(word + "==")) for word in words if len(word) > 7)])


def play(
    auth: Auth | list[str],
    rules: list[Rule] | None = None,
    *,
    mechanisms: str = "PLAIN LOGIN CRAM-MD5 XOAUTH2 OAUTHBEARER EXTERNAL SCRAM-SHA-1 SCRAM-SHA-256",
    tls: ModelTls | None = None,
    starttls: bool = True,
    faults: list[Fault] | None = None,
    endpoint: str = MX,
    second: bool = False,
    credentials: Credentials | None = None,
    users: dict[str, str] | None = None,
    external: str | None = None,
    correct: bool = True,
    known: dict[str, Mechanism] | None = None,
    **settings: Any,
) -> Result:
    extensions = (["STARTTLS"] if starttls else []) + ([f"AUTH {mechanisms}"] if mechanisms else [])
    users = USERS if users is None else users
    server = ModelServer(
        extensions=extensions, rules=rules or (), tls=tls, users=users, external=external, mechanisms=known
    )
    other = ModelServer(extensions=extensions, users=USERS)
    playground = Playground({endpoint: server, MX2: other}, faults=faults or ())
    delivery = Delivery(Envelope("a@x.example", ["b@y.example"]), b"hello\r\n", credentials=credentials)
    targets = [endpoint, MX2] if second else [endpoint]
    config = TargetConfig(targets=targets, auth=auth, **settings)
    playground.run(forwarding(delivery, config, nonce=lambda: "rOprNGfwEbeRWgbNEkqO"))
    playground.close()
    if correct:
        assert server.violations == []
    return Result([outcome.status for outcome in delivery.outcomes], server, delivery, other)


MINE = ("me", "s3cret-word")


@pytest.mark.parametrize(
    "auth",
    [
        Auth.plain(*MINE),
        Auth.login(*MINE),
        Auth.scram(*MINE),
        Auth.auto(*MINE),
        Auth.xoauth2(*MINE),
        Auth.oauthbearer(*MINE),
    ],
    ids=lambda auth: auth.kind,
)
def test_each_mechanism_lets_us_in_after_tls_and_before_mail(auth: Auth) -> None:
    result = play(auth)
    assert (result.statuses, result.identities) == ([D], ["me"])
    assert result.delivery.attempts[0].user == "me"
    verbs = [command.partition(" ")[0] for command in result.commands]
    assert verbs[:4] == ["EHLO", "STARTTLS", "EHLO", "AUTH"]


@pytest.mark.parametrize(
    ("offered", "taken"),
    [
        ("CRAM-MD5 LOGIN PLAIN SCRAM-SHA-1 SCRAM-SHA-256", "SCRAM-SHA-256"),
        ("cram-md5 login plain scram-sha-1", "SCRAM-SHA-1"),
        ("CRAM-MD5 LOGIN PLAIN", "PLAIN"),
        ("CRAM-MD5 LOGIN", "LOGIN"),
        ("DIGEST-MD5 CRAM-MD5", "CRAM-MD5"),
    ],
)
def test_auto_takes_the_first_of_its_list_that_is_offered(offered: str, taken: str) -> None:
    result = play(Auth.auto(*MINE), mechanisms=offered, correct=False)
    assert result.statuses == [D]
    assert [command.split()[1] for command in result.commands if command.startswith("AUTH")] == [taken]


@pytest.mark.parametrize("mechanisms", ["", "GSSAPI", "DIGEST-MD5 NTLM"])
def test_a_mechanism_that_is_not_offered_defers_and_nothing_of_the_credential_is_sent(
    mechanisms: str,
) -> None:
    result = play(Auth.auto(*MINE), mechanisms=mechanisms)
    assert (result.statuses, result.outcome.phase.value) == ([F], "auth")
    assert result.outcome.reply.local
    assert not any(command.startswith(("AUTH", "MAIL")) for command in result.commands)
    assert result.commands[-1] == "QUIT"


# In clear.


@pytest.mark.parametrize("kind", ["plain", "login", "scram", "auto", "xoauth2", "oauthbearer"])
@pytest.mark.parametrize("how", ["no starttls", "refused", "bad certificate", "verify no", "broken"])
def test_no_credential_leaves_over_a_connection_that_is_not_encrypted_and_verified(
    kind: str, how: str
) -> None:
    result = play(
        [kind, *MINE],
        [on("STARTTLS").reply(454, "not now")] if how == "refused" else None,
        starttls=how != "no starttls",
        tls=ModelTls(trusted=False) if how in ("bad certificate", "verify no") else None,
        tls_client={"verify": how != "verify no"},
        faults=[Fault(0, TlsFailed("broken"), kind=Handshake)] if how == "broken" else None,
    )
    assert result.statuses == [F]
    assert not any(command.startswith("AUTH") for command in result.commands)
    assert "s3cret" not in result.responses
    assert len(result.server.connections) == 1, "a retry further down the ladder is useless"
    assert result.server.messages == []


@pytest.mark.parametrize("how", ["insecure_auth", "unix"])
def test_insecure_auth_and_unix_sockets_are_the_exceptions(how: str) -> None:
    endpoint = "unix:///run/mx" if how == "unix" else MX
    result = play(Auth.plain(*MINE), starttls=False, endpoint=endpoint, insecure_auth=how == "insecure_auth")
    assert (result.statuses, result.identities) == ([D], ["me"])
    assert PLAIN in result.commands


def test_with_insecure_auth_the_ladder_is_climbed_down_to_the_end() -> None:
    result = play(
        Auth.plain(*MINE),
        insecure_auth=True,
        faults=[Fault(0, TlsFailed("broken"), kind=Handshake)],
    )
    assert (result.statuses, result.identities, len(result.server.connections)) == ([D], ["me"], 2)


# Refusals.


@pytest.mark.parametrize("code", [535, 534, 454, 501])
@pytest.mark.parametrize("kind", ["plain", "login", "auto"])
def test_a_refusal_defers_and_ends_the_connection_without_a_weaker_mechanism(kind: str, code: int) -> None:
    step = on("response") if kind == "login" else on("AUTH")
    result = play([kind, *MINE], [step.reply(code, "no")])
    assert (result.statuses, result.outcome.reply.code, result.outcome.phase.value) == ([F], code, "auth")
    assert sum(command.startswith("AUTH") for command in result.commands) == 1
    assert result.commands[-1] == "QUIT"
    assert result.server.messages == []


def test_a_refusal_moves_on_to_the_next_endpoint_only_with_failover_auth() -> None:
    refusal = [on("AUTH").reply(535, "no")]
    assert play(Auth.plain(*MINE), refusal, second=True).second.connections == []
    result = play(Auth.plain(*MINE), refusal, second=True, failover=["connect", "auth"])
    assert (result.statuses, len(result.second.messages)) == ([D], 1)


@pytest.mark.parametrize(("code", "status"), [(535, R), (454, F)])
def test_forwarded_credentials_refused_mean_what_the_reply_says(code: int, status: Status) -> None:
    result = play(Auth.forward(), [on("AUTH").reply(code, "no")], credentials=Credentials(*MINE))
    assert (result.statuses, result.outcome.reply.code) == ([status], code)


def test_forward_sends_the_credentials_that_came_with_the_message() -> None:
    result = play(Auth.forward(), credentials=Credentials(*MINE))
    assert (result.statuses, result.identities) == ([D], ["me"])
    assert PLAIN in result.commands
    result = play(Auth.forward(), credentials=Credentials(*MINE), mechanisms="LOGIN SCRAM-SHA-256")
    assert (result.statuses, "AUTH LOGIN" in result.commands) == ([D], True)


def test_forward_without_credentials_is_rejected_before_anything_is_connected() -> None:
    result = play(Auth.forward())
    assert (result.statuses, str(result.outcome.reply)[:9]) == ([R], "530 5.7.0")
    assert result.outcome.reply.local
    assert result.server.connections == []


# Challenges.


@pytest.mark.parametrize("challenge", [b"334 not base64!\r\n", b"334 =\r\n", b"334 \xff\xff\r\n"])
def test_a_challenge_that_is_no_base64_is_answered_by_a_star_once_and_the_connection_closed(
    challenge: bytes,
) -> None:
    result = play(Auth.login(*MINE), [on("AUTH").say(challenge)], correct=False)
    assert result.statuses == [F]
    assert result.commands[-1] == "*"
    assert "s3cret" not in result.responses


def test_a_challenge_too_many_is_answered_by_a_star_once_and_the_connection_closed() -> None:
    result = play(Auth.plain(*MINE), [on("AUTH").say(b"334 bW9yZQ==\r\n")], correct=False)
    assert result.statuses == [F]
    assert result.commands[-1] == "*"


def test_ten_challenges_are_enough() -> None:
    def patient() -> Generator[bytes | None, bytes, None]:
        yield None
        while True:
            yield b"go on"

    def endless(accounts: Accounts) -> Generator[bytes, bytes, str | None]:
        while True:
            yield b"more"

    result = play(Auth.own("X-PATIENT", patient), mechanisms="X-PATIENT", known={"X-PATIENT": endless})
    assert result.statuses == [F]
    said = " ".join(result.commands).split()
    assert said.count(b64encode(b"go on").decode()) == 10
    assert result.commands[-1] != "QUIT"


def test_scram_drops_a_server_that_does_not_prove_itself() -> None:
    result = play(Auth.scram(*MINE), [on("response").reply(235, "come in")], correct=False)
    assert result.statuses == [F]
    assert result.server.messages == []
    assert result.commands[-1] != "QUIT"


def test_a_mechanism_of_the_callers_own_is_used() -> None:
    def greeting() -> Generator[bytes | None, bytes, None]:
        challenge = yield None
        yield challenge[::-1]

    def mirror(accounts: Accounts) -> Generator[bytes, bytes, str | None]:
        response = yield b"abc"
        return "me" if response == b"cba" else None

    result = play(Auth.own("X-MIRROR", greeting), mechanisms="X-MIRROR", known={"X-MIRROR": mirror})
    assert (result.statuses, result.identities) == ([D], ["me"])


def test_a_token_may_be_asked_for_anew_for_each_connection() -> None:
    asked: list[int] = []

    def token() -> str:
        asked.append(1)
        return "s3cret-word"

    config_auth = Auth.xoauth2("me", token)
    for _ in range(2):
        assert play(config_auth).statuses == [D]
    assert len(asked) == 2


def test_an_oauth_error_is_answered_and_its_reason_kept() -> None:
    result = play(Auth.oauthbearer("me", "stale-token"))
    assert (result.statuses, result.outcome.reply.code) == ([F], 535)
    assert result.commands[-2:] == ["AQ==", "QUIT"]
    assert "invalid_token" in result.outcome.notes[0]
    assert "stale-token" not in result.outcome.notes[0]


@pytest.mark.parametrize("secret", ["s3cret-word", b64encode(b"\0me\0s3cret-word").decode()])
def test_secrets_never_appear_in_traces_reprs_or_exceptions(secret: str) -> None:
    seen: list[str] = []

    def watch(event: TraceEvent) -> None:
        seen.append(f"{event} {event!r}")

    for kind in ("plain", "login", "scram", "auto", "xoauth2", "oauthbearer"):
        server = ModelServer(
            extensions=["AUTH PLAIN LOGIN SCRAM-SHA-256 XOAUTH2 OAUTHBEARER"], users={"me": "other"}
        )
        playground = Playground({MX: server})
        delivery = Delivery(Envelope("a@x.example", ["b@y.example"]), b"hello\r\n")
        config = TargetConfig(targets=[MX], auth=[kind, *MINE], insecure_auth=True)
        dialogue = forwarding(delivery, config, nonce=lambda: "rOprNGfwEbeRWgbNEkqO", trace=watch)
        playground.run(dialogue)
        seen += [repr(config), repr(delivery), repr(delivery.outcomes), repr(delivery.attempts)]
        seen += [str(outcome.error) for outcome in delivery.outcomes]
    assert secret not in "\n".join(seen)
    assert any("AUTH PLAIN ****" in line for line in seen)


def test_scram_is_bound_to_the_certificate_on_request_alone() -> None:
    tls = ModelTls(bindings={"tls-server-end-point": b"the hash of a certificate"})
    offers = "SCRAM-SHA-256 SCRAM-SHA-256-PLUS"
    for end_point, taken in ((True, "SCRAM-SHA-256-PLUS"), (False, "SCRAM-SHA-256")):
        result = play(Auth.scram(*MINE, end_point=end_point), mechanisms=offers, tls=tls)
        assert (result.statuses, result.identities) == ([D], ["me"])
        assert [command.split()[1] for command in result.commands if command.startswith("AUTH")] == [taken]


def test_end_point_is_no_word_of_the_directive() -> None:
    with pytest.raises(ConfigError, match="end_point"):
        TargetConfig(targets=[MX], auth=Auth.scram(*MINE, end_point=True)).to_text()
