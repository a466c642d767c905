"""Serve a scripted bench over HTTP, so that its hosts outlive the pods that made them, as instances of a cloud do.

`BenchServer` runs where the tests run and writes down each effect; `RemoteBench` is the bench in a pod. A bench that
does not answer is asked again until it does: a network that is cut off for a while changes no verdict.
"""

import json
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from harness.benches.bench import CapacityError, Progress, TransientError, ignore_progress
from harness.errors import CleanupError
from harness.model import Machine, Resource, Token
from tests.doubles.scripted_bench import ScriptedBench

URL = "PTP_TEST_BENCH_URL"
"""The variable by which the scripted command of a pod knows that its bench is a server."""

_ANSWERS_WITHIN_S, _AGAIN_AFTER_S, _AWAY_FOR_S = 5.0, 0.5, 120.0


class BenchServer:
    """A scripted bench on a port of loopback. `effects` counts what was done: `made TOKEN`, `removed TOKEN`.

    `faults`: a sentence for each host that was made while another attempt at it had one.
    """

    def __init__(self, folder: Path) -> None:
        self.effects: Counter[str] = Counter()
        self.faults: list[str] = []
        self._lock = threading.Lock()
        self._token = ""
        self.bench = ScriptedBench(folder, 1, self._note, refuses=0.0)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _make_handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._server.server_port)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Carry out a request of a RemoteBench, one at a time."""
        with self._lock:
            if request["what"] == "list":
                return {"made": self.bench.list_made()}
            token = Token.parse(request["token"])
            self._token = str(token)
            if request["what"] == "release":
                self.bench.release(token)
                return {}
            if request["what"] == "find":
                return {"found": self.bench.find(token) is not None}
            try:
                self.bench.provision(token, request["type"], ignore_progress)
            except CapacityError as error:
                return {"full": error.message}
            return {}

    def _note(self, point: str) -> None:
        if point == "bench: made":
            self.effects[f"made {self._token}"] += 1
            host = self._token.rpartition("/")[0]
            others = [token for token in self.bench.list_made() if token.rpartition("/")[0] == host]
            if len(others) > 1:
                self.faults.append(f"two attempts have a host at once: {others}")
        elif point == "bench: removed":
            self.effects[f"removed {self._token}"] += 1


def _make_handler(server: BenchServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = json.dumps(server.answer(request)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_arguments: Any) -> None:
            """Print nothing."""

    return Handler


class RemoteBench(ScriptedBench):
    """The scripted bench whose hosts a BenchServer has. `folder`: of this process alone."""

    def __init__(self, url: str, folder: Path) -> None:
        super().__init__(folder, 1)
        self._url = url

    def provision(self, token: Token, instance_type: str, progress: Progress) -> Machine:
        try:
            answer = self._ask({"what": "provision", "token": str(token), "type": instance_type}, progress)
        except OSError as error:
            raise TransientError(f"the bench does not answer: {error}") from error
        if "full" in answer:
            raise CapacityError(answer["full"])
        progress("launching")
        return self.describe(token, instance_type)

    def find(self, token: Token) -> Machine | None:
        answer = self._ask({"what": "find", "token": str(token)}, ignore_progress)
        return self.describe(token, "good") if answer["found"] else None

    def release(self, token: Token, progress: Progress = ignore_progress) -> None:
        try:
            self._ask({"what": "release", "token": str(token)}, ignore_progress)
        except OSError as error:
            raise CleanupError([str(token)], next_step=f"the bench does not answer: {error}") from error

    def resources(self) -> Sequence[Resource]:
        made = self._ask({"what": "list"}, ignore_progress)["made"]
        return [Resource(token=token, kind="machine", name=token, detail="") for token in made]

    def _ask(self, request: Mapping[str, Any], progress: Progress) -> Any:
        """Ask until there is an answer. Raises OSError after two minutes, and what `progress` raises."""
        give_up_at = time.monotonic() + _AWAY_FOR_S
        body = json.dumps(request).encode()
        while True:
            try:
                asked = urllib.request.Request(self._url, data=body, headers={"Content-Type": "application/json"})
                with urllib.request.urlopen(asked, timeout=_ANSWERS_WITHIN_S) as answer:
                    return json.loads(answer.read())
            except (OSError, HTTPException) as error:
                if time.monotonic() > give_up_at:
                    raise OSError(str(error)) from error
            progress("waiting for the bench")
            time.sleep(_AGAIN_AFTER_S)
