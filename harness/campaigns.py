"""Many hosts at once: in the order given, up to a cap, none stopping another, all released, one record at the end."""

import datetime
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import FrameType

from pydantic import TypeAdapter

from harness.bench import Bench
from harness.campaign import Campaign, Keep
from harness.errors import ExitCode, HarnessError
from harness.evidence import Folder
from harness.keeping import Chooser, asked_to_stop, decide, keep_none
from harness.ledger import Ledger
from harness.model import HostRecord, HostState, Resource, RunRecord, Stage, Token
from harness.plan import Plan
from harness.qualify import Listener, Way, qualify
from harness.report import beginning, text
from harness.report.formats import Format, render
from harness.settings import Settings

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
        announce(beginning.line(run, plan, terms, datetime.datetime.now().astimezone()))
    folder = Folder.create(settings.runs_dir / run)
    folder.write("campaign.json", _CAMPAIGN.dump_json(campaign, indent=2))
    way = Way(
        run=run, bench=bench, campaign=campaign, ledger=ledger, folder=folder, settings=settings, listener=listener
    )
    record = conduct(plan, way, choose)
    folder.write(REPORT_TEXT, text.summary(record) + "\n" + "\n".join(text.ladder(host) for host in record.hosts))
    folder.write(REPORT_JSON, render(record, Format.JSON))
    folder.seal()
    return record


def conduct(plan: Plan, way: Way, choose: Chooser = keep_none) -> RunRecord:
    """Take every host of the plan along its way, let `choose` say which stay if the campaign asks, and book the end.

    The first SIGINT, SIGTERM or SIGHUP ends hosts under way early: they are judged by what is known, and released. The
    second ends this process at once; the ledger knows the rest, and `sweep` removes it.
    """
    started, begun = datetime.datetime.now(datetime.UTC), time.monotonic()
    with _signals_ask_to_stop(way.stop):
        with ThreadPoolExecutor(plan.parallel, thread_name_prefix="host") as pool:
            records = tuple(pool.map(lambda host: qualify(host, way), plan.hosts))
        unanswered = False
        if way.campaign.keep is Keep.ASK:
            chooser = keep_none if way.stop.is_set() else choose
            records, unanswered = decide(records, way.run, way.bench, way.ledger, chooser)
    left = leftovers(way.bench, way.run, records)
    asked = way.bench.api_calls()
    record = RunRecord(
        run=way.run,
        bench=way.bench.name,
        started=started.isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - begun, 1),
        interrupted=unanswered or way.stop.is_set(),
        hosts=records,
        leftovers=left,
        api_calls=None if asked is None else round(asked),
    )
    way.ledger.close_run(record)
    return record


def leftovers(bench: Bench, run: str, records: Sequence[HostRecord]) -> tuple[Resource, ...]:
    """What the bench still has of this run, beside the hosts that were kept on purpose.

    Where it cannot be asked, that itself is what is left: nobody knows, and the report goes on.
    """
    try:
        resources = bench.resources()
    except HarnessError as error:
        host = records[0].name if records else bench.name
        unknown = f"cannot be listed ({error.message})"
        return (Resource(token=str(Token(run=run, host=host)), kind="resources", name=unknown, detail=""),)
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
