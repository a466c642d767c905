"""Runs that are put into a ledger as if they had been led: with verdicts, figures, steps and events."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.model import HostRecord, HostState, Outcome, RunRecord, Stage
from harness.model.quality import QUALITY_DEFINITION, ClockQuality, Distribution
from harness.store.ledger import Ledger
from tests.doubles.records import make_host, make_verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeUpHost:
    """A host of a made-up run. Without an outcome it has no verdict; without an offset no figures.

    Its bound is ten times its offset. `state`: what became of it.
    """

    instance_type: str = "lab.phc"
    outcome: Outcome | None = Outcome.PASS
    offset_ns: float | None = None
    state: HostState = HostState.RELEASED
    changes: Mapping[str, Any] | None = None

    def record(self, name: str) -> HostRecord:
        """Its record."""
        verdict = make_verdict(outcome=self.outcome, sentence=f"{name} is {self.outcome}")
        record = make_host(name=name, instance_type=self.instance_type, verdict=verdict, state=self.state)
        if self.offset_ns is not None:
            record = replace(record, quality=make_quality(self.offset_ns))
        return replace(record, **(self.changes or {}))


def add_run(
    ledger: Ledger,
    hosts: Mapping[str, MadeUpHost] | Sequence[MadeUpHost] = (MadeUpHost(),),
    *,
    bench: str = "lab",
    campaign: Mapping[str, Any] | None = None,
    task: str | None = None,
    stages: Sequence[Stage] = (Stage.PROVISION, Stage.MEASURE),
    ended: bool = True,
) -> str:
    """Put a run into a ledger; return its name. Hosts without a name are h0, h1 ... Without `ended` it goes on.

    `stages`: the steps of each host that has a verdict.
    """
    named = hosts if isinstance(hosts, Mapping) else {f"h{number}": host for number, host in enumerate(hosts)}
    types = {name: host.instance_type for name, host in named.items()}
    run = ledger.open_run(bench=bench, campaign=campaign or {}, hosts=types, task=task)
    records: list[HostRecord] = []
    for name, host in named.items():
        if host.outcome is None:
            continue
        token = ledger.own_host(run, name).token
        for stage in stages:
            ledger.end_step(ledger.begin_step(token, stage), "done")
        records.append(host.record(name))
        ledger.record_state(token, records[-1])
    if ended:
        ledger.close_run(
            RunRecord(
                run=run,
                bench=bench,
                started="2026-11-21T04:00:00+00:00",
                seconds=12.5,
                interrupted=False,
                hosts=tuple(records),
                leftovers=(),
            )
        )
    return run


def make_quality(offset_ns: float) -> ClockQuality:
    """The figures of a host whose offset has this size, and whose bound is ten times as large."""
    return ClockQuality(
        definition=QUALITY_DEFINITION,
        interval_s=1.0,
        slots=120,
        seen=120,
        gaps=0,
        longest_gap_s=0.0,
        settling_s=0.0,
        offset_ns=_spread(offset_ns),
        read_delay_ns=_spread(1000.0),
        bound_ns=_spread(5 * offset_ns),
        error_bound_ns=_spread(10 * offset_ns),
        frequency_ppb=None,
        convergence_s=1.0,
        steps=(),
        step_count=0,
        outliers=0,
        oscillator=None,
        stability=(),
        profiles=(),
    )


def _spread(size: float) -> Distribution:
    return Distribution(
        count=120,
        mean=0.0,
        std=size / 3,
        rms=size / 3,
        minimum=-size,
        median=0.0,
        maximum=size,
        median_abs=size / 4,
        p90_abs=size / 2,
        p99_abs=size,
        max_abs=size,
    )
