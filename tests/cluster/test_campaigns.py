"""Campaigns on a real cluster: no fault of pods, nodes or servers loses a verdict or doubles one."""

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Pod

from harness.cluster.jobs import RUN_LABEL, SUITE_LABEL
from harness.store.ledger_check import check
from tests.cluster.conftest import SPACE, VISITOR, CampaignRun, Team
from tests.servers import scripted_image

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900), pytest.mark.xdist_group("guests")]

VERDICTS = {
    "good": ("PASS", "released"),
    "good-2": ("PASS", "released"),
    "bad": ("INCONCLUSIVE", "released"),
    "full": ("INCONCLUSIVE", "released"),
    "good-3": ("PASS", "released"),
}
"""What the scripted bench makes of CAMPAIGN."""


def require_whole(team: Team, run: CampaignRun, *, code: int = 3) -> None:
    """The run has ended with each host's verdict, once, and the ledger is whole."""
    assert run.end() == code, "\n".join(run.lines)
    assert team.verdicts(run.name) == VERDICTS
    ledger = team.open_ledger()
    try:
        assert check(ledger).faults == ()
        numbers = [event.number for event in ledger.events(run.name, most=10_000)]
        judged = Counter(line.host for line in ledger.hosts(run.name) if line.record is not None)
    finally:
        ledger.close()
    assert numbers == [*range(1, len(numbers) + 1)], "events without a gap"
    assert judged == Counter([*VERDICTS])


def test_smoke_finds_nothing_missing(team: Team) -> None:
    done = team.call("smoke", "--pull", "Never", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    checks = {each["name"]: each for each in json.loads(done.stdout)}
    assert all(each["ok"] for each in checks.values())
    assert checks["image"]["observed"].startswith(f"{scripted_image.NAME} runs on node node-")
    assert checks["in a pod: evidence store"]["observed"] == "s3://evidence/team"
    assert "nobody@" in checks["in a pod: ledger"]["observed"]
    assert list(team.admin.list(Job, namespace=SPACE)) == [], "it removes what it made"


def test_a_campaign_of_scripted_hosts(team: Team) -> None:
    run = team.submit("--parallel", "2")
    require_whole(team, run)
    assert any("suite shared: 2 pods" in line for line in run.lines)
    assert any("released 5 of 5, verified" in line for line in run.lines)
    pods = list(team.admin.list(Pod, namespace=SPACE, labels={RUN_LABEL: run.name, SUITE_LABEL: "shared"}))
    assert len(pods) == 2
    keys = [item["Key"] for item in team.store.client().list_objects_v2(Bucket="evidence")["Contents"]]
    for host in VERDICTS:
        assert any(run.name in key and f"/{host}/" in key for key in keys), (host, keys)
    shown = team.call("status", run.name)
    assert "verdicts: 2 INCONCLUSIVE, 3 PASS; exit code 3" in shown.stdout
    logged = team.call("logs", run.name, "--no-follow").stdout.splitlines()
    for host in VERDICTS:
        assert sum(f"{run.name}/{host}/1" in line and "measure of" in line for line in logged) == (host != "full")
    assert team.call("clean", run.name).stdout == f"{run.name}\n"
    team.cluster.wait_for(
        lambda: not list(team.admin.list(Job, namespace=SPACE, labels={RUN_LABEL: run.name})), "its Jobs are gone"
    )


def begin_slowly(team: Team) -> CampaignRun:
    """A campaign whose pods have just begun, each stage of a host takes a second and more."""
    team.set_environment(PTP_TEST_STAGE_S="1.5")
    run = team.submit("--parallel", "2")
    run.read_until("suite shared: 2 pods")
    team.cluster.wait_for(lambda: team.count_begun(run.name) >= 2, "two hosts are begun")
    return run


@pytest.mark.parametrize("how", ["evicted", "deleted", "killed"])
def test_the_coordinator_that_leads_is_gone_and_the_other_one_goes_on(
    team: Team, how: str, record_property: Callable[[str, object], None]
) -> None:
    run = begin_slowly(team)
    leader = team.find_leader(run.name)
    assert leader.metadata is not None
    name = str(leader.metadata.name)
    if how == "evicted":
        evict(team, name)
    elif how == "deleted":
        team.admin.delete(Pod, name, namespace=SPACE)
    else:
        os.kill(team.find_process(name, "cluster coordinate"), signal.SIGKILL)
    begun = time.monotonic()
    run.read_until(f"run {run.name} goes on: ")
    seconds = time.monotonic() - begun
    record_property("counted", f"a coordinator was {how}: the other one goes on after {seconds:.1f} s")
    assert seconds <= (10 if how == "killed" else 4)
    require_whole(team, run)


@pytest.mark.parametrize("how", ["evicted", "killed", "stopped beyond its lease"])
def test_a_pod_that_works_on_a_host_is_gone_and_another_one_does_it(team: Team, how: str) -> None:
    run = begin_slowly(team)
    pods = [
        str(pod.metadata.name)
        for pod in team.admin.list(Pod, namespace=SPACE, labels={RUN_LABEL: run.name, SUITE_LABEL: "shared"})
        if pod.metadata
    ]
    if how == "evicted":
        evict(team, pods[0])
    elif how == "killed":
        os.kill(find_worker(team, pods[0]), signal.SIGKILL)
    else:
        process = find_worker(team, pods[0])
        os.kill(process, signal.SIGSTOP)
        run.read_until(r"suite shared: 1 pods, Job \S+-shared-1")
        os.kill(process, signal.SIGCONT)
    require_whole(team, run)


def find_worker(team: Team, pod: str) -> int:
    """The process of a pod of a suite; the host name of such a pod is that of its index."""
    return team.find_process(pod.rpartition("-")[0], "cluster pod")


def evict(team: Team, pod: str, *, patient: bool = True) -> None:
    """Evict a pod, as the drain of its node does: it tries again while a disruption budget forbids it."""
    eviction: dict[str, Any] = {"apiVersion": "policy/v1", "kind": "Eviction"}
    path = f"/api/v1/namespaces/{SPACE}/pods/{pod}/eviction"
    document = {**eviction, "metadata": {"name": pod, "namespace": SPACE}}
    if patient:
        team.cluster.wait_for(lambda: team.cluster.request(path, document=document), f"{pod} is evicted")
    else:
        team.cluster.request(path, document=document)


def test_a_node_that_is_lost_loses_no_host(team: Team) -> None:
    run = begin_slowly(team)
    leader = team.find_leader(run.name)
    assert leader.spec is not None
    node = str(leader.spec.nodeName)
    team.cluster.cut(node)
    try:
        run.read_until(f"run {run.name} goes on: |ended in all", within_s=60)
        team.cluster.wait_for(lambda: team.has_ended(run.name), "the run ends without the node", within_s=180)
    finally:
        team.cluster.mend(node)
    require_whole(team, run)


@pytest.mark.parametrize("component", ["apiserver", "controller-manager", "etcd"])
def test_a_component_that_is_killed_is_waited_for(team: Team, component: str) -> None:
    run = begin_slowly(team)
    team.cluster.program(component).kill()
    time.sleep(3)
    team.cluster.program(component).start()
    team.cluster.wait_for_api()
    require_whole(team, run)


def test_the_server_of_the_ledger_is_restarted(team: Team) -> None:
    run = begin_slowly(team)
    team.server.stop(signal.SIGQUIT)
    time.sleep(3)
    team.server.start()
    require_whole(team, run)


def test_a_cancelled_run_releases_its_hosts(team: Team) -> None:
    run = begin_slowly(team)
    assert team.call("cancel", run.name).returncode == 0
    assert run.end() == 130, "\n".join(run.lines)
    assert {state for _, state in team.verdicts(run.name).values()} == {"released"}
    assert "INCONCLUSIVE" in {outcome for outcome, _ in team.verdicts(run.name).values()}
    again = team.call("cancel", run.name)
    assert again.returncode == 2
    assert f"run {run.name} has ended: Complete" in again.stderr


def test_a_campaign_that_no_pod_can_carry_out_is_refused_once(team: Team) -> None:
    run = team.submit(types=("lab.nonsense",))
    assert run.end() == 2, "\n".join(run.lines)
    assert "there is no type 'lab.nonsense'" in "\n".join(run.lines) or "lab.nonsense" in "\n".join(run.lines)
    assert any("has no result: PodFailurePolicy" in line for line in run.lines)


def test_an_image_that_is_not_there_is_told_at_once(team: Team) -> None:
    run = team.submit("--image", "ptp-harness:nonsense")
    line = run.read_until("does not start", within_s=60)
    assert "ErrImageNeverPull" in line
    run.process.send_signal(signal.SIGINT)
    assert run.end() == 130


def test_without_rights_nothing_is_made(team: Team) -> None:
    done = team.call("smoke", "--pull", "Never", user=VISITOR)
    assert done.returncode == 2
    assert "MISSING  right: create jobs" in done.stdout
    assert "bind the Role ptp-harness-submitter" in done.stdout
    refused = team.call("status", user=VISITOR)
    assert refused.returncode == 2 or refused.returncode == 70
    assert 'User "visitor" cannot list resource "jobs"' in refused.stderr


def test_no_pod_can_do_more_than_it_needs(team: Team) -> None:
    questions = {
        ("ptp-harness-coordinator", "get", "secrets", ""): False,
        ("ptp-harness-coordinator", "create", "pods", ""): False,
        ("ptp-harness-coordinator", "get", "pods", "log"): False,
        ("ptp-harness-coordinator", "create", "jobs", "batch"): True,
        ("ptp-harness-pod", "list", "pods", ""): False,
        ("ptp-harness-pod", "create", "jobs", "batch"): False,
    }
    for (account, verb, resource, group), allowed in questions.items():
        attributes = {"namespace": SPACE, "verb": verb, "group": group, "resource": resource}
        user = f"system:serviceaccount:{SPACE}:{account}"
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview"}
        spec = {"user": user, "resourceAttributes": attributes}
        path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        answer = team.cluster.request(path, document={**review, "spec": spec})
        assert answer["status"]["allowed"] is allowed, (account, verb, resource)
