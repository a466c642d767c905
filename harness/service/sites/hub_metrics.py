"""Give Prometheus how a hub gets on with its registry and with its sites."""

from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from harness.model.sites import Freshness
from harness.service.metrics import PREFIX
from harness.service.sites.contacts import SiteState
from harness.service.sites.hub import Hub


class HubCollector(Collector):
    """The figures of a hub: they are in memory, and nobody is asked for them."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def describe(self) -> Iterable[Metric]:
        """Name no metrics beforehand."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        counts, sites = self._hub.cache.counts, self._hub.cache.list_sites()
        syncs = CounterMetricFamily(f"{PREFIX}_registry_syncs", "Readings of the registry.", labels=("result",))
        syncs.add_metric(("succeeded",), counts.succeeded)
        syncs.add_metric(("failed",), counts.failed)
        yield syncs
        if counts.last_s is not None:
            yield GaugeMetricFamily(f"{PREFIX}_registry_sync_seconds", "How long the last reading took.", counts.last_s)
        if sites.age_s is not None:
            yield GaugeMetricFamily(f"{PREFIX}_registry_age_seconds", "Age of the list of sites.", sites.age_s)
        known = GaugeMetricFamily(f"{PREFIX}_registry_list", "How well the sites are known.", labels=("freshness",))
        for freshness in Freshness:
            known.add_metric((freshness.value,), float(freshness is sites.freshness))
        yield known
        yield GaugeMetricFamily(f"{PREFIX}_sites", "Sites in the registry.", len(sites.sites))
        reachable = GaugeMetricFamily(f"{PREFIX}_site_up", "Whether a site carries out campaigns.", labels=("site",))
        for name, contact in sorted(self._hub.contacts().items()):
            reachable.add_metric((name,), float(contact.state is SiteState.REACHABLE))
        yield reachable
