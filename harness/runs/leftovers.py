"""Find and remove what runs that ended or died left behind. Nothing that a living run still uses is removed.

A resource that only carries tags of ours, or a token that cannot be read, is reported and left alone
(ownership.decide_removal).
"""

import datetime
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from harness import units
from harness.benches.bench import Bench, ignore_progress
from harness.errors import CleanupError, HarnessError, RequestError
from harness.model import DOING, Evidence, HostRecord, HostState, Resource, RunRecord, Stage, Token, ownership
from harness.model.ownership import Removal, RemovalDecision, RunState
from harness.runs import kept_hosts
from harness.runs.campaign_run import list_leftovers
from harness.runs.host_workers import unqualified_host_record
from harness.runs.run_events import make_event
from harness.store import adhoc_runs
from harness.store.ledger import Ledger
from harness.store.ledger_lines import HostLine, RunLine
from harness.store.owners import OwnerLine

Item = TypeVar("Item")
Result = TypeVar("Result")

BY_HAND = "lab"
"""The run name of hosts that a person makes and removes (`ptp-harness lab up`, `lab down`): never swept."""

_AT_ONCE = 8
"""Removals, and owners that are watched, at the same time."""

LOCAL = "lab"
"""The bench whose resources are files and processes of this machine; only there a run's name identifies its owner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """All remaining resources of one token, and why they may be removed.

    `created`: when the first of them was made, or its run began; `owner`: for whom; None where nothing tells it.
    `of_dead_run`: its run died, and nobody has taken it over.
    """

    token: Token
    resources: tuple[Resource, ...]
    why: str
    created: datetime.datetime | None = None
    owner: str | None = None
    of_dead_run: bool = False

    def age_s(self, now: datetime.datetime) -> float | None:
        return None if self.created is None else max((now - self.created).total_seconds(), 0.0)

    def cost_usd(self, now: datetime.datetime) -> float | None:
        """Compute what it cost so far, in dollars, at the present prices; None where no price is known."""
        prices = [resource.usd_per_hour for resource in self.resources if resource.usd_per_hour is not None]
        age_s = self.age_s(now)
        return None if age_s is None or not prices else round(sum(prices) * age_s / 3600, 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftoverFilter:
    """Conditions of a sweep: the least age, s, and the owner, with or without its machine; None: any."""

    older_than_s: float | None = None
    owner: str | None = None

    def takes(self, age_s: float | None, owner: str | None) -> bool:
        """Whether something of this age and owner is swept. What is unknown meets no condition."""
        old_enough = self.older_than_s is None or (age_s is not None and age_s > self.older_than_s)
        owner_fits = self.owner is None or (owner is not None and self.owner in (owner, owner.partition("@")[0]))
        return old_enough and owner_fits


EVERYTHING = LeftoverFilter()


@dataclass(frozen=True, slots=True, kw_only=True)
class UntouchedResource:
    """A resource that must not be removed from here, and why. `names_our_run`: its token names a run of this ledger."""

    resource: Resource
    why: str
    names_our_run: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """The resources that may be removed, and those that are only reported."""

    removable: tuple[Leftover, ...]
    left_alone: tuple[UntouchedResource, ...]


def survey(ledger: Ledger, bench: Bench, *, taken_over: Collection[str] = ()) -> Survey:
    """Compare all resources of a bench with living runs, kept hosts and hand-made lab hosts.

    Runs that were `taken_over` have died, and are led by this process for their removal; hosts that a living process
    helps with are in use all the same.
    """
    by_token: dict[str, list[Resource]] = {}
    for resource in bench.resources():
        by_token.setdefault(resource.token, []).append(resource)
    named = ledger.runs_named({text.partition("/")[0] for text in by_token})
    runs = {run: line for run, line in named.items() if line.bench == bench.name}
    helpers = {line.run: _find_living_helpers(line, ledger) for line in runs.values() if not line.ended}
    now = datetime.datetime.now(datetime.UTC)
    removable: list[Leftover] = []
    left_alone: list[UntouchedResource] = []
    for text, resources in by_token.items():
        try:
            token = Token.parse(text)
        except ValueError as error:
            left_alone += [
                UntouchedResource(resource=resource, why=resource.unproven or str(error), names_our_run=False)
                for resource in resources
            ]
            continue
        helped = token.host in helpers.get(token.run, {})
        state = RunState.ALIVE if helped else _find_run_state(token, bench, runs, ledger, taken_over)
        decided = [(resource, ownership.decide_removal(resource, state, now=now)) for resource in resources]
        if (item := _find_removable(token, decided)) is not None:
            run = runs.get(token.run)
            removable.append(_describe(item, run, dead=state is RunState.DIED and token.run not in taken_over))
        left_alone += [
            UntouchedResource(resource=resource, why=decision.why, names_our_run=token.run in runs)
            for resource, decision in decided
            if decision.removal is Removal.LEAVE
        ]
    return Survey(removable=tuple(removable), left_alone=tuple(left_alone))


def take_over_dead_runs(
    ledger: Ledger, bench: Bench, progress: Callable[[str], None], *, spared: Collection[str] = ()
) -> list[str]:
    """Become the leader of every run of a bench whose owner died, so that no other process goes on with it.

    Processes that help with such a run are asked to stop. An owner that turns out to live keeps its run, and so does
    one of a run that is `spared`. Returns the runs taken over. Owners of other machines are watched side by side.
    """

    def take_over(run: str) -> str | None:
        with suppress(RequestError):
            ledger.take_over(run, partial(_say_wait, run, progress), stopping=True)
            return run
        return None

    dead = [line.run for line in ledger.open_runs(bench.name) if line.died() and line.run not in spared]
    return [run for run in _do_at_once(take_over, dead) if run is not None]


def _do_at_once(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Call a function with each item, several at once; what has not begun is given up at an error or Ctrl-C."""
    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        return [*pool.map(function, items)]
    finally:
        pool.shutdown(cancel_futures=True)


def _say_wait(run: str, progress: Callable[[str], None], seconds_left: float) -> None:
    progress(f"run {run}: waiting {seconds_left:.0f} s, since its owner on another machine may still live")


def release_expired(ledger: Ledger, bench: Bench, selection: LeftoverFilter = EVERYTHING) -> list[str]:
    """Remove the kept hosts whose lease has ended, and record it, also for those that ended themselves.

    Returns their tokens. Raises SetupError when a state could not be recorded.
    """
    now_ns, expired = ledger.now_ns(), list[Token]()
    for run_line in ledger.runs_that_keep(bench.name):
        run, age_s = run_line.run, (now_ns - run_line.started_ns) / 1e9
        for line in ledger.hosts(run):
            selected = selection.takes(age_s, line.kept_by or run_line.owner.person)
            if line.record is not None and line.lease_ended(now_ns) and selected:
                ledger.own_host(run, line.host)  # before the event, which only an owner can record
                text = f"its lease ended at {units.utc(line.kept_until_ns or 0)}"
                ledger.say(make_event(text, run=run, host=line.host, stage=Stage.RELEASE))
                kept_hosts.release_kept(run, [line.record], bench, ledger)
                expired.append(line.token)
    return [str(token) for token in expired]


def remove(
    items: Sequence[Leftover], bench: Bench, progress: Callable[[str], None] = ignore_progress
) -> dict[Token, list[str]]:
    """Release the tokens, several at once, and continue after errors. Returns what remains, by token, in words."""

    def release(item: Leftover) -> list[str]:
        try:
            bench.release(item.token, lambda line: progress(f"{item.token}: {line}"))
        except CleanupError as error:
            return [*error.leftovers]
        except HarnessError as error:
            return [f"{item.token} ({error.message})"]
        progress(f"{item.token}: removed")
        return []

    remains = _do_at_once(release, items)
    return {item.token: words for item, words in zip(items, remains, strict=True) if words}


def end_run(run: str, ledger: Ledger, bench: Bench, progress: Callable[[str], None] = ignore_progress) -> list[str]:
    """Remove what a run made that nobody leads any more, or this process, and close it; return what is left, in words.

    A run of which something is left stays open, for a sweep. Raises RequestError where a living process leads it.
    """
    if ledger.find(run).owner.owner != ledger.owner:
        ledger.take_over(run, partial(_say_wait, run, progress), stopping=True)
    items = [item for item in survey(ledger, bench, taken_over=[run]).removable if item.token.run == run]
    remains = [word for words in remove(items, bench, progress).values() for word in words]
    if not remains:
        close_runs([run], ledger, bench, progress)
    return remains


def close_runs(runs: Collection[str], ledger: Ledger, bench: Bench, progress: Callable[[str], None]) -> list[str]:
    """Give every host of runs that were taken over a verdict, and close these runs in the ledger.

    Returns the closed ones: a run that a living process still helps with stays open, and `progress` gets that.
    """
    closed: list[str] = []
    for line in map(ledger.find, runs):
        if helpers := _find_living_helpers(line, ledger):
            progress(_describe_helpers(line.run, helpers))
            continue
        say_wait = partial(_say_wait, line.run, progress)
        records = tuple(close_host(line, host, ledger, bench, say_wait) for host in ledger.hosts(line.run))
        record = RunRecord.of_ended_run(
            line.run,
            bench=line.bench,
            started_ns=line.started_ns,
            ended_ns=ledger.now_ns(),
            interrupted=True,
            hosts=records,
            leftovers=list_leftovers(bench, line.run, records),
        )
        ledger.close_run(record)
        closed.append(line.run)
    return closed


def _find_living_helpers(run: RunLine, ledger: Ledger) -> dict[str, OwnerLine]:
    """Find the hosts that processes other than the run's leader work on, and these processes, as far as they live."""
    return {
        each.host: each.owner
        for each in ledger.hosts_of_others(run.run)
        if each.owner is not None and each.owner.owner != run.owner.owner and each.owner.alive()
    }


def _describe_helpers(run: str, helpers: Mapping[str, OwnerLine]) -> str:
    names = ", ".join(f"{host} (process {owner.process.pid} on {owner.machine})" for host, owner in helpers.items())
    return f"run {run} stays open: it was asked to stop, and is still at work on {names}; sweep once more then"


def close_host(
    run: RunLine, host: HostLine, ledger: Ledger, bench: Bench, progress: Callable[[float], None]
) -> HostRecord:
    """Return the host's record from its dead run, else one with an inconclusive verdict; with its present state.

    An owner of another machine that may still live is watched; `progress` gets the seconds left.
    """
    if host.record is not None and host.state not in (None, HostState.UNDECIDED):
        return host.record
    tokens = [str(token) for token in host.tokens]
    still_exists = any(resource.token in tokens and resource.unproven is None for resource in bench.resources())
    evidence = Evidence(interrupted=True, interrupted_while=_describe_latest_step(tokens, run.run, ledger))
    record = host.record or unqualified_host_record(host.host, host.instance_type, evidence)
    owned = ledger.own_host(run.run, host.host, progress).token
    state = HostState.FAILED if still_exists else HostState.RELEASED
    record = replace(record, state=state, attempt=owned.attempt)
    ledger.record_state(owned, record)
    return record


def _describe_latest_step(tokens: Collection[str], run: str, ledger: Ledger) -> str:
    """Describe the last step that a host began, to complete "interrupted while ..."; "" for none.

    The duration of the step is unknown: nothing was recorded when the process died.
    """
    steps = [step for step in ledger.steps(run) if step.token in tokens]
    if not steps:
        return ""
    return f"{DOING[steps[-1].stage]}, which began at {units.utc(steps[-1].begun_ns)}"


def _find_removable(token: Token, decided: Sequence[tuple[Resource, RemovalDecision]]) -> Leftover | None:
    """Find the resources of a token that may be removed: none while a proven resource of the token is in use."""
    ending = [(resource, decision.why) for resource, decision in decided if decision.removal is Removal.END]
    in_use = any(decision.removal is Removal.IN_USE and resource.unproven is None for resource, decision in decided)
    if in_use or not ending:
        return None
    why = max((why for _, why in ending), key=len)  # the longest reason tells of a lease, too
    return Leftover(token=token, resources=tuple(resource for resource, _ in ending), why=why)


def _describe(item: Leftover, run: RunLine | None, *, dead: bool) -> Leftover:
    """Add to a leftover when and for whom it was made, by its resources, else by its run."""
    made = [moment for resource in item.resources if (moment := units.parse_utc(resource.created_utc)) is not None]
    owners = [resource.owner for resource in item.resources if resource.owner]
    created = min(made) if made else None if run is None else units.utc_moment(run.started_ns)
    owner = owners[0] if owners else None if run is None else run.owner.person
    return replace(item, created=created, owner=owner, of_dead_run=dead)


def _find_run_state(
    token: Token, bench: Bench, runs: Mapping[str, RunLine], ledger: Ledger, taken_over: Collection[str]
) -> RunState:
    """Find the state of the run or process that a token names, as far as this ledger knows it."""
    if bench.name == LOCAL and token.run == BY_HAND:
        return RunState.BY_HAND
    if bench.name == LOCAL and (owner := adhoc_runs.find_owner(token.run)) is not None:
        return RunState.KEEPER_ALIVE if owner.alive() else RunState.KEEPER_DIED
    run = runs.get(token.run)
    if run is None:
        return RunState.UNKNOWN
    if run.alive() and run.run not in taken_over:
        return RunState.ALIVE
    for host in ledger.hosts(token.run):
        if host.token == token and host.state is HostState.KEPT:
            return RunState.LEASE_ENDED if host.lease_ended(ledger.now_ns()) else RunState.KEPT
    return RunState.ENDED if run.ended else RunState.DIED
