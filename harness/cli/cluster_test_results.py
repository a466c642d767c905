"""Show a run of tests by what the evidence store holds of it, for `cluster results`."""

import threading
from json import loads
from pathlib import Path

import typer

from harness.cli import output
from harness.cluster.tier_coordinator import describe_progress
from harness.cluster.tier_report import DOCUMENT, SUMMARY, make_document, summarise
from harness.cluster.tier_store import TierStore
from harness.errors import ConflictError, ExitCode, SetupError
from harness.store.file_sets import fetch_files
from harness.store.object_store import open_store


def show_tests(run: str, folder: Path | None, evidence: str, *, json: bool) -> None:
    """Show a run of tests, and end with its exit code; return where the store has no run of tests of this name.

    `folder`: that its reports are fetched to. Raises ConflictError where it has none yet.
    """
    store = TierStore(run, open_store(evidence), threading.Event().wait)
    plan = store.read_plan()
    if plan is None:
        return
    written = None if folder is None else fetch_files(store.reports, folder, store.store, store.pause)
    if folder is not None and written is None:
        raise ConflictError(
            f"run {run} has not ended: its reports are written at its end",
            next_step=f"`ptp-harness cluster results {run}` so far",
        )
    for path in written or ():
        output.say(f"written: {path}")
    summary, document = store.read_report(SUMMARY), store.read_report(DOCUMENT)
    if summary is None or document is None:
        outcomes = describe_progress(store, plan)
        shown = make_document(run, outcomes, cancelled=False) | {"exit_code": int(ExitCode.NOT_CONCLUSIVE)}
        output.emit(shown | {"reports": None}) if json else output.show(summarise(run, outcomes))
        output.say("it goes on: its reports are written at its end")
        raise typer.Exit(ExitCode.NOT_CONCLUSIVE)
    try:
        left = dict(loads(document))
        code = ExitCode(int(left["exit_code"]))
    except (ValueError, KeyError, TypeError) as error:
        raise SetupError(
            f"{store.store.label} holds something else than the report of run {run}", next_step="see who wrote it"
        ) from error
    place = f"{store.store.label}/{store.reports.prefix}"
    output.emit(left | {"reports": place}) if json else output.show(f"{summary}reports: {place}")
    raise typer.Exit(code)
