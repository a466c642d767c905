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
from harness.probes.numbers import parse_decimal, parse_integer, parse_seconds_as_ns

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


def parse(text: str, where: str) -> Chronyc:
    """Read CSV lines of any of the four reports, in any order. Empty lines are ignored; the last tracking counts."""
    tracking: Tracking | None = None
    sources: list[ChronySource] = []
    statistics: list[SourceStatistics] = []
    ntpdata: list[NtpData] = []
    for number, line in enumerate(text.split("\n"), 1):
        fields = line.strip("\r").split(",")
        if fields == [""]:
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


def _parse_fields(fields: list[str]) -> Tracking | ChronySource | SourceStatistics | NtpData | None:
    if len(fields) == _TRACKING_FIELDS:
        return _parse_tracking(fields)
    if len(fields) == _SOURCE_FIELDS:
        return _parse_source(fields)
    if len(fields) == _STATISTICS_FIELDS:
        return _parse_statistics(fields)
    if len(fields) in _NTPDATA_FIELDS:
        return _parse_ntpdata(fields)
    return None


_LEAPS = ("Normal", "Insert second", "Delete second", "Not synchronised")


def _parse_tracking(fields: list[str]) -> Tracking | None:
    identifier, name, leap = fields[0], fields[1], fields[13]
    stratum, reference_time_s = parse_integer(fields[2]), parse_decimal(fields[3])
    offsets = [parse_seconds_as_ns(field) for field in (*fields[4:7], *fields[10:12])]
    rates = [parse_decimal(field) for field in (*fields[7:10], fields[12])]
    if not re.fullmatch("[0-9A-F]{8}", identifier) or leap not in _LEAPS:
        return None
    if stratum is None or reference_time_s is None or None in offsets or None in rates:
        return None
    correction, last, rms, delay, dispersion = (value for value in offsets if value is not None)
    frequency, residual, skew, interval = (value for value in rates if value is not None)
    return Tracking(
        reference=name or identifier,
        stratum=stratum,
        reference_time_s=reference_time_s,
        system_offset_ns=-correction,
        last_offset_ns=last,
        rms_offset_ns=rms,
        frequency_ppm=frequency,
        residual_frequency_ppm=residual,
        skew_ppm=skew,
        root_delay_ns=delay,
        root_dispersion_ns=dispersion,
        update_interval_s=interval,
        leap=leap,
    )


def _parse_source(fields: list[str]) -> ChronySource | None:
    mode, state, name = fields[:3]
    stratum, poll, last_rx = (parse_integer(field) for field in (fields[3], fields[4], fields[6]))
    offset, measured, error = (parse_seconds_as_ns(field) for field in fields[7:10])
    if mode not in ("^", "=", "#") or state not in ("*", "+", "-", "x", "~", "?") or not name:
        return None
    if stratum is None or poll is None or last_rx is None or not re.fullmatch("[0-7]{1,3}", fields[5]):
        return None
    if offset is None or measured is None or error is None:
        return None
    return ChronySource(
        mode=mode,
        state=state,
        name=name,
        stratum=stratum,
        poll=poll,
        reach=int(fields[5], 8),
        last_rx_s=None if last_rx == NEVER else last_rx,
        offset_ns=offset,
        measured_offset_ns=measured,
        error_ns=error,
    )


def _parse_statistics(fields: list[str]) -> SourceStatistics | None:
    points, runs, span = (parse_integer(field) for field in fields[1:4])
    frequency, skew = (parse_decimal(field) for field in fields[4:6])
    offset, deviation = (parse_seconds_as_ns(field) for field in fields[6:8])
    if not fields[0] or points is None or runs is None or span is None or frequency is None or skew is None:
        return None
    if offset is None or deviation is None:
        return None
    return SourceStatistics(
        name=fields[0],
        points=points,
        runs=runs,
        span_s=span,
        frequency_ppm=frequency,
        skew_ppm=skew,
        offset_ns=offset,
        deviation_ns=deviation,
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
