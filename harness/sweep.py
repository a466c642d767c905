"""What is left of runs that ended or died, and its removal. Nothing that a living run still uses is removed."""

import datetime
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from harness import keeper
from harness.bench import Bench
from harness.campaigns import leftovers
from harness.errors import CleanupError
from harness.ladder import judge
from harness.ledger import HostLine, Ledger, RunLine
from harness.model import Depth, Evidence, HostRecord, HostState, Resource, RunRecord, Token

BY_HAND = "lab"
"""The run name of hosts that a person made and will remove (`ptp-harness lab up`, `lab down`): never swept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """All that one token still names, and why it may go."""

    token: Token
    resources: tuple[Resource, ...]
    why: str


def left(ledger: Ledger, bench: Bench) -> list[Left]:
    """Everything of the bench that no living run, no kept host and no hand-made lab host accounts for."""
    runs = {line.run: line for line in ledger.runs()}
    found: dict[str, list[Resource]] = {}
    for resource in bench.resources():
        found.setdefault(resource.token, []).append(resource)
    now = datetime.datetime.now(datetime.UTC)
    reasons = {token: _why(Token.parse(token), resources, runs, ledger, now) for token, resources in found.items()}
    return [
        Left(token=Token.parse(token), resources=tuple(found[token]), why=why)
        for token, why in reasons.items()
        if why is not None
    ]


def remove(items: Sequence[Left], bench: Bench) -> list[str]:
    """Release each; go on past errors. Raises CleanupError that names what could not be removed."""
    removed: list[str] = []
    failed: list[str] = []
    for item in items:
        try:
            bench.release(item.token)
            removed.append(str(item.token))
        except CleanupError as error:
            failed += error.left
    if failed:
        raise CleanupError(failed, next_step="end these processes by hand, then run `ptp-harness sweep --yes` again")
    return removed


def close_dead_runs(ledger: Ledger, bench: Bench) -> list[str]:
    """Give every host of a run whose process died its verdict, and close that run's books. Returns the runs."""
    dead = [line for line in ledger.runs() if line.bench == bench.name and line.died()]
    for line in dead:
        records = tuple(_close_host(line, host, ledger, bench) for host in ledger.hosts(line.run))
        ledger.close_run(
            RunRecord(
                run=line.run,
                bench=line.bench,
                started=datetime.datetime.fromtimestamp(line.started_ns // 10**9, datetime.UTC).isoformat(),
                seconds=round((time.time_ns() - line.started_ns) / 1e9, 1),
                interrupted=True,
                hosts=records,
                leftovers=leftovers(bench, line.run, records),
            )
        )
    return [line.run for line in dead]


def _close_host(run: RunLine, host: HostLine, ledger: Ledger, bench: Bench) -> HostRecord:
    """A host's record as its dead run left it, or the verdict that nothing is known; with what became of it."""
    if host.record is not None and host.state is not None:
        return host.record
    still = any(resource.token == str(Token(run=run.run, host=host.host)) for resource in bench.resources())
    record = host.record or HostRecord(
        name=host.host,
        instance_type=host.instance_type,
        verdict=judge(Evidence(interrupted=True), (), depth=Depth.STANDARD, read_only=False),
        facts=None,
        stages={},
        state=HostState.FAILED,
        address=None,
    )
    record = replace(record, state=HostState.FAILED if still else HostState.RELEASED)
    ledger.settle(run.run, record)
    return record


def _leased(resource: Resource, now: datetime.datetime) -> bool:
    """Whether it has a lease that goes on. One whose end cannot be read is nobody's to remove."""
    if resource.expires is None:
        return False
    try:
        ends = datetime.datetime.fromisoformat(resource.expires)
    except ValueError:
        return True
    return now < (ends if ends.tzinfo else ends.replace(tzinfo=datetime.UTC))


def _why(
    token: Token,
    resources: Sequence[Resource],
    runs: Mapping[str, RunLine],
    ledger: Ledger,
    now: datetime.datetime,
) -> str | None:
    """Why what carries this token may be removed; None when it may not.

    In an account that others use too there are hosts that are in no ledger here: theirs, until their lease has ended.
    """
    if token.run == BY_HAND:
        return None
    if (owner := keeper.of(token.run)) is not None:
        return None if owner.alive() else "the process that kept it warm died"
    run = runs.get(token.run)
    if run is None:
        if any(_leased(resource, now) for resource in resources):
            return None
        return "its run is in no ledger here" + (
            ", and its lease has ended" if any(resource.expires for resource in resources) else ""
        )
    if run.alive():
        return None
    states = {host.host: host.state for host in ledger.hosts(token.run)}
    if states.get(token.host) is HostState.KEPT:
        return None
    return "its run has ended" if run.ended else "the process of its run died"
