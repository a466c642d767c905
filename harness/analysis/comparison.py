"""Compare a run with earlier ones, type by type: verdicts that changed, and figures that got worse by more than chance.

What is chance is decided for the figures of all types together (`figure_changes`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.analysis.disturbance_changes import DisturbanceChange, compare_disturbances
from harness.analysis.figure_changes import OTHER_SPREAD, FigureChange, FigureTest, compare_figure, decide
from harness.model import ClockQuality, HostRecord, Outcome
from harness.model.outcomes import WORST_LAST, worst_outcome


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
    disturbances: tuple[DisturbanceChange, ...]
    figures: tuple[FigureChange, ...]
    circumstances: tuple[CircumstanceChange, ...]
    uncompared: tuple[str, ...]

    @property
    def regressed(self) -> bool:
        """Whether a verdict or a figure got worse, or a bound that held under a disturbance is refuted."""
        return (
            any(change.regressed for change in self.verdicts)
            or any(change.regressed for change in self.disturbances)
            or any(change.worse for change in self.figures)
        )


def compare_runs(
    now: Sequence[HostRecord], before: Sequence[Sequence[HostRecord]], *, spread: float = OTHER_SPREAD
) -> Comparison:
    """Compare the hosts of a run with those of earlier runs, the oldest run first, type by type.

    `spread`: that from run to run which is expected, as `prior_spread` returns it.
    """
    types = dict.fromkeys(host.instance_type for host in now)
    verdicts: list[VerdictChange] = []
    circumstances: list[CircumstanceChange] = []
    disturbances: list[DisturbanceChange] = []
    uncompared: list[str] = []
    tested: list[FigureTest] = []
    for name in types:
        hosts = [host for host in now if host.instance_type == name]
        runs = [chosen for run in before if (chosen := [host for host in run if host.instance_type == name])]
        if not runs:
            uncompared.append(f"{name}: no earlier run has this type")
            continue
        verdicts.append(_compare_verdicts(name, hosts, runs))
        earlier = [host for run in runs for host in run]
        circumstances += _compare_circumstances(name, hosts, earlier)
        figures, reason = _compare_figures(name, hosts, earlier, spread)
        disturbed = compare_disturbances(name, hosts, runs, spread=spread)
        tested += [*figures, *disturbed.tested]
        disturbances += disturbed.changes
        uncompared += [f"{name}: {text}" for text in (reason, *disturbed.uncompared) if text]
    missing = dict.fromkeys(host.instance_type for run in before for host in run if host.instance_type not in types)
    uncompared += [f"{name}: not in this run" for name in missing]
    return Comparison(
        verdicts=tuple(verdicts),
        disturbances=tuple(disturbances),
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
) -> tuple[list[FigureTest], str]:
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


def _comparable(quality: ClockQuality, reference: ClockQuality) -> bool:
    return (quality.definition, quality.interval_s) == (reference.definition, reference.interval_s)


def _leave_out_middle(figures: Sequence[str]) -> list[str]:
    """Leave out TDEV and MTIE but at the first and the last time: what lies between says little more."""
    kept: list[str] = [figure for figure in figures if " at " not in figure]
    for curve in ("TDEV at", "MTIE at"):
        at_times = [figure for figure in figures if figure.startswith(curve)]
        kept += dict.fromkeys([*at_times[:1], *at_times[-1:]])
    return kept


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
