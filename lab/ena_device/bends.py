"""Define the changes that the control socket accepts, their limits, and their effect on the clock.

One table: the control line, the command's options and the README's table all follow KEYS.
"""

from dataclasses import asdict, dataclass, fields, replace

from ena_device.admin_layout import EventGroup
from ena_device.clock import ClockSettings, Mode
from ena_device.device_errors import BadRequest
from ena_device.features import OfferedFeatures

MAX_U32 = 2**32 - 1
MAX_TIME_NS = 2**62
MAX_OFFSET_NS = 10**18  # some 31 years


@dataclass(frozen=True, slots=True)
class IntegerKey:
    """An integer from `low` to `high`, both included."""

    low: int
    high: int
    effect: str


@dataclass(frozen=True, slots=True)
class FlagKey:
    effect: str


@dataclass(frozen=True, slots=True)
class ChoiceKey:
    names: tuple[str, ...]
    effect: str


Key = IntegerKey | FlagKey | ChoiceKey

KEYS: dict[str, Key] = {
    "offset_ns": IntegerKey(-MAX_OFFSET_NS, MAX_OFFSET_NS, "set the clock this far from the host's UTC, now"),
    "step_ns": IntegerKey(-MAX_OFFSET_NS, MAX_OFFSET_NS, "step the clock by this, from where it is"),
    "freq_ppb": IntegerKey(-(10**8), 10**8, "let the clock run this much faster than the host's CLOCK_MONOTONIC"),
    "frozen": FlagKey("let the clock's time stand still; false: go on from there"),
    "jitter_ns": IntegerKey(0, 10**9, "put each answer off by a random amount, evenly within plus and minus this"),
    "error_bound_ns": IntegerKey(0, MAX_U32 - 1, "the error bound in each answer"),
    "mode": ChoiceKey(tuple(m.name for m in Mode), "how requests are answered"),
    "rate_per_s": IntegerKey(0, 10**6, "refuse requests above this rate, after a burst of as many; 0: none"),
    "refuse_every": IntegerKey(0, 10**9, "refuse exactly each Nth request, counted by `asked`; 0: none"),
    "busy_us": IntegerKey(0, 10**6, "spend this much computing time before each answer"),
    "spread_us": IntegerKey(0, 10**6, "let each answer take up to this much longer, by chance; its time is the middle"),
    "late_us": IntegerKey(0, 10**7, "in mode late, answer this long after the request"),
    "no_phc": FlagKey("do not offer a PHC, from the driver's next initialisation"),
    "phc_version": IntegerKey(0, 255, "PHC feature version, from the driver's next initialisation"),
    "expire_us": IntegerKey(
        0, MAX_U32, "how long the driver waits for an answer, from its next initialisation; 0: its own"
    ),
    "block_us": IntegerKey(0, MAX_U32, "how long it pauses after a failure, from its next initialisation; 0: its own"),
    "link": FlagKey("link up or down"),
    "keepalive": FlagKey("send the driver its sign of life each second"),
    "request_reset": FlagKey("true: ask the driver to reset the device, once"),
    "end_with": IntegerKey(1, 2**22, "end the device when this process ends; its number"),
}
RESET_GROUP = EventGroup.DEVICE_REQUEST_RESET
START_KEYS = [k for k in KEYS if k not in ("step_ns", "link", "keepalive", "request_reset", "end_with")]
_CLOCK_KEYS = [f.name for f in fields(ClockSettings) if f.name in KEYS and f.name != "mode"]
"""Keys whose values are fields of ClockSettings."""
OFFER_KEYS = [f.name for f in fields(OfferedFeatures) if f.name in KEYS]
"""Keys whose values are fields of OfferedFeatures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """The checked changes of one control line; None: not requested."""

    offset_ns: int | None = None
    step_ns: int | None = None
    freq_ppb: int | None = None
    frozen: bool | None = None
    jitter_ns: int | None = None
    error_bound_ns: int | None = None
    mode: str | None = None
    rate_per_s: int | None = None
    refuse_every: int | None = None
    busy_us: int | None = None
    spread_us: int | None = None
    late_us: int | None = None
    no_phc: bool | None = None
    phc_version: int | None = None
    expire_us: int | None = None
    block_us: int | None = None
    link: bool | None = None
    keepalive: bool | None = None
    request_reset: bool | None = None
    end_with: int | None = None

    def requested(self) -> dict[str, int | bool | str]:
        """Return all requested changes by their keys."""
        return self.select(*KEYS)

    def select(self, *keys: str) -> dict[str, int | bool | str]:
        """Return the requested changes among `keys`, by their keys."""
        return {k: v for k, v in asdict(self).items() if k in keys and v is not None}


def check(request: object) -> Changes:
    """Check a decoded control line as a whole. Raises BadRequest, which names every mistake."""
    if not isinstance(request, dict):
        raise BadRequest(f"a JSON object expected, not {type(request).__name__}")
    changes = {k: v for k, v in request.items() if k != "state"}
    mistakes = [m for k, v in changes.items() if (m := _find_mistake(k, v))]
    if mistakes:
        raise BadRequest("; ".join(mistakes))
    return Changes(**changes)


def _find_mistake(name: str, value: object) -> str | None:
    match KEYS.get(name):
        case None:
            return f"unknown key {name!r}; known: {', '.join([*KEYS, 'state'])}"
        case IntegerKey(low, high) if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            return f"{name}: {value!r}, an integer from {low} to {high} expected"
        case FlagKey() if not isinstance(value, bool):
            return f"{name}: {value!r}, true or false expected"
        case ChoiceKey(names) if value not in names:
            return f"{name}: {value!r}, one of {', '.join(names)} expected"
    return None


def bend(clock: ClockSettings, changes: Changes, *, utc_ns: int, mono_ns: int) -> ClockSettings:
    """Apply changes to the clock at one moment, given in the host's UTC and in CLOCK_MONOTONIC. Raises BadRequest."""
    shown_ns = clock.time_at(mono_ns) if changes.offset_ns is None else utc_ns + changes.offset_ns
    shown_ns += changes.step_ns or 0
    if not 0 <= shown_ns < MAX_TIME_NS:
        raise BadRequest(f"the clock would show {shown_ns} ns, 0..{MAX_TIME_NS - 1} expected")
    settings = changes.select(*_CLOCK_KEYS)
    mode = clock.mode if changes.mode is None else Mode[changes.mode]
    return replace(clock.set_to(shown_ns, mono_ns), mode=mode, **settings)  # type: ignore[arg-type]
