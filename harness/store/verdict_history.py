"""Keep the verdicts of all types in memory, ordered by type and environment, and read from the ledger what is new.

A verdict of a run that has ended does not change: it is read once. Threads share an instance.
"""

import threading
import time
from bisect import insort
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import sqlalchemy as sql

from harness.analysis.verdict_series import Environment, TimedVerdict, TypeStanding, sum_up_type
from harness.model import Outcome
from harness.model.bench_traits import BenchName
from harness.store.ledger_reader import LedgerReader
from harness.store.tables import HOSTS, RUNS

MOST_VERDICTS = 500
"""Of each type in each environment and Region so many verdicts are kept, the newest."""

_READ_AGAIN_S = 1.0
_LATE_NS = 300 * 10**9
"""A transaction that began a run may be committed so long after others that began later ones."""
_MOST_NAMES = 500

_Place = tuple[str, str, str | None, Environment]
"""Bench, type, Region and environment of a verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictPlaces:
    """Where there are verdicts: benches, each with its Regions."""

    regions: Mapping[str, Sequence[str]]


class VerdictHistory:
    """The verdicts of a ledger by type and environment."""

    def __init__(self, ledger: LedgerReader) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()
        self._read_at_s: float | None = None
        self._forget()

    def _forget(self) -> None:
        self._ended: set[str] = set()
        self._open: set[str] = set()
        self._newest_ns = 0
        self._settled: dict[_Place, list[TimedVerdict]] = {}
        self._unsettled: dict[_Place, list[TimedVerdict]] = {}
        self._standings: dict[tuple[str, str | None, str], TypeStanding] = {}

    def places(self) -> VerdictPlaces:
        """List benches and Regions, by name."""
        with self._lock:
            self._read_new()
            found: dict[str, set[str]] = {}
            for bench, _, region, _ in (*self._settled, *self._unsettled):
                found.setdefault(bench, set()).update([region] if region else [])
        return VerdictPlaces(regions={bench: sorted(found[bench]) for bench in sorted(found)})

    def sum_up(self, bench: str, region: str | None = None) -> list[TypeStanding]:
        """Sum up the types of a bench, by name. `region`: only verdicts of hosts there."""
        with self._lock:
            self._read_new()
            series: dict[str, dict[Environment, list[TimedVerdict]]] = {}
            for verdicts_of in (self._settled, self._unsettled):
                for (of_bench, name, of_region, environment), verdicts in verdicts_of.items():
                    if of_bench == bench and region in (None, of_region):
                        series.setdefault(name, {}).setdefault(environment, []).extend(verdicts)
            return [self._sum_up_once(bench, region, name, series[name]) for name in sorted(series)]

    def _sum_up_once(
        self, bench: str, region: str | None, name: str, series: Mapping[Environment, list[TimedVerdict]]
    ) -> TypeStanding:
        key = (bench, region, name)
        if key not in self._standings:
            ordered = {environment: sorted(series[environment], key=_order) for environment in series}
            self._standings[key] = sum_up_type(name, ordered)
        return self._standings[key]

    # -- reading

    def _read_new(self) -> None:
        """Read the verdicts of runs that were not read since they ended, at most once a second."""
        now_s = time.monotonic()
        if self._read_at_s is not None and now_s - self._read_at_s < _READ_AGAIN_S:
            return
        count, runs = self._ledger.database.read(partial(_find_runs, since_ns=self._newest_ns - _LATE_NS))
        if self._ended and count != len(self._ended | self._open | {run for run, _, _ in runs}):
            self._forget()  # runs were imported, or removed
            _, runs = self._ledger.database.read(partial(_find_runs, since_ns=0))
        missing = self._open - {run for run, _, _ in runs}
        runs += self._ledger.database.read(partial(_find_runs_named, names=missing)) if missing else []
        self._take(runs)
        self._read_at_s = now_s

    def _take(self, runs: Sequence[tuple[str, int, bool]]) -> None:
        new = {run: ended for run, _, ended in runs if run not in self._ended}
        rows = self._ledger.database.read(partial(_read_verdicts, runs=sorted(new)))
        touched = {place[:2] for place in self._unsettled}
        self._unsettled = {}
        for place, verdict in rows:
            touched.add(place[:2])
            if new[verdict.run]:
                settled = self._settled.setdefault(place, [])
                insort(settled, verdict, key=_order)
                del settled[:-MOST_VERDICTS]
            else:
                self._unsettled.setdefault(place, []).append(verdict)
        for bench, region, name in [key for key in self._standings if (key[0], key[2]) in touched]:
            del self._standings[bench, region, name]
        self._ended |= {run for run, ended in new.items() if ended}
        self._open = {run for run, ended in new.items() if not ended}
        self._newest_ns = max([self._newest_ns, *(started_ns for _, started_ns, _ in runs)])


def _order(verdict: TimedVerdict) -> tuple[int, str]:
    return verdict.started_ns, verdict.run


_RUNS = sql.select(RUNS.c.run, RUNS.c.started_ns, RUNS.c.record.is_not(None))


def _find_runs(db: sql.Connection, *, since_ns: int) -> tuple[int, list[tuple[str, int, bool]]]:
    """Count all runs, and find those that began since: name, start, whether it has ended."""
    count = int(db.execute(sql.select(sql.func.count()).select_from(RUNS)).scalar_one())
    rows = db.execute(_RUNS.where(RUNS.c.started_ns >= since_ns)).all()
    return count, [(run, started_ns, bool(ended)) for run, started_ns, ended in rows]


def _find_runs_named(db: sql.Connection, *, names: Collection[str]) -> list[tuple[str, int, bool]]:
    rows = db.execute(_RUNS.where(RUNS.c.run.in_(names))).all()
    return [(run, started_ns, bool(ended)) for run, started_ns, ended in rows]


def _read_verdicts(db: sql.Connection, *, runs: Sequence[str]) -> list[tuple[_Place, TimedVerdict]]:
    campaign = RUNS.c.campaign
    query = (
        sql.select(
            RUNS.c.bench,
            RUNS.c.run,
            RUNS.c.started_ns,
            sql.func.coalesce(HOSTS.c.region, campaign["region"].as_string()).label("region"),
            campaign["cloud", "image"].as_string().label("asked_image"),
            *(HOSTS.c[name] for name in ("host", "instance_type", "outcome", "offset_p99_ns", "bound_p99_ns")),
            *(HOSTS.c[name] for name in ("image", "kernel", "driver")),
        )
        .join(RUNS, RUNS.c.run == HOSTS.c.run)
        .where(HOSTS.c.outcome.is_not(None))
    )
    if len(runs) > _MOST_NAMES:  # the first time: nearly all
        wanted = {*runs}
        return [_place_verdict(row) for row in db.execute(query) if row.run in wanted]
    rows = db.execute(query.where(HOSTS.c.run.in_(runs))).all()
    return [_place_verdict(row) for row in rows]


def _place_verdict(row: Any) -> tuple[_Place, TimedVerdict]:
    """Place a row. An image of EC2 has the name by which its campaign asks for it: ids change with each release."""
    image = (row.asked_image if row.bench == BenchName.EC2 else None) or row.image
    environment = Environment(image=image, kernel=row.kernel, driver=row.driver)
    verdict = TimedVerdict(
        run=row.run,
        host=row.host,
        started_ns=row.started_ns,
        outcome=Outcome(row.outcome),
        offset_p99_ns=row.offset_p99_ns,
        bound_p99_ns=row.bound_p99_ns,
    )
    return (row.bench, row.instance_type, row.region, environment), verdict
