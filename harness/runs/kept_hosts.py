"""Decide which hosts stay when a run ends; find, keep and release hosts that stayed."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from harness import units
from harness.benches.bench import Bench
from harness.campaign.choices import Keep
from harness.errors import ConflictError, HarnessError, UnknownNameError
from harness.host import lease
from harness.model import HostRecord, HostState, Machine, Outcome, Stage, Token
from harness.runs.context import RunContext
from harness.runs.release_failures import ReleaseFailures
from harness.store.ledger import Ledger
from harness.store.ledger_lines import HostLine


def keep_chosen(records: Sequence[HostRecord], context: RunContext) -> tuple[tuple[HostRecord, ...], bool]:
    """Ask which of the undecided hosts stay, and release the others.

    Return all records in their order, and whether the question was interrupted. Once the run was asked to stop, nobody
    is asked. When the question itself fails, all undecided hosts are released before the error is raised.
    """
    chosen: Collection[str] = ()
    interrupted = False
    try:
        if any(record.state is HostState.UNDECIDED for record in records) and not context.controls.stop.is_set():
            chosen = context.controls.choose(context.run, records)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        records = settle_undecided(records, chosen, context)
    return records, interrupted


def settle_undecided(
    records: Sequence[HostRecord], chosen: Collection[str], context: RunContext
) -> tuple[HostRecord, ...]:
    """Keep the chosen ones of the undecided hosts, and release the others; return all records in their order."""
    return tuple(
        record
        if record.state is not HostState.UNDECIDED
        else _settle(record, record.name in chosen, context.run, context.bench, context.ledger, context.failures)
        for record in records
    )


def find_kept(ledger: Ledger, run: str, hosts: Collection[str] = ()) -> list[HostRecord]:
    """Find the kept hosts of a run, or only the named ones. Raises ConflictError for a host that is not kept."""
    ledger.find(run)
    lines = {line.host: line for line in ledger.hosts(run)}
    kept = [line.record for line in lines.values() if line.record is not None and line.state is HostState.KEPT]
    names = [record.name for record in kept]
    mistakes = [f"{host} is {_describe_state(lines.get(host))}" for host in hosts if host not in names]
    if mistakes:
        raise ConflictError(
            f"run {run}: {'; '.join(mistakes)}", next_step=f"hosts that were kept: {', '.join(names) or 'none'}"
        )
    return [record for record in kept if not hosts or record.name in hosts]


def release_kept(run: str, records: Sequence[HostRecord], bench: Bench, ledger: Ledger) -> list[HostRecord]:
    """Remove kept hosts, continuing after errors; returns their records, settled as released or failed.

    Raises SetupError, after all hosts, when the state of one could not be booked.
    """
    failures = ReleaseFailures()
    for record in records:
        ledger.own_host(run, record.name)
    settled = [_settle(record, False, run, bench, ledger, failures) for record in records]
    failures.raise_noted()
    return settled


def keep_host(
    run: str, host: str, bench: Bench, ledger: Ledger, *, lease_s: float | None = None, by: str | None = None
) -> HostLine:
    """Keep a host that still runs though its run has ended, so that `sweep` does not remove it. Returns its new line.

    `lease_s`: the lease of the host then ends so long from now: first in the host itself, then in the tags of its
    bench, last in the ledger, so that nothing says a later end than the host's own. `by`: who keeps it; None: the user
    of this process. Raises UnknownNameError and ConflictError, and HarnessError when the host or the bench could not be
    told.
    """
    if ledger.find(run).alive():
        raise ConflictError(
            f"run {run} is still under way", next_step="wait for it; `run --keep` selects the hosts that stay"
        )
    machine = find_machine(run, host, bench, ledger)
    line = ledger.own_host(run, host)
    if line.record is None:
        raise ConflictError(f"{host} of run {run} has no verdict", next_step="`ptp-harness sweep --yes` removes it")
    record, until_ns = replace(line.record, state=HostState.KEPT), None
    if lease_s is not None:
        try:
            until_ns = _extend_lease(line.token, machine, round(lease_s), bench, ledger)
        except HarnessError:
            if line.state is not None and line.state is not HostState.UNDECIDED:
                ledger.record_state(line.token, line.record)  # as it was, and nobody's again
            raise
    ledger.record_state(line.token, record, kept_until_ns=until_ns, by=by)
    return next(each for each in ledger.hosts(run) if each.host == host)


def _extend_lease(token: Token, machine: Machine, lease_s: int, bench: Bench, ledger: Ledger) -> int:
    """Tell the host and its bench the new end of the lease; return it, ns since the epoch, in the ledger's time."""
    until_ns = ledger.now_ns() + lease_s * 10**9
    step, result = ledger.begin_step(token, Stage.KEEP), "done"
    try:
        lease.extend(machine, lease_s)
        bench.extend_lease(token, units.utc_moment(until_ns))
    except HarnessError as error:
        result = error.message
        raise
    finally:
        ledger.end_step(step, result)
    return until_ns


def settle_judged(line: HostLine, record: HostRecord, context: RunContext) -> HostRecord:
    """Settle a host that has a verdict (its `record`) but whose run died before its state was final.

    A host that passed and still runs stays where the campaign keeps such hosts; where the campaign asks, it stays
    undecided.
    """
    if line.state not in (None, HostState.UNDECIDED):
        return record
    run, bench, keep = context.run, context.bench, context.campaign.keep
    passed = record.verdict.outcome is Outcome.PASS
    stays = passed and keep is not Keep.NONE and bench.find(line.token) is not None
    if stays and context.holds_passed:
        return replace(record, state=HostState.UNDECIDED)
    return _settle(record, stays, run, bench, context.ledger, context.failures)


def find_machine(run: str, host: str, bench: Bench, ledger: Ledger) -> Machine:
    """Find a running host of a run. Raises UnknownNameError for another host, ConflictError for one that has ended."""
    ledger.find(run)
    lines = {line.host: line for line in ledger.hosts(run)}
    if host not in lines:
        raise UnknownNameError(f"run {run} has no host {host!r}", next_step=f"its hosts: {', '.join(lines)}")
    machine = bench.find(lines[host].token)
    if machine is None:
        raise ConflictError(
            f"{host} of run {run} does not run", next_step="`run --keep supported` keeps hosts that pass"
        )
    return machine


def _describe_state(line: HostLine | None) -> str:
    if line is None:
        return "not a host of it"
    return "not settled yet" if line.state in (None, HostState.UNDECIDED) else line.state.value


def _settle(
    record: HostRecord, stays: bool, run: str, bench: Bench, ledger: Ledger, failures: ReleaseFailures
) -> HostRecord:
    """Keep or release a host; return its record with the new state. A ledger error does not prevent a removal."""
    token = Token(run=run, host=record.name, attempt=record.attempt)
    before = failures.attempt(f"counting the calls for {token}", bench.api_calls, token)
    state = HostState.KEPT if stays else _release(token, bench, ledger, failures)
    after = failures.attempt(f"counting the calls for {token}", bench.api_calls, token)
    settled = replace(record, state=state, api_calls=_add_release_calls(record.api_calls, before, after))
    failures.attempt(f"booking what became of {token}", ledger.record_state, token, settled)
    return settled


def _add_release_calls(calls: float | None, before: float | None, after: float | None) -> float | None:
    """Add the API calls of the release, which another process than the run's may carry out."""
    return calls if before is None or after is None else round((calls or 0.0) + after - before, 1)


def _release(token: Token, bench: Bench, ledger: Ledger, failures: ReleaseFailures) -> HostState:
    step = failures.attempt(f"booking the release of {token}", ledger.begin_step, token, Stage.RELEASE)
    error = failures.release(bench, token)
    if step is not None:
        failures.attempt(f"booking the end of {token}", ledger.end_step, step, error or "done")
    return HostState.RELEASED if error is None else HostState.FAILED
