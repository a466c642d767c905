"""Start containers of the image that `make image` built, by runc, as compose.yaml describes them."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness import __version__

IMAGE = f"ptp-harness:{__version__}"
STATE = "/var/lib/ptp-harness"
USER = 10001
_WITHIN_S = 120.0


def buildah(*words: str) -> str:
    return subprocess.run(["buildah", *words], check=True, capture_output=True, text=True, timeout=300).stdout.strip()


def read_image() -> dict[str, Any]:
    """Read what the image says of itself; skips the test where there is none."""
    if shutil.which("buildah") is None or os.geteuid() != 0:
        pytest.skip("needs root and buildah")
    if subprocess.run(["buildah", "inspect", "--type", "image", IMAGE], capture_output=True, check=False).returncode:
        pytest.skip(f"there is no image {IMAGE} (make image)")
    inspected: dict[str, Any] = json.loads(buildah("inspect", "--type", "image", IMAGE))
    return dict(inspected["Docker"]["config"])


@contextmanager
def mounted_image() -> Iterator[Path]:
    """Yield the folder of the image's files."""
    container = buildah("from", "--pull-never", IMAGE)
    try:
        yield Path(buildah("mount", container))
    finally:
        buildah("rm", container)


@dataclass(frozen=True)
class Container:
    """A container that runs."""

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path

    def execute(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a program in the container."""
        argv = ["runc", "exec", self.name, *words]
        return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)

    def stop(self) -> int:
        """Ask its first process to end; return its exit status."""
        subprocess.run(["runc", "kill", self.name, signal.SIGTERM.name], check=True)
        return self.process.wait(60)

    def wait_for_line(self, text: str) -> None:
        """Wait until it has printed a text."""
        give_up_at = time.monotonic() + _WITHIN_S
        while text not in self.log.read_text():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < give_up_at, self.log.read_text()
            time.sleep(0.1)


@contextmanager
def running(
    root: Path,
    folder: Path,
    argv: Sequence[str],
    environ: Sequence[str],
    *,
    binds: Mapping[str, Path],
    network: Path | None = None,
) -> Iterator[Container]:
    """Yield a container with what compose.yaml gives ours: a read-only root, a /tmp, no capability, binds.

    `network`: a network namespace; None: that of this machine.
    """
    if shutil.which("runc") is None:
        pytest.skip("needs runc")
    folder.mkdir(parents=True, exist_ok=True)
    config = make_runtime_config(root, argv, environ, binds, network)
    (folder / "config.json").write_text(json.dumps(config))
    name = f"ptp-harness-{folder.name}-{os.getpid()}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["runc", "run", "--bundle", str(folder), name], stdout=log, stderr=log)
    try:
        yield Container(name, process, folder / "log")
    finally:
        subprocess.run(["runc", "kill", name, "KILL"], capture_output=True, check=False)
        process.wait(60)


def make_runtime_config(
    root: Path, argv: Sequence[str], environ: Sequence[str], binds: Mapping[str, Path], network: Path | None
) -> dict[str, Any]:
    """Make the config of a container as the runtime specification has it."""
    bound = [
        {"destination": place, "type": "bind", "source": str(path), "options": ["bind", "nosuid", "nodev"]}
        for place, path in binds.items()
    ]
    mounts = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"]},
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "size=64m"]},
        *bound,
    ]
    namespaces = [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")]
    if network is not None:
        namespaces.append({"type": "network", "path": str(network)})
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": USER, "gid": USER},
            "args": list(argv),
            "env": list(environ),
            "cwd": STATE,
            "noNewPrivileges": True,
            "capabilities": {kind: [] for kind in ("bounding", "effective", "permitted", "inheritable", "ambient")},
        },
        "root": {"path": str(root), "readonly": True},
        "mounts": mounts,
        "linux": {"namespaces": namespaces},
    }
