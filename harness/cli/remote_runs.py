"""`runs` and `cancel` with a service."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice

from harness import units
from harness.cli import output
from harness.cli.cancel import describe_cancelling
from harness.cli.server_options import NamedServer, connect
from harness.client.client import Client
from harness.client.refusals import RefusedError
from harness.client.run_views import Run
from harness.errors import RequestError
from harness.model import Outcome
from harness.report.table import align_rows

_UNKNOWN = 404
_SECOND = timedelta(seconds=1)  # a service reads times to the second


def runs(
    server: NamedServer,
    *,
    types: Sequence[str] | None,
    failed: bool,
    since: str | None,
    min_offset: str | None,
    min_bound: str | None,
    sort: str,
    limit: int,
    before: str | None,
    after: str | None,
    json: bool,
) -> None:
    """List the runs of a service."""
    with connect(server) as client:
        earlier_than = None if before is None else client.run(before)
        listed = client.runs(
            types=types or (),
            since=since,
            until=None if earlier_than is None else (earlier_than.started + _SECOND).isoformat(),
            min_offset=min_offset,
            min_bound=min_bound,
            sort=str(sort),
        )
        chosen = (
            run
            for run in _list_behind(listed, after)
            if (not failed or _failed(run)) and (earlier_than is None or _is_before(run, earlier_than))
        )
        page = list(islice(chosen, limit + 1))
    more, page = len(page) > limit, page[:limit]
    if json:
        output.emit([_document(run) for run in page])
    elif page:
        output.show("\n".join(align_rows([_row(run) for run in page])))
    else:
        output.say(
            "no run matches"
            if types or failed or since or min_offset or min_bound or before or after
            else "no runs yet"
        )
    if more and not json:
        output.say(f"more runs: ptp-harness --server {server.url} runs --sort {sort} --after {page[-1].run}")


def cancel(server: NamedServer, *, name: str) -> None:
    """Cancel a task of a service."""
    with connect(server) as client:
        task = client.cancel(find_task(client, name))
    output.say(describe_cancelling(task.task, task.state, task.run))


def find_task(client: Client, name: str) -> str:
    """Return the task that a person means by its own name, the name of its run, or `last`. Raises RequestError."""
    try:
        return client.task(name).task
    except RefusedError as error:
        if error.status != _UNKNOWN:
            raise
    run = client.run(name)
    if run.task is None:
        raise RequestError(
            f"run {run.run} was begun by a command, and not submitted",
            next_step="Ctrl-C in the terminal of that command ends it",
        )
    return run.task


def find_run(client: Client, name: str) -> str:
    """Return the run that a person means by its own name, `last`, or the name of its task. Raises RequestError."""
    try:
        return client.run(name).run
    except RefusedError as error:
        if error.status != _UNKNOWN:
            raise
        unknown = error
    try:
        task = client.task(name)
    except RefusedError:
        raise unknown from None
    if task.run is None:
        raise RequestError(
            f"the run of task {name} has not begun: it is {task.state}" + (f": {task.problem}" if task.problem else ""),
            next_step=f"`ptp-harness cancel {name}` ends it" if not task.state.final else "submit it again",
        )
    return task.run


def _list_behind(listed: Iterable[Run], after: str | None) -> Iterator[Run]:
    """Yield the runs of a list behind a run. Raises RequestError where the list has no such run."""
    if after is None:
        yield from listed
        return
    behind = False
    for run in listed:
        if behind:
            yield run
        behind = behind or run.run == after
    if not behind:
        raise RequestError(f"run {after} is not in this list", next_step="leave --after out, to begin at the top")


def _is_before(run: Run, other: Run) -> bool:
    return run.started <= other.started and run.run != other.run


def _failed(run: Run) -> bool:
    return run.state == "died" or not {Outcome.FAIL, Outcome.INCONCLUSIVE}.isdisjoint(run.verdicts)


def _row(run: Run) -> tuple[str, ...]:
    figures = {"offset": run.offset_p99_ns, "bound": run.bound_p99_ns}
    return (
        run.run,
        f"{run.started:%Y-%m-%dT%H:%M:%SZ}",
        run.bench,
        run.state,
        ", ".join(f"{run.verdicts[outcome]} {outcome}" for outcome in Outcome if outcome in run.verdicts) or "-",
        ", ".join(f"{name} {units.ns(value)}" for name, value in figures.items() if value is not None) or "-",
        describe_kept(run) or "-",
        ", ".join(run.instance_types),
    )


def describe_kept(run: Run) -> str:
    """Say how many hosts a run keeps, and until when; empty when it keeps none."""
    if not run.kept:
        return ""
    if run.kept_until is None:
        return f"kept {run.kept}"
    now = datetime.now(UTC)
    return (
        f"kept {run.kept} {'until' if run.kept_until > now else 'whose lease ended'} "
        f"{units.clock_time(run.kept_until, now)} UTC"
    )


def _document(run: Run) -> dict[str, object]:
    return {
        "run": run.run,
        "bench": run.bench,
        "started": f"{run.started:%Y-%m-%dT%H:%M:%SZ}",
        "state": run.state,
        "instance_types": list(run.instance_types),
        "verdicts": {outcome.value: count for outcome, count in run.verdicts.items()},
        "offset_p99_ns": run.offset_p99_ns,
        "bound_p99_ns": run.bound_p99_ns,
        "kept": run.kept,
        "kept_until": None if run.kept_until is None else f"{run.kept_until:%Y-%m-%dT%H:%M:%SZ}",
        "task": run.task,
        "submitter": run.submitter,
    }
