"""Disturb a watch: kinds of faults, how each is made and ended, and in which order they come."""

import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum

from tests.programs.watch_history import Window
from tests.programs.watched_fleet import HOSTS, LEADERS, LEASE_S, RESTS_S, SERVERS, Fleet, now_s


class FaultKind(StrEnum):
    """What is done to a watch."""

    WORKER_KILLED = "worker killed"
    WORKER_ENDED = "worker ended"
    WORKER_PAUSED = "worker paused"
    WORKER_WITHOUT_LEDGER = "worker cut off from the ledger"
    WORKER_WITHOUT_HOSTS = "worker cut off from the hosts"
    WORKER_CLOCK = "clock of a worker set"
    LEADER_KILLED = "leader killed"
    LEADER_ENDED = "leader ended"
    LEADER_PAUSED = "leader paused"
    LEADER_WITHOUT_LEDGER = "leader cut off from the ledger"
    LEADER_CLOCK = "clock of a leader set"
    SERVER_RESTARTED = "server restarted"
    SERVER_CRASHED = "server crashed"
    SERVER_PAUSED = "server paused"
    SERVER_FAILS_OVER = "server fails over"
    DISK_FULL = "disk full"
    SERVER_CLOCK = "clock of the server set"


K = FaultKind
OF_WORKERS = (
    K.WORKER_KILLED, K.WORKER_ENDED, K.WORKER_PAUSED, K.WORKER_WITHOUT_LEDGER, K.WORKER_WITHOUT_HOSTS, K.WORKER_CLOCK,
)  # fmt: skip
OF_LEADERS = (K.LEADER_KILLED, K.LEADER_ENDED, K.LEADER_PAUSED, K.LEADER_WITHOUT_LEDGER, K.LEADER_CLOCK)
OF_SERVERS = (
    K.SERVER_RESTARTED, K.SERVER_CRASHED, K.SERVER_PAUSED, K.SERVER_FAILS_OVER, K.DISK_FULL, K.SERVER_CLOCK,
)  # fmt: skip
SETS_A_CLOCK = (K.WORKER_CLOCK, K.LEADER_CLOCK, K.SERVER_CLOCK)

FIRST = (
    (K.SERVER_CRASHED,),
    (K.WORKER_ENDED,),
    (K.WORKER_KILLED, K.WORKER_WITHOUT_HOSTS, K.LEADER_PAUSED),
    (K.WORKER_PAUSED, K.WORKER_WITHOUT_LEDGER, K.LEADER_KILLED),
    (K.SERVER_RESTARTED, K.WORKER_CLOCK, K.LEADER_CLOCK, K.LEADER_ENDED),
    (K.SERVER_PAUSED, K.LEADER_WITHOUT_LEDGER),
    (K.SERVER_FAILS_OVER,),
    (K.DISK_FULL,),
    (K.SERVER_CLOCK,),
)
"""What is made first, at once what stands together: each kind once. Nothing else goes on beside the first two."""

_BEYOND_THE_LEASE_S = (1.1 * LEASE_S, 1.3 * LEASE_S)
_FIRST_LENGTHS_S = {
    K.WORKER_KILLED: _BEYOND_THE_LEASE_S,
    K.WORKER_PAUSED: _BEYOND_THE_LEASE_S,
    K.WORKER_WITHOUT_LEDGER: _BEYOND_THE_LEASE_S,
    K.WORKER_WITHOUT_HOSTS: (5.5, 6.5),  # a worker gives a silent host up after five seconds
    K.WORKER_CLOCK: (2.0, 3.0),
    K.LEADER_KILLED: _BEYOND_THE_LEASE_S,
    K.LEADER_PAUSED: _BEYOND_THE_LEASE_S,
    K.LEADER_WITHOUT_LEDGER: _BEYOND_THE_LEASE_S,
    K.LEADER_CLOCK: (2.0, 3.0),
    K.SERVER_RESTARTED: (1.0, 2.0),
    K.SERVER_CRASHED: _BEYOND_THE_LEASE_S,
    K.SERVER_PAUSED: (4.0, 5.0),  # longer than a heartbeat waits for its answer
    K.SERVER_FAILS_OVER: (0.0, 1.0),
    K.DISK_FULL: (2.0, 3.0),
    K.SERVER_CLOCK: (2.0, 3.0),
    K.WORKER_ENDED: (0.0, 1.0),
    K.LEADER_ENDED: (0.0, 1.0),
}
"""How long each lasts at first: shortly beyond what the watch tolerates without a change."""

_LENGTHS_S = {
    K.WORKER_KILLED: (0.0, 2 * LEASE_S),
    K.WORKER_PAUSED: (0.3, 2.5 * LEASE_S),
    K.WORKER_WITHOUT_LEDGER: (0.5, 3 * LEASE_S),
    K.WORKER_WITHOUT_HOSTS: (0.5, 2 * LEASE_S),
    K.WORKER_CLOCK: (2.0, 2 * LEASE_S),
    K.LEADER_KILLED: (0.0, 2 * LEASE_S),
    K.LEADER_PAUSED: (0.3, 2.5 * LEASE_S),
    K.LEADER_WITHOUT_LEDGER: (0.5, 3 * LEASE_S),
    K.LEADER_CLOCK: (2.0, 2 * LEASE_S),
    K.SERVER_RESTARTED: (0.0, 2 * LEASE_S),
    K.SERVER_CRASHED: (0.0, 2 * LEASE_S),
    K.SERVER_PAUSED: (0.5, 2 * LEASE_S),
    K.SERVER_FAILS_OVER: (0.0, 1.0),
    K.DISK_FULL: (1.0, 2 * LEASE_S),
    K.SERVER_CLOCK: (2.0, 2 * LEASE_S),
    K.WORKER_ENDED: (0.0, LEASE_S),
    K.LEADER_ENDED: (0.0, LEASE_S),
}
_BESIDE_AN_OUTAGE = (K.WORKER_KILLED, K.WORKER_PAUSED, K.WORKER_WITHOUT_LEDGER, K.WORKER_WITHOUT_HOSTS, *OF_LEADERS)
_CLOCK_IS_READ_WITHIN_S = 1.2
_HANDOVER_S = LEASE_S + 2.0
"""Within which a leader that lives gives streams to another worker that lives, also if these two have just changed."""

_APART_S = 6.0
"""Faults that overlap begin so far apart at most."""

_QUIET_PART, _QUIET_AFTER_S = 0.08, LEASE_S + 1.5
"""So often a fault of the servers is made alone, with nothing else before it and for long after it: nothing moves."""


@dataclass
class Disturbances:
    """Makes faults, and notes when each began and ended."""

    fleet: Fleet
    drawn: random.Random
    windows: list[Window] = field(default_factory=list)
    counts: Counter[FaultKind] = field(default_factory=Counter)

    def make(self, kind: FaultKind, target: str | None, length_s: float, after_s: float = 0.0) -> None:
        """Make a fault of a kind, in a while, to its end. `target`: a process; None: the servers."""
        time.sleep(after_s)
        begun_s = now_s()
        if target is None:
            self._disturb_servers(kind, length_s)
        else:
            self._disturb(kind, target, length_s)
        window = Window(
            kind=kind, begun_s=begun_s, ended_s=now_s(), target=target, kills=kind is K.WORKER_KILLED,
            stops_sampling=kind in (K.WORKER_KILLED, K.WORKER_PAUSED, K.WORKER_WITHOUT_HOSTS),
        )  # fmt: skip
        self.windows.append(window)
        self.counts[kind] += 1

    def _disturb(self, kind: FaultKind, target: str, length_s: float) -> None:
        fleet = self.fleet
        match kind:
            case K.WORKER_KILLED | K.LEADER_KILLED:
                fleet.kill(target)
                time.sleep(length_s)
                fleet.start(target)
            case K.WORKER_ENDED | K.LEADER_ENDED:
                fleet.stop(target)
                time.sleep(length_s)
                fleet.start(target)
            case K.WORKER_PAUSED | K.LEADER_PAUSED:
                fleet.processes[target].send_signal(signal.SIGSTOP)
                time.sleep(length_s)
                fleet.processes[target].send_signal(signal.SIGCONT)
            case K.WORKER_WITHOUT_LEDGER | K.LEADER_WITHOUT_LEDGER | K.WORKER_WITHOUT_HOSTS:
                centre = HOSTS if kind is K.WORKER_WITHOUT_HOSTS else SERVERS
                fleet.network.cut(target, centre)
                time.sleep(length_s)
                fleet.network.mend(target, centre)
            case K.WORKER_CLOCK | K.LEADER_CLOCK:
                self._set_clock(target, length_s)
            case _:
                raise ValueError(kind)

    def _disturb_servers(self, kind: FaultKind, length_s: float) -> None:
        fleet, number = self.fleet, self.fleet.primary
        server = fleet.servers[number]
        match kind:
            case K.SERVER_RESTARTED | K.SERVER_CRASHED:
                server.stop(signal.SIGINT if kind is K.SERVER_RESTARTED else signal.SIGQUIT)
                time.sleep(length_s)
                fleet.start_server(number)
            case K.SERVER_PAUSED:
                with server.paused():
                    time.sleep(length_s)
            case K.SERVER_FAILS_OVER:
                fleet.fail_over()
                time.sleep(length_s)
                fleet.add_standby()
            case K.DISK_FULL:
                self._fill_disk(length_s)
            case K.SERVER_CLOCK:
                self._set_clock(f"server{number}", length_s)
            case _:
                raise ValueError(kind)

    def _set_clock(self, name: str, length_s: float) -> None:
        """Set a clock by an hour, and back."""
        self.fleet.set_clock(name, self.drawn.choice((-1, 1)))
        time.sleep(length_s)
        self.fleet.set_clock(name, 0)
        time.sleep(_CLOCK_IS_READ_WITHIN_S)

    def _fill_disk(self, length_s: float) -> None:
        """Fill the disk of the servers for a while; one that has given up is started again."""
        fleet = self.fleet
        filler = fleet.servers[0].folder.parent / "filler"
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(b"\0" * 65536)
        time.sleep(length_s)
        filler.unlink()
        for number, server in enumerate(fleet.servers):
            if not server.runs():
                fleet.start_server(number)


def disturb(fleet: Fleet, faults: int, seed: int) -> Disturbances:
    """Make so many faults: first each kind once, then such that are drawn, one to three at once."""
    made = Disturbances(fleet=fleet, drawn=random.Random(seed))
    drawn, sets_clocks = made.drawn, fleet.library is not None
    with ThreadPoolExecutor(4) as pool:
        for number, kinds in enumerate(FIRST):
            if made.counts.total() >= faults:
                break
            _make_at_once(
                pool, made, [kind for kind in kinds if sets_clocks or kind not in SETS_A_CLOCK], at_first=True
            )
            time.sleep(_QUIET_AFTER_S if number == 0 else 1.0)
        while made.counts.total() < faults:
            if drawn.random() < _QUIET_PART:
                time.sleep(RESTS_S)
                kinds = [kind for kind in OF_SERVERS if sets_clocks or kind not in SETS_A_CLOCK]
                _make_at_once(pool, made, [drawn.choice(kinds)], at_first=False)
                time.sleep(_QUIET_AFTER_S)
            else:
                _make_at_once(pool, made, draw_kinds(drawn, sets_clocks=sets_clocks), at_first=False)
                time.sleep(drawn.uniform(0.0, 2.0))
    made.windows[:] = mark_disturbed_ends(made.windows)
    return made


def mark_disturbed_ends(windows: Sequence[Window]) -> list[Window]:
    """Mark the workers that ended beside another fault: then their streams may go to others only by their leases."""
    return [
        replace(each, stops_sampling=True)
        if each.kind == K.WORKER_ENDED
        and any(
            other is not each and other.begun_s <= each.ended_s and other.ended_s >= each.begun_s - _HANDOVER_S
            for other in windows
        )
        else each
        for each in windows
    ]


def draw_kinds(drawn: random.Random, *, sets_clocks: bool) -> Sequence[FaultKind]:
    """Draw what is made at once: at most one fault of the servers, and two of leaders.

    Nothing is started while the server's clock is set: a worker that begins then takes the time of it.
    """
    kinds: list[FaultKind] = []
    while not kinds:
        drawn_kinds = drawn.choices((*OF_WORKERS, *OF_WORKERS, *OF_SERVERS, *OF_LEADERS), k=drawn.choice((1, 1, 2, 3)))
        kinds = [kind for kind in drawn_kinds if sets_clocks or kind not in SETS_A_CLOCK]
    outage = next((kind for kind in kinds if kind in OF_SERVERS), None)
    if outage is K.SERVER_CLOCK:
        return [outage]
    if outage is not None:
        kinds = [outage, *(kind for kind in kinds if kind in _BESIDE_AN_OUTAGE)]
    leaders = [kind for kind in kinds if kind in OF_LEADERS][: len(LEADERS)]
    return [*(kind for kind in kinds if kind not in OF_LEADERS), *leaders]


def _make_at_once(pool: ThreadPoolExecutor, made: Disturbances, kinds: Sequence[FaultKind], *, at_first: bool) -> None:
    """Make faults that overlap, and wait until all have ended. `at_first`: they begin at once, and are short."""
    drawn, lengths_s = made.drawn, _FIRST_LENGTHS_S if at_first else _LENGTHS_S
    workers = drawn.sample(made.fleet.workers, len(made.fleet.workers))
    leaders = drawn.sample(LEADERS, len(LEADERS))
    jobs = []
    for number, kind in enumerate(kinds):
        target = workers.pop() if kind in OF_WORKERS else leaders.pop() if kind in OF_LEADERS else None
        after_s = 0.0 if at_first or number == 0 else drawn.uniform(0.0, _APART_S)
        jobs.append((kind, target, drawn.uniform(*lengths_s[kind]), after_s))
    for done in [pool.submit(made.make, *job) for job in jobs]:
        done.result()
    made.fleet.ensure_running()
