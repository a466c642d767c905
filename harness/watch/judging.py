"""What a worker needs of whoever judges its streams, and of the place where their states are kept."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from harness.model.enums import Reason
from harness.model.watched import StateChange, StreamState, TickReading


class TickJudge(Protocol):
    """The judge of one stream: its state since a tick, for a reason, in a sentence."""

    @property
    def state(self) -> StreamState: ...

    @property
    def reason(self) -> Reason | None: ...

    @property
    def sentence(self) -> str: ...

    @property
    def since_tick(self) -> int: ...

    def add(self, reading: TickReading | None, tick: int) -> StateChange | None:
        """Take the next tick, None where it was missed; return the change of state that it brings."""

    def figures(self) -> dict[str, Any]:
        """Return the figures of the latest window."""

    def save(self) -> dict[str, Any]:
        """Return what another judge needs to go on."""


class MakeJudge(Protocol):
    """Makes the judge of a stream. Raises RequestError for limits that are not understood."""

    def __call__(
        self, limits: Mapping[str, Any], interval_s: float, *, restored: Mapping[str, Any] | None = None
    ) -> TickJudge: ...


class StateStore(Protocol):
    """Where the states of streams are kept."""

    def make_line(self, **values: Any) -> Any:
        """Make the line of a stream from the columns of `watch_states` that a worker knows."""

    def write(
        self,
        lines: Sequence[Any],
        changes: Sequence[tuple[str, int, StateChange]],
        *,
        worker: str,
        replayed: bool,
    ) -> set[str]:
        """Write lines and changes; return the streams whose epoch is no longer the worker's."""

    def read_saved(self, streams: Iterable[str]) -> dict[str, Mapping[str, Any]]:
        """Read what the judges of streams have saved."""


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
