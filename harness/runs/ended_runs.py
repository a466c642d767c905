"""Read the records of runs that have ended, and tell why there is none of any other run."""

from harness import units
from harness.errors import ConflictError
from harness.model import RunRecord
from harness.store.ledger import Ledger
from harness.store.owners import describe_owner


def read_record(run: str, ledger: Ledger) -> RunRecord:
    """Read the record of a run that has ended, by its name or `last`. Raises ConflictError for any other."""
    line = ledger.find(run)
    record = ledger.record(line.run)
    if record is not None:
        return record
    since = f"{units.utc_moment(line.started_ns):%Y-%m-%d %H:%M:%S} UTC"
    if line.alive():
        raise ConflictError(
            f"run {line.run} has not ended: it runs since {since}, {describe_owner(line.owner)}",
            next_step=f"`ptp-harness show {line.run}` so far",
        )
    raise ConflictError(
        f"run {line.run} of {since} has no report: its process {line.owner.process.pid} died",
        next_step="`ptp-harness sweep --yes` removes what it left and closes its books; then there is a report",
    )
