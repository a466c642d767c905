"""Many hosts at once: in the order given, up to a cap, none stopping another, all released, one record at the end."""

import datetime
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType, MappingProxyType

from pydantic import TypeAdapter, ValidationError

from harness.benches.bench import Bench
from harness.campaign.campaign import Campaign, Keep
from harness.campaign.plan import Plan, PlannedHost
from harness.errors import ExitCode, HarnessError, RequestError
from harness.ladder import judge
from harness.model import Depth, Evidence, HostRecord, HostState, Resource, RunRecord, Stage, Token
from harness.report import start_line, text
from harness.report.formats import Format, render
from harness.runs.context import Listener, RunContext
from harness.runs.kept_hosts import Chooser, asked_to_stop, keep_none, settle_choice, settle_judged
from harness.runs.qualification import qualify
from harness.store.evidence_folder import EvidenceFolder
from harness.store.ledger import Ledger
from harness.system.settings import Settings
from harness.untrusted.plain_text import bounded

_CAMPAIGN = TypeAdapter(Campaign)

REPORT_TEXT = "report.txt"
REPORT_JSON = "report.json"


def start(
    plan: Plan,
    bench: Bench,
    ledger: Ledger,
    settings: Settings,
    listener: Listener,
    choose: Chooser = keep_none,
    announce: Callable[[str], None] = lambda _: None,
) -> RunRecord:
    """Make ready what the hosts share, book the run, take its hosts along their way, and write its report.

    What hosts of a cloud are had for is told to `announce`, before the first of them is made.
    """
    campaign = plan.campaign
    bench.prepare(campaign.instance_types, lambda words: listener(bench.name, Stage.PROVISION, words))
    run = ledger.open_run(
        bench=bench.name,
        campaign=_CAMPAIGN.dump_python(campaign, mode="json"),
        hosts={host.name: host.instance_type for host in plan.hosts},
    )
    if (terms := bench.terms(campaign.instance_types)) is not None:
        announce(start_line.line(run, plan, terms, datetime.datetime.now().astimezone()))
    way = _way(run, plan, bench, ledger, settings, listener)
    way.folder.write("campaign.json", _CAMPAIGN.dump_json(campaign, indent=2))
    return _closed(lead_hosts(plan, way, choose), way)


def read_dead_campaign(run: str, ledger: Ledger) -> Campaign:
    """What a run whose process died was asked for. Raises RequestError for another run, or one of another version."""
    ledger.dead(run)
    try:
        return _CAMPAIGN.validate_python(ledger.campaign(run))
    except ValidationError as error:
        raise RequestError(
            f"run {run} was booked by another version of ptp-harness", next_step="`ptp-harness sweep --yes` ends it"
        ) from error


def resume(
    run: str,
    plan: Plan,
    bench: Bench,
    ledger: Ledger,
    settings: Settings,
    listener: Listener,
    choose: Chooser = keep_none,
) -> RunRecord:
    """Go on with a run whose process died: hosts that have their verdict keep it, the others begin anew.

    What the first attempt at a host left is removed before the second: nobody knows how far it came. Raises
    RequestError for a run that has ended or is under way.
    """
    ledger.take_over(run)
    campaign = plan.campaign
    bench.prepare(campaign.instance_types, lambda words: listener(bench.name, Stage.PROVISION, words))
    way = _way(run, plan, bench, ledger, settings, listener, afresh=True)
    lines = ledger.hosts(run)
    judged = {
        line.host: settle_judged(line, run, campaign.keep, bench, ledger, way.failures)
        for line in lines
        if line.record is not None
    }
    hosts = tuple(PlannedHost(name=line.host, instance_type=line.instance_type) for line in lines)
    return _closed(lead_hosts(replace(plan, hosts=hosts), way, choose, judged), way)


def _way(
    run: str, plan: Plan, bench: Bench, ledger: Ledger, settings: Settings, listener: Listener, *, afresh: bool = False
) -> RunContext:
    return RunContext(
        run=run,
        bench=bench,
        campaign=plan.campaign,
        ledger=ledger,
        folder=EvidenceFolder.create(settings.runs_dir / run),
        settings=settings,
        listener=listener,
        afresh=afresh,
    )


def lead_hosts(
    plan: Plan, way: RunContext, choose: Chooser = keep_none, judged: Mapping[str, HostRecord] = MappingProxyType({})
) -> RunRecord:
    """Take every host of the plan along its way, let `choose` say which stay if the campaign asks, and book the end.

    Those that are `judged` have theirs behind them.

    The first SIGINT, SIGTERM or SIGHUP ends hosts under way early: they are judged by what is known, and released. The
    second ends this process at once; the ledger knows the rest, and `sweep` removes it.
    """
    begun_ns = way.ledger.find(way.run).started_ns
    with _signals_ask_to_stop(way.stop):
        with ThreadPoolExecutor(plan.parallel, thread_name_prefix="host") as pool:
            records = tuple(pool.map(lambda host: judged.get(host.name) or _qualified(host, way), plan.hosts))
        unanswered = False
        if way.campaign.keep is Keep.ASK:
            chooser = keep_none if way.stop.is_set() else choose
            records, unanswered = settle_choice(records, way.run, way.bench, way.ledger, chooser, way.failures)
        left = list_leftovers(way.bench, way.run, records)
        asked = way.failures.attempt("counting the calls of the API", way.bench.api_calls)
        record = RunRecord(
            run=way.run,
            bench=way.bench.name,
            started=datetime.datetime.fromtimestamp(begun_ns // 10**9, datetime.UTC).isoformat(),
            seconds=round((time.time_ns() - begun_ns) / 1e9, 1),
            interrupted=unanswered or way.stop.is_set(),
            hosts=records,
            leftovers=left,
            api_calls=None if asked is None else round(asked),
            failures=way.failures.noted,
        )
        way.failures.attempt(f"closing the books of run {way.run}", way.ledger.close_run, record)
    return replace(record, failures=way.failures.noted)


def _qualified(host: PlannedHost, way: RunContext) -> HostRecord:
    """The host's record, also where not even its folder can be made: the host is released, nothing is known of it."""
    try:
        return qualify(host, way)
    except Exception as error:
        token = Token(run=way.run, host=host.name)
        way.failures.note(f"qualifying {token}", error)
        gone = way.failures.release(way.bench, token) is None
        record = unknown_host_record(host.name, host.instance_type, f"our fault: {type(error).__name__}: {error}")
        record = replace(record, state=HostState.RELEASED if gone else HostState.FAILED)
        way.failures.attempt(f"booking what became of {token}", way.ledger.settle, way.run, record)
        return record


def unknown_host_record(name: str, instance_type: str, trouble: str | None) -> HostRecord:
    """The record of a host of which nothing is known: since of a trouble, or None where its run was cut off."""
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


def _closed(record: RunRecord, way: RunContext) -> RunRecord:
    """Write the report in both forms and the checksums. What cannot be written is in the record that is returned."""
    for name, form in ((REPORT_TEXT, _report_text), (REPORT_JSON, _report_json)):
        way.failures.attempt(f"writing {name}", lambda name=name, form=form: way.folder.write(name, form(record)))
    way.failures.attempt("writing the checksums", way.folder.write_checksums)
    return replace(record, failures=way.failures.noted)


def _report_text(record: RunRecord) -> str:
    return text.summary(record) + "\n" + "\n".join(text.ladder(host) for host in record.hosts)


def _report_json(record: RunRecord) -> str:
    return render(record, Format.JSON)


def list_leftovers(bench: Bench, run: str, records: Sequence[HostRecord]) -> tuple[Resource, ...]:
    """What the bench still has of this run, beside the hosts that were kept on purpose.

    Where it cannot be asked, that itself is what is left: nobody knows, and the report goes on.
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


@contextmanager
def _signals_ask_to_stop(stop: threading.Event) -> Iterator[None]:
    def asked(number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            sys.stderr.write("\nstopped at once; `ptp-harness sweep --yes` removes what is left\n")
            sys.stderr.flush()
            os._exit(ExitCode.INTERRUPTED)
        sys.stderr.write("\nstopping: hosts under way are released, then you get the report; once more stops at once\n")
        stop.set()

    with asked_to_stop(asked):
        yield
