"""Serve a registry of images on loopback, by Debian's docker-registry, which `make kubernetes` unpacks."""

import http.client
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.servers import kubernetes_files

_STARTS_WITHIN_S = 60.0
_MANIFESTS = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
)


@dataclass(frozen=True)
class Registry:
    """A registry that runs. `address`: its host and port."""

    address: str

    def read(self, path: str) -> Any:
        """Read a document below /v2/."""
        request = urllib.request.Request(f"http://{self.address}/v2/{path}", headers={"Accept": ", ".join(_MANIFESTS)})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())


@contextmanager
def serve(folder: Path, *, users: Path | None = None) -> Iterator[Registry]:
    """Yield an empty registry; skips the test where there is no program. `users`: a file of htpasswd, with bcrypt."""
    programs = kubernetes_files.find_programs(os.environ["PATH"])
    if not programs.has("docker-registry"):
        pytest.skip("docker-registry is not here (make kubernetes)")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    config: dict[str, Any] = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": address, "secret": "of tests"},
        "log": {"level": "warn"},
    }
    if users is not None:
        config["auth"] = {"htpasswd": {"realm": "tests", "path": str(users)}}
    (folder / "config.yml").write_text(json.dumps(config))  # JSON is YAML
    argv = [programs.path("docker-registry"), "serve", str(folder / "config.yml")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log)
    try:
        _wait(address, process, folder / "log")
        yield Registry(address)
    finally:
        process.terminate()
        process.wait(60)
        shutil.rmtree(folder / "data", ignore_errors=True)


def _wait(address: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    give_up_at = time.monotonic() + _STARTS_WITHIN_S
    while True:
        with suppress(ConnectionError), closing(http.client.HTTPConnection(address, timeout=5)) as connection:
            connection.request("GET", "/v2/")
            assert connection.getresponse().status in (200, 401), log.read_text()
            return
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < give_up_at, log.read_text()
        time.sleep(0.05)
