"""Tell what keeps pods from their work: they do not start, they cannot be placed, or they ended with an error."""

import datetime
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lightkube.models.core_v1 import ContainerStatus
from lightkube.resources.core_v1 import Pod

from harness.cluster.jobs import name_of
from harness.untrusted.plain_text import one_line

_MOST_CHARACTERS = 400
_BEGINS_WITHIN_S = 10.0
_LASTING = {
    "ErrImagePull": "see whether the name of the image is right, and whether the nodes may pull it",
    "ImagePullBackOff": "see whether the name of the image is right, and whether the nodes may pull it",
    "ErrImageNeverPull": "bring the image to the nodes, or choose another policy: `--pull IfNotPresent`",
    "InvalidImageName": "see whether the name of the image is right",
    "CreateContainerConfigError": "see whether the secret has all its keys: `ptp-harness cluster smoke`",
    "CreateContainerError": "`kubectl describe pod` of such a pod says more",
    "RunContainerError": "`kubectl describe pod` of such a pod says more",
}
"""Why a container waits, where waiting seldom helps; and what to do."""


@dataclass(frozen=True, slots=True)
class PodTrouble:
    """A cause that keeps pods from their work. `lasting`: it does not pass by itself. `remedy`: "" if unknown."""

    text: str
    lasting: bool
    remedy: str = ""

    def __str__(self) -> str:
        return self.text


def find_trouble(pods: Sequence[Pod], *, ended_because: str | None = None) -> PodTrouble | None:
    """Find what keeps pods from their work, the gravest first. `ended_because`: why their Job has failed, if it has."""
    waiting = _find_waiting(pods)
    if waiting is not None:
        return waiting
    failed = _describe_failed(pods)
    if ended_because is not None:
        lasting = ended_because in ("PodFailurePolicy", "DeadlineExceeded")
        text = f"their Job ended with {ended_because}" + (f": {failed}" if failed else "")
        return make_trouble(text, lasting=lasting, remedy=_REMEDIES.get(ended_because, ""))
    unplaced = _find_unplaced(pods)
    if unplaced is not None:
        return unplaced
    return make_trouble(f"a pod failed and is tried again: {failed}", lasting=False) if failed else None


def make_trouble(text: str, *, lasting: bool, remedy: str = "") -> PodTrouble:
    """Describe a trouble by what Kubernetes or a pod says of it."""
    return PodTrouble(one_line(text, _MOST_CHARACTERS), lasting, remedy)


_REMEDIES = {
    "PodFailurePolicy": "the pod refused its work: `ptp-harness cluster logs RUN` shows it whole",
    "DeadlineExceeded": "divide the campaign into several: its Jobs may take a day",
    "BackoffLimitExceeded": "`ptp-harness cluster logs RUN` shows what the pods printed",
}


def _find_waiting(pods: Iterable[Pod]) -> PodTrouble | None:
    for pod in pods:
        for status in _container_statuses(pod):
            waiting = status.state and status.state.waiting
            if waiting and waiting.reason in _LASTING:
                text = f"pod {name_of(pod)} does not start: {waiting.reason}: {waiting.message or status.image}"
                return make_trouble(text, lasting=True, remedy=_LASTING[waiting.reason])
    return None


def _find_unplaced(pods: Iterable[Pod]) -> PodTrouble | None:
    for pod in pods:
        for condition in (pod.status and pod.status.conditions) or ():
            if condition.type == "PodScheduled" and condition.status == "False":
                text = f"pod {name_of(pod)} has no node: {condition.message or condition.reason}"
                return PodTrouble(
                    one_line(text, _MOST_CHARACTERS),
                    lasting=False,
                    remedy="more nodes, or smaller requests of the pods",
                )
    return None


def is_unplaced(pod: Pod) -> bool:
    """Whether the scheduler found no node for a pod."""
    return _find_unplaced([pod]) is not None


def _describe_failed(pods: Iterable[Pod]) -> str:
    return next(iter(describe_failed_pods(pods)), "")


def find_held_up(pods: Iterable[Pod]) -> Pod | None:
    """Find a pod that has a node and does not begin for a while, such as one whose secret is not there.

    What keeps it is told by its events alone.
    """
    long_ago = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=_BEGINS_WITHIN_S)
    for pod in pods:
        made = pod.metadata and pod.metadata.creationTimestamp
        if made and made < long_ago and pod.status and pod.status.phase == "Pending" and pod.spec and pod.spec.nodeName:
            return pod
    return None


def is_cut_off(pod: Pod) -> bool:
    """Whether a pod runs by the word of a node that no longer answers: the control plane then calls it not ready.

    Its containers stay ready by that word; one that the node itself starts again is not.
    """
    conditions = (pod.status and pod.status.conditions) or ()
    ready = all(status.ready for status in _container_statuses(pod))
    return ready and any(condition.type == "Ready" and condition.status == "False" for condition in conditions)


def describe_failed_pods(pods: Iterable[Pod]) -> list[str]:
    """Say of each pod that failed how it ended."""
    return [_describe_failed_pod(pod) for pod in pods if pod.status is not None and pod.status.phase == "Failed"]


def _describe_failed_pod(pod: Pod) -> str:
    for status in _container_statuses(pod):
        ended = status.state and status.state.terminated
        if ended and ended.exitCode != 0:
            words = read_problem(ended.message or ended.reason or "")
            return f"pod {name_of(pod)} ended with status {ended.exitCode}: {words}"
    reason, message = (pod.status.reason, pod.status.message) if pod.status else ("", "")
    return f"pod {name_of(pod)}: {reason or ''} {message or ''}"


def read_problem(message: str) -> str:
    """Read why a pod of ours ended, from its termination message: a document that it left, or its last lines."""
    try:
        return str(json.loads(message)["problem"])
    except (ValueError, KeyError, TypeError):
        return " ".join(message.strip().splitlines()[-2:])


def _container_statuses(pod: Pod) -> Sequence[ContainerStatus]:
    return (pod.status and pod.status.containerStatuses) or ()
