"""Lead a run: qualify its hosts, release them all, write one record."""

import datetime
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from types import MappingProxyType

from pydantic import ValidationError

from harness import __version__
from harness.benches.bench import Bench
from harness.campaign import stored
from harness.campaign.campaign import Campaign
from harness.campaign.choices import Keep
from harness.campaign.run_plan import Plan, PlannedHost, estimate_host_s
from harness.errors import HarnessError, RequestError
from harness.model import HostRecord, HostState, Resource, RunRecord, Stage, Token
from harness.model.bench_traits import traits_of_recorded
from harness.report import start_line, text
from harness.report.formats import Format, render
from harness.runs import evidence_sending
from harness.runs.context import RunContext, RunControls
from harness.runs.host_workers import Work, qualify_hosts
from harness.runs.kept_hosts import keep_chosen, settle_judged
from harness.runs.prepare import Prepared
from harness.runs.release_failures import ReleaseFailures
from harness.runs.run_events import RunEvents, log_event, make_event
from harness.store.evidence_folder import EvidenceFolder
from harness.store.ledger import Ledger
from harness.system.settings import Settings

REPORT_TEXT = "report.txt"
REPORT_JSON = "report.json"


def start(
    prepared: Prepared,
    ledger: Ledger,
    settings: Settings,
    controls: RunControls,
    *,
    task: str | None = None,
    name: str | None = None,
    work: Work | None = None,
) -> RunRecord:
    """Begin a run, qualify its hosts, decide which of them stay, and end the run with its report.

    Works in any thread; several runs may be led in one process. `task`: the submitted campaign whose run this is.
    `name`: of the run; random by default. `work`: who qualifies the hosts; threads of this process by default.
    """
    holds = prepared.campaign.keep is Keep.ASK
    context = begin(prepared, ledger, settings, controls, holds_passed=holds, task=task, name=name, work=work)
    return _lead(prepared.plan, context, work=work)


def begin(
    prepared: Prepared,
    ledger: Ledger,
    settings: Settings,
    controls: RunControls,
    *,
    holds_passed: bool,
    task: str | None = None,
    name: str | None = None,
    work: Work | None = None,
) -> RunContext:
    """Prepare what the hosts share, and record the run in the ledger. Raises SetupError, and the bench's errors."""
    plan, bench = prepared.plan, prepared.bench
    prepare_bench(prepared, controls, work)
    document = stored.to_document(plan.campaign)
    run = ledger.open_run(
        bench=bench.name,
        campaign=document,
        hosts={host.name: host.instance_type for host in plan.hosts},
        expected_s=_expect_durations_s(plan, bench, ledger),
        holds_passed=holds_passed,
        task=task,
        name=name,
    )
    context = make_context(run, prepared, ledger, settings, controls)
    terms = bench.terms(plan.campaign.instance_types)
    context.events.publish(start_line.line(run, plan, terms, datetime.datetime.now().astimezone()))
    context.folder.write("campaign.json", json.dumps(document, indent=2))
    return context


def read_dead_campaign(run: str, ledger: Ledger) -> Campaign:
    """Read the campaign of a run whose process died. Raises RequestError for another run or version."""
    ledger.find_dead_run(run)
    return read_campaign(run, ledger)


def read_campaign(run: str, ledger: Ledger) -> Campaign:
    """Read the campaign of a run. Raises RequestError for one of another version, or without such a run."""
    try:
        return stored.from_document(ledger.campaign(run))
    except ValidationError as error:
        raise RequestError(
            f"run {run} was booked by another version of ptp-harness", next_step="`ptp-harness sweep --yes` ends it"
        ) from error


def resume(
    run: str,
    prepared: Prepared,
    ledger: Ledger,
    settings: Settings,
    controls: RunControls,
    *,
    work: Work | None = None,
) -> RunRecord:
    """Continue a run whose process died: hosts that have their verdict keep it, the others begin anew.

    All that the first attempt at a host made is removed before the second begins, since its progress is unknown. Raises
    RequestError for a run that has ended or whose owner lives.
    """
    ledger.take_over(run, lambda left_s: _publish_before(f"waiting {left_s:.0f} s: its owner may still live", controls))
    prepare_bench(prepared, controls, work)
    context = make_context(run, prepared, ledger, settings, controls)
    lines = ledger.hosts(run)
    others = ledger.hosts_of_others(run)
    of_others = {each.host for each in others}  # a helper that lives settles its host itself
    judged = {
        line.host: settle_judged(line, line.record, context)
        for line in lines
        if line.record is not None and line.host not in of_others
    }
    others_work = sum(each.owner is not None and each.owner.alive() for each in others)
    open_hosts = len(lines) - len(judged) - others_work
    context.events.publish(
        f"run {run} goes on: {len(judged)} of {len(lines)} hosts are judged, {open_hosts} begin anew"
        + (f", other processes work on {others_work}" if others_work else "")
    )
    hosts = tuple(PlannedHost(name=line.host, instance_type=line.instance_type) for line in lines)
    return _lead(replace(prepared.plan, hosts=hosts), context, judged, work)


def prepare_bench(prepared: Prepared, controls: RunControls, work: Work | None = None) -> None:
    """Have the bench make what the hosts share. Raises SetupError, and the bench's errors.

    Others whose `work` the hosts are prepare what hosts share with their own machine.
    """
    if work is not None and traits_of_recorded(prepared.bench.name).local:
        return
    prepared.bench.prepare(prepared.campaign.instance_types, lambda text: _publish_before(text, controls))


def _publish_before(text: str, controls: RunControls) -> None:
    """Publish an event of no run: none is begun yet, or led by us."""
    event = make_event(text, run=None, host=None, stage=Stage.PROVISION)
    log_event(event)
    controls.listener(event)


def _expect_durations_s(plan: Plan, bench: Bench, ledger: Ledger) -> dict[str, float]:
    """Expect how long each host takes, s: as its type took before, else the plan's estimate."""
    known = ledger.typical_durations_s(bench.name, {host.instance_type for host in plan.hosts})
    estimate = estimate_host_s(plan.campaign)
    return {host.name: known.get(host.instance_type, estimate) for host in plan.hosts}


def make_context(
    run: str, prepared: Prepared, ledger: Ledger, settings: Settings, controls: RunControls, *, joined: bool = False
) -> RunContext:
    """Make the parts that the hosts of a recorded run share. `joined`: another process leads it. Raises SetupError."""
    line = ledger.find(run)
    sender = evidence_sending.make_sender(ledger, settings, controls.stop.wait)
    if sender is not None:
        sender.expect(line, leads=not joined)
    folder, failures = EvidenceFolder.create(settings.runs_dir / run), ReleaseFailures()
    return RunContext(
        run=run,
        started_ns=line.started_ns,
        bench=prepared.bench,
        campaign=prepared.campaign,
        ledger=ledger,
        folder=folder,
        settings=settings,
        controls=controls,
        failures=failures,
        events=RunEvents(run, controls.listener, ledger, folder, failures),
        sender=sender,
        holds_passed=line.holds_passed,
        joined=joined,
    )


def _lead(
    plan: Plan,
    context: RunContext,
    judged: Mapping[str, HostRecord] = MappingProxyType({}),
    work: Work | None = None,
) -> RunRecord:
    """Qualify the hosts, decide which stay, and end the run.

    Hosts in `judged` already have a verdict and are not qualified again.
    """
    with context.controls.while_leading(context.run):
        records = qualify_hosts(plan, context, judged, work)
        ended_ns = read_time(context)  # before a person decides, who may take an hour
        records, question_interrupted = keep_chosen(records, context)
        return end(records, context, ended_ns=ended_ns, interrupted=question_interrupted)


def read_time(context: RunContext) -> int:
    """Read the ledger's time, ns since the epoch; this machine's time while the ledger cannot be reached."""
    return context.failures.attempt("reading the ledger's time", context.ledger.now_ns) or time.time_ns()


def end(records: Sequence[HostRecord], context: RunContext, *, ended_ns: int, interrupted: bool = False) -> RunRecord:
    """Look for leftovers, close the run in the ledger, and write its reports. No host of `records` is undecided.

    `interrupted`: the run was cut short by something other than the controls' `stop`.
    """
    leftovers = list_leftovers(context.bench, context.run, records)
    calls = context.failures.attempt("counting the calls of the API", context.bench.api_calls)
    record = RunRecord.of_ended_run(
        context.run,
        bench=context.bench.name,
        started_ns=context.started_ns,
        ended_ns=ended_ns,
        interrupted=interrupted or context.controls.stop.is_set(),
        hosts=tuple(records),
        leftovers=leftovers,
        api_calls=None if calls is None else round(calls),
        failures=context.failures.noted,
        version=__version__,
        depth=context.campaign.depth,
        measure_duration_s=context.campaign.measure_duration_s,
        measure_interval_s=context.campaign.measure_interval_s,
    )
    context.failures.attempt(f"closing the books of run {context.run}", context.ledger.close_run, record)
    record = _write_reports(replace(record, failures=context.failures.noted), context)
    return replace(record, evidence_unsent=send_evidence(context))


def send_evidence(context: RunContext) -> str | None:
    """Send the evidence of this machine to the evidence store, if there is one; return why it was not sent."""
    if context.sender is None:
        return None

    def report(text: str) -> None:
        event = make_event(text, run=context.run, host=None, stage=None)
        log_event(event)  # and in no file: the events in the evidence are complete by now
        with suppress(Exception):
            context.controls.listener(event)

    return evidence_sending.send_ended(context.sender, context.run, report, joined=context.joined)


def _write_reports(record: RunRecord, context: RunContext) -> RunRecord:
    """Write the report in both forms, and the checksums. The returned record names each file that was not written."""
    for name, form in ((REPORT_TEXT, _report_text), (REPORT_JSON, _report_json)):
        context.failures.attempt(f"writing {name}", _write_report, name, form, record, context)
    context.failures.attempt("writing the checksums", context.folder.write_checksums)
    return replace(record, failures=context.failures.noted)


def _write_report(name: str, form: Callable[[RunRecord], str], record: RunRecord, context: RunContext) -> None:
    context.folder.write(name, form(record))


def _report_text(record: RunRecord) -> str:
    return text.summary(record) + "\n" + "\n".join(text.ladder(host, bench=record.bench) for host in record.hosts)


def _report_json(record: RunRecord) -> str:
    return render(record, Format.JSON)


def list_leftovers(bench: Bench, run: str, records: Sequence[HostRecord]) -> tuple[Resource, ...]:
    """List the resources of this run that the bench still has, except the hosts that were kept on purpose.

    If the bench cannot list them, a leftover says so, and the report is still written.
    """
    try:
        resources = bench.resources()
    except Exception as error:
        host = records[0].name if records else bench.name
        message = error.message if isinstance(error, HarnessError) else f"our fault: {type(error).__name__}: {error}"
        unlisted = f"cannot be listed ({message})"
        return (Resource(token=str(Token(run=run, host=host)), kind="resources", name=unlisted, detail=""),)
    kept = [record for record in records if record.state is HostState.KEPT]
    kept_tokens = {str(Token(run=run, host=record.name, attempt=record.attempt)) for record in kept}
    return tuple(
        resource for resource in resources if resource.token.startswith(f"{run}/") and resource.token not in kept_tokens
    )
