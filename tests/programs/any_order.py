"""Lead, help, pause, kill, resume, sweep, keep and release runs in any order, from two machines; see that all holds.

    python -m tests.programs.any_order URL FOLDER [--examples N] [--steps N] [--seed S]

Hypothesis draws the orders; one that fails is printed. Each process is a real one: it works until it has passed a
drawn number of points (kill_everywhere.py), where it is stopped by SIGSTOP; later steps let it go on, let its lease end
meanwhile, or kill it. A process of the other machine has another host name and another space of process ids. At the end
of each order all that is stopped goes on, and what is left is swept: nothing may be left that was not kept.
"""

import argparse
import faulthandler
import json
import mmap
import os
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, Verbosity
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from harness.errors import HarnessError
from harness.model import HostState
from harness.runs import kept_hosts
from harness.store import owners
from harness.store.database import Database
from harness.store.ledger_check import check
from harness.store.ledger_lines import HostLine
from tests.doubles.campaign_of_six import Surroundings, leave_out_ssh
from tests.doubles.scripted_bench import ScriptedBench
from tests.programs.kill_everywhere import NEVER, Points, warm_up, watch_points

LEASE_S, HEARTBEAT_S = 0.6, 0.1
LONGEST_S = 60.0
MOST_STOPPED, MOST_OPEN_RUNS = 4, 2
MACHINES = ("here", "elsewhere")
counted: Counter[str] = Counter()


class Leash:
    """Numbers that a process shares with its parent: how many points it may still pass, and whether it waits at one."""

    def __init__(self, points: int) -> None:
        self._memory = mmap.mmap(-1, 16)
        self.left, self.waits = points, 0

    @property
    def left(self) -> int:
        return int(struct.unpack("q", self._memory[:8])[0])

    @left.setter
    def left(self, value: int) -> None:
        self._memory[:8] = struct.pack("q", value)

    @property
    def waits(self) -> int:
        return self._memory[8]

    @waits.setter
    def waits(self, value: int) -> None:
        self._memory[8:9] = bytes([value])


class LeashedPoints(Points):
    """Points at which a process waits for its parent, which stops it, once it has passed as many as it may.

    No thread is in a transaction meanwhile, which would keep all others out of the ledger.
    """

    def __init__(self, leash: Leash) -> None:
        super().__init__(NEVER)
        self._leash = leash
        self._transactions = threading.Lock()

    def __call__(self, name: str) -> None:
        super().__call__(name)
        self._leash.left -= 1
        if self._leash.left <= 0 and not name.endswith("not committed"):
            with self._transactions:
                self._leash.waits = 1
                while self._leash.waits:
                    time.sleep(0.001)

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        write = Database.write

        def write_alone(database: Database, work: Callable[..., object]) -> object:
            with self._transactions:
                return write(database, work)

        patch.setattr(Database, "write", write_alone)
        watch_points(patch, self)


@dataclass
class Process:
    """A process that works on runs, stopped at a point."""

    pid: int
    what: str
    leash: Leash


@dataclass(frozen=True)
class View:
    """What the ledger holds: runs that have not ended, kept hosts, verdicts by host; and what does not hold of it."""

    open_runs: list[str]
    kept: list[list[str]]
    verdicts: dict[str, str]
    faults: list[str]
    unfinished: list[str]


def look(here: Surroundings) -> View:
    """View the whole ledger. `unfinished`: what must not be so at the end."""
    faults, unfinished = [*check(here.ledger).faults], list[str]()
    hosts: list[HostLine] = []
    for line in here.ledger.runs():
        numbers = [each.number for each in here.ledger.events(line.run, most=100_000)]
        if numbers != [*range(1, len(numbers) + 1)]:
            faults.append(f"the events of {line.run} are numbered {numbers}")
        hosts += here.ledger.hosts(line.run)
        unfinished += [] if line.ended else [f"run {line.run} has not ended"]
    unfinished += [f"{host.token} has no verdict" for host in hosts if host.record is None]
    final = (HostState.KEPT, HostState.RELEASED, HostState.FAILED)
    unfinished += [f"{host.token} is {host.state}" for host in hosts if host.state not in final]
    kept = [host for host in hosts if host.state is HostState.KEPT]
    if left := {*here.bench.list_made()} - {str(host.token) for host in kept}:
        unfinished.append(f"left: {left}")
    return View(
        open_runs=[line.run for line in here.ledger.runs() if not line.ended],
        kept=[[host.run, host.host] for host in kept],
        verdicts={f"{host.run}/{host.host}": host.record.verdict.sentence for host in hosts if host.record is not None},
        faults=faults,
        unfinished=unfinished,
    )


@dataclass
class World:
    """The ledger, bench and evidence of one order, and the processes that are stopped."""

    url: str
    folder: Path
    seed: int
    stopped: list[Process] = field(default_factory=list)
    history: list[str] = field(default_factory=list)

    def begin(self, what: str, machine: str, points: int, action: Callable[[Surroundings], object]) -> None:
        """Begin an action in a process of a machine, and wait until it has passed these points or has ended."""
        leash = Leash(points)
        self.history.append(f"{what} by a process of {machine}, for {points} points")
        child = os.fork()
        if child == 0:
            os._exit(self._act(machine, leash, action))
        self._wait(Process(child, what, leash))

    def look(self) -> View:
        """View the ledger in a process of its own: a connection of SQLite must not be open while a process forks."""
        file = self.folder / "view"

        def write(here: Surroundings) -> None:
            file.write_text(json.dumps(asdict(look(here))))

        self.begin("look", MACHINES[0], NEVER, write)
        self.history.pop()
        return View(**json.loads(file.read_text()))

    def go_on(self, process: Process, points: int) -> None:
        """Let a stopped process pass so many points more."""
        self.stopped.remove(process)
        self.history.append(f"{process.what} goes on for {points} points")
        process.leash.left, process.leash.waits = points, 0
        os.kill(process.pid, signal.SIGCONT)
        self._wait(process)

    def kill(self, process: Process) -> None:
        self.stopped.remove(process)
        self.history.append(f"{process.what} is killed")
        os.kill(process.pid, signal.SIGKILL)
        os.waitpid(process.pid, 0)

    def bench(self) -> ScriptedBench:
        return ScriptedBench(self.folder / "bench", self.seed)

    def _wait(self, process: Process) -> None:
        give_up_at = time.monotonic() + LONGEST_S
        while time.monotonic() < give_up_at:
            if process.leash.waits:
                os.kill(process.pid, signal.SIGSTOP)
                os.waitpid(process.pid, os.WUNTRACED)
                self.stopped.append(process)
                return
            pid, status = os.waitpid(process.pid, os.WNOHANG)
            if pid:
                assert status == 0, f"{process.what} failed: {(self.folder / f'said-{pid}').read_text()}"
                return
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGABRT)
        os.waitpid(process.pid, 0)
        raise AssertionError(f"{process.what} did not end within {LONGEST_S:.0f} s")

    def _act(self, machine: str, leash: Leash, action: Callable[[Surroundings], object]) -> int:
        said = self.folder / f"said-{os.getpid()}"
        faulthandler.enable()
        points = LeashedPoints(leash)
        seed = self.seed + leash.left
        with pytest.MonkeyPatch.context() as patch:
            leave_out_ssh(patch)
            patch.setattr(owners, "LEASE_S", LEASE_S)
            patch.setattr(owners, "HEARTBEAT_S", HEARTBEAT_S)
            patch.setattr(owners, "TICK_S", HEARTBEAT_S)
            if machine != MACHINES[0]:
                patch.setattr(owners, "own_place", lambda: f"boot of {machine}:pid:[1]")
                patch.setattr(socket, "gethostname", lambda: machine)
            points.watch(patch)
            bench = ScriptedBench(self.folder / "bench", self.seed, points)
            try:
                here = Surroundings(self.url, bench, self.folder, seed)
                action(here)
                here.ledger.close()
            except HarnessError as error:
                said.write_text(f"refused: {error}")
                return 0
            except BaseException:
                said.write_text(traceback.format_exc())
                return 1
        return 0


class AnyOrder(RuleBasedStateMachine):
    """Steps in any order. The first process leads a run; there may be several runs."""

    url: str
    root: Path
    number = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).number += 1
        folder = self.root / str(self.number)
        folder.mkdir(parents=True)
        self.world = World(self.url, folder, self.number)
        counted["orders"] += 1
        self.world.begin("empty", MACHINES[0], NEVER, Surroundings.empty)
        self.view = self.world.look()

    # -- steps

    machines = st.sampled_from(MACHINES)
    points = st.one_of(st.integers(1, 150), st.just(NEVER))
    picked = st.integers(0, 10)

    @rule(machine=machines, points=points)
    def run(self, machine: str, points: int) -> None:
        if len(self.view.open_runs) < MOST_OPEN_RUNS:
            self._begin("run", machine, points, Surroundings.start)

    @rule(machine=machines, points=points, picked=picked)
    def join(self, machine: str, points: int, picked: int) -> None:
        if runs := self.view.open_runs:
            run = runs[picked % len(runs)]
            self._begin("join", machine, points, lambda here: here.help_with(run))

    @rule(machine=machines, points=points, picked=picked)
    def resume(self, machine: str, points: int, picked: int) -> None:
        if runs := self.view.open_runs:
            run = runs[picked % len(runs)]
            self._begin("resume", machine, points, lambda here: here.resume(run))

    @rule(machine=machines, points=points)
    def sweep(self, machine: str, points: int) -> None:
        self._begin("sweep", machine, points, Surroundings.sweep)

    @rule(picked=picked, points=points)
    def go_on(self, picked: int, points: int) -> None:
        if stopped := self.world.stopped:
            counted["go on"] += 1
            self.world.go_on(stopped[picked % len(stopped)], points)

    @rule(picked=picked)
    def kill(self, picked: int) -> None:
        if stopped := self.world.stopped:
            counted["kill"] += 1
            self.world.kill(stopped[picked % len(stopped)])

    @rule()
    def let_leases_end(self) -> None:
        if self.world.stopped:
            counted["pause beyond the lease"] += 1
            self.world.history.append("the leases of stopped processes end")
            time.sleep(LEASE_S + 0.1)

    @rule(machine=machines, points=points, picked=picked)
    def release(self, machine: str, points: int, picked: int) -> None:
        def release(here: Surroundings, run: str, host: str) -> None:
            kept = kept_hosts.find_kept(here.ledger, run, [host])
            kept_hosts.release_kept(run, kept, here.bench, here.ledger)

        self._begin_with_kept("release", machine, points, picked, release)

    @rule(machine=machines, points=points, picked=picked)
    def keep(self, machine: str, points: int, picked: int) -> None:
        def keep(here: Surroundings, run: str, host: str) -> None:
            kept_hosts.keep_host(run, host, here.bench, here.ledger)

        self._begin_with_kept("keep", machine, points, picked, keep)

    @rule(machine=machines, points=points, picked=picked, seconds=st.sampled_from([-1, 3600]))
    def set_lease(self, machine: str, points: int, picked: int, seconds: int) -> None:
        """Extend the lease of a kept host, or let it end: what `keep --for` does in the ledger."""

        def set_lease(here: Surroundings, run: str, host: str) -> None:
            token = here.ledger.own_host(run, host).token
            (now,) = here.ledger.hosts(run, [host])
            if now.state is HostState.KEPT and now.record is not None:
                here.ledger.record_state(token, now.record, kept_until_ns=here.ledger.now_ns() + seconds * 10**9)

        self._begin_with_kept("extend" if seconds > 0 else "expiry", machine, points, picked, set_lease)

    # -- what always holds

    @invariant()
    def nothing_is_lost(self) -> None:
        """The events of a run have no gap, a verdict never changes, and the ledger is whole."""
        before, self.view = self.view.verdicts, self.world.look()
        changed = [key for key, verdict in before.items() if self.view.verdicts.get(key) != verdict]
        self._require([*self.view.faults, *(f"the verdict of {key} changed" for key in changed)])

    def teardown(self) -> None:
        try:
            while self.world.stopped:
                self.world.go_on(self.world.stopped[0], NEVER)
            time.sleep(LEASE_S)
            for _ in range(4):
                self.world.begin("last sweep", MACHINES[0], NEVER, Surroundings.sweep)
            self.nothing_is_lost()
            self._require(self.view.unfinished)
        finally:
            for process in [*self.world.stopped]:
                self.world.kill(process)

    # -- parts

    def _require(self, faults: list[str]) -> None:
        assert not faults, "\n".join(["after these steps:", *self.world.history, "does not hold:", *faults])

    def _begin(self, what: str, machine: str, points: int, action: Callable[[Surroundings], object]) -> None:
        if len(self.world.stopped) < MOST_STOPPED:
            counted[what] += 1
            self.world.begin(what, machine, points, action)

    def _begin_with_kept(
        self, what: str, machine: str, points: int, picked: int, action: Callable[[Surroundings, str, str], object]
    ) -> None:
        """Begin an action with one of the kept hosts, if there are any."""
        if kept := self.view.kept:
            run, host = kept[picked % len(kept)]
            self._begin(what, machine, points, lambda here: action(here, run, host))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="the URL of a ledger that is this program's alone")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--examples", type=int, default=20, metavar="N")
    parser.add_argument("--steps", type=int, default=12, metavar="N", help="at most so many steps in an order")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    warm_up(options.folder / "first", options.url)
    AnyOrder.url, AnyOrder.root = options.url, options.folder
    settings = hypothesis.settings(
        max_examples=options.examples,
        stateful_step_count=options.steps,
        deadline=None,
        database=None,
        derandomize=False,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.normal,
        print_blob=False,
    )
    run_state_machine_as_test(hypothesis.seed(options.seed)(AnyOrder), settings=settings)
    print(json.dumps(counted))
    return 0


if __name__ == "__main__":
    sys.exit(main())
