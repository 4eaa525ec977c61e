"""A courier keeps its connection for the next delivery, and knows when not to."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest

from playing import MESSAGE, MX, MX2, D, F, R, U, play
from smtpstate import (
    Auth,
    Courier,
    Credentials,
    DeadlinePassed,
    Delivery,
    DeliveryFailed,
    Envelope,
    LocalProtocolError,
    Message,
    Phase,
    Status,
    TargetConfig,
    TraceEvent,
    TransportError,
    forwarding,
)
from smtpstate._memory import Memory
from smtpstate._requests import Receive, Send
from smtpstate.testing import (
    Abandoned,
    Action,
    Close,
    Fault,
    ModelServer,
    Playground,
    Reset,
    Rule,
    Say,
    on,
)


class Kept:
    """A courier on a connection of its own."""

    def __init__(
        self,
        rules: list[Rule] | None = None,
        extensions: tuple[str, ...] = ("PIPELINING",),
        *,
        faults: list[Fault] | None = None,
        server: ModelServer | None = None,
        **settings: Any,
    ) -> None:
        self.server = server or ModelServer(
            extensions=extensions, rules=rules or (), users={"me": "s3cret-word"}
        )
        self.playground = Playground({MX: self.server}, faults=faults or ())
        self.courier = Courier(TargetConfig(targets=[MX], **settings))

    def deliver(self, *, sender: str = "a@x.example", **more: Any) -> Delivery:
        client = more.pop("client", ())
        envelope = Envelope(sender, ["b@y.example"], client=client)
        delivery = Delivery(envelope, more.pop("message", MESSAGE), **more)
        self.playground.run(self.courier.delivering(delivery))
        return delivery

    def statuses(self, times: int, **more: Any) -> list[Status]:
        return [self.deliver(**more).outcomes[0].status for _ in range(times)]

    def twice(self, *, queued: bool) -> list[Status]:
        """Deliver two messages, and return what became of them."""
        if not queued:
            return self.statuses(2)
        queue = [Delivery(Envelope("a@x.example", ["b@y.example"]), MESSAGE) for _ in range(2)]
        playground = Playground({MX: self.server}, deliveries=queue)
        playground.run(self.courier.delivering_many(1))
        assert playground.given == queue
        return [delivery.outcomes[0].status for delivery in queue]

    @property
    def connections(self) -> int:
        return len(self.server.connections)


def test_a_connection_is_kept_for_the_next_delivery_without_rset() -> None:
    kept = Kept()
    assert kept.statuses(3) == [D, D, D]
    kept.playground.run(kept.courier.leaving())
    assert kept.connections == 1
    assert [command.split()[0] for command in kept.server.commands] == [
        "EHLO",
        *["MAIL", "RCPT", "DATA"] * 3,
        "QUIT",
    ]


_LOGIN: dict[str, Any] = {"auth": Auth.plain("me", "s3cret-word"), "insecure_auth": True}


@pytest.mark.parametrize("queued", [False, True])
@pytest.mark.parametrize(
    ("rule", "settings"),
    [
        (on("greeting", connection=1).reply(554, "go away"), {}),
        (on("EHLO", connection=1).reply(450, "not now"), {}),
        (on("HELO", connection=1).reply(550, "never"), {}),
        (on("STARTTLS", connection=1).reply(454, "not now"), {"require_tls": True}),
        (on("STARTTLS", connection=1).reply(502, "never"), {"require_tls": True}),
        (on("AUTH", connection=1).reply(535, "no"), _LOGIN),
        (on("AUTH", connection=1).reply(454, "not now"), _LOGIN),
    ],
    ids=["greeting", "ehlo 4xx", "ehlo 5xx", "starttls 4xx", "starttls 5xx", "auth 5xx", "auth 4xx"],
)
def test_a_connection_whose_session_never_opened_is_not_kept(
    rule: Rule, settings: dict[str, Any], queued: bool
) -> None:
    # A server of the last millennium, where HELO is to be heard at all.
    rules = [rule, on("EHLO", connection=1).reply(500, "what")] if rule.step == "HELO" else [rule]
    kept = Kept(rules, extensions=("PIPELINING", "STARTTLS", "AUTH PLAIN"), **settings)
    assert kept.twice(queued=queued) == [F, D]
    assert kept.connections == 2
    assert kept.server.violations == []


@pytest.mark.parametrize("queued", [False, True])
@pytest.mark.parametrize(
    ("rules", "extensions", "settings"),
    [
        ([], ("PIPELINING",), {"require_tls": True}),
        ([on("STARTTLS").reply(454, "no")], ("PIPELINING", "STARTTLS"), {"require_tls": True}),
        ([on("EHLO").reply(450, "no")], ("PIPELINING",), {}),
        ([on("EHLO").reply(550, "no"), on("HELO").reply(550, "no")], ("PIPELINING",), {}),
        ([on("LHLO").reply(550, "no")], ("PIPELINING",), {"protocol": "lmtp"}),
        ([on("AUTH").reply(535, "no")], ("PIPELINING", "AUTH PLAIN"), _LOGIN),
        ([], ("PIPELINING", "AUTH CRAM-MD5"), _LOGIN),
        ([], ("PIPELINING", "AUTH PLAIN"), {**_LOGIN, "insecure_auth": False}),
    ],
    ids=["no tls", "starttls", "ehlo 4xx", "helo 5xx", "lhlo 5xx", "auth", "mechanism", "clear"],
)
def test_where_no_session_can_be_had_no_message_is_ever_spoken_of(
    rules: list[Rule], extensions: tuple[str, ...], settings: dict[str, Any], queued: bool
) -> None:
    protocol = settings.get("protocol", "smtp")
    server = ModelServer(protocol, extensions, rules, users={"me": "s3cret-word"})
    kept = Kept(server=server, **settings)
    assert kept.twice(queued=queued) == [F, F]
    assert not kept.courier.keeps_connection
    assert server.messages == []
    assert not any(
        command.startswith(("MAIL", "RCPT")) for peer in server.connections for command in peer.commands
    )
    assert kept.connections == 2


@pytest.mark.parametrize(
    "rule", [on("RCPT").reply(550, "no"), on("DATA").reply(451, "no")], ids=["rcpt", "data"]
)
def test_a_transaction_left_unfinished_costs_the_next_one_a_rset(rule: Rule) -> None:
    kept = Kept([rule])
    kept.statuses(2)
    assert kept.connections == 1
    assert kept.server.commands.count("RSET") == 1
    assert kept.server.violations == []


def test_a_refused_rset_ends_the_connection() -> None:
    kept = Kept([on("RCPT", occurrence=1).reply(550, "no"), on("RSET").reply(500, "what")])
    assert kept.statuses(2) == [R, R]
    assert kept.connections == 2


@pytest.mark.parametrize("extensions", [(), ("PIPELINING",), ("PIPELINING", "CHUNKING")])
@pytest.mark.parametrize(
    "actions",
    [[Close()], [Reset()], [Say(b"421 4.4.2 idle\r\n"), Close()], [Say(b"2")], [Say(b"250 what\r\n")]],
    ids=["closed", "reset", "421", "an octet", "junk"],
)
def test_a_connection_found_dead_is_replaced_invisibly(
    actions: list[Action], extensions: tuple[str, ...]
) -> None:
    kept = Kept(extensions=extensions)
    assert kept.statuses(1) == [D]
    kept.playground.server_does(*actions)
    delivery = kept.deliver()
    assert [outcome.status for outcome in delivery.outcomes] == [D]
    assert kept.connections == 2
    assert delivery.attempts[-1].error is None


@pytest.mark.parametrize("extensions", [(), ("PIPELINING",), ("PIPELINING", "CHUNKING")])
@pytest.mark.parametrize("how", ["close", "reset", "421"])
def test_a_connection_that_ends_before_the_first_reply_is_replaced_once(
    extensions: tuple[str, ...], how: str
) -> None:
    on_second = on("MAIL", occurrence=2, connection=1)
    rule = on_second.reply(421, "4.4.2 idle").close() if how == "421" else getattr(on_second, how)()
    kept = Kept([rule], extensions)
    assert kept.statuses(2) == [D, D]
    assert (kept.connections, len(kept.server.messages)) == (2, 2)
    again = on("MAIL", connection=2).close()
    # On a new connection the whole message may have left with the envelope.
    assert Kept([rule, again], extensions).statuses(2) == [D, U if "CHUNKING" in extensions else F]


def test_silence_on_a_kept_connection_is_waited_for_and_not_tried_again() -> None:
    kept = Kept([on("MAIL", occurrence=2).silence()], command_timeout=7)
    assert kept.statuses(2) == [D, F]
    assert (kept.connections, kept.playground.clock()) == (1, 7)


def test_on_a_kept_connection_bdat_waits_for_the_answer_to_mail() -> None:
    kept = Kept(extensions=("PIPELINING", "CHUNKING"))
    assert kept.statuses(2) == [D, D]
    sends = [request.data for request in kept.playground.requests if isinstance(request, Send)]
    assert [b"MAIL" in data and b"BDAT" in data for data in sends] == [False, True, False, False]


def test_a_connection_that_was_idle_for_too_long_is_left_and_replaced() -> None:
    kept = Kept(idle_timeout=30)
    assert kept.statuses(1) == [D]
    kept.playground.clock.wait_until(29.9)
    assert (kept.statuses(1), kept.connections) == ([D], 1)
    kept.playground.clock.wait_until(29.9 + 30)
    assert (kept.statuses(1), kept.connections) == ([D], 2)
    assert kept.server.connections[0].commands[-1] == "QUIT"


def test_a_connection_carries_no_more_than_max_messages_or_mailmax() -> None:
    kept = Kept(max_messages=2)
    assert (kept.statuses(5), kept.connections) == ([D] * 5, 3)
    kept = Kept(extensions=("LIMITS MAILMAX=3",))
    assert (kept.statuses(5), kept.connections) == ([D] * 5, 2)


def test_connections_are_never_shared_between_credentials() -> None:
    server = ModelServer(extensions=["AUTH PLAIN"], users={"me": "s3cret-word", "you": "0ther-word"})
    kept = Kept(server=server, auth=Auth.forward(), insecure_auth=True)
    mine, yours = Credentials("me", "s3cret-word"), Credentials("you", "0ther-word")
    for credentials in (mine, mine, yours, mine):
        assert kept.deliver(credentials=credentials).outcomes[0].status is D
    assert [message.identity for message in server.messages] == ["me", "me", "you", "me"]
    assert len(server.connections) == 3


# For relays.


CLIENT = {"NAME": "pc.example", "ADDR": "192.0.2.99", "HELO": "a b+c"}


def test_xforward_tells_of_the_client_before_each_message() -> None:
    kept = Kept(extensions=("XFORWARD NAME ADDR HELO", "XCLIENT NAME ADDR"))
    assert (kept.statuses(2, client=CLIENT), kept.connections) == ([D, D], 1)
    told = [command for command in kept.server.commands if command.startswith("XFORWARD")]
    assert told == ["XFORWARD NAME=pc.example ADDR=192.0.2.99 HELO=a+20b+2Bc"] * 2


def test_xclient_is_used_without_xforward_and_never_shared_between_clients() -> None:
    kept = Kept(extensions=("XCLIENT NAME ADDR",))
    other = {"NAME": "other.example"}
    for client in (CLIENT, CLIENT, other, {}):
        assert kept.deliver(client=client).outcomes[0].status is D
    assert kept.connections == 3
    first = kept.server.connections[0].commands
    assert [command.split()[0] for command in first[:4]] == ["EHLO", "XCLIENT", "EHLO", "MAIL"]
    assert not any(command.startswith("XCLIENT") for command in kept.server.connections[2].commands)


@pytest.mark.parametrize(
    ("extensions", "rules"),
    [
        ((), []),
        (("XFORWARD SOURCE",), []),
        (("XFORWARD NAME",), [on("XFORWARD").reply(550, "no")]),
        (("XCLIENT NAME",), [on("XCLIENT").reply(550, "no")]),
    ],
)
def test_a_client_that_cannot_be_named_is_noted(extensions: tuple[str, ...], rules: list[Rule]) -> None:
    delivery = Kept(rules, extensions).deliver(client=CLIENT)
    assert delivery.outcomes[0].status is D
    assert len(delivery.outcomes[0].notes) == 1


@pytest.mark.parametrize("how", ["close", "silence", "421", "junk"])
@pytest.mark.parametrize("verb", ["XFORWARD", "XCLIENT"])
def test_a_connection_lost_while_the_client_is_named_defers(verb: str, how: str) -> None:
    rules = {
        "close": on(verb).close(),
        "silence": on(verb).silence(),
        "421": on(verb).reply(421, "bye").close(),
        "junk": on(verb).say(b"junk\r\n"),
    }
    delivery = Kept([rules[how]], (f"{verb} NAME",)).deliver(client=CLIENT)
    assert delivery.outcomes[0].status is F


def test_a_kept_connection_found_dead_while_the_client_is_named_is_replaced() -> None:
    kept = Kept([on("XFORWARD", occurrence=2, connection=1).close()], ("XFORWARD NAME",))
    assert (kept.statuses(2, client=CLIENT), kept.connections) == ([D, D], 2)


def test_ehlo_refused_after_xclient_defers() -> None:
    kept = Kept([on("EHLO", occurrence=2).reply(421, "bye").close()], ("XCLIENT NAME",))
    assert kept.statuses(1, client=CLIENT) == [F]


# Endpoints.


def test_an_endpoint_that_could_not_be_reached_is_tried_last_for_so_long() -> None:
    first = ModelServer(rules=[on("connect", occurrence=1).refuse()])
    second = ModelServer()
    playground = Playground({MX: first, MX2: second})
    config = TargetConfig(targets=[MX, MX2], failed_endpoint_delay=10, idle_timeout=0.001)
    courier = Courier(config, memory=Memory(config.failed_endpoint_delay))
    for wait, where in ((0, MX2), (9.9, MX2), (10.1, MX)):
        playground.clock.wait_until(wait)
        delivery = Delivery(Envelope("a@x.example", ["b@y.example"]), MESSAGE)
        playground.run(courier.delivering(delivery))
        assert str(delivery.outcomes[0].endpoint) == where
    assert len(first.messages) == 1


def test_a_one_shot_message_is_not_tried_elsewhere_once_it_was_begun() -> None:
    played = play(
        [on("message").reply(451, "later")],
        ["b@y.example"],
        iter([MESSAGE]),
        second_rules=(),
        failover=["connect", "transient"],
    )
    assert (played.statuses, played.second.connections) == ([F], [])
    assert "read only once" in played.delivery.outcomes[0].notes[0]
    played = play(
        [on("MAIL").reply(451, "later")],
        ["b@y.example"],
        iter([MESSAGE]),
        second_rules=(),
        failover=["connect", "transient"],
    )
    assert played.statuses == [D]
    assert played.second.messages[0].content == MESSAGE


@pytest.mark.parametrize(
    ("rules", "statuses"),
    [
        ([on("MAIL").reply(450, "later")], [D, D]),
        ([on("RCPT", "b@y.example").reply(450, "later")], [D, D]),
        ([on("DATA").reply(451, "later")], [D, D]),
        ([on("message").reply(451, "later")], [D, D]),
        ([on("DATA").close()], [D, D]),
        ([on("RCPT", "b@y.example").reply(550, "no")], [R, D]),
        ([on("message").close()], [U, U]),
        ([on("MAIL").reply(550, "no")], [R, R]),
    ],
)
def test_failover_transient_moves_only_those_that_were_never_accepted(
    rules: list[Rule], statuses: list[Status]
) -> None:
    played = play(rules, second_rules=(), failover=["connect", "transient"])
    assert played.statuses == statuses
    got = [
        recipient for m in (*played.server.messages, *played.second.messages) for recipient in m.recipients
    ]
    assert len(got) == len(set(got))
    without = play(rules, second_rules=())
    assert without.second.connections == []


# Time.


@pytest.mark.parametrize(
    ("rule", "settings", "passed"),
    [
        (on("greeting").silence(), {"command_timeout": 7}, 7),
        (on("EHLO").silence(), {"command_timeout": 7}, 7),
        (on("RCPT").silence(), {"command_timeout": 7}, 7),
        (on("greeting").drip(b"220 very slow indeed\r\n", 1), {"command_timeout": 7}, 7),
        (on("message").silence(), {"command_timeout": 7, "submission_timeout": 70}, 70),
        (on("message").drip(b"250 very slow indeed\r\n", 1), {"submission_timeout": 9}, 9),
        (on("RCPT").silence(), {"transaction_timeout": 3}, 3),
        (on("message").silence(), {"transaction_timeout": 3}, 3),
        (on("connect").refuse(DeadlinePassed("late")), {"connect_timeout": 4}, 4),
        (on("connect").refuse(DeadlinePassed("late")), {"transaction_timeout": 3}, 3),
    ],
)
def test_each_time_out_ends_what_it_covers(rule: Rule, settings: dict[str, Any], passed: float) -> None:
    played = play([rule], ["b@y.example"], **settings)
    assert played.statuses in ([F], [U])
    assert played.playground.clock() == passed


def test_each_reply_has_command_timeout_anew_from_the_one_before() -> None:
    rules = [on("RCPT").delay(6), on("DATA").delay(6), on("MAIL").delay(6)]
    played = play(rules, extensions=("PIPELINING",), command_timeout=7)
    assert played.statuses == [D, D]
    assert played.playground.clock() == 24


def test_lmtp_waits_submission_timeout_anew_for_each_recipient() -> None:
    recipients = [f"r{n}@y.example" for n in range(4)]
    played = play([on("message").delay(6)], recipients, protocol="lmtp", submission_timeout=7)
    assert played.statuses == [D] * 4
    assert played.playground.clock() == 24


# What a caller sees meanwhile.


def test_a_delivery_cancelled_while_connecting_reads_as_not_finished() -> None:
    for n, phase in ((0, "connect"), (1, "greeting"), (3, "hello")):
        playground = Playground({MX: ModelServer()}, faults=[Fault(n, None)])
        delivery = Delivery(Envelope("a@x.example", ["b@y.example"]), MESSAGE)
        with pytest.raises(Abandoned):
            playground.run(forwarding(delivery, TargetConfig(targets=[MX])))
        [outcome] = delivery.outcomes
        assert (outcome.status, outcome.phase.value, str(outcome.endpoint)) == (F, phase, MX)


def test_a_delivery_that_was_never_run_says_so() -> None:
    delivery = Delivery(Envelope("a@x.example", ["b@y.example"]), MESSAGE)
    assert "not begun" in str(delivery.outcomes[0].reply)
    assert repr(delivery) == "<Delivery from <a@x.example> to 1 recipients>"
    with pytest.raises(LocalProtocolError, match="no recipient"):
        Delivery(Envelope("a@x.example"), MESSAGE)


def test_a_lost_connection_settles_those_whose_turn_did_not_come() -> None:
    played = play(
        [on("RCPT", occurrence=2).close()],
        ["b@y.example", "c@y.example", "d@y.example"],
        extensions=["LIMITS RCPTMAX=1"],
    )
    assert played.statuses == [D, F, F]


@pytest.mark.parametrize("extensions", [(), ("PIPELINING", "CHUNKING"), ("CHUNKING",)])
def test_progress_counts_the_octets_of_the_message(extensions: tuple[str, ...]) -> None:
    told: list[tuple[int, int | None]] = []
    for message in (b"x" * 200_000, MESSAGE, Message([MESSAGE], size=len(MESSAGE)), [b"y" * 100_000] * 2):
        told.clear()
        server = ModelServer(extensions=extensions)
        playground = Playground({MX: server})
        delivery = Delivery(
            Envelope("a@x.example", ["b@y.example"]),
            message,
            progress=lambda sent, total: told.append((sent, total)),
        )
        playground.run(forwarding(delivery, TargetConfig(targets=[MX])))
        assert [sent for sent, _ in told] == sorted(sent for sent, _ in told)
        assert told[-1][0] == told[-1][1]
        assert told[-1][0] in (200_000, len(MESSAGE))


def test_a_source_that_fails_is_an_error_to_the_caller_and_the_message_is_never_sent() -> None:
    def broken() -> Any:
        yield b"Subject: x\r\n\r\n" + b"x" * 100_000
        raise OSError("the disk is gone")

    server = ModelServer()
    playground = Playground({MX: server})
    delivery = Delivery(Envelope("a@x.example", ["b@y.example"]), broken())
    with pytest.raises(OSError, match="the disk is gone"):
        playground.run(forwarding(delivery, TargetConfig(targets=[MX])))
    assert server.messages == []
    assert delivery.outcomes[0].status is F
    assert "QUIT" not in server.commands


def test_a_send_that_fails_lets_the_last_words_count() -> None:
    server = ModelServer(rules=[on("MAIL").reply(421, "4.3.2 going down").close()])
    playground = Playground(
        {MX: server}, faults=[Fault(1, TransportError("reset"), kind=Send, delivered=1000)]
    )
    delivery = Delivery(Envelope("a@x.example", ["b@y.example"]), MESSAGE)
    playground.run(forwarding(delivery, TargetConfig(targets=[MX])))
    assert delivery.outcomes[0].reply.code == 421
    assert not delivery.outcomes[0].reply.local
    assert sum(isinstance(request, Receive) for request in playground.requests) == 2


# What a hostile reading found.


@pytest.mark.parametrize(
    "extensions", [("LIMITS RCPTMAX=1", "XFORWARD ADDR"), ("LIMITS RCPTMAX=1", "XCLIENT ADDR")]
)
def test_the_client_is_named_only_between_transactions(extensions: tuple[str, ...]) -> None:
    envelope = Envelope("a@x.example", ["b@y.example", "c@y.example"], client={"ADDR": "192.0.2.99"})
    played = play([on("RCPT", "b@y.example").reply(550, "no")], envelope=envelope, extensions=extensions)
    assert played.statuses == [R, D]


def test_after_xclient_we_log_in_again() -> None:
    server = ModelServer(extensions=["AUTH PLAIN", "XCLIENT ADDR"], users={"me": "s3cret-word"})
    kept = Kept(server=server, auth=Auth.plain("me", "s3cret-word"), insecure_auth=True)
    assert kept.statuses(1, client={"ADDR": "192.0.2.99"}) == [D]
    assert server.messages[0].identity == "me"
    assert [command.split()[0] for command in server.commands[:6]] == [
        "EHLO",
        "AUTH",
        "XCLIENT",
        "EHLO",
        "AUTH",
        "MAIL",
    ]


def test_a_login_refused_after_xclient_defers_and_sends_nothing() -> None:
    server = ModelServer(
        extensions=["AUTH PLAIN", "XCLIENT ADDR"],
        users={"me": "s3cret-word"},
        rules=[on("AUTH", occurrence=2).reply(535, "not as them")],
    )
    kept = Kept(server=server, auth=Auth.plain("me", "s3cret-word"), insecure_auth=True)
    delivery = kept.deliver(client={"ADDR": "192.0.2.99"})
    assert (delivery.outcomes[0].status, delivery.outcomes[0].reply.code) == (F, 535)
    assert server.messages == []


def test_the_reason_of_a_login_refused_after_xclient_is_noted() -> None:
    challenge = "334 " + b64encode(b'{"status":"invalid_token"}').decode()
    server = ModelServer(
        extensions=["AUTH XOAUTH2", "XCLIENT ADDR"],
        users={"me": "t0ken"},
        rules=[on("AUTH", occurrence=2).say(f"{challenge}\r\n".encode())],
    )
    kept = Kept(server=server, auth=Auth.xoauth2("me", "t0ken"), insecure_auth=True)
    outcome = kept.deliver(client={"ADDR": "192.0.2.99"}).outcomes[0]
    assert outcome.status is F
    assert [note for note in outcome.notes if "invalid_token" in note]


_PARTS = [b"x" * 70_000 + b"\r\n"] * 3


@pytest.mark.parametrize(
    ("message", "status", "received"),
    [(iter(_PARTS), F, []), (lambda: iter(_PARTS), D, [b"".join(_PARTS)]), (_PARTS, D, [b"".join(_PARTS)])],
    ids=["iterator", "callable", "list"],
)
def test_what_an_earlier_run_has_read_is_not_put_before_the_message(
    message: Any, status: Status, received: list[bytes]
) -> None:
    delivery = Delivery(Envelope("a@x.example", ["b@y.example"]), Message(message, eight_bit=False))
    server = ModelServer()
    for target, at_it in ((MX, ModelServer(rules=[on("MAIL").close()])), (MX2, server)):
        config = TargetConfig(targets=[target], failover=["connect", "transient"])
        Playground({target: at_it}).run(forwarding(delivery, config))
    assert delivery.outcomes[0].status is status
    assert [stored.content for stored in server.messages] == received


def test_a_message_that_could_not_be_copied_is_not_taken_for_an_empty_one() -> None:
    view = memoryview(b"Subject: hello\r\n")
    delivery = Delivery(Envelope("a@x.example", ["b@y.example"]), view)
    view.release()
    server = ModelServer()
    for target in (MX, MX2):
        config = TargetConfig(targets=[target])
        with pytest.raises(ValueError, match="released"):
            Playground({target: server}).run(forwarding(delivery, config))
    assert server.messages == []


def test_a_message_whose_time_is_up_is_not_ended() -> None:
    server = ModelServer()
    playground = Playground({MX: server})

    def slow() -> Any:
        yield b"x" * 100_000
        playground.clock.wait_until(playground.clock() + 2)
        yield b"the end"

    delivery = Delivery(Envelope("a@x.example", ["b@y.example"]), slow())
    playground.run(forwarding(delivery, TargetConfig(targets=[MX], transaction_timeout=1)))
    assert delivery.outcomes[0].status is F
    assert server.messages == []


@pytest.mark.parametrize(("code", "status"), [(552, R), (451, F), (421, F)])
def test_a_refusal_is_heard_while_sending_is_stuck(code: int, status: Status) -> None:
    server = ModelServer(rules=[on("content", after=1000).reply(code, "stop").stop_reading()])
    playground = Playground({MX: server}, server_buffer=4096)
    delivery = Delivery(Envelope("a@x.example", ["b@y.example"]), b"x" * 1_000_000)
    playground.run(forwarding(delivery, TargetConfig(targets=[MX])))
    assert (delivery.outcomes[0].status, delivery.outcomes[0].reply.code) == (status, code)
    assert playground.clock() == 0


def test_what_one_server_cannot_take_says_nothing_of_the_next() -> None:
    stream = iter([b"Subject: x\r\n\r\n" + b"x" * 100_000, "grüße".encode()])
    first = ModelServer(rules=[on("MAIL").reply(451, "later")])
    second = ModelServer(extensions=["8BITMIME"])
    playground = Playground({MX: first, MX2: second})
    delivery = Delivery(Envelope("a@x.example", ["b@y.example"]), stream)
    config = TargetConfig(targets=[MX, MX2], failover=["connect", "transient"])
    playground.run(forwarding(delivery, config))
    assert delivery.outcomes[0].status is D


def test_an_answer_that_nobody_needs_is_waited_for_no_longer_than_command_timeout() -> None:
    for protocol in ("smtp", "lmtp"):
        played = play(
            [on("RCPT").reply(550, "no"), on("BDAT").silence()],
            extensions=("PIPELINING", "CHUNKING"),
            protocol=protocol,
            command_timeout=7,
        )
        assert (played.statuses, played.playground.clock()) == ([R, R], 7)


def test_a_delivery_cancelled_between_transactions_names_its_endpoint() -> None:
    server = ModelServer(extensions=["LIMITS RCPTMAX=1"])
    playground = Playground({MX: server}, faults=[Fault(6, None)])
    delivery = Delivery(Envelope("a@x.example", ["b@y.example", "c@y.example"]), MESSAGE)
    with pytest.raises(Abandoned):
        playground.run(forwarding(delivery, TargetConfig(targets=[MX])))
    assert [str(outcome.endpoint) for outcome in delivery.outcomes] == [MX, MX]
    assert [str(outcome.reply.enhanced) for outcome in delivery.outcomes] == ["4.4.2", "4.4.2"]


def test_a_server_that_repeats_a_secret_does_not_get_it_into_traces_or_outcomes() -> None:
    word = "AG1lAHMzY3JldC13b3Jk"
    for text in (
        f"5.5.2 syntax error: AUTH PLAIN {word}",
        "bad password: s3cret-word",
        "s3cret-word\nagain s3cret-word",
    ):
        server = ModelServer(extensions=["AUTH PLAIN"], rules=[on("AUTH").reply(535, *text.split("\n"))])
        playground = Playground({MX: server})
        delivery = Delivery(Envelope("a@x.example", ["b@y.example"]), MESSAGE)
        config = TargetConfig(targets=[MX], auth=Auth.plain("me", "s3cret-word"), insecure_auth=True)
        events: list[TraceEvent] = []
        playground.run(forwarding(delivery, config, trace=events.append))
        seen = [*map(repr, events), repr(delivery.outcomes), repr(delivery.attempts)]
        assert delivery.outcomes[0].reply.code == 535
        assert not [line for line in seen if word in line or "s3cret-word" in line]


@pytest.mark.parametrize("stray", [b"2", b"250 too much\r\n"])
def test_octets_behind_the_answer_to_ehlo_end_the_endpoint(stray: bytes) -> None:
    played = play([on("EHLO").answer().say(stray)], second_rules=())
    assert played.statuses == [D, D]
    assert played.server.messages == []


def test_an_exception_of_the_callers_source_comes_out_unchanged_whatever_it_is() -> None:
    for error in (
        TransportError("mine"),
        DeadlinePassed("mine"),
        LocalProtocolError("mine"),
        KeyError("mine"),
    ):

        def broken(error: Exception = error) -> Any:
            yield b"x" * 70_000
            raise error

        playground = Playground({MX: ModelServer()})
        delivery = Delivery(Envelope("a@x.example", ["b@y.example"]), broken())
        with pytest.raises(type(error)) as raised:
            playground.run(forwarding(delivery, TargetConfig(targets=[MX])))
        assert raised.value is error


def test_a_delivery_that_is_settled_is_not_sent_again() -> None:
    played = play()
    server = ModelServer()
    playground = Playground({MX: server})
    playground.run(Courier(TargetConfig(targets=[MX])).delivering(played.delivery))
    assert server.connections == []


def test_a_delivery_raises_for_those_who_like_exceptions() -> None:
    play().delivery.raise_for_status()
    played = play([on("RCPT", "b@y.example").reply(550, "no")])
    with pytest.raises(DeliveryFailed, match="b@y.example: rejected: 550 no") as failed:
        played.delivery.raise_for_status()
    assert failed.value.delivery is played.delivery


def test_a_domain_that_cannot_be_written_in_a_labels_needs_smtputf8() -> None:
    played = play((), ["b@\u200d.example", "c@y.example"])
    assert (played.statuses, played.enhanced[0]) == ([R, D], "5.6.7")


def test_a_connection_lost_later_inside_tls_is_no_failed_handshake() -> None:
    rules = [on("EHLO", occurrence=2).reply(500, "what"), on("HELO").close()]
    played = play(rules, ["b@y.example"], extensions=("STARTTLS",))
    assert (played.statuses, played.phases, len(played.server.connections)) == ([F], ["hello"], 1)


def test_a_client_cannot_be_named_where_rset_is_refused() -> None:
    rules = [on("RCPT").reply(550, "no"), on("RSET").reply(500, "what")]
    kept = Kept(rules, ("XFORWARD NAME",))
    kept.deliver()
    assert kept.deliver(client=CLIENT).outcomes[0].status is R  # on a new connection
    assert kept.connections == 2


def test_transaction_timeout_covers_the_failover_of_queued_messages_too() -> None:
    first = ModelServer(rules=[on("MAIL").delay(6).reply(451, "later")])
    second = ModelServer(rules=[on("MAIL").silence()])
    config = TargetConfig(targets=[MX, MX2], failover=["connect", "transient"], transaction_timeout=10)
    delivery = Delivery(Envelope("a@x.example", ["b@y.example"]), MESSAGE)
    playground = Playground({MX: first, MX2: second}, deliveries=[delivery])
    playground.run(Courier(config).delivering_many())
    assert delivery.outcomes[0].status is F
    assert playground.clock() == 10


def test_an_attempt_on_a_kept_connection_is_in_the_phase_of_its_own_message() -> None:
    kept = Kept(extensions=("PIPELINING",))
    kept.deliver()
    lacking = kept.deliver(message="Subject: x\r\n\r\nsch\u00f6n\r\n".encode())
    assert (lacking.outcomes[0].phase, lacking.attempts[0].phase) == (Phase.MAIL, Phase.MAIL)
