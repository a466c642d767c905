"""Lead a run from a pod: open it or go on with it, have other pods qualify its hosts, and end it with its report.

A run has two coordinators. One of them leads it; the other waits, and goes on when that one ends without its end.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from lightkube.resources.batch_v1 import Job

from harness.campaign.campaign import Campaign
from harness.cluster.campaign_text import decode_campaign
from harness.cluster.connection import ClusterError, Connection, telling_errors
from harness.cluster.jobs import (
    CAMPAIGN_FILE,
    PodOptions,
    make_disruption_budget,
    name_coordinator,
)
from harness.cluster.own_namespace import remove_namespace
from harness.cluster.pod_benches import require_bench
from harness.cluster.pod_settings import require_signing_key
from harness.cluster.pod_work import PodWork
from harness.cluster.rights import require_own_namespaces
from harness.cluster.run_reports import CollectPlots, find_reports, publish_reports
from harness.cluster.suites import does_harm
from harness.errors import ConflictError, RequestError, SetupError
from harness.model import RunRecord
from harness.model.bench_traits import traits_of
from harness.runs import campaign_run
from harness.runs.context import RunControls
from harness.runs.prepare import Benches, prepare, prepare_resolved
from harness.store.ledger import Ledger
from harness.store.ledger_lines import RunLine
from harness.store.ledger_reader import UnknownRunError
from harness.system.settings import Settings

_CLOUD_HOSTS_PER_POD = 8
_LOOK_EVERY_S = 0.5
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Coordinator:
    """A process that may lead a run. `hosts_per_pod`: None for as many as is usual on the campaign's bench."""

    run: str
    connection: Connection
    options: PodOptions
    ledger: Ledger
    settings: Settings
    benches: Benches
    controls: RunControls
    collect_plots: CollectPlots
    hosts_per_pod: int | None = None

    def lead(self) -> tuple[RunRecord, bool]:
        """Wait until no other coordinator leads the run, and lead it to its end, unless it has ended by then.

        Returns its record, and whether this process ended it. Raises RequestError for a campaign of another version,
        and the errors of the bench and of the cluster.
        """
        with telling_errors(self.connection, "reading our own Job"):
            own_job = self.connection.client.get(Job, name_coordinator(self.run))
        self._protect(own_job)
        while True:
            try:
                record = self._begin_or_go_on(own_job)
            except ConflictError as error:  # the other one was faster
                _log.info("run %s: %s", self.run, error)
                continue
            ended_here = record is not None
            if (record := record or self.ledger.record(self.run)) is not None:
                if self._has_own_namespace(read_campaign(Path(CAMPAIGN_FILE))):
                    remove_namespace(self.connection, self.run)  # a coordinator may have died before it did
                return record, ended_here

    def publish_reports(self, record: RunRecord, tell: Callable[[str], None], *, ended_here: bool) -> str | None:
        """Write the reports of the run to the evidence store; return its folder there, None where they are not there.

        A coordinator that did not end the run leaves them to the one that did, as long as that one lives.
        """
        line = self.ledger.find(self.run)
        while not ended_here and line.owner.alive() and not self._has_reports(line):
            time.sleep(_LOOK_EVERY_S)
            line = self.ledger.find(self.run)
        return publish_reports(line, record, self.settings, self.collect_plots, tell, threading.Event().wait)

    def _has_reports(self, line: RunLine) -> bool:
        try:
            return find_reports(line, self.settings) is not None
        except SetupError:
            return False

    def _begin_or_go_on(self, own_job: Job) -> RunRecord | None:
        """Lead the run to its end; None where another coordinator has done that."""
        try:
            line = self.ledger.find(self.run)
        except UnknownRunError:
            campaign = read_campaign(Path(CAMPAIGN_FILE))
            in_image = self.settings.lab_cache is not None
            require_bench(campaign, claim=self.options.lab_cache, lab_in_image=in_image)
            require_signing_key(campaign, self.settings)
            if self._has_own_namespace(campaign):
                require_own_namespaces(self.connection)
            prepared, work = prepare(campaign, self.settings, self.benches), self._make_work(campaign, own_job)
            return campaign_run.start(prepared, self.ledger, self.settings, self.controls, name=self.run, work=work)
        while line.alive():
            time.sleep(_LOOK_EVERY_S)
            line = self.ledger.find(self.run)
        if line.ended:
            return None
        campaign = campaign_run.read_dead_campaign(self.run, self.ledger)
        prepared, work = prepare_resolved(campaign, self.settings, self.benches), self._make_work(campaign, own_job)
        return campaign_run.resume(self.run, prepared, self.ledger, self.settings, self.controls, work=work)

    def _has_own_namespace(self, campaign: Campaign) -> bool:
        return self.options.include_destructive and does_harm(campaign)

    def _protect(self, own_job: Job) -> None:
        """Let no drain of nodes take both coordinators. Without it the run takes longer, and ends all the same."""
        try:
            with telling_errors(self.connection, "making the disruption budget of the coordinators"):
                self.connection.client.create(make_disruption_budget(self.run, own_job))
        except ClusterError as error:
            if error.status != HTTPStatus.CONFLICT:  # the other one has made it
                _log.warning("run %s: %s", self.run, error)

    def _make_work(self, campaign: Campaign, own_job: Job) -> PodWork:
        usual = _CLOUD_HOSTS_PER_POD if traits_of(campaign.bench).cloud else 1
        return PodWork(self.connection, own_job, self.options, hosts_per_pod=self.hosts_per_pod or usual)


def read_campaign(file: Path) -> Campaign:
    """Read the campaign that came with the coordinator's pod. Raises RequestError where it is not whole."""
    try:
        return decode_campaign(file.read_text())
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise RequestError(
            f"{file} holds no campaign of this version: {type(error).__name__}",
            next_step="submit it with the version that the image has",
        ) from error
