"""The Jobs of a run are as Pod Security demands, small, without secrets, and bring the campaign whole."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from lightkube.resources.batch_v1 import Job

from harness.campaign import campaign
from harness.campaign.campaign import Campaign
from harness.cluster.campaign_text import decode_campaign, encode_campaign
from harness.cluster.jobs import (
    CAMPAIGN_ANNOTATION,
    COORDINATOR_ACCOUNT,
    OURS,
    POD_ACCOUNT,
    PodOptions,
    find_queue,
    make_coordinator,
    make_disruption_budget,
    make_schedule,
    make_suite_job,
    make_tests_coordinator,
    read_options,
    write_options,
)
from harness.cluster.probe_jobs import ProbeKind, make_probe_job
from harness.errors import RequestError

BASE = Path(__file__).parents[3] / "deploy" / "cluster" / "base"
OPTIONS = PodOptions(image="registry.example/ptp-harness:0.1.0", environ={"AWS_REGION": "eu-north-1"})
CAMPAIGN = campaign.from_mapping({"bench": "lab", "instance_types": ["lab.phc", "lab.drifting"]})


def make_campaign(types: list[str]) -> Campaign:
    """A campaign as its conditions may select it: more types than a file may name."""
    named = campaign.from_mapping({"bench": "ec2", "region": "eu-north-1", "instance_types": types[:1]})
    return replace(named, instance_types=tuple(types))


def documents(name: str) -> list[dict[str, Any]]:
    return [*yaml.safe_load_all((BASE / name).read_text())]


def submitted(job: Job) -> Job:
    """A Job as the API server returns it."""
    described = job.to_dict()
    return cast(Job, Job.from_dict({**described, "metadata": {**described["metadata"], "uid": "0f3a"}}))


def all_jobs() -> dict[str, dict[str, Any]]:
    coordinator = make_coordinator("k3f9mq", CAMPAIGN, OPTIONS, hosts_per_pod=3)
    suite = make_suite_job("k3f9mq", "shared", 0, OPTIONS, pods=4, hosts_per_pod=3, owner=submitted(coordinator))
    probes = {f"probe-{kind}": make_probe_job(kind, f"ptp-smoke-a-{kind}", OPTIONS) for kind in ProbeKind}
    jobs = {"coordinator": coordinator, "suite": suite, **probes}
    return {name: dict(job.to_dict()) for name, job in jobs.items()} | {
        "submission": scheduled()["spec"]["jobTemplate"]
    }


def scheduled(options: PodOptions = OPTIONS) -> dict[str, Any]:
    made = make_schedule("nightly", "0 3 * * 1", "Europe/Berlin", CAMPAIGN, options, hosts_per_pod=3)
    return dict(made.to_dict())


def pod_of(job: dict[str, Any]) -> dict[str, Any]:
    pod: dict[str, Any] = job["spec"]["template"]["spec"]
    return pod


def test_a_campaign_comes_back_whole() -> None:
    assert decode_campaign(encode_campaign(CAMPAIGN)) == CAMPAIGN
    job = make_coordinator("k3f9mq", CAMPAIGN, OPTIONS, hosts_per_pod=None).to_dict()
    assert decode_campaign(job["spec"]["template"]["metadata"]["annotations"][CAMPAIGN_ANNOTATION]) == CAMPAIGN


def test_a_campaign_of_10_000_hosts_fits() -> None:
    types = [f"m{number % 9}i.{size}xlarge" for number in range(1000) for size in range(2, 12)]
    job = make_coordinator("k3f9mq", make_campaign(types), OPTIONS, hosts_per_pod=8)
    suite = make_suite_job("k3f9mq", "shared", 0, OPTIONS, pods=1250, hosts_per_pod=8, owner=submitted(job))
    assert len(json.dumps(job.to_dict())) + len(json.dumps(suite.to_dict())) <= 64 * 1024


def test_a_campaign_that_is_too_long_is_refused() -> None:
    types = [f"x{number * 7919 % 100_003:05d}-{number * 104_729 % 99_991:05d}.large" for number in range(30_000)]
    with pytest.raises(RequestError, match=r"the campaign takes \d+ bytes, compressed, and an object"):
        encode_campaign(make_campaign(types))


@pytest.mark.parametrize("text", ["", "no base64!", "aGVsbG8=", "H4sIAAAAAAAA/wMAAAAAAAAAAAA="])
def test_what_is_no_campaign_is_an_error(text: str) -> None:
    with pytest.raises((ValueError, OSError, EOFError)):
        decode_campaign(text)


@pytest.mark.parametrize("name", all_jobs())
def test_each_pod_is_as_pod_security_demands_at_its_strictest(name: str) -> None:
    pod = pod_of(all_jobs()[name])
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {next(iter(set(volume) - {"name"})) for volume in pod["volumes"]} <= {"emptyDir", "secret", "downwardAPI"}
    assert {"requests", "limits"} == set(container["resources"])


def test_no_secret_is_in_an_object() -> None:
    for job in all_jobs().values():
        environ = {each["name"]: each for each in pod_of(job)["containers"][0]["env"]}
        assert environ["PTP_HARNESS_LEDGER_URL_FILE"]["value"] == "/run/secrets/ptp-harness/ledger-url"
        assert "value" not in environ["PTP_HARNESS_EVIDENCE_URL"]
        assert "postgresql" not in json.dumps(job)


def test_only_what_makes_jobs_can_ask_the_api_server() -> None:
    accounts = {name: pod_of(job) for name, job in all_jobs().items()}
    for name in ("coordinator", "submission", "probe-coordinator"):
        assert accounts[name]["serviceAccountName"] == COORDINATOR_ACCOUNT
        assert accounts[name]["automountServiceAccountToken"] is True
    for name in ("suite", "probe-suite", "probe-clock"):
        assert accounts[name]["serviceAccountName"] == POD_ACCOUNT
        assert accounts[name]["automountServiceAccountToken"] is False
    assert {each["metadata"]["name"] for each in documents("accounts.yaml")} == {COORDINATOR_ACCOUNT, POD_ACCOUNT}


def test_the_pods_of_a_suite_carry_the_name_of_the_run_alone() -> None:
    job = all_jobs()["suite"]
    assert pod_of(job)["containers"][0]["args"] == ["cluster", "pod", "k3f9mq", "shared", "--parallel", "3"]
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == 4
    assert [reference["name"] for reference in job["metadata"]["ownerReferences"]] == ["ptp-k3f9mq"]


def test_exit_codes_decide_what_becomes_of_a_pod() -> None:
    rules = all_jobs()["suite"]["spec"]["podFailurePolicy"]["rules"]
    assert rules[0] == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    actions = {rule["onExitCodes"]["values"][0]: rule["action"] for rule in rules[1:]}
    assert actions == {2: "FailJob", 70: "FailIndex", 75: "Count"}


def test_the_options_come_to_the_coordinator() -> None:
    argv = pod_of(all_jobs()["coordinator"])["containers"][0]["args"]
    assert argv[:3] == ["cluster", "coordinate", "k3f9mq"]
    assert read_options(argv[argv.index("--options") + 1]) == OPTIONS
    assert argv[-2:] == ["--hosts-per-pod", "3"]


def test_a_schedule_submits_one_run_at_a_time_with_the_campaign_and_the_options() -> None:
    spec = scheduled()["spec"]
    assert (spec["schedule"], spec["timeZone"], spec["concurrencyPolicy"]) == ("0 3 * * 1", "Europe/Berlin", "Forbid")
    template = spec["jobTemplate"]["spec"]["template"]
    assert decode_campaign(template["metadata"]["annotations"][CAMPAIGN_ANNOTATION]) == CAMPAIGN
    (container,) = template["spec"]["containers"]
    argv = container["args"]
    assert argv[:4] == ["cluster", "submit", "nightly", "--job"]
    assert read_options(argv[argv.index("--options") + 1]) == OPTIONS
    (job,) = [each for each in container["env"] if f"$({each['name']})" == argv[4]]
    assert job["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.labels['batch.kubernetes.io/controller-uid']"


def test_the_jobs_of_a_queue_wait_for_it() -> None:
    queued = replace(OPTIONS, queue="team-a", coordinator_queue="leaders", priority_class="low")
    coordinator = make_coordinator("k3f9mq", CAMPAIGN, queued, hosts_per_pod=3)
    suite = make_suite_job("k3f9mq", "shared", 0, queued, pods=4, hosts_per_pod=3, owner=submitted(coordinator))
    jobs = {"leaders": [coordinator.to_dict(), scheduled(queued)["spec"]["jobTemplate"]], "team-a": [suite.to_dict()]}
    for queue, described in jobs.items():
        for job in described:
            assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == queue
            assert job["spec"]["suspend"] is True
            assert pod_of(job)["priorityClassName"] == "low"
    assert [find_queue(job) for job in (coordinator, suite)] == ["leaders", "team-a"]
    for job in all_jobs().values():
        assert "kueue.x-k8s.io/queue-name" not in job["metadata"]["labels"]
        assert "suspend" not in job["spec"]


def test_kueue_takes_the_jobs_of_suites_for_jobs_of_their_own() -> None:
    """A Job that another one controls is a part of that one to Kueue, and would wait for ever."""
    for reference in all_jobs()["suite"]["metadata"]["ownerReferences"]:
        assert not reference.get("controller")


def test_a_drain_leaves_one_coordinator() -> None:
    coordinator = submitted(make_coordinator("k3f9mq", CAMPAIGN, OPTIONS, hosts_per_pod=3))
    budget = make_disruption_budget("k3f9mq", coordinator).to_dict()
    selected = budget["spec"]["selector"]["matchLabels"]
    described = all_jobs()
    assert selected.items() <= described["coordinator"]["spec"]["template"]["metadata"]["labels"].items()
    for name in ("suite", "probe-suite", "probe-coordinator", "submission"):
        assert not selected.items() <= described[name]["spec"]["template"]["metadata"]["labels"].items()
    assert [each["uid"] for each in budget["metadata"]["ownerReferences"]] == ["0f3a"]
    assert (budget["spec"]["minAvailable"], described["coordinator"]["spec"]["parallelism"]) == (1, 2)


def test_every_object_is_marked_as_ours() -> None:
    for job in all_jobs().values():
        assert set(OURS.items()) <= set(job["metadata"]["labels"].items())
        assert set(OURS.items()) <= set(job["spec"]["template"]["metadata"]["labels"].items())
    (policy,) = documents("network.yaml")
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= OURS.items()


def test_the_two_coordinators_are_on_two_nodes_where_there_are_two() -> None:
    """A node that is lost takes one of them, and the other one goes on."""
    tests = make_tests_coordinator("k3f9mq", ["cluster", "coordinate-tests"], OPTIONS).to_dict()
    for job in (make_coordinator("k3f9mq", CAMPAIGN, OPTIONS, hosts_per_pod=3).to_dict(), tests):
        template = job["spec"]["template"]
        (spread,) = template["spec"]["topologySpreadConstraints"]
        assert (spread["topologyKey"], spread["maxSkew"]) == ("kubernetes.io/hostname", 1)
        assert spread["whenUnsatisfiable"] == "ScheduleAnyway", "one node alone has both"
        assert spread["labelSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()


def test_an_image_of_another_version_refuses_what_was_submitted(monkeypatch: pytest.MonkeyPatch) -> None:
    (_, text) = write_options(OPTIONS)
    assert read_options(text) == OPTIONS
    monkeypatch.setattr("harness.cluster.jobs.__version__", "9.9.9")
    with pytest.raises(RequestError, match=r"the image has version 9\.9\.9, and version '.*' submitted this"):
        read_options(text)
    with pytest.raises(RequestError, match="the image has version"):
        read_options(json.dumps({"version": 5, "nobody": "knows this"}))


def test_a_coordinator_alone_gets_the_variables_as_files_and_only_for_another_namespace() -> None:
    harmful = replace(OPTIONS, include_destructive=True)
    for options, expected in ((OPTIONS, False), (harmful, True)):
        coordinator = pod_of(make_tests_coordinator("k3f9mq", ["cluster"], options).to_dict())
        names = [volume["name"] for volume in coordinator["volumes"]]
        assert ("environment" in names) is expected
    suite = make_suite_job("k3f9mq", "unit", 0, harmful, pods=1, hosts_per_pod=1, owner=None).to_dict()
    assert "environment" not in [volume["name"] for volume in pod_of(suite)["volumes"]]
    assert "ownerReferences" not in suite["metadata"], "no owner is in another namespace"


def test_a_suite_in_a_namespace_of_its_own_waits_in_no_queue() -> None:
    """A queue is one of a namespace: there is none of its name in another one."""
    queued = replace(OPTIONS, queue="team-a", include_destructive=True)
    suite = make_suite_job("k3f9mq", "unit", 0, queued, pods=1, hosts_per_pod=1, owner=None)
    assert find_queue(suite) is None
