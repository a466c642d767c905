"""Make the Jobs of a run: one of two coordinators, and one for the pods of each suite.

The campaign travels in an annotation of the coordinator's pods, so that one request submits a run whole; a pod of a
suite gets the run's name alone, and finds the rest in the ledger.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, cast

from lightkube.resources.batch_v1 import CronJob, Job
from lightkube.resources.core_v1 import Namespace, Pod
from lightkube.resources.policy_v1 import PodDisruptionBudget

from harness import __version__
from harness.campaign.campaign import Campaign
from harness.cluster.campaign_text import encode_campaign
from harness.cluster.line_count import COUNT_LINES
from harness.cluster.pod_benches import add_lab
from harness.errors import ExitCode, RequestError
from harness.untrusted.input_checks import shorten_value

PREFIX = "ptp-harness.dev"
RUN_LABEL, PART_LABEL, SUITE_LABEL = f"{PREFIX}/run", f"{PREFIX}/part", f"{PREFIX}/suite"
SCHEDULE_LABEL = f"{PREFIX}/schedule"
JOB_NAME_LABEL, JOB_UID_LABEL = "batch.kubernetes.io/job-name", "batch.kubernetes.io/controller-uid"
"""The labels by which Kubernetes itself marks the pods of a Job."""

QUEUE_API = "kueue.x-k8s.io"
QUEUE_LABEL = f"{QUEUE_API}/queue-name"
"""The label by which Kueue knows the queue of a Job."""

OURS = {"app.kubernetes.io/name": "ptp-harness", "app.kubernetes.io/managed-by": "ptp-harness"}
"""The labels of every object that this program makes."""

COORDINATOR, SUITE, PROBE, SCHEDULE = "coordinator", "suite", "probe", "schedule"
CAMPAIGN_ANNOTATION, CANCELLED_ANNOTATION = f"{PREFIX}/campaign", f"{PREFIX}/cancelled"
CAMPAIGN_FILE = "/run/ptp-harness/campaign"
COORDINATOR_ACCOUNT, POD_ACCOUNT = "ptp-harness-coordinator", "ptp-harness-pod"
SECRET = "ptp-harness"  # the name of the object
SECRET_FOLDER = "/run/secrets/ptp-harness"  # where it is mounted
ENVIRONMENT_SECRET = f"{SECRET}-environment"  # whose keys are variables of all pods
ENVIRONMENT_FOLDER = f"{SECRET_FOLDER}-environment"
LEDGER_KEY, EVIDENCE_KEY, SIGNING_KEY = "ledger-url", "evidence-url", "signing-key"
STATE_FOLDER = "/var/lib/ptp-harness"
USER = 10001

COORDINATOR_LEASE_S, POD_LEASE_S = 4, 15
COORDINATOR_TRIES, POD_TRIES = 6, 3
KEPT_AFTER_END_S = 7 * 86400
COORDINATOR_RESOURCES = {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}}
_SUBMITTED_WITHIN_S = 600
_SUBMISSION_TRIES, _SUBMISSIONS_LISTED = 3, 3
_BEGINS_WITHIN_S = 3600
"""A time of a schedule that was missed, such as while no control plane ran, is made up for so long afterwards. Without
this limit, Kubernetes gives up a schedule that has missed a hundred times."""

_GRACE_S = 120
"""A pod that is to end removes the hosts that it works on."""

TRY_AGAIN = 75
"""The exit code of a pod for a fault of its surroundings (EX_TEMPFAIL of sysexits.h): its Job tries again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodOptions:
    """Options that all pods of a run have in common. `image` is never pulled by a newer name: its tag is the version.

    `environ`: further variables, such as AWS_REGION. `longest_s`: after which a Job is ended. `queue`: of Kueue, for
    the Jobs of suites; `coordinator_queue`: for the others. Coordinators wait for suites: in one queue, those of
    several runs could take all of its quota, and wait for ever. `lab_cache`: the claim
    of the volume with the lab's parts, for pods that have lab guests. `include_destructive`: suites that do harm run,
    in a namespace of the run's own.
    """

    image: str
    pull: str = "IfNotPresent"
    requests: Mapping[str, str] = field(default_factory=lambda: {"cpu": "250m", "memory": "384Mi"})
    limits: Mapping[str, str] = field(default_factory=lambda: {"memory": "2Gi"})
    environ: Mapping[str, str] = field(default_factory=dict)
    longest_s: int = 24 * 3600
    queue: str | None = None
    coordinator_queue: str | None = None
    priority_class: str | None = None
    lab_cache: str | None = None
    include_destructive: bool = False


def name_coordinator(run: str) -> str:
    """Name the coordinator's Job of a run."""
    return f"ptp-{run}"


def make_coordinator(
    run: str, campaign: Campaign, options: PodOptions, *, hosts_per_pod: int | None, schedule: str | None = None
) -> Job:
    """Make the Job of the two pods that can lead a run: one waits, and goes on at once when the other is gone.

    A pod that dies is replaced, until one of them has ended the run. `schedule`: that submits it, if one does.
    """
    annotations = {CAMPAIGN_ANNOTATION: encode_campaign(campaign)}
    labels = _label(run, COORDINATOR) | ({} if schedule is None else {SCHEDULE_LABEL: schedule})
    argv = ["cluster", "coordinate", run, *_write_options(options, hosts_per_pod)]
    pod = make_pod(options, argv, lease_s=COORDINATOR_LEASE_S, account=COORDINATOR_ACCOUNT, reaches_api=True)
    _bring_campaign(pod)
    return _make_coordinator_job(run, {"labels": labels, "annotations": annotations}, pod, options)


def make_disruption_budget(run: str, owner: Job) -> PodDisruptionBudget:
    """Make what keeps one of a run's two coordinators while nodes are drained. It goes when their Job goes.

    Pods of suites have none: an eviction costs them a host's work so far, a drain that waits for them costs hours.
    """
    labels = _label(run, COORDINATOR)
    spec = {
        "minAvailable": 1,
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": {"matchLabels": {RUN_LABEL: run, PART_LABEL: COORDINATOR}},
    }
    metadata = {"name": name_coordinator(run), "labels": labels, "ownerReferences": [_refer_to(owner)]}
    return cast(PodDisruptionBudget, PodDisruptionBudget.from_dict({"metadata": metadata, "spec": spec}))


def name_schedule(schedule: str) -> str:
    """Name the CronJob of a schedule."""
    return f"ptp-schedule-{schedule}"


def make_schedule(
    schedule: str, cron: str, zone: str, campaign: Campaign, options: PodOptions, *, hosts_per_pod: int | None
) -> CronJob:
    """Make a CronJob whose Jobs submit one run each. Its pods carry the campaign, as those of a coordinator do.

    A Job of it ends once the run is submitted, so that neither the limits of its history nor its removal end a run.
    """
    labels = OURS | {PART_LABEL: SCHEDULE, SCHEDULE_LABEL: schedule}
    argv = ["cluster", "submit", schedule, "--job", "$(JOB_UID)", *_write_options(options, hosts_per_pod)]
    pod = make_pod(options, argv, lease_s=COORDINATOR_LEASE_S, account=COORDINATOR_ACCOUNT, reaches_api=True)
    own_job = {"fieldRef": {"fieldPath": f"metadata.labels['{JOB_UID_LABEL}']"}}
    pod["containers"][0]["env"].append({"name": "JOB_UID", "valueFrom": own_job})
    _bring_campaign(pod)
    annotations = {CAMPAIGN_ANNOTATION: encode_campaign(campaign)}
    job = {
        "backoffLimit": _SUBMISSION_TRIES,
        "activeDeadlineSeconds": _SUBMITTED_WITHIN_S,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {"rules": [_ignore_disruptions(), _fail_on(ExitCode.BAD_REQUEST, "FailJob")]},
        "template": {"metadata": {"labels": labels, "annotations": annotations}, "spec": pod},
    }
    spec = {
        "schedule": cron,
        "timeZone": zone,
        "concurrencyPolicy": "Forbid",
        "startingDeadlineSeconds": _BEGINS_WITHIN_S,
        "successfulJobsHistoryLimit": _SUBMISSIONS_LISTED,
        "failedJobsHistoryLimit": _SUBMISSIONS_LISTED,
        "jobTemplate": _queue(labels, job, options.coordinator_queue),
    }
    described = {"metadata": {"name": name_schedule(schedule), "labels": labels}, "spec": spec}
    return cast(CronJob, CronJob.from_dict({"apiVersion": "batch/v1", "kind": "CronJob", **described}))


def make_suite_job(
    run: str,
    suite: str,
    number: int,
    options: PodOptions,
    *,
    pods: int,
    hosts_per_pod: int,
    owner: Job | None,
    argv: Sequence[str] | None = None,
) -> Job:
    """Make the Job whose pods claim the hosts of a suite. It goes when the coordinator's Job goes.

    `number`: how many Jobs this suite has had before it. `argv`: what its pods do instead, such as a suite of tests.
    `owner`: the coordinator's Job; None in a namespace of the run's own, with which it goes, and which has no queue.
    """
    labels = _label(run, SUITE) | {SUITE_LABEL: suite}
    argv = argv or ["cluster", "pod", run, suite, "--parallel", str(hosts_per_pod)]
    pod = make_pod(options, argv, lease_s=POD_LEASE_S, account=POD_ACCOUNT, reaches_api=False)
    if options.lab_cache is not None:
        add_lab(pod, options.lab_cache, guests=hosts_per_pod)
    rules = [
        _ignore_disruptions(),
        _fail_on(ExitCode.BAD_REQUEST, "FailJob"),
        _fail_on(ExitCode.OUR_FAULT, "FailIndex"),
        _fail_on(TRY_AGAIN, "Count"),
    ]
    spec = {
        "completionMode": "Indexed",
        "completions": pods,
        "parallelism": pods,
        "backoffLimitPerIndex": POD_TRIES,
        "maxFailedIndexes": pods,
        "activeDeadlineSeconds": options.longest_s,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {"rules": rules},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    name = f"{name_coordinator(run)}-{suite}-{number}"
    return make_job(name, labels, spec, queue=None if owner is None else options.queue, owner=owner)


def make_tests_coordinator(run: str, argv: Sequence[str], options: PodOptions) -> Job:
    """Make the Job of the two pods that can lead a run of tests, by this command line, as `make_coordinator` does."""
    labels = _label(run, COORDINATOR)
    pod = make_pod(options, argv, lease_s=COORDINATOR_LEASE_S, account=COORDINATOR_ACCOUNT, reaches_api=True)
    return _make_coordinator_job(run, {"labels": labels}, pod, options)


def find_end(job: Job) -> str | None:
    """Find how a Job ended: "" for success, else the reason that Kubernetes gives; None while it goes on."""
    for condition in (job.status and job.status.conditions) or ():
        if condition.status == "True" and condition.type == "Complete":
            return ""
        if condition.status == "True" and condition.type == "Failed":
            return condition.reason or "Failed"
    return None


def find_queue(job: Job) -> str | None:
    """Find the queue that a Job waits in; None where it does not wait, "" where somebody else suspended it."""
    suspended = job.spec is not None and job.spec.suspend
    return ((job.metadata and job.metadata.labels) or {}).get(QUEUE_LABEL, "") if suspended else None


def is_cancelled(job: Job) -> bool:
    """Whether a coordinator's Job was marked as cancelled."""
    return CANCELLED_ANNOTATION in ((job.metadata and job.metadata.annotations) or {})


def name_of(item: Job | Pod | CronJob | Namespace) -> str:
    """Return the name of an object."""
    return str(item.metadata and item.metadata.name)


def write_options(options: PodOptions) -> list[str]:
    """Write what all pods have in common, and the version that submits them, for the command line of a coordinator."""
    return ["--options", json.dumps({"version": __version__, **asdict(options)}, separators=(",", ":"))]


def read_options(text: str) -> PodOptions:
    """Read what `write_options` wrote. Raises RequestError where the image is of another version than the submitter."""
    written = json.loads(text)
    version = written.pop("version", __version__)
    if version != __version__:
        raise RequestError(
            f"the image has version {__version__}, and version {shorten_value(version)} submitted this",
            next_step="the image of the same version: --image, --registry",
        )
    return PodOptions(**written)


def _label(run: str, part: str) -> dict[str, str]:
    return OURS | {RUN_LABEL: run, PART_LABEL: part}


def _make_coordinator_job(run: str, metadata: dict[str, Any], pod: dict[str, Any], options: PodOptions) -> Job:
    """Make the Job of two pods, on two nodes where there are two: a node that is lost takes one of them."""
    selector = {"matchLabels": _label(run, COORDINATOR)}
    place = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
    pod["topologySpreadConstraints"] = [{**place, "labelSelector": selector}]
    pod["containers"][0]["resources"] = {key: dict(value) for key, value in COORDINATOR_RESOURCES.items()}
    if options.include_destructive:
        _bring_environment(pod)
    spec = {
        "parallelism": 2,
        "backoffLimit": COORDINATOR_TRIES,
        "activeDeadlineSeconds": options.longest_s,
        "ttlSecondsAfterFinished": KEPT_AFTER_END_S,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {"rules": [_ignore_disruptions(), _fail_on(ExitCode.BAD_REQUEST, "FailJob")]},
        "template": {"metadata": metadata, "spec": pod},
    }
    return make_job(name_coordinator(run), metadata["labels"], spec, queue=options.coordinator_queue)


def make_job(
    name: str,
    labels: Mapping[str, str],
    spec: Mapping[str, Any],
    *,
    queue: str | None = None,
    owner: Job | None = None,
) -> Job:
    """Make a Job of its specification. It goes when its owner goes, where it has one."""
    described = _queue(labels, spec, queue)
    metadata: dict[str, Any] = {"name": name, **described["metadata"]}
    if owner is not None:
        metadata["ownerReferences"] = [_refer_to(owner)]
    return cast(Job, Job.from_dict({"apiVersion": "batch/v1", "kind": "Job", **described, "metadata": metadata}))


def _refer_to(owner: Job) -> dict[str, Any]:
    """Refer to the Job with which an object goes."""
    uid = owner.metadata and owner.metadata.uid
    return {"apiVersion": "batch/v1", "kind": "Job", "name": name_of(owner), "uid": uid}


def _queue(labels: Mapping[str, str], spec: Mapping[str, Any], queue: str | None) -> dict[str, Any]:
    """Describe a Job without its name; where there is a queue, it waits for Kueue to admit it."""
    if queue is None:
        return {"metadata": {"labels": dict(labels)}, "spec": dict(spec)}
    return {"metadata": {"labels": {**labels, QUEUE_LABEL: queue}}, "spec": {**spec, "suspend": True}}


def _write_options(options: PodOptions, hosts_per_pod: int | None) -> list[str]:
    """Write what a coordinator needs beside the campaign, for its command line."""
    argv = write_options(options)
    return argv if hosts_per_pod is None else [*argv, "--hosts-per-pod", str(hosts_per_pod)]


def _bring_campaign(pod: dict[str, Any]) -> None:
    """Mount the campaign, which is in an annotation of the pod, as the file CAMPAIGN_FILE."""
    folder, _, file = CAMPAIGN_FILE.rpartition("/")
    source = {"fieldRef": {"fieldPath": f"metadata.annotations['{CAMPAIGN_ANNOTATION}']"}}
    pod["volumes"].append({"name": "campaign", "downwardAPI": {"items": [{"path": file, **source}]}})
    pod["containers"][0]["volumeMounts"].append({"name": "campaign", "mountPath": folder, "readOnly": True})


def _bring_environment(pod: dict[str, Any]) -> None:
    """Mount the secret of variables as files, too: a coordinator copies it for the pods of another namespace."""
    source = {"secretName": ENVIRONMENT_SECRET, "optional": True, "defaultMode": 0o440}
    pod["volumes"].append({"name": "environment", "secret": source})
    mount = {"name": "environment", "mountPath": ENVIRONMENT_FOLDER, "readOnly": True}
    pod["containers"][0]["volumeMounts"].append(mount)


def make_pod(
    options: PodOptions, argv: Sequence[str], *, lease_s: int, account: str, reaches_api: bool
) -> dict[str, Any]:
    """Make the description of a pod that Pod Security `restricted` admits."""
    fixed = {
        "PTP_HARNESS_LEDGER_URL_FILE": f"{SECRET_FOLDER}/{LEDGER_KEY}",
        "PTP_HARNESS_LEASE": str(lease_s),
        COUNT_LINES: "true",
        "HOME": STATE_FOLDER,
    }
    environ: list[dict[str, Any]] = [
        {"name": key, "value": value} for key, value in {**options.environ, **fixed}.items()
    ]
    evidence = {"secretKeyRef": {"name": SECRET, "key": EVIDENCE_KEY, "optional": True}}
    environ.append({"name": "PTP_HARNESS_EVIDENCE_URL", "valueFrom": evidence})
    container = {
        "name": "harness",
        "image": options.image,
        "imagePullPolicy": options.pull,
        "args": list(argv),
        "env": environ,
        "envFrom": [{"secretRef": {"name": ENVIRONMENT_SECRET, "optional": True}}],
        "resources": {"requests": dict(options.requests), "limits": dict(options.limits)},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "state", "mountPath": STATE_FOLDER},
            {"name": "tmp", "mountPath": "/tmp"},  # of the pod alone
            {"name": "secret", "mountPath": SECRET_FOLDER, "readOnly": True},
        ],
    }
    return {
        "restartPolicy": "Never",
        "serviceAccountName": account,
        "automountServiceAccountToken": reaches_api,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": _GRACE_S,
        **({} if options.priority_class is None else {"priorityClassName": options.priority_class}),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [
            {"name": "state", "emptyDir": {}},
            {"name": "tmp", "emptyDir": {}},
            {"name": "secret", "secret": {"secretName": SECRET, "defaultMode": 0o440}},
        ],
    }


def _ignore_disruptions() -> dict[str, Any]:
    """A pod that was evicted, or whose node is drained, takes no try from its Job."""
    return {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}


def _fail_on(exit_code: int, action: str) -> dict[str, Any]:
    codes = {"containerName": "harness", "operator": "In", "values": [int(exit_code)]}
    return {"action": action, "onExitCodes": codes}
