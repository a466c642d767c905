"""Build working parts from settings: the only place that names concrete benches.

Each part is imported by the function that builds it: a command loads the parts it needs, and no others.
"""

from __future__ import annotations  # names that only types need are not imported

from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import RequestError
from harness.model.bench_traits import BenchName
from harness.model.ec2_enums import Market

if TYPE_CHECKING:
    from harness.benches.bench import Bench, Check
    from harness.benches.ec2.api.api import Api
    from harness.benches.ec2.market.listing import Listing
    from harness.benches.lab.bench import LabBench
    from harness.campaign.campaign import Campaign
    from harness.campaign.ec2_forecast import Ec2Forecast
    from harness.campaign.run_plan import Plan
    from harness.model import RunRecord
    from harness.model.cloud import BakedImage, CloudOptions
    from harness.model.plots import ClockPlots
    from harness.runs.bake import BakeContext, ImageMaker
    from harness.runs.context import RunControls
    from harness.runs.evidence_sending import EvidenceSender
    from harness.runs.leftovers import LeftoverFilter
    from harness.runs.prepare import Benches
    from harness.runs.sweep import Sweep
    from harness.service.context import ServiceContext, ServiceOptions
    from harness.service.executor import Executor
    from harness.service.run_sources import RunSources
    from harness.service.sites.make_hub import HubOptions
    from harness.store.evidence_fetch import FoundEvidence
    from harness.store.ledger import Ledger
    from harness.store.ledger_lines import RunLine
    from harness.system.settings import Settings


def lab_bench(settings: Settings) -> LabBench:
    """Make the bench of local virtual machines."""
    from harness.benches.lab.bench import LabBench

    return LabBench(settings)


def bench(
    name: str,
    settings: Settings,
    inventory: str | None = None,
    options: CloudOptions | None = None,
    *,
    regions: Collection[str] | None = None,
    ledger: Ledger | None = None,
) -> Bench:
    """Make the bench of that name. Raises RequestError for an unknown name, or when the inventory is missing.

    `regions`: those that EC2 is searched in for what is left; None: all that it knows. `ledger`: its processes
    share the limits of a cloud's account.
    """
    match name:
        case BenchName.LAB:
            return lab_bench(settings)
        case BenchName.HOSTS:
            if inventory is None:
                raise RequestError("the bench hosts needs an inventory", next_step="--inventory FILE")
            from harness.benches.hosts import HostsBench

            return HostsBench(Path(inventory))
        case BenchName.EC2:
            from harness.benches.ec2.bench import Ec2Bench
            from harness.model.cloud import CloudOptions
            from harness.store.account_limits import LedgerLimits

            limits = None if ledger is None else LedgerLimits(ledger.database)
            return Ec2Bench(settings, options or CloudOptions(), regions=regions, limits=limits)
        case _:
            raise RequestError(f"there is no bench {name!r}", next_step=f"benches: {', '.join(BenchName)}")


def checks(
    name: str, settings: Settings, inventory: str | None = None, *, region: str | None = None
) -> Sequence[Check]:
    """Check what a bench needs of this machine, and of an AWS account where the bench is ec2."""
    if name == BenchName.EC2:
        from harness.benches.ec2 import checks as ec2_checks
        from harness.benches.ec2.engine import engine_home

        return ec2_checks.run_checks(region, engine_home.load_engine_home(settings))
    return bench(name, settings, inventory).checks()


def benches(settings: Settings, ledger: Ledger | None = None) -> Benches:
    """Make the functions that prepare runs on the benches of these settings. `ledger`: of the runs, as in `bench`."""
    from harness.runs.prepare import Benches

    def make_bench(campaign: Campaign) -> Bench:
        return bench(campaign.bench, settings, campaign.inventory, campaign.cloud, ledger=ledger)

    def resolve_types(named: Sequence[str], campaign: Campaign) -> Sequence[str]:
        if campaign.select is None:
            return named
        from harness.campaign import selection

        catalogue = ec2_types(settings, campaign.cloud.region, market=campaign.cloud.market).catalogue
        return selection.resolve_types(named, campaign.select, catalogue.types, where=catalogue.region)

    return Benches(make_bench=make_bench, resolve_types=resolve_types)


def ledger(settings: Settings) -> Ledger:
    """Open the ledger."""
    from harness.store.ledger import Ledger

    return Ledger(settings.ledger_url, lease_s=settings.lease_s)


def service_context(
    settings: Settings,
    options: ServiceOptions,
    ledger: Ledger,
    executor: Executor | None,
    sites: HubOptions | None = None,
) -> ServiceContext:
    """Make what the requests of a service share. `executor`: None where other processes carry out its tasks.

    `sites`: None for a service without sites.
    """
    from dataclasses import replace

    from harness.service.context import make_context

    sources = run_sources(settings, ledger)
    make_bench = partial(bench, settings=settings, ledger=ledger)
    context = make_context(settings, options, ledger, benches(settings, ledger), make_bench, sources)
    if sites is not None:
        from harness.service.sites.hub_metrics import HubCollector
        from harness.service.sites.make_hub import make_hub

        hub = make_hub(sites, ledger, settings)
        context.metrics.registry.register(HubCollector(hub))
        context = replace(context, hub=hub, optional_checks={"registry": hub.why_not_ready})
    if executor is None:
        return context
    optional = {f"bench {name}": partial(find_missing, name, settings) for name in options.benches}
    return replace(
        context,
        wake=executor.wake,
        checks={"executor": executor.why_not_ready},
        optional_checks={**context.optional_checks, **optional},
    )


def find_missing(name: str, settings: Settings) -> str | None:
    """Find what a bench lacks on this machine, in one sentence, without asking a cloud; None where nothing is missing.

    Raises HarnessError where that cannot be found out.
    """
    if name == BenchName.EC2:
        from harness.benches.ec2 import checks as ec2_checks
        from harness.benches.ec2.engine import engine_home

        found = ec2_checks.check_engine(engine_home.load_engine_home(settings))
    else:
        found = bench(name, settings).checks()
    return next((f"{check.name}: {check.observed}; {check.remedy}" for check in found if not check.ok), None)


def run_sources(settings: Settings, ledger: Ledger) -> RunSources:
    """Make the functions by which a service finds what the ledger does not hold of runs."""
    from harness.service.run_sources import RememberedEvidence, RunSources

    return RunSources(
        find_evidence=RememberedEvidence(lambda line: find_evidence(line, ledger, settings)),
        collect_plots=lambda record: collect_plots(record, settings, ledger),
        list_types=lambda bench_name, region: list_types(bench_name, region, settings, ledger),
        runs_dir=settings.runs_dir,
    )


def list_types(bench_name: str, region: str | None, settings: Settings, ledger: Ledger) -> dict[str, Any]:
    """List the types of a bench, in a Region where it has some, with what runs measured: as JSON-ready data."""
    from harness.analysis import claims
    from harness.report import type_table
    from harness.runs import type_knowledge

    if bench_name == BenchName.EC2:
        listing = ec2_types(settings, region)
        types = listing.catalogue.types
        measured = type_knowledge.load_measurements(ledger, bench_name, listing.catalogue.region)
        joined = type_knowledge.join_by_name({name: info.phc for name, info in types.items()}, measured)
        return listing.document(type_table.document([*types.values()], joined))
    summaries = {name: kind.summary for name, kind in bench(bench_name, settings).types().items()}
    measured = type_knowledge.load_measurements(ledger, bench_name, None)
    joined = type_knowledge.join_by_name(claims.find_last_claims(summaries, measured), measured)
    return {"schema": type_table.SCHEMA, "bench": bench_name, "types": type_table.plain_document(summaries, joined)}


def sweep(
    settings: Settings,
    selection: LeftoverFilter,
    progress: Callable[[str], None],
    *,
    bench_name: str | None = None,
    regions: Sequence[str] = (),
) -> Sweep:
    """Make the sweep of a bench, or of all that have made hosts; in EC2 of these Regions and of all that are known.

    Raises RequestError where EC2 is to be searched and no Region is known.
    """
    from harness.runs.sweep import Place, Sweep

    books = ledger(settings)
    places = [Place(bench=BenchName.LAB)] if bench_name in (None, BenchName.LAB) else []
    if bench_name == BenchName.EC2 or (bench_name is None and (regions or books.knows_bench(BenchName.EC2))):
        from harness.benches.bench import BenchError
        from harness.benches.ec2.bench import Ec2Bench
        from harness.model.cloud import CloudOptions

        known = {*regions, *books.regions(BenchName.EC2)}
        try:
            known |= {*Ec2Bench(settings, CloudOptions()).list_regions()}
        except BenchError as error:
            if not known:
                raise RequestError(error.message, next_step=error.next_step) from error
        places += [Place(bench=BenchName.EC2, region=region) for region in sorted(known)]

    def make_bench(name: str, regions: Collection[str] | None) -> Bench:
        return bench(name, settings, regions=regions, ledger=books)

    return Sweep(places, make_bench, books, selection, progress)


def evidence_sender(settings: Settings, ledger: Ledger, pause: Callable[[float], bool]) -> EvidenceSender:
    """Make the sender of evidence. Raises RequestError when no evidence store is named."""
    from harness.runs.evidence_sending import make_sender

    sender = make_sender(ledger, settings, pause)
    if sender is None:
        raise RequestError(
            "no evidence store is named",
            next_step="--evidence s3://BUCKET/PREFIX, or the variable PTP_HARNESS_EVIDENCE_URL",
        )
    return sender


def find_evidence(line: RunLine, ledger: Ledger, settings: Settings) -> FoundEvidence:
    """Find the evidence of a run, here or in the evidence store. Raises RequestError and SetupError."""
    import threading

    from harness.store import evidence_fetch
    from harness.store.object_store import open_store

    places = evidence_fetch.EvidencePlaces(
        runs_dir=settings.runs_dir,
        cache_dir=settings.cache_dir,
        store=None if settings.evidence is None else open_store(settings.evidence),
        pause=threading.Event().wait,
    )
    return evidence_fetch.find_evidence(line, ledger, places)


def collect_plots(
    record: RunRecord, settings: Settings, books: Ledger | None = None
) -> tuple[dict[str, ClockPlots], str | None]:
    """Collect what the plots of a run's hosts show, and tell in one sentence why some are not there, if so.

    `books`: the ledger, where it is open already. The evidence is looked for on this machine, then in the evidence
    store; a store that fails is no error.
    """
    from dataclasses import replace
    from functools import cache

    from harness.errors import HarnessError
    from harness.runs import campaign_run, report_plots

    books = books or ledger(settings)
    line = books.find(record.run)
    try:
        found = find_evidence(line, books, settings)
        trouble = f"the evidence of {', '.join(found.missing)} is not on this machine" if found.missing else None
    except HarnessError as error:
        found, trouble = find_evidence(line, books, replace(settings, evidence=None)), error.message
    read_campaign = cache(lambda: campaign_run.read_campaign(record.run, books))
    return report_plots.collect_plots(record, found.folder, found.missing, read_campaign), trouble


def forecast_on_ec2(plan: Plan, settings: Settings) -> Ec2Forecast:
    """Forecast a plan's needs and cost on EC2; an unknown value is None. Raises RequestError or SetupError."""
    from harness.benches.ec2.account import permissions, quotas
    from harness.benches.ec2.api.api import Api
    from harness.campaign import ec2_forecast

    options = plan.campaign.cloud
    listing = ec2_types(settings, options.region, market=options.market)
    types, region = listing.catalogue.types, listing.catalogue.region
    planned_types = [types[host.instance_type] for host in plan.hosts]
    return ec2_forecast.forecast(
        plan,
        types,
        quotas.load(Api(region), planned_types, types, market=options.market),
        region=region,
        market=options.market,
        zones=options.zones,
        actions=permissions.actions_of_runs(),
        why_unpriced=listing.prices.why_unknown,
    )


def bake_context(settings: Settings, controls: RunControls) -> BakeContext:
    """Make the context of a bake in EC2, the only bench that makes images."""
    from harness.runs.bake import BakeContext

    def make_image_maker(source: Bench, pause: Callable[[float], None]) -> ImageMaker:
        from harness.benches.ec2 import image_maker
        from harness.benches.ec2.bench import Ec2Bench

        if not isinstance(source, Ec2Bench):
            raise TypeError(f"the bench {source.name} makes no images")
        return image_maker.Ec2ImageMaker(bench=source, pause=pause)

    return BakeContext(
        benches=benches(settings),
        make_image_maker=make_image_maker,
        ledger=ledger(settings),
        settings=settings,
        controls=controls,
    )


def baked_images(region: str | None, settings: Settings) -> tuple[str, Sequence[BakedImage]]:
    """List our images in a Region, oldest first, after the Region's name. Raises RequestError and BenchError."""
    from harness.benches.ec2.account import signing
    from harness.benches.ec2.images import baked_images as image_list

    api = _api(region)
    return api.region, image_list.list_images(api, signing.load(settings))


def remove_images(region: str, images: Sequence[BakedImage]) -> None:
    """Remove our images and their snapshots. Raises CleanupError."""
    from harness.benches.ec2.images import baked_images as image_list

    image_list.remove(_api(region), images)


def ec2_cached_types(settings: Settings, region: str | None) -> list[tuple[str, str]]:
    """List a Region's types (default: of the newest list) from the cached list, with a line about each."""
    from harness.benches.ec2.market import offline

    return offline.types(settings.cache_dir, region)


def ec2_cached_families(settings: Settings, region: str | None) -> list[tuple[str, str]]:
    """List the families of a Region's types, from the cached list."""
    from harness.benches.ec2.market import offline

    return offline.families(settings.cache_dir, region)


def ec2_cached_regions(settings: Settings) -> list[tuple[str, str]]:
    """List the Regions of which a list of types is cached."""
    from harness.benches.ec2.market import offline

    return offline.regions(settings.cache_dir)


def ec2_steps(region: str | None) -> str:
    """Format the steps by which a person proves what only a real AWS account can prove."""
    from harness.benches.ec2.account import account_steps

    return account_steps.text(_api(region).region)


def ec2_types(
    settings: Settings,
    region: str | None,
    *,
    market: Market = Market.ON_DEMAND,
    offline: bool = False,
    refresh: bool = False,
) -> Listing:
    """List the types of a Region with prices. Raises RequestError or SetupError if there is no list."""
    from harness.benches.ec2.market import listing

    return listing.load(_api(region), settings.cache_dir, market=market, offline=offline, refresh=refresh)


def _api(region: str | None) -> Api:
    from harness.benches.bench import BenchError
    from harness.benches.ec2.api.api import Api

    try:
        return Api(region)
    except BenchError as error:
        raise RequestError(error.message, next_step=error.next_step) from error
