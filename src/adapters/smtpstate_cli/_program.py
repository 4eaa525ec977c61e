"""The commands and options of ``smtpstate``, and what becomes of mistakes in them."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Sequence

import click

from smtpstate_cli._check import check
from smtpstate_cli._exits import Exit, Failure
from smtpstate_cli._screen import complain, tolerate_any_text
from smtpstate_cli._send import send


def run(arguments: Sequence[str]) -> int:
    """Run the program, and return its exit code; every failure is one line on standard error."""
    tolerate_any_text()
    try:
        code: object = program.main(list(arguments), "smtpstate", standalone_mode=False)
    except click.ClickException as error:
        command = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "smtpstate"
        complain(f"{_as_ours(error.format_message())} (see {command} --help)")
        return Exit.USAGE
    except Failure as failure:
        complain(str(failure))
        return failure.code
    except (click.Abort, KeyboardInterrupt):
        return Exit.INTERRUPTED
    except ModuleNotFoundError:
        raise  # for whoever knows what to install
    except Exception as error:
        if sys.flags.dev_mode:
            raise
        complain(f"internal error: {error!r} (where: python -X dev -m smtpstate_cli)")
        return Exit.INTERNAL
    return code if isinstance(code, int) else Exit.DELIVERED


def _as_ours(message: str) -> str:
    """Return a message of the option parser in the form of our own."""
    sentences = message.rstrip(".?").split(". ")
    return "; ".join(sentence[:1].lower() + sentence[1:] for sentence in sentences)


def _print_version(context: click.Context, option: click.Parameter, wanted: bool) -> None:
    if wanted:
        try:
            version = importlib.metadata.version("smtpstate")
        except importlib.metadata.PackageNotFoundError:
            version = "(not installed)"
        click.echo(f"smtpstate {version}")
        context.exit()


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version.",
)
@click.pass_context
def program(context: click.Context) -> int:
    """Send mail to SMTP and LMTP servers, and say what became of each recipient."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(Exit.USAGE)
    return Exit.DELIVERED


program.add_command(send)
program.add_command(check)


@program.command()
def demo() -> int:
    """Watch a message go to four recipients.

    Starts mail servers of its own, on this machine only, and sends a message
    with an attachment to each by LMTP and by SMTP. Shows what is said, what
    it means, and what became of every recipient. No mail leaves this machine.
    """
    from smtpstate_cli._demo import show_demo

    return show_demo()
