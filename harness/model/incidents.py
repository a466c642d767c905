"""An incident of the watch: streams whose clocks went bad together, and what they have in common."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """Streams that went bad by one cause. Times in ns since the epoch; `ended_ns`: None while it goes on.

    `kind`: the reason of their states, or NO_SAMPLES. `cause`: what they have in common, such as `kernel 6.1.0-30`.
    """

    incident: str
    kind: str
    cause: str
    streams: tuple[str, ...]
    sentence: str
    recommendation: str
    began_ns: int
    ended_ns: int | None = None


NO_SAMPLES = "no_samples"
"""The kind of an incident of streams that nobody could look at."""
