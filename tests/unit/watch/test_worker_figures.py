"""A worker's machine is measured beside others, and again while it works."""

from harness.watch.worker_figures import MachineScore, measure_parsing_us


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_worker_that_began_beside_much_other_work_is_not_slow_for_ever() -> None:
    clock, measured_us = Clock(), [280.0] * 5
    score = MachineScore(lambda: measured_us[-1], clock)
    assert score.read() == 0.25
    measured_us.append(75.0)
    clock.now_s = 59.0
    assert score.read() == 0.25, "measured once a minute"
    clock.now_s = 60.0
    assert score.read() == 1.0


def test_what_else_runs_later_moves_no_streams() -> None:
    clock, measured_us = Clock(), [70.0] * 5
    score = MachineScore(lambda: measured_us[-1], clock)
    for now_s, each_us in ((61.0, 300.0), (122.0, 72.0), (183.0, 60.0), (244.0, 900.0)):
        clock.now_s = now_s
        measured_us.append(each_us)
        assert score.read() == 1.0


def test_the_measured_answer_is_one_that_the_sampler_writes() -> None:
    assert 5 < measure_parsing_us() < 5000
    assert MachineScore().read() > 0
