"""Kept hosts over HTTP: who keeps which until when; kept longer and released; what is not kept is refused."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sql

from harness.benches.bench import Progress, ignore_progress
from harness.model import HostState, Machine, Stage, Token
from harness.model.tasks import Scope
from harness.service.context import ServiceContext
from harness.store.tables import HOSTS, STEPS
from tests.doubles.ledger_runs import MadeUpHost, add_run
from tests.doubles.scripted_bench import ScriptedBench
from tests.servers.service import RunningService, running_service

KEPT = MadeUpHost(state=HostState.KEPT)
SECOND_NS = 10**9


class Bench(ScriptedBench):
    """A bench whose removals wait for the test, where it asks so."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, seed=1, refuses=0)
        self.goes_on, self.begun = threading.Event(), threading.Event()
        self.goes_on.set()

    def make(self, run: str, *hosts: str) -> None:
        """Make hosts that run."""
        for host in hosts:
            self.provision(Token(run=run, host=host), "good", ignore_progress)

    def release(self, token: Token, progress: Progress = ignore_progress) -> None:
        self.begun.set()
        assert self.goes_on.wait(30)
        super().release(token, progress)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "bench")


@pytest.fixture
def service(ledger_url: str, tmp_path: Path, bench: Bench) -> Iterator[RunningService]:
    def with_bench(context: ServiceContext) -> ServiceContext:
        return replace(context, make_bench=lambda _name: bench)

    with running_service(ledger_url, tmp_path / "state", change=with_bench) as running:
        yield running


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Machine, int]]:
    """What was told to hosts by SSH: the seconds that are left to them."""
    leases: list[tuple[Machine, int]] = []
    monkeypatch.setattr("harness.host.lease.extend", lambda machine, left_s: leases.append((machine, left_s)))
    return leases


def audited(service: RunningService) -> list[tuple[str, str, str, int]]:
    entries = [line.entry for line in service.context.audit.list_lines()]
    return [(entry.actor, entry.action, entry.object, entry.status) for entry in entries]


def test_without_kept_hosts_the_list_is_empty(service: RunningService) -> None:
    add_run(service.ledger)
    assert service.get("/v1/hosts").json() == {"items": [], "next": None}


def test_kept_hosts_say_how_long_yet_for_whom_and_at_what_cost(service: RunningService) -> None:
    """The first that ends comes first; machines that were there before their run are not kept."""
    paid = {"cost_usd": 0.5, "stages": {Stage.PROVISION: 3600.0}, "address": "10.0.0.5", "zone": "eu-north-1a"}
    run = add_run(
        service.ledger,
        {"a": KEPT, "b": replace(KEPT, changes=paid, instance_type="m7i.large"), "c": MadeUpHost()},
        bench="ec2",
        campaign={"lease_s": 7200.0},
    )
    add_run(service.ledger, [KEPT], bench="hosts")
    now = service.ledger.now_ns()

    def age(db: sql.Connection) -> None:
        for host, hours in (("a", 2), ("b", 1)):
            ends = {"kept_until_ns": now + hours * 3600 * SECOND_NS, "kept_by": "ada"}
            db.execute(HOSTS.update().where(HOSTS.c.run == run, HOSTS.c.host == host).values(**ends))
        db.execute(STEPS.update().values(begun_ns=now - 2 * 3600 * SECOND_NS))

    service.ledger.database.write(age)
    items = service.get("/v1/hosts").json()["items"]
    assert [item["host"] for item in items] == ["b", "a"]
    first = items[0]
    assert first.pop("kept_until").endswith("Z")
    assert 3500 < first.pop("left_s") <= 3600
    assert first.pop("cost_usd") == pytest.approx(1.0, abs=0.02)
    assert first == {
        "run": run,
        "host": "b",
        "bench": "ec2",
        "instance_type": "m7i.large",
        "outcome": "PASS",
        "kept_by": "ada",
        "address": "10.0.0.5",
        "region": None,
        "zone": "eu-north-1a",
        "command": f"ptp-harness ssh {run} b",
    }
    assert items[1]["cost_usd"] is None
    for query, hosts in {
        "kept_by=ada": ["b", "a"],
        "kept_by=bob": [],
        "bench=lab": [],
        f"run={run}": ["b", "a"],
    }.items():
        assert [item["host"] for item in service.get(f"/v1/hosts?{query}").json()["items"]] == hosts


def test_pages_of_kept_hosts_have_each_once(service: RunningService) -> None:
    """Also those whose lease ends at the same moment, and those that no lease ends."""
    run = add_run(service.ledger, [KEPT] * 23, stages=())
    end = HOSTS.update().where(HOSTS.c.position < 12).values(kept_until_ns=service.ledger.now_ns())
    service.ledger.database.write(lambda db: db.execute(end))
    found, address = [], "/v1/hosts?limit=5"
    with service.client() as client:
        while address:
            page = client.get(address).json()
            found += [item["host"] for item in page["items"]]
            address = page["next"] and f"/v1/hosts?limit=5&cursor={page['next']}"
    assert len(found) == 23
    assert {*found} == {line.host for line in service.ledger.hosts(run)}
    assert service.get("/v1/hosts?cursor=x").status_code == 400


def test_a_kept_host_says_how_to_log_in(service: RunningService, bench: Bench) -> None:
    run = add_run(service.ledger, {"a": KEPT, "b": KEPT, "c": MadeUpHost()})
    bench.make(run, "a")
    shown = service.get(f"/v1/hosts/{run}/a").json()
    assert shown["connection"] == {
        "address": "127.0.0.1",
        "port": 22,
        "user": "root",
        "ssh": "ssh -p 22 root@127.0.0.1",
        "known_hosts": [],
        "own_key": True,
    }
    assert service.get("/v1/hosts/last/b").json()["connection"] is None, "it does not run any more"
    assert service.get(f"/v1/hosts/{run}/c").status_code == 409
    assert service.get(f"/v1/hosts/{run}/d").status_code == 404
    assert service.get("/v1/hosts/nope/a").status_code == 404


def test_a_host_is_kept_until_its_new_lease_ends(
    service: RunningService, bench: Bench, told: list[tuple[Machine, int]], tmp_path: Path
) -> None:
    run = add_run(service.ledger, {"a": KEPT})
    bench.make(run, "a")
    answer = service.post(f"/v1/hosts/{run}/a/keep", Scope.OPERATE, json={"lease": "8h"})
    assert answer.status_code == 200, answer.text
    kept, keeper = answer.json(), service.names[Scope.OPERATE]
    assert (kept["kept_by"], kept["connection"]["user"]) == (keeper, "root")
    assert 8 * 3600 - 60 < kept["left_s"] <= 8 * 3600
    assert [left_s for _, left_s in told] == [8 * 3600]
    assert (tmp_path / "bench" / "extended").read_text().startswith(f"{run}/a/1 20")
    assert audited(service) == [(keeper, "host.keep", f"{run}/a", 200)]
    assert service.ledger.events(run)[-1].event.text.endswith(f" by {keeper}")
    again = service.post(f"/v1/hosts/{run}/a/keep", Scope.OPERATE, json={}).json()
    assert again["kept_until"] == kept["kept_until"], "without a lease it stays as it was"


def test_a_host_that_cannot_be_told_keeps_its_lease(service: RunningService, bench: Bench) -> None:
    """Nobody answers at its port."""
    run = add_run(service.ledger, {"a": KEPT})
    bench.make(run, "a")
    before = service.ledger.hosts(run)
    answer = service.post(f"/v1/hosts/{run}/a/keep", Scope.OPERATE, json={"lease": "8h"})
    assert (answer.status_code, answer.headers["content-type"]) == (502, "application/problem+json")
    assert service.ledger.hosts(run) == before
    assert audited(service) == []


@pytest.mark.parametrize(
    ("host", "body", "status", "words"),
    [
        ("a", {"lease": "5s"}, 422, "lease is '5s': it lasts from 1 minute to 30 days"),
        ("a", {"lease": "60d"}, 422, "lease is '60d'"),
        ("a", {"lease": "soon"}, 422, "lease is 'soon'"),
        ("a", {"lease": 5}, 422, "lease"),
        ("a", {"until": "8h"}, 422, "until"),
        ("gone", {}, 409, "does not run"),
        ("zzz", {}, 404, "has no host 'zzz'"),
    ],
)
def test_what_cannot_be_kept_is_a_problem(
    service: RunningService, bench: Bench, host: str, body: dict[str, object], status: int, words: str
) -> None:
    run = add_run(service.ledger, {"a": KEPT, "gone": MadeUpHost()})
    bench.make(run, "a")
    answer = service.post(f"/v1/hosts/{run}/{host}/keep", Scope.OPERATE, json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert words in answer.json()["detail"]


def test_hosts_of_a_run_under_way_are_not_kept_by_hand(service: RunningService, bench: Bench) -> None:
    run = add_run(service.ledger, {"a": MadeUpHost()}, ended=False)
    bench.make(run, "a")
    answer = service.post(f"/v1/hosts/{run}/a/keep", Scope.OPERATE, json={})
    assert (answer.status_code, "is still under way" in answer.json()["detail"]) == (409, True)


def test_a_kept_host_is_released_and_the_answer_says_so(service: RunningService, bench: Bench) -> None:
    run = add_run(service.ledger, {"a": KEPT, "b": KEPT})
    bench.make(run, "a", "b")
    answer = service.post(f"/v1/hosts/{run}/a/release", Scope.OPERATE)
    assert answer.status_code == 200, answer.text
    released = answer.json()
    assert released.pop("seconds") >= 0
    assert released == {"run": run, "host": "a", "state": "released"}
    assert bench.list_made() == [f"{run}/b/1"]
    assert [line.state for line in service.ledger.hosts(run)] == [HostState.RELEASED, HostState.KEPT]
    assert audited(service) == [(service.names[Scope.OPERATE], "host.release", f"{run}/a", 200)]
    again = service.post(f"/v1/hosts/{run}/a/release", Scope.OPERATE)
    assert (again.status_code, again.json()["detail"]) == (409, f"a of run {run} is not kept")


@pytest.mark.parametrize(("host", "status"), [("passed", 409), ("waiting", 409), ("zzz", 404)])
def test_what_is_not_kept_is_not_released(service: RunningService, bench: Bench, host: str, status: int) -> None:
    hosts = {"passed": MadeUpHost(), "waiting": MadeUpHost(outcome=None)}
    run = add_run(service.ledger, hosts, ended=False)
    bench.make(run, *hosts)
    answer = service.post(f"/v1/hosts/{run}/{host}/release", Scope.OPERATE)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert len(bench.list_made()) == 2


def test_machines_that_were_there_before_are_not_released(service: RunningService) -> None:
    run = add_run(service.ledger, {"a": KEPT}, bench="hosts")
    for action in ("keep", "release"):
        answer = service.post(f"/v1/hosts/{run}/a/{action}", Scope.OPERATE, json={})
        assert (answer.status_code, "are your own machines" in answer.json()["detail"]) == (409, True)


def test_a_removal_that_fails_is_a_problem_with_what_to_do(
    service: RunningService, bench: Bench, tmp_path: Path
) -> None:
    run = add_run(service.ledger, {"a": KEPT})
    bench.make(run, "a")
    (tmp_path / "bench" / "made" / f"{run}+a+1").write_text("stubborn")
    answer = service.post(f"/v1/hosts/{run}/a/release", Scope.OPERATE)
    assert (answer.status_code, "sweep" in answer.json()["next_step"]) == (502, True)
    assert audited(service) == [(service.names[Scope.OPERATE], "host.release", f"{run}/a", 502)]
    assert service.ledger.hosts(run)[0].state is HostState.FAILED


def test_a_host_is_released_by_one_request_and_others_go_on(service: RunningService, bench: Bench) -> None:
    """Also while many removals take long, the service answers."""
    names = [f"h{number}" for number in range(20)]
    run = add_run(service.ledger, dict.fromkeys(names, KEPT), stages=())
    bench.make(run, *names)
    bench.goes_on.clear()
    with ThreadPoolExecutor(30) as pool:
        releases = [pool.submit(service.post, f"/v1/hosts/{run}/{name}/release", Scope.OPERATE) for name in names]
        assert bench.begun.wait(30)
        wait_until(lambda: service.context.host_actions.busy == 20)
        for action in ("release", "keep"):
            answer = service.post(f"/v1/hosts/{run}/h0/{action}", Scope.OPERATE, json={})
            assert answer.status_code == 409
            assert "is being kept or released by another request" in answer.json()["detail"]
        assert service.get("/v1/hosts").status_code == 200
        bench.goes_on.set()
        assert {release.result().status_code for release in releases} == {200}
    assert bench.list_made() == []


def test_a_removal_that_takes_long_is_answered_when_it_is_done(
    service: RunningService, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other requests get an answer in time."""
    monkeypatch.setattr("harness.service.request_limits.ANSWER_WITHIN_S", 0.2)
    run = add_run(service.ledger, {"a": KEPT})
    bench.make(run, "a")
    bench.goes_on.clear()

    def go_on_later() -> None:
        assert bench.begun.wait(30)
        time.sleep(0.6)
        bench.goes_on.set()

    threading.Thread(target=go_on_later, daemon=True).start()
    answer = service.post(f"/v1/hosts/{run}/a/release", Scope.OPERATE)
    assert (answer.status_code, answer.json()["seconds"] > 0.5) == (200, True)


def wait_until(condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.02)


@pytest.mark.parametrize("scope", [None, Scope.READ, Scope.SUBMIT])
def test_only_operators_keep_and_release(service: RunningService, bench: Bench, scope: Scope | None) -> None:
    run = add_run(service.ledger, {"a": KEPT})
    bench.make(run, "a")
    for action in ("keep", "release"):
        answer = service.post(f"/v1/hosts/{run}/a/{action}", scope, json={})
        assert answer.status_code == (401 if scope is None else 403)
    assert bench.list_made() == [f"{run}/a/1"]
