"""The image that `make image` built: what is in it, and the service from it, with a read-only root and no rights."""

import importlib.metadata
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from harness import __version__

IMAGE = f"ptp-harness:{__version__}"
SCHEMA = Path(__file__).parents[1] / "data" / "cyclonedx" / "bom-1.6.json"
STATE = "var/lib/ptp-harness"
USER = 10001
_WITHIN_S = 120.0

pytestmark = [pytest.mark.packaging, pytest.mark.timeout(600)]


def buildah(*words: str) -> str:
    return subprocess.run(["buildah", *words], check=True, capture_output=True, text=True, timeout=300).stdout.strip()


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    """What the image says of itself."""
    if shutil.which("buildah") is None or os.geteuid() != 0:
        pytest.skip("needs root and buildah")
    if subprocess.run(["buildah", "inspect", "--type", "image", IMAGE], capture_output=True, check=False).returncode:
        pytest.skip(f"there is no image {IMAGE} (make image)")
    inspected: dict[str, Any] = json.loads(buildah("inspect", "--type", "image", IMAGE))
    return dict(inspected["Docker"]["config"])


@pytest.fixture(scope="module")
def root(config: dict[str, Any]) -> Iterator[Path]:
    """The files of the image."""
    container = buildah("from", "--pull-never", IMAGE)
    yield Path(buildah("mount", container))
    buildah("rm", container)


def test_the_image_runs_the_service_as_a_user_of_its_own(config: dict[str, Any]) -> None:
    assert (config["User"], config["Entrypoint"], config["Cmd"][0]) == ("10001:10001", ["ptp-harness"], "serve")
    assert list(config["Volumes"]) == [f"/{STATE}"]
    assert config["Labels"]["org.opencontainers.image.version"] == __version__
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert config["Healthcheck"]["Test"][:2] == ["CMD", "python3"]


def test_the_image_has_nothing_that_builds_or_installs_python_packages(root: Path) -> None:
    for folder in ("usr/bin", "usr/local/bin", "opt/ptp-harness/bin"):
        names = {path.name for path in (root / folder).iterdir()}
        assert not names & {"gcc", "cc", "c++", "g++", "make", "ld", "pip", "pip3", "git", "curl", "wget"}, folder
    assert not list((root / "opt/ptp-harness/lib").glob("*/site-packages/pip*"))
    assert not list((root / "var/lib/apt/lists").glob("*Packages*"))
    assert not (root / "build").exists()


def test_the_list_of_packages_is_true_and_of_the_published_form(root: Path) -> None:
    document = json.loads((root / "opt/ptp-harness/sbom.cdx.json").read_text())
    jsonschema.validate(document, json.loads(SCHEMA.read_text()))
    listed = {part["purl"] for part in document["components"]}
    installed = {
        f"pkg:pypi/{str(package.metadata['Name']).lower().replace('_', '-')}@{package.version}"
        for folder in (root / "opt/ptp-harness/lib").glob("*/site-packages")
        for package in importlib.metadata.distributions(path=[str(folder)])
    }
    assert {purl.lower() for purl in listed if purl.startswith("pkg:pypi/")} == installed - {
        f"pkg:pypi/ptp-harness@{__version__}"
    }
    of_debian = {purl.split("?")[0].split("/")[-1].split("@")[0] for purl in listed if purl.startswith("pkg:deb/")}
    assert of_debian >= {"python3", "openssh-client", "libc6"}


@dataclass(frozen=True)
class Container:
    """The image, started by runc: read-only root, no capability, a volume, and this machine's loopback."""

    name: str
    port: int
    volume: Path

    def execute(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a program in the container."""
        argv = ["runc", "exec", self.name, *words]
        return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)

    def ask(self, path: str, token: str, document: object = None) -> Any:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        body = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", body, headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())


@pytest.fixture(scope="module")
def container(
    config: dict[str, Any], root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator["tuple[Container, subprocess.Popen[bytes]]"]:
    if shutil.which("runc") is None:
        pytest.skip("needs runc")
    bundle = tmp_path_factory.mktemp("bundle")
    volume = bundle / "volume"
    volume.mkdir()
    os.chown(volume, USER, USER)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    argv = [*config["Entrypoint"], "serve", "--listen", f"127.0.0.1:{port}"]
    (bundle / "config.json").write_text(json.dumps(make_runtime_config(root, volume, argv, config["Env"])))
    name = f"ptp-harness-test-{os.getpid()}"
    with (bundle / "log").open("wb") as log:
        process = subprocess.Popen(["runc", "run", "--bundle", str(bundle), name], stdout=log, stderr=log)
    try:
        started = Container(name, port, volume)
        give_up_at = time.monotonic() + _WITHIN_S
        while "serving on" not in (bundle / "log").read_text():
            assert process.poll() is None, (bundle / "log").read_text()
            assert time.monotonic() < give_up_at, (bundle / "log").read_text()
            time.sleep(0.1)
        yield started, process
    finally:
        subprocess.run(["runc", "kill", name, "KILL"], capture_output=True, check=False)
        process.wait(60)


def make_runtime_config(root: Path, volume: Path, argv: Sequence[str], environ: Sequence[str]) -> dict[str, Any]:
    """Make the config of the container as the runtime specification has it, with what compose.yaml asks for."""
    mounts = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"]},
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "size=64m"]},
        {"destination": f"/{STATE}", "type": "bind", "source": str(volume), "options": ["bind", "rw", "nosuid"]},
    ]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": USER, "gid": USER},
            "args": list(argv),
            "env": list(environ),
            "cwd": f"/{STATE}",
            "noNewPrivileges": True,
            "capabilities": {kind: [] for kind in ("bounding", "effective", "permitted", "inheritable", "ambient")},
        },
        "root": {"path": str(root), "readonly": True},
        "mounts": mounts,
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")]},
    }


def test_the_service_serves_from_a_read_only_root_without_any_right(
    container: "tuple[Container, subprocess.Popen[bytes]]", config: dict[str, Any]
) -> None:
    started, process = container
    healthy = [word.replace("8440", str(started.port)) for word in config["Healthcheck"]["Test"][1:]]
    assert started.execute(*healthy).returncode == 0
    assert started.execute(*[word.replace("/healthz", "/nowhere") for word in healthy]).returncode == 1
    assert started.execute("touch", "/opt/x").stderr.endswith("Read-only file system\n")
    assert started.execute("id", "-u").stdout == f"{USER}\n"
    token = started.execute("ptp-harness", "token", "create", "ada").stdout.strip()
    assert len(token) > 40
    assert started.ask("/v1/info", token)["version"] == __version__
    task = started.ask("/v1/tasks", token, {"campaign": "instance_types: [lab.phc]\n"})["task"]
    give_up_at = time.monotonic() + _WITHIN_S
    while (document := started.ask(f"/v1/tasks/{task}", token))["state"] in ("queued", "running"):
        assert time.monotonic() < give_up_at, document
        time.sleep(0.2)
    # The lab needs QEMU, which is not in the image: a process of its own took the task, and says so.
    assert (document["state"], document["exit_code"]) == ("failed", 2), document
    assert "not installed" in document["problem"] or "cannot" in document["problem"], document
    subprocess.run(["runc", "kill", started.name, "TERM"], check=True)
    assert process.wait(60) == 0
    assert {path.name for path in started.volume.iterdir()} >= {"ledger.sqlite", "service"}
    assert {path.stat().st_uid for path in started.volume.iterdir()} == {USER}
