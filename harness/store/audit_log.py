"""Keep the audit log of the service: who did what, when, from where, and with which answer."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from harness.store.database import Database, now_ns
from harness.store.tables import AUDIT
from harness.untrusted.plain_text import printable


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One action. `actor`: the name of a token, "" without one; `object`: a task, run, host or token by its name."""

    actor: str
    address: str
    action: str
    object: str
    status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLine:
    """An entry with its number and its time, ns since the epoch, of the database."""

    number: int
    at_ns: int
    entry: AuditEntry


class AuditLog:
    """The audit log of a ledger. Nothing changes or removes an entry."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, *entries: AuditEntry) -> None:
        """Add entries, in one transaction; long texts are cut."""
        rows = [
            {
                "actor": _cut(entry.actor, 64),
                "address": _cut(entry.address, 64),
                "action": _cut(entry.action, 64),
                "object": _cut(entry.object, 255),
                "status": entry.status,
            }
            for entry in entries
        ]
        insert = AUDIT.insert().values(at_ns=now_ns())
        self._database.write(lambda db: [db.execute(insert.values(row)) for row in rows])

    def list_lines(self, *, before: int | None = None, most: int = 100) -> Sequence[AuditLine]:
        """List entries, the newest first. `before`: only those with a smaller number."""
        query = AUDIT.select().order_by(AUDIT.c.number.desc()).limit(most)
        if before is not None:
            query = query.where(AUDIT.c.number < before)
        rows = self._database.read(lambda db: db.execute(query).mappings().all())
        fields = asdict(AuditEntry(actor="", address="", action="", object="", status=0))
        return [
            AuditLine(
                number=row["number"], at_ns=row["at_ns"], entry=AuditEntry(**{name: row[name] for name in fields})
            )
            for row in rows
        ]


def _cut(text: str, characters: int) -> str:
    """Cut a text to what its column holds."""
    return printable(text)[:characters]
