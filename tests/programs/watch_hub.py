"""A process that may lead a watch, with leases of a test's length: python -m tests.programs.watch_hub URL LEASE_S."""

import signal
import sys
import threading
import time

from harness.errors import HarnessError
from harness.store.database import Timeouts
from harness.store.watch_database import open_watch_database
from harness.watch.circuit_breaker import CircuitOptions
from harness.watch.orchestrator import Orchestrator


def main() -> None:
    url, lease_s = sys.argv[1], float(sys.argv[2])
    timeouts = Timeouts(connect_s=2.0, answer_s=2.0, give_up_s=lease_s / 3)
    while True:
        try:
            database = open_watch_database(url, timeouts=timeouts)
            break
        except HarnessError as error:
            print(error, file=sys.stderr, flush=True)
            time.sleep(0.5)
    circuit = CircuitOptions(longest_pause_s=lease_s)
    hub, stop = Orchestrator(database, lease_s=lease_s, circuit=circuit, check_every_s=2.0), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    hub.start()
    print("ready", flush=True)
    stop.wait()
    hub.stop()


if __name__ == "__main__":
    main()
