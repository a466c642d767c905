"""The reports of an ended run are in the evidence store whole or not at all, and a run without one says so."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness.cluster import run_reports
from harness.cluster.run_reports import fetch_reports, find_reports, publish_reports
from harness.errors import SetupError
from harness.model import RunRecord
from harness.model.plots import ClockPlots
from harness.store.ledger import Ledger
from harness.store.ledger_lines import RunLine
from harness.system import settings
from harness.system.settings import Settings
from tests.doubles.records import make_host

HOST = make_host()


@pytest.fixture
def ended(tmp_path: Path) -> tuple[RunLine, RunRecord]:
    """A run that has ended, of one host."""
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.sqlite")
    run = ledger.open_run(bench="lab", campaign={}, hosts={"lab.phc": "lab.phc"}, name="k3f9mq")
    ledger.record_state(ledger.own_host(run, "lab.phc").token, HOST)
    started = "2026-11-21T04:00:00+00:00"
    ledger.close_run(
        RunRecord(run=run, bench="lab", started=started, seconds=1, interrupted=False, hosts=(HOST,), leftovers=())
    )
    line, record = ledger.find(run), ledger.record(run)
    ledger.close()
    assert record is not None
    return line, record


def make_settings(tmp_path: Path, evidence: str | None) -> Settings:
    return replace(settings.load({"HOME": str(tmp_path)}), evidence=evidence)


def no_plots(_record: RunRecord) -> tuple[Mapping[str, ClockPlots], str | None]:
    return {}, None


def dont_wait(_seconds: float) -> bool:
    """The pause between two tries, for tests."""
    return False


def test_the_reports_are_written_once_and_come_back(
    ended: tuple[RunLine, RunRecord], evidence_url: str, tmp_path: Path
) -> None:
    line, record = ended
    told: list[str] = []
    own = make_settings(tmp_path, evidence_url)
    assert find_reports(line, own) is None
    run_folder = publish_reports(line, record, own, no_plots, told.append, dont_wait)
    assert run_folder is not None
    place = f"{evidence_url}/{run_folder}/reports/"
    assert told == [f"the reports are in {place}: report.txt, report.html, junit.xml, report.json"]
    assert find_reports(line, own) == place

    def fail(_record: RunRecord) -> tuple[Mapping[str, ClockPlots], str | None]:
        raise AssertionError("what is there is not made again")

    assert publish_reports(line, record, own, fail, told.append, dont_wait) == run_folder
    written = fetch_reports(run_folder, tmp_path / "reports", own)
    assert written is not None
    assert (
        {path.name for path in written} == {*run_reports.FORMS} == {path.name for path in written[0].parent.iterdir()}
    )
    cases = ElementTree.parse(tmp_path / "reports" / "junit.xml").getroot().findall("testsuite/testcase")
    assert [case.get("name") for case in cases] == ["lab.phc"]
    assert (tmp_path / "reports" / "report.html").read_text().startswith("<!DOCTYPE html>")


def test_reports_that_are_not_whole_are_none(ended: tuple[RunLine, RunRecord], tmp_path: Path) -> None:
    line, record = ended
    (tmp_path / "store").mkdir()
    own = make_settings(tmp_path, f"file://{tmp_path}/store")
    run_folder = publish_reports(line, record, own, no_plots, lambda _: None, dont_wait)
    assert run_folder is not None
    stored = tmp_path / "store" / run_folder / "reports"
    (stored / "junit.xml").write_text("<changed/>")
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "junit.xml").write_text("of an earlier run")
    with pytest.raises(SetupError, match=r"junit\.xml is not what was sent"):
        fetch_reports(run_folder, tmp_path / "reports", own)
    assert [path.read_text() for path in (tmp_path / "reports").iterdir()] == ["of an earlier run"]
    (stored / "SHA256SUMS").unlink()
    assert find_reports(line, own) is None
    assert fetch_reports(run_folder, tmp_path / "reports", own) is None


def test_without_a_store_a_run_says_so(ended: tuple[RunLine, RunRecord], tmp_path: Path) -> None:
    told: list[str] = []
    assert publish_reports(*ended, make_settings(tmp_path, None), no_plots, told.append, dont_wait) is None
    assert len(told) == 1
    assert told[0].startswith("no evidence store is named: evidence is gone with the pods")
    assert "`ptp-harness cluster results k3f9mq --output FOLDER`" in told[0]


def test_a_store_that_is_away_costs_no_verdict(ended: tuple[RunLine, RunRecord], tmp_path: Path) -> None:
    told: list[str] = []
    away = make_settings(tmp_path, f"file://{tmp_path}/away")
    assert publish_reports(*ended, away, no_plots, told.append, dont_wait) is None
    assert told[0].startswith(f"the reports are in no store: there is no folder for evidence at file://{tmp_path}/away")


def test_very_many_hosts_have_no_plots(ended: tuple[RunLine, RunRecord], tmp_path: Path) -> None:
    line, record = ended
    told: list[str] = []
    (tmp_path / "store").mkdir()
    many = replace(record, hosts=(HOST,) * (run_reports.MOST_PLOTTED_HOSTS + 1))

    def fail(_record: RunRecord) -> tuple[Mapping[str, ClockPlots], str | None]:
        raise AssertionError("the evidence of so many hosts is not fetched")

    assert publish_reports(
        line, many, make_settings(tmp_path, f"file://{tmp_path}/store"), fail, told.append, dont_wait
    )
    assert told[0] == "plots are left out of report.html: the run has more than 100 hosts"


@pytest.mark.parametrize("run_folder", ["", "..", "k3f9mq", "../k3f9-20261121T040000.000Z", "K3-20261121T040000.000Z"])
def test_a_folder_that_no_coordinator_named_is_not_asked_for(run_folder: str, tmp_path: Path) -> None:
    assert fetch_reports(run_folder, tmp_path, make_settings(tmp_path, f"file://{tmp_path}/store")) is None
