"""A sweep of several benches and Regions: what it selects, that nothing stops the rest, and that two are safe."""

import datetime
import secrets
import threading
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sql

from harness.benches.bench import BenchError, Progress, ignore_progress
from harness.errors import CleanupError
from harness.model import HostState, Resource, Token
from harness.runs.leftovers import EVERYTHING, LeftoverFilter
from harness.runs.sweep import Place, Sweep
from harness.store.ledger import Ledger
from harness.store.tables import HOSTS, OWNERS, RUNS
from tests.doubles.scripted_bench import ScriptedBench
from tests.unit.store.test_ledger import host

PAST = "2026-01-01T00:00:00+00:00"
LAB, NORTH, EAST = Place(bench="lab"), Place(bench="ec2", region="eu-north-1"), Place(bench="ec2", region="us-east-1")


@dataclass
class Account:
    """Resources by Region, as all benches of one account see them. A Region in `away` does not answer."""

    there: dict[str, list[Resource]] = field(default_factory=dict)
    away: frozenset[str] = frozenset()
    stuck: frozenset[str] = frozenset()
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass
class RegionalBench:
    """A bench that lists and releases what is in some Regions."""

    account: Account
    regions: Sequence[str]
    name: str = "ec2"

    def resources(self) -> list[Resource]:
        for region in self.regions:
            if region in self.account.away:
                raise BenchError(f"{region} does not answer", next_step="try it later")
        return [resource for region in self.regions for resource in self.account.there.get(region, ())]

    def api_calls(self, token: Token | None = None) -> float | None:
        return None

    def release(self, token: Token, progress: Progress = ignore_progress) -> None:
        progress("waiting for the instance to end")
        if str(token) in self.account.stuck:
            raise CleanupError([f"i-{token}"], next_step="by hand")
        with self.account.lock:
            for region in self.regions:
                here = self.account.there.get(region, [])
                self.account.there[region] = [resource for resource in here if resource.token != str(token)]


def instance(token: str, *, age_s: float = 3600.0, owner: str | None = "ada", **more: Any) -> Resource:
    created = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=age_s)
    return Resource(
        token=token,
        kind="instance",
        name=f"i-{token}",
        detail="running",
        expires=PAST,
        created_utc=created.isoformat(),
        owner=owner,
        **more,
    )


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    books = Ledger(f"sqlite:///{tmp_path}/ledger.sqlite")
    yield books
    books.close()


@pytest.fixture
def said() -> list[str]:
    return []


def sweep_of(
    account: Account, ledger: Ledger, said: list[str], *places: Place, selection: LeftoverFilter = EVERYTHING
) -> Sweep:
    def make_bench(name: str, regions: Collection[str] | None) -> Any:
        known = sorted(account.there) if regions is None else [*regions]
        return RegionalBench(account, ["lab"] if name == "lab" else known, name)

    return Sweep(places, make_bench, ledger, selection, said.append)


def die(ledger: Ledger, run: str, *, person: str | None = None, age_s: float = 0.0) -> None:
    """Let the owner of a run be a process of this machine that has ended, and the run as old."""
    owner = sql.select(RUNS.c.owner).where(RUNS.c.run == run).scalar_subquery()
    new = secrets.token_hex(8)

    def change(db: sql.Connection) -> None:
        values = dict(db.execute(OWNERS.select().where(OWNERS.c.owner == owner)).mappings().one())
        db.execute(OWNERS.insert(), values | {"owner": new, "pid_start_ticks": 1, "person": person or values["person"]})
        started = {"started_ns": RUNS.c.started_ns - round(age_s * 1e9)}
        db.execute(RUNS.update().where(RUNS.c.run == run).values(owner=new, **started))
        db.execute(HOSTS.update().where(HOSTS.c.run == run, HOSTS.c.owner.is_not(None)).values(owner=new))

    ledger.database.write(change)


def dead_run(ledger: Ledger, *hosts: str, region: str | None = "eu-north-1", **more: Any) -> str:
    run = ledger.open_run(bench="ec2", campaign={"region": region}, hosts=dict.fromkeys(hosts, "m7i.large"))
    for _ in hosts:
        ledger.claim(run)
    die(ledger, run, **more)
    return run


def tokens(found: Any) -> list[str]:
    return [str(item.token) for _, item in found.selected]


def test_all_places_are_swept_and_told_with_age_owner_and_cost(ledger: Ledger, said: list[str]) -> None:
    run = dead_run(ledger, "a")
    account = Account(
        {
            "eu-north-1": [instance(f"{run}/a/1", usd_per_hour=0.5, age_s=7200)],
            "us-east-1": [instance("zzzz/b/1", owner=None)],
            "lab": [Resource(token="yyyy/c/1", kind="folder", name="/f", detail="")],
        }
    )
    sweep = sweep_of(account, ledger, said, LAB, NORTH, EAST)
    found = sweep.search()
    assert tokens(found) == ["yyyy/c/1", f"{run}/a/1", "zzzz/b/1"]
    now = datetime.datetime.now(datetime.UTC)
    told = [(round(item.age_s(now) or -1), item.owner, item.cost_usd(now)) for _, item in found.selected]
    assert told == [(-1, None, None), (7200, "ada", 1.0), (3600, None, None)]
    removals = sweep.remove(found)
    assert sorted(removals.removed) == sorted(["yyyy/c/1", f"{run}/a/1", "zzzz/b/1"])
    assert (removals.closed, removals.failed) == ([run], [])
    assert not any(account.there.values())
    assert f"{run}/a/1: waiting for the instance to end" in said
    assert [line.state for line in ledger.hosts(run)] == [HostState.RELEASED]


def test_a_region_that_does_not_answer_stops_no_other_and_keeps_its_runs_open(ledger: Ledger, said: list[str]) -> None:
    here, there = dead_run(ledger, "a"), dead_run(ledger, "b", region="us-east-1")
    account = Account(
        {"eu-north-1": [instance(f"{here}/a/1")], "us-east-1": [instance(f"{there}/b/1")]},
        away=frozenset({"us-east-1"}),
    )
    sweep = sweep_of(account, ledger, said, NORTH, EAST)
    found = sweep.search()
    assert (tokens(found), [*found.unsearched]) == ([f"{here}/a/1"], [EAST])
    removals = sweep.remove(found)
    assert (removals.removed, removals.closed) == ([f"{here}/a/1"], [here])
    assert removals.failed == ["us-east-1 does not answer"]
    assert f"run {there} stays open: us-east-1 does not answer" in said
    account.away = frozenset()
    die(ledger, there)
    again = sweep_of(account, ledger, said, NORTH, EAST)
    assert again.remove(again.search()).closed == [there]
    assert not any(account.there.values())


def test_what_cannot_be_removed_is_named_and_the_rest_is_removed(ledger: Ledger, said: list[str]) -> None:
    run = dead_run(ledger, "a", "b")
    names = [f"{run}/a/1", f"{run}/b/1", "zzzz/c/1"]
    account = Account({"eu-north-1": [*map(instance, names)]}, stuck=frozenset({names[0]}))
    sweep = sweep_of(account, ledger, said, NORTH)
    removals = sweep.remove(sweep.search())
    assert removals.failed == [f"i-{names[0]}"]
    assert [resource.token for resource in account.there["eu-north-1"]] == [names[0]]
    assert said[-1] == f"run {run} stays open: not all that it left could be removed"
    assert not ledger.find(run).ended
    account.stuck = frozenset()
    die(ledger, run)
    again = sweep_of(account, ledger, said, NORTH)
    assert again.remove(again.search()).closed == [run]
    assert [line.state for line in ledger.hosts(run)] == [HostState.RELEASED, HostState.RELEASED]


def test_age_and_owner_select(ledger: Ledger, said: list[str]) -> None:
    things = [
        instance("zzzz/young/1", age_s=60),
        instance("zzzz/old/1"),
        instance("zzzz/theirs/1", owner="bob@desk"),
        Resource(token="zzzz/unknown/1", kind="instance", name="i", detail="", expires=PAST),
    ]
    account = Account({"eu-north-1": things})

    def selected(**conditions: Any) -> tuple[list[str], int]:
        found = sweep_of(account, ledger, said, NORTH, selection=LeftoverFilter(**conditions)).search()
        return [str(item.token.host) for _, item in found.selected], found.not_selected

    assert selected() == (["young", "old", "theirs", "unknown"], 0)
    assert selected(older_than_s=600.0) == (["old", "theirs"], 2)
    assert selected(owner="ada") == (["young", "old"], 2)
    assert selected(owner="bob") == selected(owner="bob@desk") == (["theirs"], 3)
    assert selected(owner="bob@other") == ([], 4)
    sweep = sweep_of(account, ledger, said, NORTH, selection=LeftoverFilter(older_than_s=600.0, owner="ada"))
    assert sweep.remove(sweep.search()).removed == ["zzzz/old/1"]
    assert len(account.there["eu-north-1"]) == 3


def test_a_dead_run_is_taken_over_only_with_all_that_it_left(ledger: Ledger, said: list[str]) -> None:
    run = dead_run(ledger, "old", "young", age_s=3600.0)
    things = [instance(f"{run}/old/1"), instance(f"{run}/young/1", age_s=60)]
    account = Account({"eu-north-1": things})
    sweep = sweep_of(account, ledger, said, NORTH, selection=LeftoverFilter(older_than_s=600.0))
    found = sweep.search()
    assert (tokens(found), found.not_selected) == ([], 2)
    removals = sweep.remove(found)
    assert (removals.removed, removals.closed, account.there) == ([], [], {"eu-north-1": things})
    assert ledger.find(run).died(), "it is still there for `resume`"


def test_a_dead_run_that_left_nothing_is_selected_by_its_own_age_and_owner(ledger: Ledger, said: list[str]) -> None:
    of_ada = dead_run(ledger, "a", person="ada@laptop", age_s=3600.0)
    of_bob = dead_run(ledger, "a", person="bob@desk", age_s=3600.0)
    young = dead_run(ledger, "a", person="ada@laptop")
    sweep = sweep_of(Account(), ledger, said, NORTH, selection=LeftoverFilter(older_than_s=600.0, owner="ada"))
    assert sweep.remove(sweep.search()).closed == [of_ada]
    assert ledger.find(of_bob).died()
    assert ledger.find(young).died()


def test_a_kept_host_whose_lease_ended_is_selected_too(ledger: Ledger, said: list[str]) -> None:
    run = ledger.open_run(bench="ec2", campaign={"lease_s": 60.0}, hosts={"a": "m7i.large"})
    token = ledger.own_host(run, "a").token
    ledger.record_state(token, host("a", HostState.KEPT), kept_until_ns=1)
    account = Account({"eu-north-1": [instance(str(token))]})
    spared = sweep_of(account, ledger, said, NORTH, selection=LeftoverFilter(owner="nobody"))
    assert spared.remove(spared.search()).expired == []
    sweep = sweep_of(account, ledger, said, NORTH)
    assert sweep.remove(sweep.search()).expired == [str(token)]
    assert account.there == {"eu-north-1": []}


def test_two_sweeps_at_once_remove_each_thing_and_close_each_run_once(tmp_path: Path) -> None:
    first = Ledger(f"sqlite:///{tmp_path}/ledger.sqlite")
    bench = ScriptedBench(tmp_path / "bench", seed=1, refuses=0)
    runs = []
    for _ in range(5):
        run = first.open_run(bench="lab", campaign={}, hosts={f"h{number}": "good" for number in range(4)})
        for _ in range(4):
            line = first.claim(run)
            assert line is not None
            bench.provision(line.token, "good", lambda _line: None)
        die(first, run)
        runs.append(run)

    def sweep(ledger: Ledger) -> list[str]:
        def make_bench(_name: str, _regions: Collection[str] | None) -> Any:
            return ScriptedBench(tmp_path / "bench", seed=1, refuses=0)

        one = Sweep([LAB], make_bench, ledger, LeftoverFilter(), lambda _line: None)
        removals = one.remove(one.search())
        assert removals.failed == []
        return removals.closed

    second = Ledger(f"sqlite:///{tmp_path}/ledger.sqlite")
    with ThreadPoolExecutor(2) as pool:
        closed = [run for each in pool.map(sweep, (first, second)) for run in each]
    assert sorted(closed) == sorted(runs)
    assert bench.list_made() == []
    assert {line.state for run in runs for line in first.hosts(run)} == {HostState.RELEASED}
    first.close()
    second.close()
