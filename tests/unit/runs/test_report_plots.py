"""The plots of a report come from what a run stored, else from its samples; what cannot be read is left out."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.campaign import campaign
from harness.campaign.campaign import Campaign
from harness.errors import RequestError
from harness.ladder import judge
from harness.model import Depth, Evidence, HostRecord, HostState, RunRecord
from harness.model.plots import ClockPlots
from harness.probes.facts import read_facts
from harness.runs import judging, report_plots
from harness.store import host_evidence
from harness.store.evidence_folder import EvidenceFolder

LAB = Path(__file__).parents[2] / "data" / "lab" / "drifting"
CAMPAIGN = campaign.from_mapping({"instance_types": ["lab.drifting"]})


def read_campaign() -> Campaign:
    return CAMPAIGN


@pytest.fixture
def record(tmp_path: Path) -> RunRecord:
    """A run with the samples of one host in its folder."""
    shutil.copytree(LAB, tmp_path / "lab.drifting")
    facts, _ = read_facts((LAB / "facts.json").read_text(), where="facts.json")
    host = HostRecord(
        name="lab.drifting",
        instance_type="lab.drifting",
        verdict=judge(Evidence(facts=facts), (), depth=Depth.QUICK, read_only=False),
        facts=facts,
        stages={},
        state=HostState.RELEASED,
        address=None,
    )
    return RunRecord(run="abcd", bench="lab", started="", seconds=1.0, interrupted=False, hosts=(host,), leftovers=())


@pytest.fixture
def collect(record: RunRecord, tmp_path: Path) -> Callable[[], dict[str, ClockPlots]]:
    return lambda: report_plots.collect_plots(record, tmp_path, (), read_campaign)


def test_plots_that_were_stored_are_used_as_they_are(
    collect: Callable[[], dict[str, ClockPlots]], record: RunRecord, tmp_path: Path
) -> None:
    computed = collect()["lab.drifting"]
    marked = replace(computed, column_s=7.0)
    host_evidence.write_plots(EvidenceFolder(tmp_path / "lab.drifting"), marked)
    assert collect() == {"lab.drifting": marked}


def test_plots_are_computed_from_samples_where_they_were_not_stored_or_by_another_version(
    collect: Callable[[], dict[str, ClockPlots]], record: RunRecord, tmp_path: Path
) -> None:
    evidence = host_evidence.read_evidence(tmp_path / "lab.drifting", record.hosts[0], most_samples=1000)
    expected = {"lab.drifting": judging.reduce_for_plots(evidence, CAMPAIGN)}
    assert collect() == expected
    host_evidence.write_plots(
        EvidenceFolder(tmp_path / "lab.drifting"), replace(collect()["lab.drifting"], definition=0)
    )
    assert collect() == expected
    (tmp_path / "lab.drifting" / host_evidence.PLOTS_FILE).write_text("{")
    assert collect() == expected


def test_a_host_whose_evidence_is_missing_has_no_plots(record: RunRecord, tmp_path: Path) -> None:
    assert report_plots.collect_plots(record, tmp_path, ("lab.drifting",), read_campaign) == {}
    assert report_plots.collect_plots(record, tmp_path / "elsewhere", (), read_campaign) == {}


def test_a_host_without_samples_has_no_plots(collect: Callable[[], dict[str, ClockPlots]], tmp_path: Path) -> None:
    (tmp_path / "lab.drifting" / "samples.jsonl").unlink()
    assert collect() == {}


def test_evidence_that_cannot_be_read_gives_no_plots(
    collect: Callable[[], dict[str, ClockPlots]], tmp_path: Path
) -> None:
    later = json.dumps({"schema": 99, "outputs": {}})
    (tmp_path / "lab.drifting" / host_evidence.EVIDENCE_FILE).write_text(later)
    assert collect() == {}


def test_without_its_campaign_a_host_has_only_plots_that_were_stored(
    collect: Callable[[], dict[str, ClockPlots]], record: RunRecord, tmp_path: Path
) -> None:
    def refuse() -> Campaign:
        raise RequestError("booked by another version")

    computed = collect()
    assert report_plots.collect_plots(record, tmp_path, (), refuse) == {}
    host_evidence.write_plots(EvidenceFolder(tmp_path / "lab.drifting"), computed["lab.drifting"])
    assert report_plots.collect_plots(record, tmp_path, (), refuse) == computed


def test_no_name_of_a_host_leads_out_of_the_folder(record: RunRecord, tmp_path: Path) -> None:
    elsewhere = replace(record, hosts=(replace(record.hosts[0], name="../lab.drifting"),))
    (tmp_path / "run").mkdir()
    assert report_plots.collect_plots(elsewhere, tmp_path / "run", (), read_campaign) == {}
