"""Keep the state of a run of tests in the evidence store, so that any coordinator can go on with it.

Of a run there are its plan, the attempts at each suite, the result of each suite, and the reports, each whole or
absent, in the folder `tests-RUN/`. How long suites took is kept for all runs together.
"""

import json
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.cluster.run_reports import locate_reports
from harness.cluster.suites import SuiteKind
from harness.cluster.tiers import TierSuite
from harness.errors import RequestError, SetupError
from harness.store.file_sets import FileSet, read_checksums, read_file, write_files
from harness.store.object_store import ObjectStore, Pause
from harness.untrusted import names

JUNIT, RESULT = "junit.xml", "result.json"
MOST_JUNIT_BYTES = 64 << 20
_PLAN, _ATTEMPT = "plan.json", "attempt.json"
_DURATIONS = "tests-durations.json"
_MOST_DOCUMENT_BYTES = 4 << 20
_MOST_ATTEMPTS = 50
_DURATIONS_OF = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class TierPlan:
    """What a run of tests carries out. `marks`: the expression by which pytest selects tests."""

    suites: tuple[TierSuite, ...]
    marks: str
    parallel: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteResult:
    """What a pod left of a suite: the exit status of pytest, how long it took, s, and its JUnit."""

    status: int
    seconds: float
    junit: bytes


@dataclass(frozen=True, slots=True)
class TierStore:
    """The part of an evidence store that holds a run of tests. Every method raises StoreAwayError and SetupError."""

    run: str
    store: ObjectStore
    pause: Pause

    @property
    def folder(self) -> str:
        """The folder of the run in the store. Raises RequestError for a name that no run has."""
        if not names.fits(names.RUN, self.run):
            raise RequestError("this is no name of a run", next_step="`ptp-harness cluster status` lists runs")
        return f"tests-{self.run}"

    @property
    def reports(self) -> FileSet:
        """The reports of the run."""
        return locate_reports(self.folder)

    def write_plan(self, plan: TierPlan) -> TierPlan:
        """Write the plan, unless another coordinator has; return the one that holds."""
        present = self.read_plan()
        if present is None:
            write_files(self._files("plan"), {_PLAN: json.dumps(asdict(plan), indent=1)}, self.store, self.pause)
        return present or plan

    def read_plan(self) -> TierPlan | None:
        """Read the plan; None before there is one."""
        document = self._read_document(self._files("plan"), _PLAN)
        if document is None:
            return None
        with _explaining(self.store):
            return _make_plan(document)

    def begin_attempt(self, suite: str, pod: str) -> int:
        """Note that a pod begins with a suite; return the number of this attempt, from 1."""
        number = self.count_attempts(suite) + 1
        contents = {_ATTEMPT: json.dumps({"pod": pod})}
        write_files(self._files(f"suites/{suite}/attempts/{number}"), contents, self.store, self.pause)
        return number

    def count_attempts(self, suite: str) -> int:
        """Count the attempts at a suite."""
        for number in range(1, _MOST_ATTEMPTS + 1):
            if read_checksums(self._files(f"suites/{suite}/attempts/{number}"), self.store, self.pause) is None:
                return number - 1
        return _MOST_ATTEMPTS

    def write_result(self, suite: str, result: SuiteResult) -> bool:
        """Write the result of a suite; False where another pod has written one, which stays."""
        files, document = self._files(f"suites/{suite}/result"), {"status": result.status, "seconds": result.seconds}
        if read_checksums(files, self.store, self.pause) is not None:
            return False
        write_files(files, {JUNIT: result.junit, RESULT: json.dumps(document)}, self.store, self.pause)
        return True

    def read_result(self, suite: str) -> SuiteResult | None:
        """Read the result of a suite; None before there is one."""
        files = self._files(f"suites/{suite}/result")
        sums = read_checksums(files, self.store, self.pause)
        document = self._read_document(files, RESULT)
        if sums is None or document is None or JUNIT not in sums:
            return None
        junit = read_file(files, JUNIT, sums[JUNIT], self.store, self.pause, most=MOST_JUNIT_BYTES)
        with _explaining(self.store):
            return SuiteResult(status=int(document["status"]), seconds=float(document["seconds"]), junit=junit)

    def write_reports(self, contents: Mapping[str, str]) -> None:
        """Write the reports of the run, unless another coordinator has."""
        if read_checksums(self.reports, self.store, self.pause) is None:
            write_files(self.reports, contents, self.store, self.pause)

    def read_report(self, name: str) -> str | None:
        """Read a report of the run; None before its end."""
        sums = read_checksums(self.reports, self.store, self.pause)
        if sums is None or name not in sums:
            return None
        return read_file(self.reports, name, sums[name], self.store, self.pause, most=MOST_JUNIT_BYTES).decode()

    def read_expected_s(self) -> dict[str, float]:
        """Read how long suites are expected to take, s: the median of their latest runs, which refuses outliers."""
        return {suite: statistics.median(seconds) for suite, seconds in self._read_durations().items()}

    def add_durations(self, seconds: Mapping[str, float]) -> None:
        """Add how long suites took. Of two runs that end at once, one may be lost: it only decides an order."""
        durations = self._read_durations()
        for suite, took_s in seconds.items():
            durations[suite] = [*durations.get(suite, []), round(took_s, 1)][-_DURATIONS_OF:]
        with tempfile.NamedTemporaryFile("w", prefix="ptp-harness-durations-") as file:
            json.dump(durations, file)
            file.flush()
            self.store.put_file(_DURATIONS, Path(file.name))

    def _read_durations(self) -> dict[str, list[float]]:
        content = self.store.read(_DURATIONS, most=_MOST_DOCUMENT_BYTES)
        try:
            document = json.loads(content or b"{}")
            return {str(name): [float(each) for each in seconds] for name, seconds in document.items() if seconds}
        except (ValueError, TypeError, AttributeError):  # somebody else wrote it; it only decides an order
            return {}

    def _files(self, place: str) -> FileSet:
        return FileSet(prefix=f"{self.folder}/{place}/", title=f"the tests of run {self.run}, {place}")

    def _read_document(self, files: FileSet, name: str) -> Any:
        sums = read_checksums(files, self.store, self.pause)
        if sums is None or name not in sums:
            return None
        content = read_file(files, name, sums[name], self.store, self.pause, most=_MOST_DOCUMENT_BYTES)
        with _explaining(self.store):
            return json.loads(content)


def sort_by_expectation(suites: Sequence[TierSuite]) -> list[TierSuite]:
    """Sort suites as they begin: those of unknown length first, then the longest expected first."""
    return sorted(suites, key=lambda suite: (suite.expected_s is not None, -(suite.expected_s or 0.0), suite.name))


def _make_plan(document: Mapping[str, Any]) -> TierPlan:
    suites = [
        TierSuite(**{**suite, "kind": SuiteKind(suite["kind"]), "files": tuple(suite["files"])})
        for suite in document["suites"]
    ]
    return TierPlan(suites=tuple(suites), marks=str(document["marks"]), parallel=int(document["parallel"]))


@contextmanager
def _explaining(store: ObjectStore) -> Iterator[None]:
    """Raise SetupError for what no run of tests left in the store."""
    try:
        yield
    except (ValueError, KeyError, TypeError) as error:
        raise SetupError(
            f"{store.label} holds something else than a run of tests of this version: {type(error).__name__}",
            next_step="use the version that submitted the run",
        ) from error
