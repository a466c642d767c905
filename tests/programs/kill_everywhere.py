"""Kill a run at every point, recover it in every way, and see that nothing is lost, done twice or left.

    python -m tests.programs.kill_everywhere URL FOLDER [--kills N] [--every N] [--first N] [--seed S]

The ledger at URL is emptied for each trial. A point is before, in or after each transaction of
the ledger, each effect of the bench and each file of evidence. For each point K of a run, a child process is killed
there by SIGKILL; then the run is resumed, swept, or resumed by a child that is killed at a random point in its turn; in
some trials another process helps with the run, and one of both is killed. Each trial prints its seed when it fails.
SIGTERM ends the program after the trial under way; it then prints what it has counted so far.
"""

import argparse
import faulthandler
import gc
import json
import os
import random
import signal
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from harness.store import owners
from harness.store.database import Database
from harness.store.event_log import WaitingEvents
from harness.store.evidence_folder import EvidenceFolder
from tests.doubles.campaign_of_six import Surroundings, leave_out_ssh
from tests.doubles.scripted_bench import ScriptedBench

NEVER = 10**9
WAYS = ("resume", "sweep", "resume killed, then resume", "resume killed, then sweep", "helped")
TOLD_EVERY = 500
"""Trials between two lines of progress."""

_MOST_ROUNDS = 50


@dataclass
class Points:
    """Counts the points that a process passes, and kills it at one."""

    kill_at: int
    passed: int = 0
    names: Counter[str] = field(default_factory=Counter)

    def __call__(self, name: str) -> None:
        self.passed += 1
        self.names[name] += 1
        if self.passed >= self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


def watch_points(patch: pytest.MonkeyPatch, point: Callable[[str], None]) -> None:
    """Make points of all transactions and all files of evidence."""
    write, write_file, append = Database.write, EvidenceFolder.write, EvidenceFolder.append
    write_with, current = WaitingEvents.write_with, threading.local()

    def watched_with(waiting: WaitingEvents, *arguments: Any) -> object:
        current.name = arguments[-1].__qualname__
        try:
            return write_with(waiting, *arguments)
        finally:
            current.name = ""

    def watched(database: Database, work: Callable[..., object]) -> object:
        name = (getattr(current, "name", "") or work.__qualname__).replace(".<locals>", "")
        point(f"{name}: before")

        def worked(db: object) -> object:
            result = work(db)
            point(f"{name}: not committed")
            return result

        result = write(database, worked)
        point(f"{name}: committed")
        return result

    def watched_file(folder: EvidenceFolder, name: str, content: str | bytes) -> Path:
        point("evidence: before a file")
        path = write_file(folder, name, content)
        point("evidence: a file")
        return path

    def watched_line(folder: EvidenceFolder, name: str, text: str) -> None:
        append(folder, name, text)
        point("evidence: a line")

    patch.setattr(WaitingEvents, "write_with", watched_with)
    patch.setattr(Database, "write", watched)
    patch.setattr(EvidenceFolder, "write", watched_file)
    patch.setattr(EvidenceFolder, "append", watched_line)


@dataclass(frozen=True)
class Trial:
    """One run with its ledger, bench and evidence. Every action is a child process of its own."""

    url: str
    folder: Path
    seed: int
    make: Callable[..., Surroundings] = Surroundings
    refuses: float = 0.2

    def do(self, action: Callable[..., object], kill_at: int = NEVER) -> tuple[int, dict[str, object]]:
        """Carry out an action in a child; return the signal that ended it (0: none), and what it wrote down."""
        return self.wait(self.begin(action, kill_at))

    def begin(self, action: Callable[..., object], kill_at: int = NEVER) -> int:
        """Begin an action in a child; return the child's process id."""
        self.folder.mkdir(parents=True, exist_ok=True)
        child = os.fork()
        if child:
            return child
        try:
            status = self._act(action, kill_at)
        except BaseException:
            traceback.print_exc()
            status = 1
        sys.stderr.flush()
        os._exit(status)

    def wait(self, child: int) -> tuple[int, dict[str, object]]:
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            return os.WTERMSIG(status), {}
        if os.WEXITSTATUS(status):
            raise AssertionError(f"{self}: a child failed")
        return 0, json.loads((self.folder / f"said-{child}").read_text())

    def _act(self, action: Callable[..., object], kill_at: int) -> int:
        faulthandler.dump_traceback_later(120, exit=True)
        points = Points(kill_at)
        with pytest.MonkeyPatch.context() as patch:
            leave_out_ssh(patch)
            patch.setattr(owners, "LEASE_S", 1.0)
            patch.setattr(owners, "HEARTBEAT_S", 0.2)
            watch_points(patch, points)
            bench = ScriptedBench(self.folder / "bench", self.seed, points, refuses=self.refuses)
            surroundings = self.make(self.url, bench, self.folder, self.seed)
            value = action(surroundings)
            surroundings.ledger.close()
        told = value if isinstance(value, dict | list | str) else None
        said = {"points": points.passed, "names": points.names, "value": told}
        (self.folder / f"said-{os.getpid()}").write_text(json.dumps(said))
        return 0


def recover(trial: Trial, way: str, drawn: random.Random) -> int:
    """Recover a run that died, if there is one, in this way; return how many processes were killed meanwhile."""
    kills = 0
    for _ in range(_MOST_ROUNDS):
        _, said = trial.do(Surroundings.dead_run)
        run = said["value"]
        if not isinstance(run, str):
            break
        killed = way.startswith("resume killed") and not kills
        resumes = way.startswith("resume") and not (way.endswith("then sweep") and kills) and way != "sweep"
        if resumes or way == "helped":
            ended_by, _ = trial.do(lambda here, run=run: here.resume(run), drawn.randrange(1, 150) if killed else NEVER)
            kills += ended_by == signal.SIGKILL
        else:
            trial.do(Surroundings.sweep)
    trial.do(Surroundings.sweep)
    return kills


def lead_and_help(trial: Trial, kill_at: int, drawn: random.Random) -> int:
    """Lead a run that another process helps with; one of both is killed. Returns how many were."""
    of_leader = drawn.random() < 0.5
    leader = trial.begin(Surroundings.start, kill_at if of_leader else NEVER)
    helper = trial.begin(help_when_begun, NEVER if of_leader else max(1, kill_at // 2))
    return sum(trial.wait(child)[0] == signal.SIGKILL for child in (helper, leader))


def help_when_begun(here: Surroundings) -> None:
    """Help with the run as soon as there is one."""
    for _ in range(200):
        lines = here.ledger.runs()
        if lines:
            if lines[0].alive():
                here.help_with(lines[0].run)
            return
        signal.sigtimedwait([], 0.005)


def kill_at_point(trial: Trial, point: int, way: str) -> tuple[int, list[str]]:
    """Kill a run at one point and recover it; return how many processes were killed, and what does not hold then."""
    drawn = random.Random(f"{trial.seed} {point} {way}")
    trial.do(Surroundings.empty)
    if way == "helped":
        kills = lead_and_help(trial, point, drawn)
    else:
        kills = int(trial.do(Surroundings.start, point)[0] == signal.SIGKILL)
    _, said = trial.do(Surroundings.verdicts)
    verdicts = said["value"]
    kills += recover(trial, way, drawn)
    _, said = trial.do(lambda here: here.find_faults(verdicts))  # type: ignore[arg-type]
    return kills, list(said["value"])  # type: ignore[call-overload]


def warm_up(folder: Path, url: str) -> None:
    """Load all that a run loads, so that children need not: lead one here, and end its threads."""
    Database(url).close()
    with pytest.MonkeyPatch.context() as patch:
        leave_out_ssh(patch)
        first = Surroundings(f"sqlite:///{folder}/ledger.sqlite", ScriptedBench(folder / "bench", 1), folder, 1)
        first.start()
        first.find_faults({})
        first.ledger.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="the URL of a ledger that is this program's alone")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=1, metavar="N", help="go on with other seeds until so many")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="kill at every N-th point only")
    parser.add_argument("--first", type=int, default=1, metavar="N", help="the number of the first of these points")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    warm_up(options.folder / "first", options.url)
    gc.freeze()  # children copy less
    asked_to_end: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: asked_to_end.append(number))
    kills, faults, seed, trials = 0, list[str](), options.seed, 0
    points: Counter[str] = Counter()
    ways: Counter[str] = Counter()
    while True:
        whole = Trial(options.url, options.folder / f"{seed}-0", seed)
        whole.do(Surroundings.empty)
        _, said = whole.do(Surroundings.start)
        points.update(said["names"])  # type: ignore[call-overload]
        for point in range(options.first, int(said["points"]) + 1, options.every):  # type: ignore[call-overload]
            way = WAYS[(point + seed) % len(WAYS)]
            trial = Trial(options.url, options.folder / f"{seed}-{point}", seed)
            killed, found = kill_at_point(trial, point, way)
            kills, trials = kills + killed, trials + 1
            ways[way] += killed
            faults += [f"seed {seed}, point {point}, {way}: {fault}" for fault in found]
            if trials % TOLD_EVERY == 0 or found:
                print(f"{trials} trials, {kills} kills, {len(faults)} faults; seed {seed}", file=sys.stderr, flush=True)
            if asked_to_end:
                break
        seed += 1
        if asked_to_end or kills >= options.kills:
            break
    print(json.dumps({"kills": kills, "trials": trials, "points": points, "ways": ways, "faults": faults}))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
