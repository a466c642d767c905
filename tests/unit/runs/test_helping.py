"""Processes that help with another's run: each host is one's; whoever stops or dies leaves its hosts to others."""

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.benches.bench import Progress, ignore_progress
from harness.campaign import campaign, run_plan
from harness.errors import RequestError
from harness.model import Event, HostRecord, HostState, Machine, Outcome, Reason, RunRecord, Token
from harness.runs import campaign_run, helping, leftovers
from harness.runs.context import RunControls
from harness.runs.prepare import Prepared
from harness.store.database import now_ns
from harness.store.ledger import Ledger
from harness.store.owners import OwnershipLostError
from harness.store.tables import OWNERS
from harness.system.settings import Settings, assets_dir
from tests.doubles.campaign_of_six import leave_out_ssh
from tests.doubles.removable import list_removable
from tests.doubles.scripted_bench import ScriptedBench


class HeldBench(ScriptedBench):
    """A bench that one process uses: each host waits, launched, until it may go on or its run was asked to stop."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, seed=1, refuses=0)
        self.begun: list[Token] = []
        self.goes_on = threading.Event()
        self.some_begun = threading.Event()
        self.releases, self.may_release = threading.Event(), threading.Event()
        self.may_release.set()

    def provision(self, token: Token, instance_type: str, progress: Progress) -> Machine:
        machine = super().provision(token, instance_type, progress)
        self.begun.append(token)
        self.some_begun.set()
        while not self.goes_on.wait(0.01):
            progress("waiting")
        return machine

    def release(self, token: Token, progress: Progress = ignore_progress) -> None:
        self.releases.set()
        assert self.may_release.wait(60)
        super().release(token, progress)


class Process:
    """One process that works on runs: a ledger, a bench's connection and controls of its own."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(state_dir=folder, cache_dir=folder, assets_dir=assets_dir())
        self.ledger = Ledger(self.settings.ledger_url)
        self.bench = HeldBench(folder / "bench")
        self.said: list[Event] = []
        self.controls = RunControls(listener=self.said.append)

    def prepare(self, *types: str, parallel: int = 1, keep: str = "none") -> Prepared:
        asked = campaign.from_mapping({"instance_types": types, "parallel": parallel, "keep": keep})
        plan = run_plan.make_plan(asked, self.bench.types(), now=datetime(2026, 11, 21, tzinfo=UTC))
        return Prepared(bench=self.bench, plan=plan)

    def lead(self, prepared: Prepared) -> RunRecord:
        return campaign_run.start(prepared, self.ledger, self.settings, self.controls)

    def help_with(self, run: str, prepared: Prepared) -> Mapping[str, HostRecord]:
        assert helping.read_living_campaign(run, self.ledger).instance_types
        return helping.help_with(run, prepared, self.ledger, self.settings, self.controls)

    def die(self) -> None:
        """As if this process were one of another machine, and had renewed no lease for long."""
        self.ledger.close()
        values = {"until_ns": now_ns() - 1, "place": "elsewhere"}
        update = OWNERS.update().where(OWNERS.c.owner == self.ledger.owner).values(values)
        self.ledger.database.write(lambda db: db.execute(update))


@pytest.fixture(autouse=True)
def without_ssh(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_out_ssh(monkeypatch)
    monkeypatch.setattr("harness.store.owners.LEASE_S", 3.0)
    monkeypatch.setattr("harness.store.owners.HEARTBEAT_S", 0.2)


@pytest.fixture
def leader(tmp_path: Path) -> Process:
    return Process(tmp_path)


@pytest.fixture
def helper(tmp_path: Path) -> Process:
    return Process(tmp_path)


@pytest.fixture
def pool(leader: Process, helper: Process) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as threads:
        try:
            yield threads
        finally:
            for process in (leader, helper):
                process.controls.stop.set()
                process.bench.goes_on.set()


def both_at_work(
    leader: Process, helper: Process, pool: ThreadPoolExecutor, prepare: Callable[[Process], Prepared]
) -> tuple[str, Future[RunRecord], Future[Mapping[str, HostRecord]]]:
    """A run whose leader and whose helper hold one host each; its name."""
    leading = pool.submit(leader.lead, prepare(leader))
    assert leader.bench.some_begun.wait(30)
    run = leader.bench.begun[0].run
    helps = pool.submit(helper.help_with, run, prepare(helper))
    assert helper.bench.some_begun.wait(30)
    return run, leading, helps


def test_each_host_is_qualified_by_one_of_both_and_the_leader_reports_all(
    leader: Process, helper: Process, pool: ThreadPoolExecutor
) -> None:
    types = ("good", "bad", "full", "good")
    run, leading, helps = both_at_work(leader, helper, pool, lambda process: process.prepare(*types))
    leader.bench.goes_on.set()
    assert not leading.done()
    helper.bench.goes_on.set()
    record, helped = leading.result(60), helps.result(60)
    assert [host.name for host in record.hosts] == ["good", "bad", "full", "good-2"]
    assert [host.attempt for host in record.hosts] == [1, 1, 1, 1]
    begun = [token.host for process in (leader, helper) for token in process.bench.begun]
    assert sorted(begun) == ["bad", "good", "good-2"], "no capacity for the full one"
    assert set(helped) >= {token.host for token in helper.bench.begun}
    assert {host.name: host for host in record.hosts}["bad"] == helped["bad"]
    assert {host.state for host in record.hosts} == {HostState.RELEASED}
    assert leader.bench.list_made() == []
    assert leader.ledger.record(run) == record
    said = [event.text for event in leader.said]
    assert any("waiting for process" in text and "works on bad" in text for text in said) or helps.done()


def test_a_helper_that_is_stopped_gives_its_host_back(
    leader: Process, helper: Process, pool: ThreadPoolExecutor
) -> None:
    run, leading, helps = both_at_work(leader, helper, pool, lambda process: process.prepare("good", "late", "bad"))
    helper.controls.stop.set()
    assert helps.result(60) == {}
    assert helper.bench.list_made() == [str(leader.bench.begun[0])]
    leader.bench.goes_on.set()
    record = leading.result(60)
    verdicts = {host.name: (host.verdict.outcome, host.attempt) for host in record.hosts}
    assert verdicts == {"good": (Outcome.PASS, 1), "late": (Outcome.PASS, 2), "bad": (Outcome.INCONCLUSIVE, 1)}
    assert not record.interrupted
    assert any(event.event.text.startswith("given back") for event in leader.ledger.events(run))


def test_a_stop_of_the_leader_stops_its_helpers(leader: Process, helper: Process, pool: ThreadPoolExecutor) -> None:
    run, leading, helps = both_at_work(leader, helper, pool, lambda process: process.prepare("good", "late", "bad"))
    leader.controls.stop.set()
    record, helped = leading.result(60), helps.result(60)
    assert record.interrupted
    assert [(host.verdict.reason, host.state) for host in record.hosts] == [
        (Reason.INTERRUPTED, HostState.RELEASED)
    ] * 3
    assert [host.attempt for host in record.hosts] == [1, 1, 1], "what the helper ends for its leader is not begun anew"
    assert list(helped) == ["late"]
    assert leader.bench.list_made() == []
    with pytest.raises(RequestError, match=f"run {run} has ended"):
        helping.read_living_campaign(run, helper.ledger)


def test_hosts_of_a_helper_that_died_are_begun_anew(leader: Process, helper: Process, pool: ThreadPoolExecutor) -> None:
    run, leading, helps = both_at_work(leader, helper, pool, lambda process: process.prepare("good", "late"))
    helper.die()
    leader.bench.goes_on.set()
    record = leading.result(60)
    assert [(host.name, host.verdict.outcome, host.attempt) for host in record.hosts] == [
        ("good", Outcome.PASS, 1),
        ("late", Outcome.PASS, 2),
    ]
    helper.bench.goes_on.set()
    with suppress(Exception):  # it notices at its next write
        helps.result(60)
    assert leader.ledger.hosts(run)[1].attempt == 2
    assert leader.bench.list_made_twice() == []


def test_hosts_that_wait_for_a_choice_are_handed_to_the_leader(
    leader: Process, helper: Process, pool: ThreadPoolExecutor
) -> None:
    asked: list[list[tuple[str, HostState]]] = []

    def choose(_run: str, hosts: object) -> list[str]:
        asked.append([(host.name, host.state) for host in hosts])  # type: ignore[attr-defined]
        return ["late"]

    leader.controls = replace(leader.controls, choose=choose)
    _, leading, helps = both_at_work(leader, helper, pool, lambda process: process.prepare("good", "late", keep="ask"))
    for process in (helper, leader):
        process.bench.goes_on.set()
    assert helps.result(60)["late"].state is HostState.UNDECIDED
    record = leading.result(60)
    assert asked == [[("good", HostState.UNDECIDED), ("late", HostState.UNDECIDED)]]
    assert [(host.name, host.state) for host in record.hosts] == [
        ("good", HostState.RELEASED),
        ("late", HostState.KEPT),
    ]
    assert leader.bench.list_made() == [f"{record.run}/late/1"]


def test_sweep_leaves_a_dead_leaders_run_open_while_a_helper_works(
    leader: Process, helper: Process, pool: ThreadPoolExecutor, tmp_path: Path
) -> None:
    run, leading, helps = both_at_work(leader, helper, pool, lambda process: process.prepare("good", "late"))
    leader.die()
    sweeper, said = Process(tmp_path), list[str]()
    assert leftovers.take_over_dead_runs(sweeper.ledger, sweeper.bench, said.append) == [run]
    found = list_removable(sweeper.ledger, sweeper.bench, taken_over=[run])
    assert [str(item.token) for item in found] == [f"{run}/good/1"], "the helper's host is in use"
    assert leftovers.close_runs([run], sweeper.ledger, sweeper.bench, said.append) == []
    assert f"run {run} stays open: it was asked to stop, and is still at work on late (process " in said[-1]
    assert [record.verdict.reason for record in helps.result(60).values()] == [Reason.INTERRUPTED], "it was asked to"
    leftovers.remove(found, sweeper.bench)
    assert leftovers.close_runs([run], sweeper.ledger, sweeper.bench, said.append) == [run]
    leader.bench.goes_on.set()
    with suppress(Exception):
        leading.result(60)
    assert sweeper.bench.list_made() == []
    record = sweeper.ledger.record(run)
    assert record is not None
    assert [host.verdict.reason for host in record.hosts] == [Reason.INTERRUPTED] * 2


def test_who_resumes_a_run_leaves_a_helpers_judged_host_to_the_helper(
    leader: Process, helper: Process, pool: ThreadPoolExecutor, tmp_path: Path
) -> None:
    run, leading, helps = both_at_work(leader, helper, pool, lambda process: process.prepare("good", "late"))
    helper.bench.may_release.clear()
    helper.bench.goes_on.set()
    assert helper.bench.releases.wait(30), "judged, and being removed"
    leader.die()
    resumer = Process(tmp_path)
    resumer.bench.goes_on.set()
    threading.Timer(6, helper.bench.may_release.set).start()  # the dead leader is watched for three seconds first
    prepared = resumer.prepare("good", "late")
    record = campaign_run.resume(run, prepared, resumer.ledger, resumer.settings, resumer.controls)
    assert [(host.name, host.verdict.outcome, host.attempt) for host in record.hosts] == [
        ("good", Outcome.PASS, 2),
        ("late", Outcome.PASS, 1),
    ]
    assert helps.result(60)["late"].state is HostState.RELEASED
    leader.bench.goes_on.set()
    with suppress(Exception):
        leading.result(60)
    assert resumer.bench.list_made() == []


def test_a_run_that_cannot_be_helped_with_says_why(leader: Process, helper: Process) -> None:
    document = campaign_run.stored.to_document(leader.prepare("good").plan.campaign)
    keeps = campaign_run.stored.to_document(leader.prepare("good", keep="supported").plan.campaign)
    usual = leader.ledger.open_run(bench="lab", campaign=document, hosts={"good": "good"})
    keeping = leader.ledger.open_run(bench="lab", campaign=keeps, hosts={"good": "good"})
    stopping = leader.ledger.open_run(bench="lab", campaign=document, hosts={"good": "good"})
    leader.ledger.ask_to_stop(stopping)
    with pytest.raises(RequestError, match=f"run {stopping} was asked to stop"):
        helping.read_living_campaign(stopping, helper.ledger)
    helping.read_living_campaign(keeping, helper.ledger)
    update = OWNERS.update().where(OWNERS.c.owner == leader.ledger.owner)
    leader.ledger.database.write(lambda db: db.execute(update.values(place="elsewhere", machine="m2")))
    helping.read_living_campaign(usual, helper.ledger)
    with pytest.raises(RequestError, match="which only their own machine can remove") as refused:
        helping.read_living_campaign(keeping, helper.ledger)
    assert refused.value.next_step == "help with it on m2"
    leader.die()
    with pytest.raises(RequestError, match=f"the process that leads run {usual} died"):
        helping.read_living_campaign(usual, helper.ledger)


def test_the_type_that_took_longest_before_is_begun_first(leader: Process) -> None:
    leader.bench.goes_on.set()
    first = leader.lead(leader.prepare("good", "bad", "late"))
    longest = max(first.hosts, key=lambda host: sum(host.stages.values())).name
    leader.bench.begun.clear()
    leader.lead(leader.prepare("good", "bad", "late"))
    assert leader.bench.begun[0].host == longest


class LateBench(HeldBench):
    """A bench whose host is made only when it may go on, as by a process that was stopped for long."""

    def provision(self, token: Token, instance_type: str, progress: Progress) -> Machine:
        self.some_begun.set()
        assert self.goes_on.wait(60)
        return ScriptedBench.provision(self, token, instance_type, progress)


def test_a_host_that_was_made_after_it_was_lost_is_removed(
    leader: Process, helper: Process, pool: ThreadPoolExecutor
) -> None:
    """The next attempt removes what the one before had made by then; what comes later nobody else would remove."""
    helper.bench = LateBench(helper.settings.state_dir / "bench")
    run, leading, helps = both_at_work(leader, helper, pool, lambda process: process.prepare("good", "good"))
    helper.ledger.resign()
    leader.bench.goes_on.set()
    record = leading.result(60)
    assert sorted(host.attempt for host in record.hosts) == [1, 2]
    assert {host.state for host in record.hosts} == {HostState.RELEASED}
    helper.bench.goes_on.set()
    with pytest.raises(OwnershipLostError, match="is no longer ours"):
        helps.result(60)
    assert leader.bench.list_made() == []
    assert leader.ledger.record(run) == record, "nothing else of it changes"
