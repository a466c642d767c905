"""Lead a run from a pod: open it or go on with it, have other pods qualify its hosts, and end it with its report."""

import time
from pathlib import Path

from lightkube.resources.batch_v1 import Job

from harness.campaign.campaign import Campaign
from harness.cluster.connection import Connection, telling_errors
from harness.cluster.jobs import CAMPAIGN_FILE, PodOptions, decode_campaign, name_coordinator
from harness.cluster.pod_work import PodWork
from harness.errors import RequestError
from harness.model import RunRecord
from harness.model.bench_traits import traits_of
from harness.runs import campaign_run
from harness.runs.context import RunControls
from harness.runs.prepare import Benches, prepare, prepare_resolved
from harness.store.ledger import Ledger
from harness.store.ledger_reader import UnknownRunError
from harness.system.settings import Settings

_CLOUD_HOSTS_PER_POD = 8
_LOOK_EVERY_S = 0.5


def coordinate(
    run: str,
    connection: Connection,
    options: PodOptions,
    ledger: Ledger,
    settings: Settings,
    benches: Benches,
    controls: RunControls,
    *,
    hosts_per_pod: int | None = None,
) -> RunRecord:
    """Lead a run to its end. One that an earlier coordinator opened goes on, once that one counts as dead.

    Returns the record of a run that has ended already. Raises RequestError for a campaign of another version, and the
    errors of the bench and of the cluster.
    """
    with telling_errors(connection, "reading our own Job"):
        own_job = connection.client.get(Job, name_coordinator(run))
    try:
        line = ledger.find(run)
    except UnknownRunError:
        campaign = read_campaign(Path(CAMPAIGN_FILE))
        prepared = prepare(campaign, settings, benches)
        work = _make_work(campaign, connection, own_job, options, hosts_per_pod)
        return campaign_run.start(prepared, ledger, settings, controls, name=run, work=work)
    while line.alive():  # its pod has just died, or goes on on a node that is cut off
        time.sleep(_LOOK_EVERY_S)
        line = ledger.find(run)
    if (record := ledger.record(run)) is not None:
        return record
    campaign = campaign_run.read_dead_campaign(run, ledger)
    prepared = prepare_resolved(campaign, settings, benches)
    work = _make_work(campaign, connection, own_job, options, hosts_per_pod)
    return campaign_run.resume(run, prepared, ledger, settings, controls, work=work)


def read_campaign(file: Path) -> Campaign:
    """Read the campaign that came with the coordinator's pod. Raises RequestError where it is not whole."""
    try:
        return decode_campaign(file.read_text())
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RequestError(
            f"{file} holds no campaign of this version: {type(error).__name__}",
            next_step="submit it with the version that the image has",
        ) from error


def _make_work(
    campaign: Campaign, connection: Connection, own_job: Job, options: PodOptions, hosts_per_pod: int | None
) -> PodWork:
    usual = _CLOUD_HOSTS_PER_POD if traits_of(campaign.bench).cloud else 1
    return PodWork(connection, own_job, options, hosts_per_pod=hosts_per_pod or usual)
