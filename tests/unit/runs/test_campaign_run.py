"""Many hosts: one verdict each, in the order given, none stopping another, and everything released."""

import dataclasses
import itertools
import json
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from harness.benches.bench import (
    BenchError,
    CapacityError,
    Check,
    FatalError,
    InstanceType,
    NotOfferedError,
    Progress,
    QuotaError,
    ignore_progress,
)
from harness.campaign import campaign, run_plan
from harness.campaign.choices import Keep
from harness.campaign.run_plan import Plan
from harness.cli.run_controls import stopping_on_signals
from harness.errors import CleanupError, RequestError
from harness.host.playbooks import PlayOutcome, PlayResult
from harness.model import (
    Depth,
    DriverWord,
    Event,
    Evidence,
    Facts,
    HostState,
    Machine,
    Outcome,
    Reach,
    Reason,
    Resource,
    RungName,
    RunRecord,
    Stage,
    Token,
)
from harness.model.cloud import PriceTerms
from harness.report import text
from harness.report.formats import Format, render
from harness.runs import campaign_run, host_workers, leftovers, qualification
from harness.runs.context import RunControls
from harness.runs.evidence_collector import EvidenceCollector
from harness.runs.prepare import Prepared
from harness.runs.steps import StepRecorder
from harness.store import adhoc_runs
from harness.store.evidence_folder import EvidenceFolder
from harness.store.ledger import Ledger
from harness.system.settings import Settings, assets_dir
from tests.doubles.removable import list_removable

ERRORS: Mapping[str, Callable[[], BenchError]] = {
    "full": lambda: CapacityError("no room for it"),
    "quota": lambda: QuotaError("5 of 5 used"),
    "nowhere": lambda: NotOfferedError("no such type here"),
    "fatal": lambda: FatalError("credentials have expired"),
}
KINDS = ("silent", "broken", "stuck", "good", "clockless", "unheard", *ERRORS)


class ScriptedBench:
    """Hosts that behave as their type says: no room, no answer, a bug of ours, a release that fails."""

    name = "lab"

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._lock = threading.Lock()
        self.running: set[str] = set()
        self.order: list[str] = []
        self.most = 0
        self.on_provision: Callable[[Token], None] = lambda _token: None

    def types(self) -> Mapping[str, InstanceType]:
        return {kind: InstanceType(name=kind, summary=kind) for kind in KINDS}

    def checks(self) -> Sequence[Check]:
        return ()

    def prepare(self, types: Sequence[str], progress: Progress) -> None:
        progress("ready")

    def terms(self, types: Sequence[str]) -> PriceTerms | None:
        return None

    def provision(self, token: Token, instance_type: str, progress: Progress) -> Machine:
        with self._lock:
            self.order.append(token.host)
            self.running.add(str(token))
            self.most = max(self.most, len(self.running))
        self.on_provision(token)
        progress("launching")
        if instance_type in ERRORS:
            raise ERRORS[instance_type]()
        if instance_type == "broken":
            raise ZeroDivisionError("a bug")
        return dataclasses.replace(self._machine, token=token, instance_type=instance_type)

    def find(self, token: Token) -> Machine | None:
        return dataclasses.replace(self._machine, token=token) if str(token) in self.running else None

    def extend_lease(self, token: Token, until: datetime) -> None: ...

    def release(self, token: Token, progress: Progress = ignore_progress) -> None:
        if "/stuck" in str(token):
            raise CleanupError([str(token)], next_step="pull the plug")
        with self._lock:
            self.running.discard(str(token))

    def resources(self) -> Sequence[Resource]:
        return [Resource(token=token, kind="machine", name=token, detail="") for token in sorted(self.running)]

    def api_calls(self, token: Token | None = None) -> float | None:
        return None


@dataclasses.dataclass
class Lab:
    """One run's surroundings."""

    bench: ScriptedBench
    ledger: Ledger
    settings: Settings
    events: list[Event]

    def run(self, *types: str, parallel: int = 4) -> RunRecord:
        return self.lead(planned(self.bench, types, parallel), self.controls())

    def lead(self, plan: Plan, controls: RunControls, bench: "ScriptedBench | None" = None) -> RunRecord:
        prepared = Prepared(bench=bench or self.bench, plan=plan)
        return campaign_run.start(prepared, self.ledger, self.settings, controls)

    def controls(self, **more: Any) -> RunControls:
        return RunControls(listener=self.listen, **more)

    def listen(self, event: Event) -> None:
        self.events.append(event)


def planned(bench: ScriptedBench, types: Sequence[str], parallel: int, **more: object) -> Plan:
    asked = campaign.from_mapping({"instance_types": tuple(types), "parallel": parallel, **more})
    return run_plan.make_plan(asked, bench.types(), now=datetime(2026, 11, 21, tzinfo=UTC))


def lab_in(folder: Path, machine: Machine) -> Lab:
    settings = Settings(
        state_dir=folder, cache_dir=folder, assets_dir=assets_dir(), ssh_tries=1, ssh_first_backoff_s=0.0
    )
    return Lab(bench=ScriptedBench(machine), ledger=Ledger(settings.ledger_url), settings=settings, events=[])


@pytest.fixture
def lab(tmp_path: Path, silent_machine: Machine) -> Lab:
    return lab_in(tmp_path, silent_machine)


def verdicts(record: RunRecord) -> dict[str, tuple[Outcome, Reason, HostState]]:
    return {host.name: (host.verdict.outcome, host.verdict.reason, host.state) for host in record.hosts}


def test_every_kind_of_trouble_has_its_verdict_and_all_is_released(lab: Lab) -> None:
    record = lab.run("silent", "full", "quota", "nowhere", "broken")
    assert verdicts(record) == {
        "silent": (Outcome.INCONCLUSIVE, Reason.UNREACHABLE, HostState.RELEASED),
        "full": (Outcome.INCONCLUSIVE, Reason.CAPACITY, HostState.RELEASED),
        "quota": (Outcome.INCONCLUSIVE, Reason.QUOTA, HostState.RELEASED),
        "nowhere": (Outcome.UNSUPPORTED, Reason.NOT_OFFERED, HostState.RELEASED),
        "broken": (Outcome.INCONCLUSIVE, Reason.HARNESS_ERROR, HostState.RELEASED),
    }
    assert lab.bench.running == set()
    assert record.leftovers == ()
    assert lab.ledger.record(record.run) == record


class PricedBench(ScriptedBench):
    """The same in a cloud: six dollars an hour, and two questions for each host."""

    def terms(self, types: Sequence[str]) -> PriceTerms:
        return PriceTerms(images=(), placement="anywhere", usd_per_hour={"silent": 6.0}, longest_life_s=3600.0)

    def api_calls(self, token: Token | None = None) -> float:
        return 2.04 * len(self.order) if token is None else 2.04


def test_what_a_cloud_was_asked_and_costs_is_in_the_record(lab: Lab, silent_machine: Machine) -> None:
    bench = PricedBench(dataclasses.replace(silent_machine, usd_per_hour=6.0))
    record = lab.lead(planned(bench, ["silent", "full"], 1, lease="1h"), lab.controls(), bench)
    of_hosts = [event.host is not None for event in lab.events]
    [first] = [event for event in lab.events if event.host is None and event.run is not None]
    assert first.text.startswith(f"run {record.run}: 2 hosts, anywhere, cost unknown (")
    assert lab.events.index(first) < of_hosts.index(True), "said before the first host is made"
    assert [(host.api_calls, host.cost_usd) for host in record.hosts] == [(2.0, 0.1), (2.0, None)], "a minute at least"
    assert (record.api_calls, record.cost_usd) == (4, 0.1)
    assert lab.ledger.record(record.run) == record


def test_the_bug_of_ours_is_kept_as_evidence(lab: Lab) -> None:
    record = lab.run("broken")
    assert "ZeroDivisionError: a bug" in record.hosts[0].verdict.sentence
    folder = lab.settings.runs_dir / record.run
    assert "ZeroDivisionError: a bug" in (folder / "broken" / "traceback.txt").read_text()
    assert EvidenceFolder(folder).list_changed() == []


def test_one_at_a_time_goes_in_the_order_given(lab: Lab) -> None:
    names = ("quota", "silent", "full", "nowhere", "full")
    record = lab.run(*names, parallel=1)
    assert lab.bench.order == ["quota", "silent", "full", "nowhere", "full-2"]
    assert [host.name for host in record.hosts] == lab.bench.order
    assert lab.bench.most == 1


def test_an_error_that_holds_for_all_stops_new_hosts_and_each_still_has_its_verdict(lab: Lab) -> None:
    record = lab.run("fatal", "silent", "full", parallel=1)
    assert lab.bench.order == ["fatal"]
    assert [host.verdict.reason for host in record.hosts] == [Reason.LAUNCH_FAILED] * 3
    assert "credentials have expired" in record.hosts[0].verdict.sentence
    assert "not tried" in record.hosts[1].verdict.sentence


def test_what_cannot_be_released_is_named_and_stays_in_the_books(lab: Lab) -> None:
    record = lab.run("stuck", "silent")
    assert verdicts(record)["stuck"][2] is HostState.FAILED
    assert [left.token for left in record.leftovers] == [f"{record.run}/stuck/1"]
    assert [str(item.token) for item in list_removable(lab.ledger, lab.bench)] == [f"{record.run}/stuck/1"]
    remains = leftovers.remove(list_removable(lab.ledger, lab.bench), lab.bench)
    assert remains == {Token(run=record.run, host="stuck"): [f"{record.run}/stuck/1"]}


def test_asked_to_stop_hosts_are_judged_and_released(lab: Lab) -> None:
    asked, controls = planned(lab.bench, ("silent", "full", "silent"), 1), lab.controls()
    lab.bench.on_provision = lambda _token: controls.stop.set()
    record = lab.lead(asked, controls)
    assert record.interrupted
    assert lab.bench.order == ["silent"], "nothing new once asked to stop"
    assert [(host.verdict.outcome, host.verdict.reason, host.state) for host in record.hosts] == [
        (Outcome.INCONCLUSIVE, Reason.INTERRUPTED, HostState.RELEASED)
    ] * 3
    assert record.hosts[0].verdict.sentence == "interrupted while being provisioned, after 0 s"
    assert lab.bench.running == set()


def test_a_signal_while_it_looks_for_leftovers_stops_a_command_that_still_closes_its_books(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, stop = lab.bench.resources, threading.Event()

    def stopped() -> Sequence[Resource]:
        signal.raise_signal(signal.SIGINT)
        return look()

    monkeypatch.setattr(lab.bench, "resources", stopped)
    controls = lab.controls(stop=stop, while_leading=lambda _run: stopping_on_signals(stop))
    record = lab.lead(planned(lab.bench, ["silent"], 1), controls)
    assert record.interrupted
    assert lab.ledger.record(record.run) == record


def test_leading_a_run_leaves_signals_alone(lab: Lab) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before, meanwhile = [signal.getsignal(number) for number in numbers], list[object]()
    lab.bench.on_provision = lambda _token: meanwhile.extend(signal.getsignal(number) for number in numbers)
    lab.run("silent")
    assert meanwhile == before


def test_two_runs_in_two_threads_of_one_process_stop_each_for_itself(lab: Lab) -> None:
    """The one that is stopped while its host is made, and the one that is not, both end with their reports."""
    under_way = threading.Barrier(2, timeout=60)
    stopped, other = lab.controls(), lab.controls()

    def lead(controls: RunControls, *types: str) -> RunRecord:
        return lab.lead(planned(lab.bench, types, 1), controls)

    def meet(token: Token) -> None:
        if token.host in ("silent", "full"):  # the first host of each
            under_way.wait()
        if token.host == "silent":
            stopped.stop.set()

    lab.bench.on_provision = meet
    with ThreadPoolExecutor(2) as pool:
        leading = [pool.submit(lead, stopped, "silent", "nowhere"), pool.submit(lead, other, "full", "quota")]
    ended, went_on = (each.result() for each in leading)
    assert [host.verdict.reason for host in ended.hosts] == [Reason.INTERRUPTED, Reason.INTERRUPTED]
    assert [host.verdict.reason for host in went_on.hosts] == [Reason.CAPACITY, Reason.QUOTA]
    assert (ended.interrupted, went_on.interrupted) == (True, False)
    for record in (ended, went_on):
        folder = EvidenceFolder(lab.settings.runs_dir / record.run)
        assert json.loads((folder.path / campaign_run.REPORT_JSON).read_text())["run"] == record.run
        assert folder.list_changed() == []
        assert lab.ledger.record(record.run) == record
    assert lab.bench.running == set()


def test_a_dead_runs_hosts_get_their_verdict_when_it_is_swept(lab: Lab) -> None:
    run = dead_run(lab.ledger, {"a": "silent", "b": "full"})
    token = lab.ledger.own_host(run, "a").token
    lab.ledger.end_step(lab.ledger.begin_step(token, Stage.REACH), "done")
    lab.ledger.begin_step(token, Stage.CONFIGURE)
    lab.bench.running.add(f"{run}/a/1")
    lab.bench.running.add("lab/by-hand/1")
    found = list_removable(lab.ledger, lab.bench)
    assert [(str(item.token), item.why) for item in found] == [(f"{run}/a/1", "the process of its run died")]
    assert leftovers.take_over_dead_runs(lab.ledger, lab.bench, print) == [run]
    assert list_removable(lab.ledger, lab.bench) == [], "this process leads it now"
    (taken,) = list_removable(lab.ledger, lab.bench, taken_over=[run])
    assert (found[0].of_dead_run, taken.of_dead_run, taken.token) == (True, False, found[0].token)
    assert leftovers.remove([taken], lab.bench) == {}
    leftovers.close_runs([run], lab.ledger, lab.bench, print)
    record = lab.ledger.record(run)
    assert record is not None
    assert verdicts(record) == dict.fromkeys(("a", "b"), (Outcome.INCONCLUSIVE, Reason.INTERRUPTED, HostState.RELEASED))
    configuring, not_begun = (host.verdict.sentence for host in record.hosts)
    assert re.fullmatch(r"interrupted while being configured, which began at [-0-9]+T[:0-9]+\+00:00", configuring)
    assert not_begun == "interrupted before this was known: no attempt to launch it was recorded"
    assert lab.bench.running == {"lab/by-hand/1"}, "what a person made by hand is not swept"


def test_a_host_that_waited_for_its_choice_when_the_run_died_is_swept(lab: Lab, silent_machine: Machine) -> None:
    run = dead_run(lab.ledger, {"a": "silent"})
    lab.bench.running.add(f"{run}/a/1")
    unqualified = host_workers.unqualified_host_record("a", "silent", Evidence(interrupted=True))
    token = lab.ledger.own_host(run, "a").token
    lab.ledger.record_state(token, dataclasses.replace(unqualified, state=HostState.UNDECIDED))
    assert [item.token.host for item in list_removable(lab.ledger, lab.bench)] == ["a"]
    leftovers.remove(list_removable(lab.ledger, lab.bench), lab.bench)
    assert leftovers.take_over_dead_runs(lab.ledger, lab.bench, print) == [run]
    leftovers.close_runs([run], lab.ledger, lab.bench, print)
    assert [line.state for line in lab.ledger.hosts(run)] == [HostState.RELEASED]


def test_a_living_run_is_not_swept(lab: Lab) -> None:
    run = lab.ledger.open_run(bench="lab", campaign={}, hosts={"a": "silent"})
    lab.bench.running.add(f"{run}/a/1")
    assert list_removable(lab.ledger, lab.bench) == []
    assert leftovers.take_over_dead_runs(lab.ledger, lab.bench, print) == []


def test_a_run_that_no_ledger_knows_is_swept(lab: Lab) -> None:
    lab.bench.running.add("zzzz/a/1")
    assert [item.why for item in list_removable(lab.ledger, lab.bench)] == ["its run is in no ledger here"]


def test_what_a_process_keeps_warm_is_swept_once_that_process_died(lab: Lab) -> None:
    program = "from harness.store import adhoc_runs; print(adhoc_runs.make_run_name())"
    dead = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
    lab.bench.running |= {f"{adhoc_runs.make_run_name()}/lab.phc/1", f"{dead}/lab.phc/1"}
    assert [(item.token.run, item.why) for item in list_removable(lab.ledger, lab.bench)] == [
        (dead, "the process that kept it warm died")
    ]


# --- any campaign at all --------------------------------------------------------------------------------------------

SEEN: Mapping[str, Callable[[Evidence], Evidence]] = {
    "good": lambda good: good,
    "clockless": lambda good: dataclasses.replace(good, facts=clockless(good), samples=None, final_facts=None),
    "unheard": lambda good: Evidence(launch=good.launch, reach=Reach(reached=False, tries=5, detail="silence")),
}
"""What is seen of hosts that come up, by their type: no host of this tier can be configured."""

EXPECTED = {
    "good": (Outcome.PASS, Reason.SYNCHRONISED),
    "clockless": (Outcome.UNSUPPORTED, Reason.NO_PHC),
    "unheard": (Outcome.INCONCLUSIVE, Reason.UNREACHABLE),
    "full": (Outcome.INCONCLUSIVE, Reason.CAPACITY),
    "quota": (Outcome.INCONCLUSIVE, Reason.QUOTA),
    "nowhere": (Outcome.UNSUPPORTED, Reason.NOT_OFFERED),
    "broken": (Outcome.INCONCLUSIVE, Reason.HARNESS_ERROR),
}


def clockless(good: Evidence) -> Facts:
    assert good.facts is not None
    word = DriverWord.NOT_SUPPORTED_BY_DEVICE
    return dataclasses.replace(good.facts, clocks=(), driver_word=word, driver_word_text="said so", phc_link=None)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch, good: Evidence) -> None:
    """Hosts show what SEEN says, once they are there; all else on their way is the real thing."""

    def observe(self: qualification.Qualification, _cleanup: ExitStack) -> None:
        if self.provision():
            self.collected.evidence = SEEN[self.host.instance_type](good)

    monkeypatch.setattr(qualification.Qualification, "observe", observe)


@pytest.mark.parametrize("settles", [True, False])
def test_depth_quick_looks_again_at_a_clock_whose_bound_one_second_refutes(
    lab: Lab, good: Evidence, monkeypatch: pytest.MonkeyPatch, settles: bool
) -> None:
    assert good.facts is not None
    shifted = [dataclasses.replace(read, phc_ns=read.phc_ns + 700_000) for read in good.facts.reads or ()]
    refuting = dataclasses.replace(good.facts, reads=tuple(shifted))
    pauses: list[float] = []

    def configure(self: qualification.Qualification, _target: object) -> Facts:
        self.collected.evidence = dataclasses.replace(good, samples=None, slots=None, facts=refuting, final_facts=None)
        return refuting

    def collect(_self: EvidenceCollector, _target: object, name: str, _task: str) -> Facts | None:
        assert name == "facts-again.json"
        return good.facts if settles else refuting

    monkeypatch.setattr(qualification.Qualification, "reach", lambda _self, target: target)
    monkeypatch.setattr(qualification.Qualification, "configure", configure)
    monkeypatch.setattr(EvidenceCollector, "collect_facts", collect)
    monkeypatch.setattr(StepRecorder, "pause", lambda _self, seconds: pauses.append(seconds))
    asked = planned(lab.bench, ["good"], 1)
    quick = dataclasses.replace(asked.campaign, depth=Depth.QUICK)
    (host,) = lab.lead(dataclasses.replace(asked, campaign=quick), lab.controls()).hosts
    expected = Reason.SYNCHRONISED if settles else Reason.BOUND_REFUTED
    assert (host.verdict.reason, pauses) == (expected, [qualification.SETTLES_WITHIN_S])
    assert sum("looked at again" in remark for remark in host.verdict.remarks) == 1


def test_facts_whose_event_was_lost_are_collected_without_ansible(
    lab: Lab, good: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = PlayResult(
        outcome=PlayOutcome.OK,
        message="",
        changed=0,
        tasks_on_wire=0,
        seconds=1.0,
        task_seconds=(),
        stdout="",
        results={},
    )

    def reach(self: qualification.Qualification, target: object) -> object:
        self.collected.evidence = dataclasses.replace(good, samples=None, slots=None, facts=None, final_facts=None)
        return target

    monkeypatch.setattr(qualification.Qualification, "reach", reach)
    monkeypatch.setattr(EvidenceCollector, "play", lambda *_arguments: played)
    monkeypatch.setattr(EvidenceCollector, "collect_facts", lambda *_arguments: good.facts)
    asked = planned(lab.bench, ["good"], 1)
    quick = dataclasses.replace(asked.campaign, depth=Depth.QUICK)
    (host,) = lab.lead(dataclasses.replace(asked, campaign=quick), lab.controls()).hosts
    assert (host.verdict.reason, host.facts) == (Reason.SYNCHRONISED, good.facts)


def as_expected(record: RunRecord, kinds: Sequence[str], keep: Keep, chosen: Collection[str]) -> None:
    """Each host has its kind's verdict, and stays just where the campaign or whoever was asked wanted that."""
    for kind, host in zip(kinds, record.hosts, strict=True):
        assert (host.verdict.outcome, host.verdict.reason) == EXPECTED[kind]
        stays = kind == "good" and (keep is Keep.SUPPORTED or (keep is Keep.ASK and host.name in chosen))
        assert host.state is (HostState.KEPT if stays else HostState.RELEASED)


def still_there(record: RunRecord) -> set[str]:
    return {f"{record.run}/{host.name}/{host.attempt}" for host in record.hosts if host.state is HostState.KEPT}


@pytest.mark.slow
@hypothesis_settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kinds=st.lists(st.sampled_from(list(EXPECTED)), min_size=1, max_size=8),
    parallel=st.integers(1, 4),
    keep=st.sampled_from(list(Keep)),
    wanted=st.frozensets(st.integers(0, 7)),
)
def test_any_campaign(
    kinds: list[str],
    parallel: int,
    keep: Keep,
    wanted: frozenset[int],
    seen: None,
    silent_machine: Machine,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """In the order given, one verdict each whatever befalls the others; exactly what was chosen stays; all is shown."""
    lab = lab_in(tmp_path_factory.mktemp("lab"), silent_machine)
    asked = planned(lab.bench, kinds, parallel, keep=keep.value)
    names = [host.name for host in asked.hosts]
    chosen = {name for number, name in enumerate(names) if number in wanted}
    record = lab.lead(asked, lab.controls(choose=lambda _run, _hosts: chosen))
    assert [host.instance_type for host in record.hosts] == kinds
    assert [host.name for host in record.hosts] == names
    assert len(set(names)) == len(kinds)
    as_expected(record, kinds, keep, chosen)
    assert lab.bench.running == still_there(record)
    assert lab.bench.most <= len(kinds) if keep is not Keep.NONE else lab.bench.most <= parallel
    assert record.leftovers == ()
    assert [line.record for line in lab.ledger.hosts(record.run)] == list(record.hosts)
    document = json.loads(render(record, Format.JSON))
    for host, shown in zip(record.hosts, document["hosts"], strict=True):
        assert (shown["name"], shown["instance_type"]) == (host.name, host.instance_type)
        assert (shown["outcome"], shown["reason"], shown["state"]) == (*EXPECTED[host.instance_type], host.state)
        assert len(shown["rungs"]) == len(RungName)
        assert all(rung["evidence"] for rung in shown["rungs"])
        assert {"provision", "judge", "release"} <= set(shown["stages"])
    summary = text.summary(record)
    for host in record.hosts:
        assert re.search(rf"^{re.escape(host.name)} +{host.verdict.outcome} +{host.verdict.reason} ", summary, re.M)


class Died(BaseException):
    """What kill -9 is to the code that it hits: nothing after it is done."""


def mortal(ledger: Ledger, moment: int, death: threading.Event) -> None:
    """From the `moment`-th booking on, whoever books anything dies."""
    count = itertools.count()

    def dying(usual: Callable[..., object]) -> Callable[..., object]:
        def booked(*words: object, **more: object) -> object:
            if death.is_set() or next(count) >= moment:
                death.set()
                raise Died
            return usual(*words, **more)

        return booked

    for name in BOOKINGS:
        setattr(ledger, name, dying(getattr(ledger, name)))


BOOKINGS = ("claim", "begin_step", "end_step", "record_verdict", "record_state", "close_run")


def disown(ledger: Ledger) -> None:
    """As if the process that books had ended."""
    with sqlite3.connect(ledger.url.removeprefix("sqlite:///")) as db:
        db.execute("UPDATE owners SET pid_start_ticks = 0")


@pytest.mark.slow
@hypothesis_settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kinds=st.lists(st.sampled_from(list(EXPECTED)), min_size=1, max_size=4),
    parallel=st.integers(1, 3),
    keep=st.sampled_from(list(Keep)),
    wanted=st.frozensets(st.integers(0, 3)),
    moment=st.integers(0, 40),
)
def test_a_run_that_died_at_any_moment_is_resumed_to_the_same_end(
    kinds: list[str],
    parallel: int,
    keep: Keep,
    wanted: frozenset[int],
    moment: int,
    seen: None,
    silent_machine: Machine,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    lab = lab_in(tmp_path_factory.mktemp("lab"), silent_machine)
    asked = planned(lab.bench, kinds, parallel, keep=keep.value)
    chosen = {host.name for number, host in enumerate(asked.hosts) if number in wanted}
    mortal(lab.ledger, moment, threading.Event())
    with suppress(Died):
        lab.lead(asked, lab.controls(choose=lambda _run, _hosts: chosen))
    for name in BOOKINGS:
        delattr(lab.ledger, name)
    [line] = lab.ledger.runs()
    if line.ended:
        with pytest.raises(RequestError, match="has ended"):
            campaign_run.read_dead_campaign(line.run, lab.ledger)
        return
    with pytest.raises(RequestError, match="is under way"):
        campaign_run.read_dead_campaign(line.run, lab.ledger)
    disown(lab.ledger)
    undecided = (None, HostState.UNDECIDED)
    before = {host.host: host.record for host in lab.ledger.hosts(line.run) if host.state not in undecided}
    assert campaign_run.read_dead_campaign(line.run, lab.ledger) == asked.campaign
    record = campaign_run.resume(
        line.run,
        Prepared(bench=lab.bench, plan=asked),
        lab.ledger,
        lab.settings,
        lab.controls(choose=lambda _run, _hosts: chosen),
    )
    assert [host.name for host in record.hosts] == [host.name for host in asked.hosts]
    as_expected(record, kinds, keep, chosen)
    assert all(host == before[host.name] for host in record.hosts if host.name in before)
    assert lab.bench.running == still_there(record)
    assert (record.leftovers, record.interrupted) == ((), False)
    assert lab.ledger.record(record.run) == record


def test_of_two_that_resume_a_run_one_does(lab: Lab) -> None:
    run = dead_run(lab.ledger, {"silent": "silent"})
    assert [line.alive() for line in lab.ledger.runs()] == [False]
    seen = lab.ledger.find_dead_run(run)
    lab.ledger.take_over(run)
    with pytest.raises(RequestError, match=r"is under way: process \d+ leads it"):
        lab.ledger.take_over(run)
    late = Ledger(lab.ledger.url)
    late.find_dead_run = lambda _run: seen  # type: ignore[method-assign]  # looked before the other took it over
    with pytest.raises(RequestError, match="another process goes on with run"):
        late.take_over(run)


def test_a_run_of_another_version_is_not_guessed_at(lab: Lab) -> None:
    with pytest.raises(RequestError, match="was booked by another version"):
        campaign_run.read_dead_campaign(dead_run(lab.ledger, {"silent": "silent"}), lab.ledger)


def dead_run(ledger: Ledger, hosts: Mapping[str, str]) -> str:
    """A run whose process has died: booked by a child that ended."""
    booking = f"open_run(bench='lab', campaign={{}}, hosts={dict(hosts)!r})"
    words = f"from harness.store.ledger import Ledger; print(Ledger({ledger.url!r}).{booking})"
    done = subprocess.run([sys.executable, "-c", words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_what_local_hosts_share_is_prepared_where_they_are(lab: Lab) -> None:
    plan = planned(lab.bench, ("full",), 1)
    prepared = Prepared(bench=lab.bench, plan=plan)
    campaign_run.start(prepared, lab.ledger, lab.settings, lab.controls(), work=host_workers.qualify_claimed)
    assert "ready" not in [event.text for event in lab.events]
    lab.lead(plan, lab.controls())
    assert "ready" in [event.text for event in lab.events]
