"""Watched clocks in a ledger: streams, a worker that has them, and what it sampled and judged up to now."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.model.watched import StateChange, TickReading
from harness.store.database import Database
from harness.store.owners import read_now
from harness.store.watch_samples import Chunk, WatchSamples
from harness.store.watch_states import WatchStates
from harness.store.watch_streams import NewStream, WatchStreams
from harness.watch.judge import StreamJudge
from tests.doubles.watched_clock import EC2_NOISE, Fault, watch_clock

WORKER = "w1"


@dataclass(slots=True, kw_only=True)
class WatchedLedger:
    """A ledger with streams that one worker has sampled each second."""

    database: Database
    epochs: dict[str, int] = field(default_factory=dict)
    registration: int = 0

    def add(self, *streams: str) -> None:
        """Add streams and give them to the worker."""
        watch = WatchStreams(self.database)
        watch.add([NewStream(stream=name, source={}, limits={}) for name in streams])
        self.registration = registration = watch.register(WORKER, capacity=1000, score=1.0, process="test", version="1")
        watch.write_plan(watch.lead("test") or 0, dict.fromkeys(streams, WORKER))
        self.epochs |= watch.claim(WORKER, registration, streams)

    def sample(
        self, stream: str, seconds: int, *, fault: Fault | None = None, for_s: int = 0, until_s: int = 0
    ) -> list[StateChange]:
        """Sample and judge a good clock for so long, with a fault in the last `for_s` of it; end `until_s` ago."""
        now_tick = self.database.read(read_now) // 10**9 - until_s
        readings = [*watch_clock(EC2_NOISE, seconds, first=now_tick - seconds + 1)]
        if fault is not None:
            changed = [fault(each) for each in readings[seconds - for_s :]]
            readings = [*readings[: seconds - for_s], *(each for each in changed if each is not None)]
        judge = StreamJudge({}, 1.0)
        changes = [change for each in readings if (change := judge.add(each, each.tick))]
        self._store(stream, readings)
        states = WatchStates(self.database)
        line = states.make_line(
            stream=stream,
            epoch=self.epochs[stream],
            tick=now_tick,
            state=judge.state,
            reason=judge.reason,
            sentence=judge.sentence,
            since_tick=judge.since_tick,
            latest=judge.figures(),
            judging=judge.save(),
            host={"kernel": "6.12.1", "driver": "2.17", "instance_type": "m8g.large", "zone": "eu-west-1a"},
        )
        written = [(stream, self.epochs[stream], change) for change in changes]
        states.write([line], written, worker=WORKER, replayed=False)
        return changes

    def _store(self, stream: str, readings: Sequence[TickReading]) -> None:
        minutes: dict[int, list[TickReading]] = {}
        for reading in readings:
            minutes.setdefault(reading.tick // 60, []).append(reading)
        chunks = [
            Chunk(
                stream=stream,
                epoch=self.epochs[stream],
                interval_ns=10**9,
                first_tick=within[0].tick,
                last_tick=within[-1].tick,
                readings=within,
            )
            for within in minutes.values()
        ]
        WatchSamples(self.database).store(chunks, worker=WORKER, replayed=False)
