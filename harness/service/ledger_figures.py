"""Make the figures of a service from its ledger: stages, types and sites of the latest week, and the queue."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from harness.analysis.durations import DurationFigures, summarise_durations
from harness.model import Outcome
from harness.store.database import Database
from harness.store.service_figures import EndedStep, ServiceFigures, read_figures

WINDOW_S = 7 * 86400.0
HERE = "here"
"""Stands for the service itself among the sites."""

_TIMED_OUT = re.compile(r"did not end within|took longer than|did not come back|no answer (?:in time|within)|timed out")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultFigures:
    """How steps or tasks ended, and how long they took, s. A time-out is a failure too."""

    succeeded: int
    failed: int
    timed_out: int
    interrupted: int
    durations_s: DurationFigures


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerFigures:
    """The figures of a moment. `stages`: by bench and stage; `types`: durations of hosts, by bench and type."""

    rows: ServiceFigures
    stages: Mapping[tuple[str, str], ResultFigures]
    types: Mapping[tuple[str, str], tuple[Mapping[Outcome, int], DurationFigures]]
    sites: Mapping[str, ResultFigures]


def load_figures(database: Database) -> LedgerFigures:
    """Read the ledger, and make its figures."""
    return make_figures(read_figures(database, window_s=WINDOW_S))


def make_figures(rows: ServiceFigures) -> LedgerFigures:
    """Make the figures of what was read."""
    of_stages: dict[tuple[str, str], list[EndedStep]] = {}
    of_hosts: dict[tuple[str, str], dict[str, float]] = {}
    for step in rows.steps:
        of_stages.setdefault((step.bench, step.stage), []).append(step)
        hosts = of_hosts.setdefault((step.bench, step.instance_type), {})
        hosts[step.token] = hosts.get(step.token, 0.0) + step.seconds
    of_sites: dict[str, list[tuple[str, float]]] = {}
    for task in rows.ended:
        result = "done" if task.state == "ended" else "Interrupted" if task.state == "cancelled" else "failed"
        of_sites.setdefault(task.site or HERE, []).append((result, task.seconds))
    return LedgerFigures(
        rows=rows,
        stages={
            key: _count_results([(step.result, step.seconds) for step in steps])
            for key, steps in sorted(of_stages.items())
        },
        types={
            key: (outcomes, summarise_durations([*of_hosts.get(key, {}).values()]))
            for key, outcomes in rows.types.items()
        },
        sites={site: _count_results(ended) for site, ended in sorted(of_sites.items())},
    )


def is_timeout(result: str) -> bool:
    """Whether the result of a step is that something took too long."""
    return _TIMED_OUT.search(result) is not None


def _count_results(ended: Sequence[tuple[str, float]]) -> ResultFigures:
    def count(fits: Callable[[str], bool]) -> int:
        return sum(fits(result) for result, _ in ended)

    succeeded, interrupted = (
        count(lambda result: result == "done"),
        count(lambda result: result.startswith("Interrupted")),
    )
    return ResultFigures(
        succeeded=succeeded,
        failed=len(ended) - succeeded - interrupted,
        timed_out=count(is_timeout),
        interrupted=interrupted,
        durations_s=summarise_durations([seconds for _, seconds in ended]),
    )
