"""Move an ended run from one ledger to another: its rows and its evidence in one archive, with checksums.

The archive is a tar file compressed with gzip: `run.json` with the rows, `evidence/...`, and at its end `SHA256SUMS` of
all files before it, in the format of sha256sum(1).
"""

import gzip
import hashlib
import io
import json
import secrets
import shutil
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import sqlalchemy as sql
from sqlalchemy.exc import SQLAlchemyError

from harness.errors import HarnessError, RequestError, SetupError
from harness.store.database import Database
from harness.store.evidence_folder import SUMS, EvidenceFolder
from harness.store.ledger import Ledger
from harness.store.ledger_lines import host_adapter, host_columns
from harness.store.run_sums import sum_up
from harness.store.schema import NEWEST
from harness.store.tables import EVENTS, HOSTS, OWNERS, RUNS, STEPS
from harness.untrusted import names
from harness.untrusted.input_checks import shorten_value

ROWS, EVIDENCE = "run.json", "evidence/"
_MOST_ROWS_BYTES = 256 << 20
_CHUNK = 1 << 20
_NOT_IMPORTED = ("id", "task")  # of this ledger: the number of a step, and the task whose run it is
_TABLES = {"owners": OWNERS, "runs": RUNS, "hosts": HOSTS, "steps": STEPS, "events": EVENTS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """The result of an import: the run, and the number of its hosts and files of evidence."""

    run: str
    hosts: int
    files: int


def export_run(run: str, ledger: Ledger, evidence: Path, file: Path) -> int:
    """Write an ended run and its evidence to a new file; return the number of files of evidence.

    Raises RequestError for a run that has not ended, or when the file exists; SetupError when it cannot be written.
    """
    line = ledger.find(run)
    if not line.ended:
        raise RequestError(f"run {line.run} has not ended", next_step="export it once it has")
    document = {
        "schema": 1,
        "revision": NEWEST,
        "run": line.run,
        **ledger.database.read(lambda db: _rows(db, line.run)),
    }
    paths = sorted(path for path in evidence.rglob("*") if path.is_file() and not path.is_symlink())
    partial = file.with_name(f".{file.name}.partial")
    try:
        if file.exists():
            raise RequestError(f"{file} exists", next_step="name a new file")
        with partial.open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0) as zipped:
            _write_archive(zipped, json.dumps(document).encode(), evidence, paths)
        partial.replace(file)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise SetupError(f"cannot write {file}: {error.strerror}", next_step="name another file") from error
    return len(paths)


def import_run(file: Path, ledger: Ledger, runs: Path, *, most_bytes: int | None = None) -> Imported:
    """Read a run and its evidence from an archive. Nothing is changed unless all of it is whole and new.

    `most_bytes`: of its evidence; None: as much as the disk has. Raises RequestError for an archive that is cut,
    changed, too large or no archive, and for a run that is there already.
    """
    waiting = EvidenceFolder.create(runs / f".import-{secrets.token_hex(4)}")
    try:
        document, files = _read_archive(file, waiting, most_bytes)
        run = _check(document, file)
        if ledger.database.read(lambda db: db.execute(sql.select(RUNS.c.run).where(RUNS.c.run == run)).first()):
            raise RequestError(f"run {run} is in this ledger already", next_step="nothing was changed")
        if (runs / run).exists():
            raise RequestError(
                f"there is evidence of a run {run} in {runs / run}", next_step="move it away; nothing was changed"
            )
        (waiting.path / EVIDENCE).mkdir(exist_ok=True)
        (waiting.path / EVIDENCE).replace(runs / run)
        try:
            _insert(document, ledger.database, file)
        except BaseException:
            shutil.rmtree(runs / run, ignore_errors=True)
            raise
        return Imported(run=run, hosts=len(document["hosts"]), files=files)
    finally:
        shutil.rmtree(waiting.path, ignore_errors=True)


# -- writing


def _rows(db: sql.Connection, run: str) -> dict[str, list[dict[str, Any]]]:
    hosts = db.execute(HOSTS.select().where(HOSTS.c.run == run).order_by(HOSTS.c.position)).mappings().all()
    runs = db.execute(RUNS.select().where(RUNS.c.run == run)).mappings().all()
    owners = {row["owner"] for row in (*hosts, *runs)} - {None}
    queries = {
        "owners": OWNERS.select().where(OWNERS.c.owner.in_(owners)),
        "steps": STEPS.select().where(STEPS.c.token.startswith(f"{run}/", autoescape=True)).order_by(STEPS.c.id),
        "events": EVENTS.select().where(EVENTS.c.run == run).order_by(EVENTS.c.number),
    }
    found = {name: db.execute(query).mappings().all() for name, query in queries.items()}
    rows = {name: [dict(row) for row in lines] for name, lines in {**found, "runs": runs, "hosts": hosts}.items()}
    for row in rows["runs"]:
        row["task"] = None  # a task stays with the ledger in which it was submitted
    return rows


def _write_archive(file: gzip.GzipFile, rows: bytes, evidence: Path, paths: list[Path]) -> None:
    sums: list[str] = []
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as archive:

        def add(name: str, content: IO[bytes], size: int) -> None:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = size, 0o600
            reader = _Summing(content)
            archive.addfile(entry, reader)
            sums.append(f"{reader.digest.hexdigest()}  {name}\n")

        add(ROWS, io.BytesIO(rows), len(rows))
        for path in paths:
            with path.open("rb") as content:
                add(f"{EVIDENCE}{path.relative_to(evidence)}", content, path.stat().st_size)
        text = "".join(sums).encode()
        add(SUMS, io.BytesIO(text), len(text))


class _Summing(io.RawIOBase):
    """Reads a file and computes its checksum meanwhile."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file, self.digest = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.digest.update(data)
        return data


# -- reading


def _read_archive(file: Path, folder: EvidenceFolder, most_bytes: int | None) -> tuple[dict[str, Any], int]:
    """Extract an archive into a folder, and hold every file against its checksum."""
    sums: dict[str, str] = {}
    recorded: dict[str, str] = {}
    rows, size = b"", 0
    try:
        with tarfile.open(file, mode="r|gz") as archive:
            for entry in archive:
                if not entry.isreg() or not (entry.name in (ROWS, SUMS) or entry.name.startswith(EVIDENCE)):
                    raise RequestError(f"{file} is no export of a run: it has {shorten_value(entry.name)}")
                size += entry.size
                if most_bytes is not None and size > most_bytes:
                    raise RequestError(f"{file} has more than {most_bytes} bytes", next_step="nothing was changed")
                content = archive.extractfile(entry)
                if content is None:
                    raise RequestError(f"{file} is no export of a run: {shorten_value(entry.name)} has no content")
                if entry.name == SUMS:
                    recorded = _parse_sums(content.read(_MOST_ROWS_BYTES).decode())
                elif entry.name == ROWS:
                    rows = content.read(_MOST_ROWS_BYTES)
                    sums[ROWS] = hashlib.sha256(rows).hexdigest()
                else:
                    sums[entry.name] = _extract(content, folder, entry.name)
    except (tarfile.TarError, OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        if isinstance(error, FileNotFoundError):
            raise RequestError(f"there is no file {file}", next_step="name a file of `ledger export`") from error
        raise RequestError(
            f"{file} cannot be read as an export of a run: {error}", next_step="export it again; nothing was changed"
        ) from error
    if not recorded:
        raise RequestError(
            f"{file} is cut: its checksums are missing", next_step="export it again; nothing was changed"
        )
    changed = sorted(name for name in sums.keys() | recorded.keys() if sums.get(name) != recorded.get(name))
    if changed:
        raise RequestError(
            f"{file}: {len(changed)} files are not what was exported: {', '.join(map(shorten_value, changed[:3]))}",
            next_step="export it again; nothing was changed",
        )
    try:
        document = json.loads(rows)
    except ValueError as error:
        raise RequestError(f"{file}: {ROWS} is not JSON: {error}") from error
    return document, len(sums) - 1


def _extract(content: IO[bytes], folder: EvidenceFolder, name: str) -> str:
    digest = hashlib.sha256()
    try:
        with folder.stream(name) as target:
            while data := content.read(_CHUNK):
                digest.update(data)
                target.write(data)
    except SetupError:
        raise
    except HarnessError as error:
        raise RequestError(error.message, next_step="nothing was changed") from error
    return digest.hexdigest()


def _parse_sums(text: str) -> dict[str, str]:
    return {name: digest for digest, _, name in (line.partition("  ") for line in text.splitlines())}


def _check(document: Any, file: Path) -> str:
    """Return the run's name. Raises RequestError for rows that are not of one run, or of a newer revision."""
    whole = isinstance(document, Mapping) and all(isinstance(document.get(name), list) for name in _TABLES)
    run = document.get("run") if whole else None
    if not isinstance(run, str) or not names.fits(names.RUN, run):
        raise RequestError(f"{file}: {ROWS} holds no run")
    if str(document.get("revision")) > NEWEST:
        raise RequestError(
            f"{file} is of revision {document['revision']}, and this version knows {NEWEST}",
            next_step="install the version of ptp-harness that exported it",
        )
    for name, key in (("runs", "run"), ("hosts", "run"), ("events", "run"), ("steps", "token")):
        for row in document[name]:
            owner = row.get(key) if isinstance(row, Mapping) else None
            if not isinstance(owner, str) or owner.partition("/")[0] != run:
                raise RequestError(f"{file}: {ROWS} has a row of another run among its {name}")
    if len(document["runs"]) != 1:
        raise RequestError(f"{file}: {ROWS} holds {len(document['runs'])} runs")
    return run


def _insert(document: Mapping[str, Any], database: Database, file: Path) -> None:
    def insert(db: sql.Connection) -> None:
        for row in document["owners"]:
            known = sql.select(OWNERS.c.owner).where(OWNERS.c.owner == row.get("owner"))
            if db.execute(known).first() is None:
                db.execute(OWNERS.insert(), row)
        for name in ("runs", "hosts", "steps", "events"):
            for row in document[name]:
                repeated = _repeat_record(row) if name == "hosts" else {}
                db.execute(
                    _TABLES[name].insert(), repeated | {key: row[key] for key in row if key not in _NOT_IMPORTED}
                )
        sum_up(db, document["run"])

    try:
        database.write(insert)
    except (SQLAlchemyError, TypeError, AttributeError, ValueError) as error:
        raise RequestError(
            f"{file}: its rows do not fit the ledger: {str(error).splitlines()[0]}", next_step="nothing was changed"
        ) from error


def _repeat_record(row: Mapping[str, Any]) -> dict[str, Any]:
    """Make the columns that repeat a host's record, which an archive of an earlier revision lacks."""
    record = row.get("record")
    return {} if record is None else host_columns(host_adapter().validate_python(record))
