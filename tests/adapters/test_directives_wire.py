"""What is used of a server's extensions: each directive's effect on the wire."""

from __future__ import annotations

import pytest

from adapters.directives import MESSAGE, D, R, deliver, statuses
from adapters.runtimes import Runtime
from smtpstate.testing import ModelServer, on
from smtpstate_testing import serve

pytestmark = pytest.mark.usefixtures("nothing_left")

ALONE = ["MAIL"]
TOGETHER = ["MAIL", "RCPT", "RCPT", "DATA"]


def verbs_after_a_refused_sender(runtime: Runtime, directive: str) -> list[str]:
    """Return what a server with PIPELINING hears from MAIL to QUIT, when it refuses the sender."""
    server = ModelServer(extensions=["PIPELINING"], rules=[on("MAIL").reply(550, "5.7.1 no")])
    with serve(server) as served:
        delivery = deliver(runtime, served.endpoint, directive)
    assert statuses(delivery) == [R, R]
    assert server.violations == []
    verbs = [command.split()[0] for command in server.commands]
    return verbs[1 : verbs.index("QUIT")]


@pytest.mark.parametrize("directive", ["", "pipelining yes"])
def test_pipelining_sends_the_envelope_in_one_flight(runtime: Runtime, directive: str) -> None:
    assert verbs_after_a_refused_sender(runtime, directive) == TOGETHER


def test_pipelining_no_waits_for_each_reply(runtime: Runtime) -> None:
    assert verbs_after_a_refused_sender(runtime, "pipelining no") == ALONE


def test_ignore_keywords_takes_pipelining_as_not_offered(runtime: Runtime) -> None:
    assert verbs_after_a_refused_sender(runtime, "ignore_keywords size Pipelining") == ALONE


@pytest.mark.parametrize(
    ("directive", "by"),
    [
        ("", "BDAT"),
        ("chunking yes", "BDAT"),
        ("chunking no", "DATA"),
        ("ignore_keywords CHUNKING", "DATA"),
    ],
)
def test_chunking_chooses_how_the_message_is_sent(runtime: Runtime, directive: str, by: str) -> None:
    server = ModelServer(extensions=["PIPELINING", "CHUNKING"])
    with serve(server) as served:
        delivery = deliver(runtime, served.endpoint, directive)
    assert statuses(delivery) == [D, D]
    assert [(message.by, message.content) for message in server.messages] == [(by, MESSAGE)]


@pytest.mark.parametrize(("directive", "announced"), [("", True), ("ignore_keywords SIZE", False)])
def test_ignore_keywords_leaves_out_what_the_keyword_allows(
    runtime: Runtime, directive: str, announced: bool
) -> None:
    server = ModelServer(extensions=["SIZE 1000000"])
    with serve(server) as served:
        delivery = deliver(runtime, served.endpoint, directive)
    assert statuses(delivery) == [D, D]
    assert [("SIZE" in message.parameters) for message in server.messages] == [announced]


@pytest.mark.parametrize(("protocol", "verb"), [("smtp", "EHLO"), ("lmtp", "LHLO")])
def test_the_opening_line_chooses_the_protocol(runtime: Runtime, protocol: str, verb: str) -> None:
    server = ModelServer(protocol)
    with serve(server) as served:
        delivery = deliver(runtime, served.endpoint, protocol=protocol)
    assert statuses(delivery) == [D, D]
    assert server.commands[0].split()[0] == verb
