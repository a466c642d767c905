"""Kill a process that carries out a task at every point: the task ends once, with one run, and no host is left.

    python -m tests.programs.kill_tasks URL FOLDER [--kills N] [--every N] [--seed S]

As kill_everywhere.py does with runs: for each point K, a child is killed while it submits a campaign, or claims and
carries out the task; other children then go on as the executor of a service does. Meanwhile the task is cancelled in
some trials, in others a person sweeps what the dead left, or the child that goes on is killed in its turn.
"""

import argparse
import gc
import json
import random
import signal
import sys
from collections import Counter
from pathlib import Path

from tests.doubles.campaign_of_six import Surroundings
from tests.doubles.tasks_of_six import QueueOfSix
from tests.programs.kill_everywhere import NEVER, Trial, warm_up

WAYS = ("work", "work killed", "cancelled", "swept", "cancelled and swept")
_MOST_ROUNDS = 50


def recover(trial: Trial, way: str, drawn: random.Random) -> int:
    """Go on with the task until it has ended, and leave no host; return how many processes were killed meanwhile."""
    kills = 0
    if way.startswith("cancelled"):
        trial.do(QueueOfSix.cancel)
    for _ in range(_MOST_ROUNDS):
        if way.endswith("swept"):
            trial.do(Surroundings.sweep)
        _, said = trial.do(QueueOfSix.say_open)
        if not said["value"]:
            break
        killed = way == "work killed" and not kills
        ended_by, _ = trial.do(QueueOfSix.work, drawn.randrange(1, 150) if killed else NEVER)
        kills += ended_by == signal.SIGKILL
    return kills


def kill_at_point(trial: Trial, point: int, of_submission: int, way: str) -> tuple[int, list[str]]:
    """Kill at one point, the first of which are those of the submission; return the kills and what does not hold."""
    drawn = random.Random(f"{trial.seed} {point} {way}")
    trial.do(QueueOfSix.empty)
    kills = int(trial.do(QueueOfSix.submit, point if point <= of_submission else NEVER)[0] == signal.SIGKILL)
    if kills:
        trial.do(QueueOfSix.submit)  # who got no answer sends the same request again
    else:
        kills = int(trial.do(QueueOfSix.work, point - of_submission)[0] == signal.SIGKILL)
    kills += recover(trial, way, drawn)
    _, said = trial.do(lambda here: QueueOfSix.find_faults_of_task(here, was_cancelled=way.startswith("cancelled")))
    return kills, list(said["value"])  # type: ignore[call-overload]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="the URL of a ledger that is this program's alone")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=1, metavar="N", help="go on with other seeds until so many")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="kill at every N-th point only")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    warm_up(options.folder / "first", options.url)
    gc.freeze()  # children copy less
    kills, faults, seed, trials = 0, list[str](), options.seed, 0
    points: Counter[str] = Counter()
    ways: Counter[str] = Counter()
    while True:
        whole = Trial(options.url, options.folder / f"{seed}-0", seed, QueueOfSix, refuses=0.0)
        whole.do(QueueOfSix.empty)
        of_each = []
        for action in (QueueOfSix.submit, QueueOfSix.work):
            _, said = whole.do(action)
            points.update(said["names"])  # type: ignore[call-overload]
            of_each.append(int(said["points"]))  # type: ignore[call-overload]
        for point in range(1, sum(of_each) + 1, options.every):
            way = WAYS[(point // options.every + seed) % len(WAYS)]
            trial = Trial(options.url, options.folder / f"{seed}-{point}", seed, QueueOfSix, refuses=0.0)
            killed, found = kill_at_point(trial, point, of_each[0], way)
            kills, trials = kills + killed, trials + 1
            ways[way] += killed
            faults += [f"seed {seed}, point {point}, {way}: {fault}" for fault in found]
        seed += 1
        if kills >= options.kills:
            break
    print(json.dumps({"kills": kills, "trials": trials, "points": points, "ways": ways, "faults": faults}))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
