"""Group streams that went bad together into incidents, and name what they have in common.

The rule. Streams of one reason that went bad within WINDOW_S of one another are looked at together, once the first has
been bad for SETTLE_S, so that the others can follow. A value that hosts share (kernel, driver, type, zone, worker) is
the cause where it covers COVERS of the bad streams, and the share of bad ones among its streams is at least LIFT times
that among the others; of several the one with the highest F1 of both shares, so that neither a wider nor a narrower
value is named. Where most of all streams are bad, the cause is all; where nothing is shared, each stream is an incident
of its own, and from MOST_ALONE on they are one without a cause. An incident takes in streams of its cause that go bad
while it goes on, and ends when all its streams were good for QUIET_S.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.model.enums import Reason
from harness.model.incidents import NO_SAMPLES, Incident
from harness.model.watched import StreamState
from harness.watch.remedies import WATCH_REMEDIES

WINDOW_S, SETTLE_S, QUIET_S = 120.0, 30.0, 120.0
LEAST_TOGETHER, COVERS, LIFT, MOST_ALONE = 3, 0.8, 3.0, 10
TRAITS = ("kernel", "driver", "instance_type", "zone", "region", "worker")
"""What streams are grouped by, in the order in which equal ones are named."""

ALL, NO_CAUSE = "all streams", "no common cause"
_STREAM = "stream"
_MOST_NAMED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A stream as it is: its state since a moment, ns, why, and its traits by name."""

    stream: str
    state: StreamState
    reason: Reason | None
    since_ns: int
    traits: Mapping[str, str]

    @property
    def kind(self) -> str | None:
        """The kind of an incident that it may belong to; None for a good one, and one with too few samples yet."""
        if self.state is StreamState.OK or self.reason is Reason.TOO_FEW_SAMPLES:
            return None
        return self.reason.value if self.reason else NO_SAMPLES


def update_incidents(conditions: Sequence[Condition], going_on: Sequence[Incident], now_ns: int) -> list[Incident]:
    """Return the incidents that began, grew, or ended, of all streams as they are and the incidents that go on."""
    return _Update(conditions, going_on, now_ns).make()


class _Update:
    def __init__(self, conditions: Sequence[Condition], going_on: Sequence[Incident], now_ns: int) -> None:
        self._by_stream = {each.stream: each for each in conditions}
        self._bad = [each for each in conditions if each.kind is not None]
        self._open = {incident.incident: incident for incident in going_on}
        self._now_ns, self._changed = now_ns, dict[str, Incident]()
        self._totals = Counter((name, each.traits.get(name)) for each in conditions for name in TRAITS)
        self._taken = {stream for incident in going_on for stream in incident.streams}

    def make(self) -> list[Incident]:
        by_kind = defaultdict[str, list[Condition]](list)
        for condition in self._bad:
            if condition.stream not in self._taken and not self._join(condition):
                by_kind[condition.kind or ""].append(condition)
        for kind, conditions in sorted(by_kind.items()):
            young = [incident for incident in self._open.values() if self._is_young(incident, kind)]
            for cluster in _cluster([*conditions, *self._list_members(young)]):
                if self._now_ns - cluster[0].since_ns >= SETTLE_S * 1e9:
                    self._divide(kind, cluster, young)
        for incident in [*self._open.values()]:
            if self._is_over(incident):
                self._put(replace(incident, ended_ns=self._now_ns))
        return [*self._changed.values()]

    def _put(self, incident: Incident) -> None:
        self._open[incident.incident] = self._changed[incident.incident] = incident

    def _is_young(self, incident: Incident, kind: str) -> bool:
        """Whether others may still follow: then its cause is found anew with them."""
        goes_on = incident.ended_ns is None and incident.kind == kind
        return goes_on and self._now_ns - incident.began_ns < WINDOW_S * 1e9

    def _join(self, condition: Condition) -> bool:
        """Take a stream into an incident of its kind whose cause it shares, and which is not young any more."""
        kind = condition.kind or ""
        for incident in self._open.values():
            name, _, value = incident.cause.partition(" ")
            shares = incident.cause in (ALL, NO_CAUSE) or (name in TRAITS and condition.traits.get(name) == value)
            if incident.kind == kind and incident.ended_ns is None and shares and not self._is_young(incident, kind):
                self._put(_describe(replace(incident, streams=(*incident.streams, condition.stream))))
                return True
        return False

    def _list_members(self, incidents: Sequence[Incident]) -> Iterator[Condition]:
        """List the streams of incidents, as of when these began; good ones stay members, too."""
        for incident in incidents:
            for stream in incident.streams:
                condition = self._by_stream.get(stream)
                if condition is not None:
                    yield replace(condition, since_ns=incident.began_ns)

    def _divide(self, kind: str, cluster: Sequence[Condition], young: list[Incident]) -> None:
        """Divide a cluster into incidents. Young ones of its streams become those, the oldest first, or end."""
        left = [*cluster]
        while len(left) >= LEAST_TOGETHER:
            cause, covered = self._find_cause(left)
            if cause is None:
                break
            self._begin(kind, cause, covered, young)
            names = {each.stream for each in covered}
            left = [each for each in left if each.stream not in names]
        if len(left) >= MOST_ALONE:
            self._begin(kind, NO_CAUSE, left, young)
        else:
            for condition in left:
                self._begin(kind, f"{_STREAM} {condition.stream}", [condition], young)
        members = {each.stream for each in cluster}
        for incident in [each for each in young if members & {*each.streams}]:
            young.remove(incident)
            self._put(replace(incident, ended_ns=self._now_ns, sentence=f"{incident.sentence}; it is part of another"))

    def _begin(self, kind: str, cause: str, conditions: Sequence[Condition], young: list[Incident]) -> None:
        """Begin an incident, or let the oldest young one of its streams become it."""
        streams = tuple(sorted(each.stream for each in conditions))
        earlier = min(
            (incident for incident in young if {*incident.streams} & {*streams}),
            key=lambda incident: (incident.began_ns, incident.incident),
            default=None,
        )
        began_ns = min(each.since_ns for each in conditions)
        incident = Incident(
            incident=earlier.incident if earlier else _make_name(kind, began_ns, streams[0]),
            kind=kind,
            cause=cause,
            streams=streams,
            sentence="",
            recommendation="",
            began_ns=earlier.began_ns if earlier else began_ns,
        )
        if earlier:
            young.remove(earlier)
            if (earlier.cause, earlier.streams) == (cause, streams):
                return
        self._put(_describe(incident))

    def _find_cause(self, bad: Sequence[Condition]) -> tuple[str | None, Sequence[Condition]]:
        """Find the value that the bad streams share by the rule, and those of them that have it."""
        total = len(self._by_stream)
        if len(bad) >= COVERS * total:
            return ALL, bad
        best: tuple[float, int, str, str] | None = None
        for place, name in enumerate(TRAITS):
            for value, count in Counter(each.traits.get(name) for each in bad).items():
                having = self._totals[name, value]
                if value is None or count < LEAST_TOGETHER or count < COVERS * len(bad):
                    continue
                outside = (len(bad) - count) / max(1, total - having)
                if count / having < LIFT * outside or having == total:
                    continue
                rank = (2 * count / (having + len(bad)), -place, name, value)
                best = rank if best is None else max(best, rank)
        if best is None:
            return None, ()
        _, _, name, value = best
        return f"{name} {value}", [each for each in bad if each.traits.get(name) == value]

    def _is_over(self, incident: Incident) -> bool:
        """Whether all streams of an incident were good for long enough; one that is watched no more counts as good."""
        if incident.ended_ns is not None:
            return False
        conditions = [self._by_stream.get(stream) for stream in incident.streams]
        quiet_before_ns = self._now_ns - QUIET_S * 1e9
        return all(
            each is None or (each.state is StreamState.OK and each.since_ns <= quiet_before_ns) for each in conditions
        )


def _describe(incident: Incident) -> Incident:
    """Write the sentence and the recommendation of an incident."""
    kind, count = incident.kind.replace("_", " "), len(incident.streams)
    named = ", ".join(incident.streams[:_MOST_NAMED])
    more = f" and {count - _MOST_NAMED} more" if count > _MOST_NAMED else ""
    if incident.cause.startswith(f"{_STREAM} "):
        sentence = f"{named}: {kind}"
    else:
        shared = incident.cause if incident.cause in (ALL, NO_CAUSE) else f"all have {incident.cause}"
        sentence = f"{count} streams: {kind}; {shared}: {named}{more}"
    return replace(incident, sentence=sentence, recommendation=recommend(incident.kind, incident.cause))


def _cluster(conditions: Iterable[Condition]) -> Iterator[list[Condition]]:
    """Divide streams into those that went bad within the window of the first one."""
    cluster: list[Condition] = []
    for condition in sorted(conditions, key=lambda each: (each.since_ns, each.stream)):
        if cluster and condition.since_ns - cluster[0].since_ns > WINDOW_S * 1e9:
            yield cluster
            cluster = []
        cluster.append(condition)
    if cluster:
        yield cluster


def _make_name(kind: str, began_ns: int, stream: str) -> str:
    """Name an incident such that every leader gives it the same name."""
    return hashlib.sha256(f"{kind} {began_ns} {stream}".encode()).hexdigest()[:12]


def recommend(kind: str, cause: str) -> str:
    """Say what to do about an incident, by what its streams have in common and by its kind."""
    name, _, value = cause.partition(" ")
    first = _BY_TRAIT[name].format(value=value) if name in _BY_TRAIT else ""
    remedy = WATCH_REMEDIES[Reason(kind)] if kind in set(Reason) else _OF_NO_SAMPLES
    return "; ".join(part for part in (first, remedy) if part)


_OF_NO_SAMPLES = "see `ptp-harness watch status`: whether the workers live and have room"
_BY_TRAIT = {
    "kernel": "compare with a host of another kernel, and boot one of these hosts with its earlier kernel",
    "driver": "compare with a host of another driver, and install the earlier driver on one of these hosts",
    "instance_type": "qualify {value} anew: `ptp-harness run {value}`",
    "zone": "see whether the provider reports trouble in {value}",
    "region": "see whether the provider reports trouble in {value}",
    "worker": "restart worker {value}, or end it: others take its streams",
    "all": "look first at what all share: the network from here, the provider, the reference",
}
