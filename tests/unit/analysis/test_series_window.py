"""Any part of a measurement fits into the columns of a plot, and no extreme value is lost."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.series_window import HostSeries, Window, choose_window, make_host_series, reduce_window
from harness.model import Evidence


def day_of_samples(slots: int = 86_400, interval_s: float = 1.0) -> HostSeries:
    """A day, one sample a second, with one spike."""
    numbers = np.arange(slots)
    offset_ns = (100 * np.sin(numbers / 900)).astype(np.int64)
    offset_ns[slots // 2] = 90_000
    return HostSeries(
        interval_s=interval_s,
        slots=slots,
        begin_utc_ns=10**18,
        reading_slots=numbers,
        offset_ns=offset_ns,
        delay_ns=np.full(slots, 4000),
        bound_slots=numbers,
        bound_ns=np.full(slots, 20_000),
        bound_has_device=True,
    )


def test_a_spike_of_one_second_in_a_day_is_in_its_column() -> None:
    series = day_of_samples()
    window = choose_window([series], from_s=0.0, to_s=None, most_columns=800)
    assert window == Window(first_ns=0, column_ns=108 * 10**9, columns=800)
    drawn = reduce_window(series, window)
    assert drawn.offset_ns.greatest[43_200 // 108] == 90_000
    assert max(value for value in drawn.offset_ns.greatest if value is not None) == 90_000


def test_a_part_has_as_much_detail_as_there_is() -> None:
    series = day_of_samples()
    window = choose_window([series], from_s=43_190.0, to_s=43_210.0, most_columns=800)
    assert window == Window(first_ns=43_190 * 10**9, column_ns=10**9, columns=20)
    drawn = reduce_window(series, window)
    assert drawn.offset_ns.least == drawn.offset_ns.greatest
    assert drawn.offset_ns.greatest[10] == 90_000


@pytest.mark.parametrize(
    ("from_s", "to_s", "columns"), [(0.0, 0.0, 1), (1e9, None, 1), (5.0, 1.0, 1), (0.0, 1e9, 60), (59.5, 60.0, 1)]
)
def test_a_part_beyond_the_ends_is_what_is_left_of_it(from_s: float, to_s: float | None, columns: int) -> None:
    series = day_of_samples(60)
    window = choose_window([series], from_s=from_s, to_s=to_s, most_columns=800)
    assert window.columns == columns
    assert len(reduce_window(series, window).offset_ns.least) == columns


def test_hosts_that_were_measured_at_different_intervals_share_columns() -> None:
    often, rarely = day_of_samples(600, 1.0), day_of_samples(60, 10.0)
    window = choose_window([often, rarely], from_s=0.0, to_s=None, most_columns=800)
    assert window == Window(first_ns=0, column_ns=10 * 10**9, columns=60)
    for series in (often, rarely):
        assert None not in reduce_window(series, window).offset_ns.least


def test_what_was_not_seen_is_no_value() -> None:
    series = day_of_samples(10)
    seen = np.array([0, 1, 9])
    series = replace(series, reading_slots=seen, offset_ns=np.array([1, 2, 3]), delay_ns=np.array([4, 5, 6]))
    series = replace(series, bound_slots=seen[:0], bound_ns=seen[:0])
    drawn = reduce_window(series, Window(first_ns=0, column_ns=2 * 10**9, columns=5))
    assert drawn.offset_ns.least == (1, None, None, None, 3)
    assert drawn.offset_ns.greatest == (2, None, None, None, 3)
    assert drawn.bound_ns.least == (None,) * 5
    beyond = reduce_window(series, Window(first_ns=3 * 10**9, column_ns=10**9, columns=4))
    assert beyond.offset_ns.least == (None,) * 4


@given(st.data())
def test_no_extreme_value_is_lost(data: st.DataObject) -> None:
    slots = sorted(data.draw(st.sets(st.integers(0, 300), min_size=1)))
    values = data.draw(st.lists(st.integers(-(10**9), 10**9), min_size=len(slots), max_size=len(slots)))
    series = replace(
        day_of_samples(slots[-1] + 1),
        reading_slots=np.array(slots),
        offset_ns=np.array(values),
        delay_ns=np.array(values),
    )
    from_s, to_s = data.draw(st.integers(0, 300)), data.draw(st.integers(0, 301))
    window = choose_window([series], from_s=from_s, to_s=to_s, most_columns=data.draw(st.integers(1, 400)))
    first, end = window.first_ns // 10**9, (window.first_ns + window.columns * window.column_ns) // 10**9
    inside = [value for slot, value in zip(slots, values, strict=True) if first <= slot < end]
    drawn = reduce_window(series, window).offset_ns
    assert max((value for value in drawn.greatest if value is not None), default=None) == max(inside, default=None)
    assert min((value for value in drawn.least if value is not None), default=None) == min(inside, default=None)
    assert sum(value is not None for value in drawn.least) <= max(len(inside), 0)


def test_the_series_of_a_good_host(good: Evidence) -> None:
    series = make_host_series(good, interval_s=1.0)
    assert series is not None
    assert (series.slots, series.length_s, series.bound_has_device) == (120, 120.0, True)
    assert series.begin_utc_ns == good.samples[0].utc_ns  # type: ignore[index]
    assert {*series.offset_ns.tolist()} == {-50}
    assert make_host_series(Evidence(), interval_s=1.0) is None
    unread = tuple(replace(sample, reads=None) for sample in good.samples or ())
    assert make_host_series(replace(good, samples=unread), interval_s=1.0) is None
    late = replace(good, samples=tuple(good.samples or ())[7:])
    begun_late = make_host_series(late, interval_s=1.0)
    assert begun_late is not None
    assert (begun_late.begin_utc_ns, begun_late.slots) == (series.begin_utc_ns, 120)
