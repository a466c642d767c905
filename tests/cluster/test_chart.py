"""The Helm chart renders what the Kustomize base does, and installs it on a real cluster."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.servers import kubernetes, kubernetes_files
from tests.servers.kubernetes import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600), pytest.mark.xdist_group("guests")]

DEPLOY = Path(__file__).parents[2] / "deploy" / "cluster"
CHART = str(DEPLOY / "chart")
VERSION = ("--kube-version", "1.36.0")
SPACE = "ptp"
ROLE = "arn:aws:iam::123456789012:role/ptp-harness"

Objects = dict[tuple[str, str], Any]


def run(program: str, *words: str) -> str:
    """Run a program of Kubernetes, without settings of whoever runs the tests; return what it prints."""
    programs = kubernetes_files.find_programs(os.environ["PATH"])
    if not programs.has(program):
        pytest.skip(f"{program} is not here (make kubernetes)")
    argv = [programs.path(program), *words]
    with tempfile.TemporaryDirectory() as home:
        environ = {"PATH": os.environ["PATH"], "HOME": home}
        done = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def read_objects(text: str) -> Objects:
    documents = [each for each in yaml.safe_load_all(text) if each]
    objects = {(each["kind"], each["metadata"]["name"]): each for each in documents}
    assert len(objects) == len(documents)
    return objects


def render(*values: str) -> Objects:
    flags = [word for value in values for word in ("--set-json", value)]
    return read_objects(run("helm", "template", "any", CHART, "--namespace", SPACE, *VERSION, *flags))


def build(folder: str) -> Objects:
    return read_objects(run("kubectl", "kustomize", str(DEPLOY / folder)))


def test_the_chart_renders_the_base() -> None:
    assert render() == build("base")


def test_with_destructive_it_renders_both_folders() -> None:
    assert render("destructive=true") == build("base") | build("destructive")


def test_with_the_watch_it_renders_its_folder_and_values_set_its_image_and_numbers() -> None:
    made = render("watch.enabled=true")
    assert made == build("base") | build("watch")
    image = "registry.example/ptp-harness:1"
    changed = render(f'watch={{"enabled":true,"image":"{image}","workers":7,"leaders":0,"flags":["--capacity","5"]}}')
    workers, leaders = (changed["Deployment", f"ptp-harness-watch-{part}"]["spec"] for part in ("worker", "leader"))
    assert (workers["replicas"], leaders["replicas"]) == (7, 0)
    for spec in (workers, leaders):
        assert spec["template"]["spec"]["containers"][0]["image"] == image
    usual = made["Deployment", "ptp-harness-watch-worker"]["spec"]["template"]["spec"]["containers"][0]["args"]
    assert workers["template"]["spec"]["containers"][0]["args"] == [*usual, "--capacity", "5"]


def test_values_reach_the_objects_that_they_are_for_alone() -> None:
    annotations = {"eks.amazonaws.com/role-arn": ROLE}
    made = render(
        f'accounts={{"pod":{{"annotations":{{"eks.amazonaws.com/role-arn":"{ROLE}"}}}}}}',
        'labels={"team":"timing","app.kubernetes.io/name":"other"}',
        'imagePullSecrets=[{"name":"registry"}]',
        'submitters=[{"kind":"User","name":"ada","apiGroup":"rbac.authorization.k8s.io"}]',
    )
    binding = made.pop(("RoleBinding", "ptp-harness-submitters"))
    assert (binding["roleRef"]["name"], binding["subjects"][0]["name"]) == ("ptp-harness-submitter", "ada")
    expected = build("base")
    for (kind, name), item in expected.items():
        item["metadata"]["labels"]["team"] = "timing"
        if kind == "ServiceAccount":
            item["imagePullSecrets"] = [{"name": "registry"}]
            if name == "ptp-harness-pod":
                item["metadata"]["annotations"] = annotations
    assert made == expected


def test_helm_finds_nothing_wrong_with_it() -> None:
    assert "0 chart(s) failed" in run(
        "helm", "lint", CHART, "--strict", "--set", "destructive=true,watch.enabled=true", *VERSION
    )


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with kubernetes.serve(kubernetes.require_programs(), tmp_path / "cluster") as served:
        yield served


def test_it_is_installed_and_removed(cluster: Cluster) -> None:
    config = ("--kubeconfig", str(cluster.kubeconfig()), "--namespace", SPACE)
    said = run(
        "helm", "install", "ptp", CHART, "--create-namespace", "--set", "destructive=true,watch.enabled=true", *config
    )
    assert f"ptp-harness cluster smoke --namespace {SPACE}" in said
    account = f"system:serviceaccount:{SPACE}:ptp-harness-coordinator"
    assert may(cluster, account, "create", "batch", "jobs", SPACE)
    assert not may(cluster, account, "create", "batch", "jobs", "default")
    assert may(cluster, account, "create", "", "namespaces", "")
    workers = cluster.request(f"/apis/apps/v1/namespaces/{SPACE}/deployments/ptp-harness-watch-worker")
    assert workers["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 90
    run("helm", "uninstall", "ptp", "--wait", *config)
    assert not may(cluster, account, "create", "batch", "jobs", SPACE)
    assert not may(cluster, account, "create", "", "namespaces", "")


def may(cluster: Cluster, user: str, verb: str, group: str, resource: str, namespace: str) -> bool:
    attributes = {"namespace": namespace, "verb": verb, "group": group, "resource": resource}
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview"}
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    answer = cluster.request(path, document={**review, "spec": {"user": user, "resourceAttributes": attributes}})
    return bool(answer["status"]["allowed"])
