"""`show`: print one run in full, rung by rung."""

import datetime
from collections.abc import Iterable
from json import dumps
from typing import Annotated, Any

import typer

from harness import units, wiring
from harness.cli import completion, output, run_argument
from harness.cli import follow as following
from harness.cli import watch as watching
from harness.errors import RequestError
from harness.model import HostState
from harness.report import text
from harness.report.document import SCHEMA, host_document
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
    steps = [step for step in ledger.steps(run) if host is None or step.token.split("/")[1] == host]
    overview = run_overview.find(ledger, run)
    if json:
        output.emit(_document(overview, shown, steps))
        return
    output.show("\n".join(_lines(overview, shown, steps)))


def _follow(line: RunLine, host: str | None, ledger: Ledger, since: int, *, json: bool) -> None:
    for numbered in following.follow(line.run, ledger, since=since):
        if host in (None, numbered.event.host):
            document = following.event_document(numbered)
            output.show(dumps(document) if json else following.format_event(numbered, line.bench))
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


def _document(overview: RunOverview, hosts: Iterable[HostLine], steps: Iterable[StepLine]) -> dict[str, Any]:
    until = overview.kept_until
    return {
        "schema": SCHEMA,
        "run": overview.line.run,
        "bench": overview.line.bench,
        "started": overview.started.isoformat(),
        "state": overview.state,
        "kept_until": None if until is None else until.isoformat(),
        "kept_cost_usd": overview.kept_cost_usd,
        "hosts": [_host_document(line) for line in hosts],
        "steps": [_step_document(step) for step in steps],
    }


def _host_document(line: HostLine) -> dict[str, Any]:
    if line.record is not None:
        kept = {
            "kept_until": None if line.kept_until_ns is None else units.utc(line.kept_until_ns),
            "kept_by": line.kept_by,
        }
        return {**host_document(line.record), "state": line.state, **(kept if line.state is HostState.KEPT else {})}
    return {"name": line.host, "instance_type": line.instance_type, "outcome": None, "state": line.state}


def _step_document(step: StepLine) -> dict[str, Any]:
    seconds = None if step.ended_ns is None else round((step.ended_ns - step.begun_ns) / 1e9, 3)
    begun = datetime.datetime.fromtimestamp(step.begun_ns / 1e9, datetime.UTC)
    return {
        "token": step.token,
        "stage": step.stage,
        "begun": begun.isoformat(timespec="milliseconds"),
        "seconds": seconds,
        "result": step.result,
    }
