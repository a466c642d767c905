"""Parse the sampler's answers, which are a host's and therefore anything, into the reading of a tick."""

from dataclasses import dataclass
from typing import Any

from harness.errors import ParseError
from harness.ladder.quantities import LEAPS
from harness.model import ChronySource, PhcRead
from harness.model.watched import TickReading
from harness.probes import chronyc, error_bound, phc_reads
from harness.probes.reading import LONGEST_LINE, json_object, parse_capture
from harness.untrusted.plain_text import one_line

MOST_READS, MOST_SOURCES, _MOST_SCHEMA = 100, 64, 10_000
SAMPLER_SCHEMA = 3
"""The form of the sampler's lines that is parsed here: SCHEMA of sample.py."""

_LARGEST = 2**62
"""Numbers beyond are not observed: no clock is off by a century and a half."""

_PHC_MODE, _PHC_NAME, _SERVER_MODE, _SELECTED = "#", "PHC", "^", "*"
_HOST_FACTS = ("kernel", "driver", "boot_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerStart:
    """The sampler's first line: what the host says about itself, by name, and the form of its lines, if it says so."""

    facts: dict[str, str]
    schema: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TickAnswer:
    """The answer to a tick. `reading`: None where the sampler took none, or was stalled in its middle."""

    tick: int
    reading: TickReading | None


def parse_answer(line: bytes, *, fresh_s: int) -> SamplerStart | TickAnswer | None:
    """Parse a line of `sample_asked.py`; None for a refusal, which answers no tick.

    `fresh_s`: the greatest age of a second opinion. Raises ValueError on anything that such a sampler does not write.
    """
    try:
        record = json_object(line.decode())
        kind = record.get("kind")
        if kind == "start":
            schema = record.get("schema")
            known = type(schema) is int and 0 <= schema < _MOST_SCHEMA
            return SamplerStart(facts=_parse_facts(record), schema=schema if known else None)
        if kind == "refused":
            return None
        tick = record.get("tick")
        if type(tick) is not int or not 0 <= tick < _LARGEST:
            raise ValueError("no tick")
        if kind in ("late", "skipped"):
            return TickAnswer(tick=tick, reading=None)
        if kind != "sample":
            raise ValueError("unknown kind")
        return TickAnswer(tick=tick, reading=_parse_reading(record, tick, fresh_s))
    except (KeyError, TypeError, RecursionError, ParseError, UnicodeDecodeError, OverflowError) as error:
        raise ValueError("no answer of the sampler") from error


def _parse_facts(record: dict[str, Any]) -> dict[str, str]:
    facts = {name: record.get(name) for name in _HOST_FACTS}
    return {name: one_line(value, 100) for name, value in facts.items() if isinstance(value, str) and value}


def _parse_reading(record: dict[str, Any], tick: int, fresh_s: int) -> TickReading:
    burst = phc_reads.parse_burst(record.get("phc"))
    if burst is not None and len(burst.reads) > MOST_READS:
        raise ValueError("more readings than were asked for")
    fastest = min(burst.reads, key=_took, default=None) if burst else None
    chrony = _parse_chrony(record.get("chronyc"))
    tracking = chrony.tracking if chrony else None
    sources = chrony.sources if chrony and tracking else None
    leap_is_near = tracking is not None and tracking.leap in LEAPS  # NTP smears it, the PHC does not
    return TickReading(
        tick=tick,
        offset_ns=_within((fastest.before_ns + fastest.after_ns) // 2 - fastest.phc_ns) if fastest else None,
        window_ns=_within(fastest.window_ns) if fastest else None,
        reads=len(burst.reads) if burst else None,
        read_errors=_within(burst.errors) if burst else None,
        device_bound_ns=_within(_parse_bound(record.get("error_bound"))),
        chrony_offset_ns=_within(tracking.last_offset_ns) if tracking else None,
        chrony_bound_ns=_within(
            abs(tracking.system_offset_ns) + tracking.root_dispersion_ns + (tracking.root_delay_ns + 1) // 2
        )
        if tracking
        else None,
        follows_phc=None if sources is None else any(_is_followed_phc(source) for source in sources),
        opinion_ns=None if leap_is_near else _within(_find_opinion(sources or (), fresh_s)),
    )


def _took(read: PhcRead) -> int:
    return read.window_ns


def _parse_chrony(value: object) -> chronyc.Chronyc | None:
    """Parse chronyc's reports; None where it could not ask chronyd. Raises ParseError, ValueError."""
    if value is None:
        return None
    capture = parse_capture(value)
    if capture.rc != 0:
        return None
    if any(len(line) > LONGEST_LINE for line in capture.out.split("\n")):
        raise ValueError("too long")
    reports = chronyc.parse(capture.out, "chronyc", statistics_kept=False)
    if len(reports.sources) > MOST_SOURCES:
        raise ValueError("more sources than can be kept")
    return reports


def _parse_bound(value: object) -> int | None:
    """Parse the device's bound. 0, before the driver's first reading, is unknown."""
    bound = None if value is None else error_bound.parse(parse_capture(value), "error_bound")
    return (bound.value_ns or None) if bound else None


def _is_followed_phc(source: ChronySource) -> bool:
    return source.mode == _PHC_MODE and source.state == _SELECTED and source.name.startswith(_PHC_NAME)


def _find_opinion(sources: tuple[ChronySource, ...], fresh_s: int) -> int | None:
    """Find system clock minus the second opinion, the first NTP source, where its latest answer is fresh."""
    opinion = next((source for source in sources if source.mode == _SERVER_MODE), None)
    if opinion is None or not opinion.reach or opinion.last_rx_s is None or opinion.last_rx_s > fresh_s:
        return None
    return opinion.offset_ns


def _within(value: int | None) -> int | None:
    return value if value is not None and -_LARGEST < value < _LARGEST else None
