"""A worker that does not reach its hosts loses its streams to others that do, and none to those that do not either."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from harness import __version__
from harness.model.enums import Reason
from harness.model.incidents import Incident
from harness.model.watched import StreamState
from harness.store.ledger import Ledger
from harness.store.owners import read_now
from harness.store.watch_incidents import WatchIncidents
from harness.store.watch_log import LogKind, WatchLog
from harness.store.watch_states import WatchStates
from harness.store.watch_streams import NewStream, WatchStreams
from harness.watch.avoidance import AVOIDED_S, LONGEST_S, TRIED_S, AvoidedWorkers
from harness.watch.consistency import CheckLimits
from harness.watch.holdings import Holdings
from harness.watch.orchestrator import Orchestrator

STREAMS = ["s0", "s1", "s2", "s3"]
SUSPECTED = {"w1": STREAMS}
OF_W1, OF_W2 = dict.fromkeys(STREAMS, "w1"), dict.fromkeys(STREAMS, "w2")


def test_a_worker_is_left_out_for_a_while_and_for_twice_as_long_the_next_time() -> None:
    avoided = AvoidedWorkers()
    (told,) = avoided.update(0.0, SUSPECTED, OF_W1)
    assert told.sentence == (
        "worker w1 does not reach 4 streams (s0, s1, s2, ...): for 300 s it gets none where others can carry all"
    )
    assert avoided.names == {"w1"}
    assert avoided.update(TRIED_S, {}, OF_W2) == []
    assert avoided.update(AVOIDED_S - 1, {}, OF_W2) == []
    (told,) = avoided.update(AVOIDED_S, {}, OF_W2)
    assert told.sentence == "worker w1 gets streams again, and takes those whose hosts answer it"
    assert avoided.names == set()
    (told,) = avoided.update(AVOIDED_S + 40, SUSPECTED, OF_W2)
    assert "for 600 s" in told.sentence
    at_s = AVOIDED_S + 40
    for _ in range(5):
        at_s += LONGEST_S
        avoided.update(at_s, {}, OF_W2)
        (told,) = avoided.update(at_s, SUSPECTED, OF_W2)
    assert f"for {LONGEST_S:.0f} s" in told.sentence


def test_where_no_other_reaches_the_hosts_either_all_stays() -> None:
    avoided = AvoidedWorkers()
    avoided.update(0.0, SUSPECTED, OF_W1)
    assert avoided.update(TRIED_S - 1, SUSPECTED, OF_W1) == []
    (told,) = avoided.update(TRIED_S, SUSPECTED, OF_W1)
    assert told.sentence == "worker w1 keeps 4 streams (s0, s1, s2, ...): no other worker has taken them"
    assert avoided.names == set()
    assert avoided.update(AVOIDED_S - 1, SUSPECTED, OF_W1) == []
    more = {"w1": [*STREAMS, "s4"]}
    (told,) = avoided.update(AVOIDED_S - 1, more, {**OF_W1, "s4": "w1"})
    assert "for 600 s" in told.sentence, "another host: it may be the worker after all"


def test_what_was_in_vain_is_tried_again_seldom() -> None:
    avoided, tried_s = AvoidedWorkers(), []
    for at_s in range(0, 20_000, 5):
        told = avoided.update(at_s, SUSPECTED, OF_W1)
        tried_s += [at_s for entry in told if "does not reach" in entry.sentence]
    assert tried_s == [0, 300, 900, 2100, 4500, 8100, 11_700, 15_300, 18_900]


def test_a_fault_that_is_over_for_long_is_forgotten() -> None:
    avoided = AvoidedWorkers()
    avoided.update(0.0, SUSPECTED, OF_W1)
    avoided.update(AVOIDED_S, {}, OF_W2)
    avoided.update(AVOIDED_S + LONGEST_S, {}, OF_W2)
    (told,) = avoided.update(AVOIDED_S + LONGEST_S + 1, SUSPECTED, OF_W1)
    assert "for 300 s" in told.sentence


@dataclass
class Watch:
    """A watch of two workers in a ledger. `at_s`: the leader's clock; `dead`: hosts that answer nobody."""

    ledger: Ledger
    at_s: float = 0.0
    workers: dict[str, Holdings] = field(default_factory=dict)
    cut_off: set[str] = field(default_factory=set)
    dead: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.streams = WatchStreams(self.ledger.database)
        self.streams.add([NewStream(stream=f"s{number}", source={}, limits={}) for number in range(8)])
        self.hub = Orchestrator(
            self.ledger.database, process="hub", limits=CheckLimits(handoff_s=0.0), now=lambda: self.at_s
        )
        for name in ("w1", "w2"):
            self.workers[name] = Holdings(
                streams=self.streams, worker=name, process=f"{name}/1", version=__version__, capacity=9
            )

    def step(self) -> None:
        """Let the leader look once, workers sample, and take streams whose hosts answer them; then do the duties."""
        step = self.hub.look()
        assert step is not None
        for _ in range(2):  # a stream is known to come, and then taken
            for name, worker in self.workers.items():
                worker.ready = {stream for stream in worker.coming if self.answers(name, stream)}
                worker.step()
        for name, worker in self.workers.items():
            self._sample(name, worker.current())
        log = WatchLog(self.ledger.database)
        log.add([*self.hub.check(step.epoch), *self.hub.find_avoided(step.epoch)])

    def answers(self, worker: str, stream: str) -> bool:
        return worker not in self.cut_off and stream not in self.dead

    def _sample(self, worker: str, epochs: Mapping[str, int]) -> None:
        states, tick = WatchStates(self.ledger.database), self.ledger.database.read(read_now) // 10**9
        lines = []
        for stream, epoch in epochs.items():
            good = self.answers(worker, stream)
            word = {
                "state": StreamState.OK if good else StreamState.UNKNOWN,
                "reason": None if good else Reason.UNREACHABLE,
                "sentence": "",
                "since_tick": tick,
            }
            nothing: dict[str, Any] = {"latest": {}, "judging": {}, "host": {}}
            lines.append(states.make_line(stream=stream, epoch=epoch, tick=tick, **word, **nothing))
        states.write(lines, [], worker=worker, replayed=False)

    def owned(self, worker: str) -> set[str]:
        return {line.stream for line in self.streams.list_streams() if line.owner == worker}

    def tell_incident(self, worker: str) -> None:
        incident = Incident(
            incident="i",
            kind=Reason.UNREACHABLE.value,
            cause=f"worker {worker}",
            streams=tuple(sorted(self.owned(worker))),
            sentence="",
            recommendation="",
            began_ns=1,
        )
        WatchIncidents(self.ledger.database).write([incident])

    def told(self) -> list[str]:
        kinds = (LogKind.MEND,)
        return [line.entry.sentence for line in reversed(WatchLog(self.ledger.database).list_lines(kinds=kinds))]


@pytest.fixture
def watch(ledger_url: str) -> Iterator[Watch]:
    ledger = Ledger(ledger_url)
    made = Watch(ledger)
    for _ in range(4):
        made.step()
    assert {len(made.owned(name)) for name in made.workers} == {4}
    yield made
    ledger.close()


def test_the_streams_of_a_worker_that_is_cut_off_from_its_hosts_go_to_others(watch: Watch) -> None:
    watch.cut_off = {"w1"}
    watch.step()
    watch.tell_incident("w1")
    for _ in range(4):
        watch.step()
    assert len(watch.owned("w2")) == 8
    assert len(watch.told()) == 1
    watch.at_s = AVOIDED_S
    for _ in range(4):
        watch.step()
    assert len(watch.owned("w2")) == 8, "a worker that is still cut off takes nothing"
    assert [re.findall(r"for (\d+) s", sentence) for sentence in watch.told()[::2]] == [["300"], ["600"]]
    watch.at_s, watch.cut_off = 3 * AVOIDED_S, set()
    for _ in range(4):
        watch.step()
    assert {len(watch.owned(name)) for name in watch.workers} == {4}


def test_hosts_that_answer_nobody_stay_with_their_worker(watch: Watch) -> None:
    watch.dead = watch.owned("w1")
    watch.step()
    watch.tell_incident("w1")
    watch.step()
    watch.at_s = TRIED_S
    for _ in range(4):
        watch.step()
    assert watch.dead <= watch.owned("w1")
    assert watch.told()[-1].endswith("no other worker has taken them")
    watch.at_s = AVOIDED_S - 1
    watch.step()
    assert len(watch.told()) == 2


def test_a_worker_that_reaches_most_of_its_hosts_keeps_them(watch: Watch) -> None:
    watch.dead = {*sorted(watch.owned("w1"))[:1]}
    watch.step()
    watch.tell_incident("w1")
    for _ in range(3):
        watch.step()
    assert watch.told() == []


def test_no_stream_is_left_out_for_a_worker_that_is_cut_off(watch: Watch) -> None:
    watch.workers["w2"].leave()
    del watch.workers["w2"]
    watch.cut_off = {"w1"}
    for _ in range(2):
        watch.step()
    watch.tell_incident("w1")
    for _ in range(4):
        watch.step()
    assert len(watch.owned("w1")) == 8, "nobody else can carry them"
