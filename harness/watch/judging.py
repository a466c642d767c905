"""The interfaces between a worker, the judge of a stream, and the store of states."""

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
