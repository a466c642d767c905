"""Open the ledger's database for a watch, whose leases are short: it waits for no answer longer than these."""

from harness.store import schema
from harness.store.database import Database, Timeouts

WATCH_TIMEOUTS = Timeouts(connect_s=3.0, answer_s=4.0, give_up_s=4.0)


def open_watch_database(url: str, *, timeouts: Timeouts = WATCH_TIMEOUTS) -> Database:
    """Open a ledger's database; make its tables where there are none. Raises RequestError and SetupError."""
    database = Database(url, timeouts=timeouts)
    schema.prepare(database)
    return database
