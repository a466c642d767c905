"""Prepare a run: make the bench of a campaign's hosts, and the plan that the run carries out.

Commands that plan, run, resume and bake all begin here. Nothing is made; a driver archive may be downloaded.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from harness.benches.bench import Bench
from harness.campaign.campaign import Campaign
from harness.campaign.run_plan import Plan, make_plan
from harness.host import driver_archive
from harness.store.object_store import open_store
from harness.system.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Benches:
    """The functions that make benches and resolve the types that a campaign selects.

    `resolve_types` takes the types that a campaign names and the campaign, and adds those that its conditions select.
    """

    make_bench: Callable[[Campaign], Bench]
    resolve_types: Callable[[Sequence[str], Campaign], Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """The bench and the plan of a run, before its first effect."""

    bench: Bench
    plan: Plan

    @property
    def campaign(self) -> Campaign:
        """The campaign with every type by its name, and with the driver's checksum where it was fetched."""
        return self.plan.campaign


def prepare(campaign: Campaign, settings: Settings, benches: Benches, *, fetch_driver: bool = True) -> Prepared:
    """Prepare a requested campaign. Raises RequestError, SetupError and the errors of the bench.

    Without `fetch_driver` the driver archive is not fetched, which is enough for a plan.
    """
    bench = benches.make_bench(campaign)
    types = benches.resolve_types(bench.expand(campaign.instance_types), campaign)
    return _plan_run(replace(campaign, instance_types=tuple(types)), bench, settings, fetch_driver=fetch_driver)


def prepare_resolved(
    campaign: Campaign, settings: Settings, benches: Benches, *, fetch_driver: bool = True
) -> Prepared:
    """Prepare a campaign whose types are resolved already: its selection is not resolved again."""
    return _plan_run(campaign, benches.make_bench(campaign), settings, fetch_driver=fetch_driver)


def _plan_run(campaign: Campaign, bench: Bench, settings: Settings, *, fetch_driver: bool) -> Prepared:
    if settings.evidence is not None:
        open_store(settings.evidence)  # a URL that cannot be used is refused before a host is made
    if fetch_driver:
        campaign = replace(campaign, driver=driver_archive.ensure(campaign.driver, settings))
    return Prepared(bench=bench, plan=make_plan(campaign, bench.types(), now=datetime.now(UTC)))
