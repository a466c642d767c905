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

LOOKED_AGAIN_S = 30.0
_MOST_REMEMBERED = 200
MOST_AT_ONCE, MOST_WAITING = 2, 8
WAITS_S = 10.0


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
    """Bounds how many requests at once do what takes much memory and time: reports, samples, evidence to fetch.

    A few more wait for a moment; all others are refused at once, so that they keep no thread from other requests.
    """

    def __init__(self, most: int = MOST_AT_ONCE, *, waiting: int = MOST_WAITING, waits_s: float = WAITS_S) -> None:
        self._room, self._queue = threading.BoundedSemaphore(most), threading.BoundedSemaphore(most + waiting)
        self._waits_s = waits_s

    @contextmanager
    def room(self) -> Iterator[None]:
        """Wait for room. Raises ServiceError (503) where there is none in time."""
        if not self._queue.acquire(blocking=False):
            raise _busy()
        try:
            if not self._room.acquire(timeout=self._waits_s):
                raise _busy()
            try:
                yield
            finally:
                self._room.release()
        finally:
            self._queue.release()


def _busy() -> ServiceError:
    return ServiceError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "too many reports, samples and files of evidence are being made or fetched",
        next_step="try again in a moment",
        headers={"Retry-After": "10"},
    )


class RememberedEvidence:
    """Finds the evidence of runs, and remembers for half a minute where it was: a store is not asked each time.

    One thread looks for the evidence of a run; others that want it are told to come again.
    """

    def __init__(self, find_evidence: FindEvidence) -> None:
        self._find_evidence, self._work = find_evidence, HeavyWork()
        self._lock = threading.Lock()
        self._searches: OrderedDict[str, _Search] = OrderedDict()

    def __call__(self, line: RunLine) -> FoundEvidence:
        """Find the evidence of a run that has ended, as `evidence_fetch.find_evidence` does.

        Raises ServiceError (503) while another thread fetches it.
        """
        with self._lock:
            search = self._searches.setdefault(line.run, _Search())
            self._searches.move_to_end(line.run)
            while len(self._searches) > _MOST_REMEMBERED:
                self._searches.popitem(last=False)
        known = search.look()
        if known is not None:
            return known
        with self._work.room():
            if not search.lock.acquire(timeout=WAITS_S):
                raise ServiceError(
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    f"the evidence of run {line.run} is being fetched",
                    next_step="try again in a moment",
                    headers={"Retry-After": "10"},
                )
            try:
                known = search.look()
                if known is None:
                    known = self._find_evidence(line)
                    search.known = time.monotonic(), known
                return known
            finally:
                search.lock.release()


@dataclass(slots=True)
class _Search:
    """Where the evidence of a run was found, and when."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    known: tuple[float, FoundEvidence] | None = None

    def look(self) -> FoundEvidence | None:
        """Return where it was found lately; None to look again."""
        if self.known is None or time.monotonic() - self.known[0] > LOOKED_AGAIN_S:
            return None
        found = self.known[1]
        return found if found.folder.is_dir() else None


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
        found = sources.find_evidence(line)
    except RequestError as error:
        raise NotFoundError(error.message, next_step=error.next_step) from error
    if not found.folder.is_dir():
        raise NotFoundError(
            f"the evidence of run {line.run} is not on this machine: {line.owner.machine} has it",
            next_step="an evidence store (PTP_HARNESS_EVIDENCE_URL) is shared by all machines",
        )
    return found
