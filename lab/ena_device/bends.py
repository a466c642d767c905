"""Which wishes does the control socket take, within which limits, and what do they do to the clock?

One table: the control line, the command's options and the README's table all follow KEYS.
"""

from dataclasses import asdict, dataclass, replace

from ena_device.admin_layout import Group
from ena_device.clock import ClockSettings, Mode
from ena_device.device_errors import BadRequest

MAX_U32 = 2**32 - 1
MAX_TIME_NS = 2**62
MAX_OFFSET_NS = 10**18  # some 31 years


@dataclass(frozen=True, slots=True)
class Whole:
    """An integer within limits, both allowed."""

    low: int
    high: int
    effect: str


@dataclass(frozen=True, slots=True)
class Flag:
    effect: str


@dataclass(frozen=True, slots=True)
class Choice:
    names: tuple[str, ...]
    effect: str


Key = Whole | Flag | Choice

KEYS: dict[str, Key] = {
    "offset_ns": Whole(-MAX_OFFSET_NS, MAX_OFFSET_NS, "set the clock this far from the host's UTC, now"),
    "step_ns": Whole(-MAX_OFFSET_NS, MAX_OFFSET_NS, "step the clock by this, from where it is"),
    "freq_ppb": Whole(-(10**8), 10**8, "let the clock run this much faster than the host's CLOCK_MONOTONIC"),
    "frozen": Flag("let the clock's time stand still; false: go on from there"),
    "jitter_ns": Whole(0, 10**9, "put each answer off by a random amount, evenly within plus and minus this"),
    "error_bound_ns": Whole(0, MAX_U32 - 1, "the error bound in each answer"),
    "mode": Choice(tuple(m.name for m in Mode), "how requests are answered"),
    "rate_per_s": Whole(0, 10**6, "refuse requests above this rate, after a burst of as many; 0: none"),
    "refuse_every": Whole(0, 10**9, "refuse exactly each Nth request, counted by `asked`; 0: none"),
    "busy_us": Whole(0, 10**6, "spend this much computing time before each answer"),
    "spread_us": Whole(0, 10**6, "let each answer take up to this much longer, by chance; its time is the middle"),
    "late_us": Whole(0, 10**7, "in mode late, answer this long after the request"),
    "no_phc": Flag("do not offer a PHC, from the driver's next initialisation"),
    "phc_version": Whole(0, 255, "PHC feature version, from the driver's next initialisation"),
    "expire_us": Whole(0, MAX_U32, "how long the driver waits for an answer, from its next initialisation; 0: its own"),
    "block_us": Whole(0, MAX_U32, "how long it pauses after a failure, from its next initialisation; 0: its own"),
    "link": Flag("link up or down"),
    "keepalive": Flag("send the driver its sign of life each second"),
    "request_reset": Flag("true: ask the driver to reset the device, once"),
    "end_with": Whole(1, 2**22, "end the device when this process ends; its number"),
}
RESET_GROUP = Group.DEVICE_REQUEST_RESET
AT_START = [k for k in KEYS if k not in ("step_ns", "link", "keepalive", "request_reset", "end_with")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """The wishes of one control line, checked; None: not asked for."""

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

    def asked(self) -> dict[str, int | bool | str]:
        """All that are asked for."""
        return self.named(*KEYS)

    def named(self, *keys: str) -> dict[str, int | bool | str]:
        """The changes that were asked for, by their keys."""
        return {k: v for k, v in asdict(self).items() if k in keys and v is not None}


def check(request: object) -> Changes:
    """The wishes of a decoded control line, all of them or none. Raises BadRequest with every mistake named."""
    if not isinstance(request, dict):
        raise BadRequest(f"a JSON object expected, not {type(request).__name__}")
    wishes = {k: v for k, v in request.items() if k != "state"}
    mistakes = [m for k, v in wishes.items() if (m := _mistake(k, v))]
    if mistakes:
        raise BadRequest("; ".join(mistakes))
    return Changes(**wishes)


def _mistake(name: str, value: object) -> str | None:
    match KEYS.get(name):
        case None:
            return f"unknown key {name!r}; known: {', '.join([*KEYS, 'state'])}"
        case Whole(low, high) if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            return f"{name}: {value!r}, an integer from {low} to {high} expected"
        case Flag() if not isinstance(value, bool):
            return f"{name}: {value!r}, true or false expected"
        case Choice(names) if value not in names:
            return f"{name}: {value!r}, one of {', '.join(names)} expected"
    return None


def bend(clock: ClockSettings, changes: Changes, *, utc_ns: int, mono_ns: int) -> ClockSettings:
    """The clock after the changes, at a moment that both the host's UTC and CLOCK_MONOTONIC tell. Raises BadRequest."""
    shows_ns = clock.at(mono_ns) if changes.offset_ns is None else utc_ns + changes.offset_ns
    shows_ns += changes.step_ns or 0
    if not 0 <= shows_ns < MAX_TIME_NS:
        raise BadRequest(f"the clock would show {shows_ns} ns, 0..{MAX_TIME_NS - 1} expected")
    kept = changes.named(
        "freq_ppb",
        "frozen",
        "jitter_ns",
        "error_bound_ns",
        "rate_per_s",
        "refuse_every",
        "busy_us",
        "spread_us",
        "late_us",
    )
    mode = clock.mode if changes.mode is None else Mode[changes.mode]
    return replace(clock.shown(shows_ns, mono_ns), mode=mode, **kept)  # type: ignore[arg-type]
