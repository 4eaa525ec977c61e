"""What we have sent in secret is blotted out of what servers say, and of nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from smtpstate._commands import AuthBegin, Mail
from smtpstate._events import Challenged, ConnectionEnded, SenderAnswered, ServiceClosing
from smtpstate._masking import masked, masked_event
from smtpstate._replies import Reply


@pytest.mark.parametrize(
    ("lines", "secrets", "shown"),
    [
        ([b"2.0.0 ok"], [b"5"], [b"2.0.0 ok"]),
        ([b"5.5.1 no 5"], [b"5"], [b"5.5.1 no ****"]),
        ([b"5.05.1 5.5", b"5.4.1 5"], [b"5."], [b"5.05.1 ****5", b"****4.1 5"]),
        ([b"5.5.1:5"], [b"5"], [b"5.5.1:****"]),
        ([b"5.5.1"], [b"5.5.1"], [b"5.5.1"]),
        ([b"4.5.1 no code of this class"], [b"4"], [b"****.5.1 no code of this class"]),
        ([b"no such word as s3cret-word"], [b"s3cret-word"], [b"no such word as ****"]),
    ],
)
def test_secrets_are_blotted_out_and_the_enhanced_code_is_left(
    lines: Sequence[bytes], secrets: Sequence[bytes], shown: Sequence[bytes]
) -> None:
    code = 250 if lines[0].startswith(b"2") else 552
    before = Reply(code, tuple(lines))
    after = masked(before, secrets)
    assert after.lines == tuple(shown)
    assert (after.code, after.enhanced, after.local) == (code, before.enhanced, False)


def test_of_a_challenge_every_octet_counts() -> None:
    challenge = Challenged(Reply(334, (b"VXNlcm5hbWU6",)), AuthBegin("LOGIN"))
    assert masked_event(challenge, [b"VX"]) is challenge


def test_an_event_without_secrets_or_without_a_reply_is_the_same() -> None:
    answered = SenderAnswered(Reply(250, (b"ok",)), Mail("a@x.example"))
    assert masked_event(answered, [b"s3cret"]) is answered
    ended = ConnectionEnded(())
    assert masked_event(ended, [b"s3cret"]) is ended


def test_an_event_with_a_secret_in_its_reply_is_masked() -> None:
    answered = SenderAnswered(Reply(550, (b"what is s3cret",)), Mail("a@x.example"))
    assert masked_event(answered, [b"s3cret"]).reply.lines == (b"what is ****",)
    closing = ServiceClosing(Reply(421, (b"4.3.2 s3cret",)), (), None)
    assert masked_event(closing, [b"s3cret"]).reply.lines == (b"4.3.2 ****",)
