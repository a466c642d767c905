"""What keeps pods from their work is told in a sentence, the gravest first."""

from typing import Any, cast

import pytest
from lightkube.resources.core_v1 import Pod

from harness.cluster.pod_states import find_trouble


def pod(phase: str, *, state: dict[str, Any] | None = None, conditions: list[dict[str, Any]] | None = None) -> Pod:
    container = {"name": "harness", "image": "i", "imageID": "", "ready": False, "restartCount": 0}
    status = {"phase": phase, "containerStatuses": [container | {"state": state or {}}], "conditions": conditions or []}
    return cast(Pod, Pod.from_dict({"metadata": {"name": "ptp-k3f9mq-shared-0-0-x"}, "status": status}))


RUNS = pod("Running", state={"running": {"startedAt": "2026-11-30T08:00:00Z"}})
NO_IMAGE = pod("Pending", state={"waiting": {"reason": "ImagePullBackOff", "message": 'Back-off pulling "x/y:1"'}})
NO_NODE = pod(
    "Pending",
    conditions=[{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes: cpu"}],
)
DIED = pod(
    "Failed", state={"terminated": {"exitCode": 75, "reason": "Error", "message": "first\nthe ledger is away\n"}}
)


def test_pods_that_run_are_no_trouble() -> None:
    assert find_trouble([]) is None
    assert find_trouble([RUNS, pod("Pending", state={"waiting": {"reason": "ContainerCreating"}})]) is None


def test_an_image_that_is_not_there_lasts_and_stands_before_all_else() -> None:
    trouble = find_trouble([DIED, NO_NODE, NO_IMAGE])
    assert trouble is not None
    assert str(trouble) == ('pod ptp-k3f9mq-shared-0-0-x does not start: ImagePullBackOff: Back-off pulling "x/y:1"')
    assert trouble.lasting
    assert "name of the image" in trouble.remedy


def test_a_pod_without_a_node_may_get_one() -> None:
    trouble = find_trouble([NO_NODE])
    assert trouble is not None
    assert str(trouble) == "pod ptp-k3f9mq-shared-0-0-x has no node: 0/3 nodes: cpu"
    assert not trouble.lasting


def test_a_pod_that_failed_is_tried_again() -> None:
    trouble = find_trouble([DIED])
    assert trouble is not None
    assert str(trouble) == (
        "a pod failed and is tried again: pod ptp-k3f9mq-shared-0-0-x ended with status 75: first the ledger is away"
    )
    assert not trouble.lasting


@pytest.mark.parametrize(
    ("reason", "lasting"), [("PodFailurePolicy", True), ("DeadlineExceeded", True), ("BackoffLimitExceeded", False)]
)
def test_a_job_that_has_failed_says_why(reason: str, lasting: bool) -> None:
    trouble = find_trouble([DIED], ended_because=reason)
    assert trouble is not None
    assert str(trouble).startswith(f"their Job ended with {reason}: pod ptp-k3f9mq-shared-0-0-x ended with status 75")
    assert trouble.lasting is lasting
    assert trouble.remedy


def test_words_of_a_pod_steer_no_terminal() -> None:
    hostile = pod("Failed", state={"terminated": {"exitCode": 1, "message": "\x1b[2J" + "x" * 5000}})
    text = str(find_trouble([hostile]))
    assert "\x1b" not in text
    assert len(text) < 500
