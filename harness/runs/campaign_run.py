"""Lead a run: many hosts at once, in the order given, up to a cap, none stopping another, all released, one record."""

import datetime
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import MappingProxyType

from pydantic import TypeAdapter, ValidationError

from harness import __version__
from harness.benches.bench import Bench
from harness.campaign.campaign import Campaign, Keep
from harness.campaign.plan import Plan, PlannedHost
from harness.errors import HarnessError, RequestError
from harness.ladder import judge
from harness.model import Depth, Evidence, HostRecord, HostState, Resource, RunRecord, Stage, Token
from harness.report import start_line, text
from harness.report.formats import Format, render
from harness.runs.context import RunContext, RunControls, keep_none
from harness.runs.kept_hosts import settle_choice, settle_judged
from harness.runs.prepare import Prepared
from harness.runs.qualification import qualify
from harness.store.evidence_folder import EvidenceFolder
from harness.store.ledger import Ledger
from harness.system.settings import Settings
from harness.untrusted.plain_text import bounded

_CAMPAIGN = TypeAdapter(Campaign)

REPORT_TEXT = "report.txt"
REPORT_JSON = "report.json"


def start(prepared: Prepared, ledger: Ledger, settings: Settings, controls: RunControls) -> RunRecord:
    """Prepare what the hosts share, record the run in the ledger, qualify its hosts, and write its report.

    Works in any thread; several runs may be led in one process.
    """
    plan, bench = prepared.plan, prepared.bench
    _prepare_bench(plan, bench, controls)
    run = ledger.open_run(
        bench=bench.name,
        campaign=_CAMPAIGN.dump_python(plan.campaign, mode="json"),
        hosts={host.name: host.instance_type for host in plan.hosts},
    )
    if (terms := bench.terms(plan.campaign.instance_types)) is not None:
        controls.announce(start_line.line(run, plan, terms, datetime.datetime.now().astimezone()))
    context = _make_context(run, plan, bench, ledger, settings, controls)
    context.folder.write("campaign.json", _CAMPAIGN.dump_json(plan.campaign, indent=2))
    return _write_reports(lead_hosts(plan, context), context)


def read_dead_campaign(run: str, ledger: Ledger) -> Campaign:
    """The campaign of a run whose process died. Raises RequestError for another run, or one of another version."""
    ledger.dead(run)
    try:
        return _CAMPAIGN.validate_python(ledger.campaign(run))
    except ValidationError as error:
        raise RequestError(
            f"run {run} was booked by another version of ptp-harness", next_step="`ptp-harness sweep --yes` ends it"
        ) from error


def resume(run: str, prepared: Prepared, ledger: Ledger, settings: Settings, controls: RunControls) -> RunRecord:
    """Continue a run whose process died: hosts that have their verdict keep it, the others begin anew.

    What the first attempt at a host left is removed before the second: nobody knows how far it came. Raises
    RequestError for a run that has ended or whose process lives.
    """
    plan, bench = prepared.plan, prepared.bench
    ledger.take_over(run)
    _prepare_bench(plan, bench, controls)
    context = _make_context(run, plan, bench, ledger, settings, controls, afresh=True)
    lines = ledger.hosts(run)
    judged = {
        line.host: settle_judged(line, run, plan.campaign.keep, bench, ledger, context.failures)
        for line in lines
        if line.record is not None
    }
    hosts = tuple(PlannedHost(name=line.host, instance_type=line.instance_type) for line in lines)
    return _write_reports(lead_hosts(replace(plan, hosts=hosts), context, judged), context)


def _prepare_bench(plan: Plan, bench: Bench, controls: RunControls) -> None:
    bench.prepare(plan.campaign.instance_types, lambda message: controls.listener(bench.name, Stage.PROVISION, message))


def _make_context(
    run: str,
    plan: Plan,
    bench: Bench,
    ledger: Ledger,
    settings: Settings,
    controls: RunControls,
    *,
    afresh: bool = False,
) -> RunContext:
    return RunContext(
        run=run,
        bench=bench,
        campaign=plan.campaign,
        ledger=ledger,
        folder=EvidenceFolder.create(settings.runs_dir / run),
        settings=settings,
        controls=controls,
        afresh=afresh,
    )


def lead_hosts(
    plan: Plan,
    context: RunContext,
    judged: Mapping[str, HostRecord] = MappingProxyType({}),
) -> RunRecord:
    """Qualify every host of the plan, settle which stay if the campaign asks, and close the run in the ledger.

    Hosts in `judged` already have a verdict and are not qualified again.
    """
    begun_ns = context.ledger.find(context.run).started_ns
    controls = context.controls
    with controls.while_leading():
        with ThreadPoolExecutor(plan.parallel, thread_name_prefix="host") as pool:
            records = tuple(pool.map(lambda host: judged.get(host.name) or _qualified(host, context), plan.hosts))
        unanswered = False
        if context.campaign.keep is Keep.ASK:
            choose = keep_none if controls.stop.is_set() else controls.choose
            records, unanswered = settle_choice(
                records, context.run, context.bench, context.ledger, choose, context.failures
            )
        left = list_leftovers(context.bench, context.run, records)
        calls = context.failures.attempt("counting the calls of the API", context.bench.api_calls)
        record = RunRecord(
            run=context.run,
            bench=context.bench.name,
            started=datetime.datetime.fromtimestamp(begun_ns // 10**9, datetime.UTC).isoformat(),
            seconds=round((time.time_ns() - begun_ns) / 1e9, 1),
            interrupted=unanswered or controls.stop.is_set(),
            hosts=records,
            leftovers=left,
            api_calls=None if calls is None else round(calls),
            failures=context.failures.noted,
            version=__version__,
            depth=context.campaign.depth,
            measure_duration_s=context.campaign.measure_duration_s,
            measure_interval_s=context.campaign.measure_interval_s,
        )
        context.failures.attempt(f"closing the books of run {context.run}", context.ledger.close_run, record)
    return replace(record, failures=context.failures.noted)


def _qualified(host: PlannedHost, context: RunContext) -> HostRecord:
    """Qualify a host. Where not even its folder can be made, it is released, and nothing is known of it."""
    try:
        return qualify(host, context)
    except Exception as error:
        token = Token(run=context.run, host=host.name)
        context.failures.note(f"qualifying {token}", error)
        gone = context.failures.release(context.bench, token) is None
        record = unknown_host_record(host.name, host.instance_type, f"our fault: {type(error).__name__}: {error}")
        record = replace(record, state=HostState.RELEASED if gone else HostState.FAILED)
        context.failures.attempt(f"booking what became of {token}", context.ledger.settle, context.run, record)
        return record


def unknown_host_record(name: str, instance_type: str, trouble: str | None) -> HostRecord:
    """The record of a host of which nothing is known: because of a trouble, or (None) because its run was cut off."""
    evidence = Evidence(interrupted=trouble is None, trouble=trouble)
    return HostRecord(
        name=name,
        instance_type=instance_type,
        verdict=bounded(judge(evidence, (), depth=Depth.STANDARD, read_only=False)),
        facts=None,
        stages={},
        state=HostState.FAILED,
        address=None,
    )


def _write_reports(record: RunRecord, context: RunContext) -> RunRecord:
    """Write the report in both forms, and the checksums. The returned record names whatever could not be written."""
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

    Where the bench cannot be asked, that fact is reported as a leftover, and the report is still written.
    """
    try:
        resources = bench.resources()
    except Exception as error:
        host = records[0].name if records else bench.name
        words = error.message if isinstance(error, HarnessError) else f"our fault: {type(error).__name__}: {error}"
        unlisted = f"cannot be listed ({words})"
        return (Resource(token=str(Token(run=run, host=host)), kind="resources", name=unlisted, detail=""),)
    kept = {str(Token(run=run, host=record.name)) for record in records if record.state is HostState.KEPT}
    return tuple(
        resource for resource in resources if resource.token.startswith(f"{run}/") and resource.token not in kept
    )
