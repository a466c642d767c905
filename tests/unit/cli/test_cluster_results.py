"""`cluster results` reads ledger and evidence store: verdicts so far, hosts begun anew, and the reports."""

import json
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.cluster.run_reports import FORMS, publish_reports
from harness.model import Outcome, Stage
from harness.store.evidence_folder import EvidenceFolder
from harness.store.ledger import Ledger
from harness.system import settings

Call = Callable[..., "subprocess.CompletedProcess[str]"]


def test_a_run_that_goes_on_shows_its_verdicts_so_far(call: Call, ledger: Ledger) -> None:
    """One host is judged, one was begun anew after its pod was gone, one was not begun."""
    (judged,) = [host for host in ledger.record("3a5r").hosts if host.name == "lab.phc"]  # type: ignore[union-attr]
    hosts = dict.fromkeys(("first", "again", "later"), "lab.phc")
    run = ledger.open_run(bench="lab", campaign={}, hosts=hosts, name="k3f9mq")
    ledger.record_state(ledger.own_host(run, "first").token, replace(judged, name="first"))
    line = ledger.claim(run)
    assert line is not None
    assert line.host == "again"
    ledger.begin_step(line.token, Stage.CONFIGURE)
    ledger.give_back(line.token)
    again = ledger.claim(run)
    assert again is not None
    ledger.begin_step(again.token, Stage.PROVISION)

    done = call("cluster", "results", run)
    assert done.returncode == 3, done.stderr
    lines = done.stdout.splitlines()
    assert any(shown.startswith("first") and "PASS" in shown for shown in lines)
    assert lines[-5:] == [
        "again (lab.phc): no verdict yet (attempt 2, provision)",
        "later (lab.phc): not begun",
        "infrastructure: attempt 1 at again ended in stage configure, and it was begun anew",
        "run k3f9mq goes on: 1 of 3 hosts are judged: 1 PASS",
        "reports: in no evidence store; --output FOLDER writes them",
    ]
    document = json.loads(call("cluster", "results", run, "--json").stdout)
    assert (document["exit_code"], document["reports"], document["state"]) == (3, None, "under way")
    refused = call("cluster", "results", run, "--output", "reports")
    assert refused.returncode == 2
    assert f"run {run} has not ended" in refused.stderr


def test_an_ended_run_has_its_exit_code_and_its_reports_from_the_ledger(
    call: Call, record_run: Callable[..., str], tmp_path: Path
) -> None:
    run = record_run({"lab.phc": Outcome.PASS, "lab.drifting": Outcome.FAIL})
    done = call("cluster", "results", run, "--output", "reports")
    assert done.returncode == 1, done.stderr
    assert f"run {run} has ended: 2 of 2 hosts are judged: 1 FAIL, 1 PASS" in done.stdout
    assert {path.name for path in (tmp_path / "reports").iterdir()} == {*FORMS}
    assert done.stderr.count("written: ") == len(FORMS)


def test_the_reports_and_the_evidence_come_from_the_store(
    call: Call, record_run: Callable[..., str], ledger: Ledger, evidence_url: str, tmp_path: Path
) -> None:
    run = record_run({"lab.phc": Outcome.PASS})
    folder = EvidenceFolder.create(tmp_path / "state" / "runs" / run)
    folder.write("report.json", "{}")
    folder.host("lab.phc").write("facts.json", "{}")
    folder.host("lab.phc").write("attempt", "1\n")
    folder.write_checksums()
    assert call("evidence", "send", run, "--evidence", evidence_url).returncode == 0
    own = replace(settings.load(), evidence=evidence_url)
    record = ledger.record(run)
    assert record is not None
    told: list[str] = []
    assert publish_reports(ledger.find(run), record, own, lambda _: ({}, "none"), told.append, threading.Event().wait)
    elsewhere = {
        "PTP_HARNESS_STATE_DIR": str(tmp_path / "elsewhere"),
        "PTP_HARNESS_CACHE_DIR": str(tmp_path / "cache"),
        "PTP_HARNESS_LEDGER_URL": f"sqlite:///{tmp_path}/state/ledger.sqlite",
    }
    done = call("cluster", "results", run, "-o", "out", "--with-evidence", "--evidence", evidence_url, **elsewhere)
    assert done.returncode == 0, done.stderr
    assert "plots" not in done.stderr, "they are fetched, not made"
    assert f"reports: {evidence_url}/{run}-" in done.stdout
    assert (tmp_path / "out" / "junit.xml").is_file()
    assert (tmp_path / "out" / "evidence" / "lab.phc" / "facts.json").read_text() == "{}"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--with-evidence",), "--with-evidence goes with --output"),
        (("--ledger", "sqlite:///{}/state/ledger.sqlite"), "there is no run 'nonsense'"),
        ((), "there is no kubeconfig"),
    ],
)
def test_bad_requests(call: Call, ledger: Ledger, tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    """Without the URL of a ledger, the cluster is asked."""
    assert ledger.url
    filled = [word.format(tmp_path) for word in words]
    done = call("cluster", "results", "nonsense", *filled, KUBECONFIG=str(tmp_path / "none"))
    assert done.returncode == 2
    assert message in done.stderr
