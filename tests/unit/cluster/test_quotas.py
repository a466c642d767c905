"""Whether quotas leave room for the pods of a run is computed from what these pods request."""

from decimal import Decimal
from typing import Any, cast

import pytest
from lightkube.resources.core_v1 import ResourceQuota

from harness.cluster.jobs import PodOptions, make_suite_job, make_tests_coordinator
from harness.cluster.quotas import describe_room, sum_needs

OPTIONS = PodOptions(image="registry.example/ptp-harness:0.1.0", requests={"cpu": "250m", "memory": "384Mi"})


def make_quota(hard: dict[str, str], used: dict[str, str] | None = None, **spec: Any) -> ResourceQuota:
    status = {"hard": hard, "used": dict.fromkeys(hard, "0") | (used or {})}
    described = {"metadata": {"name": "team"}, "spec": {"hard": hard, **spec}, "status": status}
    return cast(ResourceQuota, ResourceQuota.from_dict(described))


@pytest.fixture
def needs() -> dict[str, Decimal | None]:
    """Of a coordinator's Job of two pods, and of one pod of a suite."""
    leads = make_tests_coordinator("k3f9mq", ["cluster"], OPTIONS)
    return sum_needs([leads, make_suite_job("k3f9mq", "shared", 0, OPTIONS, pods=1, hosts_per_pod=1, owner=None)])


def test_what_pods_request_is_summed_up(needs: dict[str, Decimal | None]) -> None:
    assert (needs["pods"], needs["count/jobs.batch"]) == (3, 2)
    assert needs["requests.cpu"] == needs["cpu"] == Decimal("0.45")
    assert needs["requests.memory"] == 640 * 2**20
    assert needs["limits.cpu"] is None, "no pod has a limit of processors"


@pytest.mark.parametrize(
    ("hard", "used", "tells"),
    [
        ({"pods": "3"}, {}, None),
        ({"pods": "3"}, {"pods": "1"}, "quota team has 1 of 3 pods in use, and 3 are needed"),
        ({"count/pods": "2"}, {}, "quota team has 0 of 2 count/pods in use, and 3 are needed"),
        ({"requests.cpu": "450m"}, {}, None),
        ({"cpu": "1"}, {"cpu": "551m"}, "quota team has 551m of 1 cpu in use, and 0.45 are needed"),
        ({"memory": "640Mi"}, {}, None),
        ({"memory": "639Mi"}, {}, "quota team has 0 of 639Mi memory in use, and 640Mi are needed"),
        ({"limits.cpu": "100"}, {}, "quota team demands limits.cpu of each pod, and pods of runs have none"),
        ({"count/jobs.batch": "1"}, {}, "and 2 are needed"),
        ({"services": "0", "persistentvolumeclaims": "0"}, {}, None),
    ],
)
def test_room_just_enough_and_just_too_little(
    needs: dict[str, Decimal | None], hard: dict[str, str], used: dict[str, str], tells: str | None
) -> None:
    check = describe_room([make_quota(hard, used)], needs)
    assert check.ok is (tells is None)
    assert (tells or "leave room") in check.observed
    assert bool(check.remedy) is not check.ok


@pytest.mark.parametrize("scope", ["Terminating", "BestEffort", "PriorityClass"])
def test_a_quota_of_other_pods_is_none_of_ours(needs: dict[str, Decimal | None], scope: str) -> None:
    assert describe_room([make_quota({"pods": "0"}, scopes=[scope])], needs).ok
    expression = {"matchExpressions": [{"scopeName": scope, "operator": "Exists"}]}
    assert describe_room([make_quota({"pods": "0"}, scopeSelector=expression)], needs).ok
    assert not describe_room([make_quota({"pods": "0"}, scopes=["NotTerminating"])], needs).ok


def test_every_quota_that_lacks_something_is_named(needs: dict[str, Decimal | None]) -> None:
    check = describe_room([make_quota({"pods": "2", "memory": "1Mi"}), make_quota({"cpu": "0"})], needs)
    assert check.observed.count("quota team has") == 3
    assert describe_room([], needs).observed == "none limits the namespace"
