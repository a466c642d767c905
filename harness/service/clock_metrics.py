"""Give Prometheus the newest measurement of each type: its verdict, offset and bound.

A clock without figures has no point: nothing stands for 0.
"""

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from harness.model import Outcome
from harness.service.background_value import BackgroundValue
from harness.store.database import Database
from harness.store.newest_clocks import NewestClock, read_newest_clocks

PREFIX = "ptp_harness_service_clock"
_FRESH_S = 60.0
_WAIT_S = 2.0
_LABELS = ("bench", "region", "instance_type")


class ClockCollector(Collector):
    """The clocks of a ledger, read in the background: a ledger that hangs makes them old, and hangs nobody who asks."""

    def __init__(self, database: Database) -> None:
        self._clocks = BackgroundValue("clocks", lambda: read_newest_clocks(database), fresh_s=_FRESH_S)

    def describe(self) -> Iterable[Metric]:
        """Name no metrics beforehand: that would read the ledger."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of all clocks; none before the ledger was read."""
        look = self._clocks.read_fresh(within_s=_WAIT_S)
        if look.value is not None and look.age_s is not None:
            yield from write_clocks(look.value, look.age_s)


def write_clocks(clocks: Sequence[NewestClock], read_ago_s: float) -> Iterator[Metric]:
    """Write the metrics of clocks that were read so long ago."""
    outcome = GaugeMetricFamily(
        f"{PREFIX}_outcome", "The newest verdict of a type: 1, and 0 for the others.", labels=(*_LABELS, "outcome")
    )
    age = GaugeMetricFamily(f"{PREFIX}_age_seconds", "Since the run of that verdict began.", labels=_LABELS)
    offset = GaugeMetricFamily(
        f"{PREFIX}_offset_p99_seconds", "The size of the offset that 99 % do not exceed.", labels=_LABELS
    )
    bound = GaugeMetricFamily(f"{PREFIX}_bound_p99_seconds", "The bound that 99 % do not exceed.", labels=_LABELS)
    for clock in clocks:
        labels = (clock.bench, clock.region or "", clock.instance_type)
        for each in Outcome:
            outcome.add_metric((*labels, each.value), float(each is clock.outcome))
        age.add_metric(labels, clock.age_s + read_ago_s)
        for family, value_ns in ((offset, clock.offset_p99_ns), (bound, clock.bound_p99_ns)):
            if value_ns is not None:
                family.add_metric(labels, value_ns / 1e9)
    yield from (outcome, age, offset, bound)
