"""Make the Jobs of `cluster smoke`, whose pods see what pods of runs would see."""

from enum import StrEnum
from typing import Any

from lightkube.resources.batch_v1 import Job

from harness.cluster.jobs import (
    COORDINATOR_ACCOUNT,
    COORDINATOR_RESOURCES,
    JOB_NAME_LABEL,
    OURS,
    PART_LABEL,
    POD_ACCOUNT,
    POD_LEASE_S,
    PROBE,
    PodOptions,
    make_job,
    make_pod,
)
from harness.cluster.pod_benches import add_lab

_WITHIN_S, _GRACE_S = 300, 5
_CLOCK_RESOURCES = {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "512Mi"}}
"""Small requests: a node that is full for now has room for a look at its clock."""


class ProbeKind(StrEnum):
    """The part that a pod of `cluster smoke` plays: of a suite, a coordinator, or one of many that look at clocks."""

    SUITE = "suite"
    COORDINATOR = "coordinator"
    CLOCK = "clock"


def make_probe_job(kind: ProbeKind, name: str, options: PodOptions) -> Job:
    """Make a Job whose pod prints what it sees of the things that such pods of a run need.

    Without the secret, the pods of a run would not begin; this one does, and says so. Clocks: each node that could take
    a pod gets one before any gets two, and they stay until the Job is deleted.
    """
    argv = ["cluster", "probe", kind.value, *(["--include-destructive"] if options.include_destructive else [])]
    leads = kind is ProbeKind.COORDINATOR
    account = COORDINATOR_ACCOUNT if leads else POD_ACCOUNT
    pod = make_pod(options, argv, lease_s=POD_LEASE_S, account=account, reaches_api=leads)
    pod["terminationGracePeriodSeconds"] = _GRACE_S
    for volume in pod["volumes"]:
        if "secret" in volume:
            volume["secret"]["optional"] = True
    container = pod["containers"][0]
    if leads:
        container["resources"] = {key: dict(value) for key, value in COORDINATOR_RESOURCES.items()}
    elif kind is ProbeKind.CLOCK:
        container["resources"] = {key: dict(value) for key, value in _CLOCK_RESOURCES.items()}
        pod["topologySpreadConstraints"] = [_spread(name)]
    elif options.lab_cache is not None:
        add_lab(pod, options.lab_cache, guests=1)
    labels = OURS | {PART_LABEL: PROBE}
    spec = {
        "parallelism": 1,  # said, so that pods can be added: the number of ends is then open
        "backoffLimit": 0,
        "activeDeadlineSeconds": _WITHIN_S,
        "ttlSecondsAfterFinished": _WITHIN_S,
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    return make_job(name, labels, spec)


def _spread(job: str) -> dict[str, Any]:
    return {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule",
        "nodeAffinityPolicy": "Honor",
        "nodeTaintsPolicy": "Honor",
        "labelSelector": {"matchLabels": {JOB_NAME_LABEL: job}},
    }
