"""Run Kueue in a cluster for tests, beside its control plane, with one queue of so many processors."""

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from lightkube import Client, KubeConfig
from lightkube.codecs import from_dict
from lightkube.generic_resource import create_global_resource, create_namespaced_resource

from tests.servers import kubernetes_files
from tests.servers.kubernetes import CONTROL, Cluster
from tests.servers.kubernetes_files import API_ADDRESS

QUEUE = "team-a"
_GROUP, _VERSION, _PORT = "kueue.x-k8s.io", "v1beta2", 9443
_OBJECTS = kubernetes_files.UNPACKED / "kueue.yaml"
"""What Kueue's release installs: its types, and the webhooks by which the API server asks it."""

CLUSTER_QUEUE = create_global_resource(_GROUP, _VERSION, "ClusterQueue", "clusterqueues")
FLAVOR = create_global_resource(_GROUP, _VERSION, "ResourceFlavor", "resourceflavors")
LOCAL_QUEUE = create_namespaced_resource(_GROUP, _VERSION, "LocalQueue", "localqueues")
WORKLOAD = create_namespaced_resource(_GROUP, _VERSION, "Workload", "workloads")


def require() -> None:
    """Skip the test where Kueue is not here."""
    programs = kubernetes_files.find_programs(os.environ["PATH"])
    if not (programs.has("kueue") and _OBJECTS.exists()):
        pytest.skip("Kueue is not here (make kubernetes)")


def start(cluster: Cluster) -> None:
    """Start Kueue for Jobs, on the machine of the control plane, and wait until it takes its own objects."""
    admin = Client(config=KubeConfig.from_file(cluster.kubeconfig()))
    keys = cluster.keys / "kueue"
    keys.mkdir()
    cluster.authority.sign_server(keys / "tls", ["localhost", "127.0.0.1"])
    inner = keys / "kubeconfig"
    identity = cluster.identities["admin"]
    kubernetes_files.write_kubeconfig(inner, f"https://{API_ADDRESS}", cluster.authority.certificate, identity)
    config = {
        "apiVersion": f"config.{_GROUP}/v1beta2",
        "kind": "Configuration",
        "namespace": "default",
        "health": {"healthProbeBindAddress": "127.0.0.1:8081"},
        "metrics": {"bindAddress": "0"},
        "webhook": {"host": "127.0.0.1", "port": _PORT, "certDir": str(keys)},
        "leaderElection": {"leaderElect": False},
        "internalCertManagement": {"enable": False},
        "integrations": {"frameworks": ["batch/job"]},
    }
    kubernetes_files.write_json(keys / "config.json", config)
    webhooks = []
    for document in yaml.safe_load_all(_OBJECTS.read_text()):
        if document["kind"] == "CustomResourceDefinition":
            admin.create(_read(document))
        else:
            webhooks.append(_aim(document, cluster.authority.certificate))
    argv = [cluster.programs.path("kueue"), f"--config={keys / 'config.json'}", "--zap-log-level=2"]
    program = cluster.machines[CONTROL].add("kueue", argv, {"PATH": cluster.programs.search, "KUBECONFIG": str(inner)})
    program.start()
    cluster.wait_for(lambda: program.must_run() and _answers(cluster), "Kueue's webhooks answer")
    for document in webhooks:
        admin.create(_read(document))


def make_queue(cluster: Cluster, namespace: str, *, cpu: str, memory: str) -> None:
    """Make the queue QUEUE of a namespace."""
    admin = Client(config=KubeConfig.from_file(cluster.kubeconfig()))
    resources = [{"name": "cpu", "nominalQuota": cpu}, {"name": "memory", "nominalQuota": memory}]
    group = {"coveredResources": ["cpu", "memory"], "flavors": [{"name": "any", "resources": resources}]}
    spec = {"namespaceSelector": {}, "resourceGroups": [group]}
    admin.create(FLAVOR({"metadata": {"name": "any"}, "spec": {}}))
    admin.create(CLUSTER_QUEUE({"metadata": {"name": "all"}, "spec": spec}))
    local = {"metadata": {"name": QUEUE, "namespace": namespace}, "spec": {"clusterQueue": "all"}}
    admin.create(LOCAL_QUEUE(local))


def _answers(cluster: Cluster) -> bool:
    cluster.machines[CONTROL].connect("127.0.0.1", _PORT).close()
    return True


def _read(document: dict[str, Any]) -> Any:
    return from_dict(json.loads(json.dumps(document)))


def _aim(document: dict[str, Any], authority: Path) -> dict[str, Any]:
    """Have the API server ask Kueue on its own machine, about Jobs and Kueue's objects."""
    bundle = base64.b64encode(authority.read_bytes()).decode()
    kept = []
    for webhook in document["webhooks"]:
        if {group for rule in webhook["rules"] for group in rule["apiGroups"]} <= {_GROUP, "batch"}:
            path = webhook["clientConfig"]["service"]["path"]
            kept.append({**webhook, "clientConfig": {"url": f"https://127.0.0.1:{_PORT}{path}", "caBundle": bundle}})
    return {**document, "webhooks": kept}
