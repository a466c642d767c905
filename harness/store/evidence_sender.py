"""Send the evidence of a run from this machine to an evidence store: each part's files, then its checksums.

Sending again, also by two processes at once, changes nothing: what a part holds does not change any more once it is
sent, and a part whose checksums are in the store is left alone unless it is to be sent again. Nothing on this machine
is removed.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from harness.errors import SetupError
from harness.model import HostState
from harness.store.evidence_folder import SUMS, EvidenceFolder, compute_digest
from harness.store.evidence_parts import (
    MOST_SUMS_BYTES,
    EvidencePart,
    format_sums,
    list_host_files,
    list_own_files,
    make_run_folder,
    read_attempt,
)
from harness.store.ledger_lines import HostLine, RunLine
from harness.store.object_store import ObjectStore, Pause, retrying


class StoredFiles(Protocol):
    """Files in a store that are whole or absent: a part of evidence, or others."""

    @property
    def prefix(self) -> str: ...

    @property
    def sums_name(self) -> str: ...

    def describe(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalPart:
    """A part of a run's evidence, or other such files, on this machine: its files by their names in the part."""

    part: StoredFiles
    files: dict[str, Path]


@dataclass(frozen=True, slots=True, kw_only=True)
class SentEvidence:
    """The result of sending a run: numbers of files and parts; `new` parts were not in the store before."""

    files: int
    parts: int
    new: int


def is_complete(line: RunLine, folder: Path, leads: int) -> bool:
    """Whether all evidence of a run on this machine is there: a leader still writes reports when its run has ended."""
    return line.ended and (not leads or (folder / SUMS).is_file() or not line.owner.alive())


def list_local_parts(line: RunLine, hosts: list[HostLine], folder: Path, leads: int) -> list[LocalPart]:
    """List the parts on this machine that change no more: of hosts whose state is final, and of a run that has ended.

    `leads`: which leader of the run this machine is, 0 for none; only a leader has the run's own files.
    """
    return list(_find_parts(line, hosts, folder, leads)) if folder.is_dir() else []


def _find_parts(line: RunLine, hosts: list[HostLine], folder: Path, leads: int) -> Iterator[LocalPart]:
    run_folder = make_run_folder(line.run, line.started_ns)
    for host in hosts:
        if not (folder / host.host).is_dir():
            continue
        judged_at = None if host.record is None else host.record.attempt
        attempt = read_attempt(folder / host.host) or judged_at
        final = host.state not in (None, HostState.UNDECIDED) and attempt == judged_at
        if attempt is not None and (final or line.ended):
            part = EvidencePart(run_folder=run_folder, host=host.host, attempt=attempt)
            yield LocalPart(part=part, files=list_host_files(folder / host.host))
    if leads and is_complete(line, folder, leads):
        part = EvidencePart(run_folder=run_folder, host=None, attempt=leads)
        yield LocalPart(part=part, files=list_own_files(folder))


def send_parts(
    parts: list[LocalPart], folder: Path, store: ObjectStore, pause: Pause, *, again: bool = False
) -> SentEvidence:
    """Send parts of a run whose evidence is in `folder`; each action is tried again while the store is away.

    `again`: the files of parts that are in the store are put again, which mends those that were damaged there. Raises
    StoreAwayError, and SetupError for a file that was changed since the run ended, and for a part of which the store
    has another content.
    """
    sealed = _read_sealed(folder)
    new = sum([_send_part(local, folder, sealed, store, pause, again) for local in parts])
    return SentEvidence(files=sum(len(local.files) for local in parts), parts=len(parts), new=new)


def _read_sealed(folder: Path) -> dict[Path, str]:
    """Read the checksums that the run wrote when it ended; none of a run that did not write them."""
    if not (folder / SUMS).is_file():
        return {}
    recorded = EvidenceFolder(folder).read_checksums()
    return {folder / name: digest for name, digest in recorded.items()}


def _send_part(
    local: LocalPart, folder: Path, sealed: dict[Path, str], store: ObjectStore, pause: Pause, again: bool
) -> bool:
    """Send one part; return whether it was not in the store before."""
    digests = {name: compute_digest(path) for name, path in local.files.items()}
    for name, path in local.files.items():
        if digests[name] != sealed.get(path, digests[name]):
            raise SetupError(
                f"{path} was changed since its run ended, so the evidence of the run is not sent",
                next_step=f"`sha256sum -c SHA256SUMS` in {folder} names all such files",
            )
    sums = format_sums(digests)
    present = retrying(lambda: store.read(local.part.sums_name, most=MOST_SUMS_BYTES), pause)
    if present is not None and present != sums:
        raise SetupError(
            f"{store.label}/{local.part.prefix} has other evidence of {local.part.describe()}, which stays",
            next_step="compare it with this machine's, and move one of both away",
        )
    if present is not None and not again:
        return False
    for name, path in local.files.items():
        retrying(partial(store.put_file, local.part.prefix + name, path), pause)
        if compute_digest(path) != digests[name]:
            raise SetupError(f"{path} changed while it was sent", next_step="send the evidence of the run again")
    with tempfile.NamedTemporaryFile(prefix="ptp-harness-sums-") as file:
        file.write(sums)
        file.flush()
        retrying(lambda: store.put_file(local.part.sums_name, Path(file.name)), pause)
    return present is None
