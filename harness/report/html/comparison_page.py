"""Write a comparison of runs as one page: what got worse first, then verdicts, disturbances, figures, and all else."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from harness import units
from harness.analysis.comparison import Comparison, VerdictChange
from harness.analysis.disturbance_changes import DisturbanceChange
from harness.analysis.figure_changes import FigureChange
from harness.model import Outcome
from harness.report import comparison_text
from harness.report.html import explanations
from harness.report.html.axes import Axis
from harness.report.html.charts import Title
from harness.report.html.clock_plots import figure
from harness.report.html.document_frame import write_document
from harness.report.html.host_section import outcome_badge
from harness.report.html.markup import EMPTY, Markup, element, items, join, table
from harness.report.html.ratio_chart import BETTER, UNCHANGED, WORSE, RatioRow, choose_ratio_axis, draw_ratios

_MOST_BASES, _MOST_NAMED = 3, 3
"""How many earlier runs the title names, and how many figures the finding of a plot."""


def render_comparison_page(comparison: Comparison, *, run: str, bases: Sequence[str], started: str) -> str:
    """Write the comparison of a run with earlier ones. `started`: when the run began (UTC, ISO 8601)."""
    against = ", ".join(bases) if len(bases) <= _MOST_BASES else f"{len(bases)} earlier runs"
    title = f"Run {run} against {against}"
    line = f"{started} \N{MIDDLE DOT} earlier runs: {', '.join(bases)}"
    return write_document(
        title,
        element("header", element("h1", title), element("p", line, class_="small")),
        comparison_sections(comparison),
    )


def comparison_sections(comparison: Comparison) -> Markup:
    """Write what a comparison shows: the result first, then each part of it that there is."""
    return join(
        [
            _result_section(comparison),
            _verdict_section(comparison.verdicts),
            _disturbance_section(comparison.disturbances),
            _figure_section(comparison),
            _circumstance_section(comparison),
            _uncompared_section(comparison.uncompared),
        ]
    )


# --- what got worse ---------------------------------------------------------------------------------------------------


def _result_section(comparison: Comparison) -> Markup:
    tiles = [
        element("li", element("b", str(number)), f" {text}", class_=f"tile {class_}")
        for number, text, class_ in _count_results(comparison)
    ]
    worse = [*_list_regressions(comparison)]
    message = (
        element("div", element("strong", "It got worse:"), items(worse), class_="warning", role="note")
        if worse
        else element("p", _describe_no_regression(comparison), class_="sentence")
    )
    return element("section", element("h2", "Result"), element("ul", *tiles, class_="tiles"), message, id="result")


def _count_results(comparison: Comparison) -> Iterator[tuple[int, str, str]]:
    """Count what changed: a number, its name, and its class."""
    lost = sum(change.regressed for change in comparison.verdicts)
    yield lost, f"{_noun(lost, 'verdict')} worse", "fail"
    if comparison.disturbances:
        refuted = sum(change.regressed for change in comparison.disturbances)
        yield refuted, f"{_noun(refuted, 'bound')} newly refuted", "fail"
    worse = sum(change.worse for change in comparison.figures)
    yield worse, f"{_noun(worse, 'figure')} worse", "fail"
    better = sum(change.better for change in comparison.figures)
    yield better, f"{_noun(better, 'figure')} better", "pass"
    yield len(comparison.uncompared), "not compared", "inconclusive"


def _noun(number: int, noun: str) -> str:
    return noun if number == 1 else f"{noun}s"


def _list_regressions(comparison: Comparison) -> Iterator[str]:
    for verdict in comparison.verdicts:
        if verdict.regressed:
            yield f"{verdict.instance_type}: was {verdict.before[-1]}, is {verdict.now}: {verdict.sentence}"
    for disturbed in comparison.disturbances:
        if disturbed.regressed:
            name = f"{disturbed.instance_type}: {disturbed.disturbance}"
            yield f"{name}: chrony's bound held in every earlier run, and is refuted now"
    for change in _sort_figures(comparison.figures):
        if change.worse:
            yield (
                f"{change.instance_type}: {change.figure} was {_value(change.before, change)}, is "
                f"{_value(change.now, change)} (x{change.ratio:.2f}); chance alone does that with a probability of "
                f"{change.p:.1g}"
            )


def _describe_no_regression(comparison: Comparison) -> str:
    if comparison.uncompared:
        return "Nothing that could be compared got worse. Some could not be compared: see below."
    return "Nothing got worse."


# --- verdicts and disturbances ----------------------------------------------------------------------------------------


def _verdict_section(verdicts: Sequence[VerdictChange]) -> Markup:
    if not verdicts:
        return EMPTY
    head = ("type", "verdict", "change", "earlier runs", "why")
    rows = map(_verdict_row, sorted(verdicts, key=lambda change: (not change.regressed, not change.changed)))
    note = "The verdict of a type is that of its worst host. A type that passed in the latest earlier run, and is now "
    note += "shown to fail or to have no clock, got worse."
    verdict_table = table("verdicts by type", head, rows, class_="findings")
    return element(
        "section", element("h2", "Verdict by type"), verdict_table, element("p", note, class_="small"), id="verdicts"
    )


def _verdict_row(change: VerdictChange) -> tuple[str, ...]:
    status = _answer(
        "got worse" if change.regressed else "changed" if change.changed else "as before", change.regressed
    )
    return change.instance_type, outcome_badge(change.now.value), status, _list_earlier(change.before), change.sentence


def _list_earlier(outcomes: Sequence[Outcome]) -> Markup:
    """Write the verdict of the latest earlier run, and how often each verdict was there in all of them."""
    latest = outcome_badge(outcomes[-1].value)
    if len(outcomes) == 1:
        return latest
    counts = ", ".join(f"{number} {outcome}" for outcome, number in Counter(outcomes).most_common())
    return join([latest, element("small", f"the latest of {len(outcomes)}: {counts}")])


def _answer(text: str, worse: bool, *, better: bool = False) -> Markup:
    """Write an answer, in its colour where there is style."""
    return element("span", text, class_=f"held {'fail' if worse else 'pass' if better else 'muted'}")


def _disturbance_section(changes: Sequence[DisturbanceChange]) -> Markup:
    if not changes:
        return EMPTY
    head = ("type", "disturbance", "change", "chrony's bound", "clock")
    rows = [
        (
            change.instance_type,
            change.disturbance.value,
            _answer(
                "got worse" if change.regressed else "changed" if change.changed else "as before", change.regressed
            ),
            comparison_text.describe_bound(change),
            comparison_text.describe_return(change),
        )
        for change in sorted(changes, key=lambda change: (not change.regressed, not change.changed))
    ]
    return element(
        "section",
        element("h2", "Under disturbances"),
        table("disturbances by type", head, rows, class_="findings"),
        element("p", explanations.DISTURBANCES_COMPARED, class_="small"),
        id="disturbances",
    )


# --- figures ----------------------------------------------------------------------------------------------------------


def _figure_section(comparison: Comparison) -> Markup:
    if not comparison.figures:
        return EMPTY
    head = ("type", "figure", "change", "before", "now", "ratio", "by chance")
    changed = [change for change in _sort_figures(comparison.figures) if change.worse or change.better]
    rows = [
        (change.instance_type, change.figure, _figure_answer(change), *_figure_values(change), f"{change.p:.1g}")
        for change in changed
    ]
    x = choose_ratio_axis(map(_ratio_row, comparison.figures))
    types = dict.fromkeys(change.instance_type for change in _sort_figures(comparison.figures))
    plots = [
        _ratio_figure(name, [change for change in comparison.figures if change.instance_type == name], x)
        for name in types
    ]
    return element(
        "section",
        element("h2", "Figures"),
        table("figures that changed", head, rows, numeric=range(3, 7), class_="compare")
        if rows
        else element("p", "No figure changed by more than chance could make."),
        element("h3", "What could have been seen"),
        items(comparison_text.describe_power(comparison)),
        element("p", explanations.CHANCE, class_="small"),
        element("h3", "Every figure, now against before"),
        element("p", explanations.RATIOS, class_="small"),
        element("div", *plots, class_="figures"),
        id="figures",
    )


def _sort_figures(figures: Iterable[FigureChange]) -> list[FigureChange]:
    """Sort figures: the worse ones first, then the better ones, by how sure the change is."""
    return sorted(figures, key=lambda change: (not change.worse, not change.better, change.p if change.worse else 0.0))


def _ratio_figure(name: str, changes: Sequence[FigureChange], x: Axis) -> Markup:
    title = Title(name=name, finding=_finding(changes))
    svg = draw_ratios(title, [_ratio_row(change) for change in changes], x)
    head = ("figure", "change", "before", "now", "ratio", "would show from", "by chance", "measured before")
    rows = [
        (
            change.figure,
            _figure_answer(change),
            *_figure_values(change),
            f"x{change.visible_ratio:.3g}",
            f"{change.p:.1g}",
            str(change.measurements),
        )
        for change in changes
    ]
    numbers = table(f"figures of {name}", head, rows, numeric=range(2, 8), class_="compare")
    return figure(title, svg, "", numbers)


def _finding(changes: Sequence[FigureChange]) -> str:
    """Say which figures of a type got worse or better."""
    texts = []
    for text, chosen in (
        ("got worse", [change for change in _sort_figures(changes) if change.worse]),
        ("got better", [change for change in changes if change.better]),
    ):
        if chosen:
            named = ", ".join(f"{change.figure} x{change.ratio:.2f}" for change in chosen[:_MOST_NAMED])
            more = f", and {len(chosen) - _MOST_NAMED} more" if len(chosen) > _MOST_NAMED else ""
            texts.append(f"{len(chosen)} of {len(changes)} figures {text}: {named}{more}.")
    return " ".join(texts) or f"none of {len(changes)} figures changed by more than chance could make."


def _ratio_row(change: FigureChange) -> RatioRow:
    key = WORSE if change.worse else BETTER if change.better else UNCHANGED
    return RatioRow(name=change.figure, ratio=change.ratio, visible_ratio=change.visible_ratio, key=key)


def _figure_answer(change: FigureChange) -> Markup:
    text = "worse" if change.worse else "better" if change.better else "none"
    return _answer(text, change.worse, better=change.better)


def _figure_values(change: FigureChange) -> tuple[str, str, str]:
    return _value(change.before, change), _value(change.now, change), f"x{change.ratio:.3g}"


def _value(value: float, change: FigureChange) -> str:
    return units.with_unit(value, change.unit)


# --- what else --------------------------------------------------------------------------------------------------------


def _circumstance_section(comparison: Comparison) -> Markup:
    head = ("type", "what", "before", "now")
    rows = [
        (change.instance_type, change.what, ", ".join(change.before), ", ".join(change.now))
        for change in comparison.circumstances
    ]
    return element(
        "section",
        element("h2", "What else is different"),
        table("what else is different", head, rows)
        if rows
        else element("p", "Nothing that was observed of both: kernel, driver, chrony, system, image, zone."),
        id="circumstances",
    )


def _uncompared_section(uncompared: Sequence[str]) -> Markup:
    return element(
        "section",
        element("h2", "What could not be compared"),
        items(uncompared) or element("p", "Nothing: every type and its figures could be compared."),
        id="uncompared",
    )
