"""Requests to clusters that cannot take them: one sentence, exit code 2, and no request that would make something."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.cli.conftest import Call

IMAGE = ("--image", "registry.example/ptp-harness:1", "--pull", "Never")
SUBMISSIONS = {
    "run": ("run", "lab.phc", "--bench", "lab", *IMAGE),
    "test": ("test", *IMAGE),
    "schedule": ("schedule", "lab.phc", "--bench", "lab", "--cron", "0 3 * * 1", "--name", "n", *IMAGE),
    "smoke": ("smoke", *IMAGE),
}
DISTURBED = ("--depth", "full", "--disturb", "reboot")
OLD = {"major": "1", "minor": "32+", "gitVersion": "v1.32.9-eks"}


class ApiServer:
    """A server that answers /version alone: `status` and `answer`. `made`: the requests that would make something."""

    def __init__(self) -> None:
        self.status, self.answer = 200, json.dumps(OLD)
        self.made: list[str] = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = api.answer.encode()
                self.send_response(api.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                api.made.append(self.path)
                self.do_GET()

            def log_message(self, *_arguments: Any) -> None:
                """Print nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def api() -> Iterator[ApiServer]:
    server = ApiServer()
    yield server
    server.server.shutdown()
    server.server.server_close()


@pytest.fixture
def kubeconfig(api: ApiServer, tmp_path: Path) -> str:
    document = {
        "current-context": "here",
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{api.server.server_port}"}}],
        "users": [{"name": "ada", "user": {"token": "t"}}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "ada", "namespace": "ptp"}}],
    }
    file = tmp_path / "config"
    file.write_text(yaml.safe_dump(document))
    return str(file)


def submit(call: Call, command: str, kubeconfig: str, *words: str) -> Any:
    return call("cluster", *SUBMISSIONS[command], *words, KUBECONFIG=kubeconfig)


@pytest.mark.parametrize("command", SUBMISSIONS)
@pytest.mark.parametrize(
    ("status", "answer", "tells"),
    [
        (200, json.dumps(OLD), "too old for runs: v1.32.9-eks"),
        (200, "<html>", "answers, and is no API server of Kubernetes"),
        (200, "[]", "answers, and is no API server of Kubernetes"),
        (200, '{"major": "one"}', "answers, and is no API server of Kubernetes"),
        (401, "{}", "does not know these credentials, or they have expired"),
        (503, "away", "reading /version: HTTP status 503"),
    ],
)
def test_an_api_server_that_is_too_old_or_none(
    call: Call, api: ApiServer, kubeconfig: str, command: str, status: int, answer: str, tells: str
) -> None:
    api.status, api.answer = status, answer
    done = submit(call, command, kubeconfig)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "context here, namespace ptp, http://127.0.0.1:" in done.stderr, "which cluster it is, before anything else"
    assert tells in done.stdout + done.stderr
    assert api.made == [], "nothing is made"


@pytest.mark.parametrize("command", SUBMISSIONS)
def test_a_context_that_is_not_there(call: Call, kubeconfig: str, command: str) -> None:
    done = submit(call, command, kubeconfig, "--context", "heer")
    assert done.returncode == 2
    assert f"{kubeconfig} has no context heer" in done.stderr
    assert "--context NAME, one of: here" in done.stderr


@pytest.mark.parametrize("command", SUBMISSIONS)
def test_no_kubeconfig(call: Call, tmp_path: Path, command: str) -> None:
    done = submit(call, command, str(tmp_path / "nowhere"))
    assert (done.returncode, "there is no kubeconfig" in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize(
    ("words", "tells"),
    [
        (("run", "a.example", "--bench", "hosts"), None),
        (("run", "lab.phc", "--bench", "lab", "--registry", "registry.example"), "pods have no lab: no claim"),
        (("run", "lab.cloud-debian-13", "--lab-cache", "ptp-lab"), "no pod can have the type lab.cloud-debian-13"),
        (
            ("run", "lab.phc", *DISTURBED, "--include-destructive", "--lab-cache", "ptp-lab"),
            "the claim ptp-lab is one of this namespace",
        ),
        (
            ("run", "lab.phc", *DISTURBED, "--include-destructive", "--queue", "team-a", *IMAGE),
            "the queue team-a is one of this namespace",
        ),
    ],
)
def test_campaigns_that_no_pod_can_carry_out(call: Call, words: tuple[str, ...], tells: str | None) -> None:
    done = call("cluster", *words, *(() if "--registry" in words else IMAGE), KUBECONFIG="/nowhere")
    assert done.returncode == 2
    assert "there is no kubeconfig" not in done.stderr, "it is refused before a cluster is chosen"
    assert (tells or "ptp-harness: ") in done.stderr
