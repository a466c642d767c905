"""`cluster results`: what a run on a cluster has brought so far, and its reports, also without the cluster."""

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from harness import wiring
from harness.cli import cluster_options, completion, output
from harness.errors import ExitCode, RequestError
from harness.report import text
from harness.report.exit_codes import exit_code_of
from harness.runs.ended_runs import read_record
from harness.store.ledger import Ledger
from harness.store.ledger_lines import HostLine, RunLine, StepLine
from harness.store.ledger_reader import UnknownRunError
from harness.store.run_query import RunState
from harness.system import settings
from harness.system.settings import Settings


def results(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The name of the run.", autocompletion=completion.runs)],
    folder: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FOLDER", help="Write the reports of an ended run to this folder: text, HTML, ..."
        ),
    ] = None,
    with_evidence: Annotated[
        bool, typer.Option("--with-evidence", help="With --output: all evidence, too, in the folder's `evidence`.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")] = False,
    context: cluster_options.Context = None,
    namespace: cluster_options.Namespace = None,
) -> None:
    """Show what a run has brought so far.

    Verdicts, hosts that were begun anew since the infrastructure failed, and where the reports are; also while the run
    goes on. Reads the ledger and the evidence store, and needs no cluster. Where no ledger is named, it asks the
    cluster for the end of the run alone.

    --output writes report.txt, report.html, junit.xml and report.json, as the coordinator left them in the evidence
    store, else from the ledger. The exit code is that of the run; 3 before its end. Runs of `cluster test` are in the
    evidence store alone.

    Examples:
        ptp-harness cluster results k3f9mq --ledger postgresql://ada@db.example/ptp
        ptp-harness cluster results k3f9mq -o reports --evidence s3://evidence/team
        ptp-harness cluster results k3f9mq -o reports --with-evidence
    """
    if with_evidence and folder is None:
        raise RequestError("--with-evidence goes with --output", next_step="add --output FOLDER")
    configuration = settings.load()
    ledger = wiring.ledger(configuration)
    try:
        line = ledger.find(run)
    except UnknownRunError as error:
        if configuration.evidence is not None:
            from harness.cli.cluster_test_results import show_tests  # of runs that no ledger knows

            show_tests(run, folder, configuration.evidence, json=json)
        if configuration.ledger is not None:
            raise
        _show_end(run, context, namespace, folder, configuration, json=json, why=error)
        return
    if folder is not None:
        _write_reports(line, folder, ledger, configuration)
        if with_evidence:
            _copy_evidence(line, folder, ledger, configuration)
    _show_progress(line, ledger, configuration, json=json)


def _show_progress(line: RunLine, ledger: Ledger, configuration: Settings, *, json: bool) -> None:
    """Print what the ledger tells of a run, and end with its exit code."""
    record = ledger.record(line.run)
    hosts, steps = ledger.hosts(line.run), ledger.steps(line.run)
    code = ExitCode.NOT_CONCLUSIVE if record is None else exit_code_of(record)
    reports = _locate_reports(line, configuration)
    if json:
        output.emit(_build_document(line, ledger, hosts, steps) | {"reports": reports, "exit_code": int(code)})
        raise typer.Exit(code)
    judged = [host.record for host in hosts if host.record is not None]
    if judged:
        output.show(text.verdict_table(judged, width=output.width()))
    for host in hosts:
        if host.record is None:
            output.show(f"{text.host_title(host.host, host.instance_type)}: {_describe_progress(host, steps)}")
    for sentence in _list_given_up(hosts, steps, line.bench):
        output.show(sentence)
    counts = Counter(each.verdict.outcome for each in judged)
    verdicts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())) or "no verdict yet"
    output.show(f"run {line.run} {_STATES[line.state]}: {len(judged)} of {len(hosts)} hosts are judged: {verdicts}")
    output.show(f"reports: {reports}" if reports else "reports: in no evidence store; --output FOLDER writes them")
    raise typer.Exit(code)


_STATES = {
    RunState.ENDED: "has ended",
    RunState.UNDER_WAY: "goes on",
    RunState.DIED: "has no leader at the moment",
}


def _describe_progress(host: HostLine, steps: Sequence[StepLine]) -> str:
    latest = [step for step in steps if step.token == str(host.token)]
    if host.attempt == 0:
        return "not begun"
    where = f", {latest[-1].stage}" if latest else ""
    return f"no verdict yet (attempt {host.attempt}{where})"


def _list_given_up(hosts: Sequence[HostLine], steps: Sequence[StepLine], bench: str) -> list[str]:
    """Tell of each attempt that brought no verdict, and in which stage it ended: faults of the infrastructure."""
    latest = {step.token: step.stage for step in steps}
    lines = []
    for host in hosts:
        for token in host.tokens[:-1]:
            stage = latest.get(str(token))
            where = f"in stage {text.stage_title(stage, bench)}" if stage else "before its first stage"
            lines.append(f"infrastructure: attempt {token.attempt} at {host.host} ended {where}, and it was begun anew")
    return lines


def _build_document(
    line: RunLine, ledger: Ledger, hosts: Sequence[HostLine], steps: Sequence[StepLine]
) -> dict[str, Any]:
    from harness.runs.run_document import build_document  # what else is shown needs no part of it
    from harness.store import run_overview

    return build_document(run_overview.find(ledger, line.run), hosts, steps)


def _locate_reports(line: RunLine, configuration: Settings) -> str | None:
    """Return where the reports of a run are in the evidence store; None where they are not, or it cannot be asked."""
    from harness.cluster.run_reports import find_reports
    from harness.errors import SetupError

    try:
        return find_reports(line, configuration)
    except SetupError as error:
        output.say(f"the evidence store cannot be asked for reports: {error.message}")
        return None


def _write_reports(line: RunLine, folder: Path, ledger: Ledger, configuration: Settings) -> None:
    """Write the reports to a folder: those of the evidence store, else of the ledger. Raises ConflictError."""
    from harness.cluster.run_reports import fetch_reports, write_reports
    from harness.errors import SetupError
    from harness.store.evidence_parts import make_run_folder

    record = read_record(line.run, ledger)
    try:
        written = fetch_reports(make_run_folder(line.run, line.started_ns), folder, configuration)
    except SetupError as error:
        output.say(f"{error.message}: the reports are written from the ledger")
        written = None
    if written is None:
        written = write_reports(
            record, folder, lambda each: wiring.collect_plots(each, configuration, ledger), output.say
        )
    for path in written:
        output.say(f"written: {path}")


def _copy_evidence(line: RunLine, folder: Path, ledger: Ledger, configuration: Settings) -> None:
    found = wiring.find_evidence(line, ledger, configuration)
    if found.missing or not found.folder.is_dir():
        raise RequestError(
            f"evidence of run {line.run} is not to be had: {', '.join(found.missing) or 'none of it'}",
            next_step="--evidence URL names the store that the pods send it to",
        )
    target = folder / "evidence"
    shutil.copytree(found.folder, target, dirs_exist_ok=True)
    output.say(f"written: {target}")


def _show_end(
    run: str,
    context: str | None,
    namespace: str | None,
    folder: Path | None,
    configuration: Settings,
    *,
    json: bool,
    why: UnknownRunError,
) -> None:
    """Show the end that the coordinator left in the cluster, where no ledger is named; fetch its reports."""
    from harness.cluster.jobs import COORDINATOR
    from harness.cluster.run_reports import fetch_reports, locate_reports
    from harness.cluster.run_state import find_coordinator, list_pods, read_end

    output.say(f"{why.message} in the ledger of this machine, and --ledger URL names no other: asking the cluster")
    connection = cluster_options.open_connection(context, namespace)
    state = find_coordinator(connection, run)
    end = read_end(list_pods(connection, run, part=COORDINATOR))
    if end is None or end.exit_code is None:
        problem = "" if end is None else f": {end.problem}"
        raise RequestError(
            f"run {run} has no result in the cluster: {state.end or 'it goes on'}{problem}",
            next_step="--ledger URL, of the secret ptp-harness, shows the verdicts so far",
        )
    if folder is not None:
        written = None if end.reports is None else fetch_reports(end.reports, folder, configuration)
        if written is None:
            raise RequestError(
                f"the reports of run {run} are not to be had",
                next_step="--evidence URL names the store that has them, --ledger URL the ledger",
            )
        for path in written:
            output.say(f"written: {path}")
    if json:
        document = {"run": run, "verdicts": end.verdicts, "reports": end.reports, "exit_code": int(end.exit_code)}
        output.emit(document)
    else:
        verdicts = ", ".join(f"{count} {name}" for name, count in sorted(end.verdicts.items()))
        output.show(f"run {run} has ended: {verdicts}; exit code {int(end.exit_code)}")
        place = None if end.reports is None else locate_reports(end.reports).prefix
        output.show(f"reports: in the evidence store, {place}" if place else "reports: in no evidence store")
    raise typer.Exit(end.exit_code)
