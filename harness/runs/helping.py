"""Help with a run that another process leads, of this machine or another: qualify hosts that it has not begun yet."""

import logging
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

from harness.campaign.campaign import Campaign
from harness.campaign.choices import Keep
from harness.errors import ConflictError, HarnessError, RequestError
from harness.model import HostRecord
from harness.model.bench_traits import traits_of_recorded
from harness.runs import campaign_run, host_workers
from harness.runs.context import RunContext, RunControls
from harness.runs.prepare import Prepared
from harness.store.ledger import Ledger
from harness.store.owners import own_place
from harness.system.settings import Settings

_POLL_S = 1.0
_log = logging.getLogger(__name__)


def read_living_campaign(run: str, ledger: Ledger) -> Campaign:
    """Read the campaign of a run that can be helped with. Raises RequestError for any other run, and says why.

    ConflictError where it cannot be helped with now.
    """
    line = ledger.find(run)
    if line.ended:
        raise ConflictError(f"run {run} has ended", next_step=f"`ptp-harness show {run}` shows it")
    if not line.alive():
        raise ConflictError(
            f"the process that leads run {run} died", next_step=f"`ptp-harness resume {run}` goes on with it"
        )
    if line.stopping:
        raise ConflictError(
            f"run {run} was asked to stop", next_step=f"`ptp-harness show {run} --follow` shows its end"
        )
    campaign = campaign_run.read_campaign(run, ledger)
    elsewhere, keeps = line.owner.place != own_place(), line.holds_passed or campaign.keep is not Keep.NONE
    if elsewhere and keeps and traits_of_recorded(line.bench).local:
        raise RequestError(
            f"run {run} keeps hosts of bench {line.bench}, which only their own machine can remove",
            next_step=f"help with it on {line.owner.machine}",
        )
    return campaign


def help_with(
    run: str,
    prepared: Prepared,
    ledger: Ledger,
    settings: Settings,
    controls: RunControls,
    *,
    types: Collection[str] | None = None,
) -> Mapping[str, HostRecord]:
    """Qualify hosts of a run that another process leads, until none is left to begin; return their records.

    `types`: hosts of these instance types alone. Stops when the run is asked to stop, or when this process is; then
    hosts under way are given back. Raises OwnershipLostError, SetupError and the bench's errors.
    """
    campaign_run.prepare_bench(prepared, controls)
    context = campaign_run.make_context(run, prepared, ledger, settings, controls, joined=True)
    records: dict[str, HostRecord] = {}
    sent: set[str] = set()
    with controls.while_leading(run), _watching_the_run(context):
        errors = host_workers.qualify_claimed(
            prepared.plan.parallel, context, records, lambda: _send_settled(context, records, sent), types
        )
        campaign_run.send_evidence(context)
    if errors:
        raise errors[0]
    context.failures.raise_noted()
    return records


def _send_settled(context: RunContext, records: Mapping[str, HostRecord], sent: set[str]) -> None:
    """Send the evidence of the hosts that have their verdict: whoever kills this process later takes none of it away.

    `sent` gets their names. What cannot be sent now is sent when the help ends.
    """
    settled = [*records]
    new = [host for host in settled if host not in sent]
    if context.sender is None or not new:
        return
    try:
        context.sender.send_hosts(context.run, new)
    except HarnessError as error:
        _log.info("evidence of run %s waits: %s", context.run, error)
    else:
        sent.update(new)


@contextmanager
def _watching_the_run(context: RunContext) -> Iterator[None]:
    """Stop the hosts under way as soon as the run is asked to stop."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_POLL_S):
            try:
                line = context.ledger.find(context.run)
            except HarnessError:  # a host that cannot write to the ledger notices by itself
                continue
            if line.stopping or line.ended:
                context.stopped_by_leader.set()
                context.controls.stop.set()
                return

    thread = threading.Thread(target=watch, name="run-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
