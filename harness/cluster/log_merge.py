"""Merge the logs of all pods of a run, as their lines come."""

import queue
import threading
import time
from collections.abc import Iterator

from harness.cluster.connection import Connection
from harness.cluster.jobs import name_of
from harness.cluster.pod_logs import follow_log
from harness.cluster.run_state import find_coordinator, list_pods
from harness.errors import HarnessError

_LOOK_EVERY_S = 1.0


def merge_logs(connection: Connection, run: str, *, follow: bool) -> Iterator[tuple[str, str]]:
    """Yield (pod, line) of every pod of a run, so far or until the run has ended, in the order in which they come."""
    lines: queue.Queue[tuple[str, str] | HarnessError | None] = queue.Queue(10_000)
    threads: dict[str, threading.Thread] = {}

    def read(pod: str) -> None:
        try:
            for line in follow_log(connection, pod, follow=follow):
                lines.put((pod, line))
        except HarnessError as error:
            lines.put(error)

    def watch() -> None:
        try:
            while True:
                ended = bool(find_coordinator(connection, run).end) or not follow
                for pod in list_pods(connection, run):
                    name = name_of(pod)
                    if name not in threads and pod.status is not None and pod.status.phase != "Pending":
                        threads[name] = threading.Thread(target=read, args=(name,), daemon=True)
                        threads[name].start()
                if ended:
                    break
                time.sleep(_LOOK_EVERY_S)
            for thread in threads.values():
                thread.join()
            lines.put(None)
        except HarnessError as error:
            lines.put(error)

    threading.Thread(target=watch, daemon=True).start()
    while (item := lines.get()) is not None:
        if isinstance(item, HarnessError):
            raise item
        yield item
