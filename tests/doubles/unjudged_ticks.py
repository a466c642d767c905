"""A judge that looks at no clock, and a place for states that keeps none: for tests of samples alone."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.model.enums import Reason
from harness.model.watched import StateChange, StreamState, TickReading


class UnjudgedTicks:
    """A judge that looks at no clock: each state is UNKNOWN, and says how many samples have come."""

    def __init__(
        self, limits: Mapping[str, Any], interval_s: float, *, restored: Mapping[str, Any] | None = None
    ) -> None:
        self.state: StreamState = StreamState.UNKNOWN
        self.reason: Reason | None = None
        self.since_tick = 0
        self._seen, self._missed = 0, 0

    @property
    def sentence(self) -> str:
        return f"{self._seen} samples have come, {self._missed} are missed; they are not judged"

    def add(self, reading: TickReading | None, tick: int) -> StateChange | None:
        self.since_tick = self.since_tick or tick
        self._seen += reading is not None
        self._missed += reading is None
        return None

    def figures(self) -> dict[str, Any]:
        return {"samples": self._seen, "missed": self._missed}

    def save(self) -> dict[str, Any]:
        return {}


class NoStates:
    """A place for states that keeps none."""

    def make_line(self, **values: Any) -> Any:
        return values

    def write(
        self,
        lines: Sequence[Any],
        changes: Sequence[tuple[str, int, StateChange]],
        *,
        worker: str,
        replayed: bool,
    ) -> set[str]:
        return set()

    def read_saved(self, streams: Iterable[str]) -> dict[str, Mapping[str, Any]]:
        return {}
