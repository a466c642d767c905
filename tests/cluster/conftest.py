"""A cluster with a namespace for campaigns: ledger, evidence store, accounts, rights and the image are there."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import yaml
from lightkube import Client, KubeConfig
from lightkube.codecs import from_dict
from lightkube.core.exceptions import ApiError
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Namespace, Pod, Secret
from lightkube.types import CascadeType, PatchType

from harness.cluster.jobs import COORDINATOR, PART_LABEL, RUN_LABEL
from harness.store.ledger import Ledger
from tests.servers import containerd, kubernetes, postgresql, s3, scripted_image
from tests.servers.cutting_proxy import CuttingProxy
from tests.servers.kubernetes import Cluster, Options

ROOT = Path(__file__).parents[2]
BASE = ROOT / "deploy" / "cluster" / "base"
SUBMITTER, VISITOR, SPACE = "ada", "visitor", "ptp"
CAMPAIGN = ("good", "good", "bad", "full", "good")
"""Types of the scripted bench: two of these hosts get no measurement."""


class CampaignRun:
    """`cluster run` in a process of its own, and the lines that it prints; `name` is that of the run."""

    def __init__(self, argv: Sequence[str], environ: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(argv, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.lines: list[str] = []
        self.name = ""
        self._searched = 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if found := re.search(r"run (\w+) is submitted", line):
                self.name = found[1]
            self.lines.append(line.rstrip())

    def read_until(self, pattern: str, within_s: float = 120.0) -> str:
        """Wait until it prints a line that matches, behind the last one that was waited for; return that line."""
        give_up_at = time.monotonic() + within_s
        while True:
            while self._searched < len(self.lines):
                line = self.lines[self._searched]
                self._searched += 1
                if re.search(pattern, line):
                    return line
            assert time.monotonic() < give_up_at, f"no line has {pattern!r}:\n" + "\n".join(self.lines)
            assert self._reader.is_alive(), f"it has ended, and no line has {pattern!r}:\n" + "\n".join(self.lines)
            time.sleep(0.02)

    def end(self, within_s: float = 240.0) -> int:
        """Wait for its end; return its exit code."""
        code = self.process.wait(within_s)
        self._reader.join()
        return code


@dataclass
class Team:
    """Those who use the namespace. `ledger`, `evidence`: as this machine reaches them.

    `relays`: through which pods reach the ledger and the store, which tests can cut.
    """

    cluster: Cluster
    folder: Path
    ledger_url: str
    store: s3.Server
    server: postgresql.Server
    admin: Client
    relays: dict[str, CuttingProxy] = field(default_factory=dict)

    def environ(self, user: str = SUBMITTER) -> dict[str, str]:
        named = {"KUBECONFIG": str(self.cluster.kubeconfig(user)), "K8S_NAMESPACE": SPACE}
        return os.environ | named | {"PTP_HARNESS_IMAGE": scripted_image.NAME, "PYTHONPATH": f"{ROOT}:{ROOT / 'lab'}"}

    def call(self, *words: str, user: str = SUBMITTER, **more: str) -> "subprocess.CompletedProcess[str]":
        """Call `ptp-harness cluster`."""
        argv = [sys.executable, "-m", "harness", "cluster", *words]
        environ = self.environ(user) | more
        return subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=300, check=False)

    def submit(self, *words: str, types: tuple[str, ...] = CAMPAIGN) -> CampaignRun:
        """Submit a campaign of scripted hosts, and follow it."""
        file = self.write_campaign(types)
        argv = [sys.executable, "-m", "harness", "cluster", "run", str(file), "--pull", "Never", *words]
        return CampaignRun(argv, self.environ())

    def write_campaign(self, types: tuple[str, ...] = CAMPAIGN) -> Path:
        """Write a campaign of scripted hosts to a file."""
        file = self.folder / "campaign.yaml"
        file.write_text(json.dumps({"bench": "lab", "instance_types": types}))
        return file

    def set_environment(self, **values: str) -> None:
        """Set variables of the pods that are made from now on."""
        change = {"stringData": values}
        self.admin.patch(Secret, "ptp-harness-environment", change, namespace=SPACE, patch_type=PatchType.MERGE)

    def open_ledger(self) -> Ledger:
        return Ledger(self.ledger_url)

    def verdicts(self, run: str) -> dict[str, tuple[str, str]]:
        """The outcome and the state of each host of a run that has ended."""
        ledger = self.open_ledger()
        try:
            record = ledger.record(run)
        finally:
            ledger.close()
        assert record is not None
        return {host.name: (str(host.verdict.outcome), str(host.state)) for host in record.hosts}

    def has_ended(self, run: str) -> bool:
        ledger = self.open_ledger()
        try:
            return ledger.find(run).ended
        finally:
            ledger.close()

    def count_begun(self, run: str) -> int:
        """How many hosts of a run some process has begun."""
        ledger = self.open_ledger()
        try:
            return sum(line.attempt > 0 for line in ledger.hosts(run))
        finally:
            ledger.close()

    def find_leader(self, run: str) -> Pod:
        """The pod of the coordinator that leads a run."""
        ledger = self.open_ledger()
        try:
            machine = ledger.find(run).owner.machine
        finally:
            ledger.close()
        labels: dict[str, Any] = {RUN_LABEL: run, PART_LABEL: COORDINATOR}
        (pod,) = [
            pod
            for pod in self.admin.list(Pod, namespace=SPACE, labels=labels)
            if pod.metadata and str(pod.metadata.name) == machine
        ]
        return pod

    def find_process(self, pod: str, words: str) -> int:
        """The process of a pod, as this machine numbers it."""
        for path in Path("/proc").iterdir():
            if path.name.isdigit():
                try:
                    words_of = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    environ = (path / "environ").read_bytes()
                except OSError:
                    continue
                if words in words_of and f"HOSTNAME={pod}".encode() in environ.split(b"\0"):
                    return int(path.name)
        raise AssertionError(f"{pod} has no process {words}")

    def clean(self) -> None:
        for job in list(self.admin.list(Job, namespace=SPACE)):
            assert job.metadata is not None
            with suppress(ApiError):  # it has just gone with the Job that made it
                self.admin.delete(Job, str(job.metadata.name), namespace=SPACE, cascade=CascadeType.FOREGROUND)
        self.cluster.wait_for(lambda: not list(self.admin.list(Pod, namespace=SPACE)), "no pod is left", within_s=180)


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A store with the image of scripted hosts."""
    programs = kubernetes.require_programs()
    folder = tmp_path_factory.mktemp("images")
    scripted_image.write_archive(folder / "scripted.tar")
    with containerd.image_store(programs, folder / "store", [folder / "scripted.tar"]) as store:
        (folder / "scripted.tar").unlink()
        yield store


@pytest.fixture(scope="module")
def shared_team(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """A namespace of a cluster of two nodes, for the tests of a file."""
    with serve_team(images, tmp_path_factory.mktemp("team")) as team:
        yield team


@contextmanager
def serve_team(
    images: Path,
    folder: Path,
    kubelet: Mapping[str, Any] | None = None,
    flags: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> Iterator[Team]:
    """Yield a namespace of a cluster of two nodes, which begin with these images.

    `kubelet`: values of the configuration of each node's kubelet; `flags`: more of other components, by component.
    """
    flags = {"controller-manager": ["--node-monitor-period=1s", "--node-monitor-grace-period=8s"], **flags}
    users: dict[str, list[str]] = {SUBMITTER: [], VISITOR: []}
    options = Options(nodes=2, users=users, flags=flags, images=images, kubelet=kubelet or {})
    found = postgresql.find_programs()
    if found is None:
        pytest.skip("PostgreSQL's server is not installed on this machine")
    with ExitStack() as stack:
        server = stack.enter_context(postgresql.serve(found))
        cluster = stack.enter_context(kubernetes.serve(kubernetes.require_programs(), folder, options))
        store = s3.Server()
        stack.callback(store.stop)
        store.client().create_bucket(Bucket="evidence")
        admin = Client(config=KubeConfig.from_file(cluster.kubeconfig()))
        url = server.make_database("ledger")
        made = Team(cluster, folder, url, store, server, admin)
        Ledger(url).close()
        _prepare(made)
        yield made


@pytest.fixture
def team(shared_team: Team) -> Iterator[Team]:
    """That namespace, without Jobs of earlier tests."""
    yield shared_team
    shared_team.clean()


def _prepare(team: Team) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    team.admin.create(Namespace(metadata=ObjectMeta(name=SPACE, labels=labels)))
    for name in ("accounts", "rights", "network"):
        for document in yaml.safe_load_all((BASE / f"{name}.yaml").read_text()):
            create(team.admin, document)
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "ptp-harness-submitter"}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": SUBMITTER}
    binding = {"roleRef": role, "subjects": [subject], "metadata": {"name": SUBMITTER}}
    create(team.admin, {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", **binding})
    database = team.cluster.publish(team.server.folder / ".s.PGSQL.5432")
    relay = team.cluster.publish(int(team.store.environ["AWS_ENDPOINT_URL"].rpartition(":")[2]))
    team.relays.update(ledger=database, store=relay)
    place = database.url.partition("//")[2]
    urls = {"ledger-url": f"postgresql://{team.server.user}@{place}/ledger", "evidence-url": "s3://evidence/team"}
    create(team.admin, make_secret("ptp-harness", urls))
    environ = {**team.store.environ, "AWS_ENDPOINT_URL": relay.url, "PTP_TEST_STAGE_S": "0.1"}
    create(team.admin, make_secret("ptp-harness-environment", environ))


def make_secret(name: str, values: Mapping[str, str]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": dict(values)}


def create(client: Client, document: Mapping[str, Any]) -> None:
    """Create an object that a document describes, in the namespace of the team."""
    described: Any = from_dict({**document, "metadata": {**document["metadata"], "namespace": SPACE}})
    client.create(described, namespace=SPACE)
