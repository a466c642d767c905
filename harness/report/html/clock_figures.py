"""Write the table of a clock's figures: each with its value, and what it means."""

from collections.abc import Iterator

from harness.model.quality import ClockQuality, Distribution
from harness.report.html import values
from harness.report.html.axes import finite
from harness.report.html.markup import Markup, table

Row = tuple[str, str, str]

_MOST_STEPS = 5


def figures_table(quality: ClockQuality, host: str) -> Markup:
    """Write the figures of a host's clock."""
    head = ("figure", "value", "what it says")
    return table(f"figures of {host}", head, _rows(quality), class_="figures")


def _rows(quality: ClockQuality) -> Iterator[Row]:
    yield from _coverage_rows(quality)
    yield from _offset_rows(quality)
    yield from _bound_rows(quality)
    yield from _event_rows(quality)
    yield from _frequency_rows(quality)
    yield from _sampler_rows(quality)


def _coverage_rows(quality: ClockQuality) -> Iterator[Row]:
    seen, slots = finite(quality.seen), finite(quality.slots)
    share = values.percent(seen / slots if seen is not None and slots else None)
    yield (
        "measured",
        f"{quality.seen} of {quality.slots} intervals of {values.seconds(quality.interval_s)} ({share})",
        "Intervals that have an offset. All figures below are made of these.",
    )
    yield (
        "gaps",
        f"{quality.gaps}, the longest {values.seconds(quality.longest_gap_s)}" if quality.gaps else "none",
        "Runs of intervals without an offset. What the clock did in them was not observed.",
    )
    yield (
        "settling",
        f"the first {values.seconds(quality.settling_s)}" if quality.settling_s else "none",
        "Left out of all figures: the clock was still converging.",
    )


def _offset_rows(quality: ClockQuality) -> Iterator[Row]:
    offset = quality.offset_ns
    delay = quality.read_delay_ns
    uncertainty = values.plus_minus_ns(delay.median / 2)
    yield (
        "offset, by size",
        values.quantiles(offset),
        "System clock minus PHC, without its sign: half, 99 %, and all of the values are within these.",
    )
    yield (
        "offset, mean and spread",
        f"{values.ns(offset.mean)}, standard deviation {values.ns(offset.std)}",
        "A mean far from 0 is a constant error; the standard deviation is the scatter around it.",
    )
    yield (
        "read delay",
        f"median {values.ns(delay.median)}, 99 % within {values.ns(delay.p99_abs)}, largest {values.ns(delay.maximum)}",
        f"The time of a reading. Half of it is the offset's uncertainty: usually {uncertainty}.",
    )


def _bound_rows(quality: ClockQuality) -> Iterator[Row]:
    yield (
        "chrony's bound",
        _bound(quality.bound_ns),
        "The largest possible distance of the system clock from the time of its source.",
    )
    yield (
        "bound with the device's",
        _bound(quality.error_bound_ns),
        "The same, with the error bound that the PHC publishes: the largest possible distance from UTC.",
    )


def _event_rows(quality: ClockQuality) -> Iterator[Row]:
    largest = quality.steps[:_MOST_STEPS]
    listed = ", ".join(f"{values.ns(step.size_ns)} after {values.seconds(step.after_s)}" for step in largest)
    more = f", and {quality.step_count - len(largest)} more" if quality.step_count > len(largest) else ""
    yield (
        "steps",
        f"{quality.step_count}: {listed}{more}" if quality.step_count else "none",
        "Lasting changes of the offset from one interval to the next; the largest are listed.",
    )
    yield (
        "outliers",
        str(quality.outliers) if quality.outliers else "none",
        "Single offsets far from their neighbours, such as a reading that was interrupted.",
    )


def _frequency_rows(quality: ClockQuality) -> Iterator[Row]:
    frequency, oscillator = quality.frequency_ppb, quality.oscillator
    yield (
        "frequency correction",
        values.NOT_OBSERVED
        if frequency is None
        else f"median {values.ppb(frequency.median)}, between extremes "
        f"{values.ppb(frequency.maximum - frequency.minimum)}",
        "How much chrony speeds up or slows down the host's oscillator.",
    )
    yield (
        "convergence",
        values.seconds(quality.convergence_s),
        "From the start of chronyd until its clock was synchronised.",
    )
    yield (
        "free oscillator",
        values.NOT_OBSERVED
        if oscillator is None
        else f"{values.ppb(oscillator.frequency_ppb)} +- {values.ppb(oscillator.uncertainty_ppb)}, residual "
        f"{values.ns(oscillator.residual_ns)}",
        "How much faster than the PHC the uncorrected oscillator runs, and its scatter around that: what the clock "
        "would gain if it lost its reference.",
    )


def _sampler_rows(quality: ClockQuality) -> Iterator[Row]:
    share = finite(quality.sampler_cpu_share)
    yield (
        "the measurement itself",
        values.NOT_OBSERVED if share is None else f"{values.percent(share)} of a core",
        "Processor time that the sampler and its programs took on the host: the smaller it is, the less the "
        "measurement can have disturbed the clock.",
    )


def _bound(distribution: Distribution | None) -> str:
    if distribution is None:
        return values.NOT_OBSERVED
    return (
        f"median {values.ns(distribution.median)}, 99 % within {values.ns(distribution.p99_abs)}, "
        f"largest {values.ns(distribution.maximum)}"
    )
