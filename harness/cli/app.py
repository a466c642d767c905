"""The command `ptp-harness`, and the one boundary where errors become a sentence and an exit code."""

import os
import sys
from typing import Annotated

import typer

from harness import __version__
from harness.cli import output, server_options
from harness.cli.commands import RootGroup
from harness.errors import ExitCode, HarnessError
from harness.system import signals
from harness.untrusted.plain_text import printable

NAME = "ptp-harness"

_EPILOG = """\b
Exit codes:
  0    every clock passed
  1    a clock failed
  2    a bad request, or this machine lacks something
  3    inconclusive or unsupported
  4    something is left running
  70   our fault
  130  interrupted

`ptp-harness COMMAND --help` explains each command, with examples."""
"""By \\b, lines stay as they are."""

app = typer.Typer(
    name=NAME,
    cls=RootGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    help="Which machines give a precision clock that can be trusted, how good is it, and if not, why?",
    epilog=_EPILOG,
)


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"{NAME} {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", is_eager=True, callback=_print_version)
    ] = False,
    server: server_options.Server = None,
    token_file: server_options.TokenFile = None,
) -> None:
    """Define the options before every command."""


def main() -> None:
    """Run the command and end with its exit code. Only its user can read the files that it makes."""
    os.umask(0o077)
    try:
        with signals.raising_on_stop_signals():
            app(prog_name=NAME)
    except HarnessError as error:
        output.say(f"ptp-harness: {error.message}")
        if error.next_step:
            output.say(f"  next: {error.next_step}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        output.say("ptp-harness: interrupted")
        sys.exit(ExitCode.INTERRUPTED)
    except Exception as error:
        import tempfile  # slow to load, and needed only here
        import traceback

        with tempfile.NamedTemporaryFile("wb", prefix="ptp-harness-", suffix=".log", delete=False) as log:
            log.write(printable(traceback.format_exc()).encode())
        output.say(f"ptp-harness: our fault: {type(error).__name__}: {error}")
        output.say(f"  next: please report this with the file {log.name}")
        sys.exit(ExitCode.OUR_FAULT)
