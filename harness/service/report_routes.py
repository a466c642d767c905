"""Serve reports of ended runs in every form, and comparisons of runs."""

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Query, Response

from harness.report.comparison_forms import ComparisonForm, render_comparison
from harness.report.exit_codes import exit_code_of
from harness.report.formats import Format, render
from harness.report.html.document_frame import POLICY
from harness.runs import run_comparison
from harness.runs.ended_runs import read_record
from harness.service.authentication import Context, Reader
from harness.service.ranged_files import INERT
from harness.service.run_documents import BaselineName
from harness.service.run_routes import RunName
from harness.store.baselines import DEFAULT

router = APIRouter(prefix="/v1/runs", tags=["reports"])

MEDIA_TYPES: Mapping[Format, str] = {
    Format.TEXT: "text/plain; charset=utf-8",
    Format.JSON: "application/json",
    Format.YAML: "application/yaml",
    Format.JUNIT: "application/xml",
    Format.MARKDOWN: "text/markdown; charset=utf-8",
    Format.HTML: "text/html; charset=utf-8",
    Format.OPENMETRICS: "application/openmetrics-text; version=1.0.0; charset=utf-8",
}
COMPARISON_MEDIA_TYPES: Mapping[ComparisonForm, str] = {
    ComparisonForm.TEXT: "text/plain; charset=utf-8",
    ComparisonForm.HTML: "text/html; charset=utf-8",
    ComparisonForm.JSON: "application/json",
    ComparisonForm.JUNIT: "application/xml",
}
PAGE_POLICY = f"{POLICY}; frame-ancestors 'none'"
"""What the page of a report may load and run, as the header of its answer: the page says the same of itself."""


@router.get(
    "/{run}/report",
    response_class=Response,
    responses={200: {"content": {media_type: {} for media_type in MEDIA_TYPES.values()}}},
)
def read_report(run: RunName, context: Context, _caller: Reader, form: Format = Format.TEXT) -> Response:
    """Return the report of a run that has ended (409 before), in one of the forms of `ptp-harness report --format`.

    The plots of html come from the run's evidence; the header X-Plots-Missing says why some are not there, if so.
    """
    record = read_record(run, context.ledger)
    headers = {**INERT, "X-Exit-Code": str(int(exit_code_of(record)))}
    with context.sources.work.room():
        plots, trouble = context.sources.collect_plots(record) if form is Format.HTML else ({}, None)
        content = render(record, form, plots)
    if form is Format.HTML:
        headers["Content-Security-Policy"] = PAGE_POLICY
    if trouble is not None:
        headers["X-Plots-Missing"] = _write_header(trouble)
    return Response(content, media_type=MEDIA_TYPES[form], headers=headers)


@router.get(
    "/{run}/diff",
    response_class=Response,
    responses={200: {"content": {media_type: {} for media_type in COMPARISON_MEDIA_TYPES.values()}}},
)
def compare(
    run: RunName,
    context: Context,
    _caller: Reader,
    base: Annotated[
        list[Annotated[str, Query(max_length=64)]] | None, Query(max_length=200, description="Earlier runs.")
    ] = None,
    baseline: Annotated[BaselineName, Query(description="The baseline whose runs are taken without `base`.")] = DEFAULT,
    form: ComparisonForm = ComparisonForm.JSON,
    all: Annotated[bool, Query(description="In text: every figure, not only what changed.")] = False,
) -> Response:
    """Compare a run with earlier ones: what got worse.

    The header X-Exit-Code has the exit code of `ptp-harness diff`: 1 where a verdict or a figure got worse, 3 where
    something could not be compared, else 0.
    """
    with context.sources.work.room():
        compared = run_comparison.compare_runs(run, base or (), context.ledger, baseline=baseline, all_figures=all)
        content = render_comparison(compared, form)
    code = run_comparison.exit_code_of_comparison(compared)
    headers = {**INERT, "X-Exit-Code": str(int(code))}
    if form is ComparisonForm.HTML:
        headers["Content-Security-Policy"] = PAGE_POLICY
    return Response(content, media_type=COMPARISON_MEDIA_TYPES[form], headers=headers)


def _write_header(text: str) -> str:
    """Write a text as the value of a header: printable ASCII alone."""
    return "".join(sign if " " <= sign <= "~" else "?" for sign in text)[:500]
