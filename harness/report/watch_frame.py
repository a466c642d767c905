"""Lay out what `show --watch` draws: a chart for each host that is measured, as many as the terminal has room for."""

from collections.abc import Sequence
from dataclasses import dataclass

from harness import units
from harness.analysis.clock_history import ClockHistory
from harness.report.terminal_chart import FIXED_ROWS, LEAST_ROWS, Glyphs, TimeAxis, draw_chart
from harness.report.terminal_lines import Line, Piece, Style, clip_line, pack_parts, plain_name

_MOST_CHART_ROWS = FIXED_ROWS + 18


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedHost:
    """A host to draw. `title` names it, `expected_s` is how long it is measured; `axis`: what its chart shows."""

    title: str
    expected_s: float
    axis: TimeAxis
    history: ClockHistory

    @property
    def progress(self) -> str:
        """How far the measuring is: `32 s of 1 min`."""
        done_s = self.history.slots * self.axis.interval_s
        return f"{units.duration(done_s)} of {units.duration(max(self.expected_s, done_s))}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedRun:
    """The state of a run at a moment. `heading` names the run; `notes` tell of hosts that are not drawn.

    `goes_on`: whether the run is still led.
    """

    heading: str
    hosts: Sequence[WatchedHost]
    notes: Sequence[str]
    goes_on: bool


def draw_frame(run: WatchedRun, *, width: int, height: int, glyphs: Glyphs) -> list[Line]:
    """Draw a frame of at most `width` columns and `height` rows, both at least 1.

    Hosts for which there is no room are one line each, or only counted.
    """
    notes = [clip_line((Piece(plain_name(note, width), Style.FAINT),), width) for note in run.notes][: height // 4]
    heading = clip_line((Piece(plain_name(run.heading, width)),), width)
    room = height - 1 - len(notes)
    texts = [_describe_host(host, width) for host in run.hosts]
    drawn = _count_drawn(texts, room)
    lines: list[Line] = []
    if drawn:
        left = min(len(texts) - drawn, 3)
        share = (room - left) // drawn
        for host, text in zip(run.hosts[:drawn], texts, strict=False):
            rows = min(share - len(text), _MOST_CHART_ROWS)
            lines += [*text, *draw_chart(host.history, host.axis, width=width, height=rows, glyphs=glyphs)]
    lines += _list_others(run.hosts[drawn:], room - len(lines), width)
    return [heading, *lines, *notes][:height]


def describe_latest(host: WatchedHost) -> str:
    """Describe the latest values of a host in one line."""
    return ": ".join([f"{plain_name(host.title, 80)} {host.progress}", ", ".join(p.text for p in _list_values(host))])


def _describe_host(host: WatchedHost, width: int) -> list[Line]:
    title = clip_line((Piece(plain_name(host.title, max(1, width - len(host.progress) - 2))),), width)
    named = clip_line((*title, Piece(f"  {host.progress}")), width)
    return [named, *pack_parts(_list_values(host), width)]


def _list_values(host: WatchedHost) -> list[Piece]:
    history, latest = host.history, host.history.latest
    if latest is None:
        return [Piece("no sample yet")]
    uncertainty = "" if latest.uncertainty_ns is None else f" +- {units.ns(latest.uncertainty_ns)}"
    offset = "not read" if latest.offset_ns is None else f"{units.signed_ns(latest.offset_ns)}{uncertainty}"
    asked = history.reads + history.refused
    values = [
        Piece(f"offset {offset}", Style.OFFSET),
        Piece(f"bound {'not observed' if latest.bound_ns is None else units.ns(latest.bound_ns)}", Style.BOUND),
        Piece(f"source {plain_name(latest.source)}" if latest.source else "no source selected"),
        Piece(f"refused {history.refused} of {asked}"),
    ]
    if history.refuted:
        values.append(Piece(f"! bound refuted in {_format_slots(history.refuted, host)}", Style.ALERT))
    if history.missing:
        values.append(Piece(f"? no reading in {_format_slots(history.missing, host)}", Style.ALERT))
    return values


def _format_slots(slots: int, host: WatchedHost) -> str:
    seconds = slots * host.axis.interval_s
    return units.duration(seconds) if seconds >= 10 else f"{seconds:g} s"


def _count_drawn(texts: Sequence[Sequence[Line]], room: int) -> int:
    """Count the first hosts that get charts of at least the least height, with lines for some of the others."""
    for count in range(len(texts), 0, -1):
        share = (room - min(len(texts) - count, 3)) // count
        if all(share - len(text) >= LEAST_ROWS for text in texts[:count]):
            return count
    return 0


def _list_others(hosts: Sequence[WatchedHost], room: int, width: int) -> list[Line]:
    shown = len(hosts) if len(hosts) <= room else max(0, room - 1)
    lines = [clip_line((Piece(describe_latest(host)),), width) for host in hosts[:shown]]
    if shown < len(hosts) and room > 0:
        text = f"{len(hosts) - shown} more: name one to draw it"
        lines.append(clip_line((Piece(text, Style.FAINT),), width))
    return lines
