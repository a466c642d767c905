"""Send the series of hosts' clocks to the plots of pages, in as many columns as a plot has pixels."""

import gzip
import json
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from harness.errors import HarnessError
from harness.model.plots import Envelope
from harness.runs import campaign_run
from harness.runs.host_series import HostSeriesCache
from harness.runs.local_evidence import find_host_folder
from harness.service.authentication import Context
from harness.service.context import ServiceContext
from harness.service.pages.host_page import find_host
from harness.service.pages.static_files import accepts_gzip
from harness.service.pages.viewer import PageViewer
from harness.service.problems import NotFoundError

if TYPE_CHECKING:
    from harness.analysis.series_window import HostSeries, Window

router = APIRouter(include_in_schema=False)

MOST_HOSTS = 8
_COLUMNS = 800
_MOST_SECONDS = 1e9
_GREATEST = 10**15
"""Greater values than 10 days are no offsets: a script could not tell them apart."""

Seconds = Annotated[float | None, Query(ge=0, le=_MOST_SECONDS, allow_inf_nan=False)]


@router.get("/series.json")
def send_series(
    request: Request,
    _viewer: PageViewer,
    context: Context,
    host: Annotated[list[str], Query(min_length=1, max_length=MOST_HOSTS)],
    part: Annotated[str, Query(pattern="^(disturbed|rebooted)?$")] = "",
    from_s: Seconds = None,
    to_s: Seconds = None,
    columns: Annotated[int, Query(ge=10, le=2000)] = _COLUMNS,
) -> Response:
    """Send a part of the series of hosts, each RUN/HOST: the least and the greatest value in each column."""
    from harness.analysis.series_window import choose_window  # numpy is loaded with it

    cache: HostSeriesCache = request.app.state.host_series
    found = {name: _find_series(name, part, cache, context) for name in dict.fromkeys(host)}
    series = {name: each for name, each in found.items() if each is not None}
    if not series:
        raise NotFoundError("no samples of these hosts are on this machine", next_step="see the pages of the hosts")
    window = choose_window([*series.values()], from_s=from_s or 0.0, to_s=to_s, most_columns=columns)
    document = {
        "first_s": window.first_ns / 1e9,
        "column_s": window.column_ns / 1e9,
        "columns": window.columns,
        "length_s": max(each.length_s for each in series.values()),
        "hosts": [_describe(name, each, window) for name, each in series.items()],
    }
    return _send_json(request, document)


def _find_series(name: str, part: str, cache: HostSeriesCache, context: ServiceContext) -> "HostSeries | None":
    run, _, host = name.partition("/")
    try:
        line, of_host = find_host(run, host, context)
        folder = find_host_folder(line, of_host, context.settings)
        if of_host.record is None or folder is None:
            return None
        return cache.find(of_host.record, folder, part, lambda: campaign_run.read_campaign(run, context.ledger))
    except HarnessError:  # a plot of several hosts shows those that can be read
        return None


def _describe(name: str, series: "HostSeries", window: "Window") -> dict[str, Any]:
    from harness.analysis.series_window import reduce_window

    envelopes = reduce_window(series, window)
    return {
        "name": name,
        "begin_s": series.begin_utc_ns / 1e9,
        "bound_has_device": series.bound_has_device,
        "offset": _bounded(envelopes.offset_ns),
        "delay": _bounded(envelopes.delay_ns),
        "bound": _bounded(envelopes.bound_ns),
    }


def _bounded(envelope: Envelope) -> list[list[int | None]]:
    """Write an envelope: a host may have sent any numbers."""
    both = envelope.least, envelope.greatest
    return [[None if value is None else min(max(value, -_GREATEST), _GREATEST) for value in values] for values in both]


def _send_json(request: Request, document: dict[str, Any]) -> Response:
    content = json.dumps(document, separators=(",", ":")).encode()
    headers = {"Cache-Control": "private, max-age=60", "Vary": "Accept-Encoding, Cookie"}
    if accepts_gzip(request):
        content, headers["Content-Encoding"] = gzip.compress(content, 5, mtime=0), "gzip"
    return Response(content, media_type="application/json", headers=headers)
