"""Name the parts of a run's evidence in an evidence store, and write and read the list of checksums of each.

A part is what one process alone writes: the evidence of one attempt at one host, or the run's own files by one leader.
Its objects are `RUN-START/hosts/HOST/ATTEMPT/FILE` and `RUN-START/run/ATTEMPT/FILE`, where START is the run's start in
the ledger's time (runs of different ledgers may have the same name). The list of checksums, `SHA256SUMS` in the format
of sha256sum(1), is written last: a part without it is incomplete and is not used.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness import units
from harness.errors import HarnessError
from harness.store.evidence_folder import SUMS
from harness.untrusted import names
from harness.untrusted.input_checks import shorten_value

ATTEMPT_FILE = "attempt"
"""The file in a host's folder of evidence that holds the number of the attempt."""

_REPORT = "report.json"
_OF_LEADERS = ("campaign.json", _REPORT)
MOST_SUMS_BYTES = 4 << 20
MOST_FILES = 10_000
_SUMS_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidencePart:
    """A part of a run's evidence. `host` is None for the run's own files; `attempt` counts its leaders then."""

    run_folder: str
    host: str | None
    attempt: int

    @property
    def prefix(self) -> str:
        """The beginning of the names of its objects, with the slash."""
        place = "run" if self.host is None else f"hosts/{self.host}"
        return f"{self.run_folder}/{place}/{self.attempt}/"

    @property
    def sums_name(self) -> str:
        """The name of the object with its checksums."""
        return f"{self.prefix}{SUMS}"

    def describe(self) -> str:
        """Name it for people."""
        run = self.run_folder.partition("-")[0]
        return f"run {run}" if self.host is None else f"{self.host} of run {run}"


def make_run_folder(run: str, started_ns: int) -> str:
    """Name the folder of a run: its name and its start, as `k3f9-20261129T085405.123Z`. Raises HarnessError."""
    if not names.fits(names.RUN, run):
        raise HarnessError(f"{shorten_value(run)} is not a valid name of a run's evidence")
    return f"{run}-{units.utc_moment(started_ns):%Y%m%dT%H%M%S}.{started_ns // 10**6 % 1000:03d}Z"


def list_own_files(folder: Path) -> dict[str, Path]:
    """List the files of evidence right in the folder of a run, by name."""
    return _by_name(folder, list(folder.iterdir()))


def list_host_files(folder: Path) -> dict[str, Path]:
    """List the files of evidence below the folder of a host, by their path in it."""
    return _by_name(folder, list(folder.rglob("*")))


def _by_name(folder: Path, paths: list[Path]) -> dict[str, Path]:
    """Select regular files by names of ours: partial files begin with a dot, and links may lead anywhere."""
    files = {str(path.relative_to(folder)): path for path in paths if path.is_file() and not path.is_symlink()}
    return {name: files[name] for name in sorted(files) if name != SUMS and names.fits(names.EVIDENCE_FILE, name)}


def was_led_here(folder: Path) -> bool:
    """Whether the folder of a run is that of a machine that led it: one that helped writes none of these files."""
    return any((folder / name).exists() for name in _OF_LEADERS)


def was_ended_here(folder: Path) -> bool:
    """Whether the folder of a run is that of its last leader, who reports."""
    return (folder / _REPORT).exists()


def read_attempt(folder: Path) -> int | None:
    """Read which attempt at a host its folder is of; None for a folder of an earlier version, or without evidence."""
    try:
        text = (folder / ATTEMPT_FILE).read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
    return int(text) if names.fits(names.ATTEMPT, text) else None


def format_sums(digests: Mapping[str, str]) -> bytes:
    """Write the checksums of a part's files."""
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items())).encode()


def parse_sums(content: bytes) -> dict[str, str] | None:
    """Read the checksums of a part's files, by name; None unless each line is one, and each name a name of ours."""
    try:
        lines = content.decode().splitlines()
    except UnicodeDecodeError:
        return None
    matches = [_SUMS_LINE.fullmatch(line) for line in lines]
    sums = {match[2]: match[1] for match in matches if match and names.fits(names.EVIDENCE_FILE, match[2])}
    folders = {str(parent) for name in sums for parent in Path(name).parents}
    return sums if len(sums) == len(lines) <= MOST_FILES and SUMS not in sums and not folders & sums.keys() else None
