"""Workers, leaders and the ledger in any order of faults: one owner an epoch, no tick twice, and all served in the end.

Time is a table of the ledger's database, and a number for each machine: so a lease ends when a step says so.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sql
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy.ext.compiler import compiles

from harness.errors import ConflictError, SetupError
from harness.store.database import SQLITE, Database, now_ns
from harness.store.ledger import Ledger
from harness.store.watch_streams import HEARTBEAT_S, LEASE_S, NewStream, WatchStreams
from harness.watch.holdings import Holdings
from harness.watch.leader import Leader

MEMORY = Path("/dev/shm")
NAMES = st.sampled_from(["a", "b", "c", "d"])
SETTLED_WITHIN_S = 3 * LEASE_S + 10
CAPACITY = 6.0


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
        self.streams = GuardedStreams(self.ledger.database, self)
        self.leaders = [Leader(self.streams, name, now=lambda: self.at_s) for name in ("hub-1", "hub-2")]
        self.leads = {0, 1}
        self.running: dict[str, Holdings] = {}
        self.paused: set[str] = set()
        self.added: set[str] = set()
        self.owners: dict[tuple[str, int], str] = {}
        self.sampled: dict[tuple[str, int], dict[int, str]] = {}
        self.epochs: dict[str, int] = {}
        self.processes = 0
        self._set_clock()

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
        self.running[name] = Holdings(
            streams=self.streams,
            worker=name,
            process=f"machine/{self.processes}",
            version="1",
            capacity=CAPACITY,
            now=lambda: self.at_s,
        )

    @rule(name=NAMES)
    def die(self, name: str) -> None:
        self.running.pop(name, None)
        self.paused.discard(name)

    @rule(name=NAMES)
    def leave(self, name: str) -> None:
        worker = self.running.pop(name, None)
        self.paused.discard(name)
        if worker is not None:
            worker.leave()

    @rule(name=NAMES)
    def drain(self, name: str) -> None:
        if name in self.running and not self.away:
            self.running[name].drain()

    @rule(name=NAMES)
    def pause(self, name: str) -> None:
        if name in self.running:
            self.paused.add(name)

    @rule(name=NAMES)
    def go_on(self, name: str) -> None:
        self.paused.discard(name)

    @rule(leads=st.sets(st.sampled_from([0, 1])))
    def change_leaders(self, leads: set[int]) -> None:
        self.leads = leads

    @rule(away=st.booleans())
    def database(self, away: bool) -> None:
        self.away = away

    @rule(seconds=st.sampled_from([-3600.0, 3600.0, 5.0]))
    def set_the_database_s_clock(self, seconds: float) -> None:
        self.database_ahead_s += seconds
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
        for name, worker in [*self.running.items()]:
            if name in self.paused:
                continue
            if int(self.at_s) % int(HEARTBEAT_S) == 0:
                with suppress(SetupError, ConflictError):
                    worker.step()
            for stream, epoch in worker.current().items():
                self._sample(name, stream, epoch)
            worker.ready |= worker.coming  # a second later, its samplers of these hosts answer

    def _sample(self, name: str, stream: str, epoch: int) -> None:
        if stream not in self.added:
            return  # its owner learns by the next heartbeat that it is gone
        taken = self.sampled.setdefault((stream, int(self.at_s)), {})
        assert epoch not in taken, f"{taken[epoch]} and {name} sampled the tick with the same epoch"
        taken[epoch] = name
        assert self.owners.setdefault((stream, epoch), name) == name, "one owner an epoch"

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
        self.away, self.paused, self.leads = False, set(), {0, 1}
        for _ in range(int(SETTLED_WITHIN_S)):
            self._tick()
        lines = self.streams.list_streams()
        serving = {name: worker for name, worker in self.running.items() if not worker.draining}
        served = [stream for worker in serving.values() for stream in worker.current()]
        assert len(served) == len({*served}), "one owner each"
        left_out = {line.stream for line in lines if line.wanted is None}
        assert {*served} == {line.stream for line in lines} - left_out
        loads = {name: sum(line.weight for line in lines if line.owner == name) for name in serving}
        if left_out:
            lightest = min(line.weight for line in lines if line.stream in left_out)
            assert all(load + lightest > CAPACITY for load in loads.values())
        elif loads:
            heaviest = max((line.weight for line in lines), default=0.0)
            assert max(loads.values()) - min(loads.values()) <= max(2 * heaviest, 0.1 * max(loads.values()))
        before = [(line.stream, line.owner, line.epoch) for line in lines]
        for _ in range(6):
            self._tick()
        assert [(line.stream, line.owner, line.epoch) for line in self.streams.list_streams()] == before


_ASKING = {"lead", "write_plan", "register", "beat", "claim", "release", "leave", "list_workers", "list_streams"}


class GuardedStreams(WatchStreams):
    """The streams of a database that may be away."""

    def __init__(self, database: Database, machine: Machine) -> None:
        super().__init__(database)
        self._machine = machine

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name in _ASKING and super().__getattribute__("_machine").away:
            raise SetupError("the ledger is away")
        return found


@pytest.mark.timeout(1800)
def test_any_order_of_faults() -> None:
    usual = settings(stateful_step_count=25, suppress_health_check=[*HealthCheck], deadline=None)
    examples = 12 if usual.max_examples <= 100 else usual.max_examples // 5
    run_state_machine_as_test(Machine, settings=settings(usual, max_examples=examples))


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
