"""Student's t distribution is that of scipy, which tests alone use."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from harness.analysis import student


@given(st.floats(-50, 50), st.floats(1, 500))
def test_the_upper_tail_is_that_of_scipy(value: float, freedom: float) -> None:
    assert student.upper_tail(value, freedom) == pytest.approx(stats.t.sf(value, freedom), rel=1e-7, abs=1e-14)


@given(st.floats(1e-4, 1 - 1e-4), st.floats(1, 500))
def test_the_quantile_is_that_of_scipy(share: float, freedom: float) -> None:
    assert student.quantile(share, freedom) == pytest.approx(stats.t.ppf(share, freedom), rel=1e-6, abs=1e-6)
