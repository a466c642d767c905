"""The command `ptp-harness`: its verbs, and the one boundary where errors become a sentence and an exit code."""

import os
import sys
import tempfile
import traceback
from typing import Annotated

import typer

from harness import __version__
from harness.cli import (
    campaign_files,
    doctor,
    help_text,
    image,
    kept_hosts,
    lab,
    lab_copy,
    lab_inventory,
    lab_pool,
    lab_snapshots,
    output,
    plan,
    report,
    resume,
    run,
    runs,
    show,
    sweep,
    types,
)
from harness.cli.help_text import HelpCommand
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
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    help="Which machines give a precision clock that can be trusted, how good is it, and if not, why?",
    epilog=_EPILOG,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"{NAME} {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Options before every verb."""


app.command("doctor", cls=HelpCommand)(doctor.doctor)
app.command("types", cls=HelpCommand)(types.types)
app.command("plan", cls=HelpCommand)(plan.plan)
app.command("run", cls=HelpCommand)(run.run)
app.command("resume", cls=HelpCommand)(resume.resume)
app.command("runs", cls=HelpCommand)(runs.runs)
app.command("show", cls=HelpCommand)(show.show)
app.command("report", cls=HelpCommand)(report.report)
app.command("keep", cls=HelpCommand)(kept_hosts.keep)
app.command("release", cls=HelpCommand)(kept_hosts.release)
app.command("ssh", cls=HelpCommand, context_settings=help_text.TAKES_A_COMMAND)(kept_hosts.enter)
app.command("sweep", cls=HelpCommand)(sweep.sweep)
app.add_typer(image.app, name="image")
app.add_typer(campaign_files.app, name="campaign")
lab.app.command("copy", cls=HelpCommand)(lab_copy.copy)
lab.app.command("inventory", cls=HelpCommand)(lab_inventory.inventory)
lab.app.command("pool", cls=HelpCommand)(lab_pool.pool)
lab.app.command("exec", cls=HelpCommand, context_settings=help_text.TAKES_A_COMMAND)(lab_pool.execute)
lab.app.add_typer(lab_snapshots.app, name="snapshot")
app.add_typer(lab.app, name="lab")


def main() -> None:
    """Run the command and end with its exit code. Files that it makes are its user's alone."""
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
        with tempfile.NamedTemporaryFile("wb", prefix="ptp-harness-", suffix=".log", delete=False) as log:
            log.write(printable(traceback.format_exc()).encode())
        output.say(f"ptp-harness: our fault: {type(error).__name__}: {error}")
        output.say(f"  next: please report this with the file {log.name}")
        sys.exit(ExitCode.OUR_FAULT)
