"""The project's own tests as suites in pods of a real cluster: what is lost, pods or coordinators, loses no result."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Pod

from harness.cluster.jobs import COORDINATOR, PART_LABEL, RUN_LABEL, SUITE_LABEL
from tests.cluster.conftest import SPACE, CampaignRun, Team
from tests.cluster.test_campaigns import evict
from tests.servers import containerd, kubernetes, tests_image

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900), pytest.mark.xdist_group("guests")]


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A store with the image of the tests."""
    programs = kubernetes.require_programs()
    folder = tmp_path_factory.mktemp("tests-image")
    tests_image.write_archive(folder / "tests.tar")
    with containerd.image_store(programs, folder / "store", [folder / "tests.tar"]) as store:
        (folder / "tests.tar").unlink()
        yield store


def submit(team: Team, *words: str) -> CampaignRun:
    """Run tests on the cluster, and follow them."""
    argv = [sys.executable, "-m", "harness", "cluster", "test", *words, "--pull", "Never", "--image", tests_image.NAME]
    return CampaignRun(argv, team.environ())


def read_results(team: Team, run: str, folder: Path) -> tuple[dict[str, object], Element]:
    """Read what a run left by the evidence store alone: there is no cluster and no ledger for whoever asks."""
    named = {"PTP_HARNESS_EVIDENCE_URL": "s3://evidence/team", "PTP_HARNESS_STATE_DIR": str(folder.parent / "state")}
    environ = {**team.store.environ, **named, "KUBECONFIG": "/nonexistent"}
    shown = team.call("results", run, "--output", str(folder), "--json", **environ)
    document = json.loads(shown.stdout)
    assert shown.returncode == document["exit_code"], shown.stderr
    return document, ElementTree.parse(folder / "junit.xml").getroot()


def find_pods(team: Team, run: str, label: str, value: str) -> list[Pod]:
    """The pods of a run that have this label, too."""
    return list(team.admin.list(Pod, namespace=SPACE, labels={RUN_LABEL: run, label: value}))


def wait_for_pod(team: Team, run: str, suite: str) -> str:
    """Wait until pytest runs in a pod of a suite; return the pod's name."""
    found: list[str] = []

    def begun() -> bool:
        logged = [
            str(pod.metadata.name)
            for pod in find_pods(team, run, SUITE_LABEL, suite)
            if pod.metadata and pod.status and pod.status.phase == "Running"
        ]
        found[:] = [name for name in logged if "test session starts" in "".join(team.admin.log(name, namespace=SPACE))]
        return bool(found)

    team.cluster.wait_for(begun, f"pytest runs in a pod of suite {suite}", within_s=120)
    return found[0]


def test_own_unit_tests_as_two_suites_of_which_one_has_a_failing_test(
    team: Team, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    begun = time.monotonic()
    run = submit(team, "unit/untrusted", "unit/ntp_server", "--parallel", "2")
    assert run.end() == 1, "\n".join(run.lines)
    record_property("counted", f"two suites of unit tests in pods take {time.monotonic() - begun:.1f} s")
    for suite in ("unit-untrusted", "unit-ntp-server"):
        phases = [pod.status and pod.status.phase for pod in find_pods(team, run.name, SUITE_LABEL, suite)]
        assert phases == ["Succeeded"], "a failed test is a result"
    document, junit = read_results(team, run.name, tmp_path / "out")
    suites = {each["name"]: (each["outcome"], each["failures"], each["retries"]) for each in document["suites"]}  # type: ignore[attr-defined]
    assert suites == {"unit-untrusted": ("FAIL", 1, []), "unit-ntp-server": ("PASS", 0, [])}
    by_suite = {suite.get("name"): [case.get("name") for case in suite] for suite in junit}
    assert {*by_suite} == {"unit-untrusted", "unit-ntp-server"}
    assert len(by_suite["unit-untrusted"]) > 50
    failed = [case.get("name") for case in junit.iter("testcase") if case.find("failure") is not None]
    assert failed == ["test_failing"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"summary.txt", "summary.json", "junit.xml"}
    assert any("unit-untrusted" in line and "FAIL" in line for line in run.lines)


@pytest.mark.parametrize("how", ["killed", "evicted"])
def test_a_pod_of_a_suite_is_gone_and_another_one_has_the_result(team: Team, tmp_path: Path, how: str) -> None:
    run = submit(team, "unit/waiting")
    run.read_until("suite unit-waiting: Job ")
    pod = wait_for_pod(team, run.name, "unit-waiting")
    if how == "evicted":
        evict(team, pod)
    else:
        os.kill(team.find_process(pod.rpartition("-")[0], "cluster test-pod"), signal.SIGKILL)
    assert run.end() == 0, "\n".join(run.lines)
    document, junit = read_results(team, run.name, tmp_path / "out")
    (suite,) = document["suites"]  # type: ignore[misc]
    assert (suite["outcome"], suite["tests"], len(suite["retries"])) == ("PASS", 1, 1)
    flaky = [each.get("message") or "" for each in junit.iter("flakyError")]
    assert flaky == suite["retries"]
    assert ("ended with status 137" if how == "killed" else "a pod that had begun is gone") in flaky[0]
    assert any(f"infrastructure: {flaky[0]}" in line for line in run.lines)


def find_leader(team: Team, run: str) -> str:
    """The pod of the coordinator that leads a run: the other one prints nothing."""
    pods = [str(pod.metadata.name) for pod in find_pods(team, run, PART_LABEL, COORDINATOR) if pod.metadata]
    (leader,) = [name for name in pods if "suites of tests" in "".join(team.admin.log(name, namespace=SPACE))]
    return leader


@pytest.mark.parametrize("how", ["killed", "evicted"])
def test_the_coordinator_that_leads_is_gone_and_the_other_one_goes_on(
    team: Team, tmp_path: Path, how: str, record_property: Callable[[str, object], None]
) -> None:
    run = submit(team, "unit/waiting", "unit/untrusted", "--parallel", "2")
    run.read_until("suite unit-waiting: Job ")
    wait_for_pod(team, run.name, "unit-waiting")
    name = find_leader(team, run.name)
    if how == "evicted":
        evict(team, name)
    else:
        os.kill(team.find_process(name, "cluster coordinate-tests"), signal.SIGKILL)
    begun = time.monotonic()
    run.read_until(f"run {run.name} goes on: 2 suites")
    seconds = time.monotonic() - begun
    record_property("counted", f"the coordinator of tests was {how}: the other one goes on after {seconds:.1f} s")
    assert seconds <= 10
    assert run.end() == 1, "\n".join(run.lines)
    document, junit = read_results(team, run.name, tmp_path / "out")
    suites = {each["name"]: (each["outcome"], each["retries"]) for each in document["suites"]}  # type: ignore[attr-defined]
    assert suites == {"unit-waiting": ("PASS", []), "unit-untrusted": ("FAIL", [])}, "no suite was begun anew"
    assert [*junit.iter("flakyError")] == []
    jobs = list(team.admin.list(Job, namespace=SPACE, labels={RUN_LABEL: run.name}))
    assert len(jobs) == 3


def test_the_node_of_a_suite_is_lost_and_another_one_has_the_result(team: Team, tmp_path: Path) -> None:
    """Each node has a coordinator, too: where it is the one that leads, the other one goes on."""
    run = submit(team, "unit/waiting")
    run.read_until("suite unit-waiting: Job ")
    pod = team.admin.get(Pod, wait_for_pod(team, run.name, "unit-waiting"), namespace=SPACE)
    assert pod.spec is not None
    node = str(pod.spec.nodeName)
    team.cluster.cut(node)
    try:
        run.read_until("suite unit-waiting: the node of its pod is lost", within_s=150)
        team.cluster.wait_for(lambda: _has_reports(team, run.name), "the run ends without the node", within_s=180)
    finally:
        team.cluster.mend(node)
    assert run.end() == 0, "\n".join(run.lines)
    document, _ = read_results(team, run.name, tmp_path / "out")
    assert [(each["outcome"], each["tests"]) for each in document["suites"]] == [("PASS", 1)]  # type: ignore[attr-defined]


def _has_reports(team: Team, run: str) -> bool:
    stored = team.store.client().list_objects_v2(Bucket="evidence", Prefix=f"team/tests-{run}/reports/SHA256SUMS")
    return bool(stored["KeyCount"])


def test_a_cancelled_run_of_tests_ends(team: Team) -> None:
    run = submit(team, "unit/waiting")
    run.read_until("suite unit-waiting: Job ")
    wait_for_pod(team, run.name, "unit-waiting")
    assert team.call("cancel", run.name).returncode == 0
    assert run.end() == 130, "\n".join(run.lines)
    team.cluster.wait_for(
        lambda: not find_pods(team, run.name, SUITE_LABEL, "unit-waiting"), "its pods are gone", within_s=60
    )


def test_a_tier_that_is_not_there_is_refused_once(team: Team) -> None:
    run = submit(team, "unit/untrustd")
    assert run.end() == 2, "\n".join(run.lines)
    assert any("there is no tier of tests 'unit/untrustd'" in line for line in run.lines)
