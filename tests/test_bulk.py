"""Many deliveries over one connection: whatever happens amid the pipeline, none is lost and none is doubled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import pytest

from playing import MESSAGE, MX, D, F, R, U
from queueing import BOTH, NUMBER, OFFERED, OFFERS, Handed, Sent, honest, mail, mails, send
from smtpstate import (
    Auth,
    Courier,
    DeadlinePassed,
    Delivery,
    Envelope,
    LocalProtocolError,
    Message,
    TargetConfig,
    TransportError,
)
from smtpstate._requests import Connect, Give, Pull, Queue, Send, Take
from smtpstate.testing import Abandoned, Fault, ModelServer, Playground, Rule, on

# Failures at each step of each message.

_STEPS = ("MAIL", "RCPT", "DATA", "BDAT", "message")
_HOW: dict[str, Callable[[Rule], Rule]] = {
    "close": lambda rule: rule.close(),
    "reset": lambda rule: rule.reset(),
    "silence": lambda rule: rule.silence(),
    "junk": lambda rule: rule.say(b"junk\r\n"),
    "421": lambda rule: rule.reply(421, "4.3.2 closing").close(),
    "451": lambda rule: rule.reply(451, "4.3.0 later"),
    "550": lambda rule: rule.reply(550, "5.7.1 no"),
    "503": lambda rule: rule.reply(503, "5.5.1 bad sequence"),
}


@OFFERED
@BOTH
@pytest.mark.parametrize("how", _HOW)
@pytest.mark.parametrize("step", _STEPS)
@pytest.mark.parametrize("k", [1, 3, NUMBER])
def test_a_failure_amid_the_pipeline_loses_and_doubles_nothing(
    k: int, step: str, how: str, protocol: str, offers: str
) -> None:
    rule = _HOW[how](on(step, occurrence=k, across_connections=True))
    sent = send([rule], offers, protocol=protocol)
    used = "BDAT" if offers in ("bdat", "chunks") else "DATA"
    if step in ("DATA", "BDAT") and step != used:
        assert sent.statuses == [D] * NUMBER
        return
    if how in ("451", "550", "503"):
        answered = {"451": F}.get(how, R)
        assert sent.statuses.count(answered) == 1
        assert sent.statuses.count(D) == NUMBER - 1
    else:
        assert R not in sent.statuses
        if offers != "bdat":  # where the messages behind it had not left yet, they are begun anew
            assert sent.statuses.count(D) >= NUMBER - 1 - (how == "silence")


@OFFERED
def test_a_connection_closed_between_messages_costs_nobody_anything(offers: str) -> None:
    sent = send([on("message", occurrence=2).answer().close()], offers, handed=mails(offers, 4))
    if offers == "bdat":  # the messages behind it had left with the same flight
        assert sent.statuses == [D, D, U, U]
    else:
        assert sent.statuses == [D] * 4
    assert len(sent.server.connections) == (1 if offers == "bdat" else 2)


def test_what_nothing_has_come_of_is_begun_anew_only_once() -> None:
    once = [on("MAIL", occurrence=2, across_connections=True).close()]
    sent = send(once, "data", handed=mails(number=3))
    assert sent.statuses == [D, D, D]
    assert len(sent.server.connections) == 2
    always = [on("MAIL", occurrence=range(2, 9), across_connections=True).close()]
    assert send(always, "data", handed=mails(number=3)).statuses == [D, F, F]


def test_deliveries_are_given_back_in_the_order_in_which_they_were_taken() -> None:
    # The second is begun anew; the third, which cannot be served at all, was settled long before.
    deliveries = [mail(0), mail(1), mail(2, "Subject: grüße\r\n".encode())]
    sent = send([on("MAIL", occurrence=2).close()], "data", handed=deliveries)
    assert sent.statuses == [D, D, R]


@OFFERED
@pytest.mark.parametrize("ahead", [0, 1, 2, 3, 100])
def test_it_makes_no_difference_how_many_are_under_way(ahead: int, offers: str) -> None:
    sent = send((), offers, ahead=ahead)
    assert sent.statuses == [D] * NUMBER
    assert len(sent.server.connections) == 1


# The state that a message leaves behind.


def test_503_to_every_sender_is_a_refusal_and_no_endless_loop() -> None:
    for offers in OFFERS:
        sent = send([on("MAIL").reply(503, "5.5.1 no")], offers)
        assert sent.statuses == [R] * NUMBER


def test_a_message_behind_an_unanswered_chunk_is_shielded_from_its_transaction() -> None:
    sent = send([on("RCPT", occurrence=1).reply(550)], "bdat", handed=mails(number=2))
    verbs = [line.partition(" ")[0] for line in sent.said]
    assert verbs == ["EHLO", "MAIL", "RCPT", "BDAT", "RSET", "MAIL", "RCPT", "BDAT", "QUIT"]
    assert sent.statuses == [R, D]
    assert sent.playground.turns == 3


def test_a_message_behind_an_unanswered_end_of_data_needs_no_reset() -> None:
    sent = send((), "data", handed=mails(number=3))
    assert "RSET" not in sent.said


@pytest.mark.parametrize("offers", ["plain", "data"])
def test_a_message_whose_recipients_were_all_refused_is_abandoned_by_rset(offers: str) -> None:
    rules = [on("RCPT", occurrence=1).reply(550)]
    sent = send(rules, offers, handed=mails(number=2))
    assert sent.statuses == [R, D]
    assert sent.said.count("RSET") == 1


def test_a_refused_reset_ends_the_connection_and_the_message_is_begun_anew() -> None:
    rules = [on("RCPT", occurrence=1, connection=1).reply(550), on("RSET").reply(500)]
    sent = send(rules, "data", handed=mails(number=3))
    assert sent.statuses == [R, D, D]
    assert len(sent.server.connections) == 2


def test_a_chunk_refused_amid_a_message_spares_the_next() -> None:
    rules = [on("BDAT", occurrence=1, connection=1).reply(552, "5.2.2 full")]
    sent = send(rules, "chunks", handed=mails("chunks", 3))
    assert sent.statuses == [R, D, D]


def test_354_though_nobody_stands_is_answered_and_the_next_goes_on_a_new_connection() -> None:
    rules = [
        on("RCPT", occurrence=1, across_connections=True).reply(550),
        on("DATA", occurrence=1).reply(354),
    ]
    sent = send(rules, "data", correct=False)
    assert sent.statuses == [R, D, D, D, D]


# Failover and splitting.


def test_all_go_to_the_second_endpoint_where_the_first_cannot_be_reached() -> None:
    for offers in OFFERS:
        sent = send([on("connect").refuse()], offers, second_rules=())
        assert sent.statuses == [D] * NUMBER
        assert len(sent.second.messages) == NUMBER
        again = 2 if offers == "plain" else 1  # without PIPELINING each message asks for the first anew
        assert [len(delivery.attempts) for delivery in sent.deliveries] == [2] + [again] * (NUMBER - 1)


@OFFERED
def test_a_temporary_refusal_moves_one_message_to_the_second_endpoint(offers: str) -> None:
    rules = [on("RCPT", "r2@y.example").reply(451)]
    assert send(rules, offers, second_rules=()).statuses == [D, D, F, D, D]
    sent = send(rules, offers, second_rules=(), failover={"connect", "transient"})
    assert sent.statuses == [D] * NUMBER
    assert [message.recipients for message in sent.second.messages] == [("r2@y.example",)]


@OFFERED
def test_nobody_who_may_have_the_message_is_sent_to_the_second_endpoint(offers: str) -> None:
    sent = send(
        [on("message", occurrence=2).close()], offers, second_rules=(), failover={"connect", "transient"}
    )
    assert sent.statuses[1] is U
    assert "r1@y.example" not in [name for message in sent.second.messages for name in message.recipients]


def test_a_login_that_fails_moves_nobody_on_unless_that_is_asked_for() -> None:
    rules = [on("AUTH").reply(535, "5.7.8 no")]
    settings: dict[str, Any] = {
        "auth": Auth.plain("user", "secret"),
        "insecure_auth": True,
        "more_offers": ["AUTH PLAIN"],
        "second_rules": [on("AUTH").reply(235, "2.7.0 welcome")],
    }
    sent = send(rules, "data", **settings)
    assert sent.statuses == [F] * NUMBER
    assert sent.second.connections == []
    assert send(rules, "data", failover={"connect", "auth"}, **settings).statuses == [D] * NUMBER


def test_without_the_callers_credentials_nothing_is_connected() -> None:
    sent = send((), "data", auth=["forward"])
    assert sent.statuses == [R] * NUMBER
    assert sent.server.connections == []


def test_nobody_can_be_reached_at_all() -> None:
    sent = send([on("connect").refuse()], "data", second_rules=DeadlinePassed("the deadline passed"))
    assert sent.statuses == [F] * NUMBER


def test_a_server_that_lacks_what_one_message_needs_refuses_that_one_alone() -> None:
    deliveries = mails(number=4)
    deliveries[1] = mail(1, "Subject: hello\r\n\r\ngrüße\r\n".encode())
    sent = send((), "bdat", handed=deliveries)
    assert sent.statuses == [D, R, D, D]
    assert len(sent.server.connections) == 1


@OFFERED
@BOTH
@pytest.mark.parametrize(
    "limits", ["LIMITS MAILMAX=2", "LIMITS RCPTMAX=2", "LIMITS RCPTDOMAINMAX=1", "LIMITS MAILMAX=1 RCPTMAX=1"]
)
def test_limits_of_the_server_are_kept_by_splitting(limits: str, protocol: str, offers: str) -> None:
    deliveries = [
        Delivery(Envelope(f"a{n}@x.example", [f"r{n}{m}@{d}.example" for m, d in enumerate("yzy")]), MESSAGE)
        for n in range(3)
    ]
    server = ModelServer(protocol, (*OFFERS[offers], limits))
    playground = Playground({MX: server}, deliveries=deliveries, most_requests=20_000)
    courier = Courier(TargetConfig(targets=[MX], protocol=protocol))
    playground.run(courier.delivering_many())
    playground.run(courier.leaving())
    assert server.violations == []
    assert {o.status for delivery in deliveries for o in delivery.outcomes} == {D}
    taken = [name for message in server.messages for name in message.recipients]
    assert sorted(taken) == sorted(r.address for d in deliveries for r in d.envelope.recipients)
    assert playground.given == deliveries


@OFFERED
def test_too_many_recipients_are_split_while_others_are_under_way(offers: str) -> None:
    names = [f"b{n}@y.example" for n in range(6)]
    deliveries = [mail(0), Delivery(Envelope("a@x.example", names), MESSAGE), mail(2)]
    rules = [on("RCPT", occurrence=range(4, 8)).reply(452, "4.5.3 too many")]
    server = ModelServer("smtp", OFFERS[offers], rules)
    playground = Playground({MX: server}, deliveries=deliveries, most_requests=20_000)
    playground.run(Courier(TargetConfig(targets=[MX])).delivering_many())
    playground.close()
    assert [o.status for o in deliveries[1].outcomes] == [D] * 6
    taken = [name for message in server.messages for name in message.recipients]
    assert sorted(taken) == sorted([*names, "r0@y.example", "r2@y.example"])
    assert server.violations == []


@OFFERED
def test_a_connection_carries_no_more_messages_than_it_may(offers: str) -> None:
    sent = send((), offers, max_messages=2)
    assert sent.statuses == [D] * NUMBER
    assert len(sent.server.connections) == 3
    assert all(peer.commands[-1] == "QUIT" for peer in sent.server.connections)


# The connection of the delivery before.


@OFFERED
@pytest.mark.parametrize("how", ["close", "reset", "421"])
def test_a_connection_that_died_when_it_was_idle_is_invisible(how: str, offers: str) -> None:
    rule = _HOW[how](on("MAIL", occurrence=2, connection=1))
    sent = send([rule], offers, one_first=True)
    assert sent.statuses == [D] * NUMBER
    assert len(sent.server.connections) == 2


def test_an_idle_connection_that_proved_alive_is_pipelined_again() -> None:
    sent = send((), "bdat", handed=mails(number=20), one_first=True)
    assert sent.statuses == [D] * 20
    assert sent.playground.turns <= 7


def test_an_idle_connection_that_has_carried_no_message_yet_may_be_dead_as_well() -> None:
    server = ModelServer(extensions=OFFERS["data"], rules=[on("MAIL", occurrence=1, connection=1).close()])
    unsuited, deliveries = mail(99, "Subject: grüße\r\n".encode()), mails(number=2)
    playground = Playground({MX: server}, deliveries=deliveries)
    courier = Courier(TargetConfig(targets=[MX]))
    playground.run(courier.delivering(unsuited))
    playground.run(courier.delivering_many())
    playground.close()
    assert [delivery.outcomes[0].status for delivery in (unsuited, *deliveries)] == [R, D, D]


def test_an_idle_connection_found_dead_when_the_client_is_named_is_invisible() -> None:
    client = (("NAME", "c.example"), ("ADDR", "192.0.2.9"))
    for keyword in ("XFORWARD", "XCLIENT"):
        rules = [on(keyword, occurrence=1, connection=1).close()]
        deliveries = [mail(n, client=dict(client)) for n in range(3)]
        sent = send(rules, "bdat", deliveries, more_offers=[f"{keyword} NAME ADDR"], one_first=True)
        assert sent.statuses == [D] * 3


@pytest.mark.parametrize("how", _HOW)
@pytest.mark.parametrize("k", [1, 2])
def test_a_client_that_cannot_be_named_spoils_nothing_that_is_under_way(k: int, how: str) -> None:
    deliveries = [
        mail(0),
        mail(1),
        mail(2, client={"NAME": "c.example"}),
        mail(3, client={"NAME": "d.example"}),
        mail(4),
    ]
    rules = [_HOW[how](on("XFORWARD", occurrence=k, across_connections=True))]
    sent = send(rules, "chunks", deliveries, more_offers=["XFORWARD NAME"])
    assert sent.statuses[:2] == [D, D]
    assert sent.statuses[4] is D


@pytest.mark.parametrize("how", ["close", "421", "junk", "silence"])
def test_a_client_that_cannot_be_named_on_a_new_connection_defers(how: str) -> None:
    deliveries = [mail(0, client={"NAME": "c.example"}), mail(1)]
    rules = [_HOW[how](on("XFORWARD"))]
    sent = send(rules, "bdat", deliveries, more_offers=["XFORWARD NAME"])
    assert sent.statuses == [F, D]


# What the caller does.


def test_a_caller_who_has_nothing_at_hand_is_not_waited_for() -> None:
    later: Literal[Queue.LATER] = Queue.LATER
    handed: Handed = [mail(0), later, mail(1), later, later, mail(2)]
    sent = send((), "bdat", handed)
    assert sent.statuses == [D] * 3
    takes = [request.wait for request in sent.playground.requests if isinstance(request, Take)]
    assert takes[0] is True
    assert False in takes


def test_nothing_to_deliver_connects_nowhere() -> None:
    sent = send((), "bdat", [])
    assert sent.server.connections == []


def test_a_delivery_that_was_made_before_is_not_made_again() -> None:
    twice = mail(0)
    sent = send((), "bdat", [twice, mail(1), twice], ahead=1)
    assert sent.taken == ["r0@y.example", "r1@y.example"]


@OFFERED
def test_progress_is_told_to_the_end_of_each_message(offers: str) -> None:
    told: dict[str, list[tuple[int, int | None]]] = {}
    deliveries = mails(offers, 3)
    for delivery in deliveries:
        heard = told[delivery.envelope.sender] = []
        delivery.progress = lambda sent, total, heard=heard: heard.append((sent, total))
    send((), offers, deliveries)
    size = 150_000 if offers == "chunks" else len(MESSAGE)
    assert [heard[-1] for heard in told.values()] == [(size, size)] * 3
    assert all(heard == sorted(heard) for heard in told.values())


class Broken(Exception):
    """The caller's own."""


def broken(octets: int) -> Iterator[bytes]:
    """Yield some octets and fail."""
    yield b"x" * octets
    raise Broken


@pytest.mark.parametrize("octets", [0, 100, 200_000])
def test_a_source_that_fails_as_networks_do_is_the_callers_own_all_the_same(octets: int) -> None:
    def unreachable() -> Iterator[bytes]:
        yield b"x" * octets
        raise TransportError("the store of messages is gone")

    deliveries = [mail(0), mail(1, unreachable()), mail(2)]
    sent = send(
        (), "data", deliveries, second_rules=(), raises=TransportError, failover={"connect", "transient"}
    )
    assert sent.statuses[:2] == [D, F]
    assert sent.second.connections == []


@OFFERED
@pytest.mark.parametrize("octets", [0, 100, 200_000])
@pytest.mark.parametrize("k", [0, 2, 4])
def test_a_source_that_fails_is_told_and_the_others_under_way_are_settled(
    k: int, octets: int, offers: str
) -> None:
    deliveries = mails(offers)
    line_ends: Literal["binary", "crlf"] = "binary" if offers == "chunks" else "crlf"
    deliveries[k] = mail(k, Message(broken(octets), line_ends=line_ends, eight_bit=False))
    sent = send((), offers, deliveries, raises=Broken)
    begun = [*range(k), *range(k + 1, NUMBER)][:k]
    assert [sent.statuses[n] for n in begun] == [D] * k
    assert sent.statuses[k] is F
    assert sent.playground.given == deliveries[:k]


def test_a_message_that_breaks_a_promise_is_not_begun_and_spoils_nothing() -> None:
    deliveries = [mail(0), mail(1, Message(b"bare\nline feed\r\n", line_ends="strict")), mail(2)]
    sent = send((), "bdat", deliveries, raises=LocalProtocolError)
    assert sent.statuses == [D, F, F]
    assert not any("a1@" in line for line in sent.said)


def test_a_source_that_fails_at_the_second_endpoint_is_told_too() -> None:
    readings = iter([MESSAGE])

    def opened() -> bytes:
        try:
            return next(readings)
        except StopIteration:
            raise Broken from None

    deliveries = [mail(0), mail(1, opened), mail(2)]
    rules = [on("RCPT", "r1@y.example").reply(451)]
    sent = send(rules, "bdat", deliveries, second_rules=(), failover={"connect", "transient"}, raises=Broken)
    assert sent.statuses == [D, F, D]
    assert [id(each) for each in sent.playground.given] == [id(deliveries[0]), id(deliveries[2])]


def test_a_caller_whose_deliveries_fail_is_told_after_those_under_way_are_settled() -> None:
    sent = send((), "bdat", faults=[Fault(2, Broken(), kind=Take)], raises=Broken)
    assert sent.statuses == [D, D, F, F, F]
    assert len(sent.playground.given) == 2


def test_an_undeclared_stream_that_turns_out_8bit_is_refused_and_the_others_go_on() -> None:
    stream = [b"Subject: hello\r\n\r\n" + b"x" * 70_000, "grüße".encode()]
    deliveries = [mail(0), mail(1, stream), mail(2)]
    sent = send((), "data", deliveries, correct=False)
    assert sent.statuses == [D, R, D]


def test_a_source_that_can_be_read_only_once_is_not_tried_again() -> None:
    rules = [on("message", occurrence=1).reply(451)]
    deliveries = [mail(0, iter([MESSAGE])), mail(1)]
    sent = send(rules, "bdat", deliveries, second_rules=(), failover={"connect", "transient"})
    assert sent.statuses == [F, D]
    again = send((), "bdat", [mail(2), deliveries[0]], failover={"connect", "transient"})
    assert again.statuses == [D, F]


# Time.


@OFFERED
def test_one_deadline_is_over_all_that_a_delivery_does(offers: str) -> None:
    rules = [on("message", occurrence=2).delay(100)]
    sent = send(rules, offers, transaction_timeout=50)
    assert sent.statuses[0] is D
    assert sent.statuses[1] is U
    assert sent.playground.clock() < 250


def test_a_slow_server_is_given_time_for_each_message() -> None:
    sent = send([on("message").delay(40)], "data", transaction_timeout=50)
    assert sent.statuses[0] is D


# Every request fails, and every request is where the caller leaves.


def number_of_requests(offers: str, protocol: str) -> int:
    return len(send((), offers, mails(offers, 3), protocol=protocol, ahead=3).playground.requests)


CASES = [
    (offers, protocol, n)
    for offers in OFFERS
    for protocol in ("smtp", "lmtp")
    for n in range(number_of_requests(offers, protocol))
]


@pytest.mark.parametrize(
    "error", [TransportError("connection reset"), DeadlinePassed("late")], ids=["reset", "late"]
)
@pytest.mark.parametrize(("offers", "protocol", "n"), CASES)
def test_nothing_is_lost_or_doubled_when_request_n_fails(
    offers: str, protocol: str, n: int, error: Exception
) -> None:
    whole = send((), offers, mails(offers, 3), protocol=protocol, ahead=3)
    if isinstance(whole.playground.requests[n], (Take, Give, Pull)):
        return  # the caller's own; see above
    sent = send((), offers, mails(offers, 3), protocol=protocol, ahead=3, faults=[Fault(n, error)])
    assert len(sent.statuses) == 3
    assert R not in sent.statuses
    for delivery in sent.deliveries:
        if delivery.outcomes[0].status is F:
            assert delivery.outcomes[0].error is not None


@pytest.mark.parametrize("delivered", [1, 100])
@pytest.mark.parametrize("offers", OFFERS)
def test_a_send_that_fails_halfway_doubles_nothing(offers: str, delivered: int) -> None:
    whole = send((), offers, mails(offers, 3))
    for n, request in enumerate(whole.playground.requests):
        if isinstance(request, Send):
            fault = Fault(n, TransportError("connection reset"), delivered=delivered)
            send((), offers, mails(offers, 3), faults=[fault])


@pytest.mark.parametrize(("offers", "protocol", "n"), CASES)
def test_the_outcomes_are_honest_wherever_the_caller_leaves(offers: str, protocol: str, n: int) -> None:
    deliveries = mails(offers, 3)
    server = ModelServer(protocol, OFFERS[offers])
    playground = Playground({MX: server}, deliveries=deliveries, faults=[Fault(n, None)])
    courier = Courier(TargetConfig(targets=[MX], protocol=protocol))

    def both() -> None:
        playground.run(courier.delivering_many(3))
        playground.run(courier.leaving())

    with pytest.raises(Abandoned):
        both()
    honest(Sent(deliveries, server, ModelServer(), playground))
    settled = {id(delivery) for delivery in playground.given}
    assert all(o.status is D for each in deliveries if id(each) in settled for o in each.outcomes)


def test_a_connection_opens_only_when_there_is_something_to_deliver() -> None:
    sent = send((), "bdat")
    kinds = [type(request) for request in sent.playground.requests]
    assert kinds.index(Take) < kinds.index(Connect)
