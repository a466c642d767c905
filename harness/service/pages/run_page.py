"""Show a run: its hosts and how far they are, its events as they come, and what may be done with it."""

from collections import Counter
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from harness import units
from harness.campaign.campaign import Campaign
from harness.errors import HarnessError
from harness.host.sampling import count_expected_samples
from harness.model import DOING, HostState, Outcome, Stage
from harness.model.bench_traits import traits_of_recorded
from harness.report.text import list_warnings, stage_title, state_title
from harness.runs import campaign_run
from harness.runs.latest_sample import LatestSample, read_latest_sample
from harness.runs.run_watch import MEASURING
from harness.service.authentication import Context
from harness.service.context import ServiceContext
from harness.service.pages.addresses import run_path
from harness.service.pages.remote_run import show_remote_run
from harness.service.pages.rendering import render
from harness.service.pages.task_actions import may_cancel
from harness.service.pages.viewer import PageViewer
from harness.store.host_progress import HostProgress, list_progress
from harness.store.ledger_lines import RunLine
from harness.store.ledger_reader import UnknownRunError
from harness.store.run_pages import find_summary
from harness.store.task_lines import TaskLine
from harness.untrusted import names

router = APIRouter(include_in_schema=False)

LOG_LINES = 200
_MOST_HOSTS = 200
_ORDER = (Stage.PROVISION, Stage.REACH, Stage.CONFIGURE, Stage.MEASURE, Stage.DISTURB, Stage.REBOOT, Stage.JUDGE)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRow:
    """A host in the table of a run. `stages`: before its verdict, each stage with "done", "now" or "ahead".

    `doing`: what it does now, in words. `latest`: while it is measured on this machine; `progress`: how far that is.
    """

    progress: HostProgress
    doing: str
    stages: list[tuple[str, str]]
    state: str | None
    latest: LatestSample | None
    measured: str | None


@router.get("/runs/{run}")
def show_run(run: str, request: Request, viewer: PageViewer, context: Context, after: int = -1) -> Response:
    """Show a run."""
    try:
        line = context.ledger.find(run)
    except UnknownRunError:
        remote = show_remote_run(run, request, viewer, context)
        if remote is None:
            raise
        return remote
    if line.run != run:
        return RedirectResponse(run_path(line.run))
    task = find_task(line, context)
    record = context.ledger.record_without_hosts(run)
    return render(
        request,
        viewer,
        "run.html",
        page="runs",
        task=task,
        record=record,
        warnings=[] if record is None else list_warnings(record),
        may_cancel=may_cancel(task, viewer),
        events=context.ledger.latest_events(run, most=LOG_LINES),
        stage_title=lambda stage: stage_title(stage, line.bench),
        **describe_hosts(line, context, after=after),
    )


@router.get("/runs/{run}/hosts")
def show_hosts(run: str, request: Request, viewer: PageViewer, context: Context, after: int = -1) -> Response:
    """Send the table of hosts alone: a page that is open puts it in the place of its own."""
    line = context.ledger.find(run)
    return render(request, viewer, "run_hosts.html", **describe_hosts(line, context, after=after))


@router.get("/runs/{run}/log")
def show_log(
    run: str,
    request: Request,
    viewer: PageViewer,
    context: Context,
    before: Annotated[int | None, Query(ge=1, le=2**31)] = None,
    part: Annotated[str | None, Query(pattern="^lines$")] = None,
) -> Response:
    """Show the events of a run before a number, the last ones without. `part`: without the page around them."""
    line = context.ledger.find(run)
    events = context.ledger.latest_events(line.run, before=before, most=LOG_LINES if part else 500)
    return render(
        request,
        viewer,
        "log_lines.html" if part else "log.html",
        page="runs",
        line=line,
        events=events,
        stage_title=lambda stage: stage_title(stage, line.bench),
    )


def find_task(line: RunLine, context: ServiceContext) -> TaskLine | None:
    """Find the task whose run this is; None for a run that a command began."""
    summary = find_summary(context.ledger.database, line.run)
    return None if summary is None or summary.task is None else context.queue.find(summary.task)


def describe_hosts(line: RunLine, context: ServiceContext, *, after: int) -> dict[str, Any]:
    """Describe the hosts of a run behind a position, for its table."""
    hosts = list_progress(context.ledger.database, line.run, after=after, most=_MOST_HOSTS + 1)
    campaign = None if line.ended else _read_campaign(line, context)
    rows = [_make_row(host, line, campaign, context) for host in hosts[:_MOST_HOSTS]]
    counts = Counter(host.outcome for host in hosts[:_MOST_HOSTS])
    return {
        "line": line,
        "run_state": line.state,
        "rows": rows,
        "verdicts": [(outcome, counts[outcome]) for outcome in Outcome if counts[outcome]],
        "unjudged": counts[None],
        "following": after + len(rows) if len(hosts) > _MOST_HOSTS else None,
    }


def _read_campaign(line: RunLine, context: ServiceContext) -> Campaign | None:
    try:
        return campaign_run.read_campaign(line.run, context.ledger)
    except HarnessError:
        return None


def _make_row(host: HostProgress, line: RunLine, campaign: Campaign | None, context: ServiceContext) -> HostRow:
    latest, measured, step = None, None, host.step
    if step is not None and step.stage in MEASURING and step.ended_ns is None and names.fits(names.HOST, host.host):
        latest = read_latest_sample(context.settings.runs_dir / line.run / host.host)
    if latest is not None and campaign is not None:
        interval_s = campaign.measure_interval_s
        expected_s = count_expected_samples(campaign.measure_duration_s, interval_s) * interval_s
        measured = f"{units.duration((latest.slot + 1) * interval_s)} of {units.duration(expected_s)}"
    makes_hosts = traits_of_recorded(line.bench).makes_hosts
    is_told = host.state is not None and (host.state is not HostState.RELEASED or not makes_hosts)
    return HostRow(
        progress=host,
        doing=_describe(host, line),
        stages=_list_stages(host, line.bench),
        state=state_title(host.state, line.bench) if host.state is not None and is_told else None,
        latest=latest,
        measured=measured,
    )


def _describe(host: HostProgress, line: RunLine) -> str:
    if host.outcome is not None:
        return host.sentence or ""
    if host.step is None:
        return "waits" if line.alive() else "was not begun"
    if host.step.ended_ns is not None:
        return f"{stage_title(host.step.stage, line.bench)}: {host.step.result or 'done'}"
    return DOING[host.step.stage] if line.alive() else f"stopped while {DOING[host.step.stage]}"


def _list_stages(host: HostProgress, bench: str) -> list[tuple[str, str]]:
    """List the usual stages of a host without a verdict, and how each stands."""
    if host.outcome is not None or host.step is None:
        return []
    now = host.step.stage
    usual = [stage for stage in _ORDER if stage is now or stage not in (Stage.DISTURB, Stage.REBOOT)]
    if now not in usual:
        return []
    place = usual.index(now)
    marks = ["done"] * place + ["done" if host.step.ended_ns is not None else "now"]
    marks += ["ahead"] * (len(usual) - len(marks))
    return [(stage_title(stage, bench), mark) for stage, mark in zip(usual, marks, strict=True)]
