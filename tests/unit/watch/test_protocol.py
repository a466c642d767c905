"""Workers, leaders and the ledger in any order of faults: one owner an epoch, no tick twice, and all served in the end.

Time is a table of the ledger's database, and a number for each machine: so a lease ends when a step says so.
"""

import tempfile
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sql
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy.ext.compiler import compiles

from harness.errors import ConflictError, SetupError
from harness.store.database import SQLITE, Database, now_ns
from harness.store.ledger import Ledger
from harness.store.watch_mending import WatchMending
from harness.store.watch_streams import HEARTBEAT_S, LEASE_S, Heartbeat, NewStream, WatchStreams
from harness.watch.holdings import Holdings
from harness.watch.leader import Leader

MEMORY = Path("/dev/shm")
NAMES = st.sampled_from(["a", "b", "c", "d"])
SETTLED_WITHIN_S = 3 * LEASE_S + 10
CAPACITY = 6.0
CALM_S = 4.0
"""A worker that reached the ledger for so long has renewed its lease."""


@contextmanager
def clock_in_a_table() -> Iterator[None]:
    """Have the time of SQLite come from a table that a test writes."""
    usual = now_ns._compiler_dispatcher.specs[SQLITE]  # type: ignore[attr-defined]
    compiles(now_ns, SQLITE)(lambda *_arguments, **_options: "(SELECT at_ns FROM test_clock)")
    try:
        yield
    finally:
        now_ns._compiler_dispatcher.specs[SQLITE] = usual  # type: ignore[attr-defined]


class Machine(RuleBasedStateMachine):
    """The whole watch. `sampled`: by stream and tick, the epochs and workers that sampled it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None)
        self.ledger = Ledger(f"sqlite:///{Path(self.folder.name) / 'ledger.sqlite'}")
        self.at_s, self.database_ahead_s = 1e6, 0.0
        self.ledger.database.write(lambda db: db.execute(sql.text("CREATE TABLE test_clock (at_ns BIGINT)")) and None)
        self.ledger.database.write(lambda db: db.execute(sql.text("INSERT INTO test_clock VALUES (0)")) and None)
        self._clock = clock_in_a_table()
        self._clock.__enter__()
        self.away = False
        self.cut: set[str] = set()
        self.streams = self.make_streams()
        self.avoided: set[str] = set()
        self.leaders = [
            Leader(self.streams, name, now=lambda: self.at_s, avoid=lambda: self.avoided) for name in ("hub-1", "hub-2")
        ]
        self.leads = {0, 1}
        self.running: dict[str, Holdings] = {}
        self.paused: set[str] = set()
        self.added: set[str] = set()
        self.owners: dict[tuple[str, int], str] = {}
        self.sampled: dict[tuple[str, int], dict[int, str]] = {}
        self.epochs: dict[str, int] = {}
        self.latest: dict[str, tuple[int, str]] = {}
        self.served: set[str] = set()
        self.local: set[str] = set()
        self.connected: dict[str, set[str]] = {}
        self.disturbed_s: dict[str, float] = {}
        self.processes = 0
        self._set_clock()

    def make_streams(self, worker: str = "") -> "GuardedStreams":
        """Make what a worker, or a leader, reaches the ledger by."""
        return GuardedStreams(self.ledger.database, self, worker)

    def teardown(self) -> None:
        self._clock.__exit__(None, None, None)
        self.ledger.close()
        self.folder.cleanup()

    # -- faults and changes

    @initialize(streams=st.integers(4, 9), workers=st.integers(2, 4))
    def begin(self, streams: int, workers: int) -> None:
        for number in range(streams):
            self.add_stream(number, 1.0)
        for name in "abcd"[:workers]:
            self.join(name)
        self.run(int(LEASE_S) + 4)

    @rule(name=NAMES)
    def join(self, name: str) -> None:
        if name in self.running:
            return
        self.processes += 1
        self.disturbed_s[name] = self.at_s  # what a dead process of this name sampled is not this one's
        self.running[name] = Holdings(
            streams=self.make_streams(name),
            worker=name,
            process=f"machine/{self.processes}",
            version="1",
            capacity=CAPACITY,
            now=lambda: self.at_s,
        )

    @rule(name=NAMES)
    def die(self, name: str) -> None:
        self.running.pop(name, None)
        self._clear(name)

    @rule(name=NAMES)
    def leave(self, name: str) -> None:
        worker = self.running.pop(name, None)
        self._clear(name)
        if worker is not None:
            worker.leave()

    @rule(name=NAMES)
    def drain(self, name: str) -> None:
        if name in self.running and not self.away and name not in self.cut:
            self.running[name].drain()

    @rule(name=NAMES)
    def pause(self, name: str) -> None:
        if name in self.running:
            self.paused.add(name)

    @rule(name=NAMES)
    def go_on(self, name: str) -> None:
        self.paused.discard(name)

    @rule(name=NAMES)
    def cut_off(self, name: str) -> None:
        """Let a worker reach the ledger no more, while the others do."""
        if name in self.running:
            self.cut.add(name)

    @rule(name=NAMES)
    def reach_again(self, name: str) -> None:
        self.cut.discard(name)

    @rule(name=NAMES)
    def demand_registration(self, name: str) -> None:
        if not self.away:
            numbers = {line.worker: line.registration for line in self.streams.list_workers() if line.worker == name}
            WatchMending(self.ledger.database).demand_registration(numbers)

    @rule(leads=st.sets(st.sampled_from([0, 1])))
    def change_leaders(self, leads: set[int]) -> None:
        self.leads = leads

    @rule(names=st.sets(NAMES))
    def avoid(self, names: set[str]) -> None:
        """Leave workers out, which go on to sample until others have what they had."""
        self.avoided = names

    @rule(away=st.booleans())
    def database(self, away: bool) -> None:
        self.away = away

    @rule(seconds=st.sampled_from([-3600.0, 3600.0, 5.0]))
    def set_the_database_s_clock(self, seconds: float) -> None:
        """Leases that end too late, or have ended, hold nobody off until their owners renew them."""
        self.database_ahead_s += seconds
        self.disturbed_s |= dict.fromkeys("abcd", self.at_s)
        self._set_clock()

    @rule(number=st.integers(0, 11), weight=st.sampled_from([1.0, 1.0, 2.0]))
    def add_stream(self, number: int, weight: float) -> None:
        if not self.away:
            self.streams.add([NewStream(stream=f"s{number}", source={}, limits={}, weight=weight)], by="ada")
            self.added.add(f"s{number}")

    @rule(number=st.integers(0, 11))
    def remove_stream(self, number: int) -> None:
        if not self.away:
            self.streams.remove([f"s{number}"])
            self.added.discard(f"s{number}")
            self.epochs.pop(f"s{number}", None)
            self.latest.pop(f"s{number}", None)
            for kept in (self.owners, self.sampled):
                for key in [key for key in kept if key[0] == f"s{number}"]:
                    del kept[key]  # type: ignore[attr-defined]

    @rule(seconds=st.integers(1, 12))
    def run(self, seconds: int) -> None:
        for _ in range(seconds):
            self._tick()

    # -- what goes on each second

    def _tick(self) -> None:
        self.at_s += 1
        self._set_clock()
        for number in sorted(self.leads):
            try:
                self.leaders[number].step()
            except SetupError:
                continue
        before, self.served = self.served, set()
        for name, worker in [*self.running.items()]:
            if name in self.paused or name in self.cut or self.away:
                self.disturbed_s[name] = self.at_s
            if name in self.paused:
                continue
            if self._has_to_step(worker):
                try:
                    worker.step()
                    self.local.discard(name)
                except SetupError:
                    self.local.add(name)
                except ConflictError:
                    pass
            connected = self.connected.setdefault(name, set())
            # Whoever cannot ask the ledger goes on with what it has: the epochs say whose samples count.
            for stream, epoch in (worker.epochs if name in self.local else worker.current()).items():
                if stream in connected:
                    self._sample(name, stream, epoch)
            connected |= worker.epochs.keys() | worker.coming  # a second later, its samplers of these hosts answer
            connected &= worker.epochs.keys() | worker.coming
            worker.ready |= worker.coming
        self._check_that_no_tick_is_lost(before)

    def _has_to_step(self, worker: Holdings) -> bool:
        """Whether a heartbeat is due, or the worker is to have other streams."""
        with suppress(SetupError):
            return int(self.at_s) % int(HEARTBEAT_S) == 0 or worker.has_news()
        return False

    def _check_that_no_tick_is_lost(self, before: set[str]) -> None:
        """A stream that its owner sampled, and that nothing has happened to, is sampled: a planned move loses none."""
        for stream in before - self.served:
            epoch, owner = self.latest.get(stream, (0, ""))
            calm_s = self.at_s - self.disturbed_s.get(owner, -1e9)
            if owner in self.running and calm_s > CALM_S and stream in self.added:
                (line,) = [line for line in self.streams.list_streams() if line.stream == stream]
                assert line.wanted is None, f"{stream} of {owner}, epoch {epoch}, lost a tick; now {line}"

    def _sample(self, name: str, stream: str, epoch: int) -> None:
        if stream not in self.added:
            return  # its owner learns by the next heartbeat that it is gone
        taken = self.sampled.setdefault((stream, int(self.at_s)), {})
        assert epoch not in taken, f"{taken[epoch]} and {name} sampled the tick with the same epoch"
        taken[epoch] = name
        assert self.owners.setdefault((stream, epoch), name) == name, "one owner an epoch"
        self.served.add(stream)
        self.latest[stream] = max(self.latest.get(stream, (0, "")), (epoch, name))

    def _clear(self, name: str) -> None:
        self.paused.discard(name)
        self.cut.discard(name)
        self.connected.pop(name, None)
        self.local.discard(name)
        self.disturbed_s.pop(name, None)
        # Another process of its name, which comes later, is not the owner that has gone.
        self.latest = {stream: latest for stream, latest in self.latest.items() if latest[1] != name}

    def _set_clock(self) -> None:
        if not self.away:
            at_ns = round((self.at_s + self.database_ahead_s) * 1e9)
            change = sql.text("UPDATE test_clock SET at_ns = :at_ns")
            self.ledger.database.write(lambda db: db.execute(change, {"at_ns": at_ns}) and None)

    # -- what holds always, and in the end

    @invariant()
    def epochs_grow(self) -> None:
        if not self.away:
            present = {line.stream: line.epoch for line in self.streams.list_streams()}
            assert all(present[stream] >= self.epochs.get(stream, 0) for stream in present)
            self.epochs = present

    @rule()
    def settle(self) -> None:
        """After the last fault every stream is served within the bound, each by one worker, and nothing moves."""
        self.away, self.paused, self.cut, self.leads = False, set(), set(), {0, 1}
        self.avoided = set()
        self.run(int(SETTLED_WITHIN_S))
        lines = self.streams.list_streams()
        serving = {name: worker for name, worker in self.running.items() if not worker.draining}
        served = [stream for worker in serving.values() for stream in worker.current()]
        assert len(served) == len({*served}), "one owner each"
        left_out = {line.stream for line in lines if line.wanted is None}
        assert {*served} == {line.stream for line in lines} - left_out
        while any(leader.leads and leader.recovery.is_on for leader in self.leaders):
            self.run(1)  # balance waits until all is quiet
        self.run(int(2 * HEARTBEAT_S))
        lines = self.streams.list_streams()
        loads = {name: sum(line.weight for line in lines if line.owner == name) for name in serving}
        if left_out:
            lightest = min(line.weight for line in lines if line.stream in left_out)
            assert all(load + lightest > CAPACITY for load in loads.values())
        elif loads:
            heaviest, mean = max((line.weight for line in lines), default=0.0), sum(loads.values()) / len(loads)
            if all(line.weight == 1.0 for line in lines):
                assert max(loads.values()) - min(loads.values()) <= 1.0
            assert max(loads.values()) <= max(1.05 * mean, mean + heaviest)
        before = [(line.stream, line.owner, line.epoch) for line in lines]
        for _ in range(6):
            self._tick()
        assert [(line.stream, line.owner, line.epoch) for line in self.streams.list_streams()] == before


_ASKING = {
    "lead",
    "write_plan",
    "resign",
    "register",
    "beat",
    "claim",
    "release",
    "drain",
    "leave",
    "list_workers",
    "list_streams",
    "sum_streams",
    "read_mark",
}


class GuardedStreams(WatchStreams):
    """The streams of a database that may be away, or that a worker may be cut off from."""

    def __init__(self, database: Database, machine: Machine, worker: str = "") -> None:
        super().__init__(database)
        self._machine, self._worker = machine, worker

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name in _ASKING:
            machine = super().__getattribute__("_machine")
            if machine.away or super().__getattribute__("_worker") in machine.cut:
                raise SetupError("the ledger is away")
        return found


@pytest.mark.timeout(1800)
def test_any_order_of_faults() -> None:
    usual = settings(stateful_step_count=25, suppress_health_check=[*HealthCheck], deadline=None)
    examples = 12 if usual.max_examples <= 100 else usual.max_examples // 5
    run_state_machine_as_test(Machine, settings=settings(usual, max_examples=examples))


class ClaimsOfTheSameEpoch(GuardedStreams):
    """A fence that is broken: whoever takes a stream does not raise its epoch."""

    def claim(
        self, worker: str, registration: int, streams: Collection[str], *, ready: Collection[str] = ()
    ) -> dict[str, int]:
        epochs = super().claim(worker, registration, streams, ready=ready)
        back = sql.text("UPDATE watch_streams SET epoch = epoch - 1 WHERE stream = :of AND epoch > 1")
        for stream in epochs:
            self._database.write(lambda db, of=stream: db.execute(back, {"of": of}) and None)  # type: ignore[misc]
        return {stream: max(1, epoch - 1) for stream, epoch in epochs.items()}


class ClaimsOfStreamsThatAreNotReady(GuardedStreams):
    """A fence that is broken: streams are taken from a living owner before their hosts answer."""

    def claim(
        self, worker: str, registration: int, streams: Collection[str], *, ready: Collection[str] = ()
    ) -> dict[str, int]:
        return super().claim(worker, registration, streams, ready=streams)


class ClaimsOfWhatAnotherHas(GuardedStreams):
    """A fence that is broken: the owner that is fenced goes on to renew the lease in the ledger as its own."""

    def beat(self, worker: str, registration: int, *, load: float, score: float) -> Heartbeat | None:
        ours = self._machine.running[worker].epochs if worker in self._machine.running else {}
        beat = super().beat(worker, registration, load=load, score=score)
        return beat and replace(beat, held={**beat.held, **{stream: epoch + 1 for stream, epoch in ours.items()}})


@pytest.mark.slow
@pytest.mark.parametrize("broken", [ClaimsOfTheSameEpoch, ClaimsOfStreamsThatAreNotReady, ClaimsOfWhatAnotherHas])
def test_a_fence_that_is_broken_is_noticed(broken: type[GuardedStreams]) -> None:
    class BrokenMachine(Machine):
        def make_streams(self, worker: str = "") -> GuardedStreams:
            return broken(self.ledger.database, self, worker)

    found = settings(
        max_examples=60,
        stateful_step_count=25,
        phases=[Phase.generate],
        derandomize=True,
        database=None,
        suppress_health_check=[*HealthCheck],
        deadline=None,
    )
    with pytest.raises(AssertionError, match=r"same epoch|one owner|lost a tick"):
        run_state_machine_as_test(BrokenMachine, settings=found)


@pytest.fixture
def machine() -> Iterator[Machine]:
    """Four workers with eight streams, which all have their lease."""
    made = Machine()
    made.begin(streams=8, workers=4)
    yield made
    made.teardown()


def owners(machine: Machine) -> dict[str, tuple[str | None, int]]:
    return {line.stream: (line.owner, line.epoch) for line in machine.streams.list_streams()}


@pytest.mark.parametrize("seconds", [3600.0, -3600.0])
def test_a_database_whose_clock_is_set_moves_nothing(machine: Machine, seconds: float) -> None:
    before = owners(machine)
    machine.set_the_database_s_clock(seconds)
    machine.run(30)
    assert owners(machine) == before
    assert {epoch for _, epoch in before.values()} == {1}


def test_a_database_that_was_away_moves_nothing(machine: Machine) -> None:
    before = owners(machine)
    machine.database(away=True)
    machine.run(30)
    machine.database(away=False)
    machine.run(30)
    assert owners(machine) == before


def test_a_worker_begins_nothing_new_when_its_lease_may_be_over(machine: Machine) -> None:
    worker = machine.running["a"]
    machine.run(2)
    assert len(worker.current()) == 2
    machine.database(away=True)
    begun_s = machine.at_s
    while worker.current():
        machine.run(1)
        assert machine.at_s - begun_s < LEASE_S, "it stops before another one may take its streams"
    machine.database(away=False)
    machine.run(2)
    assert len(worker.current()) == 2


def test_the_streams_of_a_worker_that_died_are_taken_within_eight_seconds(machine: Machine) -> None:
    machine.run(10)
    dead = {*machine.running["a"].current()}
    machine.die("a")
    begun_s = machine.at_s
    while {stream for worker in machine.running.values() for stream in worker.current()} != machine.added:
        machine.run(1)
    assert machine.at_s - begun_s <= LEASE_S + 2
    moved = {stream for stream, (_, epoch) in owners(machine).items() if epoch > 1}
    assert moved == dead, "no other stream moved"


def test_a_worker_that_drains_gives_its_streams_to_others_and_leaves_none(machine: Machine) -> None:
    leaving = machine.running["a"]
    machine.drain("a")
    machine.run(8)
    assert leaving.current() == {}
    assert {owner for owner, _ in owners(machine).values()} == {"b", "c", "d"}
    machine.leave("a")
    assert {worker.worker for worker in machine.streams.list_workers()} == {"b", "c", "d"}


def test_a_worker_that_is_cut_off_goes_on_beside_its_successor_and_is_fenced(machine: Machine) -> None:
    machine.cut_off("a")
    machine.run(14)
    assert {owner for owner, _ in owners(machine).values()} == {"b", "c", "d"}
    machine.reach_again("a")
    machine.run(4)
    machine.settle()


def test_a_worker_that_registers_anew_loses_no_tick(machine: Machine) -> None:
    had = {*machine.running["a"].current()}
    machine.demand_registration("a")
    for _ in range(6):
        machine.run(1)
        assert had <= machine.served
    assert {*machine.running["a"].current()} == had
    assert {epoch for stream, (_, epoch) in owners(machine).items() if stream in had} == {2}


def test_workers_that_died_at_once_get_their_parts_again_when_they_are_back(machine: Machine) -> None:
    machine.remove_stream(0)
    machine.remove_stream(1)
    for name in "abc":
        machine.die(name)
    machine.run(25)
    assert any(leader.recovery.is_on for leader in machine.leaders)
    assert {owner for owner, _ in owners(machine).values()} == {"d"}
    for name in "abc":
        machine.join(name)
    machine.run(30)
    assert not any(leader.leads and leader.recovery.is_on for leader in machine.leaders)
    assert sorted(Counter(owner for owner, _ in owners(machine).values()).values()) == [1, 1, 2, 2]


def test_a_worker_that_joins_takes_its_part_and_no_tick_is_lost(machine: Machine) -> None:
    machine.die("d")
    machine.run(30)
    machine.join("d")
    begun_s = machine.at_s
    while len(machine.running["d"].current()) < 2:
        machine.run(1)
        assert machine.served == machine.added
    assert machine.at_s - begun_s <= 5
