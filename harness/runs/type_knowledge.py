"""Collect what runs measured of the types of a bench, to be joined with what the API claims of them."""

from collections.abc import Iterable, Mapping

from harness.analysis import claims
from harness.analysis.claims import Measurement, TypeKnowledge
from harness.store.ledger import Ledger


def load_measurements(ledger: Ledger, bench: str, region: str | None) -> list[Measurement]:
    """Load the latest verdict of each type from the ledger, only those of `region` if it is given."""
    return [
        claims.to_measurement(
            line.record, run=line.run, started_ns=line.started_ns, region=line.region, image=line.image
        )
        for line in ledger.latest_verdicts(bench, region)
    ]


def join_by_name(claimed: Mapping[str, bool | None], measurements: Iterable[Measurement]) -> dict[str, TypeKnowledge]:
    """Join claims with measurements, by the names of the types."""
    return {each.instance_type: each for each in claims.join_measurements(claimed, measurements)}
