"""Run containerd 1.6 on machines for tests, and give it images without a registry."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.servers.kubernetes_files import CONTAINERD_SOCKET, POD_IMAGE, Programs
from tests.servers.machines import Machine, Program, machine

_DATA = "lib/containerd"
_LISTENS_WITHIN_S = 60.0


def start(on: Machine, programs: Programs, config: Path, networks: Path) -> Program:
    """Start containerd on a machine and wait until it listens. `networks`: the folder of the networks of its pods."""
    config.write_text(_describe(programs, networks))
    containerd = on.add("containerd", [programs.path("containerd"), f"--config={config}"], {"PATH": programs.search})
    containerd.start()
    socket = on.folder / CONTAINERD_SOCKET.lstrip("/")
    give_up_at = time.monotonic() + _LISTENS_WITHIN_S
    while not socket.exists():
        assert containerd.running, containerd.tail()
        assert time.monotonic() < give_up_at, containerd.tail()
        time.sleep(0.02)
    return containerd


def import_image(on: Machine, programs: Programs, archive: Path) -> None:
    """Import an archive of an image, as docker or as the OCI writes it, for pods of a machine."""
    ctr = [programs.path("ctr"), f"--address={CONTAINERD_SOCKET}", "--namespace=k8s.io"]
    on.run(*ctr, "images", "import", str(archive), timeout_s=600)


@contextmanager
def image_store(programs: Programs, folder: Path, archives: Sequence[Path]) -> Iterator[Path]:
    """Yield the data of a containerd that has imported these archives, for nodes that have the images at once.

    They are on the disk once, however many nodes begin with them. `folder` keeps the logs.
    """
    with machine(folder) as store:
        containerd = start(store, programs, folder / "containerd.toml", folder)
        for archive in archives:
            import_image(store, programs, archive)
        containerd.stop()
        yield store.folder / _DATA


def begin_with(store: Path, on: Machine) -> None:
    """Give a machine the images of a store, by links: neither changes files but its databases, which are copied."""
    target = on.folder / _DATA
    subprocess.run(["cp", "--archive", "--link", str(store), str(target)], check=True)
    for database in store.rglob("*.db"):
        copy = target / database.relative_to(store)
        copy.unlink()
        shutil.copy(database, copy)


def _describe(programs: Programs, networks: Path) -> str:
    """The configuration. A container's oom_score_adj is at least containerd's: less is not granted everywhere."""
    unused = [f"io.containerd.snapshotter.v1.{name}" for name in ("aufs", "btrfs", "devmapper", "zfs")]
    return f"""\
version = 2
root = "/var/{_DATA}"
state = "/run/containerd"
disabled_plugins = {json.dumps(unused)}
[grpc]
  address = "{CONTAINERD_SOCKET}"
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/{_DATA}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{POD_IMAGE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        BinaryName = "{programs.path("runc")}"
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{programs.plugins}"
    conf_dir = "{networks}"
"""
