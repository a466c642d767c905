"""Start a Prometheus for tests, with the configuration of deploy/prometheus, on loopback."""

import json
import re
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
UNPACKED = ROOT / ".venv" / "prometheus" / "usr" / "bin"
"""Where tools/system-packages unpacks Debian's package: an installed one would start its server."""

_STARTS_WITHIN_S = 60.0


def find_programs() -> Path | None:
    """Find the folder of `prometheus` and `promtool`; None where they are not installed."""
    if (UNPACKED / "promtool").exists():
        return UNPACKED
    found = shutil.which("promtool")
    return None if found is None else Path(found).parent


def write_config(folder: Path, *, target: str, token: str) -> Path:
    """Write our configuration for another target and token, and for a scrape each second; return its path."""
    source = ROOT / "deploy" / "prometheus"
    (folder / "token").write_text(token)
    shutil.copy(source / "rules.yml", folder / "rules.yml")
    text = (source / "prometheus.yml").read_text()
    for before, after in (
        ("service:8440", target),
        ("/run/secrets/metrics-token", str(folder / "token")),
        ("scrape_interval: 30s", "scrape_interval: 1s"),
        ("scrape_timeout: 10s", "scrape_timeout: 1s"),
        ("evaluation_interval: 30s", "evaluation_interval: 1s"),
    ):
        assert before in text
        text = text.replace(before, after)
    (folder / "prometheus.yml").write_text(text)
    return folder / "prometheus.yml"


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus."""

    address: str

    def get(self, path: str, **parameters: str) -> Any:
        """Ask its API; return the data of the answer."""
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"http://{self.address}/api/v1/{path}?{query}", timeout=30) as answer:
            document = json.loads(answer.read())
        assert document["status"] == "success", document
        return document["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Evaluate an expression now."""
        result: list[dict[str, Any]] = self.get("query", query=expression)["result"]
        return result


@contextmanager
def serve(programs: Path, folder: Path, *, target: str, token: str) -> Iterator[Prometheus]:
    """Yield a Prometheus that reads `target`."""
    config = write_config(folder, target=target, token=token)
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    argv = [programs / "prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen([*argv, f"--web.listen-address={address}"], stdout=log, stderr=log, cwd=folder)
    try:
        give_up_at = time.monotonic() + _STARTS_WITHIN_S
        while not re.search("Server is ready to receive web requests", (folder / "log").read_text()):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < give_up_at, (folder / "log").read_text()
            time.sleep(0.1)
        yield Prometheus(address)
    finally:
        process.terminate()
        process.wait(60)
