"""Logs of pods are read whole and once, and nobody waits for ever for that of a node that is lost."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from harness.cluster import log_merge, pod_logs
from harness.cluster.connection import ClusterError, Connection, connect
from harness.cluster.jobs import COORDINATOR, PART_LABEL
from harness.cluster.line_count import describe_gap, make_mark
from harness.cluster.log_merge import merge_logs
from harness.cluster.pod_logs import follow_log

SECOND = "2026-11-30T12:00:00."


class ApiServer:
    """An API server with a coordinator. `status`: of its pod, None where it is gone; `log`: its lines so far.

    `previous`: what its container printed before it was started again.
    `held`: a log that is followed stays open after its lines. `cut`: connections end after so many lines of a log.
    `broken`: every request gets status 500. `other`: the status of the other coordinator's pod.
    """

    def __init__(self) -> None:
        self.status: dict[str, Any] | None = {"phase": "Running"}
        self.log: list[str] = []
        self.previous: list[str] | None = None
        self.held, self.broken = True, False
        self.other: dict[str, Any] = {}
        self.cut: list[int] = []
        self.queries: list[dict[str, list[str]]] = []
        self.ended = threading.Event()
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                url = urlsplit(self.path)
                if api.broken:
                    self.answer(500, {"kind": "Status", "message": "away", "code": 500})
                elif api.status is None:
                    self.answer(404, {"kind": "Status", "message": "not found", "code": 404})
                elif url.path.endswith("/jobs/ptp-k3f9"):
                    self.answer(200, {"kind": "Job", "metadata": {"name": "ptp-k3f9"}, "spec": {"template": {}}})
                elif url.path.endswith("/pods"):
                    other = [make_pod("other", api.other)] if api.other else []
                    self.answer(200, {"kind": "PodList", "items": [make_pod("pod", api.status), *other]})
                elif url.path.endswith("/other/log"):
                    self.answer(200, stamped("the other one")[0])
                elif url.path.endswith("/other"):
                    self.answer(200, make_pod("other", api.other))
                elif url.path.endswith("/log"):
                    api.queries.append(parse_qs(url.query))
                    if "previous" in api.queries[-1]:
                        self.print_previous()
                        return
                    self.print_log(follow="follow" in api.queries[-1])
                else:
                    self.answer(200, {"kind": "Pod", "metadata": {"name": "pod"}, "status": api.status})

            def print_previous(self) -> None:
                if api.previous is None:
                    self.answer(400, {"kind": "Status", "message": "no previous container", "code": 400})
                    return
                self.send_response(200)
                self.end_headers()
                self.wfile.write("".join(f"{line}\n" for line in api.previous).encode())

            def print_log(self, *, follow: bool) -> None:
                self.send_response(200)
                self.end_headers()
                lines = list(api.log)
                if follow and api.cut:
                    self.wfile.write("".join(f"{line}\n" for line in lines[: api.cut.pop(0)]).encode())
                    return
                self.wfile.write("".join(f"{line}\n" for line in lines).encode())
                self.wfile.flush()
                if follow and api.held:
                    api.ended.wait(20)

            def answer(self, code: int, document: dict[str, Any] | str) -> None:
                body = (document if isinstance(document, str) else json.dumps(document)).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_arguments: Any) -> None:
                """Print nothing."""

        def make_pod(name: str, status: dict[str, Any] | None) -> dict[str, Any]:
            labels = {PART_LABEL: COORDINATOR}
            return {"kind": "Pod", "metadata": {"name": name, "labels": labels}, "status": status}

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    monkeypatch.setattr(pod_logs, "SILENT_FOR_S", 0.3)
    monkeypatch.setattr(pod_logs, "CUT_OFF_FOR_S", 0.2)
    monkeypatch.setattr(pod_logs, "AGAIN_AFTER_S", 0.05)
    server = ApiServer()
    yield server
    server.ended.set()
    server.server.shutdown()
    server.server.server_close()


@pytest.fixture
def connection(api: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Connection:
    file = tmp_path / "config"
    document = {
        "current-context": "here",
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{api.server.server_port}"}}],
        "users": [{"name": "ada", "user": {"token": "t"}}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "ada", "namespace": "ptp"}}],
    }
    file.write_text(yaml.safe_dump(document))
    monkeypatch.setenv("KUBECONFIG", str(file))
    return connect()


def stamped(*lines: str, nanoseconds: int = 0) -> list[str]:
    """Lines as the API server gives them, the first of them at this time."""
    return [f"{SECOND}{nanoseconds + number:09}Z {line}" for number, line in enumerate(lines)]


def when(condition: Callable[[], bool], do: Callable[[], None]) -> None:
    """Do something in another thread, once a condition holds."""

    def wait() -> None:
        while not condition():
            time.sleep(0.02)
        do()

    threading.Thread(target=wait, daemon=True).start()


def test_the_log_of_an_ended_pod_is_read_whole(api: ApiServer, connection: Connection) -> None:
    api.status, api.log = {"phase": "Succeeded"}, stamped("one", "two")
    assert [*follow_log(connection, "pod")] == ["one", "two"]
    assert [*follow_log(connection, "pod", follow=False)] == ["one", "two"]


def test_a_line_ends_at_a_line_feed_alone(api: ApiServer, connection: Connection) -> None:
    """What a host prints may hold characters that Python takes for ends of lines."""
    api.status, api.log = {"phase": "Succeeded"}, stamped("a\x0cb\u2028c\rd", "two")
    assert [*follow_log(connection, "pod")] == ["a\x0cb\u2028c\rd", "two"]


def test_lines_of_one_moment_come_once_after_a_break(api: ApiServer, connection: Connection) -> None:
    api.log = [*stamped("same") * 3, *stamped("later", nanoseconds=5)]
    api.cut, api.held = [2], False
    when(lambda: len(api.queries) == 2, lambda: api.__setattr__("status", {"phase": "Succeeded"}))
    assert [*follow_log(connection, "pod")] == ["same", "same", "same", "later"]
    assert api.queries[1]["sinceTime"] == ["2026-11-30T12:00:00Z"], "what was read is not sent again"


def test_a_pod_that_prints_nothing_for_long_is_followed(api: ApiServer, connection: Connection) -> None:
    told: list[str] = []
    api.log = stamped("one")

    def end() -> None:
        api.log = stamped("one", "two")
        api.status = {"phase": "Succeeded"}

    when(lambda: len(api.queries) == 3, end)
    assert [*follow_log(connection, "pod", tell=told.append)] == ["one", "two"]
    assert told == []


def test_a_lost_node_is_told_and_given_up_when_the_run_has_ended(api: ApiServer, connection: Connection) -> None:
    told: list[str] = []
    api.log = stamped("one")
    lost = {"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]}
    when(lambda: len(api.queries) == 1, lambda: api.__setattr__("status", lost))
    begun = time.monotonic()
    lines = follow_log(connection, "pod", tell=told.append, has_run_ended=lambda: time.monotonic() > begun + 1.5)
    assert [*lines] == ["one"]
    assert told == ["the node of pod pod does not answer: what the pod printed comes once it does"]
    assert 1.5 <= time.monotonic() - begun < 6


def test_a_node_that_comes_back_loses_no_line(api: ApiServer, connection: Connection) -> None:
    told: list[str] = []
    api.log, lost = stamped("one"), {"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]}
    when(lambda: len(api.queries) == 1, lambda: api.__setattr__("status", lost))

    def come_back() -> None:
        api.log = stamped("one", "two", "three")
        api.status = {"phase": "Succeeded"}

    when(lambda: bool(told), come_back)
    lines = follow_log(connection, "pod", tell=told.append, has_run_ended=lambda: False)
    assert [*lines] == ["one", "two", "three"]


def test_a_pod_that_is_gone_ends_its_log(api: ApiServer, connection: Connection) -> None:
    api.log = stamped("one")
    when(lambda: len(api.queries) == 1, lambda: api.__setattr__("status", None))
    assert [*follow_log(connection, "pod", has_run_ended=lambda: False)] == ["one"]


def test_an_api_server_that_stays_away_is_an_error(
    api: ApiServer, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pod_logs, "AWAY_FOR_S", 0.4)
    api.broken = True
    with pytest.raises(ClusterError, match="reading the log of pod pod: away"):
        [*follow_log(connection, "pod", has_run_ended=lambda: False)]


def started(times: int, phase: str = "Running") -> dict[str, Any]:
    """The status of a pod whose container was started again so often."""
    container = {"name": "harness", "image": "a", "imageID": "a", "ready": True, "restartCount": times}
    return {"phase": phase, "containerStatuses": [container]}


def test_a_container_that_is_started_again_loses_no_line(api: ApiServer, connection: Connection) -> None:
    """The connection breaks before its last line is read: that one is in the log of the container before."""
    before, after = stamped("one", "two", "three"), stamped("four", nanoseconds=9)
    api.log, api.held, api.cut = before, False, [2]

    def restart() -> None:
        api.log, api.previous, api.status = after, before, started(1)

    def end() -> None:
        api.status = started(1, "Succeeded")

    when(lambda: len(api.queries) == 1, restart)
    when(lambda: len(api.queries) >= 3, end)
    assert [*follow_log(connection, "pod")] == ["one", "two", "three", "four"]


def test_what_a_node_has_removed_is_told(api: ApiServer, connection: Connection) -> None:
    api.log, api.status = stamped("three"), started(2, "Succeeded")
    first, second, third = follow_log(connection, "pod")
    assert "was started again 2 times, and its node keeps the log of the last one before alone" in first
    assert "before it was started again cannot be had" in second
    assert third == "three"


def test_marks_are_not_shown_and_tell_what_is_missing(api: ApiServer, connection: Connection) -> None:
    api.status, api.log = started(0, "Succeeded"), stamped("six", make_mark(6), "seven", make_mark(7))
    assert [*follow_log(connection, "pod")] == ["six", describe_gap(5), "seven"]


def test_the_end_of_a_run_waits_for_no_lost_node(api: ApiServer, connection: Connection) -> None:
    api.log = stamped("one")
    api.status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    lines = merge_logs(connection, "k3f9")
    assert next(lines) == ("pod", "one")
    api.status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]}
    ended = {"exitCode": 0, "message": json.dumps({"exit_code": 0, "verdicts": {"PASS": 1}})}
    container = {"name": "harness", "image": "i", "imageID": "i", "ready": False, "restartCount": 0}
    api.other = {"phase": "Succeeded", "containerStatuses": [{**container, "state": {"terminated": ended}}]}
    begun = time.monotonic()
    rest = [*lines]
    assert sorted(rest) == [
        ("", "the node of pod pod does not answer: what the pod printed comes once it does"),
        ("other", "the other one"),
    ]
    assert time.monotonic() - begun < 10


def test_an_error_that_nobody_expects_ends_the_logs(
    api: ApiServer, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        raise ValueError("unexpected")

    monkeypatch.setattr(log_merge, "find_coordinator", fail)
    with pytest.raises(ValueError, match="unexpected"):
        [*merge_logs(connection, "k3f9")]
