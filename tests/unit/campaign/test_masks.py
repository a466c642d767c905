"""A mask covers each time once: just inside, on and outside of its edges."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.campaign.masks import Mask, Segment

PRTC_A = (
    Segment(above_s=0.1, to_s=273, constant_ns=25, slope_ns_per_s=0.275),
    Segment(above_s=273, to_s=None, constant_ns=100),
)


def test_each_edge_belongs_to_the_segment_that_ends_there() -> None:
    mask = Mask(PRTC_A)
    assert mask.limit_ns(0.1) is None
    assert mask.limit_ns(math.nextafter(0.1, 1)) == pytest.approx(25.0275)
    assert mask.limit_ns(273) == pytest.approx(100.075)
    assert mask.limit_ns(math.nextafter(273, 300)) == 100
    assert mask.limit_ns(1e9) == 100


@given(st.floats(0.01, 1e5), st.floats(0.01, 1e5))
def test_the_least_limit_is_below_every_limit_of_the_range(one: float, other: float) -> None:
    mask, (first, last) = Mask(PRTC_A), sorted((one, other))
    least = mask.least_limit_ns(first, last)
    inside = [limit for time in (first, (first + last) / 2, last, 273, 273.1) if first <= time <= last
              if (limit := mask.limit_ns(time)) is not None]  # fmt: skip
    if least is None:
        assert inside == []
    else:
        assert all(least <= limit for limit in inside)


@pytest.mark.parametrize(
    ("segments", "words"),
    [
        ([], "needs a segment"),
        ([Segment(above_s=1, to_s=1, constant_ns=1)], "is empty"),
        ([Segment(above_s=-1, to_s=1, constant_ns=1)], "is empty"),
        ([Segment(above_s=0, to_s=math.nan, constant_ns=1)], "is empty"),
        ([Segment(above_s=0, to_s=None, constant_ns=1, slope_ns_per_s=-1)], "does not fall"),
        ([Segment(above_s=0, to_s=1, constant_ns=0)], "not above 0"),
        ([Segment(above_s=0, to_s=10, constant_ns=5, slope_ns_per_s=-1)], "not above 0"),
        ([Segment(above_s=0, to_s=1, constant_ns=1), Segment(above_s=2, to_s=3, constant_ns=1)], "gap between"),
        ([Segment(above_s=0, to_s=2, constant_ns=1), Segment(above_s=1, to_s=3, constant_ns=1)], "overlap between"),
    ],
)
def test_what_is_no_mask_is_refused(segments: list[Segment], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Mask(segments)
