"""Draw the clocks of a run in the terminal while the run measures them, until it ends."""

import sys
import time
from typing import TYPE_CHECKING

from harness import wiring
from harness.cli import output, run_argument
from harness.errors import RequestError
from harness.report.terminal_chart import ASCII, UNICODE
from harness.report.terminal_lines import format_lines
from harness.report.watch_frame import WatchedRun, describe_latest, draw_frame
from harness.store.ledger import Ledger
from harness.store.ledger_lines import RunLine
from harness.system import terminal
from harness.system.settings import Settings
from harness.system.terminal import Abilities

if TYPE_CHECKING:
    from harness.runs.run_watch import RunWatch

REDRAW_S = 1.0
_PRINT_S = 5.0


def watch(line: RunLine, host: str | None, ledger: Ledger, settings: Settings) -> None:
    """Draw a run's clocks, or that of one host, until the run ends; the last drawing stays on the terminal.

    A run that has ended is drawn once. A terminal that cannot move its cursor gets a line of values every five
    seconds, and the last drawing. Raises RequestError where standard output is no terminal, or the samples are
    elsewhere.
    """
    abilities = terminal.read_abilities(sys.stdout)
    if abilities is None:
        raise RequestError(
            "--watch draws on a terminal, and standard output is none",
            next_step=f"`ptp-harness show {line.run} --follow` prints the run's events line by line",
        )
    from harness.runs import campaign_run, run_watch  # slow to load: what else `show` prints needs neither

    hosts = run_argument.choose_hosts(line.run, ledger.hosts(line.run), [] if host is None else [host])
    campaign = campaign_run.read_campaign(line.run, ledger)
    if line.ended:
        found = wiring.find_evidence(line, ledger, settings)
        here = [each for each in hosts if each.host not in found.missing]
        if not here:
            raise RequestError(
                f"the samples of run {line.run} are not on this machine; {line.owner.machine} has them",
                next_step="watch it there; --evidence URL names a store that has them",
            )
        ended = run_watch.view_ended_run(line, here, campaign, found.folder)
        _print_last(ended, abilities, screens=len(ended.hosts))
        return
    watched = run_watch.RunWatch(line, hosts, campaign, ledger, settings.runs_dir / line.run)
    _print_last(_draw(watched, abilities) if abilities.moves else _print(watched), abilities)


def _draw(watched: "RunWatch", abilities: Abilities) -> WatchedRun:
    """Draw until the run has ended; return what it was then."""
    run = watched.look()  # before the screen changes: it may refuse
    with terminal.open_screen(sys.stdout.fileno()) as screen:
        while run.goes_on:
            columns, rows = screen.size()
            screen.draw(_frame(run, columns, rows, abilities))
            screen.wait(REDRAW_S)
            run = watched.look()
    return run


def _print(watched: "RunWatch") -> WatchedRun:
    """Print the latest values line by line until the run has ended; return what it was then."""
    shown: list[str] = []
    while (run := watched.look()).goes_on:
        lines = [describe_latest(host) for host in run.hosts] or [*run.notes]
        if lines != shown:
            output.show("\n".join(lines))
        shown = lines
        time.sleep(_PRINT_S)
    return run


def _print_last(run: WatchedRun, abilities: Abilities, *, screens: int = 1) -> None:
    """Print a drawing that stays, as high as so many screens."""
    columns, rows = terminal.read_size(sys.stdout.fileno())
    output.write("\n".join(_frame(run, columns, rows * screens, abilities)) + "\n\n")


def _frame(run: WatchedRun, columns: int, rows: int, abilities: Abilities) -> list[str]:
    """Draw a frame that leaves one row free, for the cursor."""
    lines = draw_frame(run, width=columns, height=max(1, rows - 1), glyphs=UNICODE if abilities.blocks else ASCII)
    return format_lines(lines, colour=abilities.colours)
