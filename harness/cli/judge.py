"""`judge`: judge an ended run again by its stored evidence, with other limits or by a newer version."""

from dataclasses import replace
from typing import Annotated

import typer

from harness import __version__, wiring
from harness.cli import campaign_options, completion, output, run_argument
from harness.cli.report import Forms, Json, read_targets, write_reports
from harness.errors import RequestError
from harness.report import text
from harness.report.exit_codes import exit_code_of
from harness.runs import campaign_run, judging
from harness.runs.ended_runs import read_record
from harness.system import settings


def judge(
    run: run_argument.Run,
    hosts: Annotated[
        list[str] | None,
        typer.Argument(metavar="HOST", help="Only these hosts; default: all.", autocompletion=completion.hosts),
    ] = None,
    limits: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Take the limits of this campaign file instead of the run's own."),
    ] = None,
    forms: Forms = None,
    json: Json = False,
) -> None:
    """Judge an ended run again by its stored evidence.

    No machine is used, and what the run recorded stays as it is: facts and samples are read from the raw outputs, and
    verdicts and figures are made of them by this version of ptp-harness. Each verdict that differs from the recorded
    one is named. Exit codes are those of `run`.

    --limits FILE judges by other limits: a campaign file, of which only `limits` counts.

    Examples:
        ptp-harness judge k3f9
        ptp-harness judge last lab.phc --limits strict.yaml
        ptp-harness judge k3f9 --format json=again.json
    """
    targets = read_targets(forms, json=json)
    configuration = settings.load()
    ledger = wiring.ledger(configuration)
    record, line = read_record(run, ledger), ledger.find(run)
    campaign = campaign_run.read_campaign(line.run, ledger)
    if limits is not None:
        campaign = campaign_options.replace_limits(campaign, limits)
    chosen = run_argument.choose_hosts(line.run, ledger.hosts(line.run), hosts or [])
    found = wiring.find_evidence(line, ledger, configuration)
    if missing := [host.host for host in chosen if host.host in found.missing]:
        raise RequestError(
            f"evidence of run {line.run} is not on this machine: {', '.join(missing)}",
            next_step=f"judge the others by their names, or {line.owner.machine} has it; --evidence URL names a store",
        )
    judged = judging.judge_again(chosen, found.folder, campaign)
    again = replace(record, version=__version__, hosts=tuple(each.record for each in judged))
    write_reports(again, targets, configuration)
    if all(target.file is not None for target in targets):
        output.show(text.verdict_table(again.hosts, width=output.width()) + _describe_changes(judged))
    raise typer.Exit(exit_code_of(again))


def _describe_changes(judged: list[judging.JudgedAgain]) -> str:
    changed = [
        f"{each.record.name}: the run recorded {each.recorded.verdict.outcome} {each.recorded.verdict.reason}"
        for each in judged
        if each.changed
    ]
    return "\n".join(changed) or "every verdict is the one that the run recorded"
