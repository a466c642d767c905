"""The command `ptp-harness`: its verbs, and the one boundary where errors become a sentence and an exit code."""

import sys
import tempfile
import traceback
from typing import Annotated

import typer

from harness import __version__
from harness.cli import campaign_files, doctor, kept, lab, output, plan, report, run, runs, show, sweep
from harness.errors import ExitCode, HarnessError

app = typer.Typer(
    name="ptp-harness",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    help="Which machines give a precision clock that can be trusted, how good is it, and why not where not?",
    epilog="Exit codes: 0 all passed, 1 a clock failed, 2 bad request, 3 inconclusive or unsupported, "
    "4 something is left running, 70 our fault, 130 interrupted.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ptp-harness {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """What goes before every verb."""


app.command("doctor")(doctor.doctor)
app.command("plan")(plan.plan)
app.command("run")(run.run)
app.command("runs")(runs.runs)
app.command("show")(show.show)
app.command("report")(report.report)
app.command("keep")(kept.keep)
app.command("release")(kept.release)
app.command("ssh", context_settings={"ignore_unknown_options": True})(kept.enter)
app.command("sweep")(sweep.sweep)
app.add_typer(campaign_files.app, name="campaign")
app.add_typer(lab.app, name="lab")


def main() -> None:
    """Run the command and end with its exit code."""
    try:
        app()
    except HarnessError as error:
        output.say(f"ptp-harness: {error.message}")
        if error.next_step:
            output.say(f"  next: {error.next_step}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        output.say("ptp-harness: interrupted")
        sys.exit(ExitCode.INTERRUPTED)
    except Exception as error:
        with tempfile.NamedTemporaryFile("w", prefix="ptp-harness-", suffix=".log", delete=False) as log:
            log.write(traceback.format_exc())
        output.say(f"ptp-harness: our fault: {type(error).__name__}: {error}")
        output.say(f"  next: please report this with the file {log.name}")
        sys.exit(ExitCode.OUR_FAULT)
