"""Bring runs that ended at a site into the ledger of a hub, with their evidence.

A copy, and not a window to the site: reports, comparisons, baselines and pages of the hub then work while the site is
away, and after it is gone.
"""

import tempfile
from pathlib import Path

from harness import units
from harness.client.client import Client
from harness.errors import RequestError
from harness.service.sites.remote_task import ImportRun
from harness.store import run_archive
from harness.store.evidence_folder import EvidenceFolder
from harness.store.ledger import Ledger
from harness.store.ledger_reader import UnknownRunError

MOST_ARCHIVE_BYTES = 8 << 30
MOST_EVIDENCE_BYTES = 64 << 30
_SAME_RUN_S = 0.002  # the site tells when it began to the millisecond


def make_importer(ledger: Ledger, runs_dir: Path) -> ImportRun:
    """Make what imports runs into a ledger, and their evidence into a folder."""

    def import_run(run: str, client: Client) -> None:
        if _is_here(run, client, ledger):
            return
        folder = EvidenceFolder.create(runs_dir).path
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".from-site-", suffix=".tar.gz") as file:
            client.download_run(run, file, most_bytes=MOST_ARCHIVE_BYTES)
            file.flush()
            run_archive.import_run(Path(file.name), ledger, runs_dir, most_bytes=MOST_EVIDENCE_BYTES)

    return import_run


def _is_here(run: str, client: Client, ledger: Ledger) -> bool:
    """Whether a run was imported before. Raises RequestError where the ledger has another run of this name."""
    try:
        line = ledger.find(run)
    except UnknownRunError:
        return False
    theirs = client.run(run).started
    if abs((theirs - units.utc_moment(line.started_ns)).total_seconds()) > _SAME_RUN_S:
        raise RequestError(
            f"this ledger has another run of the name {run}",
            next_step="`ptp-harness ledger export` at the site keeps it",
        )
    return True
