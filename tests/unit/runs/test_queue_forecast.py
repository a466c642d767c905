"""When tasks are expected to begin and to end: known answers, and the order in which they really are claimed."""

import random
import time
from collections import Counter
from dataclasses import replace

import pytest

from harness.model.tasks import TaskState
from harness.runs.queue_forecast import ExpectedTimes, forecast_queue
from harness.store.task_lines import QueueLimits, TaskLine

NOW = 1_000_000
S = 10**9
LINE = TaskLine(
    task="a", state=TaskState.QUEUED, bench="ec2", hosts=1, site=None, remote_task=None, priority=0, expected_s=60.0,
    submitter="ada", submitted_ns=0, schedule=None, attempt=0, begun_ns=None, ended_ns=None, cancelled_by=None,
    exit_code=None, outcome=None, problem=None, run=None,
)  # fmt: skip


def waits(task: str, seconds: float = 60.0, **changes: object) -> TaskLine:
    return replace(LINE, task=task, expected_s=seconds, **changes)  # type: ignore[arg-type]


def runs(task: str, since_s: float, seconds: float = 60.0, **changes: object) -> TaskLine:
    begun_ns = NOW - round(since_s * S)
    return replace(waits(task, seconds, **changes), state=TaskState.RUNNING, begun_ns=begun_ns)


def forecast(*lines: TaskLine, **limits: object) -> dict[str, tuple[float, float]]:
    """The expected start and end of each task, in seconds from now."""
    chosen = QueueLimits(**{"tasks": 1, "per_bench": {}, **limits})  # type: ignore[arg-type]
    times = forecast_queue(lines, chosen, NOW)
    return {task: ((each.start_ns - NOW) / S, (each.end_ns - NOW) / S) for task, each in times.items()}


def test_an_empty_queue_has_no_forecast() -> None:
    assert forecast() == {}


def test_one_task_begins_now() -> None:
    assert forecast(waits("a")) == {"a": (0, 60)}
    assert forecast(waits("a", 0.0), waits("b")) == {"a": (0, 0), "b": (0, 60)}


def test_one_at_a_time_one_after_the_other() -> None:
    assert forecast(runs("r", 20), waits("a", 30), waits("b", 10)) == {"r": (-20, 40), "a": (40, 70), "b": (70, 80)}


def test_two_at_a_time_each_as_a_place_is_free() -> None:
    lines = [runs("r", 20), waits("a", 100), waits("b", 10), waits("c", 5)]
    assert forecast(*lines, tasks=2) == {"r": (-20, 40), "a": (0, 100), "b": (40, 50), "c": (50, 55)}


def test_what_takes_longer_than_expected_is_taken_to_end_now() -> None:
    assert forecast(runs("r", 500), waits("a")) == {"r": (-500, -440), "a": (0, 60)}


def test_more_may_run_than_the_limit_was_lowered_to() -> None:
    lines = [runs("r", 0, 10), runs("s", 0, 20), runs("t", 0, 30), waits("a")]
    assert forecast(*lines, tasks=1)["a"] == (30, 90)
    assert forecast(*lines, tasks=2)["a"] == (20, 80)


def test_a_full_bench_holds_its_tasks_back_and_lets_others_by() -> None:
    lines = [runs("r", 0, 50, bench="lab"), waits("a", bench="lab"), waits("b", 10), waits("c", bench="lab")]
    expected = {"r": (0, 50), "a": (50, 110), "b": (0, 10), "c": (110, 170)}
    assert forecast(*lines, tasks=3, per_bench={"lab": 1}) == expected


def test_a_busy_submitter_lets_others_by() -> None:
    lines = [waits("a", 30), waits("b", 30), waits("c", 30, submitter="bob"), waits("d", 30, submitter="bob")]
    expected = {"a": (0, 30), "b": (30, 60), "c": (0, 30), "d": (30, 60)}
    assert forecast(*lines, tasks=4, per_submitter=1) == expected


def test_the_place_of_a_task_that_was_held_back_is_kept() -> None:
    lines = [runs("r", 0, 20, bench="lab"), waits("a", 10, bench="lab"), waits("b", 20), waits("c", 5), waits("d", 5)]
    times = forecast(*lines, tasks=2, per_bench={"lab": 1})
    assert times == {"r": (0, 20), "b": (0, 20), "a": (20, 30), "c": (20, 25), "d": (25, 30)}


def test_tasks_of_other_sites_have_no_forecast_and_take_no_place() -> None:
    lines = [runs("r", 0, site="rack7"), waits("a", site="rack7"), waits("b")]
    assert forecast(*lines) == {"b": (0, 60)}


def test_each_machine_takes_as_many_and_an_account_is_one_for_all() -> None:
    lines = [waits("a", bench="lab"), waits("b", bench="lab"), waits("c"), waits("d")]
    limits = QueueLimits(tasks=2, per_bench={"lab": 1, "ec2": 1})
    times = forecast_queue(lines, limits, NOW, machines=2)
    assert {task: (each.start_ns - NOW) / S for task, each in times.items()} == {"a": 0, "b": 0, "c": 0, "d": 60}


def test_a_running_task_keeps_its_own_times() -> None:
    assert forecast_queue([runs("r", 1, 3)], QueueLimits(per_bench={}), NOW) == {
        "r": ExpectedTimes(start_ns=NOW - S, end_ns=NOW + 2 * S)
    }


@pytest.mark.parametrize("seed", range(30))
def test_it_is_what_happens_when_all_take_as_long_as_expected(seed: int) -> None:
    """Against a simulation that claims as the queue does: the first, in order, whom no limit holds back."""
    drawn = random.Random(seed)
    limits = QueueLimits(
        tasks=drawn.randint(1, 4), per_bench={"lab": drawn.randint(1, 2)}, per_submitter=drawn.choice([None, 1, 2])
    )
    lines = [
        waits(str(number), drawn.randint(1, 50), bench=drawn.choice(["lab", "ec2"]), submitter=drawn.choice("abc"))
        for number in range(40)
    ]
    times = forecast_queue(lines, limits, NOW)
    assert {task: each.start_ns for task, each in times.items()} == simulate(lines, limits)


def simulate(lines: list[TaskLine], limits: QueueLimits) -> dict[str, int]:
    starts: dict[str, int] = {}
    waiting, running, now = list(lines), list[tuple[int, TaskLine]](), NOW
    while waiting:
        running = [(end, line) for end, line in running if end > now]
        benches = Counter(line.bench for _, line in running)
        submitters = Counter(line.submitter for _, line in running)
        free = len(running) < limits.tasks
        may = [
            line
            for line in waiting
            if free
            and benches[line.bench] < limits.per_bench.get(line.bench, 99)
            and submitters[line.submitter] < (limits.per_submitter or 99)
        ]
        if may:
            waiting.remove(may[0])
            starts[may[0].task] = now
            running.append((now + round(may[0].expected_s * S), may[0]))
        else:
            now = min(end for end, _ in running)
    return starts


def test_a_long_queue_takes_no_second() -> None:
    lines = [waits(str(n), 60, bench=("lab", "ec2")[n % 2], submitter=f"s{n % 50}") for n in range(10_000)]
    begun = time.process_time()
    times = forecast_queue(lines, QueueLimits(tasks=4, per_bench={"lab": 1}, per_submitter=2), NOW)
    assert len(times) == 10_000
    assert time.process_time() - begun < 1
