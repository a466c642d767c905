"""Measure the time to configure one host, and the number of tasks that run on the host.

    .venv/bin/python benchmarks/configure.py [TYPE]     default: lab.driver-off

One lab guest, alone: the playbook configure.yml runs twice (the second run must change nothing), then measure.yml
starts the sampler. Other programs on the machine change the figures, so the load is printed too.
"""

import os
import sys
import tempfile
from pathlib import Path

from harness import wiring
from harness.host import ssh
from harness.host.playbooks import PlayResult, Target, play
from harness.model import Token
from harness.system import settings

ROOT = Path(__file__).parents[1]


def timed(name: str, target: Target, **variables: object) -> PlayResult:
    """Run a playbook and print the seconds of each task that took at least one second."""
    address, port = (target.machine.second_opinion or "").split()
    opinion = {"chrony_phc_second_opinion_address": address, "chrony_phc_second_opinion_port": int(port)}
    result = play(
        ROOT / "playbooks" / name,
        target,
        opinion | variables,
        timeout_s=600,
        progress=lambda text: None,
        cancelled=lambda: False,
    )
    print(
        f"{name:<14} {result.outcome} {result.seconds:5.1f} s  {result.tasks_on_wire} tasks on the wire  "
        f"{result.changed} changed  {result.message}"
    )
    for task, seconds in result.task_seconds:
        if seconds >= 1:
            print(f"{'':<14}    {seconds:5.1f} s  {task}")
    return result


def main() -> int:
    instance_type = sys.argv[1] if len(sys.argv) > 1 else "lab.driver-off"
    print(f"{instance_type}, load of this machine {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory(prefix="ptp-configure-") as folder, ssh.shared_connection() as control:
        state = settings.load(os.environ | {"PTP_HARNESS_STATE_DIR": folder})
        bench = wiring.lab_bench(state)
        bench.prepare([instance_type], print)
        token = Token(run="benchmark", host=instance_type)
        try:
            machine = bench.provision(token, instance_type, lambda line: None)
            target = Target(machine=machine, known_hosts=ssh.write_known_hosts(machine, Path(folder)), control=control)
            ssh.wait_for_login(machine, target.known_hosts, tries=5, first_backoff_s=1, progress=print)
            timed("configure.yml", target)
            second = timed("configure.yml", target)
            timed("measure.yml", target, clock_facts_duration_s=5, clock_facts_wait=False)
        finally:
            bench.release(token)
    return 0 if second.changed == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
