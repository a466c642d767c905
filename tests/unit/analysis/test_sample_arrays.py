"""The values of all samples at once are those of each sample alone."""

import numpy as np
import pytest

from harness.analysis import sample_arrays


@pytest.mark.parametrize(
    ("counters", "grown"),
    [([], 0), ([7], 0), ([7, 7], 0), ([2291, 2300], 9), ([2291, 2300, 4, 10], 19), ([5, 0, 0, 3], 3)],
)
def test_growth_over_a_reset(counters: list[int], grown: int) -> None:
    assert sample_arrays.add_growth(np.array(counters, dtype=np.int64)) == grown
