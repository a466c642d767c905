"""`run` with a service: submit the campaign, follow its run, and end as a run of this machine does."""

from collections.abc import Sequence
from typing import Any, NoReturn

import typer

from harness.campaign.mistakes import COMMAND_LINE
from harness.cli import campaign_options, output, report
from harness.cli.campaign_options import WrittenCampaign
from harness.cli.remote_report import print_end
from harness.cli.server_options import NamedServer, connect
from harness.client.client import Client
from harness.client.refusals import RefusedError, RefusedKey
from harness.client.task_views import Task
from harness.errors import ExitCode, RequestError
from harness.model.tasks import TaskState
from harness.untrusted.input_checks import MOST_MISTAKES


def run(
    server: NamedServer,
    *,
    targets: list[str] | None,
    forms: Sequence[str] | None,
    json: bool,
    join: str | None,
    site: str | None,
    priority: int,
    detach: bool,
    disturb: Sequence[str] | None,
    **flags: Any,
) -> None:
    """Let a service carry out a campaign, and print its report."""
    if join is not None:
        raise RequestError(
            "--join helps with a run of a ledger that this machine can reach, and not with one of a service",
            next_step="`ptp-harness work` on another machine with the ledger of the service carries out campaigns, too",
        )
    if not targets:
        raise RequestError("nothing to run: name a campaign file or types", next_step="ptp-harness run lab.phc")
    if detach and (forms or json):
        raise RequestError(
            "--detach ends before there is a report",
            next_step="`ptp-harness report RUN` prints it once the run has ended",
        )
    targets_of_report = report.read_targets(forms, json=json)
    written = campaign_options.write_campaign(targets, disturbances=disturb or None, **flags)
    with connect(server) as client:
        task = submit(client, written, site=site, priority=priority)
        if detach:
            output.show(task.task)
            output.say(f"submitted; `ptp-harness --server {client.url} show {task.task} --follow` follows its run")
            return
        from harness.cli.remote_follow import follow_task  # loads rich

        end_command(follow_task(client, task), client, targets_of_report)


def submit(client: Client, written: WrittenCampaign, *, site: str | None, priority: int) -> Task:
    """Submit a campaign. Raises RefusedError, whose mistakes are placed in the file of whoever calls."""
    try:
        return client.submit(written.text, site=site, priority=priority)
    except RefusedError as error:
        raise _place_mistakes(error, written) from error


def _place_mistakes(error: RefusedError, written: WrittenCampaign) -> RefusedError:
    """Name the file, or the command line, in the mistakes that a service found in a campaign."""
    if not error.mistakes:
        return error
    lines = [_describe_mistake(mistake, written) for mistake in error.mistakes[:MOST_MISTAKES]]
    if written.where != COMMAND_LINE:
        count = "1 mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
        lines.insert(0, f"{count} in campaign {written.where}")
    return RefusedError("\n".join(lines), next_step=error.next_step, status=error.status, mistakes=error.mistakes)


def _describe_mistake(mistake: RefusedKey, written: WrittenCampaign) -> str:
    place = f"{written.where}:{mistake.line}" if written.as_in_file and mistake.line else written.where
    return ": ".join(part for part in (place, mistake.key, mistake.message) if part)


def end_command(task: Task, client: Client, targets_of_report: Sequence[report.Target]) -> NoReturn:
    """Print the report of a task's run, write the requested reports, and end with the exit code of the run.

    Raises RequestError for a task whose run could not begin.
    """
    if task.run is None:
        if task.state is TaskState.CANCELLED:
            output.say(f"task {task.task} was cancelled before its run began")
            raise typer.Exit(ExitCode.INTERRUPTED)
        raise RequestError(
            f"the run of task {task.task} could not begin: {task.problem or 'the service does not say why'}",
            next_step="correct the campaign, or ask who runs the service",
        )
    print_end(task.run, client, targets_of_report)
    raise typer.Exit(ExitCode.OUR_FAULT if task.exit_code is None else task.exit_code)
