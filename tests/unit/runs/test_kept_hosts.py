"""What stays after a run: exactly what was chosen, and nothing that the books do not name."""

import datetime
import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import units
from harness.benches.bench import BenchError, Check, InstanceType, Progress, ignore_progress
from harness.campaign import campaign
from harness.campaign.choices import Keep
from harness.cli.keep_question import parse_choice
from harness.errors import CleanupError, RequestError
from harness.model import HostRecord, HostState, Machine, Resource, RunRecord, Stage, Token
from harness.runs import kept_hosts, leftovers
from harness.runs.context import Chooser, RunContext, RunControls, keep_none
from harness.runs.release_failures import ReleaseFailures
from harness.runs.run_events import RunEvents
from harness.store.evidence_folder import EvidenceFolder
from harness.store.ledger import Ledger
from harness.store.ledger_check import check
from harness.store.ledger_lines import HostLine
from harness.store.tables import HOSTS as HOSTS_TABLE
from harness.system.settings import Settings
from tests.doubles.records import make_host
from tests.doubles.removable import list_removable

NAMES = ("a", "b", "stuck", "gone")


class Rack:
    """A bench whose hosts already stand there; the one called `stuck` cannot be removed."""

    name = "lab"

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.running: set[str] = set()
        self.extended: list[tuple[Token, datetime.datetime]] = []
        self.refuses = ""

    def types(self) -> Mapping[str, InstanceType]:
        return {}

    def checks(self) -> Sequence[Check]:
        return ()

    def prepare(self, types: Sequence[str], progress: Progress) -> None: ...

    def terms(self, types: Sequence[str]) -> None:
        return None

    def provision(self, token: Token, instance_type: str, progress: Progress) -> Machine:
        raise AssertionError(f"{token} must not be made again")

    def find(self, token: Token) -> Machine | None:
        return self.machine if str(token) in self.running else None

    def extend_lease(self, token: Token, until: datetime.datetime) -> None:
        if self.refuses:
            raise BenchError(self.refuses)
        self.extended.append((token, until))

    def release(self, token: Token, progress: Progress = ignore_progress) -> None:
        if token.host == "stuck":
            raise CleanupError([str(token)], next_step="pull the plug")
        self.running.discard(str(token))

    def resources(self) -> Sequence[Resource]:
        return [Resource(token=token, kind="machine", name=token, detail="") for token in sorted(self.running)]

    def api_calls(self, token: Token | None = None) -> float | None:
        return None


class Cloud(Rack):
    """A rack behind an API, which was asked once before, and which each release asks twice."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        self.asked = 1.0

    def release(self, token: Token, progress: Progress = ignore_progress) -> None:
        self.asked += 2
        super().release(token, progress)

    def api_calls(self, token: Token | None = None) -> float:
        return self.asked


def record(name: str, state: HostState) -> HostRecord:
    return make_host(name=name, state=state, address="127.0.1.1")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(f"sqlite:///{tmp_path}/ledger.sqlite")


@pytest.fixture
def rack(silent_machine: Machine) -> Rack:
    return Rack(silent_machine)


@pytest.fixture
def run(ledger: Ledger, rack: Rack) -> str:
    """A run whose hosts passed and wait for an answer, but for `gone`, which was released at once."""
    run = ledger.open_run(bench="lab", campaign={}, hosts=dict.fromkeys(NAMES, "lab.phc"))
    rack.running = {f"{run}/{name}/1" for name in NAMES if name != "gone"}
    for name in NAMES:
        ledger.record_verdict(ledger.own_host(run, name).token, record(name, HostState.FAILED))
    ledger.record_state(Token(run=run, host="gone"), record("gone", HostState.RELEASED))
    return run


WAITING = [record(name, HostState.RELEASED if name == "gone" else HostState.UNDECIDED) for name in NAMES]


Contexts = Callable[..., RunContext]


@pytest.fixture
def context_of(ledger: Ledger, rack: Rack, run: str, tmp_path: Path) -> Contexts:
    """The context of the run, with a chooser and, where a test has one, another bench or another `keep`."""

    def make(choose: Chooser = keep_none, *, bench: Rack = rack, keep: Keep = Keep.ASK) -> RunContext:
        folder, failures = EvidenceFolder.create(tmp_path / "evidence"), ReleaseFailures()
        controls = RunControls(listener=lambda _event: None, choose=choose)
        return RunContext(
            run=run,
            started_ns=0,
            bench=bench,
            campaign=campaign.from_mapping({"instance_types": ("lab.phc",), "keep": keep.value}),
            ledger=ledger,
            folder=folder,
            settings=Settings(state_dir=tmp_path, cache_dir=tmp_path, assets_dir=tmp_path),
            controls=controls,
            failures=failures,
            events=RunEvents(run, controls.listener, ledger, folder, failures),
            holds_passed=keep is Keep.ASK,
        )

    return make


def states(records: Sequence[HostRecord]) -> dict[str, HostState]:
    return {one.name: one.state for one in records}


def test_what_is_chosen_stays_and_the_rest_goes(ledger: Ledger, rack: Rack, run: str, context_of: Contexts) -> None:
    shown: list[str] = []

    def choose(_run: str, hosts: Sequence[HostRecord]) -> Collection[str]:
        shown.extend(host.name for host in hosts if host.state is HostState.UNDECIDED)
        return ["a"]

    records, interrupted = kept_hosts.keep_chosen(WAITING, context_of(choose))
    assert shown == ["a", "b", "stuck"], "what went at once is not asked about"
    wanted = {"a": HostState.KEPT, "b": HostState.RELEASED, "stuck": HostState.FAILED, "gone": HostState.RELEASED}
    assert (states(records), interrupted) == (wanted, False)
    assert {line.host: line.state for line in ledger.hosts(run)} == wanted
    assert rack.running == {f"{run}/a/1", f"{run}/stuck/1"}
    assert [host.name for host in kept_hosts.find_kept(ledger, run)] == ["a"]


def test_what_a_release_asks_is_added_to_the_calls_for_its_host(
    ledger: Ledger, silent_machine: Machine, run: str, context_of: Contexts
) -> None:
    there = Cloud(silent_machine)
    kept = [replace(record("a", HostState.KEPT), api_calls=3.5), record("b", HostState.KEPT)]
    assert [one.api_calls for one in kept_hosts.release_kept(run, kept, there, ledger)] == [5.5, 2.0]
    assert {line.host: line.record and line.record.api_calls for line in ledger.hosts(run)}["a"] == 5.5
    undecided = [replace(one, state=HostState.UNDECIDED) for one in kept]
    for one in undecided:
        ledger.own_host(run, one.name)
    chosen, _ = kept_hosts.keep_chosen(undecided, context_of(lambda _run, _hosts: ["a", "b"], bench=there))
    assert [one.api_calls for one in chosen] == [3.5, 0.0]


def test_interrupted_at_the_question_nothing_stays(ledger: Ledger, rack: Rack, run: str, context_of: Contexts) -> None:
    def choose(_run: str, _hosts: Sequence[HostRecord]) -> Collection[str]:
        raise KeyboardInterrupt

    records, interrupted = kept_hosts.keep_chosen(WAITING, context_of(choose))
    assert interrupted
    assert HostState.KEPT not in states(records).values()
    assert rack.running == {f"{run}/stuck/1"}


def test_when_the_question_fails_nothing_stays(ledger: Ledger, rack: Rack, run: str, context_of: Contexts) -> None:
    def choose(_run: str, _hosts: Sequence[HostRecord]) -> Collection[str]:
        raise OSError("the terminal is gone")

    with pytest.raises(OSError, match="the terminal is gone"):
        kept_hosts.keep_chosen(WAITING, context_of(choose))
    assert rack.running == {f"{run}/stuck/1"}
    assert kept_hosts.find_kept(ledger, run) == []


def test_nobody_is_asked_when_nothing_passed(ledger: Ledger, rack: Rack, run: str, context_of: Contexts) -> None:
    def choose(_run: str, _hosts: Sequence[HostRecord]) -> Collection[str]:
        raise AssertionError

    assert kept_hosts.keep_chosen(WAITING[3:], context_of(choose)) == (tuple(WAITING[3:]), False)


def test_nobody_is_asked_once_the_run_was_told_to_stop(rack: Rack, run: str, context_of: Contexts) -> None:
    def choose(_run: str, _hosts: Sequence[HostRecord]) -> Collection[str]:
        raise AssertionError

    context = context_of(choose)
    context.controls.stop.set()
    records, interrupted = kept_hosts.keep_chosen(WAITING, context)
    assert (HostState.KEPT in states(records).values(), interrupted) == (False, False)
    assert rack.running == {f"{run}/stuck/1"}


@pytest.mark.parametrize("state", [None, HostState.UNDECIDED])
def test_a_judged_host_of_a_dead_run_is_settled_as_the_campaign_says(
    ledger: Ledger, run: str, rack: Rack, context_of: Contexts, state: HostState | None
) -> None:
    host = record("a", HostState.FAILED)
    line = HostLine(run=run, host="a", instance_type="lab.phc", attempt=1, state=state, record=host)

    def settle(keep: Keep) -> HostState:
        ledger.own_host(run, "a")
        return kept_hosts.settle_judged(line, host, context_of(keep=keep)).state

    assert settle(Keep.ASK) is HostState.UNDECIDED
    assert settle(Keep.SUPPORTED) is HostState.KEPT
    assert settle(Keep.NONE) is HostState.RELEASED
    assert f"{run}/a/1" not in rack.running
    assert settle(Keep.ASK) is HostState.RELEASED, "it is gone"


def test_kept_hosts_are_released_later(ledger: Ledger, rack: Rack, run: str, context_of: Contexts) -> None:
    kept_hosts.keep_chosen(WAITING, context_of(lambda _run, hosts: [host.name for host in hosts]))
    with pytest.raises(RequestError, match="gone is released; x is not a host of it"):
        kept_hosts.find_kept(ledger, run, ["a", "gone", "x"])
    done = kept_hosts.release_kept(run, kept_hosts.find_kept(ledger, run, ["a", "stuck"]), rack, ledger)
    assert states(done) == {"a": HostState.RELEASED, "stuck": HostState.FAILED}
    assert [host.name for host in kept_hosts.find_kept(ledger, run)] == ["b"]


def test_before_the_answer_no_host_counts_as_kept(ledger: Ledger, rack: Rack, run: str) -> None:
    assert kept_hosts.find_kept(ledger, run) == []


def test_only_running_hosts_of_the_run_are_found(ledger: Ledger, rack: Rack, run: str) -> None:
    assert kept_hosts.find_machine(run, "a", rack, ledger) == rack.machine
    for host, words in {"gone": "does not run", "x": "has no host 'x'"}.items():
        with pytest.raises(RequestError, match=words):
            kept_hosts.find_machine(run, host, rack, ledger)
    with pytest.raises(RequestError, match="still under way"):
        kept_hosts.keep_host(run, "a", rack, ledger)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Machine, int]]:
    """What was told to hosts by SSH: the seconds that are left to them."""
    leases: list[tuple[Machine, int]] = []
    monkeypatch.setattr("harness.host.lease.extend", lambda machine, left_s: leases.append((machine, left_s)))
    return leases


def ended_run(ledger: Ledger, rack: Rack, run: str) -> None:
    """As if the process that led it had ended it, and removed all hosts but `a`."""
    rack.running = {f"{run}/a/1"}
    for name in ("b", "stuck"):
        ledger.record_state(ledger.own_host(run, name).token, record(name, HostState.RELEASED))
    ended = RunRecord(run=run, bench="lab", started="", seconds=1.0, interrupted=False, hosts=(), leftovers=())
    ledger.close_run(ended)


def test_a_lease_is_extended_in_host_bench_and_ledger(
    ledger: Ledger, rack: Rack, run: str, told: list[tuple[Machine, int]]
) -> None:
    ended_run(ledger, rack, run)
    line = kept_hosts.keep_host(run, "a", rack, ledger, lease_s=8 * 3600)
    assert told == [(rack.machine, 8 * 3600)]
    assert line.state is HostState.KEPT
    assert line.kept_until_ns is not None
    assert 8 * 3600 - 60 < (line.kept_until_ns - ledger.now_ns()) / 1e9 <= 8 * 3600
    assert rack.extended == [(line.token, units.utc_moment(line.kept_until_ns))]
    assert line.kept_by is not None
    assert line.kept_by.endswith(f"@{socket.gethostname()}")
    assert [(step.stage, step.result) for step in ledger.steps(run)][-1] == (Stage.KEEP, "done")
    assert f"kept until {units.utc(line.kept_until_ns)} by {line.kept_by}" in [
        each.event.text for each in ledger.events(run)
    ]
    again = kept_hosts.keep_host(run, "a", rack, ledger)
    assert again.kept_until_ns == line.kept_until_ns, "kept without a lease: it stays as it was"


def test_a_lease_that_cannot_be_extended_changes_nothing(
    ledger: Ledger, rack: Rack, run: str, told: list[tuple[Machine, int]]
) -> None:
    ended_run(ledger, rack, run)
    before = kept_hosts.keep_host(run, "a", rack, ledger)
    rack.refuses = "the tags cannot be changed"
    with pytest.raises(BenchError, match="the tags cannot be changed"):
        kept_hosts.keep_host(run, "a", rack, ledger, lease_s=3600)
    assert ledger.hosts(run)[0] == before
    assert [(step.stage, step.result) for step in ledger.steps(run)][-1] == (Stage.KEEP, "the tags cannot be changed")
    assert check(ledger).faults == (), "nobody owns it"


def test_a_kept_host_whose_lease_ended_is_swept(
    ledger: Ledger, rack: Rack, run: str, told: list[tuple[Machine, int]]
) -> None:
    ended_run(ledger, rack, run)
    line = kept_hosts.keep_host(run, "a", rack, ledger, lease_s=3600)
    assert list_removable(ledger, rack) == []
    assert leftovers.release_expired(ledger, rack) == []
    past = HOSTS_TABLE.update().where(HOSTS_TABLE.c.host == "a").values(kept_until_ns=ledger.now_ns() - 10**9)
    ledger.database.write(lambda db: db.execute(past))
    assert [(str(item.token), item.why) for item in list_removable(ledger, rack)] == [
        (str(line.token), "it was kept, and its lease has ended")
    ]
    assert leftovers.release_expired(ledger, rack) == [str(line.token)]
    assert str(line.token) not in rack.running
    assert ledger.hosts(run)[0].state is HostState.RELEASED
    texts = [each.event.text for each in ledger.events(run)]
    assert any(text.startswith("its lease ended at 20") for text in texts)
    assert leftovers.release_expired(ledger, rack) == []


HOSTS = ("lab.phc", "lab.phc-2", "lab.reset", "3")


@pytest.mark.parametrize(
    ("answer", "chosen"),
    [
        ("all\n", HOSTS),
        ("\n", ()),
        (" None ", ()),
        ("2", ("lab.phc-2",)),
        ("4,1", ("lab.phc", "3")),
        ("2-3, 2", ("lab.phc-2", "lab.reset")),
        ("1 3", ("lab.phc", "3")),
        ("1-4", HOSTS),
        ("lab.phc-2", ("lab.phc-2",)),
        ("lab.reset, 1\n", ("lab.phc", "lab.reset")),
    ],
)
def test_answers(answer: str, chosen: Sequence[str]) -> None:
    assert parse_choice(answer, HOSTS) == list(chosen)


@pytest.mark.parametrize("answer", ["0", "5", "3-2", "1-5", "x", "-1", "1-", "1--2", "1.5", "yes", "lab.ph"])
def test_a_wrong_answer_is_no_answer(answer: str) -> None:
    with pytest.raises(ValueError, match=answer.split(",", maxsplit=1)[0]):
        parse_choice(answer, HOSTS)


@settings(max_examples=200)
@given(st.integers(1, 40).flatmap(lambda count: st.tuples(st.just(count), st.sets(st.integers(1, count)))), st.data())
def test_however_numbers_are_written_these_are_chosen(asked: tuple[int, set[int]], data: st.DataObject) -> None:
    count, wanted = asked
    parts = [str(number) for number in wanted]
    for first in wanted:
        last = first
        while last + 1 in wanted and data.draw(st.booleans()):
            last += 1
        parts.append(f"{first}-{last}")
    answer = data.draw(st.sampled_from([",", ", ", " "])).join(data.draw(st.permutations(parts)))
    names = [f"host{number}" for number in range(1, count + 1)]
    assert parse_choice(f" {answer}\n", names) == [f"host{number}" for number in sorted(wanted)]


@settings(max_examples=200)
@given(st.text() | st.text(alphabet="0123456789-, alnoe"))
def test_any_answer_chooses_some_hosts_or_is_refused(answer: str) -> None:
    try:
        chosen = parse_choice(answer, HOSTS)
    except ValueError:
        return
    assert chosen == [name for name in HOSTS if name in chosen]
