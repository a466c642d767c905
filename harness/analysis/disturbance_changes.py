"""Compare how the clocks of a type fared under each disturbance with earlier runs: the bound, and figures.

A reading that refutes chrony's bound lies outside of it whatever its own uncertainty: that is no chance, and needs no
test. Figures of which less is better are tested as those of the undisturbed clock, with a larger expected spread. Not
tested are offset and bound where chronyd starts anew: chrony's bound is a second and more before its first update, and
whether a sample falls into that moment is chance.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from harness.analysis.disturbed_clock import LEAST_BACK, LEAST_COMPARED
from harness.analysis.figure_changes import FigureTest, compare_figure
from harness.model import HostRecord
from harness.model.disturbances import Disturbance, DisturbanceFigures

DISTURBED_SPREAD = 0.83
"""The spread from run to run (standard deviation of the logarithm) that is expected at least, on every bench.

A figure under a disturbance is the largest value of a minute or two. How much such values of equal clocks differ was
measured of undisturbed clocks of the lab: their largest offsets and MTIE of a minute (tests/data/spread/lab.json).
"""

_STARTS_CHRONYD = frozenset({Disturbance.CHRONYD_RESTARTED, Disturbance.REBOOT})


class BoundAnswer(StrEnum):
    """Whether chrony's bound held under a disturbance, on all hosts of a type; the worst last."""

    HELD = "held"
    NOT_COMPARED = "not compared"
    REFUTED = "refuted"


@dataclass(frozen=True, slots=True, kw_only=True)
class DisturbanceChange:
    """Whether the bound of a type's clocks held under a disturbance, and whether all came back while watched.

    `before`, `back_before`: of each earlier run that has it, the oldest first.
    """

    instance_type: str
    disturbance: Disturbance
    before: tuple[BoundAnswer, ...]
    now: BoundAnswer
    back_before: tuple[bool, ...]
    back_now: bool

    @property
    def changed(self) -> bool:
        """Whether an answer differs from that of the latest earlier run."""
        return self.now is not self.before[-1] or self.back_now is not self.back_before[-1]

    @property
    def regressed(self) -> bool:
        """Whether the bound is refuted, and held in every earlier run that could tell."""
        answers = {answer for answer in self.before if answer is not BoundAnswer.NOT_COMPARED}
        return self.now is BoundAnswer.REFUTED and answers == {BoundAnswer.HELD}


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedDisturbances:
    """The disturbances of one type. `tested`: figures; `uncompared`: why something could not be compared."""

    changes: tuple[DisturbanceChange, ...]
    tested: tuple[FigureTest, ...]
    uncompared: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _DisturbedClock:
    """The figures of one host under one disturbance, and the time between its samples, where it is known."""

    figures: DisturbanceFigures
    interval_s: float | None


def compare_disturbances(
    name: str, now: Sequence[HostRecord], runs: Sequence[Sequence[HostRecord]], *, spread: float
) -> ComparedDisturbances:
    """Compare the disturbances of a type's hosts with those of earlier runs, the oldest run first.

    `spread`: that from run to run which is expected of the undisturbed clock.
    """
    changes: list[DisturbanceChange] = []
    tested: list[FigureTest] = []
    uncompared: list[str] = []
    disturbances, earlier_disturbances = _list_disturbances(now), _list_disturbances(*runs)
    for disturbance in disturbances:
        uncompared += [f"{disturbance}: {failure}" for failure in _list_failures(now, disturbance)]
        clocks = _list_clocks(now, disturbance)
        if not clocks:
            continue
        intervals = {clock.interval_s for clock in clocks}
        earlier = [
            chosen
            for run in runs
            if (chosen := [clock for clock in _list_clocks(run, disturbance) if {clock.interval_s} == intervals])
        ]
        if not earlier:
            uncompared.append(f"{disturbance}: no earlier run has it at the same interval")
            continue
        change = _compare_answers(name, disturbance, clocks, earlier)
        changes.append(change)
        if change.now is BoundAnswer.NOT_COMPARED:
            uncompared.append(f"{disturbance}: fewer than {LEAST_COMPARED} readings could be held against the bound")
        tested += _compare_figures(name, disturbance, clocks, [clock for run in earlier for clock in run], spread)
    missing = [disturbance for disturbance in earlier_disturbances if disturbance not in disturbances]
    uncompared += [f"not disturbed in this run: {', '.join(missing)}"] if missing else []
    return ComparedDisturbances(changes=tuple(changes), tested=tuple(tested), uncompared=tuple(uncompared))


def _list_disturbances(*runs: Sequence[HostRecord]) -> list[Disturbance]:
    """List the disturbances of any host, each once."""
    return list(dict.fromkeys(each.disturbance for run in runs for host in run for each in host.disturbances))


def _list_failures(hosts: Sequence[HostRecord], disturbance: Disturbance) -> Iterator[str]:
    for host in hosts:
        for figures in host.disturbances:
            if figures.disturbance is disturbance and figures.failure is not None:
                yield figures.failure


def _list_clocks(hosts: Sequence[HostRecord], disturbance: Disturbance) -> list[_DisturbedClock]:
    """List the clocks of hosts that were disturbed so."""
    return [
        _DisturbedClock(figures=figures, interval_s=host.quality.interval_s if host.quality else None)
        for host in hosts
        for figures in host.disturbances
        if figures.disturbance is disturbance and figures.failure is None
    ]


def _compare_answers(
    name: str,
    disturbance: Disturbance,
    now: Sequence[_DisturbedClock],
    before: Sequence[Sequence[_DisturbedClock]],
) -> DisturbanceChange:
    return DisturbanceChange(
        instance_type=name,
        disturbance=disturbance,
        before=tuple(map(_answer, before)),
        now=_answer(now),
        back_before=tuple(map(_is_back, before)),
        back_now=_is_back(now),
    )


def _answer(clocks: Sequence[_DisturbedClock]) -> BoundAnswer:
    """Tell whether the bound held: the worst answer of all clocks."""
    if any(clock.figures.refuted for clock in clocks):
        return BoundAnswer.REFUTED
    enough = all(clock.figures.compared >= LEAST_COMPARED for clock in clocks)
    return BoundAnswer.HELD if enough else BoundAnswer.NOT_COMPARED


def _is_back(clocks: Sequence[_DisturbedClock]) -> bool:
    return all(clock.figures.back_after_s is not None for clock in clocks)


# --- figures ----------------------------------------------------------------------------------------------------------


def _compare_figures(
    name: str,
    disturbance: Disturbance,
    now: Sequence[_DisturbedClock],
    before: Sequence[_DisturbedClock],
    spread: float,
) -> Iterator[FigureTest]:
    """Test each figure that is known, and above 0, of all clocks."""
    figures = {"time back": ("s", _read_times_back(now, before), list(map(_read_time_back, before)))}
    if disturbance not in _STARTS_CHRONYD:
        for figure, read in (("largest offset", _read_offset), ("largest bound", _read_bound)):
            figures[figure] = ("ns", list(map(read, now)), list(map(read, before)))
    for figure, (unit, values, values_before) in figures.items():
        new, earlier = ([value for value in part if value] for part in (values, values_before))
        if len(new) == len(now) and len(earlier) == len(before):
            yield compare_figure(
                name,
                f"{disturbance}: {figure}",
                new,
                earlier,
                unit=unit,
                prior=max(spread, DISTURBED_SPREAD),
                disturbance=disturbance,
            )


def _read_offset(clock: _DisturbedClock) -> float | None:
    offset_ns = clock.figures.largest_offset_ns
    return None if offset_ns is None else abs(offset_ns)


def _read_bound(clock: _DisturbedClock) -> float | None:
    return clock.figures.largest_bound_ns


def _read_time_back(clock: _DisturbedClock) -> float | None:
    """Read the time until the clock was back, to the end of that sample's interval, which is above 0."""
    back_s = clock.figures.back_after_s
    return None if back_s is None or clock.interval_s is None else back_s + clock.interval_s


def _read_times_back(now: Sequence[_DisturbedClock], before: Sequence[_DisturbedClock]) -> list[float | None]:
    """Read the times of the clocks of this run; of one that was not back, a time in which it would have been noticed.

    Such a time is too short rather than too long. It is left out where a clock was not back sooner in an earlier run.
    """
    longest_s = max((_read_time_back(clock) or 0.0 for clock in before), default=0.0)
    times_s: list[float | None] = []
    for clock in now:
        time_s = _read_time_back(clock)
        if time_s is None and clock.interval_s is not None:
            watched_s = (clock.figures.seconds - LEAST_BACK) * clock.interval_s - clock.figures.lasted_s
            time_s = watched_s if watched_s > longest_s else None
        times_s.append(time_s)
    return times_s
