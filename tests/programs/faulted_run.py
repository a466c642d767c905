"""A campaign that goes on on a real cluster, with what faults need to know of it: its pods, processes, hosts."""

import random
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

import httpx2
from lightkube.core.exceptions import ApiError
from lightkube.resources.core_v1 import Pod

from harness.cluster.jobs import COORDINATOR, PART_LABEL, RUN_LABEL, SUITE
from harness.errors import HarnessError
from harness.store.ledger import Ledger
from harness.store.ledger_lines import RunLine
from tests.cluster.conftest import SPACE, Team

AWAY = (OSError, HTTPException, httpx2.HTTPError, ApiError, HarnessError)
"""What a request raises while a server of the cluster is away."""

_INSISTS_FOR_S, _AGAIN_AFTER_S = 90.0, 0.2
_ENTRY_OF_LEADER, _ENTRY_OF_POD = "cluster coordinate", "cluster pod"


class NoTargetError(Exception):
    """There is nothing now that this fault could hit."""


@dataclass(frozen=True)
class FaultedRun:
    """A campaign that goes on, and what faults need to know of it."""

    team: Team
    run: str
    ledger: Ledger
    drawn: random.Random

    def read_line(self) -> RunLine | None:
        """Read the run in the ledger; None while that is away."""
        with suppress(HarnessError):
            return self.ledger.find(self.run)
        return None

    def has_ended(self) -> bool:
        line = self.read_line()
        return line is not None and line.ended

    def find_leader(self) -> Pod:
        """Find the pod of the coordinator that leads."""
        line = self.read_line()
        pods = [pod for pod in self.list_pods(COORDINATOR) if line and name_of(pod) == line.owner.machine]
        return self._choose(pods)

    def find_waiting(self) -> Pod:
        """Find the pod of the coordinator that waits."""
        line = self.read_line()
        return self._choose([pod for pod in self.list_pods(COORDINATOR) if line and name_of(pod) != line.owner.machine])

    def find_worker(self) -> Pod:
        """Choose a pod that works on hosts."""
        return self._choose(self.list_pods(SUITE))

    def list_pods(self, part: str) -> list[Pod]:
        """List the pods of a part that run and are not told to end."""
        labels: dict[str, Any] = {RUN_LABEL: self.run, PART_LABEL: part}
        return [
            pod
            for pod in self.team.admin.list(Pod, namespace=SPACE, labels=labels)
            if pod.status and pod.status.phase == "Running" and pod.metadata and not pod.metadata.deletionTimestamp
        ]

    def find_process(self, pod: Pod) -> int:
        """Find the process of a pod; the host name of a suite's pod is that of its index."""
        assert pod.metadata is not None
        assert pod.metadata.labels is not None
        name, of_suite = name_of(pod), pod.metadata.labels[PART_LABEL] == SUITE
        host, words = (name.rpartition("-")[0], _ENTRY_OF_POD) if of_suite else (name, _ENTRY_OF_LEADER)
        try:
            return self.team.find_process(host, words)
        except AssertionError as error:
            raise NoTargetError(str(error)) from error

    def list_hosts_of(self, pod: Pod) -> dict[str, int]:
        """List the hosts that a pod works on, with their attempts."""
        machines = {name_of(pod), name_of(pod).rpartition("-")[0]}
        at_work = [each for each in self.ledger.hosts_of_others(self.run) if each.owner]
        hosts = {each.host for each in at_work if each.owner and each.owner.machine in machines}
        return {line.host: line.attempt for line in self.ledger.hosts(self.run) if line.host in hosts}

    def was_begun_anew(self, hosts: Mapping[str, int]) -> bool:
        """Whether other processes have begun each of these hosts since, or the run has ended."""
        with suppress(HarnessError):
            now = {line.host: line.attempt for line in self.ledger.hosts(self.run)}
            return all(now[host] > attempt for host, attempt in hosts.items()) or self.has_ended()
        return False

    def has_other_leader(self, before: RunLine) -> bool:
        """Whether another process leads the run than did before, or the run has ended."""
        line = self.read_line()
        return line is not None and (line.ended or line.owner.owner != before.owner.owner)

    def describe(self) -> list[str]:
        """Describe the pods and hosts of a run that does not go on."""
        lines = []
        with suppress(*AWAY):
            for pod in self.team.admin.list(Pod, namespace=SPACE, labels={RUN_LABEL: self.run}):
                deleted = pod.metadata and pod.metadata.deletionTimestamp
                lines.append(f"pod {name_of(pod)}: {pod.status and pod.status.phase} on {node_of(pod)}, {deleted}")
        with suppress(*AWAY):
            owners = {each.host: each.owner for each in self.ledger.hosts_of_others(self.run)}
            for line in self.ledger.hosts(self.run):
                owner = owners.get(line.host)
                at_work = "" if owner is None else f"{owner.machine}, alive: {owner.alive()}"
                lines.append(f"host {line.host}: attempt {line.attempt}, {line.state}, {at_work}")
            lines += [f"event {each.event.text}" for each in self.ledger.latest_events(self.run, most=15)]
        return lines

    def choose_node(self) -> str:
        return self.drawn.choice(self.team.cluster.nodes)

    def leads_on(self, node: str) -> bool:
        with suppress(NoTargetError, *AWAY):
            return node_of(self.find_leader()) == node
        return False

    def _choose(self, pods: list[Pod]) -> Pod:
        if not pods:
            raise NoTargetError("no such pod runs now")
        return self.drawn.choice(pods)


def name_of(pod: Pod) -> str:
    return str(pod.metadata and pod.metadata.name)


def node_of(pod: Pod) -> str:
    return str(pod.spec and pod.spec.nodeName)


def insist(request: Callable[[], object]) -> None:
    """Make a request until the servers that it needs are back."""
    give_up_at = time.monotonic() + _INSISTS_FOR_S
    while True:
        try:
            request()
            return
        except AWAY as error:
            if isinstance(error, ApiError) and error.status.code == 404:
                return
            if time.monotonic() > give_up_at:
                raise
        time.sleep(_AGAIN_AFTER_S)


def evict(here: FaultedRun, pod: str) -> None:
    """Evict a pod as the drain of its node does, again while a disruption budget forbids it."""
    metadata = {"name": pod, "namespace": SPACE}
    document = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
    insist(lambda: here.team.cluster.request(f"/api/v1/namespaces/{SPACE}/pods/{pod}/eviction", document=document))
