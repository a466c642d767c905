"""`cluster smoke` on a real cluster: each thing is missing in turn, is told in a sentence, and nothing is left."""

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from subprocess import run as run_program

import pytest
import yaml
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Node, Pod, ResourceQuota, Secret, ServiceAccount
from lightkube.resources.rbac_authorization_v1 import Role, RoleBinding
from lightkube.types import PatchType

from harness.cluster import rights
from harness.cluster.jobs import COORDINATOR_ACCOUNT, POD_ACCOUNT, SECRET
from harness.cluster.rights import Right
from tests.cluster.conftest import BASE, SPACE, VISITOR, Team, create, make_secret
from tests.servers import kubernetes, scripted_image
from tests.servers.kubernetes_files import Identity, write_kubeconfig

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600), pytest.mark.xdist_group("guests")]

PULL = ("--pull", "Never")


@dataclass(frozen=True)
class Said:
    """What smoke says: the observed state of each check, by its name, and the remedy of those that are missing."""

    code: int
    ok: dict[str, str]
    missing: dict[str, tuple[str, str]]
    errors: str


def look(team: Team, *words: str, user: str | None = None, **more: str) -> Said:
    """Call smoke; nothing of it may be left in the namespace."""
    done = team.call("smoke", *PULL, "--json", *words, **({"user": user} if user else {}), **more)
    checks = json.loads(done.stdout) if done.stdout else []
    ok = {each["name"]: each["observed"] for each in checks if each["ok"]}
    missing = {each["name"]: (each["observed"], each["remedy"]) for each in checks if not each["ok"]}
    require_nothing_left(team)
    assert "Traceback" not in done.stderr
    assert all(observed and remedy for observed, remedy in missing.values()), missing
    assert done.returncode == (0 if ok and not missing else 2), done.stderr
    return Said(done.returncode, ok, missing, done.stderr)


def require_nothing_left(team: Team) -> None:
    assert [job.metadata.name for job in team.admin.list(Job, namespace=SPACE) if job.metadata] == []
    team.cluster.wait_for(lambda: not list(team.admin.list(Pod, namespace=SPACE)), "no pod is left", within_s=30)


def require_alone(said: Said, name: str, *, tells: str, remedy: str) -> None:
    """One thing is missing: this one, in these words."""
    assert [*said.missing] == [name], said
    observed, next_step = said.missing[name]
    assert tells in observed
    assert remedy in next_step


def test_nothing_is_missing_and_the_clocks_of_all_nodes_are_seen(team: Team) -> None:
    said = look(team)
    assert said.missing == {}
    assert said.ok["quota"] == "none limits the namespace"
    assert said.ok["image"].startswith(f"{scripted_image.NAME} runs on node node-")
    assert said.ok["in a pod: secret"].startswith("ptp-harness has evidence-url, ledger-url")
    assert said.ok["in a pod: evidence store"] == "s3://evidence/team"
    assert "nobody@" in said.ok["in a pod: ledger"]
    clocks = said.ok["clocks of the nodes"]
    assert clocks.startswith("2 of 2 nodes: node-1 ")
    assert ", node-2 " in clocks
    for table, place in ((rights.SUBMITTER, "right: "), (rights.COORDINATOR, "in a coordinator: right: ")):
        assert {f"{place}{right}" for right in table} <= {*said.ok}


# --- the API server ---------------------------------------------------------------------------------------------------


def test_an_api_server_that_does_not_answer(team: Team, tmp_path: Path) -> None:
    identity = Identity("ada", [], "any")
    file = write_kubeconfig(tmp_path / "config", "https://127.0.0.1:1", team.cluster.authority.certificate, identity)
    said = look(team, KUBECONFIG=str(file))
    require_alone(said, "API server", tells="https://127.0.0.1:1 does not answer", remedy="can be reached from here")


def test_credentials_that_have_expired(team: Team, tmp_path: Path) -> None:
    identity = Identity("ada", [], "expired")
    file = write_kubeconfig(tmp_path / "config", team.cluster.url, team.cluster.authority.certificate, identity)
    said = look(team, KUBECONFIG=str(file))
    require_alone(said, "API server", tells="does not know these credentials, or they have expired", remedy="renew")


# --- rights -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def visitor_role(shared_team: Team) -> Iterator[None]:
    """A role of the visitor, which tests fill."""
    metadata = {"name": VISITOR}
    create(shared_team.admin, {**_RBAC, "kind": "Role", "metadata": metadata, "rules": []})
    group = "rbac.authorization.k8s.io"
    reference, subject = {"kind": "Role", "name": VISITOR}, {"kind": "User", "name": VISITOR}
    binding = {"roleRef": {"apiGroup": group, **reference}, "subjects": [{"apiGroup": group, **subject}]}
    create(shared_team.admin, {**_RBAC, "kind": "RoleBinding", "metadata": metadata, **binding})
    yield
    shared_team.admin.delete(RoleBinding, VISITOR, namespace=SPACE)
    shared_team.admin.delete(Role, VISITOR, namespace=SPACE)


_RBAC = {"apiVersion": "rbac.authorization.k8s.io/v1"}


def grant(team: Team, held: list[Right]) -> None:
    rules = [
        {
            "apiGroups": [right.group],
            "resources": [right.resource + (f"/{right.subresource}" if right.subresource else "")],
            "verbs": [right.verb],
        }
        for right in held
    ]
    team.admin.patch(Role, VISITOR, {"rules": rules}, namespace=SPACE, patch_type=PatchType.MERGE)
    for right in rights.SUBMITTER:
        team.cluster.wait_for(partial(holds, team, right, right in held), f"the role grants {right}")


def holds(team: Team, right: Right, expected: bool) -> bool:
    """Whether the visitor has a right, or has it not, as is expected."""
    attributes = {"namespace": SPACE, "verb": right.verb, "group": right.group, "resource": right.resource}
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview"}
    spec = {"user": VISITOR, "resourceAttributes": {**attributes, "subresource": right.subresource}}
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    return bool(team.cluster.request(path, document={**review, "spec": spec})["status"]["allowed"]) is expected


@pytest.mark.parametrize("right", rights.SUBMITTER, ids=str)
def test_each_right_that_is_missing_is_named_with_what_needs_it(team: Team, visitor_role: None, right: Right) -> None:
    grant(team, [each for each in rights.SUBMITTER if each != right])
    said = look(team, user=VISITOR)
    tells = f"not allowed in namespace {SPACE}, and needed for: {right.used_by}"
    require_alone(said, f"right: {right}", tells=tells, remedy="ptp-harness-submitter")


def test_the_namespace_of_somebody_else(team: Team) -> None:
    said = look(team, "--namespace", "kube-system")
    assert {*said.missing} == {f"right: {right}" for right in rights.SUBMITTER}
    assert "context tests, namespace kube-system" in said.errors


@pytest.mark.parametrize("right", [rights.COORDINATOR[0], rights.COORDINATOR[-1]], ids=str)
def test_a_right_that_coordinators_lack_is_named(team: Team, right: Right) -> None:
    rules = yaml.safe_load_all((BASE / "rights.yaml").read_text())
    (role,) = [each for each in rules if (each["kind"], each["metadata"]["name"]) == ("Role", COORDINATOR_ACCOUNT)]
    without = [
        {**rule, "verbs": verbs}
        for rule in role["rules"]
        if (verbs := [each for each in rule["verbs"] if right.resource not in rule["resources"] or each != right.verb])
    ]
    team.admin.patch(Role, COORDINATOR_ACCOUNT, {"rules": without}, namespace=SPACE, patch_type=PatchType.MERGE)
    try:
        said = look(team)
    finally:
        rules_of_base = {"rules": role["rules"]}
        team.admin.patch(Role, COORDINATOR_ACCOUNT, rules_of_base, namespace=SPACE, patch_type=PatchType.MERGE)
    name = f"in a coordinator: right: {right}"
    require_alone(said, name, tells=f"not allowed in namespace {SPACE}", remedy="deploy/cluster/base")


def test_the_rights_to_a_namespace_of_its_own_are_asked_for_where_they_are_needed(team: Team) -> None:
    said = look(team, "--include-destructive")
    assert {*said.missing} == {f"in a coordinator: right: {right}" for right in rights.DESTRUCTIVE}
    for observed, remedy in said.missing.values():
        assert "not allowed in any namespace" in observed
        assert "deploy/cluster/destructive" in remedy


# --- namespace and quota ----------------------------------------------------------------------------------------------


def test_a_namespace_that_is_not_there(team: Team) -> None:
    said = look(team, "--namespace", "nowhere", user=kubernetes.ADMIN)
    require_alone(said, "namespace", tells='namespaces "nowhere" not found', remedy="kubectl get namespace nowhere")


@contextmanager
def quota(team: Team, **hard: str) -> Iterator[None]:
    """Limit the namespace, once the limit holds."""
    limits = {name.replace("_", "."): value for name, value in hard.items()}
    create(
        team.admin,
        {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"}, "spec": {"hard": limits}},
    )

    def has_effect() -> bool:
        status = team.admin.get(ResourceQuota, "small", namespace=SPACE).status
        return bool(status and status.hard == limits and status.used)

    try:
        team.cluster.wait_for(has_effect, "the quota has an effect")
        yield
    finally:
        team.admin.delete(ResourceQuota, "small", namespace=SPACE)


@pytest.mark.parametrize(
    ("hard", "tells"),
    [
        ({"pods": "2"}, "quota small has 0 of 2 pods in use, and 3 are needed"),
        ({"requests_memory": "512Mi"}, "of 512Mi requests.memory in use, and 640Mi are needed"),
        ({"limits_cpu": "64"}, "quota small demands limits.cpu of each pod, and pods of runs have none"),
    ],
)
def test_a_quota_that_leaves_no_room(team: Team, hard: Mapping[str, str], tells: str) -> None:
    with quota(team, **hard):
        require_alone(look(team), "quota", tells=tells, remedy="a larger quota")


def test_a_quota_that_leaves_room_is_counted(team: Team) -> None:
    with quota(team, pods="9", requests_cpu="2"):
        assert look(team).ok["quota"] == "1 leave room for two coordinators and a pod"


# --- image and accounts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "tells"),
    [
        (("--image", "ptp-harness:nonsense"), "ErrImageNeverPull"),
        (("--image", "127.0.0.1:1/ptp-harness:1", "--pull", "IfNotPresent"), "ImagePull"),
        (("--image", "Ptp Harness"), "InvalidImageName"),
    ],
)
def test_an_image_that_cannot_be_had(team: Team, words: tuple[str, ...], tells: str) -> None:
    said = look(team, *words)
    assert "pod" in said.missing
    observed, _ = said.missing["pod"]
    assert tells in observed
    assert "does not start" in observed


def test_an_image_of_another_version(team: Team) -> None:
    program = "import harness\nharness.__version__ = '9.9.9'\nfrom harness.cli import app\napp.main()"
    argv = [sys.executable, "-c", program, "cluster", "smoke", *PULL, "--json"]
    done = run_program(argv, env=team.environ(), capture_output=True, text=True, timeout=120, check=False)
    require_nothing_left(team)
    missing = [each for each in json.loads(done.stdout) if not each["ok"]]
    assert done.returncode == 2
    assert {each["name"] for each in missing} == {"version"}
    assert "this command is 9.9.9" in missing[0]["observed"]
    assert "the image of this version" in missing[0]["remedy"]


@pytest.mark.parametrize(("account", "name"), [(POD_ACCOUNT, "pod"), (COORDINATOR_ACCOUNT, "pod of a coordinator")])
def test_an_account_that_is_not_there(team: Team, account: str, name: str) -> None:
    team.admin.delete(ServiceAccount, account, namespace=SPACE)
    try:
        said = look(team)
    finally:
        (document,) = [
            each
            for each in yaml.safe_load_all((BASE / "accounts.yaml").read_text())
            if each["metadata"]["name"] == account
        ]
        create(team.admin, document)
    require_alone(said, name, tells=f'serviceaccount "{account}" not found', remedy="apply deploy/cluster/base")


# --- secret, ledger and evidence store, from a pod --------------------------------------------------------------------


@contextmanager
def changed_secret(team: Team, values: Mapping[str, str] | None) -> Iterator[None]:
    """Replace the values of the secret; None removes it."""
    kept = team.admin.get(Secret, SECRET, namespace=SPACE)
    team.admin.delete(Secret, SECRET, namespace=SPACE)
    if values is not None:
        create(team.admin, make_secret(SECRET, values))
    try:
        yield
    finally:
        if values is not None:
            team.admin.delete(Secret, SECRET, namespace=SPACE)
        create(team.admin, {**make_secret(SECRET, {}), "data": dict(kept.data or {})})


def test_no_secret(team: Team) -> None:
    with changed_secret(team, None):
        said = look(team)
    assert said.missing["in a pod: secret"][0] == "the secret ptp-harness is not there, or has no key"
    assert "kubectl create secret generic ptp-harness" in said.missing["in a pod: secret"][1]
    assert said.missing["in a pod: ledger"][0].startswith("no URL of a ledger is set")
    assert said.missing["in a pod: evidence store"][0].startswith("no URL of an evidence store is set")


def test_a_secret_without_a_key(team: Team) -> None:
    with changed_secret(team, {"evidence-url": "s3://evidence/team"}):
        said = look(team)
    assert said.missing["in a pod: secret"][0] == "the secret ptp-harness has no key ledger-url"
    assert {*said.missing} == {"in a pod: secret", "in a pod: ledger"}


def test_a_ledger_and_an_evidence_store_that_pods_do_not_reach(team: Team) -> None:
    """Both are there, and reached from here; what counts is what pods reach."""
    with changed_secret(team, {"ledger-url": "postgresql://ptp@127.0.0.1:1/ptp", "evidence-url": "s3://nowhere/team"}):
        said = look(team)
    assert {*said.missing} == {"in a pod: ledger", "in a pod: evidence store"}
    assert "127.0.0.1" in said.missing["in a pod: ledger"][0]
    assert said.missing["in a pod: ledger"][1] == "correct the key ledger-url of the secret ptp-harness"
    assert "nowhere" in said.missing["in a pod: evidence store"][0]


# --- clocks of nodes --------------------------------------------------------------------------------------------------

WRONG_CLOCK = """
import time
_right = time.time
time.time = lambda: _right() + 5
"""


@contextmanager
def wrong_clock(team: Team, node: str) -> Iterator[None]:
    """Let Python in pods of a node see a clock that is five seconds ahead, by a file in its copy of the image."""
    store = team.cluster.machines[node].folder / "lib/containerd"
    folders = [path for path in store.glob("*snapshotter*/snapshots/*/fs/opt/tests") if path.is_dir()]
    assert folders, "the layer of the image that has the code of tests"
    files = [folder / "sitecustomize.py" for folder in folders]
    for file in files:
        file.write_text(WRONG_CLOCK)
    try:
        yield
    finally:
        for file in files:
            file.unlink()


def test_the_one_node_whose_clock_is_wrong_is_named(team: Team) -> None:
    with wrong_clock(team, "node-2"):
        said = look(team)
    assert {*said.missing} == {"node node-2", "clocks of the nodes"}
    observed, remedy = said.missing["node node-2"]
    assert observed.startswith(("+5.", "+4.9"))
    assert remedy == "synchronise the clock of this node"
    assert said.missing["clocks of the nodes"][0].startswith("1 of 2 nodes: node-1 ")


def test_a_node_that_takes_no_pods_is_not_looked_at(team: Team) -> None:
    with wrong_clock(team, "node-2"):
        team.admin.patch(Node, "node-2", {"spec": {"unschedulable": True}}, patch_type=PatchType.MERGE)
        try:
            time.sleep(1)
            said = look(team)
        finally:
            team.admin.patch(Node, "node-2", {"spec": {"unschedulable": None}}, patch_type=PatchType.MERGE)
    assert said.missing == {}
    assert said.ok["clocks of the nodes"].startswith("1 of 1 nodes: node-1 ")


def test_fewer_nodes_are_looked_at_where_that_is_said(team: Team) -> None:
    assert " (--nodes 1): node-" in look(team, "--nodes", "1").ok["clocks of the nodes"]
