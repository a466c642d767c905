"""Qualify the hosts of a run that this process claims, several at once. No host's failure stops another."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from types import MappingProxyType

from harness.campaign.run_plan import Plan, PlannedHost
from harness.errors import ExitCode, HarnessError
from harness.ladder import judge
from harness.model import Depth, Evidence, HostRecord, HostState, Token
from harness.runs.context import RunContext
from harness.runs.kept_hosts import settle_judged
from harness.runs.qualification import qualify
from harness.store.ledger_lines import HostLine
from harness.store.owners import OwnerLine, OwnershipLostError
from harness.untrusted.plain_text import bounded

_POLL_S = 0.5


class HostsNotBegunError(HarnessError):
    """Hosts that could not be worked on for a cause outside the harness: they stay INCONCLUSIVE, and it is no fault."""

    exit_code = ExitCode.NOT_CONCLUSIVE


Records = dict[str, HostRecord]
Work = Callable[[int, RunContext, Records, Callable[[], None]], list[Exception]]
"""Works until no host of the run can be claimed, as `qualify_claimed` does, or has other processes do it."""


def qualify_hosts(
    plan: Plan, context: RunContext, judged: Mapping[str, HostRecord] = MappingProxyType({}), work: Work | None = None
) -> tuple[HostRecord, ...]:
    """Qualify every host of a run of ours that is not in `judged`; return the records of all, in the plan's order.

    `work`: who qualifies them; threads of this process by default.
    Hosts that other processes work on are waited for, and begun anew where such a process died. Raises
    OwnershipLostError, after the hosts that are still ours, when another process goes on with one of them.
    """
    records, errors, helpers = dict(judged), list[Exception](), _Helpers(context)
    while True:
        unjudged = len(plan.hosts) - len(records)
        errors = (work or qualify_claimed)(min(plan.parallel, unjudged), context, records, helpers.pass_stop_on)
        if errors or not helpers.wait():
            break
    for error in errors:
        if isinstance(error, OwnershipLostError):
            raise error
        if isinstance(error, HostsNotBegunError):
            continue
        context.failures.note_once(f"claiming the hosts of run {context.run}", error)
    _add_records_of_helpers([host.name for host in plan.hosts if host.name not in records], records, context)
    for host in plan.hosts:
        if host.name not in records:
            evidence = Evidence(trouble=f"it was not begun: {errors[0]}" if errors else "another process works on it")
            record = unqualified_host_record(host.name, host.instance_type, evidence)
            records[host.name] = replace(record, state=HostState.RELEASED)
    return tuple(records[host.name] for host in plan.hosts)


def qualify_claimed(
    parallel: int,
    context: RunContext,
    records: Records,
    on_poll: Callable[[], None],
    types: Collection[str] | None = None,
) -> list[Exception]:
    """Claim and qualify hosts until none is left; add the record of each to `records`. Returns the errors of claiming.

    `on_poll` is called twice a second. A process that helps with another's run claims nothing once it was stopped.
    `types`: hosts of these instance types alone.
    """

    def work() -> None:
        while not (context.joined and context.controls.stop.is_set()):
            line = context.ledger.claim(context.run, types)
            if line is None:
                return
            record = _qualify_or_release(line, context)
            if record is not None:
                records[line.host] = record

    with ThreadPoolExecutor(max(1, parallel), thread_name_prefix="host") as pool:
        workers = [pool.submit(work) for _ in range(parallel)]
        pending = {*workers}
        while pending:
            on_poll()
            _, pending = wait(pending, timeout=_POLL_S)
    errors = [error for worker in workers if (error := worker.exception()) is not None]
    for error in errors:
        if not isinstance(error, Exception):
            raise error
    return [error for error in errors if isinstance(error, Exception)]


def unqualified_host_record(name: str, instance_type: str, evidence: Evidence) -> HostRecord:
    """Make the record of a host that was not qualified, judged by the little evidence there is."""
    return HostRecord(
        name=name,
        instance_type=instance_type,
        verdict=bounded(judge(evidence, (), depth=Depth.STANDARD, read_only=False)),
        facts=None,
        stages={},
        state=HostState.FAILED,
        address=None,
    )


class _Helpers:
    """The other processes that work on hosts of a run of ours."""

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._stop_passed_on = False
        self._waited_for: set[str] = set()

    def pass_stop_on(self) -> None:
        """Ask them to stop, once, when our run was asked to."""
        context = self._context
        if context.controls.stop.is_set() and not self._stop_passed_on:
            self._stop_passed_on = True
            context.failures.attempt("asking other processes to stop", context.ledger.ask_to_stop, context.run)

    def wait(self) -> bool:
        """Wait until none of them works on a host; return whether there are hosts to claim, which they left."""
        context = self._context
        while others := context.failures.attempt("reading who works", context.ledger.hosts_of_others, context.run):
            self.pass_stop_on()
            if any(each.owner is None for each in others):
                return True
            owners = {each.owner.owner: each.owner for each in others if each.owner is not None}
            for owner in owners.values():
                self._say_once(owner, [each.host for each in others if each.owner == owner])
            dead = [owner for owner in owners.values() if not owner.alive()]
            if not dead:
                time.sleep(_POLL_S)
            elif context.ledger.free_hosts_of_dead(context.run, dead[0], self._say_watching):
                return True
        return False

    def _say_once(self, owner: OwnerLine, hosts: list[str]) -> None:
        line = f"waiting for process {owner.process.pid} on {owner.machine}, which works on {', '.join(hosts)}"
        if line not in self._waited_for:
            self._waited_for.add(line)
            self._context.events.publish(line)

    def _say_watching(self, seconds_left: float) -> None:
        if round(seconds_left) % 10 == 0:
            self._context.events.publish(f"waiting {seconds_left:.0f} s: a process that works on hosts may still live")


def _add_records_of_helpers(names: Sequence[str], records: Records, context: RunContext) -> None:
    """Add the records of these hosts, as far as other processes judged them, and settle those left undecided."""
    lines = context.failures.attempt("reading the hosts", context.ledger.hosts, context.run, names) if names else ()
    for line in lines or ():
        if line.record is not None:
            records[line.host] = settle_judged(line, line.record, context)


def _qualify_or_release(line: HostLine, context: RunContext) -> HostRecord | None:
    """Qualify a host. On an error, such as a folder that cannot be made, release it and record the error."""
    host, token = PlannedHost(name=line.host, instance_type=line.instance_type), line.token
    try:
        return qualify(host, token.attempt, context)
    except OwnershipLostError:
        raise
    except Exception as error:
        return _release_after(error, token, line.instance_type, context)


def _release_after(error: Exception, token: Token, instance_type: str, context: RunContext) -> HostRecord:
    context.failures.note(f"qualifying {token}", error)
    released = context.failures.release(context.bench, token) is None
    evidence = Evidence(trouble=f"our fault: {type(error).__name__}: {error}")
    record = unqualified_host_record(token.host, instance_type, evidence)
    record = replace(record, state=HostState.RELEASED if released else HostState.FAILED, attempt=token.attempt)
    context.failures.attempt(f"booking what became of {token}", context.ledger.record_state, token, record)
    return record
