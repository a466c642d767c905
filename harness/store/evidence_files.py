"""List the files of evidence in a run's folder, and find one of them by its path, never a file of another place."""

from dataclasses import dataclass
from pathlib import Path

from harness.store.evidence_folder import EvidenceFolder
from harness.store.evidence_parts import list_host_files, list_own_files
from harness.untrusted import names


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceFile:
    """A file of a run's evidence. `path`: in the run's folder; `sha256`: None before checksums are written."""

    path: str
    size: int
    sha256: str | None


def list_files(folder: Path) -> list[EvidenceFile]:
    """List the files in a run's folder: the run's own files, then those of each host. Links are left out."""
    hosts = sorted(path for path in folder.iterdir() if names.fits(names.HOST, path.name) and _is_folder(path))
    paths = dict(list_own_files(folder))
    for host in hosts:
        paths |= {f"{host.name}/{name}": path for name, path in list_host_files(host).items()}
    sums = _read_sums(folder)
    return [EvidenceFile(path=name, size=path.stat().st_size, sha256=sums.get(name)) for name, path in paths.items()]


def find_file(folder: Path, name: str) -> Path | None:
    """Find a file in a run's folder by its path there; None for every name that no file of evidence has."""
    host, slash, rest = name.partition("/")
    if not names.fits(names.EVIDENCE_FILE, rest if slash else name) or (slash and not names.fits(names.HOST, host)):
        return None
    path = folder.joinpath(*name.split("/"))
    try:
        whole = path.resolve(strict=True) == folder.resolve(strict=True).joinpath(*name.split("/"))
    except (OSError, RuntimeError):
        return None
    return path if whole and path.is_file() else None


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _read_sums(folder: Path) -> dict[str, str]:
    try:
        return EvidenceFolder(folder).read_checksums()
    except (OSError, ValueError):
        return {}
