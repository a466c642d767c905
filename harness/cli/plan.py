"""`plan`: print what a run would do, without doing it."""

from dataclasses import asdict
from typing import Annotated

import typer

from harness import units, wiring
from harness.campaign.run_plan import Plan
from harness.cli import campaign_options, output
from harness.model.bench_traits import BenchName
from harness.report import forecast_text as rendered
from harness.runs.prepare import prepare
from harness.system import settings


def plan(
    targets: campaign_options.Targets,
    bench: campaign_options.BenchName = None,
    inventory: campaign_options.Inventory = None,
    region: campaign_options.Region = None,
    image: campaign_options.ImageName = None,
    depth: campaign_options.DepthName = None,
    disturb: campaign_options.Disturb = None,
    keep: campaign_options.KeepWhich = None,
    parallel: campaign_options.Parallel = None,
    read_only: campaign_options.ReadOnly = False,
    duration: campaign_options.Duration = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")] = False,
) -> None:
    """Say what a run would do: hosts, order, limits, time, cost.

    Nothing is made. For EC2 the plan also has zones, placement, quotas and permissions, and names what AWS did not
    answer. A run prints the same warnings.

    Examples:
        ptp-harness plan lab.phc lab.drifting
        ptp-harness plan campaign.yaml --json
        ptp-harness plan m7i.large c7g.large --region eu-north-1
        ptp-harness plan --inventory hosts.yaml all --read-only
    """
    source = {"bench": bench, "inventory": inventory, "region": region, "image": image}
    flags = source | {"depth": depth, "disturbances": disturb or None, "keep": keep, "parallel": parallel}
    requested = campaign_options.load_campaign(targets, read_only=read_only, duration=duration, **flags)
    configuration = settings.load()
    with campaign_options.placing_unknown_types(targets):
        prepared = prepare(requested, configuration, wiring.benches(configuration), fetch_driver=False)
    run_plan = prepared.plan
    forecast = wiring.forecast_on_ec2(run_plan, configuration) if requested.bench == BenchName.EC2 else None
    if json:
        output.emit(_document(run_plan) | ({"ec2": rendered.document(forecast)} if forecast else {}))
    lines = _lines(run_plan, {name: kind.summary for name, kind in prepared.bench.types().items()})
    for line in () if json else [*lines, *(rendered.lines(forecast) if forecast else ())]:
        output.show(line)
    for warning in [*run_plan.warnings, *(forecast.warnings if forecast else ())]:
        output.say(f"warning: {warning}")


def _document(run_plan: Plan) -> dict[str, object]:
    return {
        "schema": 1,
        "bench": run_plan.campaign.bench,
        "hosts": [{"name": host.name, "instance_type": host.instance_type} for host in run_plan.hosts],
        "parallel": run_plan.parallel,
        "expires": run_plan.expires.isoformat(timespec="seconds"),
        "estimated_s": run_plan.estimated_s,
        "depth": run_plan.campaign.depth.value,
        "disturbances": list(run_plan.campaign.disturbances),
        "read_only": run_plan.campaign.read_only,
        "measure": {
            "duration_s": run_plan.campaign.measure_duration_s,
            "interval_s": run_plan.campaign.measure_interval_s,
        },
        "limits": [asdict(requirement) for requirement in run_plan.campaign.requirements],
        "profiles": [profile.name for profile in run_plan.campaign.profiles],
        "warnings": list(run_plan.warnings),
    }


def _lines(run_plan: Plan, summaries: dict[str, str]) -> list[str]:
    campaign = run_plan.campaign
    hosts = [f"  {host.name:<18} {summaries[host.instance_type]}" for host in run_plan.hosts]
    limits = [
        f"  {limit.quantity} {limit.statistic} {limit.comparison} "
        f"{units.with_unit(limit.value, limit.unit)} ({limit.source})"
        for limit in campaign.requirements
    ]
    summary = (
        f"{len(hosts)} host{'s' if len(hosts) > 1 else ''} on bench {campaign.bench}, {run_plan.parallel} at once"
        f", depth {campaign.depth}"
        f"{', read only' if campaign.read_only else ''}, {campaign.measure_duration_s:g} s of measuring each; "
        f"about {run_plan.estimated_s / 60:.0f} min"
    )
    profiles = [f"  profile {profile.name}: {profile.title} ({profile.edition})" for profile in campaign.profiles]
    disturbances = [f"disturbances: {', '.join(campaign.disturbances)}"] if campaign.disturbances else []
    return [summary, *hosts, *disturbances, "limits:", *limits, *profiles]
