"""Ticks go on by the clock that nobody sets, whatever happens to the one that is measured."""

from hypothesis import given
from hypothesis import strategies as st

from harness.watch import grid
from harness.watch.grid import Grid

INTERVAL = st.sampled_from([0.2, 0.5, 1.0, 2.0, 10.0, 60.0])
UTC_NS = 1_795_233_824 * 10**9


class Clocks:
    """The clocks of a machine, which a test sets."""

    def __init__(self) -> None:
        self.boot_ns, self.wall_ns = 5 * 10**9, UTC_NS

    def grid(self) -> Grid:
        return Grid(boot_ns=lambda: self.boot_ns, wall_ns=lambda: self.wall_ns)

    def pass_s(self, seconds: float) -> None:
        self.boot_ns += round(seconds * 1e9)
        self.wall_ns += round(seconds * 1e9)


def test_a_step_of_the_wall_clock_changes_no_tick_and_is_seen() -> None:
    clocks = Clocks()
    made = clocks.grid()
    assert (made.now_ns(), made.wall_apart_s()) == (UTC_NS, 0.0)
    clocks.pass_s(3)
    clocks.wall_ns -= 3600 * 10**9
    assert made.now_ns() == UTC_NS + 3 * 10**9
    assert made.wall_apart_s() == -3600


def test_a_grid_that_is_more_than_two_seconds_off_is_told_and_a_slow_answer_is_not() -> None:
    made = Clocks().grid()
    assert made.compare(UTC_NS, asked_ns=UTC_NS - 10**8, answered_ns=UTC_NS + 10**8) is None
    assert made.compare(UTC_NS, asked_ns=UTC_NS - 10**9, answered_ns=UTC_NS + 60 * 10**9) is None
    assert made.compare(UTC_NS, asked_ns=UTC_NS + 2 * 10**9, answered_ns=UTC_NS + 3 * 10**9) is None
    assert made.compare(UTC_NS, asked_ns=UTC_NS + 3 * 10**9, answered_ns=UTC_NS + 4 * 10**9) == 3.0
    assert made.compare(UTC_NS, asked_ns=UTC_NS - 3601 * 10**9, answered_ns=UTC_NS - 3600 * 10**9) == -3600.0


def test_a_grid_may_begin_anew_by_the_ledger_s_time() -> None:
    clocks = Clocks()
    made = clocks.grid()
    made.begin_anew(UTC_NS + 7 * 10**9)
    assert (made.now_ns(), made.wall_apart_s()) == (UTC_NS + 7 * 10**9, 0.0), "nobody has set the wall clock"
    clocks.wall_ns += 3600 * 10**9
    assert made.wall_apart_s() == 3600.0


@given(st.integers(0, 2**62), INTERVAL)
def test_a_moment_lies_in_its_tick(time_ns: int, interval_s: float) -> None:
    tick = grid.tick_at(time_ns, interval_s)
    assert grid.begin_of(tick, interval_s) <= time_ns < grid.begin_of(tick + 1, interval_s)
    assert grid.tick_at(grid.begin_of(tick, interval_s), interval_s) == tick


@given(st.text(max_size=40), INTERVAL)
def test_a_stream_is_asked_in_the_first_half_of_its_tick_and_always_at_the_same_place(
    stream: str, interval_s: float
) -> None:
    phase_ns = grid.phase_of(stream, interval_s)
    assert 0 <= phase_ns < 0.5 * interval_s * 1e9
    assert grid.phase_of(stream, interval_s) == phase_ns


def test_streams_are_spread_over_the_interval() -> None:
    places = {grid.phase_of(f"host-{number}", 1.0) // 40_000_000 for number in range(200)}
    assert places == {*range(10)}
