"""`types`: list instance types, what the API claims of their clocks, and what was measured."""

import datetime
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness import wiring
from harness.analysis import claims
from harness.analysis.claims import TypeKnowledge
from harness.campaign import selection
from harness.campaign.selection import PhcClaim, Selection
from harness.cli import completion, figure_options, output
from harness.cli.type_figures import BY_FIGURE, FigureChoice, SortOrder
from harness.errors import RequestError
from harness.model.bench_traits import BenchName
from harness.model.cloud import TypeInfo
from harness.model.ec2_enums import Architecture, Market
from harness.report import type_table as rendered
from harness.report.type_table import ExportForm
from harness.runs.type_knowledge import load_measurements
from harness.store.evidence_folder import EvidenceFolder
from harness.system import settings

if TYPE_CHECKING:
    from harness.benches.ec2.market.listing import Listing


_ORDERS: Mapping[SortOrder, Callable[[TypeInfo], Any]] = {
    SortOrder.NAME: lambda info: 0,  # the catalogue's order: by family and size
    SortOrder.VCPUS: lambda info: info.vcpus,
    SortOrder.MEMORY: lambda info: info.memory_mib,
    SortOrder.PRICE: lambda info: (info.price_per_hour_usd is None, info.price_per_hour_usd or 0.0),
    SortOrder.OFFSET: lambda info: 0,  # by a figure, once it is known what was measured
    SortOrder.BOUND: lambda info: 0,
}

Patterns = list[str] | None


def types(
    bench: Annotated[str, typer.Option(metavar="NAME", help="ec2 or lab.")] = "ec2",
    region: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The Region (default: that of the AWS settings).", autocompletion=completion.regions
        ),
    ] = None,
    phc: Annotated[PhcClaim, typer.Option(help="The required claim of the API about the clock.")] = PhcClaim.ANY,
    family: Annotated[
        Patterns,
        typer.Option(metavar="PATTERN", help="m7i, 'c8*'; may be repeated.", autocompletion=completion.families),
    ] = None,
    size: Annotated[Patterns, typer.Option(metavar="PATTERN", help="large, '*xlarge'; may be repeated.")] = None,
    arch: Annotated[Architecture | None, typer.Option(help="The architecture.")] = None,
    min_vcpus: Annotated[int | None, typer.Option(min=1, metavar="N", help="At least so many.")] = None,
    max_vcpus: Annotated[int | None, typer.Option(min=1, metavar="N", help="At most so many.")] = None,
    min_memory: Annotated[float | None, typer.Option(min=0, metavar="GIB", help="At least so much memory.")] = None,
    max_memory: Annotated[float | None, typer.Option(min=0, metavar="GIB", help="At most so much memory.")] = None,
    max_price: Annotated[float | None, typer.Option(min=0, metavar="USD", help="Per hour.")] = None,
    current: Annotated[bool, typer.Option("--current", help="Only the current generation.")] = False,
    one_size: Annotated[bool, typer.Option("--one-size", help="Only the smallest size of each family.")] = False,
    max_offset: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only types measured with an offset of at most this: 1us.")
    ] = None,
    max_bound: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only types measured with a bound of at most this: 50us.")
    ] = None,
    exclude: Annotated[Patterns, typer.Option(metavar="PATTERN", help="Types or families; may be repeated.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="Only the first N.")] = None,
    spot: Annotated[bool, typer.Option("--spot", help="With the prices of spot instances.")] = False,
    sort: Annotated[SortOrder, typer.Option(help="The sort order.")] = SortOrder.NAME,
    measured: Annotated[bool, typer.Option("--measured", help="With the verdicts of your own runs.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask AWS: show the cached list.")] = False,
    refresh: Annotated[bool, typer.Option("--refresh", help="Ask AWS again, even if the cached list is new.")] = False,
    export: Annotated[
        tuple[ExportForm, Path] | None,
        typer.Option(metavar="csv|json FILE", help="Write claims and all verdicts to a file."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")] = False,
) -> None:
    """List instance types and what the API claims of their clocks.

    Types are cached for a day and prices for a week; their age is shown. A claim is no proof: --measured puts the
    verdicts and figures of your own runs beside it, and marks contradictions: of each type the latest verdict that
    tells whether there is a clock. --max-offset, --max-bound and --sort offset or bound need --measured.

    Examples:
        ptp-harness types --region eu-north-1 --phc supported
        ptp-harness types --phc supported --arch arm64 --max-vcpus 4 --sort price
        ptp-harness types --family m7i --family 'c8*' --one-size --json
        ptp-harness types --offline --measured --export csv phc.csv
        ptp-harness types --bench lab --measured
        ptp-harness types --measured --max-offset 1us --max-bound 50us --sort bound
    """
    conditions = Selection(
        phc=phc,
        family=tuple(family or ()),
        size=tuple(size or ()),
        arch=arch,
        min_vcpus=min_vcpus,
        max_vcpus=max_vcpus,
        min_memory_gib=min_memory,
        max_memory_gib=max_memory,
        max_price_per_hour=max_price,
        current_generation=current,
        exclude=tuple(exclude or ()),
        one_size_per_family=one_size,
        limit=limit,
    )
    if mistakes := selection.selection_mistakes(conditions):
        raise RequestError("; ".join(mistakes), next_step="`ptp-harness types --help` explains the options")
    figures = FigureChoice(
        max_offset_ns=figure_options.parse_ns("--max-offset", max_offset),
        max_bound_ns=figure_options.parse_ns("--max-bound", max_bound),
        sort=sort,
    )
    figures.check(measured=measured)
    if export and not export[1].absolute().parent.is_dir():
        raise RequestError(f"there is no folder {export[1].parent} here")
    configuration = settings.load()
    if bench == BenchName.EC2:
        market = Market.SPOT if spot else Market.ON_DEMAND
        listing = wiring.ec2_types(configuration, region, market=market, offline=offline, refresh=refresh)
        verdicts = (
            load_measurements(wiring.ledger(configuration), bench, listing.catalogue.region)
            if measured or export
            else []
        )
        claimed = {name: info.phc for name, info in listing.catalogue.types.items()}
        joined = claims.join_measurements(claimed, verdicts) if measured else None
        _show_ec2(listing, conditions, figures, joined, json=json)
        rows = claims.build_export_rows(
            claimed, verdicts, region=listing.catalogue.region, taken=listing.catalogue.as_of
        )
    elif conditions != Selection() or region or sort not in (SortOrder.NAME, *BY_FIGURE):
        raise RequestError(f"the types of bench {bench} are not chosen by conditions", next_step="list them all")
    else:
        summaries = {name: kind.summary for name, kind in wiring.bench(bench, configuration).types().items()}
        verdicts = load_measurements(wiring.ledger(configuration), bench, None) if measured or export else []
        claimed = claims.find_last_claims(summaries, verdicts)
        joined = claims.join_measurements(claimed, verdicts) if measured else None
        _show_plain(bench, summaries, figures.choose(joined), json=json)
        rows = claims.build_export_rows(claimed, verdicts, region=bench, taken=None)
    if export:
        _write(rows, *export)


def _show_ec2(
    listing: "Listing",
    conditions: Selection,
    figures: FigureChoice,
    joined: Iterable[TypeKnowledge] | None,
    *,
    json: bool,
) -> None:
    offered = listing.catalogue.types
    choice = selection.select_types(offered.values(), conditions)
    shown = sorted(choice.types, key=_ORDERS[figures.sort])
    counts = dict(choice.removed)
    measured = figures.choose(joined)
    if measured is not None:
        places = {name: place for place, name in enumerate(measured)}
        counts[figures.describe()] = sum(info.name not in places for info in shown)
        shown = [info for info in shown if info.name in places]
        if figures.sort in BY_FIGURE:
            shown.sort(key=lambda info: places[info.name])
    if json:
        output.emit(listing.document(rendered.document(shown, measured)))
    for line in () if json else rendered.lines(shown, measured):
        output.show(line)
    for line in listing.ages:
        output.say(line)
    removed = ", ".join(f"{condition} {number}" for condition, number in counts.items() if number)
    output.say(f"{len(shown)} of {len(offered)} types{f'; left out by {removed}' if removed else ''}")


def _show_plain(
    bench: str, summaries: Mapping[str, str], knowledge: Mapping[str, TypeKnowledge] | None, *, json: bool
) -> None:
    measured = None if knowledge is None else {name: knowledge[name] for name in knowledge if name in summaries}
    if measured is not None:
        summaries = {name: summaries[name] for name in measured}
    if json:
        types = rendered.plain_document(summaries, measured)
        output.emit({"schema": rendered.SCHEMA, "bench": bench, "types": types})
        return
    for line in rendered.plain_lines(summaries, measured):
        output.show(line)


def _write(rows: Sequence[Mapping[str, str]], form: ExportForm, path: Path) -> None:
    EvidenceFolder(path.absolute().parent).write(
        path.name, rendered.export(rows, form, exported=datetime.datetime.now(datetime.UTC))
    )
    output.say(f"{path}: {len(rows)} rows")
