"""Sum up each run of the ledger: verdicts by outcome, and kept hosts. Select runs by these facts."""

import datetime
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from harness import units
from harness.model import HostState, Outcome
from harness.model.bench_traits import BenchTraits, traits_of_recorded
from harness.store.ledger import Ledger
from harness.store.ledger_lines import HostSummary, RunLine


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOverview:
    """A run with its hosts in the order of its campaign."""

    line: RunLine
    hosts: tuple[HostSummary, ...]

    @property
    def state(self) -> str:
        return "ended" if self.line.ended else "under way" if self.line.alive() else "died"

    @property
    def started(self) -> datetime.datetime:
        return units.utc_moment(self.line.started_ns)

    @property
    def verdicts(self) -> Mapping[Outcome, int]:
        """The number of hosts for each outcome that occurs, the best outcome first."""
        counts = Counter(host.outcome for host in self.hosts)
        return {outcome: counts[outcome] for outcome in Outcome if counts[outcome]}

    @property
    def kept_hosts(self) -> tuple[HostSummary, ...]:
        """The hosts that were kept. Machines that existed before the run do not count as kept."""
        if not self._traits.makes_hosts:
            return ()
        return tuple(host for host in self.hosts if host.state is HostState.KEPT)

    @property
    def kept_until(self) -> datetime.datetime | None:
        """When the first of the kept hosts ends by its lease; None where no lease ends a host."""
        ends = [host.begun_ns + round(host.lease_s * 1e9) for host in self.kept_hosts if host.begun_ns and host.lease_s]
        return units.utc_moment(min(ends)) if ends and self._traits.cloud else None

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
    types: Sequence[str] = (),
    failed: bool = False,
    since: datetime.datetime | None = None,
) -> list[RunOverview]:
    """List the runs that meet all conditions, newest first. `types` are patterns of which one type must match one."""
    by_run: dict[str, list[HostSummary]] = {}
    for host in ledger.host_summaries():
        by_run.setdefault(host.run, []).append(host)
    overviews = [RunOverview(line=line, hosts=tuple(by_run.get(line.run, ()))) for line in ledger.runs()]
    return [
        overview
        for overview in overviews
        if (not types or any(fnmatchcase(host.instance_type, pattern) for host in overview.hosts for pattern in types))
        and (not failed or overview.failed)
        and (since is None or overview.started >= since)
    ]


def describe_kept(overview: RunOverview) -> str:
    """Say how many hosts a run keeps, and until when: "kept 1 until 14:05 UTC"; empty when it keeps none.

    While a living run asks which of its hosts stay, the hosts that wait are counted: "2 undecided".
    """
    undecided = sum(host.state is HostState.UNDECIDED for host in overview.hosts)
    if undecided and overview.line.alive():
        return f"{undecided} undecided"
    if not overview.kept_hosts:
        return ""
    until = overview.kept_until
    if until is None:
        return f"kept {len(overview.kept_hosts)}"
    now = datetime.datetime.now(datetime.UTC)
    clock = units.clock_time(until, now)
    return f"kept {len(overview.kept_hosts)} {'until' if until > now else 'whose lease ended'} {clock} UTC"
