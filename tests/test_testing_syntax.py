"""The model server reads commands strictly."""

from __future__ import annotations

import pytest

from smtpstate.testing import ModelServer
from test_testing import ALL, greeted, tell

WRONG = {
    "FROB": "500 5.5.1 unknown command 'FROB'",
    "LHLO a.example": "500 5.5.1 SMTP has EHLO",
    "EHLO": "501 5.5.4 not a name for EHLO: ''",
    "EHLO a b": "501 5.5.4 not a name for EHLO: 'a b'",
    "RSET now": "501 5.5.4 RSET has no argument",
    "QUIT now": "501 5.5.4 QUIT has no argument",
    "VRFY": "501 5.5.4 an argument is needed",
    "STARTTLS": "502 5.5.1 STARTTLS is not offered",
    "STARTTLS now": "501 5.5.4 STARTTLS has no argument",
    "AUTH PLAIN": "504 5.5.4 mechanism 'PLAIN' is not offered",
    "XCLIENT NAME": "501 5.5.4 not an attribute: 'NAME'",
    "XCLIENT LOGIN=me": "501 5.5.4 attribute 'LOGIN' is not offered",
    "MAIL TO:<a@x>": "501 5.5.4 MAIL needs FROM:<address>",
    "MAIL FROM: <a@x>": "501 5.5.4 no angle bracket right after FROM:",
    "MAIL FROM:<a@x": "501 5.1.3 the address does not end",
    "MAIL FROM:<a b@x>": "501 5.1.3 ' ' within an address",
    'MAIL FROM:<"a\\">@x>': "501 5.1.3 the address does not end",
    "MAIL FROM:<a@x>SIZE=1": "501 5.5.4 no blank behind the address",
    "MAIL FROM:<a@x> ": "501 5.5.4 not a parameter: ''",
    "MAIL FROM:<a@x>  SIZE=1": "501 5.5.4 not a parameter: ''",
    "MAIL FROM:<a@x> SIZE=": "501 5.5.4 not a parameter: 'SIZE='",
    "MAIL FROM:<a@x> SIZE=1 size=1": "501 5.5.4 SIZE is given twice",
    "MAIL FROM:<a@x> SIZE": "501 5.5.4 not a value for SIZE: None",
    "MAIL FROM:<a@x> SIZE=x": "501 5.5.4 not a value for SIZE: 'x'",
    "MAIL FROM:<a@x> SMTPUTF8=x": "501 5.5.4 SMTPUTF8 has no value",
    "MAIL FROM:<a@x> ENVID=a+b": "501 5.5.4 not a value for ENVID: 'a+b'",
    "MAIL FROM:<a@x> X-NONE=1": "555 5.5.4 X-NONE=1 is not offered",
    "MAIL FROM:<a@x> REQUIRETLS": "530 5.7.10 REQUIRETLS outside TLS",
    "MAIL FROM:<ä@x>": "553 5.6.7 the address needs SMTPUTF8",
}


@pytest.mark.parametrize(("line", "answer"), WRONG.items())
def test_a_wrong_command_is_refused_and_noted(line: str, answer: str) -> None:
    server = ModelServer(extensions=(*(each for each in ALL if each != "AUTH PLAIN"), "AUTH"))
    answer_as_sent = answer.encode().decode("latin-1")
    assert tell(greeted(server), line) == [answer_as_sent]
    assert server.violations == [f"connection 1: {answer}"]


RIGHT = {
    "<>": "",
    '<"a b>\\""@x>': '"a b>\\""@x',
    "<a..b@docomo.example>": "a..b@docomo.example",
    "<ä@x> SMTPUTF8": "ä@x",
    "<a@x> SIZE=1000 BODY=8BITMIME RET=HDRS ENVID=a+2Bb": "a@x",
    "<b@x> BODY=BINARYMIME AUTH=<> BY=-120;NT MT-PRIORITY=-3": "b@x",
    "<c@x> HOLDFOR=60 X-OWN=1": "c@x",
    "<d@x> HOLDUNTIL=2030-01-02T03:04:05Z X-OWN": "d@x",
}


@pytest.mark.parametrize(("argument", "sender"), RIGHT.items())
def test_every_form_of_mail_is_taken(argument: str, sender: str) -> None:
    server = ModelServer(extensions=ALL)
    peer = greeted(server)
    assert tell(peer, f"MAIL FROM:{argument}") == ["250 2.1.0 sender ok"]
    assert server.violations == []
    assert peer.session.transaction is not None
    assert peer.session.transaction.sender == sender


def test_parameters_are_kept_with_the_message() -> None:
    server = ModelServer(extensions=ALL)
    peer = greeted(server)
    tell(peer, "MAIL FROM:<a@x> ret=FULL X-OWN", "RCPT TO:<b@y> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b@y")
    tell(peer, "RCPT TO:<c@y> RRVS=2014-04-03T23:01:00Z;C", "RCPT TO:<d@y>", "DATA", "x", ".")
    (message,) = server.messages
    assert message.parameters == {"RET": "FULL", "X-OWN": None}
    assert message.recipient_parameters == (
        {"NOTIFY": "SUCCESS,DELAY", "ORCPT": "rfc822;b@y"},
        {"RRVS": "2014-04-03T23:01:00Z;C"},
        {},
    )


def test_binarymime_needs_its_own_offer() -> None:
    server = ModelServer(extensions=("8BITMIME",))
    assert tell(greeted(server), "MAIL FROM:<a@x> BODY=BINARYMIME") == [
        "555 5.5.4 BODY=BINARYMIME is not offered"
    ]


def test_rcpt_needs_a_recipient() -> None:
    server = ModelServer()
    assert tell(greeted(server), "MAIL FROM:<a@x>", "RCPT TO:<>")[-1] == "501 5.1.3 a recipient is needed"
