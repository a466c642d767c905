"""List baselines, and add and remove their runs."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Query

from harness.runs.baseline_changes import add_to_baseline, remove_from_baseline
from harness.service.auditing import write_audit
from harness.service.authentication import Context, Operator, Reader
from harness.service.run_documents import BaselineItem, BaselineName, BaselineRuns, RemovedRuns, baseline_items
from harness.service.run_routes import RunName
from harness.store.baselines import Baselines

router = APIRouter(prefix="/v1/baselines", tags=["baselines"])

Name = Annotated[BaselineName, Path(description="The name of a baseline.")]


@router.get("")
def list_baselines(
    context: Context, _caller: Reader, name: Annotated[BaselineName | None, Query(description="Only this one.")] = None
) -> list[BaselineItem]:
    """List the runs of all baselines, by name, the oldest first."""
    return baseline_items(Baselines(context.ledger.database).list_lines(name))


@router.post("/{name}/runs")
def add_runs(name: Name, runs: BaselineRuns, context: Context, caller: Operator) -> list[BaselineItem]:
    """Add ended runs to a baseline, which is made where there is none; return all of its runs."""
    lines = add_to_baseline(name, runs.runs, context.ledger, by=caller.name)
    write_audit(context, caller, "baseline.add", f"{name}: {' '.join(runs.runs)}", HTTPStatus.OK)
    return baseline_items(lines)


@router.delete("/{name}/runs/{run}")
def remove_run(name: Name, run: RunName, context: Context, caller: Operator) -> RemovedRuns:
    """Remove a run from a baseline; the run itself stays."""
    removed = remove_from_baseline(name, [run], context.ledger)
    write_audit(context, caller, "baseline.remove", f"{name}: {' '.join(removed)}", HTTPStatus.OK)
    return RemovedRuns(name=name, runs=removed)


@router.delete("/{name}")
def remove_baseline(name: Name, context: Context, caller: Operator) -> RemovedRuns:
    """Remove a baseline; its runs themselves stay."""
    removed = remove_from_baseline(name, (), context.ledger)
    write_audit(context, caller, "baseline.remove", name, HTTPStatus.OK)
    return RemovedRuns(name=name, runs=removed)
