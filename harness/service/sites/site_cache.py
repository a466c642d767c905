"""Keep the list of sites that a registry had last, in memory and on the disk, and tell how old it is."""

import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from harness.errors import HarnessError
from harness.model.sites import Freshness, Site
from harness.service.sites.registry import ReadRegistry
from harness.service.sites.site_list import parse_sites, write_sites
from harness.store.evidence_folder import EvidenceFolder

COUNTS_FOR_S = 7 * 86400.0
"""How old a list may be by which new campaigns are given to sites."""

_FRESH_PERIODS = 2.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteList:
    """The last known list of sites. `read_s`: when the registry was read, s since the epoch; None: never.

    `problem`: why it could not be read the last time, if so, and `problem_since_s`: since when that is so.
    """

    sites: tuple[Site, ...]
    read_s: float | None
    problem: str | None
    problem_since_s: float | None
    freshness: Freshness
    age_s: float | None

    def find(self, name: str) -> Site | None:
        """Find a site by its name."""
        return next((site for site in self.sites if site.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncCounts:
    """How often the registry was read, how often that failed, and how long the last time took, s."""

    succeeded: int = 0
    failed: int = 0
    last_s: float | None = None


class SiteCache:
    """The sites of a registry. Threads share it.

    `source` names the registry; a list on the disk that came from another one does not count. `every_s`: how often it
    is read.
    """

    def __init__(
        self,
        source: str,
        read: ReadRegistry,
        file: Path,
        *,
        every_s: float,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self.source, self.every_s = source, every_s
        self._read, self._file, self._now_s = read, file, now_s
        self._lock, self._syncing = threading.Lock(), threading.Lock()
        self._sites, self._read_s = _load(file, source)
        self._problem: str | None = None
        self._problem_since_s: float | None = None
        self._counts = SyncCounts()

    def list_sites(self) -> SiteList:
        """Tell the last known list, and how old it is."""
        with self._lock:
            age_s = None if self._read_s is None else max(0.0, self._now_s() - self._read_s)
            return SiteList(
                sites=self._sites,
                read_s=self._read_s,
                problem=self._problem,
                problem_since_s=self._problem_since_s,
                freshness=self._judge(age_s),
                age_s=age_s,
            )

    @property
    def counts(self) -> SyncCounts:
        """How often the registry was read, for metrics."""
        with self._lock:
            return self._counts

    def sync(self) -> SiteList:
        """Read the registry now; where that fails, the last known list stays, with the reason."""
        with self._syncing:
            begun = time.monotonic()
            try:
                sites = self._read()
            except HarnessError as error:
                self._note_failure(error, time.monotonic() - begun)
            else:
                self._note_success(sites, time.monotonic() - begun)
        return self.list_sites()

    def _judge(self, age_s: float | None) -> Freshness:
        if age_s is None or age_s > COUNTS_FOR_S:
            return Freshness.UNAVAILABLE
        is_fresh = self._problem is None and age_s <= _FRESH_PERIODS * self.every_s
        return Freshness.FRESH if is_fresh else Freshness.STALE

    def _note_failure(self, error: HarnessError, took_s: float) -> None:
        _log.warning("the registry of sites was not read: %s", error)
        with self._lock:
            self._problem_since_s = self._problem_since_s or self._now_s()
            self._problem = error.message
            self._counts = replace(self._counts, failed=self._counts.failed + 1, last_s=took_s)

    def _note_success(self, sites: tuple[Site, ...], took_s: float) -> None:
        with self._lock:
            self._sites, self._read_s = sites, self._now_s()
            self._problem = self._problem_since_s = None
            self._counts = replace(self._counts, succeeded=self._counts.succeeded + 1, last_s=took_s)
            document = {"source": self.source, "read_s": self._read_s, "sites": write_sites(sites)}
        try:
            EvidenceFolder.create(self._file.parent).write(self._file.name, json.dumps(document, indent=2))
        except HarnessError as error:
            _log.warning("the list of sites was not kept for the next start: %s", error)


def _load(file: Path, source: str) -> tuple[tuple[Site, ...], float | None]:
    """Load the list that was kept on the disk; none where it is of another registry, or cannot be read."""
    try:
        content = file.read_bytes()
        document = json.loads(content)
        if document["source"] != source:
            return (), None
        return parse_sites(content, str(file)), float(document["read_s"])
    except (OSError, ValueError, KeyError, TypeError, HarnessError):
        return (), None
