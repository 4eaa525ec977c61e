"""Each extension against the model server: what is sent where it is offered, and what happens where it is not."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from playing import MESSAGE, D, F, Played, R, play
from smtpstate import Auth, Connection, DeliverBy, Envelope, Message, Recipient
from smtpstate._commands import Noop
from smtpstate._events import CommandAnswered
from smtpstate._questions import Expn, Help, Vrfy
from smtpstate.testing import ModelServer, on

B = "b@y.example"
EIGHT_BIT = "Subject: hello\r\n\r\ngrüße\r\n".encode()
MOMENT = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)


def give(
    *offers: str,
    message: Any = MESSAGE,
    to: Recipient | str = B,
    settings: dict[str, Any] | None = None,
    **envelope: Any,
) -> Played:
    made = Envelope(envelope.pop("sender", "a@x.example"), [to], **envelope)
    return play((), message=message, extensions=offers, envelope=made, **(settings or {}))


def line(played: Played, verb: str) -> str:
    """Return the one command with this verb, without the address that everyone has."""
    [found] = [line for line in played.said if line.startswith(verb)]
    return found.partition("example>")[2].strip() if verb in ("MAIL", "RCPT") else found


def refused_here(played: Played, enhanced: str) -> bool:
    """Whether the recipient is rejected without a word to the server about it."""
    spoken = [line for line in played.said if line.startswith(("MAIL", "RCPT", "DATA", "BDAT"))]
    return (played.statuses, played.enhanced, spoken) == ([R], [enhanced], [])


def noted(played: Played, name: str) -> bool:
    """Whether the message went out without ``name``, and the outcome says so."""
    notes = played.delivery.outcomes[0].notes
    return played.statuses == [D] and any(note.startswith(f"{name} was left out") for note in notes)


# How messages go.


def test_pipelining() -> None:
    assert give("PIPELINING").playground.turns == 4
    assert give().playground.turns == 6
    assert give("PIPELINING", settings={"pipelining": False}).playground.turns == 6


def test_chunking() -> None:
    played = give("PIPELINING", "CHUNKING")
    assert line(played, "BDAT") == f"BDAT {len(MESSAGE)} LAST"
    assert played.server.messages[0].content == MESSAGE
    assert played.playground.turns == 3
    for without in (give("PIPELINING"), give("PIPELINING", "CHUNKING", settings={"chunking": False})):
        assert line(without, "DATA") == "DATA"


def test_binarymime() -> None:
    octets = bytes(range(256))
    binary = Message(octets, line_ends="binary")
    played = give("CHUNKING", "BINARYMIME", message=binary)
    assert line(played, "MAIL") == "BODY=BINARYMIME"
    assert played.server.messages[0].content == octets
    assert refused_here(give("CHUNKING", message=binary), "5.6.3")


def test_8bitmime() -> None:
    assert line(give("8BITMIME", message=EIGHT_BIT), "MAIL") == "BODY=8BITMIME"
    assert line(give("8BITMIME"), "MAIL") == ""
    assert refused_here(give(message=EIGHT_BIT), "5.6.3")


def test_smtputf8() -> None:
    played = give("SMTPUTF8", to="grüße@y.example")
    assert line(played, "MAIL") == "SMTPUTF8"
    assert played.server.messages[0].recipients == ("grüße@y.example",)
    assert refused_here(give(to="grüße@y.example"), "5.6.7")
    assert "RCPT TO:<b@xn--gre-6ka8l.example>" in give(to="b@grüße.example").said
    assert refused_here(give(to=f"b@{'ü' * 70}.example"), "5.6.7"), (
        "no such domain can be written in A-labels"
    )


def test_size() -> None:
    assert line(give("SIZE 1000"), "MAIL") == f"SIZE={len(MESSAGE)}"
    assert line(give(), "MAIL") == ""
    assert refused_here(give("SIZE 10"), "5.3.4")


def test_limits() -> None:
    def transactions(limit: str, recipients: Sequence[str]) -> list[tuple[int, tuple[str, ...]]]:
        played = play((), recipients, extensions=["PIPELINING", limit])
        assert set(played.statuses) == {D}
        return [(message.connection, message.recipients) for message in played.server.messages]

    b, c, d = "b@y.example", "c@y.example", "d@z.example"
    assert transactions("LIMITS RCPTMAX=2", [b, c, d]) == [(1, (b, c)), (1, (d,))]
    assert transactions("LIMITS RCPTMAX=1 MAILMAX=2", [b, c, d]) == [(1, (b,)), (1, (c,)), (2, (d,))]
    assert transactions("LIMITS RCPTDOMAINMAX=1", [b, c, d]) == [(1, (b, c)), (2, (d,))]
    assert transactions("LIMITS", [b, c, d]) == [(1, (b, c, d))]


def test_enhancedstatuscodes() -> None:
    told = [on("RCPT").reply(550, "5.1.1 no such user")]
    assert play(told, [B], extensions=["ENHANCEDSTATUSCODES"]).enhanced == ["5.1.1"]
    contradictory = [on("RCPT").reply(550, "4.1.1 no such user")]
    assert play(contradictory, [B], extensions=["ENHANCEDSTATUSCODES"]).enhanced == ["None"]


def test_lmtp() -> None:
    rules = [on("message", "c@y.example").reply(452, "4.2.2 mailbox full")]
    played = play(rules, protocol="lmtp", extensions=["PIPELINING"])
    assert played.said[0].startswith("LHLO")
    assert played.codes == [250, 452]


# What is asked for with a message.


def test_dsn_on_mail() -> None:
    assert line(give("DSN", ret="HDRS", envid="id+1"), "MAIL") == "RET=HDRS ENVID=id+2B1"
    assert noted(give(ret="FULL"), "RET")
    assert noted(give(envid="1"), "ENVID")


def test_dsn_on_rcpt() -> None:
    recipient = Recipient(B, notify=("SUCCESS", "FAILURE"), orcpt="rfc822;o+1@y.example")
    assert line(give("DSN", to=recipient), "RCPT") == "NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;o+2B1@y.example"
    assert noted(give(to=recipient), "NOTIFY")
    assert noted(give(to=recipient), "ORCPT")
    international = Recipient(B, orcpt="utf-8;δ@y.example")
    assert line(give("DSN", to=international), "RCPT") == "ORCPT=utf-8;\\x{3B4}@y.example"


def test_requiretls() -> None:
    inside = give("STARTTLS", "REQUIRETLS", requiretls=True)
    assert line(inside, "MAIL") == "REQUIRETLS"
    assert refused_here(give("STARTTLS", requiretls=True), "5.7.30")
    assert refused_here(give("REQUIRETLS", requiretls=True), "5.7.30")


def test_deliverby() -> None:
    assert line(give("DELIVERBY 60", by=DeliverBy(120, "R")), "MAIL") == "BY=120;R"
    assert refused_here(give(by=DeliverBy(120, "R")), "5.3.3")
    assert noted(give(by=DeliverBy(120, "N")), "BY")


def test_futurerelease() -> None:
    offer = "FUTURERELEASE 86400 2031-12-31T00:00:00Z"
    assert line(give(offer, holdfor=60), "MAIL") == "HOLDFOR=60"
    assert line(give(offer, holduntil=MOMENT), "MAIL") == "HOLDUNTIL=2031-05-06T07:08:09Z"
    assert refused_here(give(holdfor=60), "5.3.3")
    assert refused_here(give(holduntil=MOMENT), "5.3.3")


def test_mt_priority() -> None:
    assert line(give("MT-PRIORITY MIXER", mt_priority=-3), "MAIL") == "MT-PRIORITY=-3"
    assert noted(give(mt_priority=-3), "MT-PRIORITY")


def test_rrvs() -> None:
    recipient = Recipient(B, rrvs=MOMENT)
    assert line(give("RRVS", to=recipient), "RCPT") == "RRVS=2031-05-06T07:08:09Z"
    assert refused_here(give(to=recipient), "5.3.3")


def test_auth_on_mail() -> None:
    assert line(give("AUTH PLAIN", auth="e+x@x.example"), "MAIL") == "AUTH=e+2Bx@x.example"
    assert line(give("AUTH PLAIN", auth=""), "MAIL") == "AUTH=<>"
    assert noted(give(auth=""), "AUTH")


# What happens to a connection.


def test_starttls() -> None:
    played = give("STARTTLS", "PIPELINING")
    assert played.said[:3:2] == [played.said[0], played.said[0]], "EHLO is said again inside"
    assert played.said[1] == "STARTTLS"
    assert played.server.messages[0].tls
    assert "STARTTLS" not in give("STARTTLS", settings={"attempt_starttls": False}).said
    required = give(settings={"require_tls": True})
    assert (required.enhanced, required.said[1:]) == (["4.7.5"], ["QUIT"])


def test_auth() -> None:
    login: dict[str, Any] = {"auth": Auth.plain("user", "secret"), "insecure_auth": True}
    played = play([on("AUTH").reply(235, "2.7.0 welcome")], [B], extensions=["AUTH PLAIN"], **login)
    assert (played.statuses, line(played, "AUTH")) == ([D], "AUTH PLAIN AHVzZXIAc2VjcmV0")
    missing = give("AUTH LOGIN", settings=login)
    assert missing.said[1:] == ["QUIT"]
    assert (missing.statuses, missing.phases) == ([F], ["auth"])


def test_xforward_and_xclient() -> None:
    client = {"NAME": "c.example", "ADDR": "192.0.2.9"}
    forwarded = give("XFORWARD NAME ADDR", "XCLIENT NAME", client=client)
    assert line(forwarded, "XFORWARD") == "XFORWARD NAME=c.example ADDR=192.0.2.9"
    assert forwarded.server.messages[0].attributes == client
    taken = give("XCLIENT NAME", client=client)
    assert [said.partition(" ")[0] for said in taken.said[:4]] == ["EHLO", "XCLIENT", "EHLO", "MAIL"]
    assert line(taken, "XCLIENT") == "XCLIENT NAME=c.example"
    [note] = give(client=client).delivery.outcomes[0].notes
    assert note.startswith("the client was not named")


def test_other_commands() -> None:
    server = ModelServer()
    peer = server.connect()
    conn = Connection()

    def said(actions: Sequence[object]) -> bytes:
        return b"".join(getattr(action, "data", b"") for action in actions)

    conn.receive_data(said(peer.greet()))
    conn.next_event()
    for command, code in ((Vrfy("b"), 252), (Expn("list"), 252), (Help(), 214), (Noop(), 250)):
        conn.receive_data(said(peer.receive(conn.send(command))))
        event = conn.next_event()
        assert isinstance(event, CommandAnswered)
        assert (event.command, event.reply.code) == (command, code)
