"""Show a day of one watched clock: its state and why, its minutes, its offset over time, its changes and its owner."""

import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from harness import units
from harness.model.watched import StreamState, TickReading
from harness.report.html.charts import Band, Panel, Title, over_time
from harness.report.html.markup import EMPTY, Markup
from harness.service.authentication import Context
from harness.service.pages.addresses import stream_path
from harness.service.pages.rendering import render
from harness.service.pages.static_files import accepts_gzip
from harness.service.pages.viewer import PageViewer
from harness.service.pages.watch_page import STATE_CLASSES
from harness.store.database import Database
from harness.store.owners import read_now
from harness.store.watch_samples import WatchSamples
from harness.watch.grid import to_interval_ns
from harness.watch.service_level import DAY_S
from harness.watch.stream_text import MARKS, describe_figures, describe_level, describe_quality
from harness.watch.stream_view import MINUTE_S, MinuteView, StreamView, find_stream, read_view, read_watched_interval

router = APIRouter(include_in_schema=False)

_COLUMNS = 800
_GREATEST = 10**15
Day = Annotated[str | None, Query(max_length=10)]
Seconds = Annotated[float | None, Query(ge=0, le=DAY_S, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True, kw_only=True)
class HourRow:
    """An hour, or a part of it: its begin, runs of minutes of one state as marks with their class, its greatest values.

    Times and values in ns.
    """

    begin_ns: int
    runs: Sequence[tuple[str, str, StreamState]]
    samples: int
    ticks: int
    offset_max_ns: int | None
    bound_max_ns: int | None


@router.get("/watch/streams/{stream:path}")
def show_stream(stream: str, request: Request, viewer: PageViewer, context: Context, day: Day = None) -> Response:
    """Show a day of a clock, today by default."""
    database = context.ledger.database
    shown_day = day or units.utc_moment(database.read(read_now)).date().isoformat()
    view = read_view(database, stream, day=shown_day)
    begin_ns, day_ns = view.begin_s * 10**9, DAY_S * 10**9
    return render(
        request,
        viewer,
        "stream.html",
        page="watch",
        view=view,
        word=view.word,
        day=shown_day,
        before=units.utc_moment(begin_ns - day_ns).date().isoformat(),
        following=units.utc_moment(begin_ns + day_ns).date().isoformat() if begin_ns + day_ns <= view.at_ns else None,
        hours=[*_list_hours(view.minutes, first=(view.watched_from_s - view.begin_s) // MINUTE_S)],
        figures=[*describe_figures(view.word.latest)],
        level=describe_level(view.level),
        month=None if view.month is None else describe_level(view.month),
        quality=[*describe_quality((view.day_figures or {}).get("quality"))],
        drawn=_draw(view),
        classes=STATE_CLASSES,
        marks=MARKS,
        stream_path=stream_path,
    )


def _list_hours(minutes: Sequence[MinuteView], *, first: int) -> Iterator[HourRow]:
    """Sum up the minutes of each hour, from the `first` of them on: the stream was not there before."""
    begins = [first, *range((first // 60 + 1) * 60, len(minutes), 60)]
    for start in begins:
        hour = minutes[start : (start // 60 + 1) * 60]
        runs: list[tuple[str, str, StreamState]] = []
        for minute in hour:
            if runs and runs[-1][2] is minute.state:
                runs[-1] = (runs[-1][0] + MARKS[minute.state], *runs[-1][1:])
            else:
                runs.append((MARKS[minute.state], STATE_CLASSES[minute.state], minute.state))
        yield HourRow(
            begin_ns=hour[0].begin_s * 10**9,
            runs=runs,
            samples=sum(minute.samples for minute in hour),
            ticks=sum(minute.ticks for minute in hour),
            offset_max_ns=max((each.offset_max_ns for each in hour if each.offset_max_ns is not None), default=None),
            bound_max_ns=max((each.bound_max_ns for each in hour if each.bound_max_ns is not None), default=None),
        )


def _draw(view: StreamView) -> Markup:
    """Draw the greatest offset and bound of each minute, for browsers without scripts; nothing without a reading."""
    minutes = [minute for minute in view.minutes if minute.begin_s >= view.watched_from_s]
    offsets = [minute.offset_max_ns for minute in minutes]
    if all(value is None for value in offsets):
        return EMPTY
    bounds = [minute.bound_max_ns for minute in minutes]
    bands = [Band(name="greatest bound", class_="bound", least=bounds, greatest=bounds)]
    bands += [Band(name="greatest offset", class_="offset", least=offsets, greatest=offsets)]
    title = Title(host=view.word.stream, name="Offset over time", finding="The greatest offset of each minute.")
    panel = Panel(title="offset and bound, without sign", bands=tuple(bands), height=190, from_zero=True)
    return over_time(title, [panel], column_s=60.0)


@router.get("/watch/series.json")
def send_series(
    request: Request,
    _viewer: PageViewer,
    context: Context,
    stream: Annotated[str, Query(max_length=160)],
    day: Annotated[str, Query(max_length=10)],
    from_s: Seconds = None,
    to_s: Seconds = None,
    columns: Annotated[int, Query(ge=10, le=2000)] = _COLUMNS,
) -> Response:
    """Send a part of a day of a clock: the least and the greatest value in each column, as for the hosts of runs."""
    database = context.ledger.database
    document = _make_series(database, stream, day, from_s or 0.0, to_s, columns)
    content = json.dumps(document, separators=(",", ":")).encode()
    headers = {"Cache-Control": "no-store", "Vary": "Accept-Encoding, Cookie"}
    if accepts_gzip(request):
        content, headers["Content-Encoding"] = gzip.compress(content, 5, mtime=0), "gzip"
    return Response(content, media_type="application/json", headers=headers)


def _make_series(
    database: Database, stream: str, day: str, from_s: float, to_s: float | None, columns: int
) -> dict[str, Any]:
    word = find_stream(database, stream)
    begin_s, end_s = read_watched_interval(database, word, day)
    length_s, interval_s = float(end_s - begin_s), word.interval_s
    first_s = min(max(0.0, from_s), max(0.0, length_s - interval_s))
    last_s = min(length_s, max(length_s if to_s is None else to_s, first_s + interval_s))
    ticks_each = max(1, -(-int((last_s - first_s) / interval_s) // columns))
    first_tick = int((begin_s + first_s) / interval_s)
    count = max(1, -(-int((last_s - first_s) / interval_s) // ticks_each))
    last_tick = first_tick + count * ticks_each - 1
    readings = WatchSamples(database).read(stream, first_tick, last_tick, interval_ns=to_interval_ns(interval_s))
    has_device = any(each.device_bound_ns for each in readings)
    places = [(each.tick - first_tick) // ticks_each for each in readings]
    return {
        "first_s": first_tick * interval_s - begin_s,
        "column_s": ticks_each * interval_s,
        "columns": count,
        "length_s": length_s,
        "hosts": [
            {
                "name": stream,
                "begin_s": begin_s,
                "bound_has_device": has_device,
                "offset": _reduce(places, [each.offset_ns for each in readings], count),
                "delay": _reduce(places, [each.window_ns for each in readings], count),
                "bound": _reduce(places, [_find_bound(each, has_device) for each in readings], count),
            }
        ],
    }


def _find_bound(reading: TickReading, has_device: bool) -> int | None:
    if reading.chrony_bound_ns is None or (has_device and not reading.device_bound_ns):
        return None
    return reading.chrony_bound_ns + ((reading.device_bound_ns or 0) if has_device else 0)


def _reduce(places: Sequence[int], values: Sequence[int | None], count: int) -> list[list[int | None]]:
    """Find the least and the greatest value of each column: a host may have sent any numbers."""
    least: list[int | None] = [None] * count
    greatest: list[int | None] = [None] * count
    for place, value in zip(places, values, strict=True):
        if value is None or not 0 <= place < count:
            continue
        bounded = min(max(value, -_GREATEST), _GREATEST)
        low, high = least[place], greatest[place]
        least[place] = bounded if low is None or bounded < low else low
        greatest[place] = bounded if high is None or bounded > high else high
    return [least, greatest]
