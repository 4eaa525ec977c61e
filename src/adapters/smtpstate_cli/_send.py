"""``smtpstate send``: one message file, to the first server that takes it."""

from __future__ import annotations

import click

from smtpstate import ConfigError, Delivery, LocalProtocolError, TargetConfig, Trace, TraceEvent
from smtpstate_blocking import Target
from smtpstate_cli._exits import Exit, Failure, exit_for
from smtpstate_cli._letter import opened
from smtpstate_cli._options import SectionedCommand, target_options
from smtpstate_cli._report import dialogue_lines, failure_lines, outcome_json, show_outcomes
from smtpstate_cli._screen import Screen, complain, reason
from smtpstate_cli._settings import envelope, target_config

_EPILOG = """
\b
Examples:
  smtpstate send --from me@x.example --to you@y.example letter.eml tcp://mx.y.example:25
  smtpstate send --from '' --to you@y.example --lmtp - unix:///run/dovecot/lmtp <letter.eml
  smtpstate send --from me@x.example --to you@y.example --require-tls \\
      --auth-user me --password-file ~/.mail-password letter.eml tcp://mx.x.example:587
  smtpstate send --from me@x.example --to you@y.example \\
      --config /etc/smtpstate.conf --target outside letter.eml

\b
Statuses:
  delivered  the server has taken the message for this recipient
  deferred   not accepted, for a reason that may pass: sending again is safe
  rejected   refused for good: sending again is of no use
  uncertain  the message was sent and the answer never came: sending again
             may duplicate it

\b
Exit codes (sysexits):
    0  all delivered
   64  wrong usage: an option, an address or an endpoint
   65  the message cannot be sent as it is, or not be read to its end
   66  the message, or another file that an option names, cannot be opened
   69  some recipient rejected, none deferred or uncertain
   70  an internal error
   74  some recipient uncertain
   75  some recipient deferred, none uncertain
   78  the settings in a file are wrong, or name a file that is
  130  interrupted
"""


@target_options
@click.command(cls=SectionedCommand, epilog=_EPILOG, short_help="Send a message file.")
@click.option(
    "--from", "sender", required=True, metavar="ADDRESS", help="The sender; '' is the null reverse-path."
)
@click.option(
    "--to", "recipients", multiple=True, metavar="ADDRESS", help="A recipient; give it once for each."
)
@click.option("--json", "as_json", is_flag=True, help="Print the outcomes as JSON, one object on each line.")
@click.argument("file")
@click.argument("endpoints", nargs=-1, metavar="[ENDPOINT]...")
def send(
    sender: str,
    recipients: tuple[str, ...],
    as_json: bool,
    file: str,
    endpoints: tuple[str, ...],
    **options: object,
) -> int:
    """Send the message in FILE (- is standard input), and print what became of each recipient.

    The endpoints are tried in order until one can be reached. An ENDPOINT is
    tcp://HOST:PORT, tls://HOST:PORT (TLS from the start) or unix://PATH.
    Endpoints given here replace those of --config.

    The file is sent as it is, but for its line ends, which become CRLF. It is
    read in pieces, so that it may be of any size.
    """
    if not endpoints and ("://" in file or options["config"] is None):
        missing = "message: give FILE, or -, before it" if "://" in file else "endpoint to send to"
        raise click.UsageError(f"No {missing}")
    delivery_envelope = envelope(sender, recipients)
    config, credentials = target_config(options, endpoints)
    errors = Screen(errors=True)

    def trace(event: TraceEvent) -> None:
        errors.show_lines(*dialogue_lines(event))

    with opened(file) as message:
        delivery = Delivery(delivery_envelope, message, credentials=credentials)
        code = _deliver(delivery, _target(config, trace))
    if code is None:
        for line in failure_lines(delivery.attempts):
            complain(line)
    if code is not Exit.DATA or any(outcome.endpoint for outcome in delivery.outcomes):
        if as_json:
            Screen().write(outcome_json(delivery.outcomes))
        else:
            show_outcomes(Screen(), delivery.outcomes)
    return exit_for(delivery.outcomes) if code is None else code


def _target(config: TargetConfig, trace: Trace) -> Target:
    try:
        return Target(config, trace=trace if config.debug else None)
    except ConfigError as error:  # a file that the settings name
        raise Failure(Exit.CONFIG, str(error)) from None


def _deliver(delivery: Delivery, target: Target) -> Exit | None:
    """Carry the delivery out, and return the exit code if it did not come to its end."""
    try:
        with target:
            target.run(delivery)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except LocalProtocolError as error:
        complain(str(error))
        return Exit.DATA
    except OSError as error:
        complain(f"cannot read the message: {reason(error)}")
        return Exit.DATA
    return None
