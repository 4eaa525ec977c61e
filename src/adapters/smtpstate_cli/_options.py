"""The options that describe a target: one for each directive of the settings, and what names their secrets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import click

_TARGET, _TLS, _AUTH, _TIME, _ODD = (
    "Target",
    "TLS",
    "Authentication",
    "Time-outs (such as 30s, 5m or 1h 30m)",
    "For odd servers and long runs",
)


@final
class Setting(click.Option):
    """An option under a heading of the help text; it has no value unless it is given."""

    def __init__(self, declarations: Sequence[str], section: str = "", **attributes: Any) -> None:
        super().__init__(declarations, **attributes)
        self.section = section


@final
class SectionedCommand(click.Command):
    """A command whose help lists its options under headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, those of the command itself first."""
        sections: dict[str, list[tuple[str, str]]] = {"": []}
        for option in self.get_params(ctx):
            record = option.get_help_record(ctx)
            if record is not None and isinstance(option, click.Option):
                section = option.section if isinstance(option, Setting) else ""
                sections.setdefault(section, []).append(record)
        for section, records in sections.items():
            with formatter.section(section or "Options"):
                formatter.write_dl(records)


def _text(section: str, name: str, metavar: str, description: str) -> Setting:
    return Setting([name], section, metavar=metavar, help=description)


def _words(section: str, name: str, metavar: str, description: str) -> Setting:
    return Setting([name], section, metavar=metavar, multiple=True, help=description)


def _flag(section: str, name: str, description: str) -> Setting:
    return Setting([f"--{name}/--no-{name}"], section, default=None, help=description)


_SETTINGS = (
    _text(
        _TARGET, "--config", "FILE", "Read the settings of a target; options given beside it override them."
    ),
    _text(_TARGET, "--target", "NAME", "Which target of the file, where it has several."),
    Setting(["--lmtp/--smtp"], _TARGET, default=None, help="The protocol.  [default: SMTP]"),
    _text(_TARGET, "--hostname", "NAME", "The name to say in EHLO.  [default: our own address]"),
    _text(_TARGET, "--source-address", "ADDRESS", "The local IP address to bind."),
    _words(_TARGET, "--failover", "WORDS", "Try the next endpoint also after: auth, transient."),
    _flag(_TLS, "attempt-starttls", "Use STARTTLS where it is offered.  [default: yes; no for LMTP]"),
    _flag(_TLS, "require-tls", "Never go on without TLS to a verified server.  [default: no]"),
    Setting(
        ["--tls-root-ca"],
        _TLS,
        metavar="FILE",
        multiple=True,
        help="Trust these certificates instead of the system's.",
    ),
    _text(_TLS, "--tls-cert", "FILE", "Our certificate and its chain."),
    _text(_TLS, "--tls-key", "FILE", "Its private key."),
    _text(
        _TLS, "--tls-server-name", "NAME", "Whom the certificate must name.  [default: the endpoint's host]"
    ),
    _flag(_TLS, "tls-verify", "Verify the server's certificate.  [default: yes]"),
    _words(_TLS, "--tls-protocols", "MIN [MAX]", "tls1.2 and tls1.3, quoted together."),
    _words(_TLS, "--tls-ciphers", "NAMES", "Cipher suites of TLS 1.2."),
    _words(_TLS, "--tls-curves", "NAME", "p256, p384, p521 or X25519."),
    _text(_AUTH, "--auth-user", "NAME", "Who we are."),
    Setting(
        ["--auth-mechanism"],
        _AUTH,
        type=click.Choice(
            ["auto", "scram", "plain", "login", "xoauth2", "oauthbearer", "external", "forward", "off"]
        ),
        help="How we prove it; auto is the best that the server offers for passwords.  [default: auto]",
    ),
    _text(_AUTH, "--password-file", "FILE", "Read the password there; one line end after it is left out."),
    _text(_AUTH, "--password-env", "VARIABLE", "Take the password from the environment."),
    _text(_AUTH, "--token-file", "FILE", "Read the token for xoauth2 or oauthbearer there."),
    _text(_AUTH, "--token-env", "VARIABLE", "Take that token from the environment."),
    _flag(_AUTH, "insecure-auth", "Send credentials without TLS to a verified server, too.  [default: no]"),
    _text(_TIME, "--connect-timeout", "DURATION", "Look-up of the name, and connection.  [default: 5m]"),
    _text(
        _TIME, "--command-timeout", "DURATION", "Each reply, and each block of the message.  [default: 5m]"
    ),
    _text(
        _TIME,
        "--submission-timeout",
        "DURATION",
        "From the end of the message until its reply.  [default: 12m]",
    ),
    _text(_TIME, "--transaction-timeout", "DURATION", "Everything together.  [default: off]"),
    _flag(_ODD, "pipelining", "Use PIPELINING where it is offered.  [default: yes]"),
    _flag(_ODD, "chunking", "Use CHUNKING where it is offered.  [default: yes]"),
    _words(_ODD, "--ignore-keywords", "KEYWORDS", "EHLO keywords to be taken as not offered."),
    _text(_ODD, "--failed-endpoint-delay", "DURATION", "How long what failed is tried last.  [default: 10s]"),
    _text(_ODD, "--idle-timeout", "DURATION", "How long an idle connection is kept.  [default: 30s]"),
    _text(_ODD, "--max-connections", "NUMBER", "Open at once.  [default: 10]"),
    _text(_ODD, "--max-messages", "NUMBER", "Over one connection.  [default: 100]"),
    Setting(
        ["-v", "--verbose", "--debug/--no-debug", "debug"],
        "",
        default=None,
        help="Show the dialogue on standard error, without secrets.",
    ),
)


def target_options(command: SectionedCommand) -> SectionedCommand:
    """Add the options of a target to ``command``."""
    options = [option for option in command.params if isinstance(option, click.Option)]
    command.params[len(options) : len(options)] = _SETTINGS
    return command
