"""Suites of tests that do harm, on a real cluster: their namespace is gone at the end, whatever ends the run."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from lightkube.codecs import from_dict
from lightkube.resources.core_v1 import Namespace, Pod
from lightkube.resources.rbac_authorization_v1 import ClusterRoleBinding

from harness.cluster.jobs import RUN_LABEL, SUITE_LABEL
from harness.cluster.own_namespace import name_namespace
from tests.cluster.conftest import BASE, SPACE, CampaignRun, Team
from tests.cluster.test_campaigns import evict
from tests.cluster.test_own_tests import find_leader, images, read_results, submit

__all__ = ["images"]
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900), pytest.mark.xdist_group("guests")]

DESTRUCTIVE = BASE.parent / "destructive"
SUITE = "unit-harm-destructive"
WORDS = ("unit/harm", "unit/ntp_server", "--include-destructive")


def read_documents() -> list[dict[str, Any]]:
    files = yaml.safe_load((DESTRUCTIVE / "kustomization.yaml").read_text())["resources"]
    return [each for file in files for each in yaml.safe_load_all((DESTRUCTIVE / file).read_text())]


@pytest.fixture(scope="module")
def opt_in(shared_team: Team) -> None:
    """What coordinators need for namespaces of their own; its binding names the namespace of the base."""
    for document in read_documents():
        described: Any = from_dict(document)
        shared_team.admin.create(described)


@pytest.fixture
def destructive(opt_in: None, team: Team) -> Iterator[Team]:
    yield team
    assert list_own(team) == [], "no namespace of a run is left"


def list_own(team: Team) -> list[str]:
    """The namespaces that runs made and that are there."""
    names = [str(item.metadata.name) for item in team.admin.list(Namespace) if item.metadata]
    return [name for name in names if name.endswith("-destructive")]


def wait_for_harm(team: Team, run: CampaignRun) -> Pod:
    """Wait until the pod of the destructive suite runs; return it."""
    run.read_until(f"suite {SUITE}: Job ")
    found: list[Pod] = []

    def begun() -> bool:
        labels: dict[str, Any] = {RUN_LABEL: run.name, SUITE_LABEL: SUITE}
        found[:] = list(team.admin.list(Pod, namespace=name_namespace(run.name), labels=labels))
        return any(pod.status and pod.status.phase == "Running" for pod in found)

    team.cluster.wait_for(begun, "the suite that does harm has begun", within_s=60)
    return found[0]


def require_right(team: Team, run: CampaignRun, folder: Path) -> None:
    """The run has ended with the results of both suites, and its namespace is gone."""
    assert run.end() == 0, "\n".join(run.lines)
    assert list_own(team) == []
    document, _ = read_results(team, run.name, folder / "out")
    suites = {each["name"]: (each["outcome"], each["tests"]) for each in document["suites"]}  # type: ignore[attr-defined]
    assert suites[SUITE] == ("PASS", 1)
    assert suites["unit-ntp-server"][0] == "PASS"


def test_it_has_a_namespace_of_its_own_which_is_gone_afterwards(destructive: Team, tmp_path: Path) -> None:
    run = submit(destructive, *WORDS)
    pod = wait_for_harm(destructive, run)
    assert pod.metadata is not None
    assert pod.metadata.namespace == name_namespace(run.name) != SPACE
    assert list_own(destructive) == [name_namespace(run.name)]
    require_right(destructive, run, tmp_path)
    assert any(f"the namespace {name_namespace(run.name)} is removed" in line for line in run.lines)


@pytest.mark.parametrize("how", ["killed", "evicted"])
def test_the_next_coordinator_removes_the_namespace_of_one_that_is_gone(
    destructive: Team, tmp_path: Path, how: str
) -> None:
    run = submit(destructive, *WORDS)
    wait_for_harm(destructive, run)
    leader = find_leader(destructive, run.name)
    if how == "evicted":
        evict(destructive, leader)
    else:
        os.kill(destructive.find_process(leader, "cluster coordinate-tests"), signal.SIGKILL)
    run.read_until(f"run {run.name} goes on: 2 suites")
    require_right(destructive, run, tmp_path)


def test_a_cancelled_run_removes_it(destructive: Team) -> None:
    run = submit(destructive, *WORDS)
    wait_for_harm(destructive, run)
    assert destructive.call("cancel", run.name).returncode == 0
    assert run.end() == 130, "\n".join(run.lines)
    assert list_own(destructive) == []


def test_tests_that_do_harm_are_left_out_unless_asked_for(destructive: Team) -> None:
    run = submit(destructive, "unit/harm")
    assert run.end() == 2, "\n".join(run.lines)
    assert any("there is no tier of tests 'unit/harm'" in line for line in run.lines)


def test_without_the_right_nothing_is_made(opt_in: None, team: Team) -> None:
    """One clear sentence, and neither a namespace nor a suite."""
    (binding,) = [each for each in read_documents() if each["kind"] == "ClusterRoleBinding"]
    team.admin.delete(ClusterRoleBinding, binding["metadata"]["name"])
    try:
        run = submit(team, *WORDS)
        assert run.end() == 2, "\n".join(run.lines)
    finally:
        described: Any = from_dict(binding)
        team.admin.create(described)
    told = [line for line in run.lines if "may not create namespaces" in line]
    assert told, "\n".join(run.lines)
    assert f"coordinators of namespace {SPACE} may not create namespaces" in told[0]
    assert any("deploy/cluster/destructive" in line for line in run.lines)
    assert list_own(team) == []
    assert not any(": Job " in line for line in run.lines), "no suite has begun"
