"""``smtpstate check``: connect to each endpoint, say what is there, and send no mail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from secrets import token_urlsafe

import click

from smtpstate import ConfigError, Credentials, TargetConfig, TraceEvent
from smtpstate._check import Report, checking
from smtpstate_blocking import Wire, drive
from smtpstate_cli._exits import Exit, Failure
from smtpstate_cli._options import SectionedCommand, target_options
from smtpstate_cli._report import dialogue_lines
from smtpstate_cli._screen import Screen
from smtpstate_cli._settings import target_config
from smtpstate_io import Contexts

_BY_WEIGHT = (Exit.REJECTED, Exit.DEFERRED, Exit.DELIVERED)

_EPILOG = """
\b
Examples:
  smtpstate check tcp://mx.y.example:25
  smtpstate check --require-tls --expiry-days 21 tcp://mx.y.example:587 tls://mx.y.example:465
  smtpstate check --config /etc/smtpstate.conf --target outside --json

\b
A certificate that does not verify is a problem where the settings ask for TLS
or credentials are to be sent: --require-tls, a tls:// endpoint, --auth-user.
Otherwise a delivery would go on without, and "verified" says why it does not
verify. One that has expired, or is about to, is always a problem.

\b
Exit codes (sysexits), of all endpoints the first that fits:
   69  an endpoint refuses for good, or its certificate has expired or does
       so within --expiry-days
   75  an endpoint cannot be reached, puts us off, or lacks the TLS it needs
    0  all is right
   64  wrong usage: an option or an endpoint
   66  a file that an option names cannot be opened
   70  an internal error
   78  the settings in a file are wrong, or name a file that is
  130  interrupted
"""


@target_options
@click.command(cls=SectionedCommand, epilog=_EPILOG, short_help="Look at servers, and send no mail.")
@click.option(
    "--expiry-days",
    type=click.IntRange(min=0),
    default=14,
    metavar="DAYS",
    help="A certificate that expires within so many days is a problem.  [default: 14]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object on a line for each endpoint.")
@click.argument("endpoints", nargs=-1, metavar="[ENDPOINT]...")
def check(expiry_days: int, as_json: bool, endpoints: tuple[str, ...], **options: object) -> int:
    """Connect to every endpoint, and print what is found there; no mail is sent.

    An ENDPOINT is tcp://HOST:PORT, tls://HOST:PORT (TLS from the start) or
    unix://PATH. Without any, those of --config are checked, each of them.

    TLS is used and credentials are sent as a delivery would; where a certificate
    is refused, a second connection looks at it, without credentials.
    """
    # It is large, and send has no use for it.
    from smtpstate_cli._findings import Finding

    if not endpoints and options["config"] is None:
        raise click.UsageError("No endpoint to check")
    config, credentials = target_config(options, endpoints)
    code = Exit.DELIVERED
    screen = Screen()
    for report in _reports(config, credentials):
        finding = Finding(report, datetime.now(UTC), expiry_days)
        screen.write(f"{finding.json()}\n" if as_json else "".join(f"{line}\n" for line in finding.lines()))
        code = min((code, finding.code), key=_BY_WEIGHT.index)
    return code


def _reports(config: TargetConfig, credentials: Credentials | None) -> Iterator[Report]:
    """Yield what is found at each endpoint, one after the other."""
    errors = Screen(errors=True)

    def trace(event: TraceEvent) -> None:
        errors.show_lines(*dialogue_lines(event))

    contexts = Contexts()
    try:
        contexts.get(config.tls_client)
    except ConfigError as error:  # a file that the settings name
        raise Failure(Exit.CONFIG, str(error)) from None
    for endpoint in config.endpoints:
        dialogue = checking(
            config,
            endpoint,
            credentials=credentials,
            nonce=token_urlsafe,
            trace=trace if config.debug else None,
        )
        with closing(Wire(contexts.get)) as wire:
            yield drive(dialogue, wire)
