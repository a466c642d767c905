"""The deviations and MTIE agree with published values, with their definitions, and with what is known of a series."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis import stability
from harness.analysis.offset_series import OffsetSeries, make_series
from harness.analysis.stability import Deviations, compute_deviations
from harness.analysis.time_interval_error import MtieTable, compute_mtie
from harness.campaign.masks import Mask, Segment

NBS14_FREQUENCIES = (892, 809, 823, 798, 671, 644, 883, 903, 677)  # NIST SP 1065, table 30
OFFSETS = st.lists(st.one_of(st.integers(-2000, 2000), st.none()), min_size=4, max_size=40).filter(
    lambda offsets: offsets[0] is not None and offsets[-1] is not None
)
WHOLE = st.lists(st.integers(-(10**6), 10**6), min_size=4, max_size=60)


def series_of(offsets: list[int | None], slot_s: float = 1.0) -> OffsetSeries:
    """A series of one offset each slot; None is a gap."""
    readings = [(slot, offset) for slot, offset in enumerate(offsets) if offset is not None]
    return make_series([slot for slot, _ in readings], [offset for _, offset in readings], slot_s=slot_s)


def at(offsets: list[int | None], window: int) -> Deviations:
    (deviations,) = compute_deviations(series_of(offsets), [window])
    return deviations


def test_the_nine_point_series_of_nbs_monograph_140_has_its_published_deviations() -> None:
    offsets: list[int | None] = [0]
    for frequency in NBS14_FREQUENCIES:
        offsets.append((offsets[-1] or 0) + frequency)
    one, two = compute_deviations(series_of(offsets), [1, 2])
    published = {
        (one, "adev"): 91.22945,
        (one, "mdev"): 91.22945,
        (one, "hdev"): 70.80607,
        (one, "tdev_ns"): 52.67135,
        (two, "adev"): 85.95287,
        (two, "mdev"): 74.78849,
        (two, "hdev"): 85.61487,
        (two, "tdev_ns"): 86.35831,
    }
    for (deviations, name), value in published.items():
        computed = getattr(deviations, name) * (1 if name == "tdev_ns" else 1e9)
        assert computed == pytest.approx(value, rel=1e-7), (deviations.slots, name)


def mean_of_squares(terms: list[float]) -> float:
    return sum(term * term for term in terms) / len(terms)


@given(OFFSETS, st.integers(1, 12))
def test_every_deviation_is_that_of_its_definition(offsets: list[int | None], window: int) -> None:
    """With gaps: differences whose points were all seen, and means of windows of which nine tenths were.

    The line through the ends is taken away first, which matters in the mean of a window with a gap alone.
    """
    count = len(offsets)
    slope = ((offsets[-1] or 0) - (offsets[0] or 0)) / (count - 1)

    def combine(places: list[int], factors: tuple[int, ...]) -> float | None:
        values = [offsets[place] for place in places]
        if any(value is None for value in values):
            return None
        return sum(factor * (value or 0) for factor, value in zip(factors, values, strict=True))

    def differences(factors: tuple[int, ...]) -> list[float]:
        span = window * (len(factors) - 1)
        terms = [
            combine([start + number * window for number in range(len(factors))], factors)
            for start in range(count - span)
        ]
        return [term for term in terms if term is not None]

    def mean(start: int) -> float | None:
        places = range(start, start + window)
        present = [value - slope * place for place in places if (value := offsets[place]) is not None]
        return sum(present) / len(present) if len(present) >= stability.LEAST_COVER * window else None

    modified = []
    for start in range(count - 3 * window + 1):
        first, second, third = (mean(start + number * window) for number in range(3))
        if first is not None and second is not None and third is not None:
            modified.append(first - 2 * second + third)
    found, enough = at(offsets, window), count > 3 * window
    for value, terms, divisor, counted in (
        (found.adev, differences((1, -2, 1)), 2, found.adev_terms),
        (found.hdev, differences((-1, 3, -3, 1)), 6, found.hdev_terms),
        (found.mdev, modified, 2, found.mdev_terms),
    ):
        assert counted == len(terms)
        if not terms or not enough:
            assert value is None
            continue
        wanted = math.sqrt(mean_of_squares(terms) / divisor) / window * 1e-9
        assert value == pytest.approx(wanted, rel=1e-6, abs=1e-17)
    ties = differences((-1, 1))
    if ties:
        assert found.tie_rms_ns == pytest.approx(math.sqrt(mean_of_squares(ties)), rel=1e-6, abs=1e-6)


def test_a_line_that_was_taken_away_leaves_a_gap_without_effect() -> None:
    """A pure drift has no deviation, whatever of it was not seen."""
    drifting: list[int | None] = [7 * slot for slot in range(60)]
    for gap in (13, 14, 40):
        drifting[gap] = None
    for deviations in compute_deviations(series_of(drifting), [1, 2, 4, 10]):
        assert deviations.adev == pytest.approx(0, abs=1e-20)
        assert deviations.tdev_ns is None or deviations.tdev_ns == pytest.approx(0, abs=1e-9)
        assert deviations.tie_rms_ns == pytest.approx(7 * deviations.slots)


@given(WHOLE, st.integers(2, 50), st.integers(-(10**6), 10**6))
def test_scaled_offsets_scale_the_deviations_and_a_shift_does_not_matter(
    offsets: list[int], factor: int, shift: int
) -> None:
    before, after = at([*offsets], 1), at([offset * factor + shift for offset in offsets], 1)
    for name in ("adev", "hdev", "mdev", "tdev_ns", "tie_rms_ns"):
        value, scaled = getattr(before, name), getattr(after, name)
        assert (value is None) == (scaled is None)
        assert value is None or scaled == pytest.approx(value * factor, rel=1e-6, abs=1e-6)


@given(WHOLE)
def test_reversed_time_has_the_same_deviations(offsets: list[int]) -> None:
    forth, back = at([*offsets], 1), at(offsets[::-1], 1)
    assert forth.adev == pytest.approx(back.adev, rel=1e-9, abs=1e-18)
    assert forth.tie_rms_ns == pytest.approx(back.tie_rms_ns, rel=1e-9, abs=1e-9)


def test_averaging_times_end_where_three_windows_do_not_fit() -> None:
    assert stability.octaves(3) == stability.per_decade(3) == []
    assert stability.octaves(4) == stability.per_decade(4) == [1]
    assert stability.octaves(3601) == [2**power for power in range(11)]
    taus = stability.per_decade(86_401)
    assert (taus[0], taus[-1] <= 28_800, taus == sorted({*taus})) == (1, True, True)
    assert all(later / earlier < 1.11 for earlier, later in pairwise(taus) if earlier >= 30)
    with pytest.raises(ValueError, match="at least one slot"):
        compute_deviations(series_of([0, 1, 2, 3]), [0])


# --- MTIE -----------------------------------------------------------------------------------------------------------


def mtie(offsets: list[int | None], window: int) -> int:
    """By its definition: the largest span within any window of so many slots."""
    spans = [0]
    for start in range(len(offsets) - window):
        present = [offset for offset in offsets[start : start + window + 1] if offset is not None]
        spans += [max(present) - min(present)] if present else []
    return max(spans)


@given(OFFSETS)
def test_mtie_is_that_of_its_definition_at_every_interval(offsets: list[int | None]) -> None:
    table = MtieTable(series_of(offsets))
    wanted = [mtie(offsets, window) for window in range(1, len(offsets))]
    assert table.compute_all() == wanted
    found = compute_mtie(series_of(offsets), range(1, len(offsets)))
    assert [point.mtie_ns for point in found] == wanted
    for point in found:
        windows = [offsets[start : start + point.slots + 1] for start in range(len(offsets) - point.slots)]
        assert point.whole_share == pytest.approx(sum(None not in window for window in windows) / len(windows))


@given(OFFSETS, st.lists(st.integers(0, 500), min_size=40, max_size=40))
def test_mtie_at_octaves_is_that_of_each_interval_alone(offsets: list[int | None], readings: list[int]) -> None:
    series = series_of(offsets)
    series = replace(series, reading_ns=np.asarray(readings[: len(series)], dtype=series.offsets_ns.dtype))
    windows = [window for window in (1, 2, 4, 8, 16, 32) if window < len(series)]
    alone = [point for window in windows for point in compute_mtie(series, [window, 1])[:1]]
    by_tables = [compute_mtie(series, [window, 3])[0] if len(series) > 3 else point
                 for window, point in zip(windows, alone, strict=True)]  # fmt: skip
    assert compute_mtie(series, windows) == alone == by_tables


@given(OFFSETS, st.integers(1, 3000), st.integers(0, 100), st.integers(2, 30), st.integers(1, 3000))
def test_a_mask_is_proven_for_every_interval_or_an_excess_is_shown(
    offsets: list[int | None], constant: int, slope: int, edge: int, level: int
) -> None:
    """The second segment may be lower than the end of the first."""
    mask = Mask(
        [
            Segment(above_s=1, to_s=edge, constant_ns=constant, slope_ns_per_s=slope),
            Segment(above_s=edge, to_s=None, constant_ns=level),
        ]
    )
    above = [
        window
        for window in range(1, len(offsets))
        if (limit_ns := mask.limit_ns(window)) is not None and mtie(offsets, window) > limit_ns
    ]
    excess = MtieTable(series_of(offsets)).find_excess(mask)
    if excess is None:
        assert above == []
    else:
        assert excess.slots in above
        assert (excess.mtie_ns, excess.mask_ns) == (mtie(offsets, excess.slots), mask.limit_ns(excess.slots))


EDGES = st.sampled_from([0, 1, 16382, 16383, 16384, 32765, 32766, 32767, 32768])


@given(
    st.lists(st.one_of(EDGES, st.none()), min_size=2, max_size=12),
    st.integers(-(10**6), 10**6),
    st.integers(0, 20_000),
)
def test_offsets_near_the_ends_of_16_bits_have_the_mtie_of_the_definition(
    edges: list[int | None], constant: int, reading_ns: int
) -> None:
    """Nominal, least and greatest: each offset is uncertain by as much as every other one."""
    offsets = [constant, *(None if edge is None else constant + edge for edge in edges), constant]
    series = series_of(offsets)
    series = replace(series, reading_ns=np.full(len(offsets), reading_ns, dtype=series.offsets_ns.dtype))
    for windows in (range(1, len(offsets)), [window for window in (1, 2, 4, 8) if window < len(offsets)]):
        for point in compute_mtie(series, windows):
            nominal, seen = mtie(offsets, point.slots), may_be_apart(offsets, point.slots)
            assert point.mtie_ns == nominal
            assert point.low_ns == max(nominal - 2 * reading_ns, 0)
            assert point.high_ns == (nominal + 2 * reading_ns if seen else 0)


def may_be_apart(offsets: list[int | None], window: int) -> bool:
    """Whether any window of so many slots has an offset that was seen."""
    return any(offset is not None for start in range(len(offsets) - window) for offset in offsets[start:][: window + 1])


def test_large_offsets_do_not_overflow() -> None:
    offsets: list[int | None] = [-(3 * 10**9), None, 3 * 10**9, 0]
    assert MtieTable(series_of(offsets)).compute_all() == [3 * 10**9, 6 * 10**9, 6 * 10**9]
    assert MtieTable(series_of([-(2**29), None, None, 2**29])).compute_all() == [0, 0, 2**30]


def test_a_window_that_does_not_fit_is_refused() -> None:
    table = MtieTable(series_of([0, 1, 2]))
    for slots in (0, 3):
        with pytest.raises(ValueError, match="not within the series of 3 offsets"):
            table.compute(slots)


# --- the series -----------------------------------------------------------------------------------------------------


def test_a_slot_without_an_offset_is_a_gap() -> None:
    series = make_series([7, 8, 11, 13], [5, 6, 7, 8], slot_s=1.0)
    assert series.offsets_ns.tolist() == [5, 6, 0, 0, 7, 0, 8]
    assert series.seen.tolist() == [True, True, False, False, True, False, True]
    assert (series.count, len(series), series.whole) == (4, 7, False)


@pytest.mark.parametrize(
    ("slots", "offsets_ns", "slot_s"),
    [
        ([], [], 1.0),
        ([0, 10**12], [1, 2], 1.0),
        ([0], [1, 2], 1.0),
        ([0, 0], [1, 2], 1.0),
        ([1, 0], [1, 2], 1.0),
        ([0], [1], 0.0),
        ([0], [1], math.nan),
    ],
)
def test_what_is_no_series_is_refused(slots: list[int], offsets_ns: list[int], slot_s: float) -> None:
    with pytest.raises(ValueError, match=r"series needs|do not grow|lasts longer|further apart"):
        make_series(slots, offsets_ns, slot_s=slot_s)
