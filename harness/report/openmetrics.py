"""Write the report in the OpenMetrics text format 1.0, for a store of time series: one gauge for each figure."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from harness import units
from harness.model import ClockQuality, HostRecord, Outcome, RunRecord
from harness.model.disturbances import DisturbanceFigures
from harness.model.quality import Distribution, ProfileStatus
from harness.untrusted.plain_text import printable

CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A metric: its name without a suffix, its type and unit in the words of OpenMetrics, and what it means."""

    name: str
    kind: str
    unit: str
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A value of a metric, with its labels."""

    metric: Metric
    labels: Labels
    value: float


def _metric(name: str, meaning: str, *, unit: str = "", kind: str = "gauge") -> Metric:
    return Metric(name=f"ptp_harness_{name}", kind=kind, unit=unit, meaning=meaning)


RUN = _metric("run", "The run that the other metrics are of.", kind="info")
STARTED = _metric("run_start_timestamp_seconds", "Start of the run, since the epoch.", unit="seconds")
HOST = _metric("host", "What a host is.", kind="info")
OUTCOME = _metric("host_outcome", "The verdict about a host.", kind="stateset")
HELD = _metric("limit_held", "Whether a limit was held: 1, 0, or no sample where that was not decided.")
PROFILE = _metric("profile_status", "What the measurement shows of a profile.", kind="stateset")
OFFSET = _metric("offset_seconds", "System clock minus PHC.", unit="seconds")
READ_DELAY = _metric("read_delay_seconds", "Time of the fastest reading of each slot.", unit="seconds")
BOUND = _metric("chrony_bound_seconds", "Chrony's bound on the distance from its source.", unit="seconds")
ERROR_BOUND = _metric("error_bound_seconds", "Chrony's bound and the device's, from UTC.", unit="seconds")
FREQUENCY = _metric("frequency_ratio", "Chrony's correction of the oscillator.", unit="ratio")
CONVERGENCE = _metric("convergence_seconds", "From the start of chronyd until it converged.", unit="seconds")
SLOTS = _metric("slots", "Slots that were to be sampled.")
SEEN = _metric("slots_seen", "Slots that have an offset.")
GAPS = _metric("gaps", "Gaps between slots that have an offset.")
STEPS = _metric("steps", "Lasting steps of the offset.")
OUTLIERS = _metric("outliers", "Single offsets far from their neighbours.")
TDEV = _metric("tdev_seconds", "Time deviation at an averaging time.", unit="seconds")
MTIE = _metric("mtie_seconds", "Maximum time interval error at an observation interval.", unit="seconds")
SAMPLER = _metric("sampler_cpu_ratio", "Processor time of the sampler, as a share of a core.", unit="ratio")
DISTURBED_OFFSET = _metric("disturbed_offset_seconds", "Largest offset under a disturbance.", unit="seconds")
DISTURBED_BOUND = _metric("disturbed_bound_seconds", "Largest bound under a disturbance.", unit="seconds")
DISTURBED_COMPARED = _metric("disturbed_compared", "Seconds of a disturbance in which a reading met chrony's bound.")
DISTURBED_REFUTED = _metric("disturbed_refuted", "Those in which the reading lies outside of the bound.")
DISTURBED_RETURN = _metric("disturbed_return_seconds", "From a disturbance's end until it was over.", unit="seconds")
ADEV = _metric("adev_ratio", "Allan deviation at an averaging time.", unit="ratio")


def report(record: RunRecord) -> str:
    """Write the run as OpenMetrics text, the samples of each metric together; it ends with `# EOF`."""
    points = [*_run_points(record), *(point for host in record.hosts for point in _host_points(record, host))]
    families: dict[Metric, list[Point]] = {}
    for point in points:
        if math.isfinite(point.value):
            families.setdefault(point.metric, []).append(point)
    lines = [line for metric, members in families.items() for line in _write_family(metric, members)]
    return "\n".join([*lines, "# EOF"]) + "\n"


def _run_points(record: RunRecord) -> Iterator[Point]:
    labels = {"run": record.run}
    yield Point(metric=RUN, labels=labels | {"bench": record.bench, "version": record.version or ""}, value=1)
    started = units.parse_utc(record.started)
    if started is not None:
        yield Point(metric=STARTED, labels=labels, value=started.timestamp())


def _host_points(record: RunRecord, host: HostRecord) -> Iterator[Point]:
    labels = {"run": record.run, "host": host.name, "instance_type": host.instance_type}
    facts = host.facts
    driver = facts.versioned_driver if facts else None
    described = {
        "reason": host.verdict.reason.value,
        "region": host.region,
        "zone": host.zone,
        "image": host.image,
        "kernel": facts.kernel if facts else None,
        "driver": driver.name if driver else None,
        "driver_version": driver.version if driver else None,
        "chrony": facts.chrony_version if facts else None,
    }
    yield Point(metric=HOST, labels=labels | {name: value or "" for name, value in described.items()}, value=1)
    yield from _states(OUTCOME, labels, Outcome, host.verdict.outcome)
    for finding in host.verdict.findings:
        if finding.held is not None:
            limit = {"quantity": finding.quantity, "statistic": finding.statistic}
            yield Point(metric=HELD, labels=labels | limit, value=float(finding.held))
    if host.quality is not None:
        yield from _quality_points(host.quality, labels)
    for disturbed in host.disturbances:
        yield from _disturbance_points(disturbed, {**labels, "disturbance": disturbed.disturbance.value})


def _disturbance_points(figures: DisturbanceFigures, labels: Labels) -> Iterator[Point]:
    values = {
        DISTURBED_OFFSET: _scale(figures.largest_offset_ns, 1e-9),
        DISTURBED_BOUND: _scale(figures.largest_bound_ns, 1e-9),
        DISTURBED_COMPARED: figures.compared,
        DISTURBED_REFUTED: figures.refuted,
        DISTURBED_RETURN: figures.back_after_s,
    }
    yield from (Point(metric=name, labels=labels, value=value) for name, value in values.items() if value is not None)


def _quality_points(quality: ClockQuality, labels: Labels) -> Iterator[Point]:
    yield from _distribution(OFFSET, quality.offset_ns, labels, 1e-9)
    yield from _distribution(READ_DELAY, quality.read_delay_ns, labels, 1e-9)
    yield from _distribution(BOUND, quality.bound_ns, labels, 1e-9)
    yield from _distribution(ERROR_BOUND, quality.error_bound_ns, labels, 1e-9)
    yield from _distribution(FREQUENCY, quality.frequency_ppb, labels, 1e-9)
    single = {
        SLOTS: quality.slots,
        SEEN: quality.seen,
        GAPS: quality.gaps,
        STEPS: quality.step_count,
        OUTLIERS: quality.outliers,
        CONVERGENCE: quality.convergence_s,
        SAMPLER: quality.sampler_cpu_share,
    }
    yield from (Point(metric=name, labels=labels, value=value) for name, value in single.items() if value is not None)
    for point in quality.stability:
        at = {**labels, "tau_seconds": f"{point.tau_s:g}"}
        values = {TDEV: _scale(point.tdev_ns, 1e-9), MTIE: point.mtie_ns * 1e-9, ADEV: point.adev}
        yield from (
            Point(metric=metric, labels=at, value=value) for metric, value in values.items() if value is not None
        )
    for profile in quality.profiles:
        yield from _states(PROFILE, {**labels, "profile": profile.name}, ProfileStatus, profile.status)


def _distribution(metric: Metric, found: Distribution | None, labels: Labels, scale: float) -> Iterator[Point]:
    if found is None:
        return
    for statistic in ("mean", "std", "rms", "median_abs", "p99_abs", "max_abs"):
        value = getattr(found, statistic) * scale
        yield Point(metric=metric, labels={**labels, "statistic": statistic}, value=value)


def _states(metric: Metric, labels: Labels, states: Iterable[str], current: str) -> Iterator[Point]:
    """Yield the states of a stateset: 1 for the current one, 0 for the others."""
    for state in states:
        yield Point(metric=metric, labels={**labels, metric.name: str(state)}, value=float(state == current))


def _scale(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _write_family(metric: Metric, points: Iterable[Point]) -> Iterator[str]:
    yield f"# TYPE {metric.name} {metric.kind}"
    if metric.unit:
        yield f"# UNIT {metric.name} {metric.unit}"
    yield f"# HELP {metric.name} {metric.meaning}"
    suffix = "_info" if metric.kind == "info" else ""
    for point in points:
        labels = ",".join(f'{name}="{_escape(value)}"' for name, value in point.labels.items())
        yield f"{metric.name}{suffix}{{{labels}}} {point.value!r}"


def _escape(value: str) -> str:
    return printable(value).replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
