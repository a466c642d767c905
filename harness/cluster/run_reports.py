"""Write the reports of an ended run to the evidence store, beside its evidence, and fetch them from there."""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from harness.errors import HarnessError
from harness.model import RunRecord
from harness.model.plots import ClockPlots
from harness.report.formats import Format, render
from harness.store.evidence_folder import EvidenceFolder
from harness.store.evidence_parts import make_run_folder
from harness.store.file_sets import FileSet, fetch_files, read_checksums, write_files
from harness.store.ledger_lines import RunLine
from harness.store.object_store import Pause, open_store
from harness.system.settings import Settings
from harness.untrusted.names import RUN, fits

FORMS: Mapping[str, Format] = MappingProxyType(
    {"report.txt": Format.TEXT, "report.html": Format.HTML, "junit.xml": Format.JUNIT, "report.json": Format.JSON}
)
"""The files of a run's reports."""

MOST_PLOTTED_HOSTS = 100
"""Of a run with more hosts, the page of the coordinator has no plots: their evidence does not fit in its pod."""

RUN_FOLDER = rf"{RUN}-[0-9]{{8}}T[0-9]{{6}}\.[0-9]{{3}}Z|tests-{RUN}"
"""The folder of a run in an evidence store, as `make_run_folder` names it; of a run of tests, as `TierStore` does."""

CollectPlots = Callable[[RunRecord], tuple[Mapping[str, ClockPlots], str | None]]
"""Collects the plots of a run's hosts, and says why some are not there, if so."""


def locate_reports(run_folder: str) -> FileSet:
    """Name the reports of a run in an evidence store, by the run's folder there."""
    return FileSet(prefix=f"{run_folder}/reports/", title=f"the reports of run {run_folder.partition('-')[0]}")


def render_reports(
    record: RunRecord, collect_plots: CollectPlots, tell: Callable[[str], None], *, most_plotted: int | None = None
) -> dict[str, str]:
    """Render all reports of a run, by the names of their files. `tell` gets a sentence about plots that lack.

    `most_plotted`: of a run with more hosts, no plots are made.
    """
    plots: Mapping[str, ClockPlots] = {}
    if most_plotted is not None and len(record.hosts) > most_plotted:
        tell(f"plots are left out of report.html: the run has more than {most_plotted} hosts")
    else:
        plots, trouble = collect_plots(record)
        if trouble is not None:
            tell(f"plots are left out of report.html: {trouble}")
    return {name: render(record, form, plots) for name, form in FORMS.items()}


def publish_reports(
    line: RunLine,
    record: RunRecord,
    settings: Settings,
    collect_plots: CollectPlots,
    tell: Callable[[str], None],
    pause: Pause,
) -> str | None:
    """Write the reports of an ended run to the evidence store, unless they are there; return the run's folder there.

    None where they are not there at the end; `tell` gets a sentence about what was written, or why it was not. Raises
    nothing: the verdicts of the run are in the ledger.
    """
    again = f"`ptp-harness cluster results {line.run} --output FOLDER` writes them from the ledger"
    if settings.evidence is None:
        tell(f"no evidence store is named: evidence is gone with the pods, and reports are in no store; {again}")
        return None
    try:
        store = open_store(settings.evidence)
        run_folder = make_run_folder(line.run, line.started_ns)
        reports = locate_reports(run_folder)
        if read_checksums(reports, store, pause) is None:
            contents = render_reports(record, collect_plots, tell, most_plotted=MOST_PLOTTED_HOSTS)
            write_files(reports, contents, store, pause)
    except HarnessError as error:
        tell(f"the reports are in no store: {error.message}; {again}")
        return None
    tell(f"the reports are in {store.label}/{reports.prefix}: {', '.join(FORMS)}")
    return run_folder


def find_reports(line: RunLine, settings: Settings) -> str | None:
    """Find where the reports of a run are in the evidence store; None where no store has them. Raises SetupError."""
    if settings.evidence is None:
        return None
    store, reports = open_store(settings.evidence), locate_reports(make_run_folder(line.run, line.started_ns))
    present = read_checksums(reports, store, threading.Event().wait) is not None
    return f"{store.label}/{reports.prefix}" if present else None


def fetch_reports(run_folder: str, target: Path, settings: Settings) -> list[Path] | None:
    """Fetch the reports of a run to a folder; None where no store is named, or has them. Raises SetupError."""
    if settings.evidence is None or not fits(RUN_FOLDER, run_folder):
        return None
    return fetch_files(locate_reports(run_folder), target, open_store(settings.evidence), threading.Event().wait)


def write_reports(
    record: RunRecord, target: Path, collect_plots: CollectPlots, tell: Callable[[str], None]
) -> list[Path]:
    """Write the reports of a run to a folder, from its record. Raises SetupError."""
    folder = EvidenceFolder.create(target)
    return [folder.write(name, text) for name, text in render_reports(record, collect_plots, tell).items()]
