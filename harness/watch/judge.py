"""Judge a watched clock tick by tick, by the quantities, statistics, limits and reasons of the ladder.

The state of a stream is the worst word of its checks: UNKNOWN where its ticks are missed or too few are there, BROKEN
where a limit does not hold or what proves it is gone, DEGRADED where it holds and its support does not. Words begin at
once and end with hysteresis (`alarm`). Bounds from a lasting fault to its word, in ticks: 8 for a step, readings of the
PHC that fail and a silent chronyd, 7 for a lost selection of the PHC, 3 for a refuted bound (1 for doubt), 10 s for
missed ticks, 3 answers for the second opinion. A median or percentile that creeps over its limit takes its window.
"""

import base64
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from harness.campaign.limits import Requirement
from harness.model.enums import Reason
from harness.model.watched import StateChange, StreamState, TickReading
from harness.watch.alarm import Alarm
from harness.watch.grid import to_interval_ns
from harness.watch.limit_check import OBSERVERS, LimitCheck, Memory, make_profile_observer
from harness.watch.stream_limits import read_limits
from harness.watch.tick_checks import FollowedPhc, ReadCheck, RefutedBound, SecondOpinion, SeenTicks
from harness.watch.window import LONG, SHORT, FlagWindow, ValueWindow

SAVED_VERSION = 1
_WINDOW_BYTES = (LONG + 7) // 8
_Word = tuple[Alarm, StreamState, Reason, Callable[[], str]]


class StreamJudge:
    """The judge of one stream. `state` since `since_tick`, for `reason`, in a `sentence`.

    `limits`: those of the stream, as `stream_limits` has them; `restored`: what another judge of the stream saved. One
    that is damaged, or of other limits, counts as none. Raises RequestError for limits that are not understood.
    """

    __slots__ = (
        "_alarms",
        "_began_tick",
        "_checks",
        "_follow",
        "_interval_s",
        "_latest",
        "_memory",
        "_offsets",
        "_opinion",
        "_reads",
        "_refuted",
        "_tick",
        "_ticks",
        "reason",
        "sentence",
        "since_tick",
        "state",
    )

    def __init__(
        self, limits: Mapping[str, Any], interval_s: float, *, restored: Mapping[str, Any] | None = None
    ) -> None:
        self._interval_s = interval_s
        self._begin(limits)
        if restored is not None:
            try:
                self._restore(restored)
            except (KeyError, TypeError, ValueError, IndexError, zlib.error):
                self._begin(limits)

    def _begin(self, limits: Mapping[str, Any]) -> None:
        chosen = read_limits(limits)
        self._memory, self._follow, self._refuted = Memory(), FollowedPhc(), RefutedBound()
        self._opinion, self._ticks = SecondOpinion(self._interval_s), SeenTicks(self._interval_s)
        self._reads = ReadCheck(_find(chosen.requirements, "phc_read_success"))
        self._checks = [
            *(
                LimitCheck(requirement, OBSERVERS[requirement.quantity])
                for requirement in chosen.requirements
                if requirement.quantity in OBSERVERS
            ),
            *(LimitCheck(limit.requirement, make_profile_observer(limit)) for limit in chosen.profile_limits),
        ]
        self._offsets = ValueWindow()
        self._latest: TickReading | None = None
        self._tick: int | None = None
        self._began_tick = 0
        self.state, self.since_tick, self.sentence = StreamState.UNKNOWN, 0, "no sample has come"
        self.reason: Reason | None = None
        self._alarms = tuple(word[0] for word in self._list_words())

    def _list_words(self) -> Iterator[_Word]:
        """List the words about a stream that was seen, the first that is active decides."""
        broken, degraded = StreamState.BROKEN, StreamState.DEGRADED
        reads, follow, opinion, refuted = self._reads, self._follow, self._opinion, self._refuted
        yield reads.unreadable, broken, Reason.PHC_UNREADABLE, reads.describe_unreadable
        yield opinion.implausible, broken, Reason.PHC_IMPLAUSIBLE, opinion.describe_implausible
        yield follow.lost, broken, Reason.NOT_SYNCHRONISED, self._describe_holdover
        for check in self._checks:
            yield check.broken, broken, Reason.OUT_OF_LIMITS, check.describe_broken
        yield refuted.refuted, broken, Reason.BOUND_REFUTED, refuted.describe
        yield reads.unread, broken, Reason.NOT_OBSERVED, reads.describe_unread
        yield follow.silent, broken, Reason.NOT_OBSERVED, follow.describe_silent
        yield follow.holdover, degraded, Reason.NOT_SYNCHRONISED, self._describe_holdover
        yield refuted.doubted, degraded, Reason.BOUND_REFUTED, refuted.describe
        for check in self._checks:
            yield check.unproven, degraded, Reason.NOT_OBSERVED, check.describe_unproven
        yield opinion.gone, degraded, Reason.NOT_OBSERVED, opinion.describe_gone
        yield self._ticks.sparse, degraded, Reason.TOO_FEW_SAMPLES, self._ticks.describe_sparse

    def _describe_holdover(self) -> str:
        return self._follow.describe(self._interval_s)

    def add(self, reading: TickReading | None, tick: int) -> StateChange | None:
        """Take the next tick, None where its sample did not come; return the change of state that it brings.

        Ticks that were passed over are missed, and nobody asked. A tick that is not after the latest changes nothing.
        """
        if self._tick is None:
            self._began_tick = self.since_tick = tick
        elif tick <= self._tick:
            return None
        else:
            passed = tick - self._tick - 1
            if passed:
                self._miss(tick - 1, passed, asked=False)
        self._tick = tick
        if reading is None:
            self._miss(tick, 1, asked=True)
        else:
            self._see(reading)
        return self._tell(tick)

    def _miss(self, tick: int, ticks: int, *, asked: bool) -> None:
        self._ticks.miss(tick, ticks, asked=asked)
        for check in self._checks:
            check.skip(ticks)
        self._reads.skip(ticks)
        self._refuted.skip(ticks)
        self._follow.skip(ticks)
        for _ in range(min(ticks, SHORT)):
            self._offsets.add(None)

    def _see(self, reading: TickReading) -> None:
        memory = self._memory
        memory.publishes = memory.publishes or bool(reading.device_bound_ns)
        self._ticks.add(reading.tick)
        self._reads.add(reading)
        self._refuted.add(reading, memory)
        self._follow.add(reading)
        memory.drift_ppb = self._opinion.add(reading)
        for check in self._checks:
            check.add(reading, memory)
        memory.chrony_bound_ns = reading.chrony_bound_ns
        memory.chrony_offset_ns = reading.chrony_offset_ns
        self._offsets.add(reading.offset_ns)
        self._latest = reading

    # -- the word

    def _tell(self, tick: int) -> StateChange | None:
        state, reason, describe = self._decide()
        if state is self.state and reason is self.reason:
            return None
        before = self.state
        if state is not before:
            self.since_tick = tick
        self.state, self.reason, self.sentence = state, reason, describe()
        interval_ns = to_interval_ns(self._interval_s)
        return StateChange(tick=tick, interval_ns=interval_ns, state=state, reason=reason, sentence=self.sentence)

    def _decide(self) -> tuple[StreamState, Reason | None, Callable[[], str]]:
        if self._ticks.silent.active:
            reason = Reason.UNREACHABLE if self._ticks.asked else None
            return StreamState.UNKNOWN, reason, self._describe_silence
        word: _Word | None = None
        if any(alarm.active for alarm in self._alarms):
            word = next(word for word in self._list_words() if word[0].active)
        if word is not None and word[1] is StreamState.BROKEN:
            return word[1:]
        if self._is_beginning():
            return StreamState.UNKNOWN, Reason.TOO_FEW_SAMPLES, self._describe_beginning
        return word[1:] if word is not None else (StreamState.OK, None, self._describe_good)

    def _is_beginning(self) -> bool:
        """Whether too little was seen for a word: in the end a long window decides with what is there."""
        if self._ticks.seen < SHORT:
            return True
        if self._tick is None or self._tick - self._began_tick >= LONG:
            return False
        needed = (check for check in self._checks if check.needed is not None and self._applies(check))
        return self._reads.needs_more or any(
            check.points < (check.needed or 0) and not check.unproven.active for check in needed
        )

    def _applies(self, check: LimitCheck) -> bool:
        return self._memory.publishes or check.requirement.quantity != "error_bound_ns"

    def _describe_silence(self) -> str:
        told = self._ticks.describe_silent(self._interval_s)
        return told if self._ticks.asked else f"{told}; nobody asked the host"

    def _describe_beginning(self) -> str:
        return f"watched for less than {SHORT} samples, or for less than its limits need"

    def _describe_good(self) -> str:
        return "all limits that its readings show are held"

    # -- what others need

    def figures(self) -> dict[str, Any]:
        """Return the figures of the latest tick and windows, as JSON; None: not observed."""
        latest, sizes, share = self._latest, self._offsets.sort_sizes(), self._reads.share
        count = len(sizes)
        bounds = (latest.chrony_bound_ns, latest.device_bound_ns) if latest else (None, None)
        return {
            "tick": self._tick,
            "seen_tick": self._ticks.seen_tick,
            "offset_ns": latest.offset_ns if latest else None,
            "window_ns": latest.window_ns if latest else None,
            "chrony_offset_ns": latest.chrony_offset_ns if latest else None,
            "chrony_bound_ns": bounds[0],
            "device_bound_ns": bounds[1],
            "error_bound_ns": bounds[0] + bounds[1] if bounds[0] is not None and bounds[1] else None,
            "follows_phc": latest.follows_phc if latest else None,
            "followed_tick": self._follow.followed_tick,
            "opinion_ns": latest.opinion_ns if latest else None,
            "offset_median_ns": sizes[(count - 1) // 2] if sizes else None,
            "offset_max_ns": sizes[-1] if sizes else None,
            "read_success": None if share is None else round(share, 6),
            "bound_refuted_ticks": self._refuted.count,
            "seen_ticks": self._ticks.seen,
            "missed_ticks": self._ticks.missed,
            "limits": [check.figures() for check in self._checks],
        }

    def save(self) -> dict[str, Any]:
        """Return what another judge needs to go on, as JSON; the windows are compressed."""
        bits = b"".join(window.bits.to_bytes(_WINDOW_BYTES, "little") for window in self._list_windows())
        memory = self._memory
        return {
            "version": SAVED_VERSION,
            "limits": self._name_limits(),
            "tick": self._tick,
            "began": self._began_tick,
            "word": [self.state.value, self.reason.value if self.reason else None, self.sentence, self.since_tick],
            "windows": base64.b64encode(zlib.compress(bits, 1)).decode(),
            "memory": [memory.chrony_bound_ns, memory.chrony_offset_ns, memory.publishes],
            "checks": [check.save() for check in self._checks],
            "reads": self._reads.save(),
            "refuted": self._refuted.save(),
            "follow": self._follow.save(),
            "opinion": self._opinion.save(),
            "ticks": self._ticks.save(),
        }

    def _restore(self, saved: Mapping[str, Any]) -> None:
        """Go on from what was saved. Raises KeyError, TypeError, ValueError, IndexError, zlib.error."""
        windows = [*self._list_windows()]
        if saved["version"] != SAVED_VERSION or saved["limits"] != self._name_limits():
            raise ValueError("saved by another version, or for other limits")
        expand = zlib.decompressobj()
        length = len(windows) * _WINDOW_BYTES
        bits = expand.decompress(base64.b64decode(saved["windows"], validate=True), length + 1)
        if len(bits) != length:
            raise ValueError("not the windows of these checks")
        for place, window in enumerate(windows):
            part = bits[place * _WINDOW_BYTES : (place + 1) * _WINDOW_BYTES]
            window.bits = FlagWindow(int.from_bytes(part, "little")).bits
        for check, each in zip(self._checks, saved["checks"], strict=True):
            check.restore(each)
        self._reads.restore(saved["reads"])
        self._refuted.restore(saved["refuted"])
        self._follow.restore(saved["follow"])
        self._opinion.restore(saved["opinion"])
        self._ticks.restore(saved["ticks"])
        self._memory.chrony_bound_ns, self._memory.chrony_offset_ns, publishes = saved["memory"]
        self._memory.publishes = bool(publishes)
        self._tick, self._began_tick = saved["tick"], int(saved["began"])
        state, reason, self.sentence, self.since_tick = saved["word"]
        self.state, self.reason = StreamState(state), None if reason is None else Reason(reason)

    def _list_windows(self) -> Iterator[FlagWindow]:
        for check in self._checks:
            yield from check.list_windows()
        yield from self._reads.list_windows()
        yield from self._refuted.list_windows()
        yield from self._follow.list_windows()
        yield from self._ticks.list_windows()

    def _name_limits(self) -> list[list[Any]]:
        limits = (check.requirement for check in self._checks)
        return [[limit.quantity, limit.statistic, limit.value] for limit in limits]


def _find(chosen: tuple[Requirement, ...], quantity: str) -> Requirement | None:
    return next((limit for limit in chosen if limit.quantity == quantity), None)
