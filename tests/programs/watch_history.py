"""Hold the history of a watch against what it promises.

A history is what the hosts noted, each answer that they gave and to whom; what the ledger has; who was to have and had
each stream, as the ledger said it from moment to moment; how long processes waited for a processor; and when each fault
began and ended. Promised is:

- one worker an epoch, and each tick of an epoch is in one chunk: nothing doubled, and nothing made up;
- what a worker sampled of a stream that it had is in the ledger as that worker's, but the latest moments of a process
  that was killed: nothing lost;
- each stream is sampled at each tick, but where no worker that lives could take it yet, or no processor was given;
- while the ledger is away, no stream moves.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from harness.watch.sampler import PATIENCE_S

UNSENT_S = 1.5
"""What a worker has not stored or spooled yet when it is killed: it spools each second."""

ON_ITS_WAY_S = 0.7
"""An answer that was given so shortly before its worker was paused or cut off may not have been taken."""

LATE_S = PATIENCE_S - 1.0
"""An answer that a host gives so late does not count for sure: the worker may have given the tick up."""

AT_REST_S = 10.0
"""A watch in which nothing changed for so long has nothing to do that an outage could hold up."""

KNOWN_S = 1.0
"""Who has a stream for longer than this according to the ledger knows it."""


Reading = tuple[str, int, str, int | None]
"""The stream, the tick, the worker and the offset, ns: each answer of a host has an offset of its own."""


class Answer(NamedTuple):
    """An answer that a host gave to a worker, as it noted it. `late_s`: after the beginning of its tick."""

    at_s: float
    worker: str
    session: int
    stream: str
    tick: int
    offset_ns: int
    late_s: float

    @property
    def reading(self) -> Reading:
        return self.stream, self.tick, self.worker, self.offset_ns


class Stored(NamedTuple):
    """A reading in the ledger, with the worker of its chunk."""

    stream: str
    epoch: int
    tick: int
    worker: str
    offset_ns: int | None

    @property
    def reading(self) -> Reading:
        return self.stream, self.tick, self.worker, self.offset_ns


class Holding(NamedTuple):
    """Who had a stream and who was to have it, from this moment on."""

    at_s: float
    stream: str
    owner: str | None
    wanted: str | None
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A fault that was made. `target`: the process that it was made to; None: the servers.

    `kills`: it ended the process at once. `stops_sampling`: a worker could not sample meanwhile.
    """

    kind: str
    begun_s: float
    ended_s: float
    target: str | None = None
    kills: bool = False
    stops_sampling: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What is held against the promises. `waits`: by process, at which moments and for how long it had waited, s.

    `settles_s`: within which all is served again after the end of a fault, `rests_s`: within which it is balanced again
    even where many workers had failed; `lease_s`: of workers.
    """

    answers: Sequence[Answer]
    stored: Sequence[Stored]
    holdings: Sequence[Holding] = ()
    windows: Sequence[Window] = ()
    waits: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    begun_s: float = 0.0
    ended_s: float = float("inf")
    interval_s: float = 1.0
    lease_s: float = 6.0
    settles_s: float = 24.0
    rests_s: float = 39.0


def read_answers(file: Path, workers: Mapping[str, str]) -> list[Answer]:
    """Read the journal of the hosts; `workers`: names by address."""
    answers = []
    for line in file.read_text().splitlines():
        at, peer, session, stream, tick, offset, late = line.split()
        answers.append(
            Answer(float(at), workers[peer], int(session), stream, int(tick), int(offset), late_s=float(late))
        )
    return sorted(answers)


# -- nothing is doubled, nothing is made up


def find_doubles(history: History) -> list[str]:
    """Find epochs that two workers had, and ticks of an epoch that are in two chunks."""
    owners = defaultdict[tuple[str, int], set[str]](set)
    for each in history.stored:
        owners[each.stream, each.epoch].add(each.worker)
    for held in history.holdings:
        if held.owner is not None:
            owners[held.stream, held.epoch].add(held.owner)
    found = [f"{of} was of {sorted(names)}" for of, names in owners.items() if len(names) > 1]
    counts = Counter((each.stream, each.epoch, each.tick) for each in history.stored)
    return found + [f"{of} is stored {count} times" for of, count in counts.items() if count > 1]


def find_invented(history: History) -> list[str]:
    """Find readings in the ledger that no host gave to their worker."""
    given = {each.reading for each in history.answers}
    return [
        f"{each.stream} tick {each.tick} epoch {each.epoch} of {each.worker}: no host answered {each.offset_ns} ns"
        for each in history.stored
        if each.reading not in given
    ]


# -- nothing is lost


def find_lost(history: History) -> list[str]:
    """Find answers to a worker that had the stream which are not in the ledger as its own."""
    there = {each.reading for each in history.stored}
    owners = Owners(history.holdings)
    counts_since = set[tuple[str, str, int]]()  # sessions from whose answers one was stored: its worker had the stream
    lost = []
    for answer in history.answers:
        session = answer.stream, answer.worker, answer.session
        if answer.reading in there:
            counts_since.add(session)
        elif (
            (session in counts_since or owners.surely_had(answer))
            and answer.late_s < LATE_S
            and answer.at_s <= history.ended_s
            and not _may_be_lost(answer, history.windows)
            and not was_held_up(history, {answer.worker}, answer.at_s, answer.at_s + PATIENCE_S)
        ):
            lost.append(f"{answer.stream} tick {answer.tick} of {answer.worker} at {answer.at_s:.1f}")
    return lost


def _may_be_lost(answer: Answer, windows: Sequence[Window]) -> bool:
    """Whether its worker was killed just then, or was paused or cut off from hosts before it had the answer."""
    for each in windows:
        if each.target == answer.worker and each.kills and -UNSENT_S <= answer.at_s - each.begun_s <= ON_ITS_WAY_S:
            return True
        on_its_way = each.begun_s - ON_ITS_WAY_S <= answer.at_s <= each.ended_s + ON_ITS_WAY_S
        if each.target == answer.worker and each.stops_sampling and not each.kills and on_its_way:
            return True
    return False


class Owners:
    """Who had each stream when."""

    def __init__(self, holdings: Sequence[Holding]) -> None:
        self._of = defaultdict[str, list[Holding]](list)
        for each in sorted(holdings):
            self._of[each.stream].append(each)

    def list_between(self, stream: str, from_s: float, to_s: float) -> Iterator[Holding]:
        """List what was so between two moments."""
        held = self._of[stream]
        ends = [later.at_s for later in held[1:]] + [float("inf")]
        return (each for each, end_s in zip(held, ends, strict=False) if each.at_s <= to_s and end_s >= from_s)

    def surely_had(self, answer: Answer) -> bool:
        """Whether the worker that got an answer had the stream before, then and afterwards."""
        around = self.list_between(answer.stream, answer.at_s - KNOWN_S, answer.at_s + KNOWN_S)
        return {each.owner for each in around} == {answer.worker}


# -- each tick is sampled


@dataclass(frozen=True, slots=True, kw_only=True)
class Gaps:
    """Times in which nobody sampled a stream. `lost`: without an excuse. `held_up`: no processor was given."""

    lost: Sequence[str]
    excused: int
    held_up: int


def find_gaps(history: History, streams: Sequence[str]) -> Gaps:
    """Find times in which nobody sampled a stream, and whether a worker that lives could have done so."""
    disturbed = join([(each.begun_s - 0.5, each.ended_s + history.settles_s) for each in history.windows])
    owners = Owners(history.holdings)
    taken = find_sampled(history)
    lost, excused, held_up = list[str](), 0, 0
    for stream in streams:
        latest: str | None = None  # of two workers that sample at once, the one with the later epoch has the stream
        latest_epoch, previous_s = -1, history.begun_s
        for at_s, worker, epoch in [*taken[stream], (history.ended_s, None, -1)]:
            at_s = min(at_s, history.ended_s)
            if at_s > history.begun_s and at_s - previous_s > 2.5 * history.interval_s:
                names = {name for name in (latest, worker) if name is not None}
                names |= _list_responsible(owners, stream, previous_s, at_s)
                if is_excused(names, previous_s, at_s, history.windows, disturbed):
                    excused += 1
                elif was_held_up(history, names, previous_s, at_s):
                    held_up += 1
                else:
                    lost.append(f"{stream} of {sorted(names)}: nothing from {previous_s:.1f} to {at_s:.1f}")
            previous_s = max(previous_s, at_s)
            if epoch >= latest_epoch:
                latest, latest_epoch = worker, epoch
    return Gaps(lost=lost, excused=excused, held_up=held_up)


def find_sampled(history: History) -> Mapping[str, list[tuple[float, str | None, int]]]:
    """Find by stream when each reading was taken that the ledger has, by which worker and in which epoch."""
    at_s = {each.reading: each.at_s for each in history.answers}
    taken = defaultdict[str, list[tuple[float, str | None, int]]](list)
    for each in history.stored:
        if each.reading in at_s:
            taken[each.stream].append((at_s[each.reading], each.worker, each.epoch))
    for moments in taken.values():
        moments.sort(key=lambda moment: (moment[0], moment[2]))
    return taken


def _list_responsible(owners: Owners, stream: str, from_s: float, to_s: float) -> set[str]:
    """List the workers that had a stream, or were to have it, between two moments."""
    there = owners.list_between(stream, from_s - 0.5, to_s)
    return {name for each in there for name in (each.owner, each.wanted) if name is not None}


def is_excused(
    workers: set[str], from_s: float, to_s: float, windows: Sequence[Window], disturbed: Sequence[tuple[float, float]]
) -> bool:
    """Whether one of these workers could not sample in a gap that ended within the bound after all faults."""
    is_hit = any(
        each.target in workers and each.stops_sampling and each.begun_s <= to_s and from_s - 2.0 <= each.ended_s
        for each in windows
    )
    return is_hit and any(begin <= from_s + 2.0 and to_s <= end for begin, end in disturbed)


def was_held_up(history: History, workers: set[str], from_s: float, to_s: float) -> bool:
    """Whether one of these workers, or the hosts, waited for a processor during a gap for an interval and longer."""
    for name in {*workers, "hosts"}:
        around = [waited_s for at_s, waited_s in history.waits.get(name, ()) if from_s - 1.0 <= at_s <= to_s + 0.5]
        grown_s = sum(max(0.0, later - earlier) for earlier, later in pairwise(around))
        if grown_s >= history.interval_s:
            return True
    return False


def join(intervals: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Join intervals that overlap."""
    joined: list[tuple[float, float]] = []
    for begin, end in sorted(intervals):
        if joined and begin <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((begin, end))
    return joined


# -- nothing moves without need


@dataclass(frozen=True, slots=True, kw_only=True)
class QuietOutages:
    """Faults of the servers beside which no other fault was made. `moved`: what moved, and had no need to.

    `held_up`: those for which something moved while workers got no processor.
    """

    counted: int
    held_up: int
    moved: Sequence[str]


def find_needless_moves(history: History) -> QuietOutages:
    """Find streams that moved for a fault of the servers alone: beside no other one, in a watch that was at rest."""
    counted, held_up, moved = 0, 0, list[str]()
    workers = {each.owner for each in history.holdings if each.owner is not None}
    for outage in history.windows:
        after_s = outage.ended_s + history.lease_s + 1.0
        is_alone = not any(
            each is not outage and each.begun_s <= after_s and each.ended_s + history.rests_s >= outage.begun_s
            for each in history.windows
        )
        if outage.target is not None or not is_alone or not _was_at_rest(history, outage.begun_s):
            continue
        moves = [each for each in history.holdings if outage.begun_s <= each.at_s <= after_s]
        if moves and was_held_up(history, workers, outage.begun_s, after_s):
            held_up += 1
            continue
        counted += 1
        moved += [
            f"{each.stream} went to {each.owner} (is to go to {each.wanted}), epoch {each.epoch}, at {each.at_s:.1f}"
            for each in moves
        ]
    return QuietOutages(counted=counted, held_up=held_up, moved=moved)


def _was_at_rest(history: History, at_s: float) -> bool:
    """Whether each stream had the worker that it was to have, and nothing had changed for a while."""
    latest = {each.stream: each for each in history.holdings if each.at_s < at_s}
    return all(each.owner == each.wanted for each in latest.values()) and not any(
        at_s - AT_REST_S <= each.at_s < at_s and each.at_s > history.begun_s for each in history.holdings
    )
