"""Look at the clock of every node that can take pods of a run, by a pod on each.

Nobody needs a right to list nodes: the scheduler gives each node that can take such a pod one before any gets a second
one (a spread constraint). Pods are added until a node has two of them: by then each has one.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Pod

from harness.benches.bench import Check
from harness.cluster.connection import Connection, telling_errors
from harness.cluster.jobs import name_of
from harness.cluster.pod_logs import follow_log
from harness.cluster.pod_states import PodTrouble, find_trouble, is_unplaced
from harness.cluster.probe_document import read_probe
from harness.cluster.run_state import find_refusal, list_job_pods
from harness.untrusted.plain_text import clip

_WITHIN_S, _GIVEN_UP_AFTER_S, _LOOK_EVERY_S = 90.0, 15.0, 0.5
_MOST_CHARACTERS = 400
_NAME = "clocks of the nodes"


@dataclass(slots=True)
class NodeLook:
    """The clock of a node so far. `check`: what its pod saw; `trouble`: why it cannot look, since when."""

    pod: Pod
    check: Check | None = None
    trouble: PodTrouble | None = None
    since: float = 0.0

    def is_done(self, now: float) -> bool:
        """Whether its pod has looked, or will not."""
        lasting = self.trouble is not None and self.trouble.lasting and now - self.since > _GIVEN_UP_AFTER_S
        return self.check is not None or lasting


@dataclass(slots=True)
class Survey:
    """The clocks of all nodes so far. `two`: some node has two pods; `no_more`: why no other node gets a pod."""

    nodes: dict[str, NodeLook] = field(default_factory=dict)
    pods: int = 0
    two: bool = False
    no_more: PodTrouble | None = None


def check_nodes(connection: Connection, job: str, *, most: int | None) -> Iterator[Check]:
    """Look at the clocks of all nodes, or of `most`, by the pods of this Job, to which pods are added. Raises
    ClusterError.
    """
    survey, wanted = Survey(), 1
    give_up_at, progress = time.monotonic() + _WITHIN_S, 0
    while time.monotonic() < give_up_at:
        _look(connection, job, survey)
        nodes = survey.nodes.values()
        whole = survey.two or (most is not None and len(nodes) >= most)
        if (whole or survey.no_more is not None) and all(node.is_done(time.monotonic()) for node in nodes):
            break
        if not whole and survey.no_more is None and survey.pods == wanted:
            wanted = 2 * wanted + 1 if most is None else min(2 * wanted + 1, most)
            with telling_errors(connection, "adding pods that look at the clocks of nodes"):
                connection.client.patch(Job, job, {"spec": {"parallelism": wanted}})
        looked = sum(node.check is not None for node in nodes) + survey.pods
        if looked != progress:
            progress, give_up_at = looked, time.monotonic() + _WITHIN_S
        time.sleep(_LOOK_EVERY_S)
    yield from describe_clocks(survey, most)


def _look(connection: Connection, job: str, survey: Survey) -> None:
    """Look which node has which pod, and read what the pods have printed."""
    pods = [pod for pod in list_job_pods(connection, job) if not (pod.metadata and pod.metadata.deletionTimestamp)]
    placed = [(pod.spec.nodeName, pod) for pod in pods if pod.spec and pod.spec.nodeName]
    survey.pods = len(placed)
    for name, pod in placed:
        node = survey.nodes.setdefault(name, NodeLook(pod))
        if name_of(node.pod) != name_of(pod):
            survey.two = True
            continue
        _look_at_pod(connection, pod, node)
    unplaced = [pod for pod in pods if is_unplaced(pod)]
    survey.no_more = find_trouble(unplaced) if unplaced else None
    if survey.no_more is None and len(placed) == len(pods):
        survey.no_more = find_refusal(connection, job)


def _look_at_pod(connection: Connection, pod: Pod, node: NodeLook) -> None:
    if node.check is not None:
        return
    if pod.status and pod.status.phase in ("Running", "Succeeded", "Failed"):
        checks = read_probe([*follow_log(connection, name_of(pod), follow=False)])
        node.check = next(iter(checks or ()), None)
    trouble = find_trouble([pod])
    if trouble is not None and node.trouble is None:
        node.since = time.monotonic()
    node.trouble = trouble


def describe_clocks(survey: Survey, most: int | None) -> Iterator[Check]:
    """Say of each node whose clock is wrong or was not seen, and then of all, what was seen. `most`: as asked for."""
    good: list[str] = []
    for name, node in sorted(survey.nodes.items()):
        if node.check is not None and node.check.ok:
            good.append(f"{name} {node.check.observed.partition(' from ')[0]}")
        elif node.check is not None:
            yield Check(name=f"node {name}", ok=False, observed=node.check.observed, remedy=node.check.remedy)
        else:
            trouble = node.trouble or PodTrouble("its pod did not say within a minute and a half", lasting=False)
            remedy = trouble.remedy or "`kubectl describe node` tells what is wrong with it"
            yield Check(name=f"node {name}", ok=False, observed=trouble.text, remedy=remedy)
    number = len(survey.nodes)
    seen = clip(f"{', '.join(good) or 'none is right'}; from that of the ledger's server", _MOST_CHARACTERS)
    if survey.two or (most is not None and number >= most):
        limit = "" if survey.two else f" (--nodes {most})"
        text = f"{len(good)} of {number} nodes{limit}: {seen}"
        remedy = "" if len(good) == number else "as the lines of these nodes say"
        yield Check(name=_NAME, ok=len(good) == number, observed=text, remedy=remedy)
        return
    why = survey.no_more or PodTrouble("no pod comes to another node", lasting=False)
    yield Check(
        name=_NAME,
        ok=False,
        observed=f"of {number} nodes alone: {clip(why.text, _MOST_CHARACTERS)}",
        remedy=f"{why.remedy or 'make room for one more small pod'}; or `--nodes {max(number, 1)}` for these alone",
    )
