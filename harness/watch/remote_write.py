"""Send what was sampled to a store of series by Prometheus' remote write 1.0, from the chunks in the ledger.

The ledger is the queue: a chunk is sent once it is stored, by the process that leads, and the cursor in the ledger
moves when the store has answered. A process that ends between the two sends one request again, with the same samples
and times, which a store keeps once. Chunks that were replayed after the ledger was away are sent apart from those of
now, and after them. Of two readings of one tick, taken while a stream changed hands, the one that was stored first is
sent.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from harness.client.failures import FailedTry
from harness.client.retries import RetryPolicy
from harness.errors import HarnessError, SetupError
from harness.model.watched import TickReading
from harness.store.database import Database
from harness.store.watch_cursors import Cursor, Lane, StoredChunk, WatchCursors
from harness.store.watch_samples import ChunkKey, WatchSamples
from harness.watch.http_posts import Posting, Reply
from harness.watch.write_request import HEADERS, Series, compress_request, encode_request, make_series

ANSWERS_WITHIN_S = 30.0
IDLE_S = 2.0
MISDIRECTED_PAUSE_S = 300.0
"""Until a store that denies access, or has nothing at this address, is asked again."""

_MOST_CHUNKS = 200
_MOST_SAMPLES = 10_000
_REFUSED = (400, 409, 413, 422)
"""Answers about the samples of a request: they are never sent again. All others of 4xx are about where it was sent."""

_REFUSING_WORDS = ("too old sample", "out of order sample", "out of bounds", "duplicate sample for timestamp")
"""With a 500, of a Prometheus (2.42 among them) for which these are no mistakes of the request."""

_RETRIES = RetryPolicy(first_pause_s=1.0, longest_pause_s=60.0)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteStore:
    """A store of series. `name`: for ever the same, of at most 48 characters; `label`: for people, without secrets."""

    name: str
    label: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """A chunk that is to be sent, with its series; without any where all its ticks were sent before."""

    chunk: StoredChunk
    series: Sequence[Series]

    @property
    def samples(self) -> int:
        return sum(len(each.samples) for each in self.series)


class RemoteWriter:
    """Sends the chunks of a ledger to a store. One thread uses it; `now` is a monotonic clock, s."""

    def __init__(
        self,
        database: Database,
        store: RemoteStore,
        *,
        now: Callable[[], float] = time.monotonic,
        answer_s: float = ANSWERS_WITHIN_S,
    ) -> None:
        self._store, self._now = store, now
        self._cursors, self._samples = WatchCursors(database), WatchSamples(database)
        self._posting = Posting(store.url, answer_s=answer_s)
        self._places: dict[Lane, Cursor] = {}
        self._failures, self._again_at = 0, 0.0

    def close(self) -> None:
        """Close the connection."""
        self._posting.close()

    def step(self) -> float:
        """Send some of what waits; return after how many seconds to call it again. Raises what the database raises."""
        if self._now() < self._again_at:
            return self._again_at - self._now()
        for lane in Lane:  # the live one first; the other has its turn when nothing live waits
            if self._send_some(lane):
                return max(0.0, self._again_at - self._now())
        return IDLE_S

    def _send_some(self, lane: Lane) -> bool:
        """Send what one look at a lane finds; return whether there was something."""
        cursor = self._places.get(lane)
        if cursor is None:
            cursor = self._cursors.open(self._store.name, self._store.label, lane)
            self._places[lane] = cursor
        chunks = self._cursors.list_waiting(cursor, most=_MOST_CHUNKS)
        for parts in _pack(self._read_parts(chunks)):
            if not self._send(lane, parts):
                break
        if chunks and (place := self._places.get(lane)) is not None:
            self._places[lane] = self._cursors.settle(place)
        return bool(chunks)

    def _read_parts(self, chunks: Sequence[StoredChunk]) -> Iterator[_Part]:
        """Make the series of chunks, each without the ticks that an earlier chunk holds."""
        overlapping = self._cursors.list_overlapping(chunks)
        waiting = {chunk.key for chunk in chunks}
        sent = [each for each in overlapping if each.key not in waiting and self._was_sent(each)]
        readings = self._read_readings({*waiting, *(each.key for each in sent)})
        taken: dict[tuple[str, int], set[int]] = {(each.stream, each.interval_ns): set() for each in overlapping}
        for chunk in sent:
            taken[chunk.stream, chunk.interval_ns].update(each.tick for each in readings.get(chunk.key, ()))
        for chunk in chunks:
            own = readings.get(chunk.key, ())
            if (before := taken.get((chunk.stream, chunk.interval_ns))) is not None:
                own = [each for each in own if each.tick not in before]
                before.update(each.tick for each in own)
            yield _Part(chunk=chunk, series=make_series(chunk.stream, chunk.interval_ns, own))

    def _read_readings(self, keys: Collection[ChunkKey]) -> dict[ChunkKey, Sequence[TickReading]]:
        """Read chunks; one that is damaged has none, and holds up no other."""
        try:
            chunks = self._samples.read_chunks(keys)
        except SetupError:
            raise
        except HarnessError as error:
            if len(keys) > 1:
                parts = (self._read_readings({key}) for key in keys)
                return {key: found for part in parts for key, found in part.items()}
            _log.warning("a chunk is not sent: %s", error)
            return {}
        return {(chunk.stream, chunk.first_tick, chunk.epoch): chunk.readings for chunk in chunks}

    def _was_sent(self, chunk: StoredChunk) -> bool:
        lane = Lane.REPLAYED if chunk.replayed else Lane.LIVE
        cursor = self._places.get(lane)
        if cursor is None:
            cursor = self._cursors.open(self._store.name, self._store.label, lane)
            self._places[lane] = cursor
        return chunk.stored_ns <= cursor.through_ns or chunk.digest in cursor.sent

    def _send(self, lane: Lane, parts: Sequence[_Part]) -> bool:
        """Send parts in one request, or in smaller ones where it is refused; return whether to go on."""
        filled = [part for part in parts if part.series]
        if not filled:
            return self._advance(lane, parts)
        try:
            content = compress_request(encode_request(_merge(filled)))
            reply = self._posting.post(content, {**HEADERS, **self._store.headers})
        except FailedTry as error:
            return self._wait(lane, str(error), least_s=error.after_s)
        if reply.succeeded:
            return self._advance(lane, parts, samples=sum(part.samples for part in filled))
        if not _refuses_samples(reply):
            least_s = (reply.after_s or 0.0) if reply.may_be_repeated else MISDIRECTED_PAUSE_S
            return self._wait(lane, reply.describe(), least_s=least_s)
        if len(parts) > 1:  # one sample that is refused has the others of its request refused
            middle = len(parts) // 2
            return self._send(lane, parts[:middle]) and self._send(lane, parts[middle:])
        return self._drop(lane, parts[0], reply)

    def _drop(self, lane: Lane, part: _Part, reply: Reply) -> bool:
        chunk = part.chunk
        _log.warning(
            "%s %s: %d samples of %s from tick %d on are not sent again",
            self._store.label, reply.describe(), part.samples, chunk.stream, chunk.first_tick,
        )  # fmt: skip
        return self._advance(lane, [part], refused=part.samples)

    def _advance(self, lane: Lane, parts: Sequence[_Part], *, samples: int = 0, refused: int = 0) -> bool:
        chunks = [part.chunk for part in parts]
        moved = self._cursors.advance(self._places[lane], chunks, samples=samples, refused=refused)
        self._failures = 0
        if moved is None:  # another process sends, or this one's answer was lost: look again
            del self._places[lane]
            self._again_at = self._now() + IDLE_S
            return False
        self._places[lane] = moved
        return True

    def _wait(self, lane: Lane, problem: str, *, least_s: float) -> bool:
        self._failures += 1
        pause_s = max(least_s, _RETRIES.draw_pause_s(self._failures))
        self._again_at = self._now() + pause_s
        _log.log(
            logging.WARNING if self._failures == 1 else logging.INFO,
            "%s %s; it is tried again in %.0f s", self._store.label, problem, pause_s,
        )  # fmt: skip
        self._cursors.tell_problem(self._places[lane], problem)
        return False


def _refuses_samples(reply: Reply) -> bool:
    """Whether an answer is about the samples, which would be refused again."""
    return reply.status in _REFUSED or (reply.status == 500 and any(words in reply.words for words in _REFUSING_WORDS))


def _pack(parts: Iterator[_Part]) -> Iterator[list[_Part]]:
    """Group parts into requests of at most _MOST_SAMPLES, or of one chunk."""
    request: list[_Part] = []
    samples = 0
    for part in parts:
        if request and samples + part.samples > _MOST_SAMPLES:
            yield request
            request, samples = [], 0
        request.append(part)
        samples += part.samples
    if request:
        yield request


def _merge(parts: Sequence[_Part]) -> list[Series]:
    """Merge the series of parts: each once in a request, with its samples in the order of their times."""
    merged: dict[tuple[tuple[str, str], ...], list[tuple[int, float]]] = {}
    for part in parts:
        for series in part.series:
            merged.setdefault(tuple(sorted(series.labels.items())), []).extend(series.samples)
    return [Series(labels=dict(labels), samples=sorted(samples)) for labels, samples in merged.items()]
