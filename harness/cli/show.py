"""`show`: print one run in full, rung by rung."""

from collections.abc import Iterable
from json import dumps
from typing import Annotated

import typer

from harness import wiring
from harness.cli import completion, output, run_argument
from harness.cli import follow as following
from harness.cli import watch as watching
from harness.errors import RequestError
from harness.report import text
from harness.store import run_overview
from harness.store.ledger import Ledger
from harness.store.ledger_lines import HostLine, RunLine, StepLine
from harness.store.run_overview import RunOverview
from harness.system import settings

Json = Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")]


def show(
    run: run_argument.Run,
    host: Annotated[
        str | None, typer.Argument(metavar="HOST", help="Only this host.", autocompletion=completion.hosts)
    ] = None,
    json: Json = False,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print the run's events, one a line, until it ends.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Draw the clocks that are measured, until the run ends.")
    ] = False,
    since: Annotated[
        int | None,
        typer.Option(metavar="NUMBER", min=0, help="With --follow: only events behind this number."),
    ] = None,
) -> None:
    """Show every rung, finding and step of a run's hosts.

    For a run that is under way or died, show what is known so far. --follow prints its events instead, also those of a
    run that another process or machine leads. Each event has a number; --since goes on behind one.

    --watch draws the offset of each clock that is measured, and chrony's bound, in the terminal: of a run whose samples
    are on this machine. It ends with the run; Ctrl-C ends it before.

    Examples:
        ptp-harness show k3f9
        ptp-harness show k3f9 lab.phc
        ptp-harness show last --json
        ptp-harness show last lab.phc --watch
        ptp-harness show k3f9 --follow
        ptp-harness show k3f9 --follow --since 120
    """
    configuration = settings.load()
    ledger = wiring.ledger(configuration)
    if since is not None and not follow:
        raise RequestError("--since goes with --follow", next_step="add --follow")
    if watch and (follow or json):
        raise RequestError("--watch draws for people, without --follow and --json", next_step="leave one out")
    if follow:
        _follow(ledger.find(run), host, ledger, since or 0, json=json)
        return
    run = ledger.find(run).run
    if watch:
        watching.watch(ledger.find(run), host, ledger, configuration)
        _tell_of_death(ledger.find(run))
    shown = run_argument.choose_hosts(run, ledger.hosts(run), [] if host is None else [host])
    steps = [step for step in ledger.steps(run) if host is None or step.host == host]
    overview = run_overview.find(ledger, run)
    if json:
        from harness.runs.run_document import build_document  # what else is shown needs no part of runs

        output.emit(build_document(overview, shown, steps))
        return
    output.show("\n".join(_lines(overview, shown, steps)))


def _follow(line: RunLine, host: str | None, ledger: Ledger, since: int, *, json: bool) -> None:
    from harness.runs.event_lines import event_document, format_event

    for numbered in following.follow(line.run, ledger, since=since):
        if host in (None, numbered.event.host):
            output.show(dumps(event_document(numbered)) if json else format_event(numbered, line.bench))
    _tell_of_death(ledger.find(line.run))


def _tell_of_death(line: RunLine) -> None:
    if line.died():
        output.say(f"run {line.run} has not ended, and its owner died; `ptp-harness resume {line.run}` goes on with it")


def _lines(overview: RunOverview, hosts: Iterable[HostLine], steps: Iterable[StepLine]) -> list[str]:
    bench, run = overview.line.bench, overview.line.run
    lines: list[str] = []
    for line in hosts:
        if line.record is None:
            lines.append(f"{text.host_title(line.host, line.instance_type)}: no verdict yet")
        else:
            lines += text.ladder(line.record, bench=bench).splitlines()
    for step in steps:
        duration = "not ended" if step.ended_ns is None else f"{(step.ended_ns - step.begun_ns) / 1e9:.1f} s"
        stage = text.stage_title(step.stage, bench)
        lines.append(f"  {step.token:<32} {stage:<10} {duration:>9}  {step.result or ''}".rstrip())
    kept_text = run_overview.describe_kept(overview)
    return [*lines, *([f"{kept_text}; remove with `ptp-harness release {run}`"] if kept_text else [])]
