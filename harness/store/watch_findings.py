"""Keep in the ledger what each worker found out about itself and its hosts, as long as it is so, and log it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sql

from harness.store.database import Database
from harness.store.tables import WATCH_WORKERS
from harness.store.watch_log import LogEntry, add_entries
from harness.untrusted.plain_text import one_line

MOST_STREAMS = 100
_MOST_SENTENCE = 1000


class FindingKind(StrEnum):
    """The subject of a worker's finding."""

    GRID_OFF = "grid off"  # its ticks are not of the ledger's time
    CUT_OFF = "cut off"  # it could not reach the ledger for longer than its lease, and went on in local mode
    SPOOL_THINNED = "spool thinned"  # its spool was full
    SPOOL_UNUSABLE = "spool unusable"
    OTHER_SAMPLER = "other sampler"  # a host's sampler writes another form than the one that this worker reads
    HOST_KEY = "host key"  # a host answers with another key than the trusted one


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerFinding:
    """A discovery of a worker, and what to do about it. `streams`: those that it concerns, at most MOST_STREAMS."""

    kind: FindingKind
    sentence: str
    recommendation: str
    streams: Sequence[str] = ()


class WorkerFindings:
    """The findings of a ledger's workers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def tell(
        self, worker: str, registration: int, findings: Sequence[WorkerFinding], entries: Sequence[LogEntry]
    ) -> None:
        """Write all that a worker knows now in the place of what it told before, and add entries to the log.

        A registration that is over changes no row; its entries are history and are kept.
        """
        of = WATCH_WORKERS.c
        same = (of.worker == worker) & (of.registration == registration)
        update = WATCH_WORKERS.update().where(same).values(findings=[_write(each) for each in findings])

        def tell(db: sql.Connection) -> None:
            db.execute(update)
            add_entries(db, entries)

        self._database.write(tell)


def read_findings(stored: Any) -> tuple[WorkerFinding, ...]:
    """Read the findings of a worker's row; those that another version wrote in another form are left out."""
    findings = []
    for each in stored if isinstance(stored, list) else []:
        try:
            findings.append(
                WorkerFinding(
                    kind=FindingKind(each["kind"]),
                    sentence=str(each["sentence"]),
                    recommendation=str(each["recommendation"]),
                    streams=tuple(str(stream) for stream in each["streams"]),
                )
            )
        except (KeyError, TypeError, ValueError):
            continue
    return tuple(findings)


def _write(finding: WorkerFinding) -> dict[str, Any]:
    return {
        "kind": finding.kind.value,
        "sentence": one_line(finding.sentence, _MOST_SENTENCE),
        "recommendation": one_line(finding.recommendation, _MOST_SENTENCE),
        "streams": [*finding.streams][:MOST_STREAMS],
    }
