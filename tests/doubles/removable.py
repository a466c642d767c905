"""List what a sweep of one bench would remove, in the order of the bench."""

from collections.abc import Collection

from harness.benches.bench import Bench
from harness.runs import leftovers
from harness.runs.leftovers import Leftover
from harness.store.ledger import Ledger


def list_removable(ledger: Ledger, bench: Bench, *, taken_over: Collection[str] = ()) -> list[Leftover]:
    """List the removable part of the survey."""
    return list(leftovers.survey(ledger, bench, taken_over=taken_over).removable)
