"""Kueue itself admits the Jobs of runs, within its quota, and takes their place back."""

import pytest
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Pod

from harness.cluster.jobs import RUN_LABEL, SUITE_LABEL
from tests.cluster.conftest import SPACE, Team
from tests.cluster.test_campaigns import require_whole
from tests.servers import kueue

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900), pytest.mark.xdist_group("guests")]


@pytest.fixture(scope="module")
def queued(shared_team: Team) -> None:
    kueue.require()
    kueue.start(shared_team.cluster)
    kueue.make_queue(shared_team.cluster, SPACE, cpu="500m", memory="2Gi")


def test_two_runs_share_the_quota_of_a_queue(team: Team, queued: None) -> None:
    """It has room for two pods: those of the second run wait, and the coordinators of both are there."""
    team.set_environment(PTP_TEST_STAGE_S="1")
    runs = [team.submit("--parallel", "2", "--queue", kueue.QUEUE) for _ in range(2)]
    for run in runs:
        run.read_until("suite shared: 2 pods")
    most = 0
    while any(run.process.poll() is None for run in runs):
        pods = list(team.admin.list(Pod, namespace=SPACE, labels={SUITE_LABEL: "shared"}))
        most = max(most, sum(pod.status is not None and pod.status.phase in ("Pending", "Running") for pod in pods))
    assert most == 2
    for run in runs:
        require_whole(team, run)
    assert any("waits in queue team-a" in line for run in runs for line in run.lines)


def test_a_run_goes_on_after_kueue_took_its_place_back(team: Team, queued: None) -> None:
    team.set_environment(PTP_TEST_STAGE_S="1.5")
    run = team.submit("--parallel", "2", "--queue", kueue.QUEUE)
    team.cluster.wait_for(lambda: run.name and team.count_begun(run.name) >= 2, "hosts are begun")
    team.admin.patch(kueue.CLUSTER_QUEUE, "all", {"spec": {"stopPolicy": "HoldAndDrain"}})
    labels = {RUN_LABEL: run.name, SUITE_LABEL: "shared"}
    team.cluster.wait_for(lambda: not list(team.admin.list(Pod, namespace=SPACE, labels=labels)), "its pods are gone")
    assert all(job.spec and job.spec.suspend for job in team.admin.list(Job, namespace=SPACE, labels=labels))
    team.admin.patch(kueue.CLUSTER_QUEUE, "all", {"spec": {"stopPolicy": "None"}})
    require_whole(team, run)
