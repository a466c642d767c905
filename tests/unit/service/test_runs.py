"""Runs over HTTP: lists with conditions and cursors, a run with its hosts, a host with its ladder."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from harness.model import HostState, Outcome, Stage
from harness.store.ledger import Ledger
from harness.store.task_lines import NewTask, QueueLimits
from harness.store.task_queue import TaskQueue
from tests.doubles.ledger_runs import MadeUpHost, add_run
from tests.servers.service import RunningService, running_service

PASS, FAIL = Outcome.PASS, Outcome.FAIL


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def shared(folder: Path) -> Iterator[RunningService]:
    """A service on SQLite whose ledger all tests of this module fill."""
    with running_service(f"sqlite:///{folder / 'ledger.sqlite'}", folder / "state") as running:
        yield running


def runs_of(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [item["run"] for item in answer.json()["items"]]


def test_an_empty_ledger_has_no_runs(service: RunningService) -> None:
    assert service.get("/v1/runs").json() == {"items": [], "next": None}
    answer = service.get("/v1/runs/last")
    assert (answer.status_code, answer.json()["detail"]) == (404, "there is no run yet")


def test_a_run_is_listed_with_what_its_hosts_are(service: RunningService) -> None:
    hosts = [
        MadeUpHost(offset_ns=50.0),
        MadeUpHost(instance_type="lab.drifting", outcome=FAIL, offset_ns=900.0, state=HostState.KEPT),
        MadeUpHost(instance_type="lab.slow", outcome=None),
    ]
    run = add_run(service.ledger, hosts, ended=False)
    (item,) = service.get("/v1/runs").json()["items"]
    assert item.pop("started").endswith("Z")
    assert item == {
        "run": run,
        "bench": "lab",
        "state": "under way",
        "host_count": 3,
        "instance_types": ["lab.phc", "lab.drifting", "lab.slow"],
        "verdicts": {"PASS": 1, "FAIL": 1},
        "offset_p99_ns": 900.0,
        "bound_p99_ns": 9000.0,
        "kept": 1,
        "kept_until": None,
        "task": None,
        "submitter": None,
    }


def test_the_run_of_a_task_names_the_task_and_who_submitted_it(service: RunningService) -> None:
    task, run = add_task_run(service.ledger)
    (item,) = service.get("/v1/runs").json()["items"]
    assert (item["run"], item["task"], item["submitter"]) == (run, task, "ada")


def add_task_run(ledger: Ledger) -> tuple[str, str]:
    """Submit a task, claim it, and put its run into the ledger."""
    new = NewTask(document="x", campaign={}, bench="lab", hosts=1, submitter="ada", fingerprint="0")
    queue = TaskQueue(ledger)
    queue.submit(new)
    line = queue.claim(QueueLimits(tasks=10, per_bench={}))
    assert line is not None
    return line.task, add_run(ledger, task=line.task, ended=False)


def test_conditions_choose_runs(shared: RunningService) -> None:
    ledger = shared.ledger
    good = add_run(ledger, [MadeUpHost(instance_type="m7i.large", offset_ns=80.0)], bench="ec2")
    both = [
        MadeUpHost(instance_type="m7i.large", outcome=FAIL, offset_ns=30_000.0),
        MadeUpHost(instance_type="c8g.large"),
    ]
    bad, open_run = add_run(ledger, both, bench="ec2"), add_run(ledger, ended=False)

    def listed(query: str) -> list[str]:
        return runs_of(shared.get(f"/v1/runs?{query}"))

    assert listed("") == [open_run, bad, good]
    assert listed("state=ended") == [bad, good]
    assert listed("state=under%20way") == listed("state=under+way") == [open_run]
    assert listed("state=died") == []
    assert listed("outcome=FAIL") == [bad]
    assert listed("outcome=FAIL&type=c8g.*") == [], "the host of this type passed"
    assert listed("type=m7i.*&type=c8*") == [bad, good]
    assert listed("bench=lab") == [open_run]
    assert listed("since=1h") == [open_run, bad, good]
    assert listed("until=1h") == []
    assert listed("min_offset=20us") == [bad]
    assert listed("min_bound=700ns&sort=bound") == [bad, good]
    assert listed("sort=offset") == [bad, good, open_run]


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("state=over", 422, "state"),
        ("outcome=pass", 422, "outcome"),
        ("limit=0", 422, "limit"),
        ("limit=1000", 422, "limit"),
        ("min_offset=5", 400, "it must be a time with its unit"),
        ("since=yesterday", 400, "since is 'yesterday'"),
        ("cursor=x", 400, "the cursor is not one of this list"),
        ("cursor=WyJuZXdlc3QiXQ", 400, "the cursor is not one of this list"),
        ("sort=age", 422, "sort"),
    ],
)
def test_a_query_that_says_nothing_is_a_problem(shared: RunningService, query: str, status: int, words: str) -> None:
    answer = shared.get(f"/v1/runs?{query}")
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert words in answer.json()["detail"]


@pytest.mark.parametrize("sort", ["newest", "offset", "bound"])
def test_cursors_go_through_300_runs_without_loss_or_double(file_service: RunningService, sort: str) -> None:
    """Also while runs begin between the pages, and though most have the same figure or none."""
    made = [
        add_run(file_service.ledger, [MadeUpHost(offset_ns=(None, 7.0, 7.0, float(number))[number % 4])], stages=())
        for number in range(300)
    ]
    with file_service.client() as client:
        found: list[str] = []
        address = f"/v1/runs?sort={sort}&limit=23"
        while True:
            page = client.get(address).json()
            found += [item["run"] for item in page["items"]]
            if page["next"] is None:
                break
            address = f"/v1/runs?sort={sort}&limit=23&cursor={page['next']}"
            if len(found) == 46:
                add_run(file_service.ledger, [MadeUpHost(offset_ns=1e9)], stages=())
    assert len(found) == len({*found})
    assert {*found} == {*made}
    if sort == "newest":
        assert found == made[::-1]


def test_a_cursor_of_another_order_is_refused(shared: RunningService) -> None:
    for _ in range(2):
        add_run(shared.ledger)
    cursor = shared.get("/v1/runs?sort=offset&limit=1").json()["next"]
    answer = shared.get(f"/v1/runs?limit=1&cursor={cursor}")
    assert (answer.status_code, answer.json()["next_step"]) == (400, "keep `sort` from page to page")


def test_a_run_is_shown_with_its_hosts_and_their_stages(service: RunningService) -> None:
    hosts = {"a": MadeUpHost(offset_ns=80.0), "b": MadeUpHost(outcome=None), "c": MadeUpHost(outcome=None)}
    run = add_run(service.ledger, hosts, ended=False)
    token = service.ledger.own_host(run, "b").token
    service.ledger.end_step(service.ledger.begin_step(token, Stage.PROVISION), "done")
    service.ledger.begin_step(token, Stage.MEASURE)
    detail = service.get(f"/v1/runs/{run}").json()
    assert (detail["state"], detail["seconds"], detail["outcome"]) == ("under way", None, "PASS")
    assert "leads it since" in detail["leader"]
    assert detail["events"] == len(service.ledger.events(run))
    assert [(host["host"], host["outcome"], host["stage"], host["doing"]) for host in detail["hosts"]] == [
        ("a", "PASS", "measure", "being measured"),
        ("b", None, "measure", "being measured"),
        ("c", None, None, "waiting"),
    ]
    assert detail["hosts"][0]["reason"] == "synchronised"
    assert (detail["hosts"][0]["offset_p99_ns"], detail["hosts"][0]["state"]) == (80.0, "released")
    assert detail["hosts"][1]["stage_since"].endswith("Z")


def test_runs_that_are_asked_for_at_the_same_time_are_each_shown_as_alone(service: RunningService) -> None:
    asked = ["none", "last"]
    for number in range(40):
        hosts = {f"{number}-{each}": MadeUpHost(outcome=None if number % 2 else FAIL) for each in "ab"}
        asked.append(add_run(service.ledger, hosts, ended=number % 2 == 0))
        if number % 2:
            token = service.ledger.own_host(asked[-1], f"{number}-b").token
            service.ledger.begin_step(token, (Stage.PROVISION, Stage.CONFIGURE, Stage.MEASURE)[number % 3])
    alone = {run: service.get(f"/v1/runs/{run}").json() for run in asked}
    with service.client() as client, ThreadPoolExecutor(24) as threads:
        together = list(threads.map(lambda run: (run, client.get(f"/v1/runs/{run}").json()), asked * 5))
    assert len(together) == 210
    for run, shown in together:
        assert shown == alone[run]
    assert alone["none"]["detail"] == "there is no run 'none'"
    assert alone["last"] == alone[asked[-1]]
    assert [host["host"] for host in alone[asked[9]]["hosts"]] == ["7-a", "7-b"]
    assert [host["stage"] for host in alone[asked[9]]["hosts"]] == [None, "configure"]


def test_a_run_that_ended_says_how(service: RunningService) -> None:
    run = add_run(service.ledger, [MadeUpHost(), MadeUpHost(outcome=FAIL)])
    detail = service.get("/v1/runs/last").json()
    assert (detail["run"], detail["state"], detail["outcome"]) == (run, "ended", "FAIL")
    assert (detail["seconds"], detail["interrupted"], detail["failures"]) == (12.5, False, [])
    assert {host["doing"] for host in detail["hosts"]} == {"ended"}


def test_a_host_is_shown_as_the_command_shows_it(service: RunningService) -> None:
    run = add_run(service.ledger, {"a": MadeUpHost(offset_ns=80.0), "b": MadeUpHost(outcome=None)}, ended=False)
    host = service.get(f"/v1/runs/{run}/hosts/a").json()
    assert (host["run"], host["name"], host["outcome"], host["quality"]["offset_ns"]["p99_abs"]) == (
        run,
        "a",
        "PASS",
        80.0,
    )
    assert [(step["token"], step["stage"], step["result"]) for step in host["steps"]] == [
        (f"{run}/a/1", "provision", "done"),
        (f"{run}/a/1", "measure", "done"),
    ]
    waiting = service.get(f"/v1/runs/{run}/hosts/b").json()
    assert (waiting["outcome"], waiting["steps"]) == (None, [])


@pytest.mark.parametrize(
    "path", ["", "/report", "/events", "/log", "/evidence", "/evidence/a", "/hosts/a", "/hosts/a/samples", "/diff"]
)
def test_a_run_that_is_not_there_is_a_problem_that_names_the_latest(shared: RunningService, path: str) -> None:
    latest = add_run(shared.ledger)
    answer = shared.get(f"/v1/runs/nope{path}")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert answer.json()["detail"] == "there is no run 'nope'"
    assert latest in answer.json()["next_step"]


@pytest.mark.parametrize("path", ["/hosts/zzz", "/hosts/zzz/samples"])
def test_a_host_that_is_not_there_is_a_problem(shared: RunningService, path: str) -> None:
    answer = shared.get(f"/v1/runs/{add_run(shared.ledger)}{path}")
    assert answer.status_code == 404
    assert "has no host 'zzz'" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["", "/x", "/x/events", "/x/report", "/x/hosts/h", "/x/evidence", "/x/log", "/x/diff"])
def test_runs_are_not_told_to_those_without_a_token(shared: RunningService, path: str) -> None:
    answer = shared.get(f"/v1/runs{path}", None)
    assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")
