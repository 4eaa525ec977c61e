"""Credentials tried alone: the server's word on them, or why there is none."""

from __future__ import annotations

from typing import Any

import pytest

from playing import MX, MX2
from smtpstate import (
    Auth,
    Courier,
    Credentials,
    DeadlinePassed,
    Delivery,
    Envelope,
    LocalProtocolError,
    Reply,
    TargetConfig,
    TransportError,
)
from smtpstate._memory import Memory
from smtpstate.testing import Fault, ModelServer, Playground, Rule, on

RIGHT, WRONG = Credentials("me", "s3cret-word"), Credentials("me", "stale-word")
OFFERS = ("PIPELINING", "AUTH PLAIN LOGIN")
ENVELOPE = Envelope("a@x.example", ["b@y.example"])


class Door:
    """A courier in front of a server that lets only one user in."""

    def __init__(
        self,
        *rules: Rule,
        offers: tuple[str, ...] = OFFERS,
        second: ModelServer | Exception | None = None,
        faults: list[Fault] | None = None,
        memory: Memory | None = None,
        **settings: Any,
    ) -> None:
        self.server = model(*rules, offers=offers)
        network: dict[str, ModelServer | Exception] = {MX: self.server}
        if second is not None:
            network[MX2] = second
        self.playground = Playground(network, faults=faults or ())
        known: dict[str, Any] = {"auth": Auth.forward(), "insecure_auth": True} | settings
        self.courier = Courier(TargetConfig(targets=list(network), **known), memory=memory)

    def knock(self, credentials: Credentials = RIGHT) -> Reply:
        reply = self.playground.run(self.courier.authenticating(credentials))
        assert self.server.violations == []
        return reply

    @property
    def verbs(self) -> list[str]:
        return [command.split()[0] for command in self.server.commands]


def model(*rules: Rule, offers: tuple[str, ...] = OFFERS) -> ModelServer:
    return ModelServer(extensions=offers, rules=rules, users={"me": "s3cret-word"}, require_auth=True)


def said_here(reply: Reply) -> tuple[int, str]:
    """Return code and enhanced code of a reply that no server gave."""
    assert reply.local
    return reply.code, str(reply.enhanced)


@pytest.mark.parametrize("offers", [OFFERS, ("AUTH LOGIN",)], ids=["plain", "login"])
def test_who_is_let_in_hears_the_servers_own_words(offers: tuple[str, ...]) -> None:
    last = "AUTH" if offers is OFFERS else "response"
    answer = on(last, occurrence=1 if offers is OFFERS else 2).reply(235, "2.7.0 come in")
    door = Door(answer, offers=offers)
    reply = door.knock()
    assert (reply.code, reply.text, reply.local) == (235, "2.7.0 come in", False)
    assert "MAIL" not in door.verbs


def test_the_connection_is_kept_for_mail_with_the_same_credentials() -> None:
    door = Door()
    door.knock()
    assert door.courier.keeps_connection
    delivery = Delivery(ENVELOPE, b"", credentials=RIGHT)
    door.playground.run(door.courier.delivering(delivery))
    delivery.raise_for_status()
    assert len(door.server.connections) == 1


def test_credentials_are_tried_anew_each_time() -> None:
    door = Door(on("AUTH", connection=2).reply(535, "5.7.8 not any more"))
    assert door.knock().code == 235
    assert door.knock().code == 535
    assert len(door.server.connections) == 2
    assert door.server.connections[0].commands[-1] == "QUIT"


@pytest.mark.parametrize(
    ("code", "text"),
    [(535, "5.7.8 wrong"), (534, "5.7.9 too weak"), (454, "4.7.0 not now"), (432, "4.7.12 change it")],
)
def test_who_is_not_let_in_hears_why(code: int, text: str) -> None:
    door = Door(on("AUTH").reply(code, text))
    reply = door.knock()
    assert (reply.code, reply.text, reply.local) == (code, text, False)
    assert not door.courier.keeps_connection
    assert door.verbs.count("AUTH") == 1, "no weaker mechanism is tried"


def test_a_wrong_password_is_refused() -> None:
    assert Door().knock(WRONG).code == 535


@pytest.mark.parametrize(
    ("rule", "code", "enhanced"),
    [
        (on("connect").refuse(), 421, "4.4.1"),
        (on("connect").refuse(DeadlinePassed("the deadline passed")), 421, "4.4.1"),
        (on("connect").refuse(TransportError("no such name", name_unknown=True)), 421, "4.4.4"),
        (on("greeting").close(), 421, "4.4.2"),
        (on("EHLO").silence(), 421, "4.4.2"),
        (on("AUTH").close(), 421, "4.4.2"),
        (on("AUTH").reset(), 421, "4.4.2"),
        (on("AUTH").silence(), 421, "4.4.2"),
        (on("AUTH").say(b"hello\r\n"), 451, "4.5.0"),
    ],
)
def test_where_no_server_answers_the_reply_is_made_here(rule: Rule, code: int, enhanced: str) -> None:
    assert said_here(Door(rule).knock()) == (code, enhanced)


@pytest.mark.parametrize("step", ["greeting", "EHLO", "AUTH"])
def test_a_server_that_says_goodbye_is_quoted(step: str) -> None:
    reply = Door(on(step).reply(421, "4.3.2 bye").close()).knock()
    assert (reply.code, reply.text, reply.local) == (421, "4.3.2 bye", False)


@pytest.mark.parametrize("offers", [(), ("AUTH CRAM-MD5",)], ids=["no AUTH", "no mechanism of ours"])
def test_a_server_that_cannot_be_asked_is_sent_no_password(offers: tuple[str, ...]) -> None:
    door = Door(offers=offers)
    assert said_here(door.knock()) == (454, "4.7.0")
    assert "AUTH" not in door.verbs


def test_no_password_is_sent_in_clear() -> None:
    door = Door(insecure_auth=False)
    assert said_here(door.knock()) == (454, "4.7.11")
    assert "AUTH" not in door.verbs


@pytest.mark.parametrize("error", [TransportError("connection reset"), DeadlinePassed("the deadline passed")])
def test_any_request_may_fail(error: TransportError) -> None:
    door = Door()
    door.knock()
    for n in range(len(door.playground.requests)):
        reply = Door(faults=[Fault(n, error)]).knock()
        assert said_here(reply)[0] == 421


@pytest.mark.parametrize("failover", ["connect", "auth"])
@pytest.mark.parametrize("code", [535, 454])
def test_a_refusal_counts_for_all_endpoints_unless_failover_says_otherwise(code: int, failover: str) -> None:
    second = model()
    door = Door(on("AUTH").reply(code, "no"), second=second, failover={"connect", failover})
    assert door.knock().code == (235 if failover == "auth" else code)
    assert len(second.connections) == (failover == "auth")


def test_an_endpoint_that_cannot_be_reached_leads_to_the_next_and_is_tried_last_for_a_while() -> None:
    second = model()
    door = Door(on("connect").refuse(), second=second, memory=Memory(60.0))
    assert [door.knock().code, door.knock().code] == [235, 235]
    assert len(second.connections) == 2
    assert door.playground.transcript.count("! refuse mx.example:25 connection refused") == 1


def test_of_several_failures_the_most_telling_is_returned() -> None:
    refused = on("AUTH").reply(535, "5.7.8 wrong")
    unreachable = TransportError("connection refused")
    assert Door(refused, second=unreachable, failover={"connect", "auth"}).knock().code == 535
    assert said_here(Door(on("connect").refuse(), second=unreachable).knock()) == (421, "4.4.1")
    assert Door(on("connect").refuse(), second=model(refused)).knock().code == 535


def test_a_transaction_timeout_covers_all_endpoints() -> None:
    door = Door(on("AUTH").silence(), second=model(on("greeting").delay(8)), transaction_timeout=10)
    assert said_here(door.knock()) == (421, "4.4.2")
    assert door.playground.clock() == 10


@pytest.mark.parametrize("auth", [Auth.off(), Auth.plain("me", "s3cret-word")], ids=["off", "plain"])
def test_a_target_that_does_not_forward_credentials_is_an_error_of_the_caller(auth: Auth) -> None:
    with pytest.raises(LocalProtocolError, match="^the target has credentials of its own, or needs none$"):
        Door(auth=auth).knock()
