"""List the forms of a comparison of runs: each has a name, and a function that turns the comparison into text."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from harness.analysis.comparison import Comparison
from harness.report import comparison_junit, comparison_text
from harness.report.html.comparison_page import render_comparison_page


class ComparisonForm(StrEnum):
    """Forms of a comparison: `text` for people, `html` with plots, `json` with all data, `junit` for a pipeline."""

    TEXT = "text"
    HTML = "html"
    JSON = "json"
    JUNIT = "junit"


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedRuns:
    """A comparison with the runs that it is of. `started`: when the run began; `all_figures`: also unchanged ones."""

    comparison: Comparison
    run: str
    started: str
    bases: Sequence[str]
    all_figures: bool = False


def render_comparison(compared: ComparedRuns, form: ComparisonForm) -> str:
    """Render the whole comparison in one form; its last line ends with a newline."""
    return _COMPARISON_WRITERS[form](compared)


def _as_json(compared: ComparedRuns) -> str:
    document = comparison_text.document(compared.comparison, run=compared.run, bases=compared.bases)
    return json.dumps(document, indent=2, default=str) + "\n"


_COMPARISON_WRITERS: Mapping[ComparisonForm, Callable[[ComparedRuns], str]] = {
    ComparisonForm.TEXT: lambda compared: comparison_text.summary(
        compared.comparison, run=compared.run, bases=compared.bases, all_figures=compared.all_figures
    ),
    ComparisonForm.HTML: lambda compared: render_comparison_page(
        compared.comparison, run=compared.run, bases=compared.bases, started=compared.started
    ),
    ComparisonForm.JSON: _as_json,
    ComparisonForm.JUNIT: lambda compared: comparison_junit.report(
        compared.comparison, run=compared.run, bases=compared.bases, started=compared.started
    ),
}
