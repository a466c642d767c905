"""`judge` makes verdicts and figures again from stored evidence, and changes nothing."""

import json
import shutil
from pathlib import Path

import pytest

from harness.store.ledger import Ledger
from tests.unit.cli.conftest import EARLIER, Call

HOSTS = ("lab.drifting", "lab.no-phc")  # of whose evidence the outputs are there


@pytest.fixture
def evidence(ledger: Ledger, tmp_path: Path) -> Path:
    folder = tmp_path / "state" / "runs" / "3a5r"
    shutil.copytree(EARLIER.parent / "runs" / "3a5r", folder)
    return folder


def test_a_run_of_an_earlier_version_is_judged_as_it_was(call: Call, evidence: Path) -> None:
    recorded = json.loads(call("report", "3a5r", "--json").stdout)
    done = call("judge", "3a5r", *HOSTS)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.endswith("every verdict is the one that the run recorded\n")
    again = {host["name"]: host for host in json.loads(call("judge", "3a5r", *HOSTS, "--json").stdout)["hosts"]}
    assert list(again) == [*HOSTS]
    for host in recorded["hosts"]:
        if host["name"] in again:
            new = again[host["name"]]
            rungs = [
                (rung["rung"], rung["status"], rung["evidence"])
                for rung in new["rungs"]
                if rung["rung"] != "bound_holds"
            ]  # a rung that this version has added
            assert rungs == [(rung["rung"], rung["status"], rung["evidence"]) for rung in host["rungs"]]
            assert (new["sentence"], new["remedy"]) == (host["sentence"], host["remedy"])
    assert again["lab.no-phc"]["quality"] is None
    assert again["lab.drifting"]["quality"]["slots"] == 60
    assert json.loads(call("report", "3a5r", "--json").stdout) == recorded


def test_other_limits_change_the_verdict_which_is_told(call: Call, evidence: Path, tmp_path: Path) -> None:
    loose = "{second_opinion_offset_ns: {median_abs: 1s}, second_opinion_drift_ppb: {max: 1000ppm}}"
    (tmp_path / "loose.yaml").write_text(f"limits: {loose}\n")
    done = call("judge", "3a5r", "lab.drifting", "--limits", "loose.yaml")
    assert done.returncode == 0
    assert "lab.drifting: the run recorded FAIL out_of_limits" in done.stdout
    assert "PASS" in done.stdout


@pytest.mark.parametrize(
    ("words", "message", "next_step"),
    [
        (["nope"], "there is no run 'nope'", ""),
        (["3a5r", "lab.none"], "run 3a5r has no host 'lab.none'", "its hosts: lab.phc, "),
        (["3a5r"], "evidence of run 3a5r is not on this machine: lab.phc, lab.driver-off", "judge the others by"),
        (["3a5r", "lab.no-phc", "--limits", "none.yaml"], "cannot read the campaign file none.yaml", ""),
        (["3a5r", "lab.no-phc", "--limits", "empty.yaml"], "empty.yaml has no key `limits`", "campaign keys limits"),
        (["3a5r", "lab.no-phc", "--limits", "typo.yaml"], "typo.yaml:2: limits.offst_ns: unknown key", "offset_ns"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_judged_is_refused(
    call: Call, evidence: Path, tmp_path: Path, words: list[str], message: str, next_step: str
) -> None:
    (tmp_path / "empty.yaml").write_text("bench: lab\n")
    (tmp_path / "typo.yaml").write_text("limits:\n  offst_ns: {max: 1us}\n")
    done = call("judge", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert next_step in done.stderr


def test_a_run_that_has_not_ended_is_refused(call: Call, ledger: Ledger) -> None:
    run = ledger.open_run(bench="lab", campaign={}, hosts={"lab.phc": "lab.phc"})
    done = call("judge", run)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"run {run} has not ended" in done.stderr
