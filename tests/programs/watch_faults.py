"""Disturb a watch of real processes, then hold its history against what it promises, as Jepsen's checkers do.

    python -m tests.programs.watch_faults FOLDER [--faults N] [--seed S] [--workers N] [--streams N]

Workers (`watch worker`), leaders (`watch serve`), PostgreSQL with a standby and simulated hosts (`watched_fleet`) are
disturbed (`watch_disturbances`). What was really sampled is what the hosts noted: each answer, and to whom it was given
(`watch_history`). Printed is one line of JSON.
"""

import argparse
import json
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import sqlalchemy as sql

from harness.store.reading_columns import decode
from harness.store.tables import WATCH_CHUNKS
from harness.store.watch_database import open_watch_database
from harness.store.watch_log import LogKind, WatchLog
from tests.programs.watch_disturbances import Disturbances, disturb
from tests.programs.watch_history import (
    History,
    Stored,
    Window,
    find_doubles,
    find_gaps,
    find_invented,
    find_lost,
    find_needless_moves,
    read_answers,
)
from tests.programs.watch_witness import Witness
from tests.programs.watched_fleet import (
    HOSTS,
    INTERVAL_S,
    LEASE_S,
    RESTS_S,
    SETTLES_S,
    Fleet,
    make_fleet,
    now_s,
    wait_until,
    wait_until_served,
)
from tests.servers.star_network import MachineLacksError

_PATIENCE_S = 120.0
"""On a machine that has much else to do all takes longer; whether gaps were too long is judged apart from this."""


def run_watch(folder: Path, given: argparse.Namespace) -> dict[str, object]:
    """Disturb a watch, and return what is to be printed. Raises MachineLacksError."""
    started_s = now_s()
    with make_fleet(folder, workers=given.workers, streams=given.streams) as fleet:
        witness = Witness(fleet)
        witness.start()
        time.sleep(1.0)
        begun_s = now_s()
        made = disturb(fleet, given.faults, given.seed)
        disturbed_s = now_s()
        problems = settle(fleet)
        ended_s = now_s() - 1.0
        fleet.ensure_running()
        witness.stop()
        fleet.end()
        problems += send_spools(fleet)
        took_s = [begun_s - started_s, disturbed_s - begun_s, ended_s - disturbed_s, now_s() - ended_s]
        addresses = {fleet.network.address_of(name, HOSTS): name for name in fleet.workers}
        history = History(
            answers=read_answers(fleet.journal, addresses),
            stored=read_stored(fleet.local_url),
            holdings=witness.holdings,
            windows=made.windows,
            waits=witness.waits,
            begun_s=begun_s,
            ended_s=ended_s,
            interval_s=INTERVAL_S,
            lease_s=LEASE_S,
            settles_s=SETTLES_S,
            rests_s=RESTS_S,
        )
        problems += [f"{each.name} ended by itself with status {each.status} at {each.at_s:.1f}" for each in fleet.ends]
        return report(fleet, made, history, problems) | {"took_s": [round(each, 1) for each in took_s]}


def settle(fleet: Fleet) -> list[str]:
    """Wait until all is served and what was spooled is stored; return what did not come to be."""
    try:
        wait_until_served(fleet, _PATIENCE_S)
    except TimeoutError as error:
        return [str(error)]
    else:
        return wait_for_spools(fleet)
    finally:
        time.sleep(2.0)


def send_spools(fleet: Fleet) -> list[str]:
    """Let workers send what they spooled as they ended, if they did; return what did not come to be."""
    if not fleet.count_spooled():
        return []
    for name in fleet.workers:
        fleet.start(name)
    problems = wait_for_spools(fleet)
    fleet.end()
    return problems


def wait_for_spools(fleet: Fleet) -> list[str]:
    """Wait until what was spooled is stored; return what did not come to be."""
    try:
        wait_until(lambda: not fleet.count_spooled(), _PATIENCE_S, "that the ledger has what was spooled")
    except TimeoutError as error:
        return [str(error)]
    return []


def read_stored(url: str) -> list[Stored]:
    """Read each reading in the ledger, as often as it is there."""
    database = open_watch_database(url)
    columns = WATCH_CHUNKS.c
    query = sql.select(columns.stream, columns.epoch, columns.worker, columns.readings)
    rows = database.read(lambda db: db.execute(query).all())
    database.close()
    return [
        Stored(row.stream, row.epoch, reading.tick, row.worker, reading.offset_ns)
        for row in rows
        for reading in decode(row.readings)
    ]


def report(fleet: Fleet, made: Disturbances, history: History, problems: list[str]) -> dict[str, object]:
    """Check a history, and put what was found beside what was done."""
    gaps, outages = find_gaps(history, fleet.streams), find_needless_moves(history)
    database = open_watch_database(fleet.local_url)
    log = WatchLog(database)
    replayed = sql.select(sql.func.count()).select_from(WATCH_CHUNKS).where(WATCH_CHUNKS.c.replayed)
    replayed_chunks = database.read(lambda db: db.execute(replayed).scalar())
    told = Counter(line.entry.kind.value for line in log.list_lines(most=100_000))
    mends = [line.entry.sentence for line in log.list_lines(kinds=[LogKind.MEND], most=10)]
    database.close()
    faults = [
        *problems,
        *find_doubles(history),
        *find_invented(history),
        *find_lost(history),
        *gaps.lost,
        *outages.moved,
    ]
    return {
        "faults_made": made.counts.total(),
        "kinds": {kind.value: count for kind, count in made.counts.items()},
        "sampled": len(history.answers),
        "stored": len({*history.stored}),
        "replayed_chunks": replayed_chunks,
        "gaps_excused": gaps.excused,
        "gaps_held_up": gaps.held_up,
        "quiet_outages": outages.counted,
        "outages_held_up": outages.held_up,
        "epochs": len({(each.stream, each.epoch) for each in history.stored}),
        "log": dict(told),
        "mends": mends,
        "violations": len(faults),
        "faults": faults[:40],
        "windows": [describe(each) for each in made.windows] if faults else [],
    }


def describe(window: Window) -> str:
    return f"{window.kind} {window.target or ''} {window.begun_s:.1f}-{window.ended_s:.1f}"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--faults", type=int, default=17)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--streams", type=int, default=12)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # processes, namespaces and mounts are removed also then
    try:
        print(json.dumps(run_watch(given.folder, given)))
    except MachineLacksError as error:
        print(json.dumps({"skipped": str(error)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
