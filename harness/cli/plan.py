"""`plan`: what a run would do, without doing it."""

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
    keep: campaign_options.KeepWhich = None,
    parallel: campaign_options.Parallel = None,
    read_only: campaign_options.ReadOnly = False,
    duration: campaign_options.Duration = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")] = False,
) -> None:
    """Say what a run would do: hosts, order, limits, time, cost.

    Nothing is made. For EC2 it says zones, placement, quotas and permissions too, and what could not be asked.
    Warnings say what to mind beforehand; a run says them too.

    Examples:
        ptp-harness plan lab.phc lab.drifting
        ptp-harness plan campaign.yaml --json
        ptp-harness plan m7i.large c7g.large --region eu-north-1
        ptp-harness plan --inventory hosts.yaml all --read-only
    """
    where = {"bench": bench, "inventory": inventory, "region": region, "image": image}
    flags = where | {"depth": depth, "keep": keep, "parallel": parallel}
    asked = campaign_options.load_campaign(targets, read_only=read_only, duration=duration, **flags)
    configuration = settings.load()
    with campaign_options.placing_unknown_types(targets):
        prepared = prepare(asked, configuration, wiring.benches(configuration), fetch_driver=False)
    made = prepared.plan
    outlook = wiring.forecast_on_ec2(made, configuration) if asked.bench == BenchName.EC2 else None
    if json:
        output.emit(_document(made) | ({"ec2": rendered.document(outlook)} if outlook else {}))
    lines = _lines(made, {name: kind.summary for name, kind in prepared.bench.types().items()})
    for line in () if json else [*lines, *(rendered.lines(outlook) if outlook else ())]:
        output.show(line)
    for warning in [*made.warnings, *(outlook.warnings if outlook else ())]:
        output.say(f"warning: {warning}")


def _document(made: Plan) -> dict[str, object]:
    return {
        "schema": 1,
        "bench": made.campaign.bench,
        "hosts": [{"name": host.name, "instance_type": host.instance_type} for host in made.hosts],
        "parallel": made.parallel,
        "expires": made.expires.isoformat(timespec="seconds"),
        "estimated_s": made.estimated_s,
        "depth": made.campaign.depth.value,
        "read_only": made.campaign.read_only,
        "measure": {"duration_s": made.campaign.measure_duration_s, "interval_s": made.campaign.measure_interval_s},
        "limits": [asdict(requirement) for requirement in made.campaign.requirements],
        "warnings": list(made.warnings),
    }


def _lines(made: Plan, summaries: dict[str, str]) -> list[str]:
    asked = made.campaign
    hosts = [f"  {host.name:<18} {summaries[host.instance_type]}" for host in made.hosts]
    limits = [
        f"  {one.quantity} {one.statistic} {one.comparison} {units.with_unit(one.value, one.unit)} ({one.source})"
        for one in asked.requirements
    ]
    about = (
        f"{len(hosts)} host{'s' if len(hosts) > 1 else ''} on bench {asked.bench}, {made.parallel} at once"
        f", depth {asked.depth}"
        f"{', read only' if asked.read_only else ''}, {asked.measure_duration_s:g} s of measuring each; "
        f"about {made.estimated_s / 60:.0f} min"
    )
    return [about, *hosts, "limits:", *limits]
