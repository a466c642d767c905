"""Measure the error and the cost of the emulated clock, with the real driver and chrony in lab guests.

    PYTHONPATH=lab .venv/bin/python benchmarks/emulated_clock.py [--guests N] [--seconds S] [--settle S] [--spread-us N]

Each guest is a lab.phc host whose system clock chrony steers by the emulated clock. The truth page shows the distance
between the system clock and the device's clock without the PHC in between, one guest after another while the others
run. The guest spins on one processor of this machine and the observer on another, so on two cores the figures are those
of a busy machine. Before that, the cost of a device is measured as the computing time of its processes.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ena_device.control import ask

from harness import wiring
from harness.benches.lab.bench import LabBench
from harness.benches.lab.processes import process_tags
from harness.host import ssh
from harness.host.playbooks import Target, play
from harness.model import Machine, Token
from harness.system import proc, settings

ROOT = Path(__file__).parents[1]
TYPE = "lab.phc"
PAGE = "/sys/bus/pci/devices/$(basename $(dirname $(grep -l 0x1110 /sys/bus/pci/devices/*/device)))/resource2"
UNUSED_S = 62.0  # a clock without requests for 60 s is polled less often


@dataclass(frozen=True, kw_only=True)
class Guest:
    token: Token
    machine: Machine
    known_hosts: Path
    sockets: Path

    def run(self, command: str, *, timeout_s: float = 120) -> str:
        return proc.run(ssh.build_command(self.machine, self.known_hosts, command), timeout_s=timeout_s).stdout.strip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--guests", type=int, default=1, metavar="N", help="running at once (1)")
    parser.add_argument("--seconds", type=int, default=30, metavar="S", help="of each measurement (30)")
    parser.add_argument("--settle", type=int, default=180, metavar="S", help="for chrony, before the look (180)")
    parser.add_argument("--spread-us", type=int, metavar="N", help="of the device (as in the lab)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ptp-device-") as folder, ExitStack() as cleanup:
        bench = wiring.lab_bench(settings.load(os.environ | {"PTP_HARNESS_STATE_DIR": folder}))
        bench.prepare([TYPE], print)
        print(f"load before: {os.getloadavg()[0]:.2f}")
        guests = [provision(bench, Path(folder), number, cleanup) for number in range(options.guests)]
        print(f"waiting {UNUSED_S:.0f} s, in which no program reads the clocks")
        time.sleep(UNUSED_S)
        print_cost("no reader", guests, options.seconds)
        for guest in guests:
            if options.spread_us is not None:
                ask(str(guest.sockets / "control"), spread_us=options.spread_us)
            configure(guest)
        print(f"letting chrony settle for {options.settle} s")
        time.sleep(options.settle)
        print_cost("chrony reads 25 times a second", guests, options.seconds)
        for guest in guests:
            print_truth(guest, options.seconds)
    return 0


def provision(bench: LabBench, folder: Path, number: int, cleanup: ExitStack) -> Guest:
    token = Token(run="benchmark", host=f"guest-{number}")
    cleanup.callback(lambda: bench.release(token))
    machine = bench.provision(token, TYPE, lambda line: None)
    guest_folder = folder / f"guest-{number}"
    guest_folder.mkdir()
    record = bench.records.find(token)
    assert record is not None
    return Guest(
        token=token, machine=machine, known_hosts=ssh.write_known_hosts(machine, guest_folder), sockets=record.sockets
    )


def configure(guest: Guest, **variables: object) -> None:
    """Configure a guest by the playbook of a campaign, with these variables of the roles."""
    address, port = (guest.machine.second_opinion or "").split()
    with ssh.shared_connection() as control:
        result = play(
            ROOT / "playbooks" / "configure.yml",
            Target(machine=guest.machine, known_hosts=guest.known_hosts, control=control),
            {
                "chrony_phc_second_opinion_address": address,
                "chrony_phc_second_opinion_port": int(port),
                **guest.machine.role_variables,
                **variables,
            },
            timeout_s=600,
            progress=lambda text: None,
            cancelled=lambda: False,
        )
    text = f"{guest.token.host}: configured, {result.outcome} in {result.seconds:.0f} s {result.message}"
    print(text, file=sys.stderr)


def print_cost(condition: str, guests: list[Guest], seconds: int) -> None:
    """Print the computing time of each device's processes, in per cent of a core."""
    used_before_s, started_s = [computing_s(guest) for guest in guests], time.monotonic()
    time.sleep(seconds)
    elapsed_s = time.monotonic() - started_s
    for guest, used_s in zip(guests, used_before_s, strict=True):
        share = (computing_s(guest) - used_s) / elapsed_s
        print(f"{guest.token.host}: {condition}: the device uses {share:.2%} of a core")


def computing_s(guest: Guest) -> float:
    """Compute the CPU seconds of the processes of the guest's device: fields 14 and 15 of proc_pid_stat(5)."""
    processes = process_tags.running_processes(
        lambda tagged: tagged.token == str(guest.token) and tagged.role == "ena_device"
    )
    fields = [Path(f"/proc/{tagged.process.pid}/stat").read_text().rpartition(")")[2].split() for tagged in processes]
    return sum(int(field[11]) + int(field[12]) for field in fields) / os.sysconf("SC_CLK_TCK")


def print_truth(guest: Guest, seconds: int) -> None:
    """Print the bounds of (guest's clock - device's clock), measured each second."""
    argv = [sys.executable, "-m", "ena_device.truth", "--page", str(guest.sockets / "truth")]
    argv += ["--control", str(guest.sockets / "control"), "--seconds", str(seconds)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as observer:
        guest.run(f"truth {PAGE} {seconds + 2}", timeout_s=seconds + 60)
        out, _ = observer.communicate(timeout=seconds + 60)
    lines = [json.loads(line) for line in out.splitlines()]
    pairs = [
        (record["low_ns"], record["high_ns"]) for record in lines if None not in (record["low_ns"], record["high_ns"])
    ]
    if not pairs:
        raise SystemExit(f"{guest.token.host}: neither side saw the other through the page")
    middles = [(low + high) / 2 for low, high in pairs]
    tracking = guest.run("chronyc -c tracking").split(",")
    print(
        f"{guest.token.host}: guest - device over {len(pairs)} s: middles median {statistics.median(middles):+.0f} ns, "
        f"{min(middles):+.0f}..{max(middles):+.0f}; bounds {min(map(min, pairs)):+d}..{max(map(max, pairs)):+d}; "
        f"chrony's RMS offset {float(tracking[6]) * 1e9:.0f} ns"
    )


if __name__ == "__main__":
    sys.exit(main())
