"""Tell the change of a figure from chance: by a t test of its logarithm, in which an expected spread counts.

Two measurements of one clock differ from run to run by more than the samples within a run tell, so the unit is the
measurement: one host in one run. The logarithm of a figure is compared with that of the earlier measurements of the
same type by a t test, in which what is known of the spread from run to run counts as `PRIOR_RUNS` further ones: few
runs alone do not tell their spread. A figure is worse if the test says so after Holm's correction over all figures of
all types (5 % false alarms in all), and if it is at least a quarter larger.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.analysis import student
from harness.model.disturbances import Disturbance

FALSE_ALARMS = 0.05
LEAST_RATIO = 1.25
PRIOR_RUNS = 8
PRIOR_SPREADS: Mapping[str, float] = {"lab": 0.71}
OTHER_SPREAD = 0.16
"""The spread of a figure from run to run (standard deviation of its logarithm) that counts as so many runs, by bench.

That of the lab was measured: ten equal runs of three types (tests/data/spread/lab.json, by benchmarks/spread.py); the
clocks of emulated cards on a busy machine differ much. That of other benches is one of simulated servos, until it is
measured on real instances.
"""


def prior_spread(bench: str) -> float:
    """Return the spread from run to run that is taken for a bench before any run shows it."""
    return PRIOR_SPREADS.get(bench, OTHER_SPREAD)


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureChange:
    """A figure of a type against earlier measurements: geometric means in `unit`, their ratio, and what the test says.

    `p`: the probability of such a difference, or a larger one, by chance. `visible_ratio`: the smallest ratio that the
    test could have seen. `measurements`: how many earlier ones there are. `disturbance`: what disturbed the clock; None
    for a figure of the undisturbed one.
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
    disturbance: Disturbance | None = None

    @property
    def ratio(self) -> float:
        return self.now / self.before


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureTest:
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
    disturbance: Disturbance | None = None

    @property
    def p_worse(self) -> float:
        """The probability that chance alone makes the figure so much larger."""
        return student.upper_tail((self.now - self.before) / self.spread, self.freedom)

    @property
    def p_better(self) -> float:
        """The probability that chance alone makes the figure so much smaller."""
        return student.upper_tail((self.before - self.now) / self.spread, self.freedom)


def compare_figure(
    name: str,
    figure: str,
    now: Sequence[float],
    before: Sequence[float],
    *,
    unit: str,
    prior: float = OTHER_SPREAD,
    disturbance: Disturbance | None = None,
) -> FigureTest:
    """Compare a figure with earlier measurements. All values are above 0; `prior`: the spread that is expected."""
    new, earlier = [math.log(value) for value in now], [math.log(value) for value in before]
    mean_before = math.fsum(earlier) / len(earlier)
    squares = math.fsum((value - mean_before) ** 2 for value in earlier)
    freedom = len(earlier) - 1 + PRIOR_RUNS
    variance = (squares + PRIOR_RUNS * prior**2) / freedom
    return FigureTest(
        instance_type=name,
        figure=figure,
        unit=unit,
        before=mean_before,
        now=math.fsum(new) / len(new),
        spread=math.sqrt(variance * (1 / len(new) + 1 / len(earlier))),
        freedom=freedom,
        measurements=len(earlier),
        disturbance=disturbance,
    )


def decide(tested: Sequence[FigureTest]) -> tuple[FigureChange, ...]:
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
            disturbance=each.disturbance,
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
