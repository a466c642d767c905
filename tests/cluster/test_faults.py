"""Faults of a real cluster, in campaigns of scripted hosts: no verdict is lost or doubled, and no host is left.

PTP_HARNESS_TEST_CLUSTER_FAULTS=300 injects so many, as `make soak` does; PTP_HARNESS_TEST_SEED draws others.
"""

import os
import statistics
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster.conftest import Team
from tests.programs import cluster_faults

FAULTS = int(os.environ.get("PTP_HARNESS_TEST_CLUSTER_FAULTS", "6"))
SEED = int(os.environ.get("PTP_HARNESS_TEST_SEED", "1"))

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600 + 180 * FAULTS), pytest.mark.xdist_group("guests")]


def test_faults_of_a_cluster_lose_and_double_nothing(
    shared_team: Team, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    runs = cluster_faults.begin(shared_team, tmp_path, SEED)
    try:
        runs.go_on(FAULTS)
    finally:
        runs.bench.close()
    by_kind = ", ".join(f"{number} {kind}" for kind, number in sorted(runs.counted.items()))
    record_property("counted", f"{runs.counted.total()} faults in {runs.campaigns} campaigns: {by_kind}")
    back_s = [seconds for each in runs.back_s.values() for seconds in each]
    if back_s:
        middle, longest = statistics.median(back_s), max(back_s)
        record_property(
            "counted", f"{len(back_s)} times a coordinator led again: after {middle:.1f} s, at most {longest:.1f} s"
        )
    assert runs.faults == []
    assert runs.counted.total() >= FAULTS
    busy = max(1.0, os.getloadavg()[0] / len(os.sched_getaffinity(0)))
    assert max(back_s, default=0.0) <= cluster_faults.BACK_WITHIN_S * busy
