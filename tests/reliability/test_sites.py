"""A hub and two sites as processes, one of them killed in the middle: no campaign is lost, and none is doubled."""

import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sql

from harness.client.client import Client
from harness.client.task_views import Task
from harness.model.tasks import Scope, TaskState
from harness.store.ledger import Ledger
from harness.store.ledger_check import check
from harness.store.tables import OWNERS, RUNS, TASKS
from tests.doubles.scripted_bench import ScriptedBench
from tests.servers.cutting_proxy import CuttingProxy, cutting_proxy
from tests.servers.site import ServiceProcess, service_process

pytestmark = [pytest.mark.programs, pytest.mark.timeout(600)]

STAGE_S = 1.0
SITES = ("east", "west")
CAMPAIGN = "instance_types: [good, late, bad]\n"


@dataclass(frozen=True)
class Fleet:
    """A hub and its sites, each behind a proxy that a test may cut."""

    hub: ServiceProcess
    sites: dict[str, ServiceProcess]
    proxies: dict[str, CuttingProxy]
    client: Client

    def submit(self, count: int) -> list[str]:
        """Submit campaigns to both sites by turns."""
        return [self.client.submit(CAMPAIGN, site=SITES[number % 2]).task for number in range(count)]

    def wait_for(self, condition: Callable[[], bool], seconds: float = 180.0) -> None:
        give_up_at = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < give_up_at, [self.hub.log.read_text(), *self.client.tasks()]
            time.sleep(0.2)

    def wait_for_end(self, tasks: list[str]) -> list[Task]:
        self.wait_for(lambda: all(self.client.task(task).state.final for task in tasks))
        return [self.client.task(task) for task in tasks]

    def find_faults(self, tasks: list[str]) -> list[str]:
        """Name all that does not hold at the end: a campaign that is lost or doubled, a host that was left."""
        faults: list[str] = []
        at_hub = read(self.hub, sql.select(TASKS.c.task, TASKS.c.site, TASKS.c.remote_task))
        runs_of_hub = {row.task: row.run for row in read(self.hub, sql.select(RUNS.c.task, RUNS.c.run))}
        if len(at_hub) != len(tasks) or {*runs_of_hub} != {*tasks}:
            faults.append(f"the hub has tasks {at_hub} and runs {runs_of_hub}")
        for name, site in self.sites.items():
            ours = {row.remote_task: row.task for row in at_hub if row.site == name}
            theirs = {row.task for row in read(site, sql.select(TASKS.c.task))}
            if theirs != {*ours}:
                faults.append(f"{name} has the tasks {theirs}, and the hub knows {ours}")
            runs = {row.task: row.run for row in read(site, sql.select(RUNS.c.task, RUNS.c.run))}
            faults += [
                f"task {task} is run {runs_of_hub.get(task)} at the hub and {runs.get(remote)} at {name}"
                for remote, task in ours.items()
                if remote not in runs or runs[remote] != runs_of_hub.get(task)
            ]
            bench = ScriptedBench(site.folder / "bench", 0)
            faults += [f"{token} of {name} was made twice" for token in bench.list_made_twice()]
            faults += [f"{token} of {name} was left" for token in bench.list_made()]
        for service in (self.hub, *self.sites.values()):
            ledger = Ledger(service.ledger_url)
            faults += check(ledger).faults
            ledger.close()
        return faults


def read(service: ServiceProcess, query: "sql.Select[object]") -> "list[sql.Row[object]]":  # type: ignore[type-var]
    ledger = Ledger(service.ledger_url)
    try:
        return list(ledger.database.read(lambda db: db.execute(query).all()))
    finally:
        ledger.close()


def kill_site(site: ServiceProcess) -> None:
    """Kill a service, and with it the processes of its tasks, as when its machine loses power."""
    owners = [row.pid for row in read(site, sql.select(OWNERS.c.pid))]
    site.stop(signal.SIGKILL)
    for pid in owners:
        with suppress(OSError):
            if str(site.folder).encode() in Path(f"/proc/{pid}/environ").read_bytes():  # a process of this site
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    registry, sites, proxies, tokens = tmp_path / "sites.json", {}, {}, list[str]()
    with ExitStack() as stack:
        for name in SITES:
            started = service_process(tmp_path / name, "--parallel", "4", "--per-bench", "lab=4", stage_s=STAGE_S)
            sites[name] = stack.enter_context(started)
            proxies[name] = stack.enter_context(cutting_proxy(sites[name].url))
            tokens += ["--site-token", f"{name}@127.0.0.1={sites[name].make_token('hub', Scope.OPERATE)}"]
        listed = [{"name": name, "url": proxy.url, "benches": ["lab"]} for name, proxy in proxies.items()]
        registry.write_text(json.dumps({"sites": listed}))
        flags = ("--registry", str(registry), "--registry-every", "1s", *tokens)
        hub = stack.enter_context(service_process(tmp_path / "hub", *flags))
        secret = hub.make_token("ada", Scope.OPERATE).read_text().strip()
        client = stack.enter_context(Client(hub.url, secret))
        fleet = Fleet(hub, sites, proxies, client)
        fleet.wait_for(lambda: len(client.sites().sites) == 2)
        yield fleet


def test_a_site_that_is_killed_in_the_middle_loses_and_doubles_nothing(fleet: Fleet) -> None:
    tasks = fleet.submit(8)
    of_west = tasks[1::2]
    fleet.wait_for(lambda: any(fleet.client.task(task).state is TaskState.RUNNING for task in of_west))
    time.sleep(STAGE_S)
    kill_site(fleet.sites["west"])
    fleet.wait_for(lambda: any(site.state == "away" for site in fleet.client.sites().sites))
    fleet.wait_for(lambda: all("west is away since" in str(fleet.client.task(task).problem) for task in of_west))
    late = fleet.submit(2)
    fleet.sites["west"].start()
    ended = fleet.wait_for_end(tasks + late)
    assert [(task.state, task.exit_code, task.problem) for task in ended] == [(TaskState.ENDED, 3, None)] * 10
    assert fleet.find_faults(tasks + late) == []


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_hub_that_ends_in_the_middle_loses_and_doubles_nothing(fleet: Fleet, how: signal.Signals) -> None:
    tasks = fleet.submit(6)
    fleet.wait_for(lambda: any(fleet.client.task(task).state is TaskState.RUNNING for task in tasks))
    for pause_s in (0.0, 1.5):
        time.sleep(pause_s)
        fleet.hub.stop(how)
        fleet.hub.start()
    ended = fleet.wait_for_end(tasks)
    assert {task.state for task in ended} == {TaskState.ENDED}
    assert fleet.find_faults(tasks) == []


def test_connections_that_are_cut_at_any_moment_lose_and_double_nothing(fleet: Fleet) -> None:
    drawn = random.Random(7)
    tasks: list[str] = []
    for _ in range(6):
        for proxy in fleet.proxies.values():
            proxy.lose_answers = drawn.randrange(3)
            proxy.cut_after_bytes = drawn.choice([None, 40, 400, 20_000])
        tasks += fleet.submit(2)
        time.sleep(drawn.uniform(0.1, 1.0))
        for proxy in fleet.proxies.values():
            proxy.cut_all()
    for proxy in fleet.proxies.values():
        proxy.lose_answers, proxy.cut_after_bytes = 0, None
    ended = fleet.wait_for_end(tasks)
    assert {task.state for task in ended} == {TaskState.ENDED}
    assert fleet.find_faults(tasks) == []


def test_a_campaign_is_cancelled_at_its_site_once_that_is_there_again(fleet: Fleet) -> None:
    (task,) = fleet.submit(1)
    fleet.wait_for(lambda: fleet.client.task(task).state is TaskState.RUNNING)
    fleet.proxies["east"].away = True
    fleet.wait_for(lambda: "is away since" in str(fleet.client.task(task).problem))
    assert fleet.client.cancel(task).cancelled_by == "ada"
    fleet.proxies["east"].away = False
    (ended,) = fleet.wait_for_end([task])
    assert ended.state in (TaskState.CANCELLED, TaskState.ENDED)  # ended: its run was over before
    assert fleet.find_faults([task]) == []
