"""What could the word be that is being typed? Instance types, runs and hosts, for the shell's completion.

Completion never fails and never makes anything: what cannot be known completes to nothing.
"""

from __future__ import annotations  # what only types name is not imported: a Tab must be quick

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from typer import Context

from harness import wiring
from harness.errors import HarnessError
from harness.model.bench_traits import BenchName
from harness.system import settings

if TYPE_CHECKING:
    from harness.model import HostState
    from harness.store.ledger import Ledger, RunLine

MOST_RUNS = 50

Found = list[tuple[str, str]]
"""Words, and one line about each."""


def lab_types(incomplete: str) -> Found:
    """Types of the lab, for `lab up`."""
    return _begun(_lab_types, incomplete)


def targets(ctx: Context, incomplete: str) -> Found:
    """Arguments of `plan` and `run`: types of the lab and of EC2, or hosts and groups of the inventory that is named.

    EC2 has hundreds: they are offered where the bench or Region says so, or as soon as something of one is typed.
    """
    inventory, bench, region = (ctx.params.get(name) for name in ("inventory", "bench", "region"))
    if inventory:
        return _begun(lambda: _inventory(str(inventory)), incomplete)
    if region or bench == BenchName.EC2:
        return _begun(lambda: _ec2_types(region), incomplete)
    lab = _begun(_lab_types, incomplete) if bench in (None, "lab") else []
    return lab or (_begun(lambda: _ec2_types(None), incomplete) if incomplete and bench is None else [])


def ec2_types(ctx: Context, incomplete: str) -> Found:
    """Types of EC2 alone, for `image bake`."""
    return _begun(lambda: _ec2_types(ctx.params.get("region")), incomplete)


def regions(incomplete: str) -> Found:
    """Regions that were asked for their types."""
    return _begun(lambda: wiring.ec2_kept_regions(settings.load()), incomplete)


def families(ctx: Context, incomplete: str) -> Found:
    """Families of the Region's types, for `types`."""
    return _begun(lambda: wiring.ec2_kept_families(settings.load(), ctx.params.get("region")), incomplete)


def lab_hosts(incomplete: str) -> Found:
    """Hosts of `lab up`, for `lab ssh` and `lab down`."""
    return _begun(_lab_hosts, incomplete)


def lab_snapshots(incomplete: str) -> Found:
    """Snapshots of lab hosts."""
    return _begun(_lab_snapshots, incomplete)


def runs(incomplete: str) -> Found:
    """The latest runs."""
    return _begun(_runs, incomplete)


def dead_runs(incomplete: str) -> Found:
    """The latest of which the process died."""
    return _begun(lambda: _runs(lambda line: line.died()), incomplete)


def report_forms(incomplete: str) -> Found:
    """Forms of a report, for --format."""
    from harness.report.formats import Format

    return _begun(lambda: [(form.value, "") for form in Format], incomplete)


def hosts(ctx: Context, incomplete: str) -> Found:
    """Hosts of the run that was named before."""
    return _begun(lambda: _hosts(ctx, lambda _: True), incomplete)


def kept_hosts(ctx: Context, incomplete: str) -> Found:
    """Hosts of the run that were kept."""
    from harness.model import HostState

    return _begun(lambda: _hosts(ctx, lambda state: state is HostState.KEPT), incomplete)


def _begun(look: Callable[[], Iterable[tuple[str, str]]], incomplete: str) -> Found:
    try:
        return [(word, about) for word, about in look() if word.startswith(incomplete)]
    except (HarnessError, OSError):
        return []


def _lab_types() -> Found:
    return [(kind.name, kind.summary) for kind in wiring.lab_bench(settings.load()).types().values()]


def _ec2_types(region: str | None) -> Found:
    return wiring.ec2_kept_types(settings.load(), region)


def _inventory(file: str) -> Found:
    return [(kind.name, kind.summary) for kind in wiring.bench("hosts", settings.load(), file).types().values()]


def _lab_hosts() -> Found:
    records = wiring.lab_bench(settings.load()).records.all()
    return [(record.token.host, record.instance_type) for record in records if record.token.run == "lab"]


def _lab_snapshots() -> Found:
    snapshots = wiring.lab_bench(settings.load()).snapshots.all()
    return [(one.name, f"{one.instance_type}, {one.created_utc}") for one in snapshots]


def _runs(wanted: Callable[[RunLine], bool] = lambda _: True) -> Found:
    ledger = _books()
    return [(line.run, _about(line, ledger)) for line in ledger.runs()[:MOST_RUNS] if wanted(line)] if ledger else []


def _about(line: RunLine, ledger: Ledger) -> str:
    return f"{line.bench}: {', '.join(host.instance_type for host in ledger.hosts(line.run))}"


def _hosts(ctx: Context, wanted: Callable[[HostState | None], bool]) -> Found:
    ledger, run = _books(), ctx.params.get("run")
    lines = ledger.hosts(ledger.find(str(run)).run) if ledger and run else []
    return [(line.host, line.instance_type) for line in lines if wanted(line.state)]


def _books() -> Ledger | None:
    """The ledger, if there is one: looking must not make it."""
    configuration = settings.load()
    return wiring.ledger(configuration) if configuration.ledger_path.exists() else None
