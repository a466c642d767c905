"""Campaigns with disturbances that get a namespace of their own, on a real cluster: it is gone at the end."""

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from lightkube.codecs import from_dict
from lightkube.resources.core_v1 import Pod
from lightkube.resources.rbac_authorization_v1 import ClusterRoleBinding

from harness.cluster.jobs import RUN_LABEL, SUITE_LABEL
from harness.cluster.own_namespace import name_namespace
from tests.cluster.conftest import SPACE, CampaignRun, Team
from tests.cluster.test_campaigns import VERDICTS, evict, require_whole
from tests.cluster.test_destructive import list_own, read_documents

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900), pytest.mark.xdist_group("guests")]

WORDS = ("--depth", "full", "--disturb", "reboot", "--include-destructive", "--parallel", "2")


@pytest.fixture
def team_with_rights(team: Team) -> Iterator[Team]:
    """The namespace, whose coordinators may make namespaces of their own."""
    made: list[Any] = [from_dict(document) for document in read_documents()]
    for item in made:
        team.admin.create(item)
    yield team
    assert list_own(team) == []
    for item in made:
        team.admin.delete(type(item), item.metadata.name)


def begin(team: Team) -> CampaignRun:
    """A campaign whose pods have just begun, in a namespace of the run's own."""
    team.set_environment(PTP_TEST_STAGE_S="1.5")
    run = team.submit(*WORDS)
    run.read_until("suite disturbed: it has the namespace")
    team.cluster.wait_for(lambda: team.count_begun(run.name) >= 2, "two hosts are begun")
    return run


def list_workers(team: Team, run: str, namespace: str) -> list[str]:
    labels: dict[str, Any] = {RUN_LABEL: run, SUITE_LABEL: "disturbed"}
    return [str(pod.metadata.name) for pod in team.admin.list(Pod, namespace=namespace, labels=labels) if pod.metadata]


@pytest.mark.parametrize("how", ["whole", "killed", "evicted", "cancelled"])
def test_their_namespace_is_gone_however_the_run_ends(team_with_rights: Team, how: str) -> None:
    team = team_with_rights
    run = begin(team)
    assert len(list_workers(team, run.name, name_namespace(run.name))) == 2
    assert list_workers(team, run.name, SPACE) == []
    leader = team.find_leader(run.name)
    assert leader.metadata is not None
    name = str(leader.metadata.name)
    if how == "killed":
        os.kill(team.find_process(name, "cluster coordinate"), signal.SIGKILL)
    elif how == "evicted":
        evict(team, name)
    if how == "cancelled":
        assert team.call("cancel", run.name).returncode == 0
        assert run.end() == 130, "\n".join(run.lines)
        assert {state for _, state in team.verdicts(run.name).values()} == {"released"}
    else:
        require_whole(team, run)
        assert team.verdicts(run.name) == VERDICTS


def test_without_the_right_no_host_is_made(team: Team) -> None:
    run = team.submit(*WORDS)
    assert run.end() == 2, "\n".join(run.lines)
    assert any(f"coordinators of namespace {SPACE} may not create namespaces" in line for line in run.lines)
    assert any("has no result: PodFailurePolicy" in line for line in run.lines)
    assert team.call("clean", run.name).returncode == 0
    assert [*team.admin.list(ClusterRoleBinding, labels={"app.kubernetes.io/name": "ptp-harness"})] == []
