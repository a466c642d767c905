"""The cluster that other tests start: real nodes, pods and faults, and nothing of it is left at the end."""

import http.server
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lightkube import Client, KubeConfig
from lightkube.codecs import from_dict
from lightkube.core.exceptions import ApiError
from lightkube.models.core_v1 import Toleration
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Event, Namespace, Node, Pod, ServiceAccount

from tests.servers import containerd, image_archives, kubernetes, kwok, postgresql, s3
from tests.servers.kubernetes import Cluster, Options
from tests.servers.kubernetes_files import POD_IMAGE

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600), pytest.mark.xdist_group("guests")]

ROOT = Path(__file__).parents[2]
OPTIONS = Options(
    nodes=2,
    users={"visitor": ["visitors"]},
    flags={"controller-manager": ["--node-monitor-period=1s", "--node-monitor-grace-period=8s"]},
)
STORED_IMAGE = "localhost/stored:1"
RESTRICTED = {
    "runAsNonRoot": True,
    "runAsUser": 10001,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""What Pod Security demands of a container at its level `restricted`."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of two nodes for the tests of this file. They begin with a store of one image."""
    programs, folder = kubernetes.require_programs(), tmp_path_factory.mktemp("cluster")
    files = {"/stored": Path(programs.path("pod-program"))}
    image_archives.write_archive(folder / "stored.tar", STORED_IMAGE, files, ["/stored"])
    with (
        containerd.image_store(programs, folder / "store", [folder / "stored.tar"]) as images,
        kubernetes.serve(programs, folder / "cluster", replace(OPTIONS, images=images)) as served,
    ):
        yield served


@pytest.fixture
def client(cluster: Cluster) -> Client:
    """A client of its administrator."""
    return connect(cluster)


def connect(cluster: Cluster, user: str = kubernetes.ADMIN) -> Client:
    return Client(config=KubeConfig.from_file(cluster.kubeconfig(user)))


def make_job(
    name: str, *words: str, node: str | None = None, security: dict[str, Any] | None = None, image: str = POD_IMAGE
) -> Job:
    """A Job of one pod, which is not tried again."""
    container = {"name": "main", "image": image, "args": list(words), "securityContext": security or {}}
    pod = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container]}
    if node is not None:
        pod["nodeName"] = node
    spec = {"backoffLimit": 0, "template": {"spec": pod}}
    job = from_dict({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec})
    assert isinstance(job, Job)
    return job


def wait_until(condition: Callable[[], Any], what: str, within_s: float = 60.0) -> Any:
    """Wait until a condition holds; return what it says then."""
    give_up_at = time.monotonic() + within_s
    while not (answer := condition()):
        assert time.monotonic() < give_up_at, what
        time.sleep(0.1)
    return answer


def find_pod(client: Client, job: str, namespace: str = "default") -> Pod:
    """The pod of a Job, once it is there."""
    pods = wait_until(
        lambda: list(client.list(Pod, namespace=namespace, labels={"job-name": job})), f"no pod of {job} is made"
    )
    pod: Pod = pods[0]
    return pod


def phase(client: Client, pod: Pod) -> str | None:
    """The phase that a pod is in now."""
    assert pod.metadata is not None
    status = client.get(Pod, str(pod.metadata.name), namespace=str(pod.metadata.namespace)).status
    return None if status is None else status.phase


def read_log(client: Client, job: str, namespace: str = "default") -> str:
    """Wait for the end of the pod of a Job; return what it printed."""
    pod = find_pod(client, job, namespace)
    wait_until(lambda: phase(client, pod) in ("Succeeded", "Failed"), f"{job} does not end")
    assert pod.metadata is not None
    return "".join(client.log(str(pod.metadata.name), namespace=namespace))


def count_ends(client: Client, job: str) -> tuple[int | None, int | None]:
    """The numbers of pods of a Job that have succeeded and failed."""
    status = client.get(Job, job).status
    return (None, None) if status is None else (status.succeeded, status.failed)


def make_namespace(client: Client, name: str, level: str) -> None:
    """Make a namespace with a level of Pod Security, and wait for its service account."""
    labels = {"pod-security.kubernetes.io/enforce": level}
    client.create(Namespace(metadata=ObjectMeta(name=name, labels=labels)))
    wait_until(lambda: list(client.list(ServiceAccount, namespace=name)), f"{name} has no account")


def is_ready(client: Client, name: str) -> bool:
    status = client.get(Node, name).status
    conditions = (status.conditions if status is not None else None) or []
    return any(entry.type == "Ready" and entry.status == "True" for entry in conditions)


def test_each_node_is_ready(client: Client) -> None:
    nodes = {str(node.metadata.name): node for node in client.list(Node) if node.metadata is not None}
    assert {name: is_ready(client, name) for name in nodes} == {"node-1": True, "node-2": True}


@pytest.mark.parametrize("node", ["node-1", "node-2"])
def test_a_job_runs_on_each_node_and_its_log_is_read(client: Client, node: str) -> None:
    client.create(make_job(f"hello-{node}", "print", "hello", "from", node, node=node))
    assert read_log(client, f"hello-{node}") == f"hello from {node}\n"
    wait_until(lambda: count_ends(client, f"hello-{node}") == (1, None), "the Job has not succeeded")


@pytest.mark.parametrize("node", ["node-1", "node-2"])
def test_nodes_begin_with_the_images_of_a_store(client: Client, node: str) -> None:
    client.create(make_job(f"stored-{node}", "print", "stored", node=node, image=STORED_IMAGE))
    assert read_log(client, f"stored-{node}") == "stored\n"


def test_a_job_that_fails_is_seen(client: Client) -> None:
    client.create(make_job("fails", "exit", "3"))
    pod = find_pod(client, "fails")
    wait_until(lambda: phase(client, pod) == "Failed", "the pod has not failed")
    wait_until(lambda: count_ends(client, "fails") == (None, 1), "the Job has not failed")


def test_a_pod_reaches_the_api_server_as_its_service_account(client: Client) -> None:
    client.create(make_job("account", "get", "https://$(KUBERNETES_SERVICE_HOST)/api/v1/namespaces/default/secrets"))
    log = read_log(client, "account")
    assert log.startswith("403\n")
    assert "system:serviceaccount:default:default" in log


def test_a_pod_reaches_a_server_on_loopback_of_this_machine(client: Client, cluster: Cluster) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    relay = cluster.publish(server.server_port)
    client.create(make_job("outside", "get", relay.url, node="node-2"))
    assert read_log(client, "outside").startswith("501\n")  # a handler that can do nothing has answered
    server.shutdown()
    server.server_close()


def test_a_pod_reaches_the_object_store_and_the_database(
    client: Client, cluster: Cluster, s3_server: s3.Server, own_server: postgresql.Server
) -> None:
    store = cluster.publish(int(s3_server.environ["AWS_ENDPOINT_URL"].rpartition(":")[2]))
    client.create(make_job("store", "get", store.url, node="node-1"))
    assert read_log(client, "store").startswith("200\n")
    database = cluster.publish(own_server.folder / ".s.PGSQL.5432").url.partition("//")[2]
    client.create(make_job("database", "connect", database, node="node-1"))
    assert read_log(client, "database") == f"connected to {database}\n"
    url = f"postgresql://{own_server.user}@{database}/postgres"
    argv = [*cluster.machines["node-1"].enter_network, f"{own_server.programs}/psql", "-qAtX", url, "-c", "SELECT 1"]
    assert subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout == "1\n"


def test_pods_by_the_hundred_on_nodes_without_machines(client: Client, cluster: Cluster) -> None:
    kwok.add_nodes(cluster, 3)
    job = make_job("many", "print", "never printed")
    assert job.spec is not None
    assert job.spec.template.spec is not None
    job.spec.completions = job.spec.parallelism = 500
    job.spec.template.spec.nodeSelector = kwok.LABELS
    job.spec.template.spec.tolerations = [Toleration(key=kwok.ANNOTATION, operator="Exists")]
    client.create(job)
    wait_until(lambda: count_ends(client, "many") == (500, None), "the Job does not end", within_s=120)


def test_a_restricted_namespace_takes_a_compliant_pod_alone(client: Client) -> None:
    make_namespace(client, "restricted", "restricted")
    client.create(make_job("good", "print", "good", security=RESTRICTED), namespace="restricted")
    assert read_log(client, "good", "restricted") == "good\n"
    client.create(make_job("bad", "print", "bad", security={"privileged": True}), namespace="restricted")
    event = wait_until(
        lambda: [entry for entry in client.list(Event, namespace="restricted") if entry.reason == "FailedCreate"],
        "no pod is refused",
    )[0]
    assert "violates PodSecurity" in event.message
    assert list(client.list(Pod, namespace="restricted", labels={"job-name": "bad"})) == []


def test_a_privileged_pod_runs_where_that_is_allowed(client: Client) -> None:
    client.create(make_job("privileged", "print", "allowed", security={"privileged": True}))
    assert read_log(client, "privileged") == "allowed\n"


def test_a_user_without_rights_is_refused(cluster: Cluster) -> None:
    with pytest.raises(ApiError) as refused:
        list(connect(cluster, "visitor").list(Pod, namespace="default"))
    assert refused.value.status.code == 403
    assert 'User "visitor" cannot list resource "pods"' in str(refused.value)


def test_the_api_server_is_killed_and_started_again(client: Client, cluster: Cluster) -> None:
    client.create(make_job("before", "print", "before"))
    assert read_log(client, "before") == "before\n"
    cluster.program("apiserver").kill()
    with pytest.raises(OSError, match=r"closed|refused|reset|EOF"):
        cluster.request("/readyz")
    cluster.program("apiserver").start()
    cluster.wait_for_api()
    assert read_log(client, "before") == "before\n"
    client.create(make_job("after", "print", "after"))
    assert read_log(client, "after") == "after\n"


def test_the_whole_control_plane_is_killed_and_started_again(client: Client, cluster: Cluster) -> None:
    components = [cluster.program(name) for name in ("etcd", "apiserver", "controller-manager", "scheduler")]
    for component in components:
        component.kill()
    for component in components:
        component.start()
    cluster.wait_for_api()
    client.create(make_job("again", "print", "again"))
    assert read_log(client, "again") == "again\n"


@pytest.mark.parametrize("component", ["kubelet", "containerd"])
def test_a_pod_outlives_the_program_that_started_it(client: Client, cluster: Cluster, component: str) -> None:
    client.create(make_job(f"outlives-{component}", "wait", node="node-1"))
    pod = find_pod(client, f"outlives-{component}")
    wait_until(lambda: phase(client, pod) == "Running", "the pod does not run")
    cluster.program(component, "node-1").kill()
    cluster.program(component, "node-1").start()
    client.create(make_job(f"after-{component}", "print", "after", node="node-1"))
    assert read_log(client, f"after-{component}") == "after\n"
    assert phase(client, pod) == "Running"
    client.delete(Job, f"outlives-{component}", namespace="default")


def test_a_node_that_is_cut_off_is_not_ready_until_it_is_connected_again(client: Client, cluster: Cluster) -> None:
    cluster.cut("node-2")
    wait_until(lambda: not is_ready(client, "node-2"), "the node stays ready")
    cluster.mend("node-2")
    wait_until(lambda: is_ready(client, "node-2"), "the node does not come back")
    client.create(make_job("mended", "print", "mended", node="node-2"))
    assert read_log(client, "mended") == "mended\n"


def test_nothing_listens_outside_loopback(cluster: Cluster) -> None:
    """All programs are in networks of their own, and this process listens for them on loopback alone."""
    programs = {program.pid for held in cluster.machines.values() for program in held.programs.values()}
    own = Path("/proc/self/ns/net").readlink()
    assert [pid for pid in programs if Path(f"/proc/{pid}/ns/net").readlink() == own] == []
    assert list_own_listeners() == {"0100007F"}


def list_own_listeners() -> set[str]:
    """The addresses that this process listens on in its own network, as the kernel writes them."""
    sockets = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            sockets.add(str(descriptor.readlink()).removeprefix("socket:[").removesuffix("]"))
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()[1:]]
    return {row[1].partition(":")[0] for row in rows if row[3] == "0A" and row[9] in sockets}


# --- the end ---------------------------------------------------------------------------------------------------------

OWNER = """
import sys
from pathlib import Path
from tests.servers import containerd, image_archives, kubernetes, kwok, postgresql, s3
with kubernetes.serve(kubernetes.require_programs(), Path(sys.argv[1])) as cluster:
    for held in cluster.machines.values():
        print(held.folder, held.holder.pid)
    cluster.kubeconfig()
    print("ready", flush=True)
    sys.stdin.read()
"""
"""A program that owns a cluster until its standard input ends."""

SYSCTLS = ("vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops", "net/ipv4/ip_forward")


def read_kernel() -> dict[str, object]:
    """What a cluster might change for this whole machine."""
    values: dict[str, object] = {name: Path("/proc/sys", name).read_text() for name in SYSCTLS}
    values["interfaces"] = {path.name for path in Path("/sys/class/net").iterdir()}
    values["routes"] = Path("/proc/net/route").read_text()
    return values


def list_processes(holders: set[int]) -> dict[int, str]:
    """The processes of the machines that these processes hold, with those in containers: number -> name."""
    parents, names, found = {}, {}, set()
    spaces = {Path(f"/proc/{holder}/task/{holder}/children").read_text().split()[0] for holder in holders}
    inside = {Path(f"/proc/{unshare}/ns/pid_for_children").readlink() for unshare in spaces}
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit():
                name, _, rest = (entry / "stat").read_text().partition("(")[2].rpartition(")")
                parents[int(entry.name)], names[int(entry.name)] = int(rest.split()[1]), name
                if (entry / "ns" / "pid").readlink() in inside:
                    found.add(int(entry.name))
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return {pid: names[pid] for pid in found}


@pytest.mark.parametrize("end", [None, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_at_the_end(tmp_path: Path, end: signal.Signals | None) -> None:
    """The owner ends by itself, or is killed; a pod runs."""
    kubernetes.require_programs()
    before = read_kernel()
    argv = [sys.executable, "-c", OWNER, str(tmp_path)]
    owner = subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert owner.stdin is not None
    assert owner.stdout is not None
    machines: dict[Path, int] = {}
    while (line := owner.stdout.readline()) != "ready\n":
        folder, holder = line.split()
        machines[Path(folder)] = int(holder)
    client = Client(config=KubeConfig.from_file(tmp_path / "admin.kubeconfig"))
    client.create(make_job("left", "wait"))
    pod = find_pod(client, "left")
    wait_until(lambda: phase(client, pod) == "Running", "the pod does not run")
    processes = list_processes(set(machines.values()))
    assert {"etcd", "kube-apiserver", "kubelet", "containerd", "pod-program"} <= set(processes.values())
    if end is None:
        owner.stdin.close()
    else:
        owner.send_signal(end)
    owner.wait(60)
    wait_until(lambda: not any(folder.exists() for folder in machines), "folders are left")
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in machines.values()), "a holder is left")
    assert {pid: name for pid, name in processes.items() if Path(f"/proc/{pid}").exists()} == {}
    mounts = Path("/proc/self/mountinfo").read_text()
    cgroups = [path for folder in machines for path in Path("/sys/fs/cgroup").glob(f"*/{folder.name}")]
    assert (cgroups, [folder for folder in machines if folder.name in mounts]) == ([], [])
    assert read_kernel() == before
