"""Add nodes without machines to a cluster for tests, by KWOK: thousands of pods that seem to run and to end.

Only pods that tolerate TAINT are there. Each runs at once; one of a Job also succeeds at once, without a log.
"""

import time
from typing import Any

import pytest
from lightkube import Client
from lightkube.resources.batch_v1 import Job

from harness.cluster.jobs import PART_LABEL, RUN_LABEL, SUITE, name_of
from tests.servers import kubernetes_files
from tests.servers.kubernetes import ADMIN, CONTROL, Cluster
from tests.servers.machines import Program

STAGES = kubernetes_files.UNPACKED / "stages.yaml"
"""What these nodes and pods do, from KWOK's own files."""

ANNOTATION = "kwok.x-k8s.io/node"
LABELS = {"type": "kwok"}
TAINT = {"key": ANNOTATION, "value": "fake", "effect": "NoSchedule"}
_RESOURCES = {"cpu": "1000", "memory": "1Ti", "ephemeral-storage": "1Ti", "pods": "5000"}


def add_nodes(cluster: Cluster, number: int) -> Program:
    """Add nodes `fake-1` and so on, and wait until they are Ready; return the program that plays them."""
    if not cluster.programs.has("kwok") or not STAGES.exists():
        pytest.skip("needs KWOK (`make kubernetes`)")
    kubeconfig = cluster.keys / "kwok.kubeconfig"
    server = f"https://{kubernetes_files.API_ADDRESS}"
    kubernetes_files.write_kubeconfig(kubeconfig, server, cluster.authority.certificate, cluster.identities[ADMIN])
    argv = [
        cluster.programs.path("kwok"),
        f"--kubeconfig={kubeconfig}",
        f"--config={STAGES}",
        "--manage-all-nodes=false",
        f"--manage-nodes-with-annotation-selector={ANNOTATION}=fake",
        f"--node-ip={kubernetes_files.CONTROL_ADDRESS}",
        "--cidr=10.96.0.0/14",
        "--server-address=127.0.0.1:10247",
        "--node-lease-duration-seconds=40",
    ]
    kwok = cluster.machines[CONTROL].add("kwok", argv)
    kwok.start()
    names = [f"fake-{index}" for index in range(1, number + 1)]
    for name in names:
        cluster.request("/api/v1/nodes", document=_describe(name))
    for name in names:
        cluster.wait_for_node(name)
    return kwok


def admit(client: Client, namespace: str, run: str, *, within_s: float = 60.0) -> str:
    """Let the Job of a run's suite go to these nodes, as Kueue does with a Job that waits in a queue; return its name.

    Kueue has the right to say where the pods of a Job that has not begun yet may run.
    """
    labels: dict[str, Any] = {RUN_LABEL: run, PART_LABEL: SUITE}
    give_up_at = time.monotonic() + within_s
    while True:
        for job in client.list(Job, namespace=namespace, labels=labels):
            if job.spec is not None and job.spec.suspend:
                pod = {"nodeSelector": LABELS, "tolerations": [{"key": ANNOTATION, "operator": "Exists"}]}
                change = {"spec": {"suspend": False, "template": {"spec": pod}}}
                client.patch(Job, name_of(job), change, namespace=namespace)
                return name_of(job)
        assert time.monotonic() < give_up_at, f"no Job of run {run} waits"
        time.sleep(0.05)


def count_made(client: Client, namespace: str, job: str) -> int:
    """Count the pods of a Job that were made so far."""
    status = client.get(Job, job, namespace=namespace).status
    return 0 if status is None else sum(each or 0 for each in (status.active, status.succeeded, status.failed))


def _describe(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "annotations": {ANNOTATION: "fake"}, "labels": LABELS},
        "spec": {"taints": [TAINT]},
        "status": {"capacity": _RESOURCES, "allocatable": _RESOURCES},
    }
