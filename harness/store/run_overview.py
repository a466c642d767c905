"""Sum up each run of the ledger: verdicts by outcome, and kept hosts. Select runs by these facts."""

import datetime
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import islice

from harness import units
from harness.model import HostRecord, HostState, Outcome
from harness.model.bench_traits import BenchTraits, traits_of_recorded
from harness.model.records import LEAST_BILLED_S
from harness.store.ledger import Ledger
from harness.store.ledger_lines import HostSummary, RunLine
from harness.store.run_query import RunQuery, RunState

_PAGE = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOverview:
    """A run with its hosts in the order of its campaign.

    `kept_cost_usd`: what its kept hosts cost so far, from the price that their run paid; None where that is unknown.
    """

    line: RunLine
    hosts: tuple[HostSummary, ...]
    kept_cost_usd: float | None = None

    @property
    def state(self) -> RunState:
        return self.line.state

    @property
    def started(self) -> datetime.datetime:
        return units.utc_moment(self.line.started_ns)

    @property
    def verdicts(self) -> Mapping[Outcome, int]:
        """The number of hosts for each outcome that occurs, the best outcome first."""
        counts = Counter(host.outcome for host in self.hosts)
        return {outcome: counts[outcome] for outcome in Outcome if counts[outcome]}

    @property
    def offset_p99_ns(self) -> float | None:
        """The worst offset of its hosts, by its size; None: none has figures."""
        return max((host.offset_p99_ns for host in self.hosts if host.offset_p99_ns is not None), default=None)

    @property
    def bound_p99_ns(self) -> float | None:
        """The worst bound of its hosts; None: none was observed."""
        return max((host.bound_p99_ns for host in self.hosts if host.bound_p99_ns is not None), default=None)

    @property
    def kept_hosts(self) -> tuple[HostSummary, ...]:
        """The hosts that were kept. Machines that existed before the run do not count as kept."""
        if not self._traits.makes_hosts:
            return ()
        return tuple(host for host in self.hosts if host.state is HostState.KEPT)

    @property
    def kept_until(self) -> datetime.datetime | None:
        """When the first of the kept hosts ends by its lease; None where no lease ends a host."""
        ends = [host.kept_until_ns for host in self.kept_hosts if host.kept_until_ns is not None]
        return units.utc_moment(min(ends)) if ends else None

    @property
    def kept_by(self) -> tuple[str, ...]:
        """The keepers of the run's hosts, each once."""
        return tuple(dict.fromkeys(host.kept_by for host in self.kept_hosts if host.kept_by))

    @property
    def _traits(self) -> BenchTraits:
        return traits_of_recorded(self.line.bench)

    @property
    def failed(self) -> bool:
        """Whether the run died, or a verdict is FAIL or INCONCLUSIVE."""
        return self.line.died() or not {Outcome.FAIL, Outcome.INCONCLUSIVE}.isdisjoint(self.verdicts)


def list_overviews(
    ledger: Ledger,
    *,
    query: RunQuery = RunQuery(),  # noqa: B008 (it is frozen)
    types: Sequence[str] = (),
    failed: bool = False,
    before: str | None = None,
    after: str | None = None,
    most: int | None = None,
) -> list[RunOverview]:
    """List the runs that meet all conditions, in the order of `query`.

    `types` are patterns of which one type must match one. `before`: only runs that were begun before this one; `after`:
    only runs that come after this one in the list. Raises RequestError when there is no such run.
    """
    found = (
        overview
        for overview in _read_pages(ledger, query, before, after)
        if (not types or any(fnmatchcase(host.instance_type, pattern) for host in overview.hosts for pattern in types))
        and (not failed or overview.failed)
    )
    return list(islice(found, most))


def find(ledger: Ledger, run: str) -> RunOverview:
    """Find the overview of one run. Raises RequestError."""
    (overview,) = make_overviews([ledger.find(run)], ledger)
    return overview


def make_overviews(lines: Sequence[RunLine], ledger: Ledger) -> list[RunOverview]:
    """Make the overviews of runs, in their order."""
    by_run: dict[str, list[HostSummary]] = {}
    for host in ledger.host_summaries([line.run for line in lines]):
        by_run.setdefault(host.run, []).append(host)
    return [_add_cost(RunOverview(line=line, hosts=tuple(by_run.get(line.run, ()))), ledger) for line in lines]


def _read_pages(ledger: Ledger, query: RunQuery, before: str | None, after: str | None) -> Iterator[RunOverview]:
    """Read runs page by page: a reader that needs few reads few."""
    while lines := ledger.runs(most=_PAGE, before=before, after=after, query=query):
        yield from make_overviews(lines, ledger)
        after = lines[-1].run


def _add_cost(overview: RunOverview, ledger: Ledger) -> RunOverview:
    """Add what the kept hosts cost so far."""
    if not overview.kept_hosts:
        return overview
    now_ns, begun_ns = ledger.now_ns(), {host.host: host.begun_ns for host in overview.kept_hosts}
    costs = [
        compute_cost_usd(
            line.record, (min(now_ns, line.kept_until_ns or now_ns) - (begun_ns[line.host] or now_ns)) / 1e9
        )
        for line in ledger.hosts(overview.line.run)
        if line.host in begun_ns and line.record is not None
    ]
    known = [cost for cost in costs if cost is not None]
    return replace(overview, kept_cost_usd=round(sum(known), 4) if known else None)


def compute_cost_usd(record: HostRecord, seconds: float) -> float | None:
    """Compute the cost of a host for so many seconds, at its run's price; None where the record has no cost."""
    if record.cost_usd is None:
        return None
    return record.cost_usd * max(seconds, LEAST_BILLED_S) / max(sum(record.stages.values()), LEAST_BILLED_S)


def describe_kept(overview: RunOverview) -> str:
    """Say how many hosts a run keeps, and until when: "kept 1 until 14:05 UTC"; empty when it keeps none.

    While a living run asks which of its hosts stay, the hosts that wait are counted: "2 undecided".
    """
    undecided = sum(host.state is HostState.UNDECIDED for host in overview.hosts)
    if undecided and overview.line.alive():
        return f"{undecided} undecided"
    if not overview.kept_hosts:
        return ""
    until, parts = overview.kept_until, [f"kept {len(overview.kept_hosts)}"]
    if until is not None:
        now = datetime.datetime.now(datetime.UTC)
        clock = units.clock_time(until, now)
        parts.append(f"{'until' if until > now else 'whose lease ended'} {clock} UTC")
    if overview.kept_by:
        parts.append(f"by {', '.join(overview.kept_by)}")
    if overview.kept_cost_usd is not None:
        parts.append(f"({units.usd(overview.kept_cost_usd)} so far)")
    return " ".join(parts)
