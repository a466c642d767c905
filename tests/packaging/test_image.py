"""The image that `make image` built: what is in it, and the service from it, with a read-only root and no rights."""

import importlib.metadata
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from harness import __version__
from tests.servers import postgresql
from tests.servers.containers import STATE, USER, Container, mounted_image, read_image, running

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "tests" / "data" / "cyclonedx" / "bom-1.6.json"
COMPOSE = ROOT / "deploy" / "compose"
_WITHIN_S = 120.0

pytestmark = [pytest.mark.packaging, pytest.mark.timeout(600)]

ASK = """
import json, sys, urllib.request
path, token, body = sys.argv[1:]
headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
request = urllib.request.Request(f"http://127.0.0.1:PORT{path}", body.encode() or None, headers)
print(urllib.request.urlopen(request, timeout=30).read().decode())
"""


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    return read_image()


@pytest.fixture(scope="module")
def root(config: dict[str, Any]) -> Iterator[Path]:
    with mounted_image() as folder:
        yield folder


def test_the_image_runs_the_service_as_a_user_of_its_own(config: dict[str, Any]) -> None:
    assert (config["User"], config["Entrypoint"], config["Cmd"][0]) == ("10001:10001", ["ptp-harness"], "serve")
    assert list(config["Volumes"]) == [STATE]
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


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    give_up_at = time.monotonic() + _WITHIN_S
    while not (value := condition()):
        assert time.monotonic() < give_up_at, f"not within {_WITHIN_S} s: {what}"
        time.sleep(0.2)
    return value


def ask(service: Container, port: int, path: str, token: str, document: object = None) -> Any:
    """Send a request from within the container of the service."""
    body = "" if document is None else json.dumps(document)
    done = service.execute("python3", "-c", ASK.replace("PORT", str(port)), path, token, body)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def carry_out(service: Container, port: int, token: str) -> dict[str, Any]:
    """Submit a campaign of the lab, and wait for its end."""
    task = ask(service, port, "/v1/tasks", token, {"campaign": "instance_types: [lab.phc]\n"})["task"]

    def find_ended() -> Any:
        document = ask(service, port, f"/v1/tasks/{task}", token)
        return None if document["state"] in ("queued", "running") else document

    return dict(wait_for(find_ended, "the campaign ends"))


def test_the_service_serves_from_a_read_only_root_without_any_right(
    config: dict[str, Any], root: Path, tmp_path: Path
) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    os.chown(volume, USER, USER)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    argv = [*config["Entrypoint"], "serve", "--listen", f"127.0.0.1:{port}"]
    with running(root, tmp_path / "alone", argv, config["Env"], binds={STATE: volume}) as service:
        service.wait_for_line("serving on")
        healthy = [word.replace("8440", str(port)) for word in config["Healthcheck"]["Test"][1:]]
        assert service.execute(*healthy).returncode == 0
        assert service.execute(*[word.replace("/healthz", "/nowhere") for word in healthy]).returncode == 1
        assert service.execute("touch", "/opt/x").stderr.endswith("Read-only file system\n")
        assert service.execute("id", "-u").stdout == f"{USER}\n"
        token = service.execute("ptp-harness", "token", "create", "ada").stdout.strip()
        assert ask(service, port, "/v1/info", token)["version"] == __version__
        document = carry_out(service, port, token)
        # The lab needs QEMU, which is not in the image: a process of its own took the task, and says so.
        assert (document["state"], document["exit_code"]) == ("failed", 2), document
        assert "not installed" in document["problem"] or "cannot" in document["problem"], document
        assert service.stop() == 0
    assert {path.name for path in volume.iterdir()} >= {"ledger.sqlite", "service"}
    assert {path.stat().st_uid for path in volume.iterdir()} == {USER}


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Path]:
    """A network namespace with nothing but loopback: there, each port of compose.yaml is free."""
    name = f"ptp-{os.getpid()}-compose"
    ip = shutil.which("ip", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if ip is None or subprocess.run([ip, "netns", "add", name], capture_output=True, check=False).returncode:
        pytest.skip("needs iproute2, and the right to make network namespaces")
    path = Path("/run/netns") / name
    subprocess.run(["nsenter", f"--net={path}", "--", ip, "link", "set", "lo", "up"], check=True)
    yield path
    subprocess.run([ip, "netns", "delete", name], check=True)


@pytest.fixture
def database(network: Path, tmp_path: Path) -> Iterator[str]:
    """PostgreSQL where compose.yaml has it, with the password of make-secrets; yields the folder of the secrets."""
    programs = postgresql.find_programs()
    if programs is None:
        pytest.skip("PostgreSQL's server is not installed on this machine")
    shutil.copy(COMPOSE / "make-secrets", tmp_path / "make-secrets")
    subprocess.run([tmp_path / "make-secrets"], check=True, capture_output=True)
    password = (tmp_path / "secrets" / "database-password").read_text()
    with postgresql.serve(programs) as server:
        server.execute(f"CREATE ROLE ptp LOGIN PASSWORD '{password}'")
        server.execute("CREATE DATABASE ptp OWNER ptp")
        server.stop()
        hba = server.folder / "data" / "pg_hba.conf"
        hba.write_text("local all all trust\nhost ptp ptp 127.0.0.1/32 scram-sha-256\n")
        server.start("nsenter", f"--net={network}", "--", address="127.0.0.1")
        yield str(tmp_path / "secrets")


def test_service_worker_and_database_of_compose_carry_out_a_campaign(
    config: dict[str, Any], root: Path, network: Path, database: str, tmp_path: Path
) -> None:
    """With the commands, variables, secrets and names of compose.yaml; runc stands for the engine of containers."""
    services = yaml.safe_load((COMPOSE / "compose.yaml").read_text())["services"]
    volume, hosts = tmp_path / "volume", tmp_path / "hosts"
    volume.mkdir()
    os.chown(volume, USER, USER)
    hosts.write_text("127.0.0.1 localhost database service\n")
    secrets = {f"/run/secrets/{name}": Path(database) / name for name in services["service"]["secrets"]}
    binds = {STATE: volume, "/etc/hosts": hosts, **secrets}
    assert services["worker"]["secrets"] == services["service"]["secrets"]

    def start(name: str) -> Any:
        service = services[name]
        assert service["volumes"] == [f"state:{STATE}"]
        environ = [*config["Env"], *(f"{key}={value}" for key, value in service["environment"].items())]
        argv = [*config["Entrypoint"], *service["command"]]
        return running(root, tmp_path / name, argv, environ, binds=binds, network=network)

    with start("service") as service, start("worker") as worker:
        service.wait_for_line("serving on http://0.0.0.0:8440")
        worker.wait_for_line("carrying out campaigns")
        assert "ptp:***@database/ptp" in service.log.read_text()
        assert service.execute(*config["Healthcheck"]["Test"][1:]).returncode == 0
        assert worker.execute(*services["worker"]["healthcheck"]["test"][1:]).returncode == 0
        token = service.execute("ptp-harness", "token", "create", "ada").stdout.strip()
        document = carry_out(service, 8440, token)
        assert (document["state"], document["exit_code"]) == ("failed", 2), document
        assert not (volume / "ledger.sqlite").exists()
        assert worker.stop() == 0
        assert service.stop() == 0
