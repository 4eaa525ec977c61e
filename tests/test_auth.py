"""The setting ``auth``: each kind, its words, and that no secret is ever shown."""

from __future__ import annotations

import copy
import pickle
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpstate._auth import Auth, Credentials, auth
from smtpstate._errors import ConfigError, LocalProtocolError
from smtpstate._mechanisms import Exchange

SECRET = "Tr0ub4dor.3"


def own_mechanism() -> Exchange:
    yield b"hello"


PASSWORD_KINDS: list[Callable[[str, str], Auth]] = [Auth.plain, Auth.login, Auth.scram, Auth.auto]
TOKEN_KINDS: list[Callable[[str, str], Auth]] = [Auth.xoauth2, Auth.oauthbearer]
PLAIN_KINDS: list[Callable[[], Auth]] = [Auth.off, Auth.forward, Auth.external]

EXPECTED = (
    "auth: expected one of off, plain USER PASSWORD, login USER PASSWORD, forward, external, "
    "scram USER PASSWORD, xoauth2 USER TOKEN, oauthbearer USER TOKEN, auto USER PASSWORD"
)


def refusal(make: Callable[[], object]) -> str:
    """Return why ``make`` is refused; nothing of the whole traceback holds the secret."""
    with pytest.raises(ConfigError) as caught:
        make()
    told = "".join(traceback.format_exception(caught.value)[-1:]) + repr(caught.value)
    assert SECRET not in told
    assert SECRET not in repr(caught.value.__context__)
    return str(caught.value)


# Each kind.


@pytest.mark.parametrize("make", PASSWORD_KINDS, ids=lambda make: make.__name__)
def test_a_kind_with_a_password_says_the_user_and_hides_the_password(
    make: Callable[[str, str], Auth],
) -> None:
    kind = make.__name__
    made = make("me", SECRET)
    assert (made.kind, made.user, made.password) == (kind, "me", SECRET)
    assert made.words() == (kind, "me", SECRET)
    assert Auth.from_words([kind, "me", SECRET]) == made
    assert repr(made) == str(made) == f"{made}" == f"Auth.{kind}('me', ****)"
    assert made.is_on


@pytest.mark.parametrize("make", TOKEN_KINDS, ids=lambda make: make.__name__)
def test_a_kind_with_a_token_says_the_user_and_hides_the_token(make: Callable[[str, str], Auth]) -> None:
    kind = make.__name__
    made = make("me", SECRET)
    assert (made.kind, made.user, made.token) == (kind, "me", SECRET)
    assert made.words() == (kind, "me", SECRET)
    assert Auth.from_words([kind, "me", SECRET]) == made
    assert repr(made) == f"Auth.{kind}('me', ****)"
    assert made.is_on


@pytest.mark.parametrize("make", PLAIN_KINDS, ids=lambda make: make.__name__)
def test_a_kind_without_a_secret_is_one_word(make: Callable[[], Auth]) -> None:
    made = make()
    assert made.words() == (made.kind,) == (make.__name__,)
    assert Auth.from_words([made.kind]) == made
    assert repr(made) == f"Auth.{made.kind}()"
    assert made.is_on is (made.kind != "off")


def test_authentication_is_off_by_default() -> None:
    assert Auth() == Auth.off()


def test_an_own_mechanism_has_a_name_and_no_words() -> None:
    made = Auth.own("X_OWN-1", own_mechanism)
    assert (made.kind, made.name, made.mechanism) == ("own", "X_OWN-1", own_mechanism)
    assert repr(made) == "Auth.own('X_OWN-1', ...)"
    assert refusal(made.words) == "auth: a callable cannot be written as text"
    assert made.is_on


@pytest.mark.parametrize("name", ["", "own", "X OWN", "X" * 21, "ÜBER", "X\n", None, b"X"])
def test_the_name_of_an_own_mechanism_is_one_of_sasl(name: Any) -> None:
    assert refusal(lambda: Auth.own(name, own_mechanism)).startswith(
        "auth: the name of a mechanism is 1 to 20"
    )


def test_an_own_mechanism_can_be_called() -> None:
    generator: Any = own_mechanism()
    assert refusal(lambda: Auth.own("X-OWN", generator)) == (
        "auth: a mechanism is a callable that returns a generator"
    )


# Tokens.


def test_a_token_that_is_a_callable_is_asked_for_each_time() -> None:
    tokens = iter(["one", "two"])
    made = Auth.xoauth2("me", lambda: next(tokens))
    assert (made.ask_token(), made.ask_token()) == ("one", "two")
    assert refusal(made.words) == "auth: a callable cannot be written as text"
    assert repr(made) == "Auth.xoauth2('me', ****)"


def test_a_token_that_is_a_text_stays_what_it_is() -> None:
    assert Auth.oauthbearer("me", SECRET).ask_token() == SECRET


@pytest.mark.parametrize("token", ["", f"{SECRET}\n", f"{SECRET} ", f"{SECRET}\x01auth=x", "tökén"])
def test_what_cannot_be_a_token_is_refused_at_once_or_when_it_is_asked_for(token: str) -> None:
    assert refusal(lambda: Auth.xoauth2("me", token)).startswith("auth: the token is ")
    late = Auth.xoauth2("me", lambda: token)
    with pytest.raises(LocalProtocolError, match="^the token is "):
        late.ask_token()


def test_a_token_is_a_text() -> None:
    token: Any = SECRET.encode()
    assert refusal(lambda: Auth.oauthbearer("me", token)) == "auth: the token is a str, not bytes"
    with pytest.raises(LocalProtocolError, match="^the token is a str, not bytes$"):
        Auth.oauthbearer("me", lambda: token).ask_token()


def test_what_the_callable_raises_is_raised_unchanged() -> None:
    def fails() -> str:
        raise OSError("the vault is closed")

    with pytest.raises(OSError, match="the vault is closed"):
        Auth.xoauth2("me", fails).ask_token()


# What is refused.


@pytest.mark.parametrize("make", [*PASSWORD_KINDS, *TOKEN_KINDS], ids=lambda make: make.__name__)
@pytest.mark.parametrize(
    ("user", "why"),
    [
        ("", "the user name is empty"),
        ("a\0b", "the user name holds a control character"),
        ("a\x01b", "the user name holds a control character"),
        ("\ud800", "the user name holds a control character, or is not valid Unicode"),
        (None, "the user name is a str, not NoneType"),
        (b"me", "the user name is a str, not bytes"),
    ],
)
def test_a_user_name_that_no_mechanism_carries_is_refused(
    make: Callable[[str, str], Auth], user: Any, why: str
) -> None:
    assert refusal(lambda: make(user, SECRET)).startswith(f"auth: {why}")


@pytest.mark.parametrize("make", PASSWORD_KINDS, ids=lambda make: make.__name__)
@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("", "the password is empty"),
        (f"{SECRET}\0", "the password holds a NUL"),
        (f"{SECRET}\udfff", "the password holds a NUL, or is not valid Unicode"),
        (SECRET.encode(), "the password is a str, not bytes"),
        (None, "the password is a str, not NoneType"),
    ],
)
def test_a_password_that_no_mechanism_carries_is_refused(
    make: Callable[[str, str], Auth], password: Any, why: str
) -> None:
    assert refusal(lambda: make("me", password)).startswith(f"auth: {why}")


@pytest.mark.parametrize(
    "words",
    [
        [],
        [""],
        [SECRET],
        ["me", SECRET],
        ["PLAIN", "me", SECRET],
        ["plain me", SECRET],
        ["own", "X", SECRET],
        ["on"],
    ],
)
def test_words_of_no_kind_are_refused_without_being_repeated(words: list[str]) -> None:
    assert refusal(lambda: Auth.from_words(words)) == EXPECTED


@pytest.mark.parametrize(
    ("words", "usage"),
    [
        (["plain"], "plain USER PASSWORD; words given after plain: 0"),
        (["plain", SECRET], "plain USER PASSWORD; words given after plain: 1"),
        (["scram", "me", "my", SECRET], "scram USER PASSWORD; words given after scram: 3"),
        (["xoauth2", SECRET], "xoauth2 USER TOKEN; words given after xoauth2: 1"),
        (["off", SECRET], "off; words given after off: 1"),
        (["forward", "me", SECRET], "forward; words given after forward: 2"),
        (["external", SECRET], "external; words given after external: 1"),
    ],
)
def test_words_too_few_or_too_many_are_counted_and_not_repeated(words: list[str], usage: str) -> None:
    assert refusal(lambda: Auth.from_words(words)).startswith(
        f"auth: expected {usage} (in the language, quote"
    )


@pytest.mark.parametrize("kind", ["PLAIN", "", "cram-md5", None, ["off"], 0])
def test_a_kind_that_is_none_is_refused(kind: Any) -> None:
    assert refusal(lambda: Auth(kind, "me", SECRET)) == EXPECTED


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"kind": "off", "user": "me"}, "off takes no user"),
        ({"kind": "forward", "password": SECRET}, "forward takes no password"),
        ({"kind": "plain", "user": "me", "password": "x", "token": SECRET}, "plain takes no token"),
        ({"kind": "external", "name": "X"}, "external takes no name"),
        (
            {"kind": "auto", "user": "me", "password": "x", "mechanism": own_mechanism},
            "auto takes no mechanism",
        ),
    ],
)
def test_a_part_too_many_is_refused(settings: dict[str, Any], why: str) -> None:
    assert refusal(lambda: Auth(**settings)) == f"auth: {why}"


@given(st.lists(st.sampled_from(["off", "plain", "own", "xoauth2", "", "me", "\0"]) | st.text(), max_size=5))
def test_any_words_are_a_setting_or_a_config_error(words: list[str]) -> None:
    try:
        made = Auth.from_words(words)
    except ConfigError as error:
        assert str(error).isprintable()
    else:
        assert list(made.words()) == words


# As a setting.


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (Auth.forward(), "forward"),
        ("off", "off"),
        (["external"], "external"),
        (("forward",), "forward"),
        (False, "off"),
    ],
)
def test_the_setting_is_an_auth_or_words_or_what_yaml_makes_of_off(value: object, kind: str) -> None:
    assert auth("auth", value).kind == kind


@pytest.mark.parametrize(
    "value", [None, True, 5, {"plain": SECRET}, ["plain", "me", 5], [SECRET.encode()], [None]]
)
def test_a_setting_that_is_neither_is_refused_without_being_repeated(value: object) -> None:
    assert refusal(lambda: auth("auth", value)).startswith(EXPECTED)


def test_words_in_one_text_are_refused_without_being_repeated() -> None:
    assert refusal(lambda: auth("auth", f"plain me {SECRET}")) == EXPECTED


# Credentials.


def test_credentials_hide_the_password() -> None:
    credentials = Credentials("me", SECRET)
    assert (credentials.user, credentials.password) == ("me", SECRET)
    assert repr(credentials) == str(credentials) == "Credentials(user='me')"


@pytest.mark.parametrize(
    ("user", "password", "why"),
    [
        ("", SECRET, "the user name is empty"),
        ("me\n", SECRET, "the user name holds a control character"),
        ("me", "", "the password is empty"),
        ("me", f"{SECRET}\0", "the password holds a NUL"),
        (5, SECRET, "the user name is a str, not int"),
        ("me", 5, "the password is a str, not int"),
    ],
)
def test_credentials_that_no_mechanism_carries_are_refused(user: Any, password: Any, why: str) -> None:
    with pytest.raises(LocalProtocolError, match=f"^{why}") as caught:
        Credentials(user, password)
    assert SECRET not in repr(caught.value)


@pytest.mark.parametrize(
    "secret", [Credentials("me", SECRET), Auth.plain("me", SECRET), Auth.off()], ids=repr
)
def test_settings_can_be_compared_copied_and_sent_to_other_processes(secret: object) -> None:
    assert copy.deepcopy(secret) == pickle.loads(pickle.dumps(secret)) == secret
    assert hash(copy.copy(secret)) == hash(secret)


def test_other_secrets_are_other_settings() -> None:
    assert Auth.plain("me", SECRET) != Auth.plain("me", "other")
    assert Auth.plain("me", SECRET) != Auth.login("me", SECRET)
    assert Credentials("me", SECRET) != Credentials("me", "other")
