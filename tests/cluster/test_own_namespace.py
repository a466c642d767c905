"""A namespace of a run's own, on a real cluster: made and removed by a coordinator's rights, and by nobody else's."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from lightkube import Client, KubeConfig
from lightkube.codecs import from_dict
from lightkube.core.exceptions import ApiError
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Namespace, Pod, Secret
from lightkube.resources.networking_v1 import NetworkPolicy

from harness.cluster.connection import ClusterError, Connection, connect
from harness.cluster.jobs import COORDINATOR_ACCOUNT, PART_LABEL, POD_ACCOUNT, RUN_LABEL
from harness.cluster.own_namespace import (
    HOME_LABEL,
    OWN_NAMESPACE,
    name_namespace,
    own_namespace,
    read_own_secrets,
    remove_namespace,
)
from harness.errors import ConflictError
from tests.cluster.test_bed import RESTRICTED, make_job, make_namespace, read_log, wait_until
from tests.servers import kubernetes, kubernetes_files
from tests.servers.kubernetes import Cluster, Options

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600), pytest.mark.xdist_group("guests")]

ROOT = Path(__file__).parents[2]
HOME, RUN = "ptp", "k3f9mq"
SECRETS = {"ptp-harness": {"ledger-url": "postgresql://db.example/ptp"}}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with the base and what coordinators need for namespaces of their own."""
    folder = tmp_path_factory.mktemp("cluster")
    with kubernetes.serve(kubernetes.require_programs(), folder, Options(users={"ada": []})) as served:
        admin = Client(config=KubeConfig.from_file(served.kubeconfig()))
        make_namespace(admin, HOME, "restricted")
        for folder_name in ("base", "destructive"):
            apply(admin, ROOT / "deploy" / "cluster" / folder_name)
        yield served


def apply(admin: Client, folder: Path) -> None:
    """Make what a kustomization lists, in HOME."""
    for file in yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]:
        for document in yaml.safe_load_all((folder / file).read_text()):
            item: Any = from_dict(document)
            cluster_wide = document["kind"].startswith(("Cluster", "Validating"))
            admin.create(item) if cluster_wide else admin.create(item, namespace=HOME)


@pytest.fixture(scope="module")
def admin(cluster: Cluster) -> Client:
    return Client(config=KubeConfig.from_file(cluster.kubeconfig()))


@pytest.fixture(scope="module")
def kubeconfig(cluster: Cluster) -> Path:
    """A kubeconfig by which this machine is what a coordinator's pod is to the API server."""
    path = f"/api/v1/namespaces/{HOME}/serviceaccounts/{COORDINATOR_ACCOUNT}/token"
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    token = cluster.request(path, document=request)["status"]["token"]
    identity = kubernetes_files.Identity(COORDINATOR_ACCOUNT, [], token)
    file = cluster.folder / "coordinator.kubeconfig"
    return kubernetes_files.write_kubeconfig(file, cluster.url, cluster.authority.certificate, identity)


@pytest.fixture
def coordinator(kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> Connection:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    return connect(namespace=HOME)


def list_own(admin: Client) -> list[tuple[str, str, str]]:
    """The namespaces that runs made and that are there: name, run and home of each."""
    made = [item.metadata for item in admin.list(Namespace, labels={PART_LABEL: OWN_NAMESPACE}) if item.metadata]
    return [(str(each.name), (each.labels or {})[RUN_LABEL], (each.labels or {})[HOME_LABEL]) for each in made]


def exists(admin: Client, name: str) -> bool:
    return name in {item.metadata.name for item in admin.list(Namespace) if item.metadata}


def test_a_run_works_in_a_namespace_of_its_own_and_nothing_of_it_stays(coordinator: Connection, admin: Client) -> None:
    name = name_namespace(RUN)
    with own_namespace(coordinator, RUN, SECRETS) as inside:
        assert (inside.namespace, exists(admin, name)) == (name, True)
        assert list_own(admin) == [(name, RUN, HOME)]
        job = make_job("harm", "print", "done", security=RESTRICTED)
        assert job.spec is not None
        assert job.spec.template.spec is not None
        job.spec.template.spec.serviceAccountName = POD_ACCOUNT
        inside.client.create(job)
        assert read_log(admin, "harm", name) == "done\n"
        inside.client.create(make_job("worse", "print", "no", security={"privileged": True}))
        time.sleep(2)
        assert [pod.metadata.labels["job-name"] for pod in admin.list(Pod, namespace=name)] == ["harm"]
        secret = admin.get(Secret, "ptp-harness", namespace=name)
        assert list(secret.data or ()) == ["ledger-url"]
        policy = admin.get(NetworkPolicy, "ptp-harness", namespace=name)
        assert policy.spec is not None
        assert policy.spec.policyTypes == ["Ingress"]
        with pytest.raises(ApiError, match="forbidden"):
            inside.client.get(Secret, "ptp-harness")
    assert not exists(admin, name)
    assert list_own(admin) == []


def test_it_is_removed_after_an_error_too(coordinator: Connection, admin: Client) -> None:
    with pytest.raises(ZeroDivisionError), own_namespace(coordinator, RUN, {}):
        raise ZeroDivisionError
    assert not exists(admin, name_namespace(RUN))


KILLED = """
import sys, time
from harness.cluster.connection import connect
from harness.cluster.own_namespace import own_namespace
with own_namespace(connect(namespace=sys.argv[1]), sys.argv[2], {}) as inside:
    print(inside.namespace, flush=True)
    time.sleep(600)
"""


def test_the_next_coordinator_goes_on_in_it_and_removes_it(
    coordinator: Connection, admin: Client, kubeconfig: Path
) -> None:
    environ = os.environ | {"KUBECONFIG": str(kubeconfig), "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-c", KILLED, HOME, RUN]
    first = subprocess.Popen(argv, env=environ, stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    assert first.stdout.readline() == f"{name_namespace(RUN)}\n"
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert list_own(admin) == [(name_namespace(RUN), RUN, HOME)]
    before = admin.get(Namespace, name_namespace(RUN)).metadata
    with own_namespace(coordinator, RUN, SECRETS) as inside:
        now = admin.get(Namespace, inside.namespace).metadata
        assert before is not None
        assert now is not None
        assert now.uid == before.uid
    assert not exists(admin, name_namespace(RUN))


def clean(file: Path) -> "subprocess.CompletedProcess[str]":
    environ = os.environ | {"KUBECONFIG": str(file), "PYTHONPATH": f"{ROOT}:{ROOT / 'lab'}"}
    argv = [sys.executable, "-m", "harness", "cluster", "clean", "--namespace", HOME]
    return subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=300, check=False)


def test_what_a_dead_run_left_is_cleaned_by_whoever_may(
    coordinator: Connection, admin: Client, cluster: Cluster
) -> None:
    left = own_namespace(coordinator, RUN, {})
    left.__enter__()  # and no exit, as of a process that was killed
    ada: Any = make_role_binding("RoleBinding", "Role", "ptp-harness-submitter")
    admin.create(ada, namespace=HOME)
    without = clean(cluster.kubeconfig("ada"))
    assert (without.returncode, without.stdout) == (0, ""), without.stderr
    assert exists(admin, name_namespace(RUN))
    admin.create(make_role_binding("ClusterRoleBinding", "ClusterRole", "ptp-harness-clean"))
    done = clean(cluster.kubeconfig("ada"))
    assert (done.returncode, done.stdout) == (0, f"{name_namespace(RUN)}\n"), done.stderr
    assert not exists(admin, name_namespace(RUN))
    assert exists(admin, HOME)


def make_role_binding(kind: str, role_kind: str, role: str) -> Any:
    """A binding of a role to ada."""
    group = "rbac.authorization.k8s.io"
    document = {"apiVersion": f"{group}/v1", "kind": kind, "metadata": {"name": "ada"}}
    subject = {"apiGroup": group, "kind": "User", "name": "ada"}
    return from_dict(
        {**document, "roleRef": {"apiGroup": group, "kind": role_kind, "name": role}, "subjects": [subject]}
    )


def test_one_that_is_being_removed_is_waited_for(coordinator: Connection, admin: Client) -> None:
    with own_namespace(coordinator, RUN, {}) as inside:
        job = make_job("slow", "wait", security=RESTRICTED)
        inside.client.create(job)
        wait_until(lambda: list(admin.list(Pod, namespace=inside.namespace)), "the pod is there")
        admin.delete(Namespace, inside.namespace)
        with own_namespace(coordinator, RUN, {}) as again:
            assert admin.get(Namespace, again.namespace).metadata.deletionTimestamp is None
    assert not exists(admin, name_namespace(RUN))


def test_a_namespace_of_somebody_else_stays(coordinator: Connection, admin: Client) -> None:
    admin.create(Namespace(metadata=ObjectMeta(name=name_namespace(RUN))))
    with pytest.raises(ConflictError, match="it is not of run"), own_namespace(coordinator, RUN, {}):
        pass
    remove_namespace(coordinator, RUN)
    assert exists(admin, name_namespace(RUN))
    admin.delete(Namespace, name_namespace(RUN))
    wait_until(lambda: not exists(admin, name_namespace(RUN)), "it goes")


def make_binding(role: str) -> Any:
    group = "rbac.authorization.k8s.io"
    reference = {"apiGroup": group, "kind": "ClusterRole", "name": role}
    subject = {"kind": "ServiceAccount", "name": COORDINATOR_ACCOUNT, "namespace": HOME}
    document = {"apiVersion": f"{group}/v1", "kind": "RoleBinding", "metadata": {"name": "grab"}}
    return from_dict({**document, "roleRef": reference, "subjects": [subject]})


def make_namespace_of(**labels: str) -> Namespace:
    return Namespace(metadata=ObjectMeta(name="any", labels=labels))


OWN = {"ptp-harness.dev/part": "own-namespace", "ptp-harness.dev/home": HOME}
ELSEWHERE: dict[str, tuple[Callable[[Client], Any], str]] = {
    "any namespace is made": (lambda client: client.create(make_namespace_of()), "of its own runs alone"),
    "one of another home is made": (
        lambda client: client.create(make_namespace_of(**OWN | {"ptp-harness.dev/home": "other"})),
        "of its own runs alone",
    ),
    "one without Pod Security is made": (
        lambda client: client.create(make_namespace_of(**OWN)),
        "enforces Pod Security restricted",
    ),
    "its home is removed": (lambda client: client.delete(Namespace, HOME), "of its own runs alone"),
    "its role is bound elsewhere": (
        lambda client: client.create(make_binding("ptp-harness-own-namespace"), namespace="kube-system"),
        "of its own runs alone",
    ),
    "secrets are read": (lambda client: list(client.list(Secret, namespace="kube-system")), "cannot list resource"),
}


@pytest.mark.parametrize("what", ELSEWHERE)
def test_a_coordinator_reaches_no_other_namespace(coordinator: Connection, what: str) -> None:
    attempt, tells = ELSEWHERE[what]
    with pytest.raises(ApiError, match=tells):
        attempt(coordinator.client)


def test_a_coordinator_binds_no_other_role_in_its_own_namespace(coordinator: Connection) -> None:
    with own_namespace(coordinator, RUN, {}) as inside, pytest.raises(ApiError, match="attempting to grant"):
        inside.client.create(make_binding("cluster-admin"))


def test_others_may_make_namespaces_and_bindings_as_before(admin: Client) -> None:
    admin.create(Namespace(metadata=ObjectMeta(name="free")))
    admin.create(make_binding("view"), namespace="free")
    admin.delete(Namespace, "free")


def test_without_the_rights_it_is_said_which_are_missing(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig("ada")))
    without = own_namespace(connect(namespace=HOME), RUN, {})
    with pytest.raises(ClusterError, match="cannot create resource") as caught:
        without.__enter__()
    assert caught.value.status == 403


def test_the_secret_that_a_pod_has_is_read_from_its_files(tmp_path: Path) -> None:
    data = tmp_path / "..data"
    data.mkdir()
    (data / "ledger-url").write_text("postgresql://db.example/ptp")
    (tmp_path / "ledger-url").symlink_to("..data/ledger-url")
    assert read_own_secrets(tmp_path) == SECRETS
