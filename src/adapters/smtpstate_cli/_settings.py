"""The options of the command line, and the file that they may name, as settings of a target."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields

import click

from smtpstate import Auth, ConfigError, Credentials, Envelope, LocalProtocolError, TargetConfig, TlsClient
from smtpstate._checks import WrongSetting, is_iterable
from smtpstate_cli._exits import Exit, Failure
from smtpstate_cli._screen import reason

_MOST = 65536  # octets of a file that holds a secret
_SECRETS = ("password_file", "password_env", "token_file", "token_env")
#: Options whose words may also be given in one argument.
_BLANKS = ("failover", "ignore_keywords", "tls_protocols", "tls_ciphers", "tls_curves")
_FOR_TOKENS = ("xoauth2", "oauthbearer")
_FOR_PASSWORDS = ("auto", "scram", "plain", "login", "forward")


def target_config(
    options: Mapping[str, object], endpoints: Sequence[str]
) -> tuple[TargetConfig, Credentials | None]:
    """Return the settings that the options describe, and the credentials that come with the message.

    What is given as an option overrides what the file says.

    Args:
        options: by their names with underscores; None or empty is not given.
        endpoints: they replace those of the file, if there are any.

    Raises:
        Failure: a file cannot be read, or says what is wrong.
        click.UsageError: an option is wrong.
    """
    given = {name: _value(name, value) for name, value in options.items() if value not in (None, ())}
    base = _from_file(given)
    settings: dict[str, object] = {}
    if base is not None:
        settings.update((field.name, getattr(base, field.name)) for field in fields(base))
    known = {field.name for field in fields(TargetConfig)}
    settings.update((name, value) for name, value in given.items() if name in known)
    if "lmtp" in given:
        settings["protocol"] = "lmtp" if given["lmtp"] else "smtp"
    if endpoints:
        settings["targets"] = tuple(endpoints)
    try:
        settings["tls_client"] = _tls_client(given, base)
        settings["auth"], credentials = _auth(given, base)
        return TargetConfig.from_mapping(settings), credentials
    except WrongSetting as error:
        raise click.UsageError(_as_option(error)) from None


def envelope(sender: str, recipients: Sequence[str]) -> Envelope:
    """Return who sends, and who is to receive; ``<>`` is the null reverse-path too.

    Raises:
        Failure: there is no recipient, or an address cannot be sent.
    """
    if not recipients:
        raise Failure(Exit.USAGE, "no recipient: name at least one by --to ADDRESS")
    try:
        return Envelope("" if sender == "<>" else sender, recipients)
    except LocalProtocolError as error:
        raise Failure(Exit.USAGE, str(error)) from None


def _value(name: str, value: object) -> object:
    """Return the value of an option as a mapping of settings would have it."""
    if isinstance(value, str) or not is_iterable(value):
        return value
    words = [str(word) for word in value]
    if name in _BLANKS:
        return tuple(part for word in words for part in word.split())
    return tuple(words)


def _from_file(given: Mapping[str, object]) -> TargetConfig | None:
    file, name = given.get("config"), given.get("target")
    if file is None:
        if name is not None:
            raise click.UsageError("--target: there is no file to find it in; give --config FILE")
        return None
    text = _read(str(file), 1 << 20)
    try:
        return TargetConfig.parse(
            text, name=None if name is None else str(name), filename=str(file), env=os.environ
        )
    except ConfigError as error:
        raise Failure(Exit.CONFIG, str(error)) from None


def _tls_client(given: Mapping[str, object], base: TargetConfig | None) -> TlsClient:
    before = TlsClient() if base is None else base.tls_client
    settings: dict[str, object] = {}
    for field in fields(before):
        settings[field.name] = given.get(f"tls_{field.name}", getattr(before, field.name))
    return TlsClient.from_mapping(settings)


def _auth(given: Mapping[str, object], base: TargetConfig | None) -> tuple[Auth, Credentials | None]:
    """Return how to authenticate, and for ``forward`` as whom."""
    before = Auth.off() if base is None else base.auth
    named = [name for name in _SECRETS if name in given]
    user, mechanism = given.get("auth_user"), given.get("auth_mechanism")
    if not named and user is None and mechanism is None:
        return before, None
    if len(named) > 1:
        raise click.UsageError(f"only one of {' and '.join(map(_option, named))} can be given")
    token = bool(named) and named[0].startswith("token")
    if mechanism is None and before.kind in (_FOR_TOKENS if token else _FOR_PASSWORDS):
        mechanism = before.kind
    elif mechanism is None:
        if token:
            raise click.UsageError("--auth-mechanism: a token is for xoauth2 or for oauthbearer: say which")
        mechanism = "auto"
    if mechanism in ("off", "external", "forward") and not named and user is None:
        return Auth.from_words([str(mechanism)]), None
    if mechanism in ("off", "external"):
        raise click.UsageError(f"--auth-mechanism: {mechanism} takes neither user nor secret")
    what = "token" if mechanism in _FOR_TOKENS else "password"
    if not named:
        raise click.UsageError(f"--auth-mechanism: the {what} is missing; give --{what}-file or --{what}-env")
    if token is not (what == "token"):
        raise click.UsageError(f"{_option(named[0])}: {mechanism} takes a {what}")
    if user is None:
        user = before.user or None
    if user is None:
        raise click.UsageError(f"{_option(named[0])}: whose is it? give --auth-user NAME")
    secret = _secret(named[0], str(given[named[0]]))
    if mechanism == "forward":
        try:
            return Auth.forward(), Credentials(str(user), secret)
        except LocalProtocolError as error:
            raise WrongSetting("auth", str(error)) from None
    return Auth.from_words([str(mechanism), str(user), secret]), None


def _secret(option: str, where: str) -> str:
    """Return a password or token, which is never in an argument: other users could see it there."""
    if option.endswith("_env"):
        secret = os.environ.get(where)
        if secret is None:
            raise click.UsageError(f"{_option(option)}: the environment has no {where!r}")
        return secret
    text = _read(where, _MOST)
    return text.removesuffix("\n").removesuffix("\r")


def _read(name: str, most: int) -> str:
    """Return the text of a file, of which no error shows anything."""
    try:
        with open(name, "rb") as file:
            octets = file.read(most + 1)
        text = octets.decode()
    except OSError as error:
        raise Failure(Exit.NO_INPUT, f"cannot read {name!r}: {reason(error)}") from None
    except ValueError as error:
        why = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        raise Failure(Exit.NO_INPUT, f"cannot read {name!r}: {why}") from None
    if len(octets) > most:
        raise Failure(Exit.NO_INPUT, f"cannot read {name!r}: it is longer than {most} octets")
    return text


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _as_option(error: WrongSetting) -> str:
    """Return an error about a setting as one about the option that gives it."""
    if error.path == ("targets",):
        return error.reason
    name = "_".join(error.path).replace("tls_client_", "tls_")
    name = "auth_mechanism" if name == "auth" else name
    # A bare number is for those who write Python.
    return f"{_option(name)}: {error.reason.replace(', or a number of seconds', '')}"
