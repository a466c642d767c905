"""Start servers of Prometheus' family for tests on loopback: Prometheus, Alertmanager, VictoriaMetrics."""

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
UNPACKED = ROOT / ".venv" / "prometheus" / "usr" / "bin"
"""Where tools/system-packages unpacks Debian's packages: an installed one would start its server."""

_STARTS_WITHIN_S = 60.0


def find_program(name: str) -> Path | None:
    """Find a program of these packages; None where it is not installed."""
    if (UNPACKED / name).exists():
        return UNPACKED / name
    found = shutil.which(name)
    return None if found is None else Path(found)


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
    for rules in ("rules.yml", "watch.yml"):
        shutil.copy(source / rules, folder / rules)
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
    """Yield a Prometheus that reads `target`, by our configuration."""
    with serve_config(programs / "prometheus", folder, write_config(folder, target=target, token=token)) as server:
        yield server


RECEIVER = """
global: {scrape_interval: 1s, evaluation_interval: 1s}
storage: {tsdb: {out_of_order_time_window: OLDEST}}
"""


@contextmanager
def serve_receiver(program: Path, folder: Path, *, oldest: str = "30m") -> Iterator[Prometheus]:
    """Yield a Prometheus that takes remote writes, also of samples that come so much later."""
    config = folder / "prometheus.yml"
    config.write_text(RECEIVER.replace("OLDEST", oldest))
    with serve_config(program, folder, config, "--web.enable-remote-write-receiver") as server:
        yield server


@contextmanager
def serve_config(program: Path, folder: Path, config: Path, *options: str) -> Iterator[Prometheus]:
    """Yield a Prometheus of a configuration."""
    address = find_address()
    argv = [program, f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}", *options]
    with run([*argv, f"--web.listen-address={address}"], folder, ready="Server is ready to receive web requests"):
        yield Prometheus(address)


@contextmanager
def serve_alertmanager(program: Path, folder: Path, config: Path) -> Iterator[str]:
    """Yield the address of an Alertmanager that has no peers."""
    address = find_address()
    argv = [program, f"--config.file={config}", f"--storage.path={folder / 'alerts'}", "--cluster.listen-address="]
    templates = program.parents[1] / "share"
    if templates != Path("/usr/share"):  # it reads its templates there, in a mount namespace of its own
        user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        mount = 'mount --bind "$0" /usr/share && exec "$@"'
        argv = ["unshare", "--mount", *user, "sh", "-c", mount, templates, *argv]
    with run([*argv, f"--web.listen-address={address}"], folder, ready=f"address={address}", log="alertmanager.log"):
        yield address


@contextmanager
def serve_victoria_metrics(program: Path, folder: Path) -> Iterator[str]:
    """Yield the address of a VictoriaMetrics that keeps one of several samples of one moment."""
    address = find_address()
    argv = [program, f"-storageDataPath={folder / 'series'}", f"-httpListenAddr={address}"]
    options = ["-dedup.minScrapeInterval=1ms", "-search.latencyOffset=0s", "-memory.allowedBytes=256MB"]
    with run([*argv, *options], folder, ready="started VictoriaMetrics in", log="victoria-metrics.log"):
        yield address


def find_address() -> str:
    """Find a free address on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"127.0.0.1:{free.getsockname()[1]}"


@contextmanager
def run(argv: Sequence[str | Path], folder: Path, *, ready: str, log: str = "log") -> Iterator[None]:
    """Run a server until the end of the block, which begins when its log says that it is ready."""
    path = folder / log
    with path.open("ab") as output:
        process = subprocess.Popen(argv, stdout=output, stderr=output, cwd=folder)
    try:
        give_up_at = time.monotonic() + _STARTS_WITHIN_S
        while ready not in path.read_text():
            assert process.poll() is None, path.read_text()
            assert time.monotonic() < give_up_at, path.read_text()
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(60)
