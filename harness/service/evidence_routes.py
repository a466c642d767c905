"""Serve the evidence of runs: lists of files with checksums, each file or a part of it, and samples as a table."""

from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from harness.errors import ConflictError
from harness.report import sample_table
from harness.runs.sample_export import SamplePart, read_samples
from harness.service.authentication import Context
from harness.service.problems import NotFoundError
from harness.service.ranged_files import INERT, answer_file, disposition
from harness.service.run_documents import EvidenceItem, EvidenceList
from harness.service.run_routes import Host, Run
from harness.service.run_sources import find_folder
from harness.store.evidence_files import find_file, list_files

router = APIRouter(prefix="/v1/runs", tags=["evidence"])

_FILE: dict[str, dict[str, str]] = {"application/octet-stream": {}, "text/plain": {}}


class SampleForm(StrEnum):
    """Forms of a table of samples."""

    CSV = "csv"
    PARQUET = "parquet"


_MEDIA_TYPES = {
    SampleForm.CSV: "text/csv; charset=utf-8; header=present",
    SampleForm.PARQUET: "application/vnd.apache.parquet",
}


@router.get("/{run}/evidence")
def list_evidence(run: Run, context: Context) -> EvidenceList:
    """List the files of a run's evidence with their sizes and checksums.

    Of a run that goes on, those that are written so far, where this machine leads it.
    """
    found = find_folder(run, context.sources)
    files = list_files(found.folder)
    return EvidenceList(
        run=run.run,
        items=[EvidenceItem(path=file.path, size=file.size, sha256=file.sha256) for file in files],
        missing=list(found.missing),
    )


@router.get(
    "/{run}/evidence/{path:path}",
    response_class=Response,
    responses={200: {"content": _FILE}, 206: {"content": _FILE}, 304: {"description": "Not changed"}},
)
def read_evidence(run: Run, path: Annotated[str, Path(max_length=600)], request: Request, context: Context) -> Response:
    """Return a file of a run's evidence, or the range that the header Range names.

    What a host wrote is never shown as a page: text is `text/plain`, all else bytes, to be stored.
    """
    folder = find_folder(run, context.sources).folder
    file = find_file(folder, path)
    if file is None:
        raise NotFoundError(
            f"run {run.run} has no file of evidence {path!r}", next_step=f"GET /v1/runs/{run.run}/evidence lists them"
        )
    return answer_file(file, request.headers)


@router.get(
    "/{run}/hosts/{host}/samples",
    response_class=Response,
    responses={200: {"content": {media_type: {} for media_type in _MEDIA_TYPES.values()}}},
)
def read_sample_table(
    run: Run,
    host: Host,
    context: Context,
    form: SampleForm = SampleForm.CSV,
    part: Annotated[
        SamplePart, Query(description="Before, while disturbed, or after the reboot.")
    ] = SamplePart.MEASURED,
) -> Response:
    """Return the samples of a host as a table, a row for each: offset, bounds, frequency, source.

    docs/evidence-format.md explains the columns. An empty field was not observed.
    """
    if host.record is None:
        raise ConflictError(f"{host.host} of run {run.run} has no verdict yet", next_step="wait for it")
    folder = find_folder(run, context.sources).folder
    with context.sources.work.room():
        samples = read_samples(host, folder, part, context.ledger)
        if samples is None:
            raise NotFoundError(f"{host.host} of run {run.run} has no such samples: it was not measured")
        rows = map(sample_table.make_row, samples)
        content = sample_table.write_csv(rows) if form is SampleForm.CSV else sample_table.write_parquet([*rows])
    headers = {**INERT, "Content-Disposition": disposition(f"{run.run}-{host.host}-{part}.{form}")}
    return Response(content, media_type=_MEDIA_TYPES[form], headers=headers)
