"""The command line's words, read as what smtpstate takes: endpoints, addresses, durations."""

from __future__ import annotations

from collections.abc import Sequence

from smtpstate import ConfigError, Envelope, LocalProtocolError, Protocol, TargetConfig
from smtpstate._durations import parse_duration
from smtpstate_cli._exits import Exit, Failure


def target_config(
    endpoints: Sequence[str],
    *,
    lmtp: bool,
    hostname: str | None,
    connect_timeout: float,
    command_timeout: float,
    submission_timeout: float,
) -> TargetConfig:
    """Return the settings of the target that the options describe.

    Raises:
        Failure: one of them is wrong.
    """
    try:
        return TargetConfig(
            targets=endpoints,
            protocol=Protocol.LMTP if lmtp else Protocol.SMTP,
            hostname=hostname,
            connect_timeout=connect_timeout,
            command_timeout=command_timeout,
            submission_timeout=submission_timeout,
        )
    except ConfigError as error:
        raise Failure(Exit.USAGE, str(error).removeprefix("targets: ")) from None


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


def seconds(text: str) -> float:
    """Return a duration in seconds, such as ``1h 5m`` or ``1.5s``.

    Raises:
        ValueError: ``text`` is none, or is no time at all.
    """
    duration = parse_duration(text)
    if not duration:
        raise ValueError(f"{text!r} is no time at all")
    return duration
