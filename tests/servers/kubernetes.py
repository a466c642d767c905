"""Start a Kubernetes cluster for tests: a real control plane and real nodes, each on a machine of its own.

In the network of this machine it has nothing but a relay on loopback, which tests can cut. Nothing is left at the end.
"""

import http.client
import json
import os
import secrets
import socket
import ssl
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.servers import certificates, containerd, image_archives, kubernetes_files
from tests.servers.cutting_proxy import CuttingProxy
from tests.servers.kubernetes_files import API_ADDRESS, CONTROL_ADDRESS, Identity, Programs
from tests.servers.machines import Machine, Program, machine

ADMIN = "admin"
CONTROL = "control"
_WITHIN_S = 90.0
_EVERY_S = 0.05


@dataclass(frozen=True)
class Options:
    """What a test wants otherwise. `users`: the groups of further users; `flags`: more flags, by component.

    `kubelet`: values of every kubelet's configuration; `images`: what nodes begin with, from containerd.image_store.
    """

    nodes: int = 1
    users: Mapping[str, Sequence[str]] = field(default_factory=dict)
    flags: Mapping[str, Sequence[str]] = field(default_factory=dict)
    kubelet: Mapping[str, Any] = field(default_factory=dict)
    images: Path | None = None


@dataclass
class Cluster:
    """A cluster that runs. `folder`: files and logs; `machines`: that of the control plane and the nodes, by name."""

    folder: Path
    options: Options
    programs: Programs
    identities: Mapping[str, Identity]
    authority: certificates.Authority
    machines: dict[str, Machine] = field(default_factory=dict)
    relays: list[CuttingProxy] = field(default_factory=list)

    @property
    def keys(self) -> Path:
        """The folder of what its components read: certificates, keys, tokens, configurations."""
        return self.folder / "keys"

    @property
    def nodes(self) -> list[str]:
        return [name for name in self.machines if name != CONTROL]

    @property
    def api(self) -> CuttingProxy:
        """The relay to the API server, which tests can cut."""
        return self.relays[0]

    @property
    def url(self) -> str:
        return self.api.url.replace("http:", "https:")

    def program(self, name: str, machine: str | None = None) -> Program:
        """A component of the control plane, or `kubelet` or `containerd` of a machine."""
        where = machine or next(key for key, value in self.machines.items() if name in value.programs)
        return self.machines[where].programs[name]

    def kubeconfig(self, user: str = ADMIN) -> Path:
        """Write the kubeconfig of a user who is on this machine; return its path."""
        path = self.folder / f"{user}.kubeconfig"
        return kubernetes_files.write_kubeconfig(path, self.url, self.authority.certificate, self.identities[user])

    def request(self, path: str, user: str = ADMIN, document: Mapping[str, Any] | None = None) -> Any:
        """Ask the API server, or post a document; return the answer, parsed where it is JSON."""
        headers = {"Authorization": f"Bearer {self.identities[user].token}", "Content-Type": "application/json"}
        data = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(f"{self.url}{path}", data=data, headers=headers)
        context = ssl.create_default_context(cafile=str(self.authority.certificate))
        with urllib.request.urlopen(request, timeout=30, context=context) as answer:
            text = answer.read().decode()
        return json.loads(text) if text.startswith(("{", "[")) else text

    def is_ready(self, node: str) -> bool:
        """Whether a node is Ready."""
        conditions = self.request(f"/api/v1/nodes/{node}")["status"].get("conditions", [])
        return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in conditions)

    def wait_for(self, condition: Callable[[], Any], what: str, within_s: float = _WITHIN_S) -> None:
        """Wait until a condition holds; an error of the API server counts as no."""
        give_up_at = time.monotonic() + within_s
        while True:
            with suppress(http.client.HTTPException, OSError):
                if condition():
                    return
            assert time.monotonic() < give_up_at, f"not within {within_s:g} s: {what}\n{self._describe()}"
            time.sleep(_EVERY_S)

    def wait_for_api(self) -> None:
        self.wait_for(lambda: self.request("/readyz") == "ok", "the API server is ready")

    def wait_for_node(self, node: str) -> None:
        self.wait_for(lambda: self.is_ready(node), f"{node} is Ready")

    def wait_for_nodes(self) -> None:
        """Wait until every node is Ready, and pods of the namespace `default` can be made."""
        for node in self.nodes:
            self.wait_for_node(node)
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        self.wait_for(lambda: self.request(account), "the namespace has its account")

    def import_image(self, archive: Path, nodes: Sequence[str] | None = None) -> None:
        """Import an archive of an image, as docker or as the OCI writes it, on each node."""
        for node in nodes or self.nodes:
            containerd.import_image(self.machines[node], self.programs, archive)

    def cut(self, node: str) -> None:
        """Cut a node off from all other machines: its programs and pods go on."""
        self.machines[CONTROL].configure_network(f"link set {node} down")

    def mend(self, node: str) -> None:
        """Connect a node again."""
        self.machines[CONTROL].configure_network(f"link set {node} up")

    def publish(self, server: int | Path) -> CuttingProxy:
        """Make a server of this machine reachable for pods, at the address of the returned relay.

        `server`: a port on loopback, or a unix socket.
        """
        port, connect = (server, None) if isinstance(server, int) else (0, partial(_connect_unix, server))
        listening = self.machines[CONTROL].listen(CONTROL_ADDRESS)
        self.relays.append(CuttingProxy("127.0.0.1", port, connect=connect, listening=listening))
        return self.relays[-1]

    def close_relays(self) -> None:
        for relay in self.relays:
            relay.close()

    def _describe(self) -> str:
        """The state of each program and the end of its log."""
        programs = [program for machine in self.machines.values() for program in machine.programs.values()]
        return "\n".join(
            f"--- {program.name}, running: {program.running}\n{program.tail(1500)}" for program in programs
        )


def require_programs() -> Programs:
    """Find the programs of a cluster; skips the test where one is missing."""
    if os.geteuid() != 0:
        pytest.skip("needs root, for a Kubernetes control plane")
    programs = kubernetes_files.find_programs(os.environ.get("PATH", ""))
    if programs.missing:
        pytest.skip(f"needs a Kubernetes control plane: no {', '.join(programs.missing)} (`make kubernetes`)")
    return programs


@contextmanager
def serve(programs: Programs, folder: Path, options: Options | None = None) -> Iterator[Cluster]:
    """Yield a cluster whose nodes are Ready, with its logs in `folder`."""
    cluster = _prepare(programs, folder, options or Options())
    with ExitStack() as stack:
        names = [CONTROL, *(f"node-{number}" for number in range(1, cluster.options.nodes + 1))]
        for name in names:
            cluster.machines[name] = stack.enter_context(machine(folder / name))
        control = cluster.machines[CONTROL]
        cluster.relays.append(CuttingProxy(API_ADDRESS, 443, connect=control.connect))
        stack.callback(cluster.close_relays)
        with ThreadPoolExecutor() as pool:
            starts = [pool.submit(_start_control, cluster)]
            _connect_control(control)
            for number, name in enumerate(names[1:], start=1):
                starts.append(pool.submit(_start_node, cluster, name, number))
            for start in starts:
                start.result()
        cluster.wait_for_nodes()
        yield cluster


def _prepare(programs: Programs, folder: Path, options: Options) -> Cluster:
    """Make the keys, tokens and image of a cluster."""
    keys = folder / "keys"
    keys.mkdir(parents=True, mode=0o700)
    groups = {
        ADMIN: ["system:masters"],
        "system:kube-controller-manager": [],
        "system:kube-scheduler": [],
        **{f"system:node:node-{number}": ["system:nodes"] for number in range(1, options.nodes + 1)},
        **options.users,
    }
    identities = {user: Identity(user, names, secrets.token_hex(16)) for user, names in groups.items()}
    (keys / "tokens.csv").write_text("".join(identity.line for identity in identities.values()))
    (keys / "resolv.conf").write_text("")
    authority = certificates.make_authority(keys / "authority")
    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost", "127.0.0.1"]
    authority.sign_server(keys / "apiserver", [*names, API_ADDRESS, CONTROL_ADDRESS])
    authority.sign_client(keys / "apiserver-client", "apiserver", "system:masters")
    certificates.write_public_key(keys / "accounts.pub", certificates.write_key(keys / "accounts.key"))
    for component in ("controller-manager", "scheduler"):
        identity = identities[f"system:kube-{component}"]
        _write_inner_kubeconfig(keys / f"{component}.kubeconfig", authority, identity)
    program = Path(programs.path("pod-program"))
    image_archives.write_archive(
        folder / "pod-program.tar", kubernetes_files.POD_IMAGE, {"/pod-program": program}, ["/pod-program"]
    )
    return Cluster(folder, options, programs, identities, authority)


def _write_inner_kubeconfig(path: Path, authority: certificates.Authority, identity: Identity) -> None:
    """Write the kubeconfig of a component, which is on a machine of the cluster."""
    kubernetes_files.write_kubeconfig(path, f"https://{API_ADDRESS}", authority.certificate, identity)


def _connect_control(control: Machine) -> None:
    control.configure_network(
        "link add fabric type bridge",
        f"address add {CONTROL_ADDRESS}/24 dev fabric",
        f"address add {API_ADDRESS}/32 dev lo",
        "link set fabric up",
    )


def _add(cluster: Cluster, where: str, name: str, argv: Sequence[str]) -> Program:
    """Add a component to a machine, with the flags that the test wants."""
    argv = [cluster.programs.path(argv[0]), *argv[1:], *cluster.options.flags.get(name, ())]
    return cluster.machines[where].add(name, argv, {"PATH": cluster.programs.search})


def _start_control(cluster: Cluster) -> None:
    """Start the control plane; each component once it can reach the one before."""
    etcd = _add(cluster, CONTROL, "etcd", kubernetes_files.etcd())
    apiserver = _add(cluster, CONTROL, "apiserver", kubernetes_files.apiserver(cluster.keys))
    manager = _add(cluster, CONTROL, "controller-manager", kubernetes_files.controller_manager(cluster.keys))
    scheduler = _add(cluster, CONTROL, "scheduler", kubernetes_files.scheduler(cluster.keys))
    etcd.start()
    cluster.wait_for(lambda: etcd.must_run() and _answers(cluster.machines[CONTROL], 2379), "etcd answers")
    apiserver.start()
    cluster.wait_for(lambda: apiserver.must_run() and cluster.request("/readyz") == "ok", "the API server is ready")
    manager.start()
    scheduler.start()


def _connect_unix(path: Path, host: str, port: int) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(path))
    return connection


def _answers(on: Machine, port: int) -> bool:
    """Whether a server on loopback of a machine takes a connection; raises OSError where it does not."""
    on.connect("127.0.0.1", port).close()
    return True


def _start_node(cluster: Cluster, name: str, number: int) -> None:
    """Connect a node's machine to the others, and start containerd and kubelet there."""
    node, control, keys = cluster.machines[name], cluster.machines[CONTROL], cluster.keys
    address, pods = kubernetes_files.node_address(number), kubernetes_files.pod_range(number)
    control.configure_network(
        f"link add {name} type veth peer name eth0 netns {node.pid}",
        f"link set {name} master fabric up",
        f"route add {pods} via {address}",
    )
    node.configure_network(
        f"address add {address}/24 dev eth0", "link set eth0 up", f"route add default via {CONTROL_ADDRESS}"
    )
    networks = cluster.folder / name / "networks"
    networks.mkdir()
    kubernetes_files.write_json(networks / "pods.conflist", kubernetes_files.network_config(number))
    if cluster.options.images is not None:
        containerd.begin_with(cluster.options.images, node)
    containerd.start(node, cluster.programs, keys / f"{name}.toml", networks)
    cluster.authority.sign_server(keys / name, [name, address])
    _write_inner_kubeconfig(keys / f"{name}.kubeconfig", cluster.authority, cluster.identities[f"system:node:{name}"])
    config = {**kubernetes_files.kubelet_config(keys, name, number, node.cgroup), **cluster.options.kubelet}
    kubernetes_files.write_json(keys / f"{name}.json", config)
    kubelet = _add(cluster, name, "kubelet", kubernetes_files.kubelet(keys, name, number))
    cluster.import_image(cluster.folder / "pod-program.tar", [name])
    kubelet.start()
