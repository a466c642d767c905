"""Find the evidence of a run: on this machine, else fetched from an evidence store into the cache, with its checksums.

What a store holds is not trusted: names of objects come from the ledger and from lists of checksums whose names are
checked, the size of each object is bounded, and nothing is used before its checksum was compared.
"""

import hashlib
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from harness.errors import RequestError, SetupError
from harness.store.evidence_folder import SUMS, EvidenceFolder
from harness.store.evidence_parts import (
    MOST_SUMS_BYTES,
    EvidencePart,
    make_run_folder,
    parse_sums,
    read_attempt,
    was_led_here,
)
from harness.store.ledger import Ledger
from harness.store.ledger_lines import HostLine, RunLine
from harness.store.object_store import RESEND, ObjectStore, Pause, retrying

MOST_FILE_BYTES = 2 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidencePlaces:
    """Where evidence may be: the folder of this machine's runs, and a store with the folder that it is fetched to."""

    runs_dir: Path
    cache_dir: Path
    store: ObjectStore | None
    pause: Pause


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundEvidence:
    """The folder of a run's evidence. `fetched`: from the store. `missing`: hosts whose evidence is not there."""

    folder: Path
    fetched: bool
    missing: tuple[str, ...] = ()


def find_evidence(line: RunLine, ledger: Ledger, places: EvidencePlaces) -> FoundEvidence:
    """Find the evidence of a run that has ended.

    Raises RequestError when a store is named and neither this machine nor the store has all of it, SetupError when the
    store cannot be reached, or an object is not what its checksum says. Without a store, `missing` tells what is not
    on this machine.
    """
    hosts = _list_begun(line, ledger)
    local = places.runs_dir / line.run
    missing = _list_missing(local, hosts)
    if places.store is None or (was_led_here(local) and not missing):
        return FoundEvidence(folder=local, fetched=False, missing=tuple(missing))
    target = places.cache_dir / "evidence" / make_run_folder(line.run, line.started_ns)
    _fetch(_choose_parts(line, hosts, places.store, places.pause), target, places.store, places.pause)
    return FoundEvidence(folder=target, fetched=True)


def _list_begun(line: RunLine, ledger: Ledger) -> list[HostLine]:
    """List the hosts of which there is evidence: those that were begun at their last attempt."""
    begun = {step.token for step in ledger.steps(line.run)}
    return [host for host in ledger.hosts(line.run) if str(host.token) in begun]


def _list_missing(folder: Path, hosts: list[HostLine]) -> list[str]:
    """List the hosts whose evidence of the last attempt is not in a folder; earlier versions noted no attempt."""
    return [
        host.host
        for host in hosts
        if not (folder / host.host).is_dir() or read_attempt(folder / host.host) not in (None, host.attempt)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _StoredPart:
    """A complete part in a store, with the checksums of its files."""

    part: EvidencePart
    sums: dict[str, str]

    def place(self, name: str) -> str:
        """Return the path of one of its files in the folder of the run."""
        return name if self.part.host is None else f"{self.part.host}/{name}"


def _choose_parts(line: RunLine, hosts: list[HostLine], store: ObjectStore, pause: Pause) -> list[_StoredPart]:
    """Choose the run's own files by its last leader that sent any, and of each host the last attempt that was sent.

    A sweep takes over a run, and writes no evidence of its own.
    """
    run_folder = make_run_folder(line.run, line.started_ns)
    wanted = [(None, line.attempt), *((host.host, host.attempt) for host in hosts)]
    found = [_read_newest(run_folder, host, attempt, store, pause) for host, attempt in wanted]
    absent = [host or "the report" for (host, _), part in zip(wanted, found, strict=True) if part is None]
    if absent:
        raise RequestError(
            f"the evidence of run {line.run} is not whole, neither on this machine nor in {store.label}: "
            f"{', '.join(absent)}",
            next_step=f"on the machine that has it, such as {line.owner.machine}: `ptp-harness evidence send "
            f"{line.run}`",
        )
    return [part for part in found if part is not None]


def _read_newest(
    run_folder: str, host: str | None, attempt: int, store: ObjectStore, pause: Pause
) -> _StoredPart | None:
    for number in range(attempt, 0, -1):
        part = EvidencePart(run_folder=run_folder, host=host, attempt=number)
        content = retrying(partial(store.read, part.sums_name, most=MOST_SUMS_BYTES), pause)
        if content is not None:
            sums = parse_sums(content)
            if sums is None or (host is None and any("/" in name for name in sums)):
                raise SetupError(
                    f"{store.label}/{part.sums_name} is no list of checksums of evidence", next_step=RESEND
                )
            return _StoredPart(part=part, sums=sums)
    return None


def _fetch(parts: list[_StoredPart], target: Path, store: ObjectStore, pause: Pause) -> None:
    """Fetch parts into a new folder, which replaces the target when all is verified; keep a target that has them."""
    wanted = {part.place(name): digest for part in parts for name, digest in part.sums.items()}
    if _holds(target, wanted):
        return
    with _new_folder(target.parent) as folder:
        for part in parts:
            for name, digest in part.sums.items():
                retrying(partial(download, part.part.prefix + name, digest, part.place(name), folder, store), pause)
        folder.write_checksums()
        if folder.read_checksums() != wanted:
            raise SetupError(f"{folder.path} was changed while evidence was fetched", next_step="fetch it again")
        shutil.rmtree(target, ignore_errors=True)
        try:
            folder.path.replace(target)
        except OSError:  # another process fetched it meanwhile
            if not _holds(target, wanted):
                raise


def _holds(folder: Path, wanted: dict[str, str]) -> bool:
    """Whether a folder holds these files and no others, each with its checksum."""
    try:
        evidence = EvidenceFolder(folder)
        return evidence.read_checksums() == wanted and not evidence.list_changed()
    except (OSError, ValueError):
        return False


@contextmanager
def _new_folder(parent: Path) -> Iterator[EvidenceFolder]:
    folder = EvidenceFolder.create(parent / f".fetch-{secrets.token_hex(4)}")
    try:
        yield folder
    finally:
        shutil.rmtree(folder.path, ignore_errors=True)


def download(object_name: str, expected: str, place: str, folder: EvidenceFolder, store: ObjectStore) -> None:
    """Copy an object to a place in the folder. Raises SetupError when it is not what its checksum says."""
    digest, size = hashlib.sha256(), 0
    with folder.stream(place) as file:
        for data in store.read_in_chunks(object_name):
            size += len(data)
            if size > MOST_FILE_BYTES:
                raise SetupError(f"{store.label}/{object_name} has more than {MOST_FILE_BYTES} bytes", next_step=RESEND)
            digest.update(data)
            file.write(data)
    if digest.hexdigest() != expected:
        raise SetupError(
            f"{store.label}/{object_name} is not what was sent: "
            f"its SHA-256 is {digest.hexdigest()}, and {SUMS} says {expected}",
            next_step=f"do not use it; {RESEND}",
        )
