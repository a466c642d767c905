"""The results of a campaign on a real cluster: while it goes on, and its reports in the evidence store at its end."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
from lightkube.resources.core_v1 import Pod

from harness.cluster.jobs import RUN_LABEL, SUITE_LABEL
from harness.cluster.run_reports import FORMS
from tests.cluster.conftest import SPACE, Team
from tests.cluster.test_campaigns import VERDICTS, begin_slowly, evict, find_worker, require_whole

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900), pytest.mark.xdist_group("guests")]


def call_results(team: Team, run: str, folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """`cluster results` of a person who reaches the ledger and the evidence store, and no cluster."""
    named = {"PTP_HARNESS_EVIDENCE_URL": "s3://evidence/team", "PTP_HARNESS_LEDGER_URL": team.ledger_url}
    places = {"PTP_HARNESS_STATE_DIR": str(folder / "state"), "PTP_HARNESS_CACHE_DIR": str(folder / "cache")}
    return team.call("results", run, *words, **team.store.environ, **named, **places, KUBECONFIG="/nonexistent")


@pytest.mark.parametrize("how", ["killed", "evicted"])
def test_results_tell_of_hosts_that_were_begun_anew(team: Team, tmp_path: Path, how: str) -> None:
    run = begin_slowly(team)
    so_far = call_results(team, run.name, tmp_path)
    assert so_far.returncode == 3, so_far.stderr
    assert f"run {run.name} goes on: " in so_far.stdout
    assert "no verdict yet (attempt 1" in so_far.stdout
    refused = call_results(team, run.name, tmp_path, "--output", str(tmp_path / "early"))
    assert (refused.returncode, "has not ended" in refused.stderr) == (2, True)
    pods = team.admin.list(Pod, namespace=SPACE, labels={RUN_LABEL: run.name, SUITE_LABEL: "shared"})
    first = next(str(pod.metadata.name) for pod in pods if pod.metadata)
    if how == "evicted":
        evict(team, first)
    else:
        os.kill(find_worker(team, first), signal.SIGKILL)
    require_whole(team, run)
    shown = call_results(team, run.name, tmp_path, "--output", str(tmp_path / "out"), "--with-evidence")
    assert shown.returncode == 3, "that of the run"
    assert f"run {run.name} has ended: 5 of 5 hosts are judged: 2 INCONCLUSIVE, 3 PASS" in shown.stdout
    assert f"reports: s3://evidence/team/{run.name}-" in shown.stdout
    document = json.loads((tmp_path / "out" / "report.json").read_text())
    again = {host["name"] for host in document["hosts"] if host["attempts"] > 1}
    assert again, "a host was begun anew"
    told = re.findall(r"^infrastructure: attempt 1 at (\S+) ended ", shown.stdout, re.MULTILINE)
    assert {*told} == again
    junit = ElementTree.parse(tmp_path / "out" / "junit.xml").getroot()
    flaky = {case.get("name") for case in junit.iter("testcase") if case.find("flakyError") is not None}
    assert flaky == {name for name in again if VERDICTS[name][0] == "PASS"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*FORMS, "evidence"}
    assert {path.name for path in (tmp_path / "out" / "evidence").iterdir() if path.is_dir()} == {*VERDICTS}
    assert any(f"the reports are in s3://evidence/team/{run.name}-" in line for line in run.lines)


def test_without_ledger_and_store_the_cluster_tells_the_end(team: Team, tmp_path: Path) -> None:
    run = team.submit("--parallel", "2")
    require_whole(team, run)
    places = {"PTP_HARNESS_STATE_DIR": str(tmp_path / "state")}
    shown = team.call("results", run.name, **places)
    assert shown.returncode == 3, shown.stderr
    assert f"run {run.name} has ended: 2 INCONCLUSIVE, 3 PASS; exit code 3" in shown.stdout
    assert f"reports: in the evidence store, {run.name}-" in shown.stdout
    store = {**team.store.environ, "PTP_HARNESS_EVIDENCE_URL": "s3://evidence/team"}
    fetched = team.call("results", run.name, "--output", str(tmp_path / "out"), **places, **store)
    assert fetched.returncode == 3, fetched.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*FORMS}
