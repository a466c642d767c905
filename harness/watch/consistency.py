"""Check what the ledger says of a watch: what does not fit together, and what to do about it.

A pure function of one view. Some inconsistencies are normal for a moment, such as a stream between two workers: each
kind has a time after which it is one. Whoever mends one has seen it twice (recovery.py).
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from harness.store.watch_findings import FindingKind
from harness.store.watch_streams import WorkerLine
from harness.store.watch_view import StrangeSamples, WatchView

_CHUNKS_OF_WHO_GOES_ON = 2
SEVERAL = 3
"""So many names are in a sentence; the rest is counted."""


class Kind(StrEnum):
    """A kind of inconsistency."""

    NO_LEADER = "no leader"
    NO_WORKER = "no worker"
    ORPHAN = "orphan"
    BEYOND_CAPACITY = "beyond capacity"
    STALE_LEASE = "stale lease"
    NOT_TAKEN = "not taken"
    HANDOFF_WAITS = "handoff waits"
    NO_SAMPLES = "no samples"
    DOUBLE = "double"
    UNKNOWN_HOLDING = "unknown holding"
    GRID_OFF = "grid off"
    OTHER_VERSION = "other version"
    SAME_NAME = "same name"
    CUT_OFF = FindingKind.CUT_OFF.value
    SPOOL_THINNED = FindingKind.SPOOL_THINNED.value
    SPOOL_UNUSABLE = FindingKind.SPOOL_UNUSABLE.value
    OTHER_SAMPLER = FindingKind.OTHER_SAMPLER.value
    HOST_KEY = FindingKind.HOST_KEY.value


class Mend(StrEnum):
    """A remedy that mends an inconsistency without harm, whatever its cause is."""

    FREE = "free the stream"  # a lease that is over: another worker may take it already, and the ledger says so then
    REGISTER_ANEW = "register the worker anew"  # at its next heartbeat it takes all its streams with new epochs


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckLimits:
    """Times after which a difference is an inconsistency, s.

    `assigned_s`: a stream that nobody is to have, while there is room. `taken_s`: a free stream that its worker does
    not take. `handoff_s`: one that is not taken from an owner that lives. `first_sample_s`: of a new owner.
    `silent_s`: without a sample, at least so long, or so many intervals. `store_s`: the period in which workers store
    states. `grid_s`: between a worker's grid and the database's time. `lease_parts`: a lease is stale after so many
    lengths of it.
    """

    assigned_s: float = 10.0
    taken_s: float = 10.0
    handoff_s: float = 30.0
    first_sample_s: float = 30.0
    silent_s: float = 15.0
    silent_intervals: float = 5.0
    store_s: float = 10.0
    grid_s: float = 2.0
    lease_parts: float = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Inconsistency:
    """A contradiction in what the ledger says, or a worker's finding. `mend`: None where a person has to decide.

    `streams` and `workers`: all that it concerns; a fault of one worker is one inconsistency, however many its streams.
    `is_logged`: a worker found it, and has told it in the log.
    """

    kind: Kind
    sentence: str
    recommendation: str
    worker: str | None = None
    streams: Sequence[str] = ()
    mend: Mend | None = None
    is_logged: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """The name of the same inconsistency in two views."""
        return self.kind.value, self.worker or ""


@dataclass(slots=True)
class _Found:
    """The streams of each inconsistency, by the worker that it is about, while streams are looked at."""

    orphans: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    not_taken: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    waiting: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    silent: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    ahead_s: dict[str, float] = field(default_factory=dict)
    behind_s: dict[str, float] = field(default_factory=dict)


def find_inconsistencies(
    view: WatchView,
    *,
    version: str,
    limits: CheckLimits = CheckLimits(),
) -> list[Inconsistency]:
    """Find what does not fit together in a view. `version`: ours, which all workers should have."""
    workers = {worker.worker: worker for worker in view.workers}
    serving = {name for name, worker in workers.items() if worker.lives and not worker.draining}
    found = _look_at_streams(view, workers, serving, limits)
    inconsistencies = [
        *_check_leader(view, serving),
        *_describe_streams(found, view, workers, serving),
        *_check_strange(view, workers, 2 * view.lease_s),
        *_check_grids(found, limits),
        *_check_workers(view, version),
    ]
    keys = {each.key for each in inconsistencies}
    return inconsistencies + [each for each in _list_findings(view) if each.key not in keys]


def _look_at_streams(
    view: WatchView, workers: Mapping[str, WorkerLine], serving: set[str], limits: CheckLimits
) -> _Found:
    """Look at each stream once: there may be 100,000."""
    found = _Found()
    at_ns, lease_ns = view.at_ns, view.lease_s * 1e9
    living = {name for name, worker in workers.items() if worker.lives}
    room = _has_room(view, serving)
    assigned_ns, taken_ns, handoff_ns = (1e9 * s for s in (limits.assigned_s, limits.taken_s, limits.handoff_s))
    stale_ns, first_ns = limits.lease_parts * lease_ns, limits.first_sample_s * 1e9
    silent_s, intervals, store_s = limits.silent_s, limits.silent_intervals, limits.store_s
    for (
        stream,
        interval_s,
        weight,
        wanted,
        wanted_ns,
        owner,
        _,
        until_ns,
        added_ns,
        _,
        _,
        tick,
        sampled_ns,
    ) in view.streams:
        since_ns = max(wanted_ns or 0, added_ns)
        wanted_for_ns = at_ns - since_ns
        leased = owner is not None and until_ns is not None and at_ns < until_ns <= at_ns + 2 * lease_ns
        if wanted is None:
            if wanted_for_ns > assigned_ns:
                (found.orphans if room(weight) else found.left_out).append(stream)
        elif wanted not in serving:
            if wanted_for_ns > assigned_ns and serving and not _died_of_late(workers.get(wanted), view.lease_s):
                found.orphans.append(stream)
        elif owner != wanted and leased and owner in living:
            if wanted_for_ns > handoff_ns:
                found.waiting[wanted].append(stream)
        elif owner != wanted and wanted_for_ns > taken_ns:
            found.not_taken[wanted].append(stream)
        if owner is not None and not leased and at_ns - (until_ns or 0) > stale_ns:
            found.stale.append(stream)
        if leased and owner in living and owner == wanted:
            longest_s = max(silent_s, intervals * interval_s) + store_s
            if sampled_ns is None or tick is None:
                if wanted_for_ns > first_ns + longest_s * 1e9:
                    found.silent[owner].append(stream)
                continue
            silent_for_s = (at_ns - sampled_ns) / 1e9
            if silent_for_s > longest_s and wanted_for_ns > first_ns:
                found.silent[owner].append(stream)
            elif silent_for_s >= 0:
                late_s = sampled_ns / 1e9 - (tick + 1) * interval_s
                if late_s < 0:
                    found.ahead_s[owner] = max(found.ahead_s.get(owner, 0.0), -late_s - interval_s)
                found.behind_s[owner] = min(found.behind_s.get(owner, math.inf), late_s - store_s)
    return found


def _has_room(view: WatchView, serving: set[str]) -> Callable[[float], bool]:
    """Return whether a worker could carry one more stream of a weight."""
    carried: defaultdict[str, float] = defaultdict(float)
    for line in view.streams:
        if line.wanted is not None:
            carried[line.wanted] += line.weight
    most = max(
        (worker.capacity - carried[worker.worker] for worker in view.workers if worker.worker in serving), default=-1.0
    )
    return lambda weight: most >= weight * (1 - 1e-9)


def _died_of_late(worker: WorkerLine | None, lease_s: float) -> bool:
    """Whether a worker has lost its lease so short a time ago that a leader still gives its streams to others."""
    return worker is not None and worker.silent_s < 2 * lease_s


def _check_leader(view: WatchView, serving: set[str]) -> Iterator[Inconsistency]:
    if not view.streams:
        return
    if view.leader is None or not view.leader.leads:
        last = f": {view.leader.process} led last" if view.leader else ""
        yield Inconsistency(
            kind=Kind.NO_LEADER,
            sentence=f"nobody leads the watch{last}",
            recommendation="start `ptp-harness watch serve`, or a service, on a machine that reaches the ledger",
        )
    if not serving:
        yield Inconsistency(
            kind=Kind.NO_WORKER,
            sentence=f"no worker is there for {_count(len(view.streams), 'stream')}",
            recommendation="start a worker; those that are there have lost their lease, or give their streams up",
        )


def _describe_streams(
    found: _Found, view: WatchView, workers: Mapping[str, WorkerLine], serving: set[str]
) -> Iterator[Inconsistency]:
    if found.orphans:
        yield Inconsistency(
            kind=Kind.ORPHAN,
            sentence=f"no worker that is there is to have {name_streams(found.orphans)}, though there is room",
            recommendation="the leader assigns them within seconds: see whether it goes on (log of `watch serve`)",
            streams=tuple(found.orphans),
        )
    if found.left_out:
        weight = sum(line.weight for line in view.streams)
        capacity = sum(worker.capacity for worker in view.workers if worker.worker in serving)
        yield Inconsistency(
            kind=Kind.BEYOND_CAPACITY,
            sentence=f"{name_streams(found.left_out)} left out: {weight:g} of weight for a capacity of {capacity:g}",
            recommendation="start another worker, or one with a larger --capacity",
            streams=tuple(found.left_out),
        )
    if found.stale:
        yield Inconsistency(
            kind=Kind.STALE_LEASE,
            sentence=f"the lease of {name_streams(found.stale)} is over, and the ledger still names an owner",
            recommendation="free them: `ptp-harness watch check --mend`",
            streams=tuple(found.stale),
            mend=Mend.FREE,
        )
    for worker, streams in sorted(found.not_taken.items()):
        yield Inconsistency(
            kind=Kind.NOT_TAKEN,
            sentence=f"the worker {worker} lives, and does not take {name_streams(streams)}, which nobody has",
            recommendation=f"let {worker} register anew; if that does not help, end it",
            worker=worker,
            streams=tuple(streams),
            mend=Mend.REGISTER_ANEW,
        )
    for worker, streams in sorted(found.waiting.items()):
        yield Inconsistency(
            kind=Kind.HANDOFF_WAITS,
            sentence=f"the worker {worker} does not take {name_streams(streams)}; the owner goes on",
            recommendation=f"see whether {worker} on {workers[worker].process} reaches these hosts as the owner does",
            worker=worker,
            streams=tuple(streams),
        )
    for worker, streams in sorted(found.silent.items()):
        yield Inconsistency(
            kind=Kind.NO_SAMPLES,
            sentence=f"the worker {worker} has {name_streams(streams)}, and nothing of them is stored",
            recommendation=f"read the log of {worker}; if it stores nothing of any stream, let it register anew",
            worker=worker,
            streams=tuple(streams),
        )


def _check_strange(view: WatchView, workers: Mapping[str, WorkerLine], handover_s: float) -> Iterator[Inconsistency]:
    """Check samples that are not of their stream's owner: what a worker takes beyond a handoff, and doubles."""
    doubles, unknown = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
    for samples in view.strange:
        if samples.epoch == samples.owner_epoch:
            doubles[samples.worker].append(samples.stream)
        elif samples.epoch > samples.owner_epoch or _goes_on(samples, handover_s):
            unknown[samples.worker].append(samples.stream)
    for worker, streams in sorted(doubles.items()):
        lives = worker in workers and workers[worker].lives
        yield Inconsistency(
            kind=Kind.DOUBLE,
            sentence=f"the worker {worker} stored samples of {name_streams(streams)} with the epoch of another owner",
            recommendation=f"let {worker} register anew" if lives else f"end the process of {worker}, wherever it runs",
            worker=worker,
            streams=tuple(streams),
            mend=Mend.REGISTER_ANEW if lives else None,
        )
    for worker, streams in sorted(unknown.items()):
        lives = worker in workers and workers[worker].lives
        yield Inconsistency(
            kind=Kind.UNKNOWN_HOLDING,
            sentence=f"the worker {worker} goes on to sample {name_streams(streams)}, which the ledger gave to another",
            recommendation=f"let {worker} register anew" if lives else f"end the process of {worker}, wherever it runs",
            worker=worker,
            streams=tuple(streams),
            mend=Mend.REGISTER_ANEW if lives else None,
        )


def _goes_on(samples: StrangeSamples, handover_s: float) -> bool:
    """Whether a worker goes on with a stream long after its next owner had begun.

    One that was cut off goes on alone until it learns of that: it stores one chunk of then as it comes back.
    """
    if samples.owner_from_tick is None or samples.chunks < _CHUNKS_OF_WHO_GOES_ON:
        return False
    return (samples.first_tick - samples.owner_from_tick) * samples.interval_s > handover_s


def _check_grids(found: _Found, limits: CheckLimits) -> Iterator[Inconsistency]:
    for worker in sorted({*found.ahead_s, *found.behind_s}):
        ahead_s, behind_s = found.ahead_s.get(worker, 0.0), found.behind_s.get(worker, 0.0)
        off_s = ahead_s if ahead_s > limits.grid_s else -behind_s if behind_s > limits.grid_s else 0.0
        side = "ahead of" if off_s > 0 else "behind"
        if off_s:
            yield Inconsistency(
                kind=Kind.GRID_OFF,
                sentence=f"the grid of the worker {worker} is {abs(off_s):.0f} s {side} the database's time",
                recommendation=f"correct the clock of its machine, or of the database's; then restart {worker}",
                worker=worker,
            )


def _check_workers(view: WatchView, version: str) -> Iterator[Inconsistency]:
    for worker in view.workers:
        if worker.lives and worker.version != version:
            yield Inconsistency(
                kind=Kind.OTHER_VERSION,
                sentence=f"the worker {worker.worker} is of version {worker.version}, and this is {version}",
                recommendation=f"give {worker.process} this version, and restart its worker",
                worker=worker.worker,
            )
    for name in view.names_taken:
        yield Inconsistency(
            kind=Kind.SAME_NAME,
            sentence=f"two processes want to be the worker {name}",
            recommendation="give one of them another name (--name); the log of the watch names both",
            worker=name,
        )


def _list_findings(view: WatchView) -> Iterator[Inconsistency]:
    """List what the workers that live have found out themselves."""
    for worker in view.workers:
        for finding in worker.findings if worker.lives else ():
            yield Inconsistency(
                kind=Kind(finding.kind.value),
                sentence=finding.sentence,
                recommendation=finding.recommendation,
                worker=worker.worker,
                streams=tuple(finding.streams),
                is_logged=True,
            )


def name_streams(streams: Sequence[str]) -> str:
    """Name a few streams, and count the rest."""
    if len(streams) <= SEVERAL:
        return f"{'stream' if len(streams) == 1 else 'streams'} {', '.join(streams)}"
    return f"{len(streams)} streams ({', '.join(streams[:SEVERAL])}, ...)"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def sort_by_weight(inconsistencies: Iterable[Inconsistency]) -> list[Inconsistency]:
    """Sort for people: what concerns most streams first."""
    return sorted(inconsistencies, key=lambda each: (-len(each.streams), *each.key))
