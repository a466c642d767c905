"""Compare a run with earlier ones: verdicts that changed, and figures that got worse by more than chance.

Two measurements of one clock differ from run to run by more than the samples within a run tell, so the unit is the
measurement: one host in one run. The logarithm of a figure is compared with that of the earlier measurements of the
same type by a t test, in which what is known of the spread from run to run counts as `PRIOR_RUNS` further ones: few
runs alone do not tell their spread. A figure is worse if the test says so after Holm's correction over all figures of
all types (5 % false alarms in all), and if it is at least a quarter larger.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.analysis import student
from harness.model import ClockQuality, HostRecord, Outcome
from harness.model.outcomes import WORST_LAST, worst_outcome

FALSE_ALARMS = 0.05
LEAST_RATIO = 1.25
PRIOR_RUNS = 8
PRIOR_SPREADS: Mapping[str, float] = {"lab": 0.71}
_OTHER_SPREAD = 0.16
"""The spread of a figure from run to run (standard deviation of its logarithm) that counts as so many runs, by bench.

That of the lab was measured: ten equal runs of three types (tests/data/spread/lab.json, by benchmarks/spread.py); the
clocks of emulated cards on a busy machine differ much. That of other benches is one of simulated servos, until it is
measured on real instances.
"""


def prior_spread(bench: str) -> float:
    """Return the spread from run to run that is taken for a bench before any run shows it."""
    return PRIOR_SPREADS.get(bench, _OTHER_SPREAD)


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureChange:
    """A figure of a type against earlier measurements: geometric means in `unit`, their ratio, and what the test says.

    `p`: the probability of such a difference, or a larger one, by chance. `visible_ratio`: the smallest ratio that the
    test could have seen. `measurements`: how many earlier ones there are.
    """

    instance_type: str
    figure: str
    unit: str
    before: float
    now: float
    p: float
    visible_ratio: float
    measurements: int
    worse: bool
    better: bool

    @property
    def ratio(self) -> float:
        return self.now / self.before


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictChange:
    """The worst verdict of a type now, and before: that of each earlier run, the oldest first."""

    instance_type: str
    before: tuple[Outcome, ...]
    now: Outcome
    sentence: str  # of the worst host

    @property
    def changed(self) -> bool:
        """Whether the verdict differs from that of the latest earlier run."""
        return self.now is not self.before[-1]

    @property
    def regressed(self) -> bool:
        """Whether the type passed in the latest earlier run, and is now shown not to."""
        return self.before[-1] is Outcome.PASS and self.now in (Outcome.FAIL, Outcome.UNSUPPORTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class CircumstanceChange:
    """Something besides the clock that is different now, such as the kernel."""

    instance_type: str
    what: str
    before: tuple[str, ...]
    now: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The differences between a run and earlier ones. `uncompared`: why something could not be compared."""

    verdicts: tuple[VerdictChange, ...]
    figures: tuple[FigureChange, ...]
    circumstances: tuple[CircumstanceChange, ...]
    uncompared: tuple[str, ...]

    @property
    def regressed(self) -> bool:
        """Whether a verdict or a figure got worse."""
        return any(change.regressed for change in self.verdicts) or any(change.worse for change in self.figures)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """A figure of a type against earlier measurements, before it is decided what of all figures is chance.

    `before` and `now`: means of logarithms; `spread`: the standard error of their difference, of `freedom` degrees.
    """

    instance_type: str
    figure: str
    unit: str
    before: float
    now: float
    spread: float
    freedom: float
    measurements: int

    @property
    def p_worse(self) -> float:
        """The probability that chance alone makes the figure so much larger."""
        return student.upper_tail((self.now - self.before) / self.spread, self.freedom)

    @property
    def p_better(self) -> float:
        """The probability that chance alone makes the figure so much smaller."""
        return student.upper_tail((self.before - self.now) / self.spread, self.freedom)


def compare_runs(
    now: Sequence[HostRecord], before: Sequence[Sequence[HostRecord]], *, spread: float = _OTHER_SPREAD
) -> Comparison:
    """Compare the hosts of a run with those of earlier runs, the oldest run first, type by type.

    `spread`: that from run to run which is expected, as `prior_spread` returns it.
    """
    types = dict.fromkeys(host.instance_type for host in now)
    verdicts: list[VerdictChange] = []
    circumstances: list[CircumstanceChange] = []
    uncompared: list[str] = []
    tested: list[Tested] = []
    for name in types:
        hosts = [host for host in now if host.instance_type == name]
        runs = [chosen for run in before if (chosen := [host for host in run if host.instance_type == name])]
        if not runs:
            uncompared.append(f"{name}: no earlier run has this type")
            continue
        verdicts.append(_compare_verdicts(name, hosts, runs))
        earlier = [host for run in runs for host in run]
        circumstances += _compare_circumstances(name, hosts, earlier)
        found, reason = _compare_figures(name, hosts, earlier, spread)
        tested += found
        uncompared += [f"{name}: {reason}"] if reason else []
    missing = dict.fromkeys(host.instance_type for run in before for host in run if host.instance_type not in types)
    uncompared += [f"{name}: not in this run" for name in missing]
    return Comparison(
        verdicts=tuple(verdicts),
        figures=decide(tested),
        circumstances=tuple(circumstances),
        uncompared=tuple(uncompared),
    )


# --- figures ----------------------------------------------------------------------------------------------------------


def list_figures(quality: ClockQuality) -> dict[str, tuple[float, str]]:
    """List the figures that are compared, by name, with their units: those of which less is better."""
    figures: dict[str, tuple[float, str]] = {
        "offset RMS": (quality.offset_ns.rms, "ns"),
        "offset p99": (quality.offset_ns.p99_abs, "ns"),
        "read delay median": (quality.read_delay_ns.median, "ns"),
    }
    if quality.bound_ns is not None:
        figures["chrony bound p99"] = (quality.bound_ns.p99_abs, "ns")
    if quality.error_bound_ns is not None:
        figures["error bound p99"] = (quality.error_bound_ns.p99_abs, "ns")
    if quality.convergence_s is not None:
        figures["convergence"] = (quality.convergence_s, "s")
    for point in quality.stability:
        figures[f"MTIE at {point.tau_s:g} s"] = (point.mtie_ns, "ns")
        if point.tdev_ns is not None:
            figures[f"TDEV at {point.tau_s:g} s"] = (point.tdev_ns, "ns")
    return figures


def _compare_figures(
    name: str, now: Sequence[HostRecord], before: Sequence[HostRecord], spread: float
) -> tuple[list[Tested], str]:
    """Test each figure that all measurements have; and say why there is none."""
    new = [host.quality for host in now if host.quality is not None]
    if not new:
        return [], "this run has no figures of its clock"
    earlier = [host.quality for host in before if host.quality is not None and _comparable(host.quality, new[0])]
    if not earlier:
        return [], "no earlier run has figures of the same definition and interval"
    if not all(_comparable(quality, new[0]) for quality in new):
        return [], "its hosts were measured at different intervals"
    new_figures, earlier_figures = [list_figures(each) for each in new], [list_figures(each) for each in earlier]
    shared = [figure for figure in new_figures[0] if all(figure in each for each in new_figures + earlier_figures)]
    return [
        compare_figure(
            name,
            figure,
            [each[figure][0] for each in new_figures],
            [each[figure][0] for each in earlier_figures],
            unit=new_figures[0][figure][1],
            prior=spread,
        )
        for figure in _leave_out_middle(shared)
        if all(each[figure][0] > 0 for each in new_figures + earlier_figures)
    ], ""


def _comparable(one: ClockQuality, other: ClockQuality) -> bool:
    return (one.definition, one.interval_s) == (other.definition, other.interval_s)


def _leave_out_middle(figures: Sequence[str]) -> list[str]:
    """Leave out TDEV and MTIE but at the first and the last time: what lies between says little more."""
    kept: list[str] = [figure for figure in figures if " at " not in figure]
    for curve in ("TDEV at", "MTIE at"):
        at_times = [figure for figure in figures if figure.startswith(curve)]
        kept += dict.fromkeys([*at_times[:1], *at_times[-1:]])
    return kept


def compare_figure(
    name: str,
    figure: str,
    now: Sequence[float],
    before: Sequence[float],
    *,
    unit: str,
    prior: float = _OTHER_SPREAD,
) -> Tested:
    """Compare a figure with earlier measurements. All values are above 0; `prior`: the spread that is expected."""
    new, earlier = [math.log(value) for value in now], [math.log(value) for value in before]
    mean_before = math.fsum(earlier) / len(earlier)
    squares = math.fsum((value - mean_before) ** 2 for value in earlier)
    freedom = len(earlier) - 1 + PRIOR_RUNS
    variance = (squares + PRIOR_RUNS * prior**2) / freedom
    return Tested(
        instance_type=name,
        figure=figure,
        unit=unit,
        before=mean_before,
        now=math.fsum(new) / len(new),
        spread=math.sqrt(variance * (1 / len(new) + 1 / len(earlier))),
        freedom=freedom,
        measurements=len(earlier),
    )


def decide(tested: Sequence[Tested]) -> tuple[FigureChange, ...]:
    """Decide which figures got worse or better, by Holm's correction over all of them."""
    worse = _reject([each.p_worse for each in tested])
    better = _reject([each.p_better for each in tested])
    return tuple(
        FigureChange(
            instance_type=each.instance_type,
            figure=each.figure,
            unit=each.unit,
            before=math.exp(each.before),
            now=math.exp(each.now),
            p=min(each.p_worse, each.p_better),
            visible_ratio=max(
                LEAST_RATIO, math.exp(each.spread * student.quantile(1 - FALSE_ALARMS / len(tested), each.freedom))
            ),
            measurements=each.measurements,
            worse=is_worse and each.now - each.before >= math.log(LEAST_RATIO),
            better=is_better and each.before - each.now >= math.log(LEAST_RATIO),
        )
        for each, is_worse, is_better in zip(tested, worse, better, strict=True)
    )


def _reject(probabilities: Sequence[float]) -> list[bool]:
    """Choose what is no chance, by Holm's method at `FALSE_ALARMS` for all together (Holm 1979)."""
    rejected = [False] * len(probabilities)
    for rank, place in enumerate(sorted(range(len(probabilities)), key=lambda place: probabilities[place])):
        if probabilities[place] > FALSE_ALARMS / (len(probabilities) - rank):
            break
        rejected[place] = True
    return rejected


# --- verdicts and circumstances ---------------------------------------------------------------------------------------


def _compare_verdicts(name: str, now: Sequence[HostRecord], before: Sequence[Sequence[HostRecord]]) -> VerdictChange:
    worst = max(now, key=lambda host: WORST_LAST.index(host.verdict.outcome))
    return VerdictChange(
        instance_type=name,
        before=tuple(worst_outcome(host.verdict.outcome for host in run) for run in before),
        now=worst.verdict.outcome,
        sentence=worst.verdict.sentence,
    )


def _compare_circumstances(
    name: str, now: Sequence[HostRecord], before: Sequence[HostRecord]
) -> list[CircumstanceChange]:
    """List what the hosts differ in besides their clocks; what is unknown on either side is left out."""
    changes: list[CircumstanceChange] = []
    for what, value_of in _CIRCUMSTANCES.items():
        new, old = (_list_values(hosts, value_of) for hosts in (now, before))
        if new and old and new != old:
            changes.append(CircumstanceChange(instance_type=name, what=what, before=old, now=new))
    return changes


def _list_values(hosts: Iterable[HostRecord], value_of: Callable[[HostRecord], str | None]) -> tuple[str, ...]:
    return tuple(sorted({value for host in hosts if (value := value_of(host)) is not None}))


def _driver_version(host: HostRecord) -> str | None:
    driver = host.facts.versioned_driver if host.facts else None
    return driver.version if driver else None


_CIRCUMSTANCES: Mapping[str, Callable[[HostRecord], str | None]] = {
    "kernel": lambda host: host.facts.kernel if host.facts else None,
    "driver": _driver_version,
    "chrony": lambda host: host.facts.chrony_version if host.facts else None,
    "system": lambda host: host.facts.os if host.facts else None,
    "image": lambda host: host.image,
    "zone": lambda host: host.zone,
}
