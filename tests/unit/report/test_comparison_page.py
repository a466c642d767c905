"""The page of a comparison tells what got worse first and draws every figure; no text becomes a part of it."""

import math
import re
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.comparison import Comparison, VerdictChange
from harness.analysis.figure_changes import LEAST_RATIO, FigureChange
from harness.model import Outcome
from harness.report.html.charts import Title
from harness.report.html.comparison_page import render_comparison_page
from harness.report.html.ratio_chart import BETTER, UNCHANGED, WORSE, RatioRow, choose_ratio_axis, draw_ratios
from tests.doubles.compared_runs import AS_BEFORE, COMPARISON, LOST, REFUTED, SAME, WITHSTOOD
from tests.doubles.compared_runs import BETTER as BETTER_FIGURE
from tests.doubles.compared_runs import WORSE as WORSE_FIGURE
from tests.doubles.parsed_page import HOSTILE, Page, parse_page, spoil

EMPTY = Comparison(verdicts=(), disturbances=(), figures=(), circumstances=(), uncompared=())


def render(comparison: Comparison, bases: Sequence[str] = ("k3f9", "m2p7")) -> Page:
    return parse_page(render_comparison_page(comparison, run="h8w2", bases=bases, started="2026-11-21T04:00:00+00:00"))


def order(page: Page, *texts: str) -> bool:
    """Whether all texts are in the page, in this order."""
    places = [page.text.index(text) for text in texts]
    return places == sorted(places)


def test_what_got_worse_is_told_first_and_plainly() -> None:
    page = render(COMPARISON)
    assert page.text.startswith("Run h8w2 against k3f9, m2p7")
    for tile in ("1 verdict worse", "1 bound newly refuted", "1 figure worse", "1 figure better", "1 not compared"):
        assert tile in page.text
    assert order(
        page,
        "It got worse:",
        "c7g.large: was PASS, is FAIL: offset p99 1.2 us > 1 us",
        "c7g.large: cpu-load: chrony's bound held in every earlier run, and is refuted now",
        "c7g.large: offset p99 was 310 ns, is 1.2 us (x3.87); chance alone does that with a probability of 0.0002",
        "Verdict by type", "Under disturbances", "Figures", "What could have been seen",
        "2 of 3 figures changed; with 3 earlier measurements a change by x2.1 would have shown",
        "Every figure, now against before", "1 of 4 figures got worse: offset p99 x3.87.", "What else is different",
        "c7g.largekernel6.12.1077.2.4", "What could not be compared", "r8g.large: no earlier run has this type",
    )  # fmt: skip


def test_the_verdicts_that_got_worse_stand_above_those_that_changed_and_those_that_did_not() -> None:
    unknown = VerdictChange(instance_type="a", before=(Outcome.PASS,), now=Outcome.INCONCLUSIVE, sentence="lost")
    often = replace(LOST, before=(Outcome.FAIL, Outcome.PASS, Outcome.PASS))
    page = render(replace(EMPTY, verdicts=(AS_BEFORE, unknown, often)))
    cells = [text.strip() for tag, text in page.texts if tag in ("th", "td", "span", "small") and text.strip()]
    rows = cells[cells.index("why") + 1 :]
    assert rows == [
        "c7g.large", "FAIL", "got worse", "PASS", "the latest of 3: 2 PASS, 1 FAIL", "offset p99 1.2 us > 1 us",
        "a", "INCONCLUSIVE", "changed", "PASS", "lost",
        "m5.large", "FAIL", "as before", "FAIL", "no clock",
    ]  # fmt: skip


def test_a_comparison_without_a_regression_says_so() -> None:
    same = replace(EMPTY, verdicts=(AS_BEFORE,), figures=(SAME,))
    page = render(same)
    assert "Nothing got worse." in page.text
    assert "It got worse" not in page.text
    assert "No figure changed by more than chance could make." in page.text
    assert "None of 1 figures changed by more than chance could make." in page.text
    assert "Nothing that was observed of both: kernel" in page.text
    assert "Nothing: every type and its figures could be compared." in page.text
    some = render(replace(same, uncompared=("m5.large: not in this run",))).text
    assert "Nothing that could be compared got worse. Some could not be compared: see below." in some
    assert "Nothing got worse." not in some


def test_a_comparison_of_nothing_is_a_whole_page() -> None:
    page = render(EMPTY)
    assert (page.count("svg"), page.count("table")) == (0, 0)
    assert "bounds newly refuted" not in page.text


def test_each_type_has_a_plot_with_all_its_figures_the_worst_type_first() -> None:
    quiet = replace(SAME, instance_type="m7i.large")
    figures = (quiet, SAME, WORSE_FIGURE, BETTER_FIGURE)
    page = render(replace(EMPTY, figures=figures))
    captions = [data for tag, data in page.texts if tag == "strong"]
    assert captions == ["It got worse:", "c7g.large. ", "m7i.large. "]
    assert "1 of 3 figures got worse: offset p99 x3.87. 1 of 3 figures got better: convergence x0.25." in page.text
    names = [data for tag, data in page.texts if tag == "text" and data in ("offset RMS", "offset p99", "convergence")]
    assert names == ["offset RMS", "offset p99", "convergence", "offset RMS"]
    assert "offset p99worse310 ns1.2 usx3.87x2.10.00023" in page.text
    assert "offset RMSnone310 ns320 nsx1.03x2.10.43" in page.text


def test_of_many_changes_three_are_named_and_the_surest_first() -> None:
    changes = tuple(replace(WORSE_FIGURE, figure=f"f{number}", p=0.001 / (number + 1)) for number in range(5))
    page = render(replace(EMPTY, figures=changes))
    assert "5 of 5 figures got worse: f4 x3.87, f3 x3.87, f2 x3.87, and 2 more." in page.text


def test_the_title_names_few_earlier_runs_and_counts_many() -> None:
    many = render(EMPTY, bases=["a1", "b2", "c3", "d4"])
    assert many.text.startswith("Run h8w2 against 4 earlier runs")
    assert "earlier runs: a1, b2, c3, d4" in many.text


def test_disturbances_are_told_the_regressed_first() -> None:
    page = render(replace(EMPTY, disturbances=(WITHSTOOD, REFUTED)))
    cells = [text.strip() for tag, text in page.texts if tag in ("th", "td", "span") and text.strip()]
    assert cells[cells.index("clock") + 1 :] == [
        "c7g.large", "cpu-load", "got worse", "was held, is refuted", "was back, is not back",
        "c7g.large", "reboot", "as before", "held as before", "back as before",
    ]  # fmt: skip


def test_no_text_of_a_host_becomes_a_part_of_the_page() -> None:
    clean, page = render(COMPARISON), render(spoil(COMPARISON), bases=["k3f9" + HOSTILE])
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in clean.elements]
    assert page.text.count("<script src=//x>") > 20


# --- the plot of ratios -----------------------------------------------------------------------------------------------

TITLE = Title(name="a type", finding="what it shows")


def row(ratio: float, visible_ratio: float = 2.0) -> RatioRow:
    key = WORSE if ratio >= visible_ratio else BETTER if ratio <= 1 / visible_ratio else UNCHANGED
    return RatioRow(name=f"{ratio:g}", ratio=ratio, visible_ratio=visible_ratio, key=key)


def test_marks_lie_where_their_ratios_are_and_the_band_around_one() -> None:
    rows = [row(4.0), row(1.0), row(0.25)]
    axis = choose_ratio_axis(rows)
    drawn = draw_ratios(TITLE, rows, axis)
    one, double = axis.place(1.0), axis.place(2.0)
    bands = re.findall(r'<rect class="muted" x="([\d.]+)" y="[\d.]+" width="([\d.]+)" height="14"', drawn)
    assert [(float(x), float(width)) for x, width in bands] == [
        (pytest.approx(2 * one - double, abs=0.1), pytest.approx(2 * (double - one), abs=0.1))
    ] * 3
    bars = {class_: float(x) for class_, x in re.findall(r'<path class="(fail|pass)" d="M([\d.]+)', drawn)}
    assert bars == {"fail": pytest.approx(axis.place(4.0), abs=0.1), "pass": pytest.approx(axis.place(0.25), abs=0.1)}
    dots = re.findall(r'<circle class="p99" cx="([\d.]+)"', drawn)
    assert float(dots[-1]) == pytest.approx(one, abs=0.1)
    assert "x1<" in drawn


def test_the_legend_names_what_is_drawn() -> None:
    drawn = draw_ratios(TITLE, [row(1.0)], choose_ratio_axis([row(1.0)]))
    assert ("not told from chance" in drawn, "worse<" in drawn.partition("now against")[0]) == (True, False)


@given(st.lists(st.tuples(st.floats(), st.floats(min_value=LEAST_RATIO)), min_size=1, max_size=6))
def test_whatever_the_ratios_are_the_page_is_whole(pairs: list[tuple[float, float]]) -> None:
    figures = [change(ratio, visible) for ratio, visible in pairs if not math.isnan(ratio) and ratio > 0]
    render(replace(EMPTY, figures=tuple(figures)))


def change(ratio: float, visible_ratio: float) -> FigureChange:
    return replace(SAME, figure=str(ratio), before=1.0, now=ratio, visible_ratio=visible_ratio)
