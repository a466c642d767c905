"""Runs on a real cluster that begin later: at set times, or once a queue lets them go."""

import time
import urllib.error
from collections.abc import Iterator
from typing import Any

import pytest
from lightkube.codecs import from_dict
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apiextensions_v1 import CustomResourceDefinition
from lightkube.resources.batch_v1 import CronJob, Job
from lightkube.resources.core_v1 import Pod
from lightkube.resources.policy_v1 import PodDisruptionBudget
from lightkube.resources.scheduling_v1 import PriorityClass

from harness.cluster.jobs import (
    COORDINATOR,
    PART_LABEL,
    QUEUE_API,
    QUEUE_LABEL,
    RUN_LABEL,
    SCHEDULE,
    SCHEDULE_LABEL,
    SUITE,
    SUITE_LABEL,
)
from tests.cluster.conftest import SPACE, VISITOR, CampaignRun, Team
from tests.cluster.test_campaigns import VERDICTS, begin_slowly, evict, require_whole
from tests.servers import scripted_image

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900), pytest.mark.xdist_group("guests")]

NAME = "minutely"
PULL = ("--pull", "Never")


def schedule(team: Team, cron: str, *words: str, **more: str) -> Any:
    """Call `cluster schedule` with the campaign of scripted hosts."""
    return team.call("schedule", str(team.write_campaign()), "--cron", cron, *PULL, *words, **more)


@pytest.fixture
def clean_schedules(team: Team) -> Iterator[None]:
    yield
    for item in list(team.admin.list(CronJob, namespace=SPACE)):
        assert item.metadata is not None
        team.admin.delete(CronJob, str(item.metadata.name), namespace=SPACE)


def find_runs(team: Team) -> list[str]:
    """The runs that the schedule submitted."""
    labels: dict[str, Any] = {SCHEDULE_LABEL: NAME, PART_LABEL: COORDINATOR}
    return [job.metadata.labels[RUN_LABEL] for job in team.admin.list(Job, namespace=SPACE, labels=labels)]


def trigger(team: Team, name: str) -> str:
    """Make a Job of a CronJob now, as `kubectl create job --from` does; return what its pod prints until its end."""
    item = team.admin.get(CronJob, f"ptp-schedule-{NAME}", namespace=SPACE)
    assert item.spec is not None
    template = item.spec.jobTemplate
    assert template.metadata is not None
    team.admin.create(
        Job(metadata=ObjectMeta(name=name, labels=template.metadata.labels), spec=template.spec), namespace=SPACE
    )
    pods: list[Pod] = []

    def has_ended() -> bool:
        pods[:] = list(team.admin.list(Pod, namespace=SPACE, labels={"job-name": name}))
        return bool(pods) and all(pod.status and pod.status.phase in ("Succeeded", "Failed") for pod in pods)

    team.cluster.wait_for(has_ended, f"the pod of {name} ends")
    assert pods[0].metadata is not None
    return "".join(team.admin.log(str(pods[0].metadata.name), namespace=SPACE))


def test_a_schedule_submits_a_run_at_its_time_and_none_while_that_goes_on(team: Team, clean_schedules: None) -> None:
    team.set_environment(PTP_TEST_STAGE_S="4")
    made = schedule(team, "* * * * *", "--name", NAME, "--parallel", "2")
    assert made.returncode == 0, made.stderr
    assert "then at * * * * * in UTC" in made.stderr
    team.cluster.wait_for(lambda: find_runs(team), "a run is submitted at its time", within_s=120)
    (run,) = find_runs(team)
    said = trigger(team, "by-hand")
    assert f"run {run} of schedule {NAME} still goes on: no other one is submitted" in said
    shown = team.call("status").stdout
    assert any(line.startswith(run) and line.split()[-1] == NAME for line in shown.splitlines()), shown
    assert any(line.startswith(NAME) and scripted_image.NAME in line for line in shown.splitlines()), shown
    removed = team.call("schedule", "--remove", NAME)
    assert removed.returncode == 0, removed.stderr
    assert list(team.admin.list(CronJob, namespace=SPACE)) == []
    followed = team.call("logs", run)
    assert followed.returncode == 0, followed.stderr
    team.cluster.wait_for(lambda: team.has_ended(run), "the run ends, though its schedule is removed", within_s=180)
    assert team.verdicts(run) == VERDICTS
    assert find_runs(team) == [run]
    labels: dict[str, Any] = {PART_LABEL: SCHEDULE, SCHEDULE_LABEL: NAME}
    left = [job.metadata.name for job in team.admin.list(Job, namespace=SPACE, labels=labels)]
    assert left == ["by-hand"], "the Jobs of a CronJob go with it"
    assert team.call("schedule", "--remove", NAME).returncode == 2


@pytest.mark.parametrize(
    ("cron", "words", "tells"),
    [
        ("0 25 * * *", (), "above maximum (23)"),
        ("nonsense", (), "expected exactly 5 fields"),
        ("0 3 * * 1", ("--zone", "Mars/Base"), "unknown time zone Mars/Base"),
        ("0 0 30 2 *", (), "bad day-of-month"),
    ],
)
def test_times_that_are_none_are_refused_and_nothing_is_made(
    team: Team, cron: str, words: tuple[str, ...], tells: str
) -> None:
    done = schedule(team, cron, "--name", NAME, *words)
    assert (done.returncode, tells in done.stderr) == (2, True), done.stderr
    assert "Traceback" not in done.stderr
    assert list(team.admin.list(CronJob, namespace=SPACE)) == []


def test_a_schedule_is_made_once_and_by_those_who_may(team: Team, clean_schedules: None) -> None:
    refused = schedule(team, "0 3 * * 1", "--name", NAME, user=VISITOR)
    assert refused.returncode == 2
    assert 'User "visitor" cannot create resource "cronjobs"' in refused.stderr
    assert schedule(team, "0 3 * * 1").returncode == 0
    again = schedule(team, "0 4 * * 1", "--name", "campaign")
    assert (again.returncode, "has a schedule campaign already" in again.stderr) == (2, True)
    (item,) = team.admin.list(CronJob, namespace=SPACE)
    assert item.spec is not None
    assert item.spec.schedule == "0 3 * * 1"


# --- a queue: this test does what Kueue does with Jobs of its queues --------------------------------------------------


@pytest.fixture
def queue_api(team: Team) -> Iterator[None]:
    """The group of Kueue's API, as the cluster has it where Kueue is installed."""
    names = {"kind": "LocalQueue", "plural": "localqueues", "singular": "localqueue", "listKind": "LocalQueueList"}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1beta1", "served": True, "storage": True, "schema": schema}
    spec = {"group": QUEUE_API, "names": names, "scope": "Namespaced", "versions": [version]}
    metadata = {"name": f"localqueues.{QUEUE_API}"}
    document = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
    definition: Any = from_dict({**document, "metadata": metadata, "spec": spec})
    team.admin.create(definition)
    team.cluster.wait_for(lambda: team.cluster.request(f"/apis/{QUEUE_API}"), "the API is there")
    yield
    team.admin.delete(CustomResourceDefinition, metadata["name"])


def list_jobs(team: Team, run: str, part: str) -> list[Job]:
    return list(team.admin.list(Job, namespace=SPACE, labels={RUN_LABEL: run, PART_LABEL: part}))


def admit(team: Team, run: str, part: str, *, suspend: bool = False) -> str:
    """Let the Job of a run go, or take its place back; return its name."""

    def find() -> list[Job]:
        return [job for job in list_jobs(team, run, part) if job.spec and bool(job.spec.suspend) is not suspend]

    team.cluster.wait_for(find, f"a {part} waits in its queue")
    job = find()[-1]
    assert job.metadata is not None
    assert job.metadata.labels is not None
    assert job.metadata.labels[QUEUE_LABEL] == {COORDINATOR: "leaders", SUITE: "team-a"}[part]
    team.admin.patch(Job, str(job.metadata.name), {"spec": {"suspend": suspend}}, namespace=SPACE)
    return str(job.metadata.name)


def submit_to_queues(team: Team) -> CampaignRun:
    run = team.submit("--parallel", "2", "--queue", "team-a", "--coordinator-queue", "leaders")
    run.read_until("begins when Kueue admits it from the queue leaders")
    return run


def test_a_queued_run_begins_when_its_queues_let_it_and_again_after_it_was_preempted(
    team: Team, queue_api: None
) -> None:
    team.set_environment(PTP_TEST_STAGE_S="1.5")
    run = submit_to_queues(team)
    time.sleep(5)
    assert list(team.admin.list(Pod, namespace=SPACE)) == []
    assert "waits in queue leaders" in team.call("status").stdout
    admit(team, run.name, COORDINATOR)
    run.read_until("suite shared: Job .* waits in queue team-a")
    time.sleep(3)
    assert list(team.admin.list(Pod, namespace=SPACE, labels={RUN_LABEL: run.name, SUITE_LABEL: "shared"})) == []
    admit(team, run.name, SUITE)
    team.cluster.wait_for(lambda: team.count_begun(run.name) >= 2, "hosts are begun")
    suspended = admit(team, run.name, SUITE, suspend=True)
    team.cluster.wait_for(
        lambda: not list(team.admin.list(Pod, namespace=SPACE, labels={"job-name": suspended})), "its pods are gone"
    )
    admit(team, run.name, SUITE)
    require_whole(team, run)


def test_a_run_that_is_cancelled_before_its_coordinator_began_is_removed(team: Team, queue_api: None) -> None:
    run = submit_to_queues(team)
    done = team.call("cancel", run.name)
    assert done.returncode == 0, done.stderr
    assert "had not begun" in done.stderr
    team.cluster.wait_for(lambda: list_jobs(team, run.name, COORDINATOR) == [], "its Job is gone")
    assert run.end() == 2, "\n".join(run.lines)


def test_a_run_that_is_cancelled_while_its_suite_waits_ends(team: Team, queue_api: None) -> None:
    run = team.submit("--queue", "team-a")
    run.read_until("waits in queue team-a")
    assert team.call("cancel", run.name).returncode == 0
    assert run.end() == 130, "\n".join(run.lines)
    assert {outcome for outcome, _ in team.verdicts(run.name).values()} == {"INCONCLUSIVE"}


def test_a_queue_without_kueue_is_refused(team: Team) -> None:
    run = team.submit("--queue", "team-a")
    assert run.end() == 2
    assert any("has no Kueue" in line for line in run.lines), run.lines
    assert list(team.admin.list(Job, namespace=SPACE)) == []


# --- priorities and drains --------------------------------------------------------------------------------------------


def test_pods_have_the_priority_that_is_asked_for(team: Team) -> None:
    team.admin.create(PriorityClass(metadata=ObjectMeta(name="low"), value=-10, globalDefault=False))
    run = team.submit("--priority-class", "low")
    require_whole(team, run)
    pods = list(team.admin.list(Pod, namespace=SPACE, labels={RUN_LABEL: run.name}))
    assert {pod.spec.priority for pod in pods if pod.spec} == {-10}
    assert len(pods) >= 3


def test_a_priority_that_is_not_there_is_told(team: Team) -> None:
    run = team.submit("--priority-class", "nonsense")
    run.read_until("no PriorityClass with name nonsense")
    run.process.kill()
    run.process.wait()


def test_a_drain_never_takes_both_coordinators(team: Team) -> None:
    """The eviction of one is refused while the other one is not back."""
    run = begin_slowly(team)
    labels: dict[str, Any] = {RUN_LABEL: run.name, PART_LABEL: COORDINATOR}

    def list_running() -> list[str]:
        pods = team.admin.list(Pod, namespace=SPACE, labels=labels)
        return [
            str(pod.metadata.name)
            for pod in pods
            if pod.metadata and pod.status and pod.status.phase == "Running" and pod.metadata.deletionTimestamp is None
        ]

    team.cluster.wait_for(lambda: len(list_running()) == 2, "both coordinators run")
    team.cluster.wait_for(lambda: count_allowed(team, run.name) == 1, "one of them may be evicted")
    first, second = list_running()
    evict(team, first)
    with pytest.raises(urllib.error.HTTPError, match="429"):
        evict(team, second, patient=False)
    require_whole(team, run)
    assert list_budgets(team) == [f"ptp-{run.name}"]
    assert team.call("clean", run.name).returncode == 0
    team.cluster.wait_for(lambda: list_budgets(team) == [], "the budget goes with the run")


def list_budgets(team: Team) -> list[str]:
    return [str(item.metadata.name) for item in team.admin.list(PodDisruptionBudget, namespace=SPACE) if item.metadata]


def count_allowed(team: Team, run: str) -> int:
    """How many coordinators may be evicted now."""
    path = f"/apis/policy/v1/namespaces/{SPACE}/poddisruptionbudgets/ptp-{run}"
    return int(team.cluster.request(path)["status"].get("disruptionsAllowed", 0))


def test_pods_of_suites_may_be_evicted_at_once(team: Team) -> None:
    run = begin_slowly(team)
    labels: dict[str, Any] = {RUN_LABEL: run.name, SUITE_LABEL: "shared"}
    for pod in team.admin.list(Pod, namespace=SPACE, labels=labels):
        assert pod.metadata is not None
        evict(team, str(pod.metadata.name), patient=False)
    require_whole(team, run)
