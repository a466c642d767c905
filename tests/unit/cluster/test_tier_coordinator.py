"""A run of tests: suites in their order, results from pods, and a coordinator that goes on after another one."""

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx2
import lightkube
import pytest
from lightkube.core.exceptions import ApiError
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Pod

from harness.campaign.campaign import from_mapping as read_campaign
from harness.cluster import tier_coordinator
from harness.cluster.connection import Connection
from harness.cluster.jobs import (
    CANCELLED_ANNOTATION,
    JOB_NAME_LABEL,
    PodOptions,
    make_coordinator,
    make_suite_job,
    make_tests_coordinator,
    name_of,
)
from harness.cluster.tier_coordinator import TierCoordinator, TierRequest, describe_progress
from harness.cluster.tier_report import DOCUMENT, JUNIT
from harness.cluster.tier_store import SuiteResult, TierStore
from harness.model import Outcome
from harness.store.object_store import open_store
from tests.unit.cluster.test_tier_reports import make_junit

OPTIONS = PodOptions(image="registry.example/ptp-harness-tests:0.1.0")
RUN = "k3f9mq"
GOOD = SuiteResult(status=0, seconds=2.0, junit=make_junit("passed"))
BAD = SuiteResult(status=1, seconds=3.0, junit=make_junit("passed", "failed"))


@dataclass
class ApiDouble:
    """Jobs of an API server; `carry_out` does what the pods of a suite do, when its Job is read for the first time."""

    carry_out: Callable[[str], str]
    pods: dict[str, list[Pod]] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    coordinators: list[Pod] = field(default_factory=lambda: [run_pod("own")])
    on_delete: Callable[[str], None] = lambda _name: None

    def create(self, job: Job) -> None:
        if name_of(job) in self.jobs:
            raise make_api_error(HTTPStatus.CONFLICT)
        self.made.append(name_of(job))
        self.jobs[name_of(job)] = job

    def get(self, _kind: type[Job], name: str) -> Job:
        if name not in self.jobs:
            raise make_api_error(HTTPStatus.NOT_FOUND)
        job = self.jobs[name]
        if name != f"ptp-{RUN}" and job.status is None and (end := self.carry_out(name)):
            status = {"conditions": [{"type": end, "status": "True", "reason": "BackoffLimitExceeded"}]}
            job = self.jobs[name] = cast(Job, Job.from_dict({**job.to_dict(), "status": status}))
        return job

    def list(
        self, _kind: type[Pod], *, labels: Mapping[str, str], fields: Mapping[str, Any] | None = None, **_: object
    ) -> list[Pod]:
        if fields is None:
            return self.coordinators
        runs = fields["status.phase"] == "Running"
        pods = self.pods.get(labels[JOB_NAME_LABEL], [])
        return [pod for pod in pods if pod.status and (pod.status.phase == "Running") == runs]

    def delete(self, _kind: type[Job], name: str, **_more: object) -> None:
        self.deleted.append(name)
        self.on_delete(name)


def make_api_error(status: HTTPStatus) -> ApiError:
    request = httpx2.Request("GET", "https://k8s.example")
    document = {"message": status.phrase, "code": int(status)}
    return ApiError(request=request, response=httpx2.Response(status, request=request, json=document))


def run_pod(name: str, *, ready: bool = True, **metadata: str) -> Pod:
    """A pod of a coordinator that runs."""
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": str(ready)}]}
    described = {"creationTimestamp": "2026-11-21T04:00:00Z", **metadata, "name": name}
    return cast(Pod, Pod.from_dict({"metadata": described, "status": status}))


def fail_pod(job: str, name: str) -> Pod:
    container = {"name": "harness", "image": "a", "imageID": "a", "ready": False, "restartCount": 0}
    ended = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
    status = {"phase": "Failed", "containerStatuses": [{**container, "state": ended}]}
    described = {"metadata": {"name": name, "labels": {JOB_NAME_LABEL: job}}, "status": status}
    return cast(Pod, Pod.from_dict(described))


@pytest.fixture
def store(tmp_path: Path) -> TierStore:
    (tmp_path / "store").mkdir()
    return TierStore(RUN, open_store(f"file://{tmp_path}/store"), lambda _: False)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A source tree with two shared suites and two exclusive ones."""
    for name, group in {
        "unit/test_a": "",
        "hostile/test_b": "",
        "lab/test_c": "quiet",
        "roles/test_d": "guests",
    }.items():
        path = tmp_path / "home" / "source" / "tests" / f"{name}.py"
        path.parent.mkdir(parents=True)
        path.write_text(f'import pytest\npytestmark = pytest.mark.xdist_group("{group}")\n' if group else "")
    return tmp_path / "home"


def make_own_job(**annotations: str) -> Job:
    """The coordinator's Job, as the API server returns it."""
    described = make_tests_coordinator(RUN, ["cluster", "coordinate-tests", RUN], OPTIONS).to_dict()
    metadata = {**described["metadata"], "uid": "0f3a", "annotations": annotations}
    return cast(Job, Job.from_dict({**described, "metadata": metadata}))


def lead(  # type: ignore[no-untyped-def]
    api: ApiDouble,
    store: TierStore,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    *tiers: str,
    parallel: int = 2,
    include_destructive: bool = False,
):
    monkeypatch.setattr(tier_coordinator.time, "sleep", lambda _seconds: None)
    connection = Connection(
        client=cast(lightkube.Client, api), config=cast(Any, None), context="a", namespace="ptp", server="https://a"
    )
    api.jobs.setdefault(f"ptp-{RUN}", make_own_job())
    said: list[str] = []
    request = TierRequest(tiers=tiers, parallel=parallel, include_destructive=include_destructive)
    assert TierCoordinator(request, connection, OPTIONS, store, said.append, pod="own", home=home).lead()
    document = json.loads(store.read_report(DOCUMENT) or "")
    suites = {
        each["name"]: SimpleNamespace(**{**each, "retries": tuple(each["retries"])}) for each in document["suites"]
    }
    return suites, document["cancelled"], said


def suite_of(job: str) -> str:
    return job.removeprefix(f"ptp-{RUN}-").removesuffix("-0")


def test_shared_suites_then_each_exclusive_one_the_longest_first(
    store: TierStore, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add_durations({"hostile": 10.0, "unit": 500.0})

    def carry_out(job: str) -> str:
        store.begin_attempt(suite_of(job), "pod")
        store.write_result(suite_of(job), BAD if "unit" in job else GOOD)
        return "Complete"

    api = ApiDouble(carry_out)
    outcomes, cancelled, _ = lead(api, store, home, monkeypatch)
    assert [suite_of(job) for job in api.made] == ["unit", "hostile", "roles-guests", "lab-quiet"]
    assert cancelled is False
    assert {name: each.outcome for name, each in outcomes.items()} == {
        "unit": Outcome.FAIL,
        "hostile": Outcome.PASS,
        "roles-guests": Outcome.PASS,
        "lab-quiet": Outcome.PASS,
    }
    assert store.read_expected_s() == {"unit": 251.5, "hostile": 6.0, "roles-guests": 2.0, "lab-quiet": 2.0}
    assert "1 failed" in str(store.read_report("summary.txt"))


def test_a_coordinator_goes_on_with_what_is_in_the_store(
    store: TierStore, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one was killed when one suite had its result, and the Job of another one had ended meanwhile."""

    class Killed(BaseException):
        pass

    def until_killed(job: str) -> str:
        store.write_result(suite_of(job), GOOD)
        if "unit" in job:
            raise Killed
        return "Complete"

    api = ApiDouble(until_killed)
    with pytest.raises(Killed):
        lead(api, store, home, monkeypatch)
    begun = [*api.made]
    api.carry_out = lambda job: "Complete" if store.write_result(suite_of(job), GOOD) or True else ""
    outcomes, _, said = lead(api, store, home, monkeypatch, "nonsense")
    assert said[0] == f"run {RUN} goes on: 4 suites", "the plan stays, whatever this one was asked for"
    assert {each.outcome for each in outcomes.values()} == {Outcome.PASS}
    assert len(api.made) == len({*api.made}) == 4, "no suite has two Jobs"
    assert api.made[: len(begun)] == begun


def test_pods_that_are_gone_are_told_and_a_suite_without_a_result_is_no_pass(
    store: TierStore, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def carry_out(job: str) -> str:
        store.begin_attempt(suite_of(job), "killed")
        if "unit" in job:
            store.begin_attempt("unit", "evicted")
            store.begin_attempt("unit", "whole")
            store.write_result("unit", GOOD)
        return "Failed" if "lab" in job else "Complete"

    jobs = {name: f"ptp-{RUN}-{name}-0" for name in ("unit", "lab-quiet")}
    api = ApiDouble(carry_out, pods={job: [fail_pod(job, f"{name}-pod")] for name, job in jobs.items()})
    outcomes, _, _ = lead(api, store, home, monkeypatch)
    failed = "pod unit-pod ended with status 137: OOMKilled"
    assert outcomes["unit"].outcome == Outcome.PASS
    assert outcomes["unit"].retries == (failed, "a pod that had begun is gone: evicted, or deleted")
    assert outcomes["hostile"].why == "its pod ended well, and left no result"
    assert "BackoffLimitExceeded: pod lab-quiet-pod ended with status 137" in outcomes["lab-quiet"].why
    assert {outcomes[name].outcome for name in ("hostile", "lab-quiet")} == {Outcome.INCONCLUSIVE}
    written = str(store.read_report(JUNIT))
    assert written.count("<flakyError") == 2
    assert "unit" not in store.read_expected_s(), "a time with lost pods is none to expect"


def test_a_suite_whose_node_is_lost_is_begun_anew(
    store: TierStore, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pod of the first Job runs by the word of a node that no longer answers; a minute passes with each look."""
    job = f"ptp-{RUN}-unit-0"
    minutes = itertools.count(step=60.0)
    monkeypatch.setattr(tier_coordinator.time, "monotonic", lambda: next(minutes))

    def carry_out(name: str) -> str:
        if name in api.pods:
            return ""
        store.begin_attempt("unit", "whole")
        store.write_result("unit", GOOD)
        return "Complete"

    def delete(name: str) -> None:
        del api.pods[name], api.jobs[name]

    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]}
    api = ApiDouble(carry_out, pods={job: [cast(Pod, Pod.from_dict({"metadata": {"name": "cut"}, "status": status}))]})
    api.on_delete = delete
    store.begin_attempt("unit", "cut")
    outcomes, _, said = lead(api, store, home, monkeypatch, "unit")
    assert api.made == [job, job]
    assert "suite unit: the node of its pod is lost, and it is begun anew" in said
    assert outcomes["unit"].outcome == Outcome.PASS
    assert outcomes["unit"].retries == ("a pod that had begun is gone: evicted, or deleted",)


def test_a_cancelled_run_ends_its_jobs(store: TierStore, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api = ApiDouble(lambda _job: "")
    api.jobs[f"ptp-{RUN}"] = make_own_job(**{CANCELLED_ANNOTATION: "true"})
    outcomes, cancelled, _ = lead(api, store, home, monkeypatch)
    assert cancelled is True
    assert {each.why for each in outcomes.values()} == {"the run was cancelled"}
    assert api.deleted == api.made
    assert len(api.made) == 2


def test_progress_is_told_from_the_store_alone(store: TierStore, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api = ApiDouble(lambda job: "Complete" if store.write_result(suite_of(job), GOOD) else "")
    lead(api, store, home, monkeypatch, "unit")
    plan = store.read_plan()
    assert plan is not None
    assert [(each.name, each.outcome) for each in describe_progress(store, plan)] == [("unit", Outcome.PASS)]


def test_the_pods_of_tests_are_as_restricted_as_those_of_campaigns() -> None:
    """The pod of a suite gets no token of the API server, that of the coordinator gets no more than any other."""
    own = make_own_job()
    of_hosts = make_suite_job(RUN, "shared", 0, OPTIONS, pods=1, hosts_per_pod=1, owner=own).to_dict()
    argv = ["cluster", "test-pod", RUN, "unit"]
    of_tests = make_suite_job(RUN, "shared", 0, OPTIONS, pods=1, hosts_per_pod=1, owner=own, argv=argv).to_dict()
    (container,) = of_tests["spec"]["template"]["spec"]["containers"]
    assert container["args"] == argv
    container["args"] = of_hosts["spec"]["template"]["spec"]["containers"][0]["args"]
    assert of_tests == of_hosts
    campaign = read_campaign({"bench": "lab", "instance_types": ["lab.phc"]})
    usual = make_coordinator(RUN, campaign, OPTIONS, hosts_per_pod=None).to_dict()["spec"]["template"]["spec"]
    pod = own.to_dict()["spec"]["template"]["spec"]
    assert pod["securityContext"] == usual["securityContext"]
    assert pod["serviceAccountName"] == usual["serviceAccountName"]
    assert pod["containers"][0]["securityContext"] == usual["containers"][0]["securityContext"]


@pytest.mark.parametrize(
    ("others", "leads"),
    [
        ([], True),
        ([run_pod("newer", creationTimestamp="2026-11-21T04:00:09Z")], True),
        ([run_pod("a-name-before-it")], False),
        ([run_pod("older", creationTimestamp="2026-11-21T03:59:59Z")], False),
        ([run_pod("older-evicted", deletionTimestamp="2026-11-21T04:01:00Z")], True),
        ([run_pod("older-cut-off", creationTimestamp="2026-11-21T03:00:00Z", ready=False)], True),
        ([fail_pod("ptp-k3f9mq", "older-failed")], True),
    ],
)
def test_the_oldest_pod_that_lives_leads(
    store: TierStore, home: Path, monkeypatch: pytest.MonkeyPatch, others: list[Pod], leads: bool
) -> None:
    """The other one waits, and ends when the reports are there."""
    led: list[str] = []

    def carry_out(job: str) -> str:
        led.append(job)
        store.write_result(suite_of(job), GOOD)
        return "Complete"

    def write_reports(_seconds: float) -> None:
        store.write_reports({DOCUMENT: "{}"})

    monkeypatch.setattr(tier_coordinator.time, "sleep", write_reports)
    api = ApiDouble(carry_out, coordinators=[*others, run_pod("own")])
    api.jobs[f"ptp-{RUN}"] = make_own_job()
    connection = Connection(
        client=cast(lightkube.Client, api), config=cast(Any, None), context="a", namespace="ptp", server="https://a"
    )
    request = TierRequest(tiers=("unit",), parallel=1)
    coordinator = TierCoordinator(request, connection, OPTIONS, store, lambda _: None, pod="own", home=home)
    assert coordinator.lead() is leads
    assert bool(led) is leads


@dataclass
class OwnNamespaces:
    """The namespaces of runs: `api` is what is in one; `steps` says what became of them."""

    api: ApiDouble
    steps: list[str] = field(default_factory=list)

    @contextmanager
    def make(self, connection: Connection, run: str, _secrets: object) -> Iterator[Connection]:
        self.steps.append(f"made for {run}")
        try:
            yield replace(connection, client=cast(lightkube.Client, self.api), namespace=f"ptp-{run}-destructive")
        finally:
            self.remove(connection, run)

    def remove(self, _connection: Connection, run: str) -> None:
        self.steps.append(f"removed for {run}")


@pytest.fixture
def namespaces(home: Path, monkeypatch: pytest.MonkeyPatch) -> OwnNamespaces:
    """A source tree with two suites that do harm, beside the others."""
    for name in ("unit", "roles"):
        path = home / "source" / "tests" / name / "test_harm.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text("import pytest\npytestmark = pytest.mark.destructive\n")
    made = OwnNamespaces(ApiDouble(lambda _job: ""))
    monkeypatch.setattr(tier_coordinator, "own_namespace", made.make)
    monkeypatch.setattr(tier_coordinator, "remove_namespace", made.remove)
    monkeypatch.setattr(tier_coordinator, "require_own_namespaces", lambda _connection: made.steps.append("may"))
    return made


def test_suites_that_do_harm_run_last_one_at_a_time_in_a_namespace_that_is_removed(
    store: TierStore, home: Path, monkeypatch: pytest.MonkeyPatch, namespaces: OwnNamespaces
) -> None:
    order: list[str] = []

    def carry_out(job: str) -> str:
        order.append(suite_of(job))
        store.write_result(suite_of(job), GOOD)
        return "Complete"

    api, namespaces.api.carry_out = ApiDouble(carry_out), carry_out
    outcomes, _, _ = lead(api, store, home, monkeypatch, include_destructive=True)
    assert {name.endswith("-destructive") for name in order[:4]} == {False}
    assert [suite_of(job) for job in namespaces.api.made] == ["roles-destructive", "unit-destructive"]
    assert not any("destructive" in job for job in api.made)
    assert {each.outcome for each in outcomes.values()} == {Outcome.PASS}
    assert len(outcomes) == 6
    assert namespaces.steps == ["may", f"made for {RUN}", f"removed for {RUN}", f"removed for {RUN}"]
    owners = [job.metadata and job.metadata.ownerReferences for job in namespaces.api.jobs.values()]
    assert owners == [None, None], "no Job of another namespace owns them"


def test_a_namespace_of_a_coordinator_that_died_after_its_last_suite_is_removed(
    store: TierStore, home: Path, monkeypatch: pytest.MonkeyPatch, namespaces: OwnNamespaces
) -> None:
    for name in ("unit", "hostile", "roles-guests", "lab-quiet", "unit-destructive", "roles-destructive"):
        store.write_result(name, GOOD)
    lead(ApiDouble(lambda _job: ""), store, home, monkeypatch, include_destructive=True)
    assert namespaces.steps == ["may", f"removed for {RUN}"]


def test_without_suites_that_do_harm_no_namespace_is_made(
    store: TierStore, home: Path, monkeypatch: pytest.MonkeyPatch, namespaces: OwnNamespaces
) -> None:
    api = ApiDouble(lambda job: "Complete" if store.write_result(suite_of(job), GOOD) else "")
    lead(api, store, home, monkeypatch, "hostile", include_destructive=True)
    assert namespaces.steps == []
