"""The task of a campaign of six hosts on the scripted bench, as a service submits it and its processes carry it out."""

import sqlalchemy as sql

from harness.benches.bench import Bench
from harness.campaign import stored
from harness.campaign.campaign import Campaign
from harness.model.outcomes import worst_outcome
from harness.model.tasks import TaskState
from harness.runs import task_run
from harness.runs.prepare import Benches
from harness.service.submission import make_task
from harness.store.tables import RUNS
from harness.store.task_lines import QueueLimits, TaskLine, TaskQuery
from harness.store.task_queue import TaskQueue
from tests.doubles.campaign_of_six import Surroundings

LIMITS = QueueLimits(tasks=2, per_bench={})
SUBMITTER = "ada"


class QueueOfSix(Surroundings):
    """Surroundings whose runs are those of tasks."""

    @property
    def queue(self) -> TaskQueue:
        return TaskQueue(self.ledger)

    def submit(self) -> str:
        """Submit the campaign; again: get the task that was made of it."""
        campaign = self.prepare().campaign
        new = make_task("six hosts", campaign, submitter=SUBMITTER, idempotency_key="one request")
        return self.queue.submit(new)[0].task

    def work(self) -> str | None:
        """Do what a process of the executor does; return the state of the task that it got."""
        line = self.queue.claim(LIMITS) or self.queue.take_over()
        if line is None:
            return None
        return task_run.carry_out(line, self.ledger, self.settings, self.benches(), self.controls)

    def benches(self) -> Benches:
        def make_bench(_campaign: Campaign) -> Bench:
            return self.bench

        return Benches(make_bench=make_bench, resolve_types=lambda named, _campaign: named)

    def cancel(self) -> None:
        for line in self.lines():
            self.queue.cancel(line.task, by="ben")

    def say_open(self) -> str:
        """Say "open" where a process may begin or go on with a task now, else nothing."""
        return "open" if self.queue.count_claimable(LIMITS) else ""

    def lines(self) -> list[TaskLine]:
        return self.queue.list_lines(TaskQuery())

    def find_faults_of_task(self, *, was_cancelled: bool) -> list[str]:
        """Name all that does not hold once the only task has ended: one task, one run, its outcome, no host left."""
        lines = self.lines()
        if len(lines) != 1:
            return [f"there are {len(lines)} tasks of one request"]
        (line,) = lines
        faults = self.find_faults({}) if self.ledger.runs() else []
        query = sql.select(RUNS.c.run).where(RUNS.c.task == line.task)
        runs = self.ledger.database.read(lambda db: db.execute(query).scalars().all())
        ends = [TaskState.ENDED, TaskState.CANCELLED] if was_cancelled else [TaskState.ENDED]
        if line.state not in ends:
            faults.append(f"the task is {line.state}: {line.problem}")
        if len(runs) != 1 and not (was_cancelled and not runs):
            faults.append(f"the task has {len(runs)} runs: {runs}")
        if len(self.ledger.runs()) != len(runs):
            faults.append("there is a run of no task")
        if runs and line.state is TaskState.ENDED:
            record = self.ledger.record(runs[0])
            outcomes = [] if record is None else [host.verdict.outcome for host in record.hosts]
            worst = worst_outcome(outcomes) if outcomes else None
            if line.outcome != worst or line.exit_code is None:
                faults.append(f"the outcome of the task is {line.outcome}, and that of its run {worst}")
        campaign = stored.from_document(self.queue.campaign(line.task))
        if campaign != self.prepare().campaign:
            faults.append("the campaign of the task is another one")
        return faults
