"""Sum up the verdicts of a type in one environment over time: how it stands now, and since when."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from harness.model import Outcome
from harness.model.outcomes import WORST_LAST, worst_outcome

CURRENT_WITHIN_NS = 90 * 86_400 * 10**9
"""An image that was last measured so long before the newest measurement of its type does not count any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Software and image that a clock depends on besides the machine. None: the record does not tell it."""

    image: str | None
    kernel: str | None
    driver: str | None

    @property
    def known(self) -> bool:
        """Whether the host told anything of itself."""
        return self.kernel is not None or self.driver is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedVerdict:
    """The verdict of a host, with the start of its run, ns since the epoch, and what 99 % of its figures are within."""

    run: str
    host: str
    started_ns: int
    outcome: Outcome
    offset_p99_ns: float | None = None
    bound_p99_ns: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a type stands in one environment.

    `latest`: the newest verdict. `since`: the first verdict of the unbroken series that `latest` ends, and `runs` its
    number of runs; an INCONCLUSIVE verdict breaks no series of others. `passed`: the newest PASS before this series, or
    `latest` itself. `conclusive`: of an INCONCLUSIVE `latest`, the newest verdict that is none.
    """

    latest: TimedVerdict
    since: TimedVerdict
    runs: int
    passed: TimedVerdict | None
    conclusive: TimedVerdict | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeStanding:
    """How a type stands: in each environment, the newest first, and all in all.

    `worst`: the worst of the newest environments of its images, in `environment`. `passes`: images with which it passes
    at present.
    """

    instance_type: str
    cells: Mapping[Environment, Standing]
    environment: Environment
    worst: Standing
    passes: tuple[str, ...]

    @property
    def outcome(self) -> Outcome:
        return self.worst.latest.outcome

    def environment_of(self, standing: Standing) -> Environment:
        """Find the environment in which a standing of this type is."""
        return next(environment for environment, each in self.cells.items() if each is standing)

    @property
    def images(self) -> int:
        """The number of images with which it was measured."""
        return len({environment.image for environment in self.cells})


def sum_up_series(verdicts: Sequence[TimedVerdict]) -> Standing:
    """Sum up the verdicts of a type in one environment, the oldest first, at least one.

    Of several hosts in one run, the worst counts.
    """
    newest_first = [_choose_worst(group) for _, group in groupby(reversed(verdicts), key=lambda each: each.run)]
    latest = newest_first[0]
    inconclusive = latest.outcome is Outcome.INCONCLUSIVE
    since, runs, passed, conclusive = latest, 0, None, None
    for verdict in newest_first:
        if verdict.outcome is latest.outcome:
            since, runs = verdict, runs + 1
        elif inconclusive or verdict.outcome is not Outcome.INCONCLUSIVE:
            conclusive = verdict if inconclusive else None
            break
    if latest.outcome is Outcome.PASS:
        passed = latest
    else:
        passed = next((verdict for verdict in newest_first if verdict.outcome is Outcome.PASS), None)
    return Standing(latest=latest, since=since, runs=runs, passed=passed, conclusive=conclusive)


def sum_up_type(instance_type: str, series: Mapping[Environment, Sequence[TimedVerdict]]) -> TypeStanding:
    """Sum up a type by its verdicts in each environment, at least one, each series with the oldest first.

    Verdicts of hosts that told nothing of themselves, such as one that was not launched, count in the environment in
    which their image was measured last.
    """
    cells = {environment: sum_up_series(verdicts) for environment, verdicts in _place_unknown(series).items()}
    ordered = sorted(cells.items(), key=lambda cell: cell[1].latest.started_ns, reverse=True)
    newest_ns = ordered[0][1].latest.started_ns
    current: dict[str | None, tuple[Environment, Standing]] = {}
    for environment, standing in ordered:
        if newest_ns - standing.latest.started_ns <= CURRENT_WITHIN_NS:
            current.setdefault(environment.image, (environment, standing))
    outcome = worst_outcome(standing.latest.outcome for _, standing in current.values())
    environment, worst = next(cell for cell in current.values() if cell[1].latest.outcome is outcome)
    passes = [image for image, (_, each) in current.items() if image and each.latest.outcome is Outcome.PASS]
    return TypeStanding(
        instance_type=instance_type,
        cells=dict(ordered),
        environment=environment,
        worst=worst,
        passes=tuple(passes),
    )


def _place_unknown(
    series: Mapping[Environment, Sequence[TimedVerdict]],
) -> Mapping[Environment, Sequence[TimedVerdict]]:
    placed = {environment: list(verdicts) for environment, verdicts in series.items() if environment.known}
    newest: dict[str | None, Environment] = {}
    for environment in sorted(placed, key=lambda each: placed[each][-1].started_ns):
        newest[environment.image] = environment
    for environment, verdicts in series.items():
        if environment in placed:
            continue
        target = newest.get(environment.image, environment)
        placed[target] = sorted([*placed.get(target, ()), *verdicts], key=lambda each: (each.started_ns, each.run))
    return placed


def order_environments(types: Iterable[TypeStanding]) -> list[Environment]:
    """List the environments of types, that of the newest measurement first.

    One that no host told anything of is left out where there is another one of its image: `find_cell` finds it there.
    """
    newest: dict[Environment, int] = {}
    for each in types:
        for environment, standing in each.cells.items():
            newest[environment] = max(newest.get(environment, 0), standing.latest.started_ns)
    known_images = {environment.image for environment in newest if environment.known}
    shown = [environment for environment in newest if environment.known or environment.image not in known_images]
    return sorted(shown, key=lambda environment: newest[environment], reverse=True)


def find_cell(standing: TypeStanding, environment: Environment, ordered: Sequence[Environment]) -> Standing | None:
    """Find how a type stands in one of the ordered environments; None: it was not measured there.

    A type of whose environment nothing is known stands in the newest one of its image.
    """
    cell = standing.cells.get(environment)
    if cell is not None or environment != next(each for each in ordered if each.image == environment.image):
        return cell
    return standing.cells.get(Environment(image=environment.image, kernel=None, driver=None))


def _choose_worst(verdicts: Iterable[TimedVerdict]) -> TimedVerdict:
    return max(verdicts, key=lambda verdict: WORST_LAST.index(verdict.outcome))
