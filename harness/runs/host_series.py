"""Load the series of hosts' clocks from evidence on this machine, for plots of any part of them; keep the latest."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from harness.campaign.campaign import Campaign
from harness.errors import RequestError
from harness.model import HostRecord
from harness.runs import judging
from harness.store import parsed_samples
from harness.store.host_evidence import PARTS, SAMPLES

if TYPE_CHECKING:
    from harness.analysis.series_window import HostSeries

_MOST_KEPT = 6
"""A day of samples, one a second, takes 4 MB."""

_Key = tuple[Path, str, int, int]


class HostSeriesCache:
    """Loads series, and keeps the latest few. Threads share an instance: each series is loaded by one of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loading = threading.Lock()
        self._kept: OrderedDict[_Key, HostSeries | None] = OrderedDict()

    def find(
        self, host: HostRecord, folder: Path, part: str, read_campaign: Callable[[], Campaign]
    ) -> "HostSeries | None":
        """Find the series of a host in its folder; None without samples. `part`: "" or one of `PARTS`.

        Raises RequestError where its evidence cannot be read.
        """
        key = _identify(folder, part)
        if key is None:
            return None
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        with self._loading:
            with self._lock:
                if key in self._kept:
                    return self._kept[key]
            series = _load(host, folder, part, read_campaign())
        with self._lock:
            self._kept[key] = series
            while len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
        return series


def list_parts(folder: Path) -> list[str]:
    """List the parts of the evidence in a host's folder that have samples: "" first, then names of `PARTS`."""
    return [part for part in ("", *PARTS) if _identify(folder, part) is not None]


def _identify(folder: Path, part: str) -> _Key | None:
    """Identify the file of samples: it may be another one after another attempt. None where there is none."""
    path = parsed_samples.find_lines(folder, f"{PARTS.get(part, '')}{SAMPLES}")
    try:
        status = path.lstat()
    except OSError:
        return None
    return path, part, status.st_mtime_ns, status.st_size


def _load(host: HostRecord, folder: Path, part: str, campaign: Campaign) -> "HostSeries | None":
    from harness.analysis.series_window import make_host_series  # numpy is loaded with it

    if part and part not in PARTS:
        raise RequestError(f"evidence has no part {part!r}", next_step=f"parts: {', '.join(PARTS)}")
    whole = judging.read_recorded_evidence(host, folder, campaign)
    evidence = getattr(whole, part) if part else whole
    return None if evidence is None else make_host_series(evidence, interval_s=campaign.measure_interval_s)
