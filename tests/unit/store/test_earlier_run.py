"""Formats that are stored keep their words: what an earlier version recorded is read, and reported as it was."""

import json
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness import ladder
from harness.analysis.quality import compute_quality
from harness.campaign import stored
from harness.campaign.campaign import Campaign
from harness.model import Depth, Evidence, HostState
from harness.probes.facts import read_facts
from harness.probes.samples import read_samples
from harness.report.formats import Format, render
from harness.store.evidence_folder import EvidenceFolder
from harness.store.ledger import Ledger
from harness.store.ledger_lines import host_adapter
from tests.doubles.records import make_host

DATA = Path(__file__).parents[2] / "data" / "earlier-run"
RUN = "3a5r"


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    with sqlite3.connect(tmp_path / "ledger.sqlite") as database:
        database.executescript((DATA / "ledger.sql").read_text())
    database.close()
    return Ledger(f"sqlite:///{tmp_path}/ledger.sqlite")


def only_members_of(written: Any, report: Any) -> Any:
    """The report without the members, at any depth, that the written one has not."""
    if isinstance(written, dict) and isinstance(report, dict):
        return {key: only_members_of(value, report[key]) for key, value in written.items() if key in report}
    if isinstance(written, list) and isinstance(report, list) and len(written) == len(report):
        return [only_members_of(*pair) for pair in zip(written, report, strict=True)]
    return report


def test_the_report_of_an_earlier_run_is_the_one_that_it_wrote(ledger: Ledger) -> None:
    """Members may be added within a schema number; those that were written keep their values."""
    written = json.loads((DATA / "runs" / RUN / "report.json").read_text())
    report = json.loads(render(ledger.record(RUN), Format.JSON))
    assert only_members_of(written, report) == written


def test_figures_that_an_earlier_version_did_not_compute_are_not_observed(good: Evidence) -> None:
    quality = compute_quality(good, interval_s=1.0)
    assert quality is not None
    host = make_host(quality=replace(quality, sampler_cpu_share=0.003))
    document = host_adapter().dump_python(host, mode="json")
    assert host_adapter().validate_python(document) == host
    del document["quality"]["sampler_cpu_share"]
    earlier = host_adapter().validate_python(document)
    assert earlier == replace(host, quality=replace(quality, sampler_cpu_share=None))


def test_an_earlier_ledger_lists_its_run_hosts_and_steps(ledger: Ledger) -> None:
    (line,) = ledger.runs()
    assert (line.run, line.bench, line.ended, line.alive()) == (RUN, "lab", True, False)
    hosts = ["lab.phc", "lab.driver-off", "lab.no-phc", "lab.drifting"]
    assert [(host.host, host.state) for host in ledger.hosts(RUN)] == [(name, HostState.RELEASED) for name in hosts]
    assert all(step.ended_ns is not None and step.result == "done" for step in ledger.steps(RUN))
    assert {verdict.record.instance_type for verdict in ledger.latest_verdicts("lab")} == set(hosts)


def test_the_campaign_of_an_earlier_run_is_read_and_written_as_it_was(ledger: Ledger) -> None:
    written = json.loads((DATA / "runs" / RUN / "campaign.json").read_text())
    assert ledger.campaign(RUN) == written
    campaign = stored.from_document(written)
    assert (campaign.cloud.image, campaign.cloud.image_name, campaign.cloud.lease_s) == (None, "al2023", 7200.0)
    assert json.loads(json.dumps(stored.to_document(campaign))) == written


def test_an_earlier_run_can_be_followed_by_new_ones(ledger: Ledger) -> None:
    run = ledger.open_run(bench="lab", campaign={}, hosts={"lab.phc": "lab.phc"})
    assert {line.run for line in ledger.runs()} == {RUN, run}


def test_earlier_evidence_is_unchanged_and_judged_as_it_was(ledger: Ledger, tmp_path: Path) -> None:
    shutil.copytree(DATA / "runs" / RUN, tmp_path / RUN)
    folder = tmp_path / RUN
    assert EvidenceFolder(folder).list_changed() == []
    host = folder / "lab.drifting"
    facts, strange = read_facts((host / "facts.json").read_text(), where="facts.json")
    final, also_strange = read_facts((host / "facts-final.json").read_text(), where="facts-final.json")
    samples, refused, slots = read_samples((host / "samples.jsonl").read_text(), where="samples.jsonl")
    assert (strange, also_strange, refused) == ((), (), ())
    (recorded,) = [one for one in ledger.record(RUN).hosts if one.name == "lab.drifting"]
    requirements = campaign_of(folder).requirements
    verdict = ladder.judge(
        Evidence(facts=facts, final_facts=final, samples=samples, slots=slots),
        requirements,
        depth=Depth.STANDARD,
        read_only=False,
    )
    assert (verdict.outcome, verdict.reason) == (recorded.verdict.outcome, recorded.verdict.reason)
    without_new = [replace(finding, uncertainty=None) for finding in verdict.findings]  # that version did not tell it
    assert tuple(without_new) == recorded.verdict.findings


def campaign_of(folder: Path) -> Campaign:
    return stored.from_document(json.loads((folder / "campaign.json").read_text()))
