"""Decide which hosts stay when a run ends; find, keep and release hosts that stayed."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from harness.benches.bench import Bench
from harness.campaign.campaign import Keep
from harness.errors import RequestError
from harness.model import HostRecord, HostState, Machine, Outcome, Stage, Token
from harness.runs.context import Chooser
from harness.runs.release_failures import ReleaseFailures
from harness.store.ledger import HostLine, Ledger


def settle_choice(
    records: Sequence[HostRecord],
    run: str,
    bench: Bench,
    ledger: Ledger,
    choose: Chooser,
    failures: ReleaseFailures,
) -> tuple[tuple[HostRecord, ...], bool]:
    """Ask which of the hosts that wait for a decision stay, and release the others.

    Returns all records in their order, and whether the question was interrupted. Until a host is settled here the
    ledger does not call it kept, so that `sweep` removes it when this process dies before there is an answer. When the
    question itself fails, all are released before the error goes on.
    """
    waiting = [record for record in records if record.state is HostState.KEPT]
    chosen: Collection[str] = ()
    try:
        chosen, interrupted = _asked(run, waiting, choose)
    finally:
        settled = {
            record.name: _settle(record, record.name in chosen, run, bench, ledger, failures) for record in waiting
        }
    return tuple(settled.get(record.name, record) for record in records), interrupted


def find_kept(ledger: Ledger, run: str, hosts: Collection[str] = ()) -> list[HostRecord]:
    """The kept hosts of a run, or those named of them. Raises RequestError for a name that is not kept."""
    ledger.find(run)
    lines = {line.host: line for line in ledger.hosts(run)}
    found = [line.record for line in lines.values() if line.record is not None and line.state is HostState.KEPT]
    names = [record.name for record in found]
    wrong = [f"{host} is {_standing(lines.get(host))}" for host in hosts if host not in names]
    if wrong:
        raise RequestError(
            f"run {run}: {'; '.join(wrong)}", next_step=f"hosts that were kept: {', '.join(names) or 'none'}"
        )
    return [record for record in found if not hosts or record.name in hosts]


def release_kept(run: str, records: Sequence[HostRecord], bench: Bench, ledger: Ledger) -> list[HostRecord]:
    """Remove kept hosts, continuing after errors; returns their records, settled as released or failed.

    Raises SetupError, after all hosts, when the state of one could not be booked.
    """
    failures = ReleaseFailures()
    settled = [_settle(record, False, run, bench, ledger, failures) for record in records]
    failures.raise_noted()
    return settled


def keep_host(run: str, host: str, bench: Bench, ledger: Ledger) -> HostRecord:
    """Keep a host that still runs though its run has ended, so that `sweep` leaves it alone. Raises RequestError."""
    if ledger.find(run).alive():
        raise RequestError(f"run {run} is still under way", next_step="wait for it; `run --keep` says what stays")
    find_machine(run, host, bench, ledger)
    record = next(line.record for line in ledger.hosts(run) if line.host == host)
    if record is None:
        raise RequestError(f"{host} of run {run} has no verdict", next_step="`ptp-harness sweep --yes` removes it")
    record = replace(record, state=HostState.KEPT)
    ledger.settle(run, record)
    return record


def settle_judged(
    line: HostLine, run: str, keep: Keep, bench: Bench, ledger: Ledger, failures: ReleaseFailures
) -> HostRecord:
    """Settle a host that has a verdict but whose run died before its state was booked.

    A host that passed and still runs stays where the campaign keeps such hosts; where the campaign asks, the question
    comes later.
    """
    if line.record is None:
        raise ValueError(f"{line.host} of run {run} has no verdict")
    if line.state is not None:
        return line.record
    passed = line.record.verdict.outcome is Outcome.PASS
    if not (passed and keep is not Keep.NONE and bench.find(Token(run=run, host=line.host)) is not None):
        return _settle(line.record, False, run, bench, ledger, failures)
    if keep is Keep.ASK:
        return replace(line.record, state=HostState.KEPT)
    return _settle(line.record, True, run, bench, ledger, failures)


def find_machine(run: str, host: str, bench: Bench, ledger: Ledger) -> Machine:
    """A running host of a run. Raises RequestError when there is none of that name, or it does not run."""
    ledger.find(run)
    names = [line.host for line in ledger.hosts(run)]
    if host not in names:
        raise RequestError(f"run {run} has no host {host!r}", next_step=f"its hosts: {', '.join(names)}")
    found = bench.find(Token(run=run, host=host))
    if found is None:
        raise RequestError(
            f"{host} of run {run} does not run", next_step="`run --keep supported` keeps hosts that pass"
        )
    return found


def _standing(line: HostLine | None) -> str:
    if line is None:
        return "no host of it"
    return "not settled yet" if line.state is None else line.state.value


def _asked(run: str, waiting: Sequence[HostRecord], choose: Chooser) -> tuple[Collection[str], bool]:
    try:
        return (choose(run, waiting) if waiting else ()), False
    except KeyboardInterrupt:
        return (), True


def _settle(
    record: HostRecord, stays: bool, run: str, bench: Bench, ledger: Ledger, failures: ReleaseFailures
) -> HostRecord:
    """The record with the host's new state. A ledger that cannot be written does not prevent a removal."""
    token = Token(run=run, host=record.name)
    before = failures.attempt(f"counting the calls for {token}", bench.api_calls, token)
    state = HostState.KEPT if stays else _released(token, bench, ledger, failures)
    after = failures.attempt(f"counting the calls for {token}", bench.api_calls, token)
    settled = replace(record, state=state, api_calls=_more(record.api_calls, before, after))
    failures.attempt(f"booking what became of {token}", ledger.settle, run, settled)
    return settled


def _more(known: float | None, before: float | None, after: float | None) -> float | None:
    """The API calls for a host including its release, which another process than the run's may carry out."""
    return known if before is None or after is None else round((known or 0.0) + after - before, 1)


def _released(token: Token, bench: Bench, ledger: Ledger, failures: ReleaseFailures) -> HostState:
    step = failures.attempt(f"booking the release of {token}", ledger.begin, token, Stage.RELEASE)
    error = failures.release(bench, token)
    if step is not None:
        failures.attempt(f"booking the end of {token}", ledger.end, step, error or "done")
    return HostState.RELEASED if error is None else HostState.FAILED
