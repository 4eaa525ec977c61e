"""Envelopes: checked when they are made, never rewritten."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, asdict, fields, replace
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpstate._envelope import DeliverBy, Envelope, Recipient, rfc3339
from smtpstate._errors import LocalProtocolError
from strategies import addresses, hostile_text

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "wrong",
    [
        {"by": 60},
        {"envid": 5},
        {"requiretls": "no"},
        {"holduntil": "now"},
        {"recipients": None},
        {"recipients": 5},
        {"client": "ADDR"},
        {"client": 5},
    ],
    ids=str,
)
def test_a_value_of_the_wrong_type_is_refused_when_the_envelope_is_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(LocalProtocolError):
        Envelope("a@x.example", **wrong)


@pytest.mark.parametrize("wrong", [{"orcpt": 5}, {"notify": 5}, {"rrvs": "now"}, {"notify": [5]}], ids=str)
def test_a_value_of_the_wrong_type_is_refused_when_the_recipient_is_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(LocalProtocolError):
        Recipient("b@y.example", **wrong)


def test_recipients_keep_the_order_given_and_duplicates_are_kept() -> None:
    envelope = Envelope("a@x", ["c@y", "b@y", "c@y"])
    assert [str(recipient) for recipient in envelope.recipients] == ["c@y", "b@y", "c@y"]


@pytest.mark.parametrize("sender", ["", None])
def test_the_null_sender_is_empty_or_none(sender: str | None) -> None:
    assert Envelope(sender, ["b@y"]).sender == ""


@pytest.mark.parametrize("sender", [0, b"", (), False], ids=repr)
def test_nothing_else_is_the_null_sender(sender: Any) -> None:
    with pytest.raises(LocalProtocolError, match=r"^the sender is a str, not "):
        Envelope(sender)


def test_recipients_may_come_from_any_iterable_and_with_parameters() -> None:
    told = Recipient("b@y", notify=("NEVER",))
    assert Envelope("a@x", chain(["c@y"], [told])).recipients == (Recipient("c@y"), told)
    assert Envelope("a@x").recipients == ()


@given(addresses, st.lists(addresses))
def test_every_address_goes_out_as_given(sender: str, recipients: list[str]) -> None:
    envelope = Envelope(sender, recipients)
    assert envelope.sender == sender
    assert [recipient.address for recipient in envelope.recipients] == recipients


@given(hostile_text)
def test_any_text_is_an_address_or_a_local_protocol_error(text: str) -> None:
    for make in (lambda: Recipient(text), lambda: Envelope(text), lambda: Envelope("a@x", [text])):
        try:
            make()
        except LocalProtocolError as error:
            assert str(error).isprintable()


def test_a_bad_address_is_said_to_be_the_senders_or_a_recipients() -> None:
    octets: Any = b"b@y"  # whose items are ints
    with pytest.raises(LocalProtocolError, match=r"^the sender holds a blank outside quotes: 'a b@x'$"):
        Envelope("a b@x", ["b@y"])
    with pytest.raises(LocalProtocolError, match=r"^the recipient is empty"):
        Envelope("a@x", [""])
    with pytest.raises(LocalProtocolError, match=r"^the recipient is a str, not int$"):
        Envelope("a@x", octets)


def test_one_address_is_no_list_of_them() -> None:
    with pytest.raises(LocalProtocolError, match=r"^recipients are a list of addresses, not one str$"):
        Envelope("a@x", "b@y")


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("b@y\nc@z", r"^the recipient holds a control character: 'b@y\\nc@z'$"),
        ("\n", r"^the recipient holds a control character"),
        ("", r"^the recipient is empty: ''$"),
        ("b c@y", r"^the recipient holds a blank outside quotes: 'b c@y'$"),
        (None, r"^the recipient is a str, not NoneType$"),
    ],
)
def test_one_bad_address_among_good_ones_is_refused_as_if_it_were_alone(
    place: int, wrong: Any, why: str
) -> None:
    several = ["d@y", "e@y"]
    several.insert(place, wrong)
    with pytest.raises(LocalProtocolError, match=why):
        Envelope("a@x", several)


class Name(str):
    """A str of a program's own."""


NAMED: list[tuple[str | Recipient, ...]] = [
    ("b@y", "c@y", "b@y"),
    ("b@y",),
    (),
    ("b@y", '"c d"@y'),
    ("b@y", "ünï@y"),
    ("b@y", Recipient("c@y")),
    (Recipient("b@y", notify=("NEVER",)), "c@y"),
    (Name("b@y"), "c@y"),
]


@pytest.mark.parametrize("named", NAMED, ids=repr)
def test_the_addresses_are_those_of_the_recipients(named: tuple[str | Recipient, ...]) -> None:
    envelope = Envelope("a@x", named)
    assert envelope.addresses == tuple(map(str, named))
    assert envelope.recipients == tuple(r if isinstance(r, Recipient) else Recipient(r) for r in named)
    assert envelope.recipients is envelope.recipients
    assert envelope.addresses == tuple(recipient.address for recipient in envelope.recipients)


def test_nobody_makes_a_recipient_before_somebody_looks() -> None:
    envelope = Envelope("a@x", ["b@y"])
    with pytest.raises(AttributeError):
        object.__getattribute__(envelope, "recipients")
    assert envelope.recipients == (Recipient("b@y"),)
    assert object.__getattribute__(envelope, "recipients") is envelope.recipients


def test_an_envelope_has_no_other_attributes() -> None:
    envelope = Envelope("a@x", ["b@y"])
    assert not hasattr(envelope, "__dict__")
    with pytest.raises(AttributeError, match="'Envelope' object has no attribute 'subject'"):
        object.__getattribute__(envelope, "subject")


@pytest.mark.parametrize(
    ("sender", "named", "plain"),
    [
        ("a@x", ["b@y", "c@y"], True),
        ("", ["b@y"], True),
        ("a@x", [], True),
        ("a@x", ['"b c"@y', "c@y"], True),
        ("a@x", [Recipient("b@y")], True),
        ("ü@x", ["b@y"], False),
        ("ü@x", [Recipient("b@y")], False),
        ("a@x", ["b@y", "ü@y"], False),
        ("a@x", ["b@y", Recipient("c@y", notify=("NEVER",))], False),
        ("a@x", [Recipient("c@y", orcpt="rfc822;c@y"), "b@y"], False),
        ("a@x", [Recipient("c@y", rrvs=NOON)], False),
    ],
)
def test_plain_is_what_takes_nothing_but_ascii_addresses_to_say(
    sender: str, named: list[str | Recipient], plain: bool
) -> None:
    assert Envelope(sender, named).plain is plain
    assert Envelope(sender, named, ret="FULL").plain is plain


@pytest.mark.parametrize("named", NAMED, ids=repr)
def test_an_envelope_is_a_value(named: tuple[str | Recipient, ...]) -> None:
    looked_at, envelope = (Envelope("a@x", named, envid="id", client={"ADDR": "192.0.2.1"}) for _ in range(2))
    assert looked_at.recipients is not None
    assert envelope == looked_at
    assert hash(envelope) == hash(looked_at)
    assert repr(envelope) == repr(looked_at)
    assert envelope != Envelope("a@x", named)
    assert envelope != Envelope("a@x", [*named, "z@y"], envid="id", client={"ADDR": "192.0.2.1"})
    for made in (copy.copy, copy.deepcopy, replace, through_pickle):
        again = made(Envelope("a@x", named, envid="id", client={"ADDR": "192.0.2.1"}))
        assert again == envelope
        assert (again.addresses, again.plain, again.asks) == (
            envelope.addresses,
            envelope.plain,
            envelope.asks,
        )


#: A slotted dataclass says of what is no field of it that its ``super`` is wrong.
UNCHANGEABLE = (FrozenInstanceError, TypeError)


def through_pickle(envelope: Envelope) -> Envelope:
    again = pickle.loads(pickle.dumps(envelope))
    assert isinstance(again, Envelope)
    return again


def test_an_envelope_shows_what_was_given() -> None:
    assert repr(Envelope(None, ["b@y"])) == (
        "Envelope(sender='', recipients=(Recipient(address='b@y', notify=(), orcpt=None, rrvs=None),), "
        "ret=None, envid=None, requiretls=False, by=None, holdfor=None, holduntil=None, mt_priority=None, "
        "auth=None, client=())"
    )
    names = [field.name for field in fields(Envelope)]
    assert list(asdict(Envelope(None, ["b@y"]))) == names


def test_a_changed_envelope_is_checked_anew() -> None:
    envelope = replace(Envelope("a@x", ["b@y"], ret="FULL"), recipients=(Recipient("c@y"), Recipient("ü@y")))
    assert (envelope.ret, envelope.addresses, envelope.plain) == ("FULL", ("c@y", "ü@y"), False)
    assert not replace(envelope, ret=None).asks
    with pytest.raises(LocalProtocolError, match=r"^the sender holds a blank"):
        replace(envelope, sender="a b@x")


@pytest.mark.parametrize("name", ["sender", "recipients", "addresses", "plain", "asks", "client", "other"])
def test_an_envelope_cannot_be_changed(name: str) -> None:
    envelope = Envelope("a@x", ["b@y"])
    with pytest.raises(UNCHANGEABLE):
        setattr(envelope, name, ())
    with pytest.raises(UNCHANGEABLE):
        delattr(envelope, name)


# Parameters of a recipient.


@pytest.mark.parametrize(
    "notify", [(), ("NEVER",), ("SUCCESS",), ("FAILURE", "DELAY"), ("SUCCESS", "FAILURE", "DELAY")]
)
def test_notify_is_never_or_any_of_three_conditions(notify: tuple[str, ...]) -> None:
    assert Recipient("b@y", notify=notify).notify == notify


@pytest.mark.parametrize(
    "given", ["NEVER", ["NEVER"], iter(["NEVER"])], ids=lambda value: type(value).__name__
)
def test_notify_may_be_one_word_or_several(given: Any) -> None:
    assert Recipient("b@y", notify=given).notify == ("NEVER",)


@pytest.mark.parametrize(
    "notify",
    [("never",), ("NEVER", "DELAY"), ("SUCCESS\r\n",), ("SUCCESS,DELAY",), "SUCCESS,DELAY", ("",)],
    ids=repr,
)
def test_any_other_notify_is_refused(notify: Any) -> None:
    with pytest.raises(LocalProtocolError, match=r"^notify is NEVER or any of SUCCESS, FAILURE, DELAY$"):
        Recipient("b@y", notify=notify)


@pytest.mark.parametrize("orcpt", ["rfc822;b@y", "RFC822;b@y", "utf-8;ünï@y", 'rfc822;"a b"@y', "rfc822;;"])
def test_orcpt_is_a_type_and_an_address(orcpt: str) -> None:
    assert Recipient("b@y", orcpt=orcpt).orcpt == orcpt


@pytest.mark.parametrize(
    ("orcpt", "why"),
    [
        ("", "orcpt is written rfc822;ADDRESS or utf-8;ADDRESS, not ''"),
        ("b@y", "orcpt is written"),
        ("rfc822", "orcpt is written"),
        ("rfc822;", "orcpt is written"),
        ("x400;b", "orcpt is written"),
        ("rfc822\r\n;b@y", "orcpt is written"),
        ("rfc822;b\r\n@y", "orcpt holds a control character"),
        ("utf-8;b\x85@y", "orcpt holds a control character"),
        ("utf-8;\ud800", "orcpt is not valid Unicode"),
        ("rfc822;ünï@y", "orcpt: an address that is not ASCII is written utf-8;ADDRESS"),
    ],
    ids=ascii,
)
def test_any_other_orcpt_is_refused(orcpt: str, why: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        Recipient("b@y", orcpt=orcpt)
    assert str(caught.value).startswith(why)
    assert str(caught.value).isprintable()


# Moments.


class NoZone(tzinfo):
    """A time zone that does not know where it is."""

    def utcoffset(self, dt: datetime | None, /) -> timedelta | None:
        return None

    def tzname(self, dt: datetime | None, /) -> str | None:
        return None

    def dst(self, dt: datetime | None, /) -> timedelta | None:
        return None


@pytest.mark.parametrize(
    ("moment", "why"),
    [
        (NOON.replace(tzinfo=None), "needs a time zone"),
        (NOON.replace(tzinfo=NoZone()), "needs a time zone"),
        (
            datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))),
            "is beyond the last or before the first moment in UTC",
        ),
        (
            datetime.min.replace(tzinfo=timezone(timedelta(hours=1))),
            "is beyond the last or before the first moment in UTC",
        ),
    ],
)
def test_a_moment_that_is_none_in_utc_is_refused(moment: datetime, why: str) -> None:
    with pytest.raises(LocalProtocolError, match=f"^rrvs {why}$"):
        Recipient("b@y", rrvs=moment)
    with pytest.raises(LocalProtocolError, match=f"^holduntil {why}$"):
        Envelope("a@x", holduntil=moment)


@pytest.mark.parametrize(
    ("moment", "written"),
    [
        (NOON, "2026-01-31T12:00:00Z"),
        (NOON.replace(microsecond=999999), "2026-01-31T12:00:00Z"),
        (NOON.astimezone(timezone(timedelta(hours=5, minutes=30))), "2026-01-31T12:00:00Z"),
        (datetime(1, 1, 1, tzinfo=UTC), "0001-01-01T00:00:00Z"),
        (datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), "9999-12-31T23:59:59Z"),
    ],
)
def test_a_moment_is_written_in_utc_to_the_second(moment: datetime, written: str) -> None:
    assert rfc3339(moment) == written
    assert Recipient("b@y", rrvs=moment).rrvs == moment
    assert Envelope("a@x", holduntil=moment).holduntil == moment


# Parameters of a message.


@pytest.mark.parametrize(
    "parameters", [{"ret": "FULL"}, {"ret": "HDRS"}, {"envid": "a b~"}, {"envid": "x" * 100}]
)
@pytest.mark.parametrize(
    "more", [{"holdfor": 1}, {"holdfor": 999_999_999}, {"mt_priority": -9}, {"mt_priority": 9}]
)
@pytest.mark.parametrize("auth", [None, "", "c@z"])
def test_parameters_are_kept_as_they_are(
    parameters: dict[str, Any], more: dict[str, Any], auth: str | None
) -> None:
    envelope = Envelope("a@x", requiretls=True, auth=auth, **parameters, **more)
    assert envelope.requiretls
    assert envelope.asks is Envelope("a@x", **more).asks is True
    assert envelope.auth == auth
    for name, value in {**parameters, **more}.items():
        assert getattr(envelope, name) == value


def test_nothing_is_asked_for_by_default() -> None:
    envelope = Envelope("a@x")
    for name in ("ret", "envid", "by", "holdfor", "holduntil", "mt_priority", "auth"):
        assert getattr(envelope, name) is None
    assert envelope.requiretls is False
    assert envelope.client == ()
    assert envelope.asks is False


@pytest.mark.parametrize(
    ("parameters", "why"),
    [
        ({"ret": "full"}, "ret is FULL or HDRS, not 'full'"),
        ({"ret": ""}, "ret is FULL or HDRS, not ''"),
        ({"envid": ""}, "envid is 1 to 100 printable ASCII characters"),
        ({"envid": "x" * 101}, "envid is 1 to 100 printable ASCII characters"),
        ({"envid": "ü"}, "envid is 1 to 100 printable ASCII characters"),
        ({"envid": "a\r\n"}, "envid is 1 to 100 printable ASCII characters"),
        ({"envid": "a\x7f"}, "envid is 1 to 100 printable ASCII characters"),
        ({"holdfor": 5, "holduntil": NOON}, "holdfor and holduntil exclude each other"),
        ({"holdfor": 0}, "holdfor cannot be 0 seconds"),
        ({"holdfor": -1}, "holdfor cannot be -1 seconds"),
        ({"holdfor": 10**9}, "holdfor cannot be 1000000000 seconds"),
        ({"holdfor": 1.5}, "holdfor is a whole number, not 1.5"),
        ({"holdfor": True}, "holdfor is a whole number, not True"),
        ({"holdfor": "5"}, "holdfor is a whole number, not '5'"),
        ({"mt_priority": 10}, "mt_priority is from -9 to 9, not 10"),
        ({"mt_priority": -10}, "mt_priority is from -9 to 9, not -10"),
        ({"mt_priority": 1.0}, "mt_priority is a whole number, not 1.0"),
        ({"auth": "a b"}, "auth holds a blank outside quotes: 'a b'"),
        ({"auth": b""}, "auth is a str, not bytes"),
        ({"client": {"addr": "1"}}, "client: 'addr' is none of NAME, ADDR, PORT,"),
        ({"client": {"": "1"}}, "client: '' is none of NAME,"),
        ({"client": {"ADDR": "a\r\n"}}, r"client: ADDR holds a control character: 'a\\r\\n'"),
        ({"client": {"PORT": 25}}, "client: PORT is a str, not int"),
    ],
    ids=str,
)
def test_a_parameter_that_cannot_be_sent_is_refused(parameters: dict[str, Any], why: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        Envelope("a@x", ["b@y"], **parameters)
    assert str(caught.value).startswith(why.replace("\\\\", "\\"))


@pytest.mark.parametrize(
    "client", [{"ADDR": "192.0.2.1", "NAME": "ünï"}, [("ADDR", "192.0.2.1"), ("NAME", "ünï")]]
)
def test_the_client_is_a_mapping_or_pairs(client: Any) -> None:
    assert Envelope("a@x", client=client).client == (("ADDR", "192.0.2.1"), ("NAME", "ünï"))


@pytest.mark.parametrize(
    "by",
    [
        DeliverBy(1, "R"),
        DeliverBy(999_999_999, "R", trace=True),
        DeliverBy(0, "N"),
        DeliverBy(-999_999_999, "N"),
    ],
)
def test_a_time_to_deliver_by_may_have_passed_only_where_the_sender_is_just_told(by: DeliverBy) -> None:
    assert Envelope("a@x", by=by).by == by


@pytest.mark.parametrize(
    ("seconds", "mode", "why"),
    [
        (0, "R", "by cannot be 0 seconds with mode R"),
        (-1, "R", "by cannot be -1 seconds with mode R"),
        (10**9, "N", "by cannot be 1000000000 seconds with mode N"),
        (-(10**9), "N", "by cannot be -1000000000 seconds with mode N"),
        (1, "r", "the mode of by is R or N, not 'r'"),
        (1, "RT", "the mode of by is R or N, not 'RT'"),
        (1.5, "R", "the time of by is a whole number, not 1.5"),
        (float("nan"), "N", "the time of by is a whole number, not nan"),
        (True, "N", "the time of by is a whole number, not True"),
    ],
)
def test_any_other_time_to_deliver_by_is_refused(seconds: Any, mode: Any, why: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        DeliverBy(seconds, mode)
    assert str(caught.value) == why
