"""Parse the CSV of `chronyc -c`, which has four conventions of sign.

Lines are told apart by their number of fields: tracking 14, sources 10, sourcestats 8, ntpdata 34 (chrony 4.3) or
more (38 since 4.4).

Signs, by chrony's client.c (print_report, process_cmd_*) and chronyc(1), and seen in tests/data/chronyc:

- tracking "System time" is the correction still to be made: CSV positive means the system clock is slow of NTP time
  (text mode prints `%O`: "slow" when > 0). The parser inverts it, so that positive is ahead everywhere.
- tracking "Last offset": positive means the local clock was ahead of its sources. Kept.
- sources "Last sample": positive means the local clock is ahead of the source. Kept.
- ntpdata "Offset": positive means the local clock is behind (RFC 5905's theta). The parser inverts it.

All but "System time" are relative to chronyd's own NTP clock, which differs from the system clock by "System time".
"""

import re
from dataclasses import dataclass

from harness.errors import ParseError
from harness.model import ChronySource, Tracking
from harness.probes.numbers import DECIMAL, INTEGER, parse_integer, parse_seconds_as_ns, seconds_as_ns

NEVER = 4294967295  # LastRx of a source that never answered: UINT32_MAX, printed "-" in text mode

_TRACKING_FIELDS, _SOURCE_FIELDS, _STATISTICS_FIELDS, _NTPDATA_FIELDS = 14, 10, 8, range(34, 41)
_EXPECTED = "a line of chronyc -c tracking, sources, sourcestats or ntpdata"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStatistics:
    """A line of `chronyc -c sourcestats`: points kept, runs of residuals, span, drift, offset, scatter."""

    name: str
    points: int
    runs: int
    span_s: int
    frequency_ppm: float
    skew_ppm: float
    offset_ns: int
    deviation_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NtpData:
    """A line of `chronyc -c ntpdata`: the last packet of an NTP source. `offset_ns` positive: we are ahead of it."""

    address: str
    port: int
    stratum: int
    root_delay_ns: int
    root_dispersion_ns: int
    offset_ns: int
    delay_ns: int
    received: int
    received_good: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Chronyc:
    """The reports of one `chronyc -c -m ...`; reports that were not requested are None or empty."""

    tracking: Tracking | None = None
    sources: tuple[ChronySource, ...] = ()
    statistics: tuple[SourceStatistics, ...] = ()
    ntpdata: tuple[NtpData, ...] = ()


def parse(text: str, where: str, *, statistics_kept: bool = True) -> Chronyc:
    """Read CSV lines of any of the four reports, in any order. Empty lines are ignored; the last tracking counts.

    Without `statistics_kept`, sourcestats are checked and left out, which saves a tenth of the time of a sample. Raises
    ParseError on any other line.
    """
    tracking: Tracking | None = None
    sources: list[ChronySource] = []
    statistics: list[SourceStatistics] = []
    ntpdata: list[NtpData] = []
    for number, line in enumerate(text.split("\n"), 1):
        fields = line.strip("\r")
        if not fields or (not statistics_kept and _STATISTICS.fullmatch(fields)):
            continue
        match _parse_fields(fields):
            case Tracking() as report:
                tracking = report
            case ChronySource() as report:
                sources.append(report)
            case SourceStatistics() as report:
                statistics.append(report)
            case NtpData() as report:
                ntpdata.append(report)
            case None:
                raise ParseError(where, number, line, _EXPECTED)
    return Chronyc(tracking=tracking, sources=tuple(sources), statistics=tuple(statistics), ntpdata=tuple(ntpdata))


def _parse_fields(line: str) -> Tracking | ChronySource | SourceStatistics | NtpData | None:
    count = line.count(",") + 1
    if count == _SOURCE_FIELDS:
        return _parse_source(line)
    if count == _TRACKING_FIELDS:
        return _parse_tracking(line)
    if count == _STATISTICS_FIELDS:
        return _parse_statistics(line)
    if count in _NTPDATA_FIELDS:
        return _parse_ntpdata(line.split(","))
    return None


def _join_fields(*patterns: str) -> re.Pattern[str]:
    """Make the pattern of a line from those of its fields: a match of the line has a group for each field."""
    return re.compile(",".join(f"({pattern})" for pattern in patterns))


# A pattern for each line, not for each field: a day of samples has a million fields.
_LEAPS = "Normal|Insert second|Delete second|Not synchronised"
_TRACKING = _join_fields("[0-9A-F]{8}", "[^,]*", INTEGER, *[DECIMAL] * 10, _LEAPS)
_SOURCE = _join_fields(
    r"[\^=#]", r"[*+\-x~?]", "[^,]+", INTEGER, INTEGER, "[0-7]{1,3}", INTEGER, DECIMAL, DECIMAL, DECIMAL
)
_STATISTICS = _join_fields("[^,]+", INTEGER, INTEGER, INTEGER, DECIMAL, DECIMAL, DECIMAL, DECIMAL)


def _parse_tracking(line: str) -> Tracking | None:
    match = _TRACKING.fullmatch(line)
    if match is None:
        return None
    identifier, name, stratum, time, correction, last, rms, frequency, residual, skew, delay, dispersion, *rest = (
        match.groups()
    )
    interval, leap = rest
    return Tracking(
        reference=name or identifier,
        stratum=int(stratum),
        reference_time_s=float(time),
        system_offset_ns=-seconds_as_ns(correction),
        last_offset_ns=seconds_as_ns(last),
        rms_offset_ns=seconds_as_ns(rms),
        frequency_ppm=float(frequency),
        residual_frequency_ppm=float(residual),
        skew_ppm=float(skew),
        root_delay_ns=seconds_as_ns(delay),
        root_dispersion_ns=seconds_as_ns(dispersion),
        update_interval_s=float(interval),
        leap=leap,
    )


def _parse_source(line: str) -> ChronySource | None:
    match = _SOURCE.fullmatch(line)
    if match is None:
        return None
    mode, state, name, stratum, poll, reach, last_rx, offset, measured, error = match.groups()
    last_rx_s = int(last_rx)
    return ChronySource(
        mode=mode,
        state=state,
        name=name,
        stratum=int(stratum),
        poll=int(poll),
        reach=int(reach, 8),
        last_rx_s=None if last_rx_s == NEVER else last_rx_s,
        offset_ns=seconds_as_ns(offset),
        measured_offset_ns=seconds_as_ns(measured),
        error_ns=seconds_as_ns(error),
    )


def _parse_statistics(line: str) -> SourceStatistics | None:
    match = _STATISTICS.fullmatch(line)
    if match is None:
        return None
    name, points, runs, span, frequency, skew, offset, deviation = match.groups()
    return SourceStatistics(
        name=name,
        points=int(points),
        runs=int(runs),
        span_s=int(span),
        frequency_ppm=float(frequency),
        skew_ppm=float(skew),
        offset_ns=seconds_as_ns(offset),
        deviation_ns=seconds_as_ns(deviation),
    )


def _parse_ntpdata(fields: list[str]) -> NtpData | None:
    port, stratum, received, good = (parse_integer(fields[column]) for column in (2, 8, 31, 33))
    root_delay, root_dispersion, behind, delay = (parse_seconds_as_ns(fields[column]) for column in (13, 14, 18, 19))
    if not fields[0] or port is None or stratum is None or received is None or good is None:
        return None
    if root_delay is None or root_dispersion is None or behind is None or delay is None:
        return None
    return NtpData(
        address=fields[0],
        port=port,
        stratum=stratum,
        root_delay_ns=root_delay,
        root_dispersion_ns=root_dispersion,
        offset_ns=-behind,
        delay_ns=delay,
        received=received,
        received_good=good,
    )
