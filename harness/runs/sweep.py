"""Sweep several benches and Regions side by side: find what runs left, remove it, and close the runs that died."""

import datetime
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from harness.benches.bench import Bench
from harness.errors import HarnessError
from harness.model import Token
from harness.runs import leftovers
from harness.runs.leftovers import Leftover, LeftoverFilter, Survey, UntouchedResource
from harness.store import run_overview
from harness.store.ledger import Ledger
from harness.store.run_overview import RunOverview

MakeBench = Callable[[str, Collection[str] | None], Bench]
"""Makes a bench by its name, which searches these Regions alone; None: those that it knows."""

_PLACES_AT_ONCE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where resources are searched: a bench, of which a Region alone where there are Regions."""

    bench: str
    region: str | None = None

    def __str__(self) -> str:
        return self.bench if self.region is None else f"{self.bench} in {self.region}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """Findings of a search, by place, and the selected leftovers.

    `unsearched`: the error of each place that could not be searched. `spared_runs`: runs that died, and that the
    selection does not take with all that they left.
    """

    surveys: Mapping[Place, Survey]
    unsearched: Mapping[Place, HarnessError]
    selected: Sequence[tuple[Place, Leftover]]
    spared_runs: Collection[str]

    @property
    def left_alone(self) -> list[tuple[Place, UntouchedResource]]:
        return [(place, resource) for place, survey in self.surveys.items() for resource in survey.left_alone]

    @property
    def not_selected(self) -> int:
        """How many more could be removed, if they were selected."""
        return sum(len(survey.removable) for survey in self.surveys.values()) - len(self.selected)


@dataclass(slots=True)
class Removals:
    """Results of a sweep. `expired`: kept hosts whose lease had ended; `failed`: what is left, in words."""

    removed: list[str] = field(default_factory=list)
    expired: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    runs_with_remains: set[str] = field(default_factory=set)
    next_step: str = ""

    def note(self, error: HarnessError) -> None:
        """Note what could not be done."""
        self.failed.append(error.message)
        self.next_step = self.next_step or error.next_step

    def note_remains(self, remains: Mapping[Token, Sequence[str]]) -> None:
        """Note what could not be removed, in words by token."""
        self.failed += [word for words in remains.values() for word in words]
        self.runs_with_remains |= {token.run for token in remains}
        if remains:
            self.next_step = "end these by hand, then run `ptp-harness sweep --yes` again"


class Sweep:
    """A sweep of these places by one process. `progress` gets what is done, and what is waited for."""

    def __init__(
        self,
        places: Sequence[Place],
        make_bench: MakeBench,
        ledger: Ledger,
        selection: LeftoverFilter,
        progress: Callable[[str], None],
    ) -> None:
        self._make_bench, self._ledger, self._selection, self._progress = make_bench, ledger, selection, progress
        self._places = {
            place: make_bench(place.bench, None if place.region is None else [place.region]) for place in places
        }

    @property
    def places(self) -> list[Place]:
        return [*self._places]

    def find_keeping_runs(self) -> list[RunOverview]:
        """Find the runs that keep hosts on the benches that are swept."""
        benches = dict.fromkeys(place.bench for place in self._places)
        lines = [line for bench in benches for line in self._ledger.runs_that_keep(bench)]
        return run_overview.make_overviews(lines, self._ledger)

    def search(self, *, taken_over: Collection[str] = ()) -> Findings:
        """Survey all places at once, by the ledger and by each bench's own records or tags.

        All that runs left that were `taken_over` is selected.
        """

        def survey(place: Place) -> Survey | HarnessError:
            try:
                return leftovers.survey(self._ledger, self._places[place], taken_over=taken_over)
            except HarnessError as error:
                return error

        with ThreadPoolExecutor(_PLACES_AT_ONCE) as pool:
            results = dict(zip(self._places, pool.map(survey, self._places), strict=True))
        surveys = {place: result for place, result in results.items() if isinstance(result, Survey)}
        removable = [(place, leftover) for place, survey in surveys.items() for leftover in survey.removable]
        now = datetime.datetime.now(datetime.UTC)
        taken = [
            (place, leftover)
            for place, leftover in removable
            if leftover.token.run in taken_over or self._takes(leftover, now)
        ]
        spared = self._find_spared_runs([leftover for _, leftover in removable], [leftover for _, leftover in taken])
        return Findings(
            surveys=surveys,
            unsearched={place: result for place, result in results.items() if isinstance(result, HarnessError)},
            selected=[(place, leftover) for place, leftover in taken if leftover.token.run not in spared],
            spared_runs=spared,
        )

    def remove(self, findings: Findings) -> Removals:
        """End kept hosts whose lease has ended, take over dead runs, remove what is left, and close these runs.

        What fails is noted, and the rest is done.
        """
        removals = Removals()
        runs: list[tuple[str, str]] = []
        for bench in dict.fromkeys(place.bench for place in self._places):
            source = self._make_bench(bench, self._list_regions(bench))
            try:
                removals.expired += leftovers.release_expired(self._ledger, source, self._selection)
            except HarnessError as error:
                removals.note(error)
            taken = leftovers.take_over_dead_runs(self._ledger, source, self._progress, spared=findings.spared_runs)
            runs += [(run, bench) for run in taken]
        again = self.search(taken_over=[run for run, _ in runs])
        by_place: dict[Place, list[Leftover]] = {place: [] for place in self._places}
        for place, leftover in again.selected:
            if not leftover.of_dead_run:  # of a run that could not be taken over
                by_place[place].append(leftover)

        def remove(place: Place) -> dict[Token, list[str]]:
            return leftovers.remove(by_place[place], self._places[place], self._progress)

        with ThreadPoolExecutor(_PLACES_AT_ONCE) as pool:
            for place, remains in zip(by_place, pool.map(remove, by_place), strict=True):
                tokens = [leftover.token for leftover in by_place[place]]
                removals.removed += [str(token) for token in tokens if token not in remains]
                removals.note_remains(remains)
        for run, bench in runs:
            if run in removals.runs_with_remains:
                self._progress(f"run {run} stays open: not all that it left could be removed")
            else:
                self._close(run, bench, removals)
        if not removals.failed:
            self._verify(removals)
        return removals

    def _takes(self, leftover: Leftover, now: datetime.datetime) -> bool:
        return self._selection.takes(leftover.age_s(now), leftover.owner)

    def _find_spared_runs(self, removable: Sequence[Leftover], taken: Sequence[Leftover]) -> set[str]:
        """Find the dead runs of which something is not taken.

        Those that left nothing count by their own age and owner.
        """
        of_runs = {leftover.token.run for leftover in removable}
        partly = {leftover.token.run for leftover in removable if leftover.of_dead_run and leftover not in taken}
        now_ns = self._ledger.now_ns()
        without_leftovers = {
            line.run
            for bench in {place.bench for place in self._places}
            for line in self._ledger.open_runs(bench)
            if line.run not in of_runs
            and not self._selection.takes((now_ns - line.started_ns) / 1e9, line.owner.person)
        }
        return partly | without_leftovers

    def _close(self, run: str, bench: str, removals: Removals) -> None:
        """Close a run that was taken over, unless one of its Regions cannot be searched."""
        try:
            source = self._make_bench(bench, self._ledger.regions_of_run(run) or self._list_regions(bench))
            removals.closed += leftovers.close_runs([run], self._ledger, source, self._progress)
        except HarnessError as error:
            self._progress(f"run {run} stays open: {error.message}")
            removals.note(error)

    def _list_regions(self, bench: str) -> list[str] | None:
        """List the Regions of a bench that are swept; None where it has none."""
        return [place.region for place in self._places if place.bench == bench and place.region is not None] or None

    def _verify(self, removals: Removals) -> None:
        """Search once more, and note what is still there of what was to be removed."""
        for _, leftover in self.search().selected:
            if not leftover.of_dead_run:
                removals.failed += [f"{resource.kind} {resource.name}" for resource in leftover.resources]
                removals.next_step = "see their details with `ptp-harness sweep`"
