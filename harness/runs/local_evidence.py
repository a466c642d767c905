"""Find the evidence of a host where it is on this machine: in its run's folder, or fetched from the evidence store."""

from pathlib import Path

from harness.store.evidence_parts import list_host_files, make_run_folder, read_attempt
from harness.store.ledger_lines import HostLine, RunLine
from harness.system.settings import Settings
from harness.untrusted import names


def find_host_folder(line: RunLine, host: HostLine, settings: Settings) -> Path | None:
    """Find the folder of a host's evidence of its last attempt; None where it is not on this machine."""
    if not names.fits(names.HOST, host.host) or not names.fits(names.RUN, line.run):
        return None
    fetched = settings.cache_dir / "evidence" / make_run_folder(line.run, line.started_ns)
    for folder in (settings.runs_dir / line.run / host.host, fetched / host.host):
        if folder.is_dir() and not folder.is_symlink() and read_attempt(folder) in (None, max(1, host.attempt)):
            return folder
    return None


def list_files(folder: Path) -> dict[str, int]:
    """List the files of evidence in a host's folder by name, with their sizes in bytes."""
    return {name: path.stat().st_size for name, path in list_host_files(folder).items()}
