"""Write a comparison of runs, as text and as plain data."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from harness import units
from harness.analysis.comparison import CircumstanceChange, Comparison, VerdictChange
from harness.analysis.disturbance_changes import DisturbanceChange
from harness.analysis.figure_changes import FigureChange
from harness.report import table
from harness.untrusted.plain_text import printable

SCHEMA = 1


def document(comparison: Comparison, *, run: str, bases: Sequence[str]) -> dict[str, Any]:
    """Build a comparison as JSON-ready data. Members may be added within a schema number."""
    return {
        "schema": SCHEMA,
        "run": run,
        "bases": list(bases),
        "regressed": comparison.regressed,
        "verdicts": [
            asdict(change) | {"changed": change.changed, "regressed": change.regressed}
            for change in comparison.verdicts
        ],
        "disturbances": [
            asdict(change) | {"changed": change.changed, "regressed": change.regressed}
            for change in comparison.disturbances
        ],
        "figures": [asdict(change) | {"ratio": change.ratio} for change in comparison.figures],
        "circumstances": [asdict(change) for change in comparison.circumstances],
        "uncompared": list(comparison.uncompared),
    }


def summary(comparison: Comparison, *, run: str, bases: Sequence[str], all_figures: bool = False) -> str:
    """Write the verdicts, the disturbances and figures that changed (or all), and what else is different."""
    lines = [f"run {run} against {', '.join(bases)}"]
    lines += table.align_rows([("TYPE", "VERDICT", ""), *map(_verdict_row, comparison.verdicts)])
    disturbances = [change for change in comparison.disturbances if all_figures or change.changed]
    if disturbances:
        head = ("TYPE", "DISTURBANCE", "CHRONY'S BOUND", "CLOCK", "")
        lines += ["", *table.align_rows([head, *map(_disturbance_row, disturbances)])]
    shown = [change for change in comparison.figures if all_figures or change.worse or change.better]
    if shown:
        lines += ["", *table.align_rows([("TYPE", "FIGURE", "BEFORE", "NOW", "RATIO", ""), *map(_figure_row, shown)])]
    if power := describe_power(comparison):
        lines += ["", *power]
    lines += map(describe_circumstance, comparison.circumstances)
    lines += [f"not compared: {text}" for text in comparison.uncompared]
    return printable("\n".join(lines)) + "\n"


def describe_verdict(change: VerdictChange) -> str:
    """Say in one line what became of a type's verdict."""
    return _join(_verdict_row(change)[1:])


def describe_disturbance(change: DisturbanceChange) -> str:
    """Say in one line how a type fared under a disturbance."""
    _, name, bound, back, note = _disturbance_row(change)
    return _join((f"{name}: chrony's bound {bound}", f"the clock {back}", note))


def describe_bound(change: DisturbanceChange) -> str:
    """Say whether chrony's bound held, now and in the latest earlier run."""
    before, now = change.before[-1], change.now
    return f"{now} as before" if now is before else f"was {before}, is {now}"


def describe_return(change: DisturbanceChange) -> str:
    """Say whether the clock came back while it was watched, now and in the latest earlier run."""
    before, now = (("back" if back else "not back") for back in (change.back_before[-1], change.back_now))
    return f"{now} as before" if now == before else f"was {before}, is {now}"


def describe_figure(change: FigureChange) -> str:
    """Say in one line what became of a figure."""
    _, figure, before, now, *rest = _figure_row(change)
    return _join((f"{figure}: was {before}, is {now}", *rest))


def describe_circumstance(change: CircumstanceChange) -> str:
    """Say in one line what is different besides the clock."""
    return f"{change.instance_type}: {change.what} was {', '.join(change.before)}, is {', '.join(change.now)}"


def _join(parts: Sequence[str]) -> str:
    return printable(", ".join(part for part in parts if part))


def _verdict_row(change: VerdictChange) -> tuple[str, str, str]:
    if not change.changed:
        return change.instance_type, f"{change.now} as before", ""
    note = f"REGRESSION: {change.sentence}" if change.regressed else change.sentence
    return change.instance_type, f"was {change.before[-1]}, is {change.now}", note


def _disturbance_row(change: DisturbanceChange) -> tuple[str, str, str, str, str]:
    bound, back, note = describe_bound(change), describe_return(change), "REGRESSION" if change.regressed else ""
    return change.instance_type, change.disturbance.value, bound, back, note


def _figure_row(change: FigureChange) -> tuple[str, str, str, str, str, str]:
    note = "WORSE" if change.worse else "better" if change.better else ""
    probability = f"chance has {change.p:.1g}" if note else f"x{change.visible_ratio:.2g} would show"
    before, now = (units.with_unit(value, change.unit) for value in (change.before, change.now))
    return change.instance_type, change.figure, before, now, f"x{change.ratio:.2f}", f"{note} {probability}".strip()


def describe_power(comparison: Comparison) -> list[str]:
    """Say what could have been seen: with few earlier runs only large changes differ from chance."""
    lines: list[str] = []
    if usual := [change for change in comparison.figures if change.disturbance is None]:
        fewest = min(change.measurements for change in usual)
        note = ", a smaller one cannot be told from that between hosts" if fewest == 1 else ""
        lines.append(_describe_visible("figures", usual) + note)
    if comparison.disturbances:
        changed = sum(change.changed for change in comparison.disturbances)
        lines.append(f"{changed} of {len(comparison.disturbances)} answers under disturbances changed")
    if disturbed := [change for change in comparison.figures if change.disturbance is not None]:
        lines.append(_describe_visible("figures under disturbances", disturbed))
    return lines


def _describe_visible(what: str, figures: Sequence[FigureChange]) -> str:
    largest = max(change.visible_ratio for change in figures)
    fewest = min(change.measurements for change in figures)
    changed = sum(change.worse or change.better for change in figures)
    earlier = "1 earlier measurement" if fewest == 1 else f"{fewest} earlier measurements"
    return f"{changed} of {len(figures)} {what} changed; with {earlier} a change by x{largest:.2g} would have shown"
