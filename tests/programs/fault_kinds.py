"""The kinds of faults that campaigns on a real cluster meet: each is injected, held for a while, and mended."""

import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from lightkube.codecs import from_dict
from lightkube.resources.core_v1 import Node, Pod, ResourceQuota

from harness.cluster.jobs import COORDINATOR, SUITE
from tests.cluster.conftest import SPACE
from tests.programs.faulted_run import AWAY, FaultedRun, NoTargetError, evict, insist, name_of, node_of
from tests.servers import scripted_image
from tests.servers.kubernetes_files import CONTAINERD_SOCKET


def nothing() -> None:
    """Do nothing."""


@dataclass
class Injected:
    """A fault that was injected.

    `holds_s`: how long it lasts at least, then until `is_enough` if that is given; `mend` ends it. `takes_leader`: the
    coordinator that led can lead no longer.
    """

    holds_s: float = 0.0
    is_enough: Callable[[], bool] | None = None
    mend: Callable[[], None] = nothing
    takes_leader: bool = False
    mended: bool = False

    def mend_once(self) -> None:
        """End the fault, unless that was done."""
        if not self.mended:
            self.mended = True
            insist(self.mend)


# --- coordinators


def kill_leader(here: FaultedRun) -> Injected:
    os.kill(here.find_process(here.find_leader()), signal.SIGKILL)
    return Injected(takes_leader=True)


def delete_leader(here: FaultedRun) -> Injected:
    here.team.admin.delete(Pod, name_of(here.find_leader()), namespace=SPACE)
    return Injected(takes_leader=True)


def evict_leader(here: FaultedRun) -> Injected:
    evict(here, name_of(here.find_leader()))
    return Injected(takes_leader=True)


def stop_leader(here: FaultedRun) -> Injected:
    """Stop it until the other one leads; then it goes on, and finds that the run is no longer its own."""
    before, process = here.ledger.find(here.run), here.find_process(here.find_leader())
    return _stop(process, lambda: here.has_other_leader(before), takes_leader=True)


def kill_waiting(here: FaultedRun) -> Injected:
    os.kill(here.find_process(here.find_waiting()), signal.SIGKILL)
    return Injected()


def kill_both(here: FaultedRun) -> Injected:
    """Kill both coordinators: the run waits for the pod that Kubernetes makes next."""
    before = here.ledger.find(here.run)
    for process in [here.find_process(pod) for pod in (here.find_leader(), here.find_waiting())]:
        os.kill(process, signal.SIGKILL)
    return Injected(is_enough=lambda: here.has_other_leader(before))


# --- pods of a suite


def kill_pod(here: FaultedRun) -> Injected:
    os.kill(here.find_process(here.find_worker()), signal.SIGKILL)
    return Injected()


def delete_pod(here: FaultedRun) -> Injected:
    here.team.admin.delete(Pod, name_of(here.find_worker()), namespace=SPACE)
    return Injected()


def delete_pod_at_once(here: FaultedRun) -> Injected:
    """Remove a pod from the API without waiting for its end, as is done with pods of nodes that are gone."""
    here.team.admin.delete(Pod, name_of(here.find_worker()), namespace=SPACE, grace_period=0)
    return Injected()


def evict_pod(here: FaultedRun) -> Injected:
    evict(here, name_of(here.find_worker()))
    return Injected()


def kill_all_pods(here: FaultedRun) -> Injected:
    pods = here.list_pods(SUITE)
    if not pods:
        raise NoTargetError("no pod of a suite runs now")
    for pod in pods:
        with suppress(NoTargetError):
            _kill(here.find_process(pod))
    return Injected()


def stop_pod_beyond_lease(here: FaultedRun) -> Injected:
    """Stop a pod until other pods have begun its hosts; then it goes on, and all that it writes has to be refused."""
    pod = here.find_worker()
    hosts, process = here.list_hosts_of(pod), here.find_process(pod)
    if not hosts:
        raise NoTargetError("the pod works on no host now")
    return _stop(process, lambda: here.was_begun_anew(hosts))


def stop_pod_for_a_moment(here: FaultedRun) -> Injected:
    return _stop(here.find_process(here.find_worker()), None, holds_s=5.0)


def _kill(process: int) -> None:
    """Kill a process, unless it has just ended by itself."""
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def _stop(
    process: int, is_enough: Callable[[], bool] | None, *, holds_s: float = 1.0, takes_leader: bool = False
) -> Injected:
    def go_on() -> None:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGCONT)

    os.kill(process, signal.SIGSTOP)
    return Injected(holds_s=holds_s, is_enough=is_enough, mend=go_on, takes_leader=takes_leader)


# --- nodes


def restart_kubelet(here: FaultedRun) -> Injected:
    return _kill_program(here, "kubelet", here.choose_node(), holds_s=2.0)


def stop_kubelet(here: FaultedRun) -> Injected:
    """Stop a kubelet until its node counts as lost; its pods go on."""
    node = here.choose_node()
    program = here.team.cluster.program("kubelet", node)
    program.signal(signal.SIGSTOP)
    return Injected(holds_s=2.0, is_enough=lambda: _is_lost(here, node), mend=lambda: program.signal(signal.SIGCONT))


def restart_containerd(here: FaultedRun) -> Injected:
    return _kill_program(here, "containerd", here.choose_node(), holds_s=2.0)


def cut_node_for_a_moment(here: FaultedRun) -> Injected:
    node = here.choose_node()
    here.team.cluster.cut(node)
    return Injected(holds_s=3.0, mend=lambda: here.team.cluster.mend(node))


def lose_node(here: FaultedRun) -> Injected:
    """Cut a node off until the run has ended without it: one that has not both coordinators, as after a drain."""
    before, node = here.ledger.find(here.run), here.choose_node()
    if not any(node_of(pod) != node for pod in here.list_pods(COORDINATOR)):
        raise NoTargetError("no coordinator is on another node")
    leads = here.leads_on(node)
    workers = [pod for pod in here.list_pods(SUITE) if node_of(pod) == node]
    lost = {host: attempt for pod in workers for host, attempt in here.list_hosts_of(pod).items()}

    def is_enough() -> bool:
        return here.was_begun_anew(lost) and (not leads or here.has_other_leader(before))

    here.team.cluster.cut(node)
    return Injected(is_enough=is_enough, mend=lambda: here.team.cluster.mend(node), takes_leader=leads)


def drain_node(here: FaultedRun) -> Injected:
    node, admin = here.choose_node(), here.team.admin
    leads = here.leads_on(node)

    def schedule(possible: bool) -> None:
        admin.patch(Node, node, {"spec": {"unschedulable": not possible}})

    schedule(False)
    try:
        for pod in [*here.list_pods(COORDINATOR), *here.list_pods(SUITE)]:
            if node_of(pod) == node:
                evict(here, name_of(pod))
    except AWAY:
        insist(lambda: schedule(True))
        raise
    return Injected(holds_s=3.0, mend=lambda: insist(lambda: schedule(True)), takes_leader=leads)


def _is_lost(here: FaultedRun, node: str) -> bool:
    with suppress(*AWAY):
        return not here.team.cluster.is_ready(node)
    return False


def _kill_program(here: FaultedRun, name: str, machine: str | None = None, *, holds_s: float) -> Injected:
    program = here.team.cluster.program(name, machine)
    program.kill()
    return Injected(holds_s=holds_s, mend=program.start)


# --- the control plane


def kill_apiserver(here: FaultedRun) -> Injected:
    return _restart_api(here, "apiserver")


def kill_etcd(here: FaultedRun) -> Injected:
    return _restart_api(here, "etcd")


def stop_apiserver(here: FaultedRun) -> Injected:
    """Have it take connections and answer nothing."""
    program = here.team.cluster.program("apiserver")
    program.signal(signal.SIGSTOP)
    return Injected(holds_s=here.drawn.uniform(3, 8), mend=lambda: program.signal(signal.SIGCONT))


def cut_user_off(here: FaultedRun) -> Injected:
    """Cut who follows the run off from the API server."""
    relay = here.team.cluster.api

    def mend() -> None:
        relay.away = False

    relay.away = True
    relay.cut_all()
    return Injected(holds_s=here.drawn.uniform(2, 6), mend=mend)


def kill_controller_manager(here: FaultedRun) -> Injected:
    return _kill_program(here, "controller-manager", holds_s=here.drawn.uniform(1, 5))


def kill_scheduler(here: FaultedRun) -> Injected:
    return _kill_program(here, "scheduler", holds_s=here.drawn.uniform(1, 5))


def _restart_api(here: FaultedRun, name: str) -> Injected:
    def mend() -> None:
        program.start()
        here.team.cluster.wait_for_api()

    program = here.team.cluster.program(name)
    program.kill()
    return Injected(holds_s=here.drawn.uniform(1, 5), mend=mend)


# --- the ledger and the object store


def crash_ledger(here: FaultedRun) -> Injected:
    here.team.server.stop(signal.SIGQUIT)
    return Injected(holds_s=here.drawn.uniform(0.5, 5), mend=here.team.server.start)


def restart_ledger(here: FaultedRun) -> Injected:
    here.team.server.stop(signal.SIGINT)
    return Injected(holds_s=here.drawn.uniform(0.5, 5), mend=here.team.server.start)


def pause_ledger(here: FaultedRun) -> Injected:
    """Have all of its processes take connections and answer nothing."""
    pause = here.team.server.paused()
    pause.__enter__()
    return Injected(holds_s=here.drawn.uniform(2, 6), mend=lambda: _leave(pause))


def cut_ledger_off(here: FaultedRun) -> Injected:
    return _cut_relay(here, here.team.relays["ledger"])


def silence_ledger(here: FaultedRun) -> Injected:
    return _silence_relay(here, here.team.relays["ledger"])


def restart_store(here: FaultedRun) -> Injected:
    here.team.store.stop()
    return Injected(holds_s=here.drawn.uniform(1, 5), mend=here.team.store.start)


def cut_store_off(here: FaultedRun) -> Injected:
    return _cut_relay(here, here.team.relays["store"])


def silence_store(here: FaultedRun) -> Injected:
    return _silence_relay(here, here.team.relays["store"])


def _leave(entered: Any) -> None:
    entered.__exit__(None, None, None)


def _cut_relay(here: FaultedRun, relay: Any) -> Injected:
    def mend() -> None:
        relay.away = False

    relay.away = True
    relay.cut_all()
    return Injected(holds_s=here.drawn.uniform(1, 6), mend=mend)


def _silence_relay(here: FaultedRun, relay: Any) -> Injected:
    """Let no answer arrive, on connections that stay open, until they are cut."""

    def mend() -> None:
        relay.silent = False
        relay.cut_all()

    relay.silent = True
    return Injected(holds_s=here.drawn.uniform(2, 6), mend=mend)


# --- what pods need to begin


def lose_image(here: FaultedRun) -> Injected:
    """Take the image from both nodes and kill a pod: the next one does not start until the image is back."""
    process = here.find_process(here.find_worker())
    names = {node: _find_image(here, node) for node in here.team.cluster.nodes}
    for node, name in names.items():
        _ctr(here, node, "tag", "--force", name, _SPARE)
        _ctr(here, node, "rm", "--sync", name)

    def mend() -> None:
        for node, name in names.items():
            _ctr(here, node, "tag", "--force", _SPARE, name)

    _kill(process)
    return Injected(holds_s=8.0, mend=mend)


def exceed_quota(here: FaultedRun) -> Injected:
    """Allow no further pod and kill one: the next one is not made until the quota is larger."""
    process = here.find_process(here.find_worker())
    spec = {"hard": {"pods": "0"}}
    document = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "scarce", "namespace": SPACE}}
    quota: Any = from_dict({**document, "spec": spec})
    here.team.admin.create(quota, namespace=SPACE)
    _kill(process)
    mend = lambda: insist(lambda: here.team.admin.delete(ResourceQuota, "scarce", namespace=SPACE))  # noqa: E731
    return Injected(holds_s=8.0, mend=mend)


_SPARE = "localhost/spare:1"


def _ctr(here: FaultedRun, node: str, *words: str) -> str:
    """Call containerd's client on a node, for images of pods."""
    ctr = here.team.cluster.programs.path("ctr")
    return here.team.cluster.machines[node].run(
        ctr, f"--address={CONTAINERD_SOCKET}", "--namespace=k8s.io", "images", *words
    )


def _find_image(here: FaultedRun, node: str) -> str:
    """Find the whole name by which a node has the image."""
    return next(name for name in _ctr(here, node, "ls", "-q").split() if name.endswith(scripted_image.NAME))


KINDS: Mapping[str, tuple[str, Callable[[FaultedRun], Injected]]] = {
    "coordinator killed": ("leader", kill_leader),
    "coordinator deleted": ("leader", delete_leader),
    "coordinator evicted": ("leader", evict_leader),
    "coordinator stopped beyond its lease": ("leader", stop_leader),
    "coordinator that waits killed": ("waiting", kill_waiting),
    "both coordinators killed": ("leader", kill_both),
    "pod killed": ("pod", kill_pod),
    "pod deleted": ("pod", delete_pod),
    "pod deleted at once": ("pod", delete_pod_at_once),
    "pod evicted": ("pod", evict_pod),
    "all pods killed": ("pod", kill_all_pods),
    "pod stopped beyond its lease": ("pod", stop_pod_beyond_lease),
    "pod stopped for a moment": ("pod", stop_pod_for_a_moment),
    "kubelet killed": ("node", restart_kubelet),
    "kubelet stopped": ("node", stop_kubelet),
    "containerd killed": ("node", restart_containerd),
    "node cut off for a moment": ("node", cut_node_for_a_moment),
    "node lost": ("node", lose_node),
    "node drained": ("node", drain_node),
    "image lost": ("pod", lose_image),
    "quota exceeded": ("pod", exceed_quota),
    "scheduler killed": ("scheduler", kill_scheduler),
    "controller manager killed": ("manager", kill_controller_manager),
    "object store restarted": ("store", restart_store),
    "object store cut off": ("store", cut_store_off),
    "object store silent": ("store", silence_store),
    "ledger crashed": ("ledger", crash_ledger),
    "ledger restarted": ("ledger", restart_ledger),
    "ledger paused": ("ledger", pause_ledger),
    "ledger cut off": ("ledger", cut_ledger_off),
    "ledger silent": ("ledger", silence_ledger),
    "API server killed": ("api", kill_apiserver),
    "API server stopped": ("api", stop_apiserver),
    "etcd killed": ("api", kill_etcd),
    "user cut off from the API server": ("api", cut_user_off),
}
"""Each kind, what it hits, and how it is injected. Faults of one moment hit different things, in this order."""

ORDER = [*dict.fromkeys(where for where, _ in KINDS.values())]
