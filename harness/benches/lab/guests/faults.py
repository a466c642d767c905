"""Apply the faults of a guest's truth, each at its moment.

`python -m harness.benches.lab.guests.faults FOLDER` runs beside the guest. The program waits for each fault's moment
through the guest's agent, applies the fault, and prints both. The program ends with the guest; killed, it leaves no
resources.
"""

import datetime
import os
import signal
import sys
import time
from pathlib import Path

from harness.benches.bench import BenchError
from harness.benches.lab.guests.guest_records import GuestRecord, read
from harness.benches.lab.io import guest_agent
from harness.benches.lab.io.guest_agent import GuestAgent
from harness.benches.lab.io.json_lines import JsonLines
from harness.benches.lab.truths.truth_model import Bends, Fault
from harness.benches.lab.truths.truths import TRUTHS
from harness.errors import HarnessError

_LOOK_EVERY_S = 0.25
_DEADLINE_S = 30.0


def main() -> int:
    record = read(Path(sys.argv[1]))
    if record is None:
        print(f"{sys.argv[1]} holds no record of a lab host", file=sys.stderr)
        return 2
    for fault in TRUTHS[record.instance_type].faults:
        try:
            if not _wait(fault, record):
                return 0
            _do(fault, record)
        except HarnessError as error:
            _print_line(f"failed: {error}")
            return 1
    return 0


def _wait(fault: Fault, record: GuestRecord) -> bool:
    """Wait for the fault's moment. Return False when the guest ended first."""
    while record.processes["guest"].alive():
        with guest_agent.connect(record.sockets / "agent") as port:
            if port.exists(str(fault.at.value), deadline_s=_DEADLINE_S):
                _print_line(f"{fault.at.name.lower()} has begun")
                time.sleep(fault.after_s)
                return record.processes["guest"].alive()
        time.sleep(_LOOK_EVERY_S)
    return False


def _do(fault: Fault, record: GuestRecord) -> None:
    if fault.device:
        _print_line(f"bending the device: {dict(fault.device)}")
        bend_device(record.sockets / "control", fault.device)
        _print_line("done")
    if fault.guest:
        with guest_agent.connect(record.sockets / "agent") as port:
            _print_line(f"in the guest: {fault.guest.strip()}")
            _print_line(shell(port, fault.guest))
    if fault.ends:
        process = record.processes[fault.ends]
        _print_line(f"killing the {fault.ends} process {process.pid}")
        if process.alive():
            os.kill(process.pid, signal.SIGKILL)


def shell(port: GuestAgent, script: str) -> str:
    """Run a script by root's shell in the guest; return its exit status and output as text."""
    result = port.shell(script, deadline_s=_DEADLINE_S)
    return f"status {result.status} {result.out}".strip()


def bend_device(control: Path, bends: Bends) -> None:
    """Bend the device at a control socket. Raises BenchError where it refuses."""
    lines = JsonLines(control, deadline_s=_DEADLINE_S)
    try:
        lines.send(dict(bends))
        reply = lines.receive(deadline_s=_DEADLINE_S)
    finally:
        lines.close()
    if "error" in reply:
        raise BenchError(f"the device refuses: {reply['error']}")


def _print_line(text: str) -> None:
    print(f"{datetime.datetime.now(datetime.UTC):%H:%M:%S} {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
