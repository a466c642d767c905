"""Have pods qualify the hosts of a run: a Job for each suite, until no host of it can be claimed."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from lightkube.resources.batch_v1 import Job

from harness.cluster.connection import ClusterError, Connection, patiently
from harness.cluster.job_control import JobControl, JobGoneError
from harness.cluster.jobs import (
    PodOptions,
    find_end,
    find_queue,
    is_cancelled,
    make_suite_job,
    name_coordinator,
    name_of,
)
from harness.cluster.own_namespace import name_namespace, own_namespace, read_own_secrets
from harness.cluster.pod_states import PodTrouble, find_trouble
from harness.cluster.suites import Suite, make_suites
from harness.errors import HarnessError
from harness.runs.context import RunContext
from harness.runs.host_workers import HostsNotBegunError, Records, qualify_claimed
from harness.store.host_claims import count_free

_LOOK_EVERY_S = 1.0
_LOOK_AT_PODS_AFTER_S, _LOOK_AT_PODS_EVERY_S = 5.0, 10.0
_GIVEN_UP_AFTER_S = 120.0
"""How long a pod may fail to start, for a cause that seldom passes by itself, such as an image that is not there."""

_LOOK_AT_LEDGER_EVERY_S, _IDLE_FOR_S = 2.0, 10.0
_BEGINS_WITHIN_S = 30.0
"""How long a pod may take from its making to the claim of its first host; longer where its image is pulled."""

_AWAY_FOR_S = 600.0
_MOST_BARREN = 3
"""Jobs of a suite, one after the other, that brought no verdict: the next one would bring none either."""


class PodsFailedError(HostsNotBegunError):
    """The pods of a suite could not do their work: a fault of the cluster or of its configuration, of no clock."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the Jobs of a suite are. `owner`: the Job with which they go; None in a namespace of the run's own."""

    jobs: JobControl
    owner: Job | None


class PodWork:
    """Qualifies hosts by pods, as `host_workers.Work`. `hosts_per_pod`: how many hosts a pod works on at once."""

    def __init__(self, connection: Connection, own_job: Job, options: PodOptions, *, hosts_per_pod: int) -> None:
        self._connection, self._options = connection, options
        self._home = _Place(JobControl(connection), own_job)
        self._hosts_per_pod = hosts_per_pod
        self._numbers: dict[str, int] = {}
        self._barren: dict[str, int] = {}

    def __call__(
        self, parallel: int, context: RunContext, records: Records, on_poll: Callable[[], None]
    ) -> list[Exception]:
        """Run the suites that have hosts to claim, one after the other; return why hosts could not be worked on.

        Once the run was asked to stop, this process itself settles the hosts that nobody has begun.
        """
        if context.controls.stop.is_set():
            return qualify_claimed(parallel, context, records, on_poll)
        errors: list[Exception] = []
        for suite in make_suites(context.campaign, _count_free(context)):
            free = _count_free_of(suite, context)
            if free and not context.controls.stop.is_set():
                try:
                    with self._choose_place(suite, context) as place:
                        self._run(suite, min(parallel, free), free, context, on_poll, place)
                except HarnessError as error:
                    errors.append(error)
        return errors

    @contextmanager
    def _choose_place(self, suite: Suite, context: RunContext) -> Iterator[_Place]:
        """Yield where the Jobs of a suite are: those that do harm have a namespace of their own, which is removed."""
        if not (self._options.include_destructive and suite.kind.destructive):
            yield self._home
            return
        with own_namespace(self._connection, context.run, read_own_secrets()) as inside:
            context.events.publish(f"suite {suite.kind}: it has the namespace {inside.namespace}")
            yield _Place(JobControl(inside), None)
        context.events.publish(f"suite {suite.kind}: the namespace {name_namespace(context.run)} is removed")

    def _run(
        self,
        suite: Suite,
        parallel: int,
        free: int,
        context: RunContext,
        on_poll: Callable[[], None],
        place: _Place,
    ) -> None:
        """Run one Job of a suite to its end. Raises PodsFailedError when Jobs bring no verdict."""
        job = self._submit(suite, -(-parallel // self._hosts_per_pod), context, place)
        trouble = self._wait(job, suite, context, on_poll, place.jobs)
        barren = _count_free_of(suite, context) >= free
        self._barren[suite.kind] = self._barren.get(suite.kind, 0) + 1 if barren else 0
        if trouble is not None:
            context.events.publish(f"the pods of suite {suite.kind}: {trouble}")
            if trouble.lasting or self._barren[suite.kind] >= _MOST_BARREN:
                raise PodsFailedError(f"the pods of suite {suite.kind}: {trouble}", next_step=trouble.remedy)

    def _submit(self, suite: Suite, pods: int, context: RunContext, place: _Place) -> str:
        """Make the next Job of a suite, or find it, where an earlier coordinator made it; return its name."""
        while True:
            number = self._numbers.get(suite.kind, 0)
            job = make_suite_job(
                context.run,
                suite.kind,
                number,
                self._options,
                pods=pods,
                hosts_per_pod=self._hosts_per_pod,
                owner=place.owner,
            )
            name = name_of(job)
            try:
                patiently(partial(place.jobs.create, job), for_s=_AWAY_FOR_S)
            except ClusterError as error:
                if error.status != 409:
                    raise
                if find_end(place.jobs.read(name)) is not None:  # of an earlier coordinator, and it has ended
                    self._numbers[suite.kind] = number + 1
                    continue
            else:
                context.events.publish(f"suite {suite.kind}: {pods} pods, Job {name}")
            self._numbers[suite.kind] = number + 1
            return name

    def _wait(
        self, name: str, suite: Suite, context: RunContext, on_poll: Callable[[], None], jobs: JobControl
    ) -> PodTrouble | None:
        """Wait until a Job has ended; return what kept its pods from their work, if anything did."""
        look_at_pods_at, since = time.monotonic() + _LOOK_AT_PODS_AFTER_S, dict[str, float]()
        progress = _Progress(context)
        said: set[str] = set()
        while True:
            on_poll()
            job = _try_to_read(name, jobs)
            end = None if job is None else find_end(job)
            if end == "":
                return None
            if end is not None:
                return find_trouble(jobs.list_idle_pods(name), ended_because=end)
            if progress.is_over() and not jobs.has_new_pods(name, _BEGINS_WITHIN_S):
                # pods of it may be on a node that is lost
                jobs.delete(name)
                return None
            self._pass_cancellation_on(context)
            queue = None if job is None else find_queue(job)
            if queue is not None:
                if context.controls.stop.is_set():  # it has no pods that would give up
                    jobs.delete(name)
                    return None
                if queue not in said:
                    said.add(queue)
                    context.events.publish(f"suite {suite.kind}: Job {name} waits in queue {queue}")
            if time.monotonic() >= look_at_pods_at:
                look_at_pods_at = time.monotonic() + _LOOK_AT_PODS_EVERY_S
                trouble = find_trouble(jobs.list_idle_pods(name))
                if trouble is not None and trouble.text not in said:
                    said.add(trouble.text)
                    context.events.publish(f"suite {suite.kind}: {trouble}")
                if trouble is not None and trouble.lasting:
                    first = since.setdefault(trouble.text, time.monotonic())
                    if time.monotonic() - first > _GIVEN_UP_AFTER_S:
                        jobs.delete(name)
                        return trouble
            time.sleep(_LOOK_EVERY_S)

    def _pass_cancellation_on(self, context: RunContext) -> None:
        """Stop the run when its Job was marked as cancelled."""
        job = None if context.controls.stop.is_set() else _try_to_read(name_coordinator(context.run), self._home.jobs)
        if job is not None and is_cancelled(job):
            context.events.publish("cancelled: hosts under way are released")
            context.controls.stop.set()


class _Progress:
    """The progress of the pods of one Job, as the ledger tells it: a pod that hangs never ends."""

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._look_at = time.monotonic() + _IDLE_FOR_S
        self._idle_since: float | None = None
        self._seen_at_work = False

    def is_over(self) -> bool:
        """Whether no living process has worked on a host for a while, after some did. Frees the hosts of the dead."""
        now = time.monotonic()
        if now < self._look_at:
            return False
        self._look_at = now + _LOOK_AT_LEDGER_EVERY_S
        at_work = [each.owner for each in self._context.ledger.hosts_of_others(self._context.run) if each.owner]
        for dead in {owner.owner: owner for owner in at_work if not owner.alive()}.values():
            self._context.ledger.free_hosts_of_dead(self._context.run, dead)
        self._seen_at_work |= bool(at_work)
        if any(owner.alive() for owner in at_work) or not self._seen_at_work:
            self._idle_since = None
            return False
        self._idle_since = self._idle_since or now
        return now - self._idle_since > _IDLE_FOR_S


def _try_to_read(name: str, jobs: JobControl) -> Job | None:
    try:
        return jobs.try_to_read(name)
    except JobGoneError as error:
        raise PodsFailedError(error.message, next_step=error.next_step) from error


def _count_free(context: RunContext) -> dict[str, int]:
    return context.ledger.database.read(lambda db: count_free(db, context.run))


def _count_free_of(suite: Suite, context: RunContext) -> int:
    counts = _count_free(context)
    return sum(counts.get(name, 0) for name in suite.types)
