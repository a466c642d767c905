"""Merge the logs of all pods of a run, as their lines come."""

import queue
import threading
import time
from collections.abc import Iterator
from functools import partial

from harness.cluster.connection import Connection, patiently
from harness.cluster.jobs import name_of
from harness.cluster.pod_logs import follow_log
from harness.cluster.pod_states import find_held_up, find_trouble
from harness.cluster.run_state import find_coordinator, find_refusal, has_ended, list_pods

_LOOK_EVERY_S = 1.0


def merge_logs(
    connection: Connection, run: str, *, follow: bool = True, part: str | None = None
) -> Iterator[tuple[str, str]]:
    """Yield (pod, line) of every pod of a run, or of its coordinators alone, in the order in which they come.

    So far, or until the run has ended; a line without a pod tells what keeps pods from starting, or which lines are
    missing, since the node of their pod is lost.
    """
    lines: queue.Queue[tuple[str, str] | Exception | None] = queue.Queue(10_000)
    threads: dict[str, threading.Thread] = {}
    run_ended = threading.Event()

    def tell(text: str) -> None:
        lines.put(("", text))

    def read(pod: str) -> None:
        try:
            for line in follow_log(connection, pod, follow=follow, tell=tell, has_run_ended=run_ended.is_set):
                lines.put((pod, line))
        except Exception as error:  # raised where the lines are read
            lines.put(error)

    def watch() -> None:
        said = ""
        try:
            while True:
                coordinator = patiently(lambda: find_coordinator(connection, run))
                pods = patiently(lambda: list_pods(connection, run, part=part))
                ended = has_ended(coordinator, pods) or not follow
                for pod in pods:
                    name = name_of(pod)
                    if name not in threads and pod.status is not None and pod.status.phase != "Pending":
                        threads[name] = threading.Thread(target=read, args=(name,), daemon=True)
                        threads[name].start()
                trouble = find_trouble([pod for pod in pods if pod.status and pod.status.phase == "Pending"])
                if not (pods or coordinator.waits_in):
                    trouble = patiently(partial(find_refusal, connection, coordinator.name))
                if trouble is None and (held_up := find_held_up(pods)) is not None:
                    trouble = patiently(partial(find_refusal, connection, name_of(held_up)))
                if trouble is not None and trouble.text != said:
                    said = trouble.text
                    tell(said)
                if ended:
                    run_ended.set()
                    break
                time.sleep(_LOOK_EVERY_S)
            for thread in threads.values():
                thread.join()
            lines.put(None)
        except Exception as error:  # raised where the lines are read
            lines.put(error)

    threading.Thread(target=watch, daemon=True).start()
    while (item := lines.get()) is not None:
        if isinstance(item, Exception):
            raise item
        yield item
