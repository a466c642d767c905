"""The configuration of a cluster for tests: addresses, command lines and files of each component.

Addresses exist in the networks of the cluster's machines alone. The API server has the first address of the range of
services, which is that of the service `kubernetes`: pods reach it without a proxy.
"""

import base64
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
UNPACKED = ROOT / ".venv" / "kubernetes"
"""Where `make kubernetes` puts what it builds and unpacks."""

API_ADDRESS = "10.86.0.1"
SERVICE_RANGE = "10.86.0.0/16"
CONTROL_ADDRESS = "10.87.0.1"
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
POD_IMAGE = "localhost/pod-program:1"
"""The image of tests/programs/pod_program, which sandboxes have too."""

_PROGRAMS = (
    *("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"),
    *("kubelet", "containerd", "containerd-shim-runc-v2", "ctr", "runc", "pod-program"),
    *("nsenter", "unshare", "ip"),
)
_CNI_PLUGINS = ("bridge", "host-local", "loopback")


def node_address(number: int) -> str:
    return f"10.87.0.{10 + number}"


def pod_range(number: int) -> str:
    return f"10.88.{number}.0/24"


@dataclass(frozen=True)
class Programs:
    """Where the programs of a cluster are. `missing`: those that are nowhere and that every cluster needs."""

    search: str
    plugins: Path
    missing: tuple[str, ...]

    def has(self, name: str) -> bool:
        return shutil.which(name, path=self.search) is not None

    def path(self, name: str) -> str:
        """The path of a program that is there."""
        found = shutil.which(name, path=self.search)
        assert found is not None, name
        return found


def find_programs(path: str) -> Programs:
    """Find the programs where `make kubernetes` puts them, or on a path such as that of the environment."""
    search = f"{UNPACKED}/bin:{UNPACKED}/usr/bin:{UNPACKED}/usr/sbin:{path}:/usr/sbin:/sbin"
    folders = [UNPACKED / "usr/lib/cni", Path("/usr/lib/cni"), Path("/opt/cni/bin")]
    plugins = next((folder for folder in folders if (folder / "bridge").exists()), folders[0])
    missing = [
        *(name for name in _PROGRAMS if shutil.which(name, path=search) is None),
        *(f"CNI plugin {name}" for name in _CNI_PLUGINS if not (plugins / name).exists()),
    ]
    return Programs(search, plugins, tuple(missing))


@dataclass(frozen=True)
class Identity:
    """Who a component or a person is to the API server."""

    user: str
    groups: Sequence[str]
    token: str

    @property
    def line(self) -> str:
        """Its line of the file of tokens."""
        return f'{self.token},{self.user},{self.user},"{",".join(self.groups)}"\n'


def write_kubeconfig(path: Path, server: str, authority: Path, identity: Identity) -> Path:
    """Write a kubeconfig that needs no other file; return its path."""
    trusted = base64.b64encode(authority.read_bytes()).decode()
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "tests", "cluster": {"server": server, "certificate-authority-data": trusted}}],
        "users": [{"name": identity.user, "user": {"token": identity.token}}],
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": identity.user}}],
        "current-context": "tests",
    }
    return write_json(path, document)


def write_json(path: Path, document: Mapping[str, Any]) -> Path:
    path.write_text(json.dumps(document, indent=1))
    path.chmod(0o600)
    return path


def etcd() -> list[str]:
    """The command line of etcd: on loopback of its machine, and quick rather than durable."""
    client, peer = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
    return [
        "etcd",
        "--data-dir=/var/lib/etcd",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def apiserver(keys: Path) -> list[str]:
    """The command line of the API server. `keys`: the folder of certificates, keys and tokens."""
    return [
        "kube-apiserver",
        "--etcd-servers=http://127.0.0.1:2379",
        "--bind-address=0.0.0.0",
        "--secure-port=443",
        f"--advertise-address={API_ADDRESS}",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        f"--tls-cert-file={keys}/apiserver.crt",
        f"--tls-private-key-file={keys}/apiserver.key",
        f"--client-ca-file={keys}/authority.crt",
        f"--token-auth-file={keys}/tokens.csv",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={keys}/accounts.pub",
        f"--service-account-signing-key-file={keys}/accounts.key",
        f"--kubelet-client-certificate={keys}/apiserver-client.crt",
        f"--kubelet-client-key={keys}/apiserver-client.key",
        f"--kubelet-certificate-authority={keys}/authority.crt",
        "--kubelet-preferred-address-types=InternalIP",
        "--shutdown-watch-termination-grace-period=1s",  # by default, watches hold up its end for over a minute
        "--v=1",
    ]


def controller_manager(keys: Path) -> list[str]:
    return [
        "kube-controller-manager",
        f"--kubeconfig={keys}/controller-manager.kubeconfig",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
        "--use-service-account-credentials=true",
        "--kube-api-qps=500",  # each controller asks for its token first: with the usual 20 all are there after 6 s
        "--kube-api-burst=1000",
        f"--service-account-private-key-file={keys}/accounts.key",
        f"--root-ca-file={keys}/authority.crt",
        "--v=1",
    ]


def scheduler(keys: Path) -> list[str]:
    return [
        "kube-scheduler",
        f"--kubeconfig={keys}/scheduler.kubeconfig",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
        "--v=1",
    ]


def kubelet(keys: Path, name: str, number: int) -> list[str]:
    """The command line of a node's kubelet. Its files have the node's name."""
    return [
        "kubelet",
        f"--config={keys}/{name}.json",
        f"--kubeconfig={keys}/{name}.kubeconfig",
        f"--hostname-override={name}",
        f"--node-ip={node_address(number)}",
        "--v=1",
    ]


def kubelet_config(keys: Path, name: str, number: int, cgroup: str) -> dict[str, Any]:
    """The configuration of a node's kubelet. Its containers are in `cgroup`; a full disk evicts nothing."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{keys}/authority.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{keys}/{name}.crt",
        "tlsPrivateKeyFile": f"{keys}/{name}.key",
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroup,
        "failCgroupV1": False,
        "failSwapOn": False,
        "makeIPTablesUtilChains": False,
        "podCIDR": pod_range(number),
        "resolvConf": f"{keys}/resolv.conf",
        "volumePluginDir": "/var/lib/kubelet/plugins-of-volumes",
        "nodeStatusUpdateFrequency": "2s",
        "syncFrequency": "10s",
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "0%", "imagefs.available": "0%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
    }


def network_config(number: int) -> dict[str, Any]:
    """The network of a node's pods: a bridge of its own, and routes to the other machines without translation."""
    addresses = {"type": "host-local", "ranges": [[{"subnet": pod_range(number)}]], "routes": [{"dst": "0.0.0.0/0"}]}
    bridge = {"type": "bridge", "bridge": "pods", "isGateway": True, "hairpinMode": True, "ipam": addresses}
    return {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge]}
