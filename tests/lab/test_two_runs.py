"""Two runs of one process on the lab's own guests, from an empty cache: each ends for itself, with its report."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness import wiring
from harness.campaign import campaign, run_plan
from harness.model import Event, Outcome, Reason, RunRecord, Stage
from harness.runs import campaign_run
from harness.runs.context import RunControls
from harness.runs.prepare import Prepared
from harness.store.evidence_folder import EvidenceFolder
from harness.system import settings

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1800), pytest.mark.xdist_group("guests")]


@pytest.mark.truth
def test_two_runs_in_two_threads_prepare_an_empty_cache_and_stop_each_for_itself(tmp_path: Path) -> None:
    folders = {"PTP_HARNESS_STATE_DIR": str(tmp_path / "state"), "PTP_HARNESS_CACHE_DIR": str(tmp_path / "cache")}
    configuration = settings.load(os.environ | folders)
    ledger = wiring.ledger(configuration)

    def lead(controls: RunControls) -> RunRecord:
        bench = wiring.lab_bench(configuration)
        asked = campaign.from_mapping({"instance_types": ["lab.phc"], "depth": "quick"})
        prepared = Prepared(bench=bench, plan=run_plan.make_plan(asked, bench.types(), now=datetime.now(UTC)))
        return campaign_run.start(prepared, ledger, configuration, controls)

    def stop_when_configured(event: Event) -> None:
        if event.stage is Stage.CONFIGURE:
            stopped_controls.stop.set()

    stopped_controls = RunControls(listener=stop_when_configured)
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(lead, controls) for controls in (stopped_controls, RunControls(listener=lambda _: None))]
    stopped, whole = (run.result() for run in runs)
    [stopped_host], [whole_host] = stopped.hosts, whole.hosts
    assert (whole_host.verdict.outcome, whole.interrupted) == (Outcome.PASS, False), whole_host.verdict.sentence
    assert (stopped_host.verdict.reason, stopped.interrupted) == (Reason.INTERRUPTED, True)
    assert stopped_host.verdict.sentence.startswith("interrupted while being configured, after ")
    for record in (stopped, whole):
        folder = EvidenceFolder(configuration.runs_dir / record.run)
        assert json.loads((folder.path / campaign_run.REPORT_JSON).read_text())["run"] == record.run
        assert (folder.list_changed(), record.leftovers, record.failures) == ([], (), ())
    assert wiring.lab_bench(configuration).resources() == []
