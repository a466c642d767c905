"""Complete instance types, runs and hosts for the shell.

Completion never fails and never makes anything: where the values cannot be read, it offers nothing.
"""

from __future__ import annotations  # what only types name is not imported: a Tab must be quick

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from typer import Context

from harness import wiring
from harness.cli.server_options import SERVER
from harness.errors import HarnessError
from harness.model.bench_traits import BenchName
from harness.system import settings

if TYPE_CHECKING:
    from harness.model import HostState
    from harness.store.ledger import Ledger
    from harness.store.ledger_lines import RunLine
    from harness.store.run_overview import RunOverview

MOST_RUNS = 50

Completions = list[tuple[str, str]]
"""Words, each with a line that describes it."""


def lab_types(incomplete: str) -> Completions:
    """Complete types of the lab, for `lab up`."""
    return _complete(_lab_types, incomplete)


def targets(ctx: Context, incomplete: str) -> Completions:
    """Complete arguments of `plan` and `run`: types of the lab and EC2, or hosts and groups of the named inventory.

    EC2 has hundreds of types: they are offered if the bench or Region is given, or after the first typed character.
    """
    inventory, bench, region = (ctx.params.get(name) for name in ("inventory", "bench", "region"))
    if inventory:
        return _complete(lambda: _inventory(str(inventory)), incomplete)
    if region or bench == BenchName.EC2:
        return _complete(lambda: _ec2_types(region), incomplete)
    lab = _complete(_lab_types, incomplete) if bench in (None, "lab") else []
    return lab or (_complete(lambda: _ec2_types(None), incomplete) if incomplete and bench is None else [])


def ec2_types(ctx: Context, incomplete: str) -> Completions:
    """Complete types of EC2, for `image bake`."""
    return _complete(lambda: _ec2_types(ctx.params.get("region")), incomplete)


def regions(incomplete: str) -> Completions:
    """Complete Regions of which a list of types is cached."""
    return _complete(lambda: wiring.ec2_cached_regions(settings.load()), incomplete)


def families(ctx: Context, incomplete: str) -> Completions:
    """Complete families of the Region's types, for `types`."""
    return _complete(lambda: wiring.ec2_cached_families(settings.load(), ctx.params.get("region")), incomplete)


def lab_hosts(incomplete: str) -> Completions:
    """Complete hosts of `lab up`, for `lab ssh` and `lab down`."""
    return _complete(_lab_hosts, incomplete)


def lab_snapshots(incomplete: str) -> Completions:
    """Complete snapshots of lab hosts."""
    return _complete(_lab_snapshots, incomplete)


def runs(incomplete: str) -> Completions:
    """Complete the latest runs."""
    return _complete(_runs, incomplete)


def dead_runs(incomplete: str) -> Completions:
    """Complete the latest runs whose process died."""
    return _complete(lambda: _runs(lambda line: line.died()), incomplete)


def report_forms(incomplete: str) -> Completions:
    """Complete forms of a report, for --format."""
    from harness.report.formats import Format

    return _complete(lambda: [(form.value, "") for form in Format], incomplete)


def comparison_forms(incomplete: str) -> Completions:
    """Complete forms of a comparison, for --format."""
    from harness.report.comparison_forms import ComparisonForm

    return _complete(lambda: [(form.value, "") for form in ComparisonForm], incomplete)


def hosts(ctx: Context, incomplete: str) -> Completions:
    """Complete hosts of the run that the command line names."""
    return _complete(lambda: _hosts(ctx, lambda _: True), incomplete)


def kept_hosts(ctx: Context, incomplete: str) -> Completions:
    """Complete hosts of the run that were kept."""
    from harness.model import HostState

    return _complete(lambda: _hosts(ctx, lambda state: state is HostState.KEPT), incomplete)


def watched_hosts(ctx: Context, incomplete: str) -> Completions:
    """Complete hosts that could be watched: kept ones of the named run, or those of the named inventory."""
    inventory, run = ctx.params.get("inventory"), ctx.params.get("kept")
    if inventory:
        return _complete(lambda: _inventory(str(inventory)), incomplete)
    return _complete(lambda: _kept_of(str(run)), incomplete) if run else []


def watched_streams(incomplete: str) -> Completions:
    """Complete clocks that are watched."""
    return _complete(_watched_streams, incomplete)


def _complete(list_words: Callable[[], Iterable[tuple[str, str]]], incomplete: str) -> Completions:
    try:
        return [(word, description) for word, description in list_words() if word.startswith(incomplete)]
    except (HarnessError, OSError):
        return []


def _lab_types() -> Completions:
    return [(kind.name, kind.summary) for kind in wiring.lab_bench(settings.load()).types().values()]


def _ec2_types(region: str | None) -> Completions:
    return wiring.ec2_cached_types(settings.load(), region)


def _inventory(file: str) -> Completions:
    return [(kind.name, kind.summary) for kind in wiring.bench("hosts", settings.load(), file).types().values()]


def _lab_hosts() -> Completions:
    records = wiring.lab_bench(settings.load()).records.all()
    return [(record.token.host, record.instance_type) for record in records if record.token.run == "lab"]


def _lab_snapshots() -> Completions:
    snapshots = wiring.lab_bench(settings.load()).snapshots.all()
    return [(snapshot.name, f"{snapshot.instance_type}, {snapshot.created_utc}") for snapshot in snapshots]


def _runs(condition: Callable[[RunLine], bool] = lambda _: True) -> Completions:
    from harness.store import run_overview  # one query, which reads no whole record

    ledger = _existing_ledger()
    overviews = run_overview.list_overviews(ledger, most=MOST_RUNS) if ledger else []
    return [(overview.line.run, _describe_run(overview)) for overview in overviews if condition(overview.line)]


def _describe_run(overview: RunOverview) -> str:
    return f"{overview.line.bench}: {', '.join(host.instance_type for host in overview.hosts)}"


def _hosts(ctx: Context, condition: Callable[[HostState | None], bool]) -> Completions:
    ledger, run = _existing_ledger(), ctx.params.get("run")
    lines = ledger.hosts(ledger.find(str(run)).run) if ledger and run else []
    return [(line.host, line.instance_type) for line in lines if condition(line.state)]


def _kept_of(run: str) -> Completions:
    from harness.model import HostState

    ledger = _existing_ledger()
    lines = ledger.hosts(ledger.find(run).run) if ledger else []
    return [(line.host, line.instance_type) for line in lines if line.state is HostState.KEPT]


def _watched_streams() -> Completions:
    from harness.store.watch_streams import WatchStreams

    ledger = _existing_ledger()
    lines = WatchStreams(ledger.database).list_streams() if ledger else []
    return [(line.stream, f"worker {line.owner}" if line.owner else "no worker") for line in lines]


def _existing_ledger() -> Ledger | None:
    """Return the ledger if it exists; completion must not create it. None where a service has the runs."""
    if os.environ.get(SERVER):
        return None
    configuration = settings.load()
    exists = configuration.ledger is not None or configuration.ledger_path.exists()
    return wiring.ledger(configuration) if exists else None
