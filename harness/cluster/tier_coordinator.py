"""Lead a run of this project's own tests from a pod: a Job for each suite, until each has its result.

All of its state is in the evidence store and in the Jobs: a coordinator that goes on with a run finds the plan, the
results so far, and the Jobs that go on. A run has two coordinators. The one whose pod is the oldest of those that live
leads it; each step can be taken twice without harm, so that two that lead for a moment need no lease.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from lightkube.resources.batch_v1 import Job

from harness.cluster.connection import ClusterError, Connection, patiently
from harness.cluster.job_control import JobControl, JobGoneError
from harness.cluster.jobs import (
    COORDINATOR,
    PodOptions,
    find_end,
    is_cancelled,
    make_suite_job,
    name_coordinator,
    name_of,
)
from harness.cluster.own_namespace import own_namespace, read_own_secrets, remove_namespace
from harness.cluster.pod_states import describe_failed_pods, find_trouble, is_cut_off
from harness.cluster.rights import require_own_namespaces
from harness.cluster.run_state import list_pods
from harness.cluster.suites import choose_next
from harness.cluster.tier_pod import HOME
from harness.cluster.tier_report import DOCUMENT, SuiteOutcome, judge_result, render_reports
from harness.cluster.tier_store import TierPlan, TierStore, sort_by_expectation
from harness.cluster.tiers import TierSuite, find_suites, make_mark_expression
from harness.model import Outcome

_LOOK_EVERY_S = 1.0
_LOOK_AT_PODS_EVERY_S = 10.0
_GIVEN_UP_AFTER_S = 120.0
"""How long a pod may fail to start, for a cause that seldom passes by itself, such as an image that is not there."""

_LOST_AFTER_S = 45.0
"""How long the node of a pod may be away, before another pod begins its suite anew."""

_AWAY_FOR_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TierRequest:
    """The tests that a run is to carry out: of which tiers (all without), and how many suites at once."""

    tiers: tuple[str, ...]
    parallel: int
    include_slow: bool = False
    include_destructive: bool = False


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the Jobs of suites are. `owner`: the Job with which they go; None in a namespace of the run's own."""

    jobs: JobControl
    owner: Job | None


@dataclass(slots=True)
class _Running:
    """A suite whose Job goes on. `trouble_since`: since when its pods do not start, by what keeps them from it.

    `cut_off_since`: since when the node of its pod does not answer; None while it does.
    """

    suite: TierSuite
    job: str
    jobs: JobControl
    look_at_pods_at: float
    look_at_nodes_at: float
    trouble_since: dict[str, float]
    cut_off_since: float | None = None


class TierCoordinator:
    """A process that leads a run of tests, or waits for its turn. `tell` gets a line for each step; `pod`: its own."""

    def __init__(
        self,
        request: TierRequest,
        connection: Connection,
        options: PodOptions,
        store: TierStore,
        tell: Callable[[str], None],
        *,
        pod: str,
        home: Path = HOME,
    ) -> None:
        self._request, self._options, self._store, self._tell, self._home = request, options, store, tell, home
        self._connection, self._pod = connection, pod
        self._jobs, self._own_name = JobControl(connection), name_coordinator(store.run)
        self._outcomes: dict[str, SuiteOutcome] = {}
        self._cancelled = False

    def lead(self) -> bool:
        """Have all suites run, and write the reports, once no other coordinator leads; False where one has done that.

        Raises RequestError for tiers that are not there, StoreAwayError, SetupError and ClusterError.
        """
        while not self._leads():
            if self._store.read_report(DOCUMENT) is not None:
                return False
            time.sleep(_LOOK_EVERY_S)
        self._run()
        return True

    def _leads(self) -> bool:
        """Whether this process has the oldest pod of the coordinators that live."""
        try:
            pods = list_pods(self._connection, self._store.run, part=COORDINATOR)
        except ClusterError as error:
            if not error.may_pass:
                raise
            return False
        living = [
            (str(pod.metadata.creationTimestamp), name_of(pod))
            for pod in pods
            if pod.metadata and pod.status and pod.status.phase == "Running"
            if pod.metadata.deletionTimestamp is None and not is_cut_off(pod)
        ]
        return min(living, default=("", ""))[1] == self._pod

    def _run(self) -> None:
        own_job = patiently(partial(self._jobs.read, self._own_name), for_s=_AWAY_FOR_S)
        plan = self._load_plan()
        harm = any(suite.destructive for suite in plan.suites)
        if harm:
            require_own_namespaces(self._connection)
        waiting = self._leave_out_ended(plan)
        try:
            self._run_suites(
                [each for each in waiting if not each.destructive], plan.parallel, _Place(self._jobs, own_job)
            )
            self._run_destructive([each for each in waiting if each.destructive])
        finally:
            if harm:  # of a coordinator that died after the last suite there had its result
                remove_namespace(self._connection, self._store.run)
        outcomes = [self._outcomes[suite.name] for suite in plan.suites]
        self._store.write_reports(render_reports(self._store.run, outcomes, cancelled=self._cancelled))
        self._store.add_durations(
            {each.name: each.seconds for each in outcomes if each.junit is not None and not each.retries}
        )

    def _run_destructive(self, suites: list[TierSuite]) -> None:
        """Run suites that do harm, one after the other, in a namespace of the run's own, which is removed."""
        if self._cancelled or not suites:
            self._note_cancelled(suites)
            return
        with own_namespace(self._connection, self._store.run, read_own_secrets()) as inside:
            self._tell(f"{len(suites)} destructive suites have the namespace {inside.namespace}")
            self._run_suites(suites, 1, _Place(JobControl(inside), None))
        self._tell(f"the namespace {inside.namespace} is removed")

    def _run_suites(self, waiting: list[TierSuite], parallel: int, place: _Place) -> None:
        """Run suites until each has its outcome, or the run is cancelled."""
        running = dict[str, _Running]()
        while (waiting or running) and not self._cancelled:
            for name in [name for name, each in running.items() if self._has_ended(each)]:
                del running[name]
            for each in [each for each in running.values() if self._is_lost(each)]:
                self._tell(f"suite {each.suite.name}: the node of its pod is lost, and it is begun anew")
                each.jobs.delete(each.job)
                waiting.insert(0, running.pop(each.suite.name).suite)
            begin = choose_next(waiting, [each.suite for each in running.values()], parallel)
            for suite in begin:
                running[suite.name] = self._begin(suite, place)
                waiting.remove(suite)
            if running:
                time.sleep(_LOOK_EVERY_S)
                self._look_for_cancellation()
        self._note_cancelled([*(each.suite for each in running.values()), *waiting])
        for each in running.values():
            each.jobs.delete(each.job)

    def _note_cancelled(self, suites: Sequence[TierSuite]) -> None:
        for suite in suites:
            self._note(SuiteOutcome(name=suite.name, outcome=Outcome.INCONCLUSIVE, why="the run was cancelled"))

    def _load_plan(self) -> TierPlan:
        """Read the plan of an earlier coordinator, else make it."""
        plan = self._store.read_plan()
        if plan is not None:
            self._tell(f"run {self._store.run} goes on: {len(plan.suites)} suites")
            return plan
        found = find_suites(
            self._home / "source",
            self._request.tiers,
            include_slow=self._request.include_slow,
            include_destructive=self._request.include_destructive,
        )
        expected_s = self._store.read_expected_s()
        suites = [replace(suite, expected_s=expected_s.get(suite.name)) for suite in found]
        plan = TierPlan(
            suites=tuple(sort_by_expectation(suites)),
            marks=make_mark_expression(include_slow=self._request.include_slow),
            parallel=self._request.parallel,
        )
        self._tell(f"run {self._store.run}: {len(suites)} suites of tests, up to {plan.parallel} at once")
        return self._store.write_plan(plan)

    def _leave_out_ended(self, plan: TierPlan) -> list[TierSuite]:
        """Judge the suites that have a result already; return the others."""
        waiting = []
        for suite in plan.suites:
            if self._judge(suite, self._name_job(suite), self._jobs) is None:
                waiting.append(suite)
        return waiting

    def _begin(self, suite: TierSuite, place: _Place) -> _Running:
        """Make the Job of a suite, or find the one that an earlier coordinator made."""
        argv = ["cluster", "test-pod", self._store.run, suite.name]
        job = make_suite_job(
            self._store.run, suite.name, 0, self._options, pods=1, hosts_per_pod=1, owner=place.owner, argv=argv
        )
        try:
            patiently(partial(place.jobs.create, job), for_s=_AWAY_FOR_S)
            expected = "" if suite.expected_s is None else f", expected to take {suite.expected_s:.0f} s"
            self._tell(f"suite {suite.name}: Job {name_of(job)}{expected}")
        except ClusterError as error:
            if error.status != 409:
                raise
        look_at = time.monotonic() + _LOOK_AT_PODS_EVERY_S
        return _Running(suite, name_of(job), place.jobs, look_at, look_at, {})

    def _has_ended(self, running: _Running) -> bool:
        """Look at the Job of a suite; note its outcome once it has ended, or cannot begin."""
        suite = running.suite
        try:
            job = running.jobs.try_to_read(running.job)
        except JobGoneError as error:
            if self._judge(suite, running.job, running.jobs) is None:
                self._note(SuiteOutcome(name=suite.name, outcome=Outcome.INCONCLUSIVE, why=error.message))
            return True
        end = None if job is None else find_end(job)
        if end is None:
            return self._is_stuck(running)
        if self._judge(suite, running.job, running.jobs) is None:
            trouble = find_trouble(running.jobs.list_idle_pods(running.job), ended_because=end) if end else None
            why = "its pod ended well, and left no result" if trouble is None else trouble.text
            retries = self._list_retries(suite, running.job, running.jobs, judged=False)
            self._note(SuiteOutcome(name=suite.name, outcome=Outcome.INCONCLUSIVE, why=why, retries=retries))
        return True

    def _is_stuck(self, running: _Running) -> bool:
        """Whether the pods of a suite cannot start for a lasting cause: its Job is deleted, and the outcome noted."""
        now = time.monotonic()
        if now < running.look_at_pods_at:
            return False
        running.look_at_pods_at = now + _LOOK_AT_PODS_EVERY_S
        trouble = find_trouble(running.jobs.list_idle_pods(running.job))
        if trouble is None:
            return False
        if trouble.text not in running.trouble_since:
            self._tell(f"suite {running.suite.name}: {trouble}")
        if not trouble.lasting or now - running.trouble_since.setdefault(trouble.text, now) <= _GIVEN_UP_AFTER_S:
            running.trouble_since.setdefault(trouble.text, now)
            return False
        running.jobs.delete(running.job)
        self._note(SuiteOutcome(name=running.suite.name, outcome=Outcome.INCONCLUSIVE, why=trouble.text))
        return True

    def _is_lost(self, running: _Running) -> bool:
        """Whether the node of a suite's pod has not answered for long: its Job would wait until the node is back."""
        now = time.monotonic()
        if now < running.look_at_nodes_at:
            return False
        running.look_at_nodes_at = now + _LOOK_AT_PODS_EVERY_S
        cut_off = any(map(is_cut_off, running.jobs.list_running_pods(running.job)))
        running.cut_off_since = (running.cut_off_since or now) if cut_off else None
        return running.cut_off_since is not None and now - running.cut_off_since > _LOST_AFTER_S

    def _judge(self, suite: TierSuite, job: str, jobs: JobControl) -> SuiteOutcome | None:
        """Judge a suite by the result that a pod left; None where none has."""
        result = self._store.read_result(suite.name)
        if result is None:
            return None
        outcome = judge_result(suite.name, result, self._list_retries(suite, job, jobs, judged=True))
        self._note(outcome)
        return outcome

    def _list_retries(self, suite: TierSuite, job: str, jobs: JobControl, *, judged: bool) -> tuple[str, ...]:
        """Say what became of each attempt at a suite that left no result: a pod that failed, or that is gone."""
        failed = describe_failed_pods(jobs.list_idle_pods(job))
        attempts = self._store.count_attempts(suite.name) - judged
        gone = ["a pod that had begun is gone: evicted, or deleted"] * max(0, attempts - len(failed))
        return (*failed, *gone)

    def _note(self, outcome: SuiteOutcome) -> None:
        self._outcomes[outcome.name] = outcome
        self._tell(f"suite {outcome.name}: {outcome.outcome}: {outcome.why}")
        for retry in outcome.retries:
            self._tell(f"suite {outcome.name}: infrastructure: {retry}")

    def _look_for_cancellation(self) -> None:
        job = self._jobs.try_to_read(self._own_name)
        self._cancelled = job is not None and is_cancelled(job)

    def _name_job(self, suite: TierSuite) -> str:
        return f"{self._own_name}-{suite.name}-0"


def describe_progress(store: TierStore, plan: TierPlan) -> Sequence[SuiteOutcome]:
    """Judge the suites of a run that have a result so far; the others are INCONCLUSIVE, and say how far they are."""
    outcomes = []
    for suite in plan.suites:
        result, attempts = store.read_result(suite.name), store.count_attempts(suite.name)
        if result is not None:
            gone = ("a pod that had begun left no result",) * (attempts - 1)
            outcomes.append(judge_result(suite.name, result, gone))
        else:
            why = f"no result yet (attempt {attempts})" if attempts else "not begun"
            outcomes.append(SuiteOutcome(name=suite.name, outcome=Outcome.INCONCLUSIVE, why=why))
    return outcomes
