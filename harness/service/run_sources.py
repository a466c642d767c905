"""Find what the ledger does not hold of runs: evidence, what plots show, and the claims about types."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

from harness.errors import ConflictError, RequestError
from harness.model import RunRecord
from harness.model.plots import ClockPlots
from harness.service.problems import NotFoundError, ServiceError
from harness.store.evidence_fetch import FoundEvidence
from harness.store.ledger_lines import RunLine

FindEvidence = Callable[[RunLine], FoundEvidence]

_LOOKED_AGAIN_S = 30.0
_MOST_REMEMBERED = 200
_MOST_AT_ONCE = 2
_WAITS_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSources:
    """The functions that find what the ledger does not hold.

    `find_evidence`: finds the evidence of a run that has ended. `collect_plots`: what the plots of its hosts show, and
    why some are not there. `list_types`: the types of a bench, in a Region where it has some, with claims and
    measurements. `runs_dir`: where runs that are led on this machine write their evidence.
    """

    find_evidence: FindEvidence
    collect_plots: Callable[[RunRecord], tuple[Mapping[str, ClockPlots], str | None]]
    list_types: Callable[[str, str | None], dict[str, Any]]
    runs_dir: Path
    work: "HeavyWork" = field(default_factory=lambda: HeavyWork())


class HeavyWork:
    """Bounds how many requests at once do what takes much memory and time: reports, samples, evidence to fetch."""

    def __init__(self, most: int = _MOST_AT_ONCE, *, waits_s: float = _WAITS_S) -> None:
        self._room, self._waits_s = threading.BoundedSemaphore(most), waits_s

    @contextmanager
    def room(self) -> Iterator[None]:
        """Wait for room. Raises ServiceError (503) where there is none in time."""
        if not self._room.acquire(timeout=self._waits_s):
            raise ServiceError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "too many reports and samples are being made",
                next_step="try again in a moment",
                headers={"Retry-After": "10"},
            )
        try:
            yield
        finally:
            self._room.release()


class RememberedEvidence:
    """Finds the evidence of runs, and remembers for half a minute where it was: a store is not asked each time.

    Threads that look for the same run wait for the first of them.
    """

    def __init__(self, find_evidence: FindEvidence) -> None:
        self._find_evidence = find_evidence
        self._lock = threading.Lock()
        self._searches: OrderedDict[str, _Search] = OrderedDict()

    def __call__(self, line: RunLine) -> FoundEvidence:
        """Find the evidence of a run that has ended, as `evidence_fetch.find_evidence` does."""
        with self._lock:
            search = self._searches.setdefault(line.run, _Search())
            self._searches.move_to_end(line.run)
            while len(self._searches) > _MOST_REMEMBERED:
                self._searches.popitem(last=False)
        with search.lock:
            now = time.monotonic()
            if search.found is None or now - search.at_s > _LOOKED_AGAIN_S or not search.found.folder.is_dir():
                search.found, search.at_s = self._find_evidence(line), now
            return search.found


@dataclass(slots=True)
class _Search:
    lock: threading.Lock = field(default_factory=threading.Lock)
    found: FoundEvidence | None = None
    at_s: float = 0.0


def find_folder(line: RunLine, sources: RunSources) -> FoundEvidence:
    """Find the folder of a run's evidence, also of a run that goes on here.

    Raises ConflictError where another machine writes it still, and NotFoundError where it is nowhere.
    """
    if not line.ended:
        folder = sources.runs_dir / line.run
        if not folder.is_dir():
            raise ConflictError(
                f"the evidence of run {line.run} is on {line.owner.machine} until the run has ended",
                next_step="wait for its end",
            )
        return FoundEvidence(folder=folder, fetched=False)
    try:
        with sources.work.room():
            found = sources.find_evidence(line)
    except RequestError as error:
        raise NotFoundError(error.message, next_step=error.next_step) from error
    if not found.folder.is_dir():
        raise NotFoundError(
            f"the evidence of run {line.run} is not on this machine: {line.owner.machine} has it",
            next_step="an evidence store (PTP_HARNESS_EVIDENCE_URL) is shared by all machines",
        )
    return found
