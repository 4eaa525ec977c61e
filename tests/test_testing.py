"""The model server as a correct server: what it answers, what it keeps, what it complains of."""

from __future__ import annotations

import pytest

from smtpstate.testing import Action, ModelServer, Peer, Say, StartTls

ALL = (
    "PIPELINING",
    "8BITMIME",
    "SMTPUTF8",
    "SIZE 1000",
    "DSN",
    "CHUNKING",
    "BINARYMIME",
    "AUTH PLAIN",
    "DELIVERBY",
    "FUTURERELEASE",
    "MT-PRIORITY",
    "RRVS",
    "REQUIRETLS",
    "XCLIENT NAME ADDR",
    "XFORWARD NAME HELO",
    "X-OWN",
)


def said(actions: list[Action]) -> list[str]:
    """Return the lines that the server says, and the names of whatever else it does."""
    shown: list[str] = []
    octets = b""
    for action in actions:
        if isinstance(action, Say):
            octets += action.data
        else:
            shown += octets.decode("latin-1").splitlines()
            shown.append(type(action).__name__)
            octets = b""
    return shown + octets.decode("latin-1").splitlines()


def tell(peer: Peer, *lines: str) -> list[str]:
    """Send lines one after the other, each when the one before is answered; return all that is said."""
    answers: list[str] = []
    for line in lines:
        answers += said(peer.receive(line.encode() + b"\r\n"))
    return answers


def greeted(server: ModelServer, hello: str = "EHLO a.example") -> Peer:
    peer = server.connect()
    peer.greet()
    if hello:
        assert tell(peer, hello)[-1].startswith("250 ")
    return peer


def test_a_message_is_taken() -> None:
    server = ModelServer()
    peer = server.connect()
    assert said(peer.greet()) == ["220 mx.example SMTP ready"]
    assert tell(peer, "EHLO a.example") == ["250 mx.example greets a.example"]
    assert tell(peer, "MAIL FROM:<a@x.example>") == ["250 2.1.0 sender ok"]
    assert tell(peer, "RCPT TO:<b@y.example>", "RCPT TO:<c@y.example>") == ["250 2.1.5 recipient ok"] * 2
    assert tell(peer, "DATA") == ["354 end with a lone dot"]
    assert tell(peer, "Subject: hello", "", "..", "..two", ".") == ["250 2.0.0 message accepted"]
    assert tell(peer, "QUIT") == ["221 2.0.0 goodbye", "Close"]
    (message,) = server.messages
    assert message.sender == "a@x.example"
    assert message.recipients == ("b@y.example", "c@y.example")
    assert message.content == b"Subject: hello\r\n\r\n.\r\n.two\r\n"
    assert (message.size, message.by, message.hello) == (len(message.content), "DATA", "a.example")
    assert (message.tls, message.identity, message.connection) == (False, None, 1)
    assert server.violations == []
    assert server.commands[-2:] == ["DATA", "QUIT"]
    assert peer.closed
    assert peer.receive(b"NOOP\r\n") == []
    assert repr(server) == "<ModelServer mx.example: 1 connections>"


def test_the_server_says_what_it_offers() -> None:
    peer = ModelServer(extensions=("PIPELINING", "SIZE 1000"), name="mx2.example").connect()
    peer.greet()
    assert tell(peer, "EHLO [192.0.2.1]") == [
        "250-mx2.example greets [192.0.2.1]",
        "250-PIPELINING",
        "250 SIZE 1000",
    ]
    assert tell(peer, "HELO a.example") == ["250 mx2.example greets a.example"]


COMMANDS = {
    "NOOP": "250 2.0.0 ok",
    "noop": "250 2.0.0 ok",
    "NOOP with anything": "250 2.0.0 ok",
    "RSET": "250 2.0.0 forgotten",
    "HELP": "214 2.0.0 see RFC 5321",
    "VRFY postmaster": "252 2.5.0 cannot tell",
    "EXPN all": "252 2.5.0 cannot tell",
}


@pytest.mark.parametrize(("line", "answer"), COMMANDS.items())
def test_a_command_that_changes_nothing_is_answered(line: str, answer: str) -> None:
    server = ModelServer()
    assert tell(greeted(server), line) == [answer]
    assert server.violations == []


def test_a_command_out_of_order_gets_503() -> None:
    server = ModelServer(extensions=ALL)
    peer = greeted(server, hello="")
    assert tell(peer, "MAIL FROM:<a@x>") == ["503 5.5.1 no introduction before MAIL"]
    tell(peer, "EHLO a")
    assert tell(peer, "RCPT TO:<b@y>", "DATA") == [
        "503 5.5.1 MAIL comes first",
        "503 5.5.1 no valid recipients",
    ]
    assert tell(peer, "MAIL FROM:<a@x>", "MAIL FROM:<a@x>")[-1] == "503 5.5.1 a transaction is under way"
    assert tell(peer, "DATA") == ["503 5.5.1 no valid recipients"]
    assert tell(peer, "XCLIENT NAME=c") == ["503 5.5.1 XCLIENT within a transaction"]
    assert tell(peer, "AUTH PLAIN") == ["503 5.5.1 AUTH does not belong here"]


def test_rset_and_a_new_introduction_abandon_the_transaction() -> None:
    peer = greeted(ModelServer())
    for line in ("RSET", "EHLO a", "HELO a"):
        assert tell(peer, "MAIL FROM:<a@x>", line, "RCPT TO:<b@y>")[-1] == "503 5.5.1 MAIL comes first"


@pytest.mark.parametrize("line", ["EHLO a", "HELO a"])
def test_lmtp_has_lhlo_only(line: str) -> None:
    server = ModelServer("lmtp")
    peer = greeted(server, hello="")
    assert tell(peer, line) == ["500 5.5.1 LMTP has LHLO"]
    assert tell(peer, "LHLO a") == ["250 mx.example greets a"]


def test_size_is_obeyed() -> None:
    server = ModelServer(extensions=("SIZE 10",))
    peer = greeted(server)
    assert tell(peer, "MAIL FROM:<a@x> SIZE=11") == ["552 5.3.4 message too big"]
    assert tell(peer, "MAIL FROM:<a@x> SIZE=10", "RCPT TO:<b@y>", "DATA", "12345678", ".")[-1].startswith(
        "250"
    )
    assert (
        tell(peer, "MAIL FROM:<a@x>", "RCPT TO:<b@y>", "DATA", "123456789", ".")[-1]
        == "552 5.3.4 message too big"
    )
    assert len(server.messages) == 1


@pytest.mark.parametrize("offer", ["SIZE", "SIZE 0"])
def test_size_may_have_no_maximum(offer: str) -> None:
    assert tell(greeted(ModelServer(extensions=(offer,))), "MAIL FROM:<a@x> SIZE=99999")[-1].startswith("250")


def test_limits_are_obeyed() -> None:
    server = ModelServer(extensions=("LIMITS MAILMAX=2 RCPTMAX=3 RCPTDOMAINMAX=2",))
    peer = greeted(server)
    assert tell(peer, "MAIL FROM:<a@x>", "RCPT TO:<b@y>", "RCPT TO:<b@Y>", "RCPT TO:<b@z>")[-1].startswith(
        "250"
    )
    assert tell(peer, "RCPT TO:<c@y>") == ["452 4.5.3 more than 3 recipients"]
    assert tell(peer, "RSET", "MAIL FROM:<a@x>", "RCPT TO:<b@w>")[-1] == "452 4.5.3 more than 2 domains"
    assert tell(peer, "RSET", "MAIL FROM:<a@x>")[-1] == "452 4.5.3 more than 2 transactions"
    assert [sentence.partition(": ")[2] for sentence in server.violations] == [
        "452 4.5.3 more than 3 recipients",
        "452 4.5.3 more than 2 domains",
        "452 4.5.3 more than 2 transactions",
    ]


def test_a_limit_that_is_not_named_does_not_bind() -> None:
    peer = greeted(ModelServer(extensions=("LIMITS RCPTMAX=3",)))
    assert tell(peer, "MAIL FROM:<a@x>", "RSET", "MAIL FROM:<a@x>", "RCPT TO:<b@y>")[-1].startswith("250")


def test_mail_may_need_tls_or_a_login() -> None:
    assert tell(greeted(ModelServer(require_tls=True)), "MAIL FROM:<a@x>") == [
        "530 5.7.0 STARTTLS comes first"
    ]
    assert tell(greeted(ModelServer(require_auth=True)), "MAIL FROM:<a@x>") == [
        "530 5.7.0 authentication required"
    ]


def test_starttls_forgets_what_was_known() -> None:
    server = ModelServer(extensions=("STARTTLS", "PIPELINING"), require_tls=True)
    peer = greeted(server)
    assert tell(peer, "STARTTLS") == ["220 2.0.0 ready for TLS", "StartTls"]
    assert peer.tls_started() == []
    assert tell(peer, "MAIL FROM:<a@x>") == ["503 5.5.1 no introduction before MAIL"]
    assert tell(peer, "EHLO a") == ["250-mx.example greets a", "250 PIPELINING"]
    assert tell(peer, "STARTTLS") == ["503 5.5.1 TLS is active already"]
    tell(peer, "MAIL FROM:<a@x>", "RCPT TO:<b@y>", "DATA", ".")
    assert server.messages[0].tls


def test_more_may_be_offered_inside_tls() -> None:
    server = ModelServer(extensions=("STARTTLS",), tls_extensions=("AUTH PLAIN",))
    peer = greeted(server)
    tell(peer, "STARTTLS")
    peer.tls_started()
    assert tell(peer, "EHLO a")[-1] == "250 AUTH PLAIN"


def test_octets_behind_starttls_are_noted_and_dropped() -> None:
    server = ModelServer(extensions=("STARTTLS", "PIPELINING"))
    peer = greeted(server)
    assert said(peer.receive(b"STARTTLS\r\nEHLO evil\r\n")) == ["220 2.0.0 ready for TLS", "StartTls"]
    assert peer.tls_started() == []
    assert server.violations == [
        "connection 1: octets came before STARTTLS was answered, and nothing may follow it in a group"
    ]
    assert peer.commands[-1] == "STARTTLS"


def test_octets_in_clear_in_place_of_a_handshake_end_the_connection() -> None:
    server = ModelServer(extensions=("STARTTLS",))
    peer = greeted(server)
    tell(peer, "STARTTLS")
    assert said(peer.receive(b"EHLO a\r\n")) == ["Close"]
    assert server.violations == ["connection 1: octets came in clear where a TLS handshake was due"]


def test_implicit_tls_begins_with_the_handshake() -> None:
    server = ModelServer(implicit_tls=True, extensions=("STARTTLS",))
    peer = server.connect()
    assert peer.greet() == [StartTls()]
    assert said(peer.tls_started()) == ["220 mx.example SMTP ready"]
    assert tell(peer, "EHLO a") == ["250 mx.example greets a"]
    assert server.violations == []


def test_xclient_begins_anew_and_xforward_goes_on() -> None:
    server = ModelServer(extensions=ALL)
    peer = greeted(server)
    assert tell(peer, "XCLIENT NAME=c.example ADDR=192.0.2.7") == ["220 mx.example hello again"]
    assert tell(peer, "MAIL FROM:<a@x>") == ["503 5.5.1 no introduction before MAIL"]
    assert tell(peer, "EHLO a", "XFORWARD NAME=d.example HELO=e")[-1] == "250 2.0.0 ok"
    tell(peer, "MAIL FROM:<a@x>", "RCPT TO:<b@y>", "DATA", ".")
    assert server.messages[0].attributes == {"NAME": "d.example", "ADDR": "192.0.2.7", "HELO": "e"}


def test_what_is_not_offered_is_not_known() -> None:
    peer = greeted(ModelServer())
    assert tell(peer, "XCLIENT NAME=c") == ["502 5.5.1 XCLIENT is not offered"]
    assert tell(peer, "XFORWARD NAME=c") == ["502 5.5.1 XFORWARD is not offered"]
    assert tell(peer, "AUTH PLAIN") == ["502 5.5.1 AUTH is not offered"]


def test_a_group_of_commands_is_answered_in_order() -> None:
    server = ModelServer(extensions=("PIPELINING",))
    peer = greeted(server)
    group = b"MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nRCPT TO:<c@y>\r\nDATA\r\n"
    assert [line[:3] for line in said(peer.receive(group))] == ["250", "250", "250", "354"]
    group = b"hello\r\n.\r\nRSET\r\nMAIL FROM:<a@x>\r\nQUIT\r\n"
    assert [line[:3] for line in said(peer.receive(group))] == ["250", "250", "250", "221", "Clo"]
    assert server.violations == []


def test_a_group_without_pipelining_is_noted() -> None:
    server = ModelServer()
    peer = greeted(server)
    peer.receive(b"MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nDATA\r\n")
    assert server.violations == [
        "connection 1: octets came before MAIL was answered, though PIPELINING is not offered",
        "connection 1: octets came before RCPT was answered, though PIPELINING is not offered",
    ]


@pytest.mark.parametrize("line", ["EHLO a", "NOOP", "VRFY a", "DATA", "HELP", "XCLIENT NAME=c", "FROB"])
def test_nothing_may_follow_some_commands_in_a_group(line: str) -> None:
    server = ModelServer(extensions=ALL)
    greeted(server).receive(f"{line}\r\nRSET\r\n".encode())
    verb = line.partition(" ")[0]
    assert (
        f"connection 1: octets came before {verb} was answered, and nothing may follow it in a group"
        in server.violations
    )


def test_a_client_that_does_not_wait_for_the_greeting_is_noted() -> None:
    server = ModelServer()
    peer = server.connect()
    peer.greet()
    assert said(peer.receive(b"EHLO a\r\n", unread=True)) == ["250 mx.example greets a"]
    assert server.violations == [
        "connection 1: octets came before greeting was answered, and nothing may follow it in a group"
    ]


def test_a_driver_can_tell_that_a_reply_was_not_read() -> None:
    server = ModelServer(extensions=("PIPELINING",))
    peer = greeted(server)
    peer.receive(b"MAIL FROM:<a@x>\r\n", unread=False)
    peer.receive(b"RCPT TO:<b@y>\r\n", unread=True)
    assert server.violations == []
    peer.receive(b"NOOP\r\n", unread=True)
    peer.receive(b"NOOP\r\n", unread=True)
    assert len(server.violations) == 1


def test_lines_end_in_crlf() -> None:
    server = ModelServer()
    assert said(greeted(server).receive(b"NOOP\n")) == ["250 2.0.0 ok"]
    assert said(server.connections[0].receive(b"NO\rOP\r\n")) == ["500 5.5.1 unknown command 'NO\\rOP'"]
    assert server.violations[:2] == [
        "connection 1: a command ends in a bare LF: 'NOOP'",
        "connection 1: a command holds a bare CR: 'NO\\rOP'",
    ]


@pytest.mark.parametrize(
    "parts", [[b"NOOP " + b"x" * 40 + b"\r\n"], [b"NOOP " + b"x" * 40, b"y" * 40, b"\r\n"]]
)
def test_a_line_that_is_too_long_is_refused_once(parts: list[bytes]) -> None:
    server = ModelServer(line_limit=40)
    peer = greeted(server)
    actions = [action for part in parts for action in peer.receive(part)]
    assert said(actions) == ["500 5.5.2 line too long"]
    assert tell(peer, "NOOP") == ["250 2.0.0 ok"]
    assert server.violations == ["connection 1: a command line is longer than 40 octets"]


def test_a_client_that_leaves_leaves_nothing() -> None:
    server = ModelServer()
    peer = greeted(server)
    tell(peer, "MAIL FROM:<a@x>", "RCPT TO:<b@y>", "DATA", "half of it")
    peer.disconnected()
    assert peer.closed
    assert peer.receive(b".\r\n") == []
    assert server.messages == []


def test_what_a_client_says_makes_no_reply_too_long() -> None:
    (answer,) = tell(greeted(ModelServer()), "X" * 10_000)
    assert len(answer) < 512
