"""Carry out tasks of a queue as a process of its own, in the steps that standard input names.

    python -m tests.programs.task_worker URL LIMITS

LIMITS is JSON: {"tasks": 2, "per_bench": {}, "per_submitter": null}. Each line is a step: claim, take_over, open_run,
finish, give_back; or `drain`: claim and finish until nothing can be claimed, and look at what runs meanwhile. Each
step's result is a line of JSON.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Callable

from harness.errors import HarnessError
from harness.model import Outcome
from harness.model.tasks import TaskState
from harness.store.ledger import Ledger
from harness.store.task_lines import QueueLimits, TaskLine
from harness.store.task_queue import TaskQueue

Result = dict[str, object] | None


class Worker:
    """A process with the task that it has, if any."""

    def __init__(self, url: str, limits: QueueLimits) -> None:
        self.ledger, self.limits = Ledger(url), limits
        self.queue = TaskQueue(self.ledger)
        self.line: TaskLine | None = None
        self.steps: dict[str, Callable[[], Result]] = {
            "claim": self.claim,
            "take_over": self.take_over,
            "open_run": self.open_run,
            "finish": self.finish,
            "give_back": self.give_back,
            "drain": self.drain,
        }

    def claim(self) -> Result:
        self.line = self.queue.claim(self.limits)
        return self._tell()

    def take_over(self) -> Result:
        self.line = self.queue.take_over()
        return self._tell()

    def open_run(self) -> Result:
        assert self.line is not None
        hosts = {"a": "lab.phc"}
        return {"run": self.ledger.open_run(bench="lab", campaign={}, hosts=hosts, task=self.line.task)}

    def finish(self) -> Result:
        assert self.line is not None
        self.queue.finish(self.line, TaskState.ENDED, exit_code=0, outcome=Outcome.PASS)
        return {"finished": self.line.task}

    def give_back(self) -> Result:
        assert self.line is not None
        self.queue.give_back(self.line)
        return {"given_back": self.line.task}

    def drain(self) -> Result:
        done: list[str] = []
        most: Counter[str] = Counter()
        while (line := self.queue.claim(self.limits)) is not None:
            running = [each for each in self.queue.list_queue() if each.state is TaskState.RUNNING]
            seen = Counter([*(each.bench for each in running), *(each.submitter for each in running)])
            most |= seen + Counter(all=len(running))
            time.sleep(0.01)  # as long as the others need to claim one
            self.queue.finish(line, TaskState.ENDED, exit_code=0, outcome=Outcome.PASS)
            done.append(line.task)
        return {"done": done, "most": dict(most)}

    def _tell(self) -> Result:
        if self.line is None:
            return None
        return {"task": self.line.task, "attempt": self.line.attempt, "run": self.line.run}


def main() -> None:
    worker = Worker(sys.argv[1], QueueLimits(**json.loads(sys.argv[2])))
    for line in sys.stdin:
        try:
            result: object = worker.steps[line.strip()]()
        except HarnessError as error:
            result = {"error": f"{type(error).__name__}: {error.message}"}
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
