"""Leave a worker out that does not reach its hosts while others reach theirs, so that others take its streams.

The rule. A worker is suspected where an incident says that its hosts do not answer, and the hosts of others do; or
where it takes no stream that it is to have from owners whose hosts answer these. Both count where it has fewer streams
whose hosts answer. The leader plans without it for a while: its streams are to go to others, each of which takes a
stream once the host answers it. Where most stay with their owner all the same, the hosts are at fault. A worker that is
suspected again afterwards is left out for twice as long; one that was left out in vain not before as long has passed.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from harness.model.enums import Reason
from harness.model.watched import StreamState
from harness.store.database import Database
from harness.store.watch_incidents import WatchIncidents
from harness.store.watch_log import LogEntry, LogKind
from harness.store.watch_states import StreamWord, WatchStates
from harness.watch.consistency import Inconsistency, Kind, name_streams
from harness.watch.incidents import LEAST_TOGETHER

AVOIDED_S, LONGEST_S = 300.0, 3600.0
"""How long a worker is left out the first time, and at most."""

TRIED_S = 60.0
"""Within which others have taken the streams of a worker, or the hosts are at fault."""


@dataclass(slots=True)
class _Avoided:
    """A worker that is left out, or was: then `is_over`. `streams`: those that it did not reach."""

    streams: frozenset[str]
    begun_s: float
    length_s: float
    is_over: bool = False
    in_vain: bool = False


class AvoidedWorkers:
    """The workers that are left out. `names`: of those now, which other threads may read."""

    def __init__(self) -> None:
        self._avoided: dict[str, _Avoided] = {}
        self.names = frozenset[str]()

    def update(
        self, at_s: float, suspects: Mapping[str, Collection[str]], owners: Mapping[str, str | None]
    ) -> list[LogEntry]:
        """Take who is suspected now, with the streams that it does not reach, and who has these; return what is told.

        `owners`: also of the streams of workers that were suspected before. `at_s`: monotonic, s.
        """
        entries = [entry for name in [*self._avoided] if (entry := self._go_on(name, at_s, suspects, owners))]
        for name, streams in sorted(suspects.items()):
            known = self._avoided.get(name)
            if known is None or (known.is_over and not self._waits(known, at_s, streams)):
                entries.append(self._begin(name, at_s, streams, known))
        self.names = frozenset(name for name, each in self._avoided.items() if not each.is_over)
        return entries

    def list_streams(self) -> set[str]:
        """List the streams of all workers that are left out: `update` has to know who has them."""
        return {stream for each in self._avoided.values() if not each.is_over for stream in each.streams}

    @staticmethod
    def _waits(known: _Avoided, at_s: float, streams: Collection[str]) -> bool:
        """Whether nothing else is tried for the streams of a worker that was left out in vain, for now."""
        return known.in_vain and {*streams} <= known.streams and at_s - known.begun_s < known.length_s

    def _begin(self, name: str, at_s: float, streams: Collection[str], known: _Avoided | None) -> LogEntry:
        length_s = AVOIDED_S if known is None else min(2 * known.length_s, LONGEST_S)
        self._avoided[name] = _Avoided(frozenset(streams), at_s, length_s)
        told = f"does not reach {name_streams(sorted(streams))}"
        return _tell(name, f"{told}: for {length_s:.0f} s it gets none where others can carry all")

    def _go_on(
        self,
        name: str,
        at_s: float,
        suspects: Mapping[str, Collection[str]],
        owners: Mapping[str, str | None],
    ) -> LogEntry | None:
        """End what is over, and forget what was over for long; return what is told of that."""
        each = self._avoided[name]
        passed_s = at_s - each.begun_s
        if each.is_over:
            if name not in suspects and passed_s >= each.length_s + LONGEST_S:
                del self._avoided[name]
            return None
        staying = sum(owners.get(stream) == name for stream in each.streams)
        if passed_s >= TRIED_S and name in suspects and staying > len(each.streams) / 2:
            each.is_over = each.in_vain = True
            streams = name_streams(sorted(each.streams))
            return _tell(name, f"keeps {streams}: no other worker has taken them")
        if passed_s >= each.length_s:
            each.is_over = True
            return _tell(name, "gets streams again, and takes those whose hosts answer it")
        return None


class AvoidanceDuty:
    """Finds the workers that do not reach their hosts, as a duty of the leader.

    `found`: tells what the latest check found; `now`: monotonic, s.
    """

    def __init__(
        self,
        database: Database,
        found: Callable[[], Sequence[Inconsistency]],
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._incidents, self._states = WatchIncidents(database), WatchStates(database)
        self._found, self._now = found, now
        self._leadership: int | None = None
        self.avoided = AvoidedWorkers()

    def do(self, leadership: int) -> Sequence[LogEntry]:
        """Look at all workers; what an earlier leadership of this process found is forgotten."""
        if leadership != self._leadership:
            self._leadership, self.avoided = leadership, AvoidedWorkers()
        unreached = self._find_unreached()
        waiting = {
            each.worker: {*each.streams}
            for each in self._found()
            if each.kind is Kind.HANDOFF_WAITS and each.worker is not None
        }
        streams = {stream for group in (*unreached.values(), *waiting.values()) for stream in group}
        words = self._states.read(sorted(streams | self.avoided.list_streams()), figures=False)
        owners = {stream: word.owner for stream, word in words.items()}
        suspects = {
            worker: {
                each for each in unreached.get(worker, ()) if owners.get(each) == worker and not _answers(words[each])
            }
            | {each for each in waiting.get(worker, ()) if each in words and _answers(words[each])}
            for worker in unreached.keys() | waiting.keys()
        }
        several = {worker: group for worker, group in suspects.items() if len(group) >= LEAST_TOGETHER}
        return self.avoided.update(self._now(), self._keep_cut_off(several), owners)

    def _keep_cut_off(self, suspects: Mapping[str, Collection[str]]) -> dict[str, Collection[str]]:
        """Keep the workers that have fewer streams whose hosts answer than streams that they do not reach."""
        if not suspects:
            return {}
        answering = Counter(word.owner for word in self._states.list(figures=False) if _answers(word))
        return {worker: group for worker, group in suspects.items() if len(group) > answering[worker]}

    def _find_unreached(self) -> dict[str, set[str]]:
        """Find by incidents which streams have in common that their worker does not reach the host."""
        unreached = dict[str, set[str]]()
        for incident in self._incidents.list():
            trait, _, worker = incident.cause.partition(" ")
            if trait == "worker" and incident.kind == Reason.UNREACHABLE.value:
                unreached.setdefault(worker, set()).update(incident.streams)
        return unreached


def _answers(word: StreamWord) -> bool:
    """Whether the host of a stream answers its owner; one of which too few samples have come does."""
    return word.state is not StreamState.UNKNOWN or word.reason is Reason.TOO_FEW_SAMPLES


def _tell(worker: str, sentence: str) -> LogEntry:
    return LogEntry(kind=LogKind.MEND, worker=worker, sentence=f"worker {worker} {sentence}")
