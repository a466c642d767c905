"""Write a watched clock, and the incidents of a watch, as text for people."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness import units
from harness.model.incidents import Incident
from harness.model.watched import StreamState
from harness.report.table import align_rows
from harness.watch.service_level import ServiceLevel
from harness.watch.stream_view import MinuteView, StreamView

MARKS: Mapping[StreamState, str] = {
    StreamState.OK: ".",
    StreamState.DEGRADED: "-",
    StreamState.BROKEN: "#",
    StreamState.UNKNOWN: "?",
}
_BARS = "▁▂▃▄▅▆▇█"
_LEGEND = ", ".join(f"{mark} {state}" for state, mark in MARKS.items())


def write_view(view: StreamView, *, width: int) -> str:
    """Write a stream: its word, what to do, its figures, the hour or day as lines of characters, its changes."""
    word = view.word
    since = ""
    if word.since_ns is not None:
        lasted = units.duration(max(0.0, (view.at_ns - word.since_ns) / 1e9))
        since = f" since {_moment(word.since_ns)} ({lasted})"
    lines = [f"{word.stream}: {word.state.upper()}{since}"]
    reason = f"{word.reason}: " if word.reason else ""
    lines += textwrap.wrap(f"{reason}{word.sentence}", width, initial_indent="  ", subsequent_indent="    ")
    lines += [f"  next: {view.remedy}"] if view.remedy and word.state is not StreamState.OK else []
    lines += [f"  {_describe_owner(view)}"]
    lines += [f"  host: {', '.join(f'{name} {value}' for name, value in word.host.items())}"] if word.host else []
    lines += [f"  {line}" for line in describe_figures(word.latest)]
    lines += ["", *_draw(view, width), "", *(f"  {line}" for line in _describe_levels(view))]
    if view.day and view.day_figures:
        lines += [f"  {line}" for line in describe_quality(view.day_figures.get("quality"))]
    if view.changes:
        rows = [
            (
                _moment(line.change.tick * line.change.interval_ns),
                str(line.change.state),
                str(line.change.reason or ""),
                line.change.sentence + (" (told later)" if line.replayed else ""),
            )
            for line in view.changes
        ]
        lines += ["", "changes, the latest first:", *(f"  {row}" for row in align_rows(rows))]
    lines += ["", *(f"not judged as in a run: {note}" for note in view.notes)] if view.notes else []
    return "\n".join(lines)


def _moment(at_ns: int) -> str:
    return f"{units.utc_moment(at_ns):%Y-%m-%d %H:%M:%S} UTC"


def _describe_owner(view: StreamView) -> str:
    word = view.word
    held = f"sampled by worker {word.owner}, epoch {word.epoch}" if word.owner else "no worker has it"
    if word.wanted and word.wanted != word.owner:
        return f"{held}; it is to go to {word.wanted}"
    return held if word.wanted or not word.owner else f"{held}; no worker is to have it"


def describe_figures(figures: Mapping[str, Any]) -> Iterator[str]:
    """Describe the latest figures; what is no number of ours is left out: a worker of another version wrote it."""

    def find(name: str) -> float | None:
        value = figures.get(name)
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None

    offset, window, median, largest = (
        find(name) for name in ("offset_ns", "window_ns", "offset_median_ns", "offset_max_ns")
    )
    if offset is not None:
        uncertain = f" +- {units.ns(window / 2)}" if window is not None else ""
        of_minute = (
            ""
            if median is None or largest is None
            else f"; in 60 ticks median {units.ns(median)}, at most {units.ns(largest)}"
        )
        yield f"offset: {units.signed_ns(offset)}{uncertain}{of_minute}"
    bound, device = find("chrony_bound_ns"), find("device_bound_ns")
    if bound is not None:
        with_device = f", with the device's {units.ns(bound + device)}" if device else ""
        yield f"bound: {units.ns(bound)}{with_device}"
    follows, success = figures.get("follows_phc"), find("read_success")
    parts = [
        ""
        if not isinstance(follows, bool)
        else "chronyd follows the PHC"
        if follows
        else "chronyd does not follow the PHC"
    ]
    parts += [f"{units.with_unit(success, 'ratio')} of readings succeeded"] if success is not None else []
    parts += [f"{missed:.0f} of 600 ticks missed"] if (missed := find("missed_ticks")) else []
    if any(parts):
        yield ", ".join(part for part in parts if part)


def _draw(view: StreamView, width: int) -> list[str]:
    """Draw the minutes: a line of states and one of the greatest offsets; of a day, an hour each two lines."""
    lines = [f"{_moment(view.begin_s * 10**9)} to {_moment(view.end_s * 10**9)}, one character a minute ({_LEGEND}):"]
    largest = max((minute.offset_max_ns or 0 for minute in view.minutes), default=0)
    for start in range(0, len(view.minutes), 60):
        hour = view.minutes[start : start + 60]
        label = f"{units.utc_moment(hour[0].begin_s * 10**9):%H:%M}"
        lines += [f"  {label}  {''.join(map(_mark, hour))}"]
        if any(minute.offset_max_ns is not None for minute in hour):
            lines += [f"  {'':5}  {''.join(_bar(minute, largest) for minute in hour)}"]
    return [*lines, *([f"  the highest bar is an offset of {units.ns(largest)}"] if largest else [])]


def _mark(minute: MinuteView) -> str:
    return MARKS[minute.state]


def _bar(minute: MinuteView, largest: int) -> str:
    if minute.offset_max_ns is None:
        return " "
    return _BARS[min(len(_BARS) - 1, minute.offset_max_ns * len(_BARS) // max(largest, 1))]


def _describe_levels(view: StreamView) -> Iterator[str]:
    yield f"{'this day' if view.day else 'this hour'}: {describe_level(view.level)}"
    if view.month is not None:
        yield f"30 days: {describe_level(view.month)}"


def describe_level(level: ServiceLevel) -> str:
    """Say how long a clock was within its bound, and when it was worst."""
    shares = level.within_shares
    if shares is None:
        return "nothing was to be sampled"
    low, high = (units.with_unit(share, "ratio") for share in shares)
    within = f"within its bound {low}" if low == high else f"within its bound {low} to {high}"
    worst = level.worst_hour
    at_worst = "" if worst is None else f", worst hour from {_moment(worst.begin_s * 10**9)}"
    return (
        f"{within} of the time, {units.duration(level.outside_s)} outside{at_worst}; "
        f"readings could tell {units.with_unit(level.evidence_share or 0.0, 'ratio')} of the time"
    )


def describe_quality(quality: object) -> Iterator[str]:
    """Describe the quality of a day by its figures in the ledger; nothing where they are of another version."""
    if not isinstance(quality, dict):
        return
    try:
        offset, delay = quality["offset_ns"], quality["read_delay_ns"]
        yield (
            f"offset of the day: standard deviation {units.ns(offset['std'])}, "
            f"median {units.ns(offset['median_abs'])}, p99 {units.ns(offset['p99_abs'])}, "
            f"max {units.ns(offset['max_abs'])}; a reading took {units.ns(delay['median'])} (median); "
            f"{quality['step_count']} steps, {quality['gaps']} gaps"
        )
    except (KeyError, TypeError):
        return


def write_incidents(incidents: Sequence[Incident], now_ns: int, *, width: int) -> str:
    """Write incidents, the newest first, each with its streams and what to do."""
    lines = []
    for incident in incidents:
        until = incident.ended_ns
        lasted = units.duration(max(0.0, ((until or now_ns) - incident.began_ns) / 1e9))
        state = f"ended {_moment(until)} after {lasted}" if until else f"goes on for {lasted}"
        lines.append(f"{incident.incident}  {incident.cause}  since {_moment(incident.began_ns)}, {state}")
        lines += textwrap.wrap(incident.sentence, width, initial_indent="  ", subsequent_indent="    ")
        lines.append(f"  next: {incident.recommendation}")
    return "\n".join(lines)
