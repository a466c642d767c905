"""Give an ended run with its evidence as one file, which another ledger can import."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from harness.errors import ConflictError
from harness.service.authentication import Context
from harness.service.run_routes import Run
from harness.store import run_archive
from harness.store.evidence_folder import EvidenceFolder

router = APIRouter(prefix="/v1/runs", tags=["runs"])

_CHUNK_BYTES = 1 << 18


@router.get("/{run}/archive", response_class=StreamingResponse)
def download_archive(run: Run, context: Context) -> StreamingResponse:
    """Download an ended run with its evidence, as `ptp-harness ledger export` writes it."""
    if not run.ended:
        raise ConflictError(f"run {run.run} has not ended", next_step="download it once it has")
    cache = EvidenceFolder.create(context.settings.cache_dir / "archives").path
    with context.sources.work.room(), tempfile.TemporaryDirectory(dir=cache, prefix=f"{run.run}-") as folder:
        found = context.sources.find_evidence(run)
        archive = Path(folder) / "archive.tar.gz"
        run_archive.export_run(run.run, context.ledger, found.folder, archive)
        content, size = archive.open("rb"), archive.stat().st_size  # it has no name any more when it is sent
    headers = {"Content-Length": str(size), "Content-Disposition": f'attachment; filename="{run.run}.tar.gz"'}
    return StreamingResponse(_read_chunks(content), media_type="application/gzip", headers=headers)


def _read_chunks(content: IO[bytes]) -> Iterator[bytes]:
    with content:
        while chunk := content.read(_CHUNK_BYTES):
            yield chunk
