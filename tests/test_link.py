"""One connection: who hears which answer, in which flight a command leaves, and how long we wait."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from smtpstate import DeadlinePassed, Limits, RemoteProtocolError, TargetConfig, TransportError
from smtpstate._commands import (
    AuthBegin,
    Command,
    Content,
    Data,
    Ehlo,
    EndOfContent,
    Mail,
    Noop,
    Protocol,
    Rcpt,
)
from smtpstate._endpoints import Endpoint
from smtpstate._events import Answered
from smtpstate._link import Closing, Link
from smtpstate._requests import Poll, Receive, Request, Send, SendInterrupted, Steps
from smtpstate._trace import Failed, Received, TraceEvent

MX = Endpoint("tcp", "mx.example", 25)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def ready(*offers: str, endpoint: Endpoint = MX, **more: Any) -> tuple[Link, Clock]:
    """Return a link on which the server has answered EHLO."""
    clock = Clock()
    config = TargetConfig(targets=["tcp://mx.example:25"], command_timeout=10, submission_timeout=20)
    more = {"limits": Limits(), "timeouts": config.timeouts, **more}
    link = Link(endpoint, Protocol.SMTP, clock=clock, **more)
    play(link.greeting(), b"220 mx.example\r\n")
    lines = ["mx.example", *offers]
    answer = "".join(f"250{' ' if line is lines[-1] else '-'}{line}\r\n" for line in lines).encode()
    play(link.ask(Ehlo("c.example")), None, answer)
    return link, clock


def play(steps: Steps[Any], *answers: object) -> list[Request]:
    """Answer each request in turn; an exception fails it. Return the requests."""
    requests: list[Request] = []
    generator: Generator[Request, Any, Any] = steps
    try:
        request = next(generator)
        for answer in answers:
            requests.append(request)
            request = generator.throw(answer) if isinstance(answer, Exception) else generator.send(answer)
    except StopIteration:
        assert len(requests) == len(answers), "it ended before all answers were used"
        return requests
    raise AssertionError(f"it asks for more: {request!r}")


class Heard:
    """Listeners that note which command was answered with what."""

    def __init__(self) -> None:
        self.codes: list[tuple[str, int]] = []

    def __call__(self, event: Answered) -> None:
        self.codes.append((str(event.command).partition(" ")[0], event.reply.code))


def submit(link: Link, heard: Heard, *commands: Command) -> None:
    for command in commands:
        link.submit(command, heard)


ENVELOPE = (Mail("a@x.example"), Rcpt("b@y.example"), Data())


def test_commands_leave_together_and_each_answer_is_heard_by_its_own_listener() -> None:
    link, _ = ready("PIPELINING")
    first, rest = Heard(), Heard()
    link.submit(ENVELOPE[0], first)
    submit(link, rest, *ENVELOPE[1:])
    [send] = play(link.flush(), None)
    assert isinstance(send, Send)
    assert send.data == b"".join(map(bytes, ENVELOPE))
    play(link.hear(), b"250 a\r\n550 b\r\n503 c\r\n")
    assert first.codes == [("MAIL", 250)]
    assert rest.codes == [("RCPT", 550), ("DATA", 503)]
    assert play(link.flush()) == []


def test_octets_count_as_requested_once_their_sending_was_even_if_it_failed() -> None:
    link, _ = ready()
    before = link.requested
    submit(link, Heard(), Noop())
    assert (link.submitted, link.requested) == (before + 6, before)
    with pytest.raises(TransportError, match="reset"):
        play(link.flush(), TransportError("reset"), None)
    assert link.requested == link.submitted


@pytest.mark.parametrize(
    "last",
    [None, b"", TransportError("gone"), b"junk\r\n", b"250 ok\r\n"],
    ids=["none", "end", "error", "junk", "ok"],
)
def test_a_sending_that_failed_is_the_failure_whatever_is_found_afterwards(last: object) -> None:
    link, _ = ready()
    submit(link, Heard(), Noop())
    with pytest.raises(TransportError, match="broken pipe"):
        play(link.flush(), TransportError("broken pipe"), last)


def test_last_words_of_a_server_count_although_the_sending_failed() -> None:
    link, _ = ready()
    heard = Heard()
    submit(link, heard, Noop())
    with pytest.raises(Closing):
        play(link.flush(), TransportError("broken pipe"), b"421 4.3.2 closing\r\n")


def test_a_sending_that_was_interrupted_is_explained_by_what_the_server_says() -> None:
    link, _ = ready()
    heard = Heard()
    submit(link, heard, Mail("a@x.example"))
    play(link.flush(), None)
    play(link.hear(), b"250 ok\r\n")
    submit(link, heard, Rcpt("b@y.example"))
    play(link.flush(), None)
    play(link.hear(), b"250 ok\r\n")
    link.listen_early = heard
    submit(link, heard, Data())
    play(link.flush(), None)
    play(link.hear(), b"354 go\r\n")
    submit(link, heard, Content(b"x"))
    with pytest.raises(SendInterrupted):
        play(link.flush(heed=True), SendInterrupted("it speaks"), b"552 5.3.4 too big\r\n")
    assert heard.codes[-1][1] == 552


# Room.


def test_without_pipelining_nothing_follows_an_unanswered_command() -> None:
    for link in (ready()[0], ready("PIPELINING", pipelining=False)[0]):
        assert link.has_room()
        submit(link, Heard(), Noop())
        assert not link.has_room()
        assert not link.pipelines


def test_the_window_is_filled_and_then_half_of_it_is_waited_for() -> None:
    link, _ = ready("PIPELINING", limits=Limits(window=4096))
    heard = Heard()
    submit(link, heard, Mail("a@x.example"))
    while link.has_room():
        submit(link, heard, Rcpt("b@y.example"))
    assert 4096 - 512 < link.conn.outstanding_octets <= 4096 - 512 + 30
    assert not link.has_room()
    requests = play(link.make_room(), None, b"250 ok\r\n" * 20, b"250 ok\r\n" * 60)
    assert [type(request) for request in requests] == [Send, Receive, Receive]
    assert link.has_room(2048)
    assert play(link.make_room()) == []


def test_the_window_is_smaller_on_a_unix_socket() -> None:
    limits = Limits()
    assert ready()[0].fits_window(limits.window - 512)
    unix, _ = ready(endpoint=Endpoint("unix", path="/run/lmtp"))
    assert unix.fits_window(limits.unix_window - 512)
    assert not unix.fits_window(limits.unix_window)


# Time.


def test_each_reply_is_waited_for_anew_from_the_last_that_was_complete() -> None:
    link, clock = ready("PIPELINING")
    heard = Heard()
    submit(link, heard, *ENVELOPE)
    clock.now = 100.0
    [send] = play(link.flush(), None)
    assert isinstance(send, Send)
    assert send.deadline == 110.0
    clock.now = 105.0
    deadlines: list[float] = []
    steps = link.hear()
    request = next(steps)
    for answer in (b"25", b"0 o", b"k\r\n"):  # a part of a reply extends nothing
        assert isinstance(request, Receive)
        deadlines.append(request.deadline)
        clock.now += 1
        try:
            request = steps.send(answer)
        except StopIteration:
            break
    assert deadlines == [110.0] * 3
    [receive] = play(link.hear(), b"250 ok\r\n")
    assert isinstance(receive, Receive)
    assert receive.deadline == 118.0


def test_the_final_reply_has_a_time_of_its_own_and_one_deadline_is_over_all() -> None:
    link, clock = ready("PIPELINING")
    heard = Heard()
    submit(link, heard, *ENVELOPE)
    play(link.flush(), None)
    play(link.hear(), b"250 a\r\n250 b\r\n354 c\r\n")
    submit(link, heard, EndOfContent())
    play(link.flush(), None)
    steps = link.hear()
    request = next(steps)
    assert isinstance(request, Receive)
    assert request.deadline == 20.0
    steps.close()
    link.ends = 15.0
    request = next(link.hear())
    assert isinstance(request, Receive)
    assert request.deadline == 15.0
    assert link.deadline(5) == 5.0
    clock.now = 12.0
    assert link.deadline(5) == 15.0


def test_nothing_more_is_sent_once_the_one_deadline_has_passed() -> None:
    link, clock = ready()
    link.ends = 15.0
    clock.now = 15.0
    submit(link, Heard(), Noop())
    requested = link.requested
    with pytest.raises(DeadlinePassed):
        play(link.flush(), None)
    assert link.requested == requested


# What is known of it.


def test_a_connection_is_of_use_only_when_nothing_is_under_way() -> None:
    link, _ = ready()
    assert link.usable
    assert not link.busy
    heard = Heard()
    submit(link, heard, Noop())
    assert (link.usable, link.busy) == (False, True)
    play(link.flush(), None)
    assert (link.usable, link.busy) == (False, True)
    play(link.hear(), b"250 ok\r\n")
    assert link.usable
    play(link.glance(), None)
    assert link.usable
    play(link.glance(), b"4")  # the beginning of something
    assert not link.usable


def test_the_end_of_the_stream_and_an_answer_to_nothing_end_it() -> None:
    link, _ = ready()
    with pytest.raises(TransportError, match="closed"):
        play(link.glance(), b"")
    link, _ = ready()
    with pytest.raises(RemoteProtocolError):
        play(link.glance(), b"250 what\r\n")


def test_it_carries_as_many_messages_as_we_or_the_server_allow() -> None:
    for link, most in ((ready(most_messages=2)[0], 2), (ready("LIMITS MAILMAX=3", most_messages=9)[0], 3)):
        link.transactions = most - 1
        assert not link.spent
        link.transactions = most
        assert link.spent


def test_a_failure_is_traced_without_the_words_of_strangers() -> None:
    seen: list[TraceEvent] = []
    link, _ = ready(trace=seen.append)
    link.failed(TransportError("connection reset"))
    link.failed(ValueError("a secret of the caller"))
    told = [event.error for event in seen if isinstance(event, Failed)]
    assert told == ["connection reset", "ValueError"]
    assert link.broken


def test_a_glance_waits_for_nothing() -> None:
    link, _ = ready()
    [request] = play(link.glance(), None)
    assert isinstance(request, Poll)


# Whoever watches.


def test_a_watcher_that_fails_is_told_once_and_the_connection_is_of_no_more_use() -> None:
    calls: list[TraceEvent] = []

    def watch(event: TraceEvent) -> None:
        calls.append(event)
        if str(event) == "> NOOP":
            raise KeyError("the watcher's own")

    link, _ = ready(trace=watch)
    with pytest.raises(KeyError):
        link.submit(Noop())
    assert link.broken
    link.failed(TransportError("connection reset"))
    assert str(calls[-1]) == "> NOOP"


def test_what_was_said_meanwhile_is_heard_although_the_one_deadline_has_passed() -> None:
    link, clock = ready("PIPELINING")
    heard = Heard()
    submit(link, heard, ENVELOPE[0])
    play(link.flush(), None)
    link.ends = 15.0
    clock.now = 15.0
    submit(link, heard, ENVELOPE[1])
    assert link.overdue
    with pytest.raises(DeadlinePassed):
        play(link.flush(), b"250 ok\r\n")
    assert heard.codes == [("MAIL", 250)]


def test_a_challenge_is_heard_as_it_is_and_shown_without_secrets() -> None:
    seen: list[TraceEvent] = []
    link, _ = ready("AUTH LOGIN", trace=seen.append)
    link.secrets = (b"VX",)
    answers: list[Answered] = []
    link.submit(AuthBegin("LOGIN"), answers.append)
    play(link.flush(), None)
    play(link.hear(), b"334 VXNlcmhbWU6\r\n")
    [challenge] = answers
    assert challenge.reply.lines == (b"VXNlcmhbWU6",)
    last = seen[-1]
    assert isinstance(last, Received)
    assert last.reply.lines == (b"****NlcmhbWU6",)
